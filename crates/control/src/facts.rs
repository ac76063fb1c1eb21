//! What the kernel says (or, for pcap and memory ports, the configuration): links, addresses,
//! neighbours, routes and nexthop objects, as plain values.
//!
//! A [`Fact`] is one change of them. The mirror makes facts of netlink messages, the configuration
//! makes them of static routes and neighbours, and the [`Rib`](crate::rib::Rib) turns both into
//! updates of the packet path's tables. Names and numbers are the kernel's (`rtnetlink(7)`,
//! `include/uapi/linux/rtnetlink.h`, `nexthop.h`).

use std::net::IpAddr;

use ipnet::IpNet;
use linecard_wire::mac::MacAddress;

/// The kernel's routing table `local` (`RT_TABLE_LOCAL`).
pub const TABLE_LOCAL: u32 = 255;
/// The kernel's routing table `main` (`RT_TABLE_MAIN`).
pub const TABLE_MAIN: u32 = 254;
/// Interface indexes from here on are given out by the configuration; the kernel's are positive
/// 32-bit signed numbers, so the two never meet.
pub const IFINDEX_STATIC_FIRST: u32 = 0x8000_0000;

/// What kind of device a link is, as far as the packet path cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// A VLAN subinterface (IEEE 802.1Q).
    Vlan {
        /// Interface index of the device that carries it (`IFLA_LINK`).
        lower: u32,
        /// Tag protocol identifier: 0x8100 or 0x88a8.
        tag_protocol: u16,
        /// VLAN identifier, 0 to 4095.
        id: u16,
    },
    /// Anything else.
    Other,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Interface index.
    pub ifindex: u32,
    /// Interface name.
    pub name: String,
    /// Its MAC address; zero where the device has none.
    pub mac_address: MacAddress,
    /// Largest network-layer packet in bytes.
    pub mtu_bytes: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// Has a carrier (`IFF_RUNNING` or `IFF_LOWER_UP`).
    pub carrier: bool,
    /// Its kind.
    pub kind: LinkKind,
    /// IPv4 packets that arrive here are forwarded.
    pub forwarding_ipv4: bool,
    /// IPv6 packets that arrive here are forwarded.
    pub forwarding_ipv6: bool,
    /// IPv4 next hops here are dead without carrier
    /// (`net.ipv4.conf.IFACE.ignore_routes_with_linkdown`).
    pub ignore_linkdown_ipv4: bool,
    /// The same for IPv6.
    pub ignore_linkdown_ipv6: bool,
}

/// An address of the router itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The interface that owns it.
    pub ifindex: u32,
    /// The address with the length of its prefix (host bits kept).
    pub address: IpNet,
}

/// State of a neighbour entry, as far as the packet path cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourState {
    /// Frames can be sent to it: NUD states REACHABLE, STALE, DELAY, PROBE, PERMANENT, NOARP.
    Usable,
    /// NUD states NONE, INCOMPLETE and FAILED.
    Unresolved,
}

/// A neighbour entry (ARP or neighbour discovery).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface on which it lives.
    pub ifindex: u32,
    /// Its network-layer address.
    pub address: IpAddr,
    /// Its link-layer address, where the kernel knows one.
    pub mac_address: Option<MacAddress>,
    /// Its state.
    pub state: NeighbourState,
    /// Entered for good (NUD state PERMANENT or NOARP): the kernel neither resolves nor ages it.
    pub permanent: bool,
}

/// Type of a route (`rtm_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteType {
    /// To a gateway or a direct neighbour.
    Unicast,
    /// The router's own address or prefix.
    Local,
    /// A broadcast address of a link.
    Broadcast,
    /// An anycast address of the router.
    Anycast,
    /// Multicast.
    Multicast,
    /// Dropped in silence.
    Blackhole,
    /// Dropped, ICMP unreachable.
    Unreachable,
    /// Dropped, ICMP prohibited.
    Prohibit,
    /// The lookup goes on in another table.
    Throw,
    /// A type that Linecard does not know; the kernel forwards.
    Other,
}

/// One way of a route onward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Outgoing interface.
    pub ifindex: u32,
    /// The gateway, of either family (RFC 8950: IPv4 over an IPv6 next hop); `None` where the
    /// destination itself is the neighbour.
    pub via: Option<IpAddr>,
    /// Share of the flows, from 1.
    pub weight: u32,
    /// The kernel does not use it (`RTNH_F_DEAD`).
    pub dead: bool,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// The paths that stand in the route itself; empty for types that have none.
    Paths(Vec<Path>),
    /// A nexthop object (`RTA_NH_ID`).
    NextHopObject(u32),
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Table number; tables other than `main` and `local` are ignored.
    pub table: u32,
    /// Destination.
    pub prefix: IpNet,
    /// Type.
    pub route_type: RouteType,
    /// Metric (`RTA_PRIORITY`); the lowest wins.
    pub metric: u32,
    /// Who installed it (`rtm_protocol`): 2 kernel, 4 static, 186 BGP …
    pub protocol: u8,
    /// Type of service that packets must have; 0 is any.
    pub type_of_service: u8,
    /// Only the kernel can do it right: tunnel encapsulation, a path MTU of its own, a source
    /// prefix. Packets are handed to the kernel.
    pub kernel_only: bool,
    /// Where it leads.
    pub target: RouteTarget,
}

impl Route {
    /// A unicast route of the table `main` with metric 0, as the configuration writes them.
    #[must_use]
    pub fn unicast(prefix: IpNet, paths: Vec<Path>) -> Self {
        Self {
            table: TABLE_MAIN,
            prefix,
            route_type: RouteType::Unicast,
            metric: 0,
            protocol: 4,
            type_of_service: 0,
            kernel_only: false,
            target: RouteTarget::Paths(paths),
        }
    }
}

/// How a new route stands to those with the same prefix, type of service and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMode {
    /// Before them (`ip route add`, `ip route prepend`).
    Prepend,
    /// After them (`ip route append`).
    Append,
    /// In place of the first (`NLM_F_REPLACE`).
    Replace,
}

/// What a nexthop object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHopObjectKind {
    /// One path. `kernel_only`: with tunnel encapsulation, which Linecard does not do.
    Path {
        /// The path; its weight is not used.
        path: Path,
        /// Packets are handed to the kernel.
        kernel_only: bool,
    },
    /// Drops.
    Blackhole,
    /// A group of others, (object, weight); hash-threshold or resilient.
    Group(Vec<(u32, u32)>),
}

/// A nexthop object (`ip nexthop`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHopObject {
    /// Its number, from 1.
    pub id: u32,
    /// What it is.
    pub kind: NextHopObjectKind,
}

/// One change of what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A link is new or changed.
    SetLink(Link),
    /// A link is gone.
    RemoveLink(u32),
    /// An address is new.
    SetAddress(Address),
    /// An address is gone.
    RemoveAddress(Address),
    /// A neighbour is new or changed.
    SetNeighbour(Neighbour),
    /// A neighbour is gone: interface index and address.
    RemoveNeighbour(u32, IpAddr),
    /// A route is new, or one more path of it (IPv6), or replaces another.
    SetRoute(Route, RouteMode),
    /// A route is gone, or some of its paths (IPv6).
    RemoveRoute(Route),
    /// A nexthop object is new or changed.
    SetNextHopObject(NextHopObject),
    /// A nexthop object is gone, and every route that uses it.
    RemoveNextHopObject(u32),
}
