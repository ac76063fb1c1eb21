//! What the tables say of the way of one packet, for whoever wants to know.

use std::net::IpAddr;

use linecard_packet::{AdjacencyId, InterfaceId, Metadata, PortId, flow_hash};
use linecard_tables::hash::FlowHash;
use linecard_tables::lpm::NO_ROUTE;

use super::fib::LEFT_TO_KERNEL;
use super::{NextHop, RouteTables};

/// What is found for a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteFacts {
    /// The table does not hold all routes to where it goes.
    pub is_left_to_kernel: bool,
    /// The next hop that its flow has; `None` without a route.
    pub next_hop: Option<NextHop>,
    /// Next hops of the route, of which that is one.
    pub next_hops: u32,
    /// The neighbour that gets it; `None` if it is no neighbour's, or nothing is known of the one on the link.
    pub adjacency: Option<AdjacencyId>,
    /// The neighbour's address.
    pub neighbour: Option<IpAddr>,
    /// The neighbour's link-layer address is known.
    pub is_resolved: bool,
    /// The interface by which it would leave.
    pub interface: Option<OutFacts>,
}

/// The interface by which a packet would leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutFacts {
    /// Its port.
    pub port: PortId,
    /// Its outer VLAN identifier.
    pub vlan: Option<u16>,
    /// Largest network-layer packet, in bytes.
    pub mtu_bytes: u32,
    /// It is up.
    pub is_up: bool,
}

impl RouteTables {
    /// The way of a packet to `destination`, as the route stage finds it. Cost: that of the stage for one packet.
    #[must_use]
    pub fn explain(
        &self,
        destination: IpAddr,
        (packet, metadata): (&[u8], &Metadata),
        hash: &FlowHash,
    ) -> RouteFacts {
        let mut group = [NO_ROUTE];
        match destination {
            IpAddr::V4(address) => self.groups_ipv4(&[address.to_bits()], &mut group),
            IpAddr::V6(address) => self.groups_ipv6(&[address.to_bits()], &mut group),
        }
        let [group] = group;
        let next_hop = if group == NO_ROUTE || group == LEFT_TO_KERNEL {
            None
        } else {
            let hash = || flow_hash(packet, metadata, hash);
            self.next_hop(self.groups.select_with(group, hash))
        };
        let (adjacency, interface) = match next_hop {
            Some(NextHop::Gateway(adjacency)) => {
                (Some(adjacency), self.adjacency(adjacency).map(|entry| entry.interface))
            }
            Some(NextHop::Connected(interface)) => {
                (self.neighbour(interface, destination), Some(interface))
            }
            Some(NextHop::Special(_)) | None => (None, None),
        };
        let entry = adjacency.and_then(|id| self.adjacency(id));
        RouteFacts {
            is_left_to_kernel: group == LEFT_TO_KERNEL,
            next_hop,
            next_hops: self.groups.members(group).len() as u32,
            adjacency,
            neighbour: entry.map(|entry| entry.address),
            is_resolved: entry.is_some_and(|entry| entry.mac_address.is_some()),
            interface: interface.and_then(|id| self.out_facts(id)),
        }
    }

    fn out_facts(&self, id: InterfaceId) -> Option<OutFacts> {
        let entry = self.interface(id)?;
        let vlan = entry.tags().get(2..4).map(|tag| u16::from_be_bytes([tag[0], tag[1]]));
        Some(OutFacts { port: entry.port, vlan, mtu_bytes: entry.mtu_bytes, is_up: entry.up })
    }
}
