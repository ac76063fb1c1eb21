//! The route back: where packets to a source address would leave, for checks of where it comes from.

use linecard_packet::InterfaceId;
use linecard_tables::lpm::NO_ROUTE;

use super::fib::LEFT_TO_KERNEL;
use super::{NextHop, RouteTables, Special};

/// What the best route to an address says about an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReverseRoute {
    /// One of its next hops leaves by the interface.
    Here,
    /// All its next hops leave by others, or by what Linecard does not serve.
    Elsewhere,
    /// There is no route.
    Missing,
    /// The address is one of the router's own.
    Local,
    /// It is of type blackhole, unreachable, prohibit or throw: nobody is reached by it.
    Refused,
    /// The table is not complete: nobody knows.
    Unknown,
}

impl RouteTables {
    /// The group of the best route to each address, into `groups` at the same place: what
    /// [`Self::reverse`] takes. Cost: one bulk lookup.
    pub fn groups_ipv4(&self, addresses: &[u32], groups: &mut [u32]) {
        self.routes_ipv4.lookup_bulk(addresses, groups);
    }

    /// As [`Self::groups_ipv4`].
    pub fn groups_ipv6(&self, addresses: &[u128], groups: &mut [u32]) {
        self.routes_ipv6.lookup_bulk(addresses, groups);
    }

    /// What a route with this group says about an interface. Cost: as to forward one packet; with
    /// several next hops, each of them.
    #[inline]
    #[must_use]
    pub fn reverse(&self, group: u32, interface: InterfaceId) -> ReverseRoute {
        if group == NO_ROUTE {
            return ReverseRoute::Missing;
        }
        if group == LEFT_TO_KERNEL {
            return ReverseRoute::Unknown;
        }
        if !self.groups.is_multipath(group) {
            return self.reverse_next_hop(self.groups.select(group, 0), interface);
        }
        // The kernel's `fib_info_nh_uses_dev`: any of them will do. Of the others the first tells.
        let members = self.groups.members(group).iter();
        let mut found = members.map(|(next_hop, _)| self.reverse_next_hop(*next_hop, interface));
        let first = found.next().unwrap_or(ReverseRoute::Unknown);
        let is_here = first == ReverseRoute::Here || found.any(|it| it == ReverseRoute::Here);
        if is_here { ReverseRoute::Here } else { first }
    }

    #[inline]
    fn reverse_next_hop(&self, id: u32, interface: InterfaceId) -> ReverseRoute {
        let leaves_by = match self.next_hop(id) {
            Some(NextHop::Gateway(adjacency)) => match self.adjacency(adjacency) {
                Some(adjacency) => adjacency.interface,
                None => return ReverseRoute::Unknown,
            },
            Some(NextHop::Connected(interface)) => interface,
            Some(NextHop::Special(Special::Local)) => return ReverseRoute::Local,
            Some(NextHop::Special(Special::Blackhole | Special::Reject)) => {
                return ReverseRoute::Refused;
            }
            Some(NextHop::Special(Special::NotServed)) => return ReverseRoute::Elsewhere,
            None => return ReverseRoute::Unknown,
        };
        if leaves_by == interface { ReverseRoute::Here } else { ReverseRoute::Elsewhere }
    }
}
