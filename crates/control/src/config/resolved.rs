//! The configuration as the daemon uses it: checked, every default filled in, references resolved
//! to indexes, units in the names.

mod connections;
mod services;

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use linecard_io::ProtectionLimits;
use linecard_services::route::RouteCapacities;
use linecard_wire::MacAddress;

use super::error::Warning;
use super::filters::Filters;
pub use connections::{Connections, ConnectionsMode};
pub use services::{
    Marker, MartianFilter, PolicePer, PoliceUnit, Policer, PortServices, ReversePath, Router,
};

/// A whole configuration that was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Threads of the packet path.
    pub workers: Workers,
    /// Packet memory of each worker.
    pub memory: Memory,
    /// Limits on what is handed to the kernel.
    pub punt: Punt,
    /// The local API.
    pub api: Api,
    /// Capacities of the tables.
    pub tables: Tables,
    /// Whether classifiers forward by themselves.
    pub route_cache: RouteCacheMode,
    /// How workers send.
    pub transmit: TransmitMode,
    /// The ports, in the order of the file: the index is the `PortId`. Never empty, and either
    /// all kernel interfaces or none.
    pub ports: Vec<Port>,
    /// Static routes; empty when the ports are kernel interfaces.
    pub routes: Vec<StaticRoute>,
    /// Static neighbours; empty when the ports are kernel interfaces.
    pub neighbours: Vec<StaticNeighbour>,
    /// Filters and their sets.
    pub filters: Filters,
    /// Policers: what `Rule::policer` numbers.
    pub policers: Vec<Policer>,
    /// What is for the router itself.
    pub router: Router,
    /// How fast each port's classifier leaves packets to the kernel, by class; `None`: as they come.
    pub protection: Option<ProtectionLimits>,
    /// The connections that filters may ask for.
    pub connections: Connections,
    /// What is right but most likely not meant, in no particular order.
    pub warnings: Vec<Warning>,
}

impl Config {
    /// True when packets of some port must pass more than the route service.
    #[must_use]
    pub fn has_services(&self) -> bool {
        let of_ports = self.ports.iter().any(|port| !port.services.is_empty());
        of_ports || self.tracks_connections()
    }

    /// True when connections are tracked: where a filter of a port asks for their states, or in any case.
    #[must_use]
    pub fn tracks_connections(&self) -> bool {
        let attached = self.ports.iter().flat_map(|port| {
            let PortServices { filter_in, filter_out, .. } = port.services;
            filter_in.into_iter().chain(filter_out)
        });
        let filters = self.filters.filters();
        let mut rules = attached.filter_map(|at| filters.get(at)).flat_map(|filter| &filter.rules);
        self.connections.mode == ConnectionsMode::On
            || rules.any(|rule| !rule.rule.condition.states.is_any())
    }
}

/// Threads of the packet path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workers {
    /// Workers at the most, 1 to 256; fewer run when the ports have fewer queues.
    /// Default: one for each of `cores`, or for each core that this process may use.
    pub count_max: u16,
    /// Cores to pin workers to, in order, as many as `count_max` or more; empty: several workers get
    /// the cores that the process may use, a single one is left to the scheduler.
    pub cores: Vec<u16>,
}

/// Packet memory of each worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Frames, 1,024 to 4,194,304.
    pub frames_per_worker: u32,
    /// Bytes of a frame, headroom included: 2048 or 4096.
    pub frame_bytes: u32,
}

/// Limits on what is handed to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Punt {
    /// Packets that each port may punt in a second for each reason, over all its workers.
    pub rate_packets_per_second: u32,
    /// Packets that each port may punt at once after a pause, for each reason.
    pub burst_packets: u32,
}

/// The local API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Path of the unix socket.
    pub socket: PathBuf,
    /// Name of the group that may use it besides the owner; `None`: the group of the process.
    pub group: Option<String>,
}

/// Capacities of the tables; what is over them is refused and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// IPv4 routes at the most.
    pub routes_ipv4_max: u32,
    /// IPv6 routes at the most.
    pub routes_ipv6_max: u32,
    /// Next hops at the most.
    pub next_hops_max: u32,
    /// Next-hop groups (distinct sets of next hops) at the most.
    pub next_hop_groups_max: u32,
    /// Adjacencies (neighbours) at the most.
    pub adjacencies_max: u32,
}

impl Tables {
    /// The capacities as the route service takes them.
    #[must_use]
    pub fn route_capacities(&self) -> RouteCapacities {
        RouteCapacities {
            routes_ipv4_max: self.routes_ipv4_max,
            routes_ipv6_max: self.routes_ipv6_max,
            groups_max: self.next_hop_groups_max,
            next_hops_max: self.next_hops_max,
            adjacencies_max: self.adjacencies_max,
            ..RouteCapacities::default()
        }
    }
}

/// Whether classifiers forward by themselves what a worker has forwarded once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteCacheMode {
    /// Where it is faster and nothing is lost: between ports in native mode that copy and that take
    /// redirected frames.
    Auto,
    /// Every packet goes through a worker.
    Off,
}

/// How workers send by AF_XDP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransmitMode {
    /// By the socket's transmit ring.
    Ring,
    /// Many frames at once by live XDP frames where that is faster and keeps their order: one worker, veth
    /// ports that copy, have one transmit queue and take redirected frames. Else as `Ring`. The worker
    /// waits while the kernel attaches or detaches an XDP program, whosever it is.
    Live,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The kernel interface's name; for pcap and memory ports a label. Unique.
    pub name: String,
    /// What stands behind it.
    pub kind: PortKind,
    /// What is done there besides forwarding.
    pub services: PortServices,
}

/// What stands behind a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortKind {
    /// An interface of the kernel, which owns its addresses, VLANs, neighbours and routes.
    Kernel(KernelPort),
    /// Capture files.
    Pcap {
        /// The capture to read packets from; `None`: nothing is received.
        input: Option<PathBuf>,
        /// The capture to write sent packets to; `None`: sent packets are counted only.
        output: Option<PathBuf>,
        /// What the kernel would know of it.
        station: StaticPort,
    },
    /// Rings in memory, for tests and the demo without privileges.
    Memory {
        /// What the kernel would know of it.
        station: StaticPort,
    },
}

impl PortKind {
    /// The static part of a port that the kernel does not know.
    #[must_use]
    pub fn station(&self) -> Option<&StaticPort> {
        match self {
            Self::Kernel(_) => None,
            Self::Pcap { station, .. } | Self::Memory { station } => Some(station),
        }
    }

    /// As the file and the CLI write it.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Kernel(KernelPort { driver: KernelDriver::Auto, .. }) => "auto",
            Self::Kernel(KernelPort { driver: KernelDriver::Xdp, .. }) => "xdp",
            Self::Kernel(KernelPort { driver: KernelDriver::Packet, .. }) => "packet",
            Self::Pcap { .. } => "pcap",
            Self::Memory { .. } => "memory",
        }
    }
}

/// How a kernel interface is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelPort {
    /// Which kind of socket.
    pub driver: KernelDriver,
    /// Where the XDP program runs.
    pub xdp_mode: XdpMode,
    /// Whether the driver reads and writes packet memory itself.
    pub zero_copy: ZeroCopy,
    /// Queues to use at the most, 1 to 256; `None`: one for each worker.
    pub queues_max: Option<u16>,
    /// Entries of each receive and transmit ring: a power of two, 64 to 32,768.
    pub ring_entries: u32,
}

/// Which kind of socket serves a kernel interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelDriver {
    /// AF_XDP where it works, else AF_PACKET.
    Auto,
    /// AF_XDP or nothing.
    Xdp,
    /// AF_PACKET.
    Packet,
}

/// Where the XDP program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, else in the generic path.
    Auto,
    /// In the driver or nowhere.
    Native,
    /// In the kernel's generic path.
    Generic,
}

/// Whether an AF_XDP socket is bound with `XDP_ZEROCOPY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Where the driver can.
    Auto,
    /// Or refuse to start.
    On,
    /// Copy.
    Off,
}

/// What the kernel would know of a port, for ports that it does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticPort {
    /// Its MAC address; unicast.
    pub mac_address: MacAddress,
    /// The untagged interface, then the VLANs in the order of the file.
    pub interfaces: Vec<StaticInterface>,
}

/// A layer-3 interface of a static port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticInterface {
    /// Tags, outermost first; none for the untagged interface, two at the most.
    pub vlans: Vec<VlanTag>,
    /// Its addresses, each with the length of its connected prefix.
    pub addresses: Vec<IpNet>,
    /// Largest network-layer packet in bytes.
    pub mtu_bytes: u32,
}

/// One VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VlanTag {
    /// Tag protocol identifier: 0x8100 (IEEE 802.1Q) or 0x88a8 (IEEE 802.1ad).
    pub protocol: u16,
    /// VLAN identifier, 1 to 4094.
    pub id: u16,
}

/// Names an interface of a static port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceRef {
    /// Index into [`Config::ports`].
    pub port: usize,
    /// Index into [`StaticPort::interfaces`].
    pub interface: usize,
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    /// Destinations; no bits set behind the prefix length. Unique.
    pub prefix: IpNet,
    /// What happens to packets for them.
    pub action: RouteAction,
}

/// What a static route does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAction {
    /// Forward to one of these, at least one.
    NextHops(Vec<StaticNextHop>),
    /// Drop in silence.
    Blackhole,
    /// Refuse with "host unreachable".
    Unreachable,
    /// Refuse with "administratively prohibited".
    Prohibit,
}

/// One way onward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticNextHop {
    /// The interface to leave by.
    pub interface: InterfaceRef,
    /// The gateway, on a subnet of the interface; `None`: destinations are neighbours themselves.
    pub gateway: Option<IpAddr>,
    /// Share of the flows relative to the other next hops, 1 to 256.
    pub weight: u32,
}

/// A static neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaticNeighbour {
    /// The interface on which it lives.
    pub interface: InterfaceRef,
    /// Its address; on a subnet of the interface or IPv6 link-local.
    pub address: IpAddr,
    /// Its MAC address; unicast.
    pub mac_address: MacAddress,
}
