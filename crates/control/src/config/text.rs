//! The file as it is written: what serde reads, and nothing judged yet.
//!
//! Every value keeps its place, because only the next step knows what is wrong with it. Numbers
//! are read as `i64` and addresses as text for the same reason: a value out of range is answered
//! with the range, not with "invalid value". `docs/linecard.toml` explains each key.

pub(super) mod connections;
mod protection;
pub(super) mod services;

use serde::Deserialize;
use toml::Spanned;

use connections::Connections;
use linecard_services::source::{MartianFilter, ReversePath};
pub(super) use protection::{ClassLimit, Protection, ProtectionMode};
use services::{Filter, Police, Router, Set};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) workers: Workers,
    #[serde(default)]
    pub(super) memory: Memory,
    #[serde(default)]
    pub(super) punt: Punt,
    #[serde(default)]
    pub(super) api: Api,
    #[serde(default)]
    pub(super) tables: Tables,
    #[serde(default)]
    pub(super) route_cache: RouteCache,
    #[serde(default)]
    pub(super) transmit: Transmit,
    #[serde(default)]
    pub(super) port: Vec<Spanned<Port>>,
    #[serde(default)]
    pub(super) route: Vec<Spanned<Route>>,
    #[serde(default)]
    pub(super) neighbour: Vec<Spanned<Neighbour>>,
    #[serde(default)]
    pub(super) set: Vec<Spanned<Set>>,
    #[serde(default)]
    pub(super) police: Vec<Spanned<Police>>,
    #[serde(default)]
    pub(super) filter: Vec<Spanned<Filter>>,
    #[serde(default)]
    pub(super) router: Router,
    #[serde(default)]
    pub(super) protection: Protection,
    #[serde(default)]
    pub(super) connections: Connections,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Workers {
    pub(super) count_max: Option<Spanned<i64>>,
    pub(super) cores: Option<Spanned<Vec<Spanned<i64>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    pub(super) frames_per_worker: Option<Spanned<i64>>,
    pub(super) frame_bytes: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Punt {
    pub(super) rate_packets_per_second: Option<Spanned<i64>>,
    pub(super) burst_packets: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Api {
    pub(super) socket: Option<Spanned<String>>,
    pub(super) group: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    pub(super) routes_ipv4_max: Option<Spanned<i64>>,
    pub(super) routes_ipv6_max: Option<Spanned<i64>>,
    pub(super) next_hops_max: Option<Spanned<i64>>,
    pub(super) next_hop_groups_max: Option<Spanned<i64>>,
    pub(super) adjacencies_max: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RouteCache {
    #[serde(default)]
    pub(super) mode: RouteCacheMode,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RouteCacheMode {
    #[default]
    Auto,
    Off,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transmit {
    #[serde(default)]
    pub(super) mode: TransmitMode,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TransmitMode {
    #[default]
    Ring,
    Live,
}

/// One `[[port]]`. Which keys it may have depends on its kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Port {
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) kind: PortKind,
    pub(super) xdp_mode: Option<Spanned<XdpMode>>,
    pub(super) zero_copy: Option<Spanned<ZeroCopy>>,
    pub(super) queues_max: Option<Spanned<i64>>,
    pub(super) ring_entries: Option<Spanned<i64>>,
    pub(super) input: Option<Spanned<String>>,
    pub(super) output: Option<Spanned<String>>,
    pub(super) mac_address: Option<Spanned<String>>,
    pub(super) mtu_bytes: Option<Spanned<i64>>,
    pub(super) addresses: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) vlans: Option<Spanned<Vec<Spanned<Vlan>>>>,
    pub(super) filter_in: Option<Spanned<String>>,
    pub(super) filter_out: Option<Spanned<String>>,
    pub(super) police_in: Option<Spanned<String>>,
    pub(super) reverse_path: Option<Spanned<ReversePath>>,
    pub(super) feasible_sources: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) martians: MartianFilter,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PortKind {
    #[default]
    Auto,
    Xdp,
    Packet,
    Pcap,
    Memory,
}

impl PortKind {
    /// As it is written in the file.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::Packet => "packet",
            Self::Pcap => "pcap",
            Self::Memory => "memory",
        }
    }

    /// True for a port that is an interface of the kernel.
    pub(super) fn is_kernel(self) -> bool {
        matches!(self, Self::Auto | Self::Xdp | Self::Packet)
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum XdpMode {
    Auto,
    Native,
    Generic,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ZeroCopy {
    Auto,
    On,
    Off,
}

/// One VLAN of a pcap or memory port.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vlan {
    pub(super) id: Spanned<i64>,
    pub(super) inner_id: Option<Spanned<i64>>,
    #[serde(default)]
    pub(super) protocol: VlanProtocol,
    pub(super) addresses: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) mtu_bytes: Option<Spanned<i64>>,
}

/// Tag protocol of the outer (or only) tag.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) enum VlanProtocol {
    #[default]
    #[serde(rename = "802.1q")]
    Dot1q,
    #[serde(rename = "802.1ad")]
    Dot1ad,
}

/// One `[[route]]`: a single next hop by `via`, `port` and `vlan`, or several by `next_hops`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) prefix: Spanned<String>,
    #[serde(default)]
    pub(super) kind: RouteKind,
    pub(super) via: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<String>>,
    pub(super) vlan: Option<Spanned<i64>>,
    pub(super) inner_vlan: Option<Spanned<i64>>,
    pub(super) next_hops: Option<Spanned<Vec<Spanned<NextHop>>>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RouteKind {
    #[default]
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
}

/// One of several next hops.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NextHop {
    pub(super) via: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<String>>,
    pub(super) vlan: Option<Spanned<i64>>,
    pub(super) inner_vlan: Option<Spanned<i64>>,
    pub(super) weight: Option<Spanned<i64>>,
}

/// One `[[neighbour]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Neighbour {
    pub(super) address: Spanned<String>,
    pub(super) mac_address: Spanned<String>,
    pub(super) port: Option<Spanned<String>>,
    pub(super) vlan: Option<Spanned<i64>>,
    pub(super) inner_vlan: Option<Spanned<i64>>,
}
