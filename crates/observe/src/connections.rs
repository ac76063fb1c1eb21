//! Tracked connections: how many there are in each state, and page by page what they are.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Which connections a reader wants. All conditions hold together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionQuery {
    /// Only those that were begun from this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// Only those that were begun to this prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpNet>,
    /// Only those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Where the page begins: 0, or `next` of the page before.
    #[serde(default)]
    pub from: usize,
    /// Connections of a page, 0 to [`ConnectionQuery::LIMIT_MAX`]; a page may have six more, and less.
    #[serde(default = "ConnectionQuery::limit_default")]
    pub limit: usize,
}

impl Default for ConnectionQuery {
    fn default() -> Self {
        let limit = Self::limit_default();
        Self { source: None, destination: None, state: None, from: 0, limit }
    }
}

impl ConnectionQuery {
    /// Connections of a page at the most.
    pub const LIMIT_MAX: usize = 10_000;

    fn limit_default() -> usize {
        1000
    }

    /// Whether a connection of these addresses in this state is wanted.
    #[must_use]
    pub fn matches(&self, source: IpAddr, destination: IpAddr, state: &str) -> bool {
        self.source.is_none_or(|within| within.contains(&source))
            && self.destination.is_none_or(|within| within.contains(&destination))
            && self.state.as_ref().is_none_or(|wanted| wanted == state)
    }
}

/// One page of connections; the first one with a summary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsReport {
    /// Of all connections, whatever the page is of; on the first page only, and where connections are tracked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<ConnectionSummary>,
    /// In no particular order.
    pub connections: Vec<ConnectionReport>,
    /// What to ask for as `from` to get the next page; `None` on the last.
    pub next: Option<usize>,
}

/// All connections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionSummary {
    /// Connections of IPv4.
    pub ipv4: usize,
    /// How many there is room for in any case; where keys spread well there is for half as many again.
    pub ipv4_max: usize,
    /// Connections of IPv6.
    pub ipv6: usize,
    /// How many there is room for in any case; where keys spread well there is for half as many again.
    pub ipv6_max: usize,
    /// Connections that one source may have begun; 0: as many as there is room for.
    pub per_source_max: usize,
    /// Bytes of the tables.
    pub memory_bytes: usize,
    /// Every state, those without connections too.
    pub states: Vec<ConnectionStateReport>,
    /// What has been counted since the start, by name: packets of each state, and connections that were `inserted`,
    /// `restarted`, `evicted`, `expired`, `untracked` (no room) and `limited_by_source`.
    pub counters: BTreeMap<String, u64>,
}

/// Connections in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStateReport {
    /// `tcp`, `udp` (with SCTP), `icmp` or `other`.
    pub protocol: String,
    /// The kernel's word for it.
    pub state: String,
    /// Of IPv4.
    pub ipv4: usize,
    /// Of IPv6.
    pub ipv6: usize,
}

/// One connection.
///
/// Addresses and ports are those of the packets of the side that began it; the answers have them exchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionReport {
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmpv6`, or its number.
    pub protocol: String,
    /// Who began it.
    pub source: IpAddr,
    /// Its port, where the protocol has ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// With whom.
    pub destination: IpAddr,
    /// The port there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// Type of the query, of ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    /// Identifier of the query, of ICMP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp_identifier: Option<u16>,
    /// Where it stands.
    pub state: String,
    /// Since its last packet.
    pub idle_seconds: u64,
    /// Until it is forgotten, if it has no other packet.
    pub timeout_seconds: u64,
}
