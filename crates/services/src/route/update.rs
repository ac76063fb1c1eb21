//! What the control side tells the route tables: interfaces, neighbours, next hops, groups, routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use linecard_packet::{AdjacencyId, InterfaceId, PortId};
use linecard_wire::MacAddress;

/// Names a next-hop group; 0 is never given out: in the FIB it means "no route".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopGroupId(pub u32);

/// Names a next hop, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextHopId(pub u32);

/// A layer-3 interface: the untagged side of a port or one of its VLANs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The port that carries it.
    pub port: PortId,
    /// Tags on the wire, outermost first, as (tag protocol identifier, VLAN identifier); at most
    /// two.
    pub vlans: Vec<(u16, u16)>,
    /// Its MAC address: destination of frames for the router, source of frames it sends.
    pub mac_address: MacAddress,
    /// Largest network-layer packet in bytes.
    pub mtu_bytes: u32,
    /// Administratively up and present.
    pub up: bool,
    /// The router forwards IPv4 packets that arrive here (`net.ipv4.conf.*.forwarding`).
    pub forwarding_ipv4: bool,
    /// The router forwards IPv6 packets that arrive here (`net.ipv6.conf.*.forwarding`).
    pub forwarding_ipv6: bool,
    /// The router's IPv4 address that packets of Linecard's own have which leave here.
    pub own_ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub own_ipv6: Option<Ipv6Addr>,
}

/// A neighbour on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adjacency {
    /// The interface on which the neighbour lives.
    pub interface: InterfaceId,
    /// Its network-layer address.
    pub address: IpAddr,
    /// Its link-layer address; `None` while the kernel has not resolved it (packets are punted,
    /// which makes the kernel ask).
    pub mac_address: Option<MacAddress>,
}

/// What is done with packets that no neighbour gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    /// The router's own address: punt.
    Local,
    /// Route type blackhole: drop.
    Blackhole,
    /// Route type unreachable, prohibit or throw: punt, the kernel answers.
    Reject,
    /// Leaves by an interface that Linecard does not serve: punt.
    NotServed,
}

/// One way onward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NextHop {
    /// To a gateway.
    Gateway(AdjacencyId),
    /// To the destination itself, a neighbour on this interface.
    Connected(InterfaceId),
    /// No neighbour.
    Special(Special),
}

/// One member of a next-hop group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The next hop.
    pub next_hop: NextHopId,
    /// Share of the flows, relative to the other members; from 1.
    pub weight: u32,
}

/// One change of the tables. The control side writes them in an order in which each is complete:
/// what an update refers to was set by an earlier one, and is removed by a later one only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteUpdate {
    /// Adds or replaces an interface.
    SetInterface(InterfaceId, Interface),
    /// Removes an interface.
    RemoveInterface(InterfaceId),
    /// Adds or replaces an adjacency; it can be found by (interface, address) from now on.
    SetAdjacency(AdjacencyId, Adjacency),
    /// Removes an adjacency.
    RemoveAdjacency(AdjacencyId),
    /// Adds or replaces a next hop.
    SetNextHop(NextHopId, NextHop),
    /// Removes a next hop.
    RemoveNextHop(NextHopId),
    /// Adds a group or changes its members; flows of members that stay do not move (resilient
    /// hashing, RFC 2992 names the problem).
    SetGroup(NextHopGroupId, Vec<Member>),
    /// Removes a group.
    RemoveGroup(NextHopGroupId),
    /// Adds a route or changes its group.
    SetRoute(IpNet, NextHopGroupId),
    /// Removes a route.
    RemoveRoute(IpNet),
}
