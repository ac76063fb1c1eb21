//! Which answers a change of the tables takes back: for who remembers them, the route cache.
//!
//! A packet's way follows from the longest prefix that contains its destination, the group and next hop
//! that the prefix names, the adjacency, and the interfaces on both sides. A change of a prefix concerns
//! the destinations under it; of an adjacency those that leave by it, and the one that is the neighbour
//! itself. Groups and next hops are set before anything refers to them and removed afterwards
//! ([`RouteUpdate`]), so a new one concerns nothing, and a change of one that was there, like all that
//! has to do with interfaces, is rare enough to concern everything.

use std::net::IpAddr;

use hashbrown::HashSet;
use ipnet::IpNet;
use linecard_packet::AdjacencyId;

use super::RouteUpdate;

/// Of more prefixes and adjacencies at once everything counts as concerned: each remembered answer is
/// looked up among them.
const CHANGES_MAX: usize = 4096;

/// Collects what the updates between two publications concern.
#[derive(Debug, Default)]
pub struct Stale {
    everything: bool,
    /// First and last address of each changed prefix and neighbour, by family; sorted by [`Self::settle`].
    ipv4: Vec<(u128, u128)>,
    ipv6: Vec<(u128, u128)>,
    adjacencies: HashSet<AdjacencyId>,
    /// What is set, so that what is new can be told from what changes.
    groups: HashSet<u32>,
    next_hops: HashSet<u32>,
}

impl Stale {
    /// Takes note of an update.
    pub fn note(&mut self, update: &RouteUpdate) {
        match update {
            RouteUpdate::SetInterface(..) | RouteUpdate::RemoveInterface(_) => {
                self.everything = true;
            }
            RouteUpdate::SetAdjacency(id, adjacency) => {
                self.adjacencies.insert(*id);
                self.note_prefix(adjacency.address.into());
            }
            RouteUpdate::RemoveAdjacency(id) => {
                self.adjacencies.insert(*id);
            }
            RouteUpdate::SetNextHop(id, _) => self.everything |= !self.next_hops.insert(id.0),
            RouteUpdate::RemoveNextHop(id) => {
                self.next_hops.remove(&id.0);
            }
            RouteUpdate::SetGroup(id, _) => self.everything |= !self.groups.insert(id.0),
            RouteUpdate::RemoveGroup(id) => {
                self.groups.remove(&id.0);
            }
            RouteUpdate::SetRoute(prefix, _) | RouteUpdate::RemoveRoute(prefix) => {
                self.note_prefix(*prefix);
            }
        }
    }

    fn note_prefix(&mut self, prefix: IpNet) {
        let ranges = match prefix {
            IpNet::V4(_) => &mut self.ipv4,
            IpNet::V6(_) => &mut self.ipv6,
        };
        if ranges.len() < CHANGES_MAX {
            ranges.push((number(prefix.network()), number(prefix.broadcast())));
        } else {
            self.everything = true;
        }
    }

    /// True when no answer is concerned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let ranges = self.ipv4.is_empty() && self.ipv6.is_empty();
        !self.everything && ranges && self.adjacencies.is_empty()
    }

    /// True when every answer is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.everything || self.adjacencies.len() > CHANGES_MAX
    }

    /// Makes it ready for [`Self::concerns`]: to be called once after the last [`Self::note`].
    pub fn settle(&mut self) {
        for ranges in [&mut self.ipv4, &mut self.ipv6] {
            ranges.sort_unstable();
            // Prefixes contain each other or have nothing in common: of nested ones the outer is first.
            ranges.dedup_by(|inner, outer| inner.1 <= outer.1);
        }
    }

    /// Whether the answer for a destination, by way of an adjacency, is to be taken back.
    ///
    /// Cost: a binary search and a hash.
    #[must_use]
    pub fn concerns(&self, destination: IpAddr, adjacency: AdjacencyId) -> bool {
        let (ranges, address) = match destination {
            IpAddr::V4(_) => (&self.ipv4, number(destination)),
            IpAddr::V6(_) => (&self.ipv6, number(destination)),
        };
        let behind = ranges.partition_point(|&(first, _)| first <= address);
        let within = behind.checked_sub(1).is_some_and(|at| address <= ranges[at].1);
        self.is_everything() || within || self.adjacencies.contains(&adjacency)
    }

    /// Forgets what the updates concerned, but not which groups and next hops there are.
    pub fn clear(&mut self) {
        self.everything = false;
        self.ipv4.clear();
        self.ipv6.clear();
        self.adjacencies.clear();
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use linecard_packet::{InterfaceId, PortId};
    use linecard_wire::MacAddress;
    use proptest::prelude::*;

    use super::super::{Adjacency, Interface, NextHop, NextHopGroupId, NextHopId, Special};
    use super::*;

    fn stale(updates: &[RouteUpdate]) -> Stale {
        let mut stale = Stale::default();
        for update in updates {
            stale.note(update);
        }
        stale.settle();
        stale
    }

    fn concerns(stale: &Stale, destination: &str, adjacency: u32) -> bool {
        stale.concerns(destination.parse().expect("an address"), AdjacencyId(adjacency))
    }

    fn route(prefix: &str) -> RouteUpdate {
        RouteUpdate::SetRoute(prefix.parse().expect("a prefix"), NextHopGroupId(1))
    }

    #[test]
    fn routes_concern_what_is_under_them() {
        let removed = RouteUpdate::RemoveRoute("2001:db8::/32".parse().expect("a prefix"));
        let changes = [route("10.0.0.0/8"), route("10.1.0.0/16"), route("192.0.2.7/32"), removed];
        let stale = stale(&changes);
        for inside in ["10.0.0.0", "10.255.255.255", "10.200.0.1", "192.0.2.7", "2001:db8:ffff::"] {
            assert!(concerns(&stale, inside, 0), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.6", "2001:db7::1", "::a00:1"] {
            assert!(!concerns(&stale, outside, 0), "{outside}");
        }
        assert!(!stale.is_everything() && !stale.is_empty());
    }

    #[test]
    fn a_neighbour_concerns_itself_and_what_leaves_by_it() {
        let adjacency = Adjacency {
            interface: InterfaceId(0),
            address: "192.0.2.9".parse().expect("an address"),
            mac_address: None,
        };
        let stale = stale(&[
            RouteUpdate::SetAdjacency(AdjacencyId(4), adjacency),
            RouteUpdate::RemoveAdjacency(AdjacencyId(5)),
        ]);
        assert!(concerns(&stale, "203.0.113.1", 4) && concerns(&stale, "203.0.113.1", 5));
        assert!(concerns(&stale, "192.0.2.9", 6) && !concerns(&stale, "192.0.2.8", 6));
    }

    #[test]
    fn what_is_new_concerns_nothing_and_what_changes_everything() {
        let group = |id| RouteUpdate::SetGroup(NextHopGroupId(id), Vec::new());
        let next_hop =
            |id| RouteUpdate::SetNextHop(NextHopId(id), NextHop::Special(Special::Local));
        let mut stale = stale(&[group(1), next_hop(1), group(2)]);
        assert!(stale.is_empty());
        stale.note(&RouteUpdate::RemoveGroup(NextHopGroupId(1)));
        stale.note(&group(1));
        assert!(stale.is_empty(), "it is new again");
        stale.note(&group(2));
        assert!(stale.is_everything());
        stale.clear();
        assert!(stale.is_empty());
        stale.note(&next_hop(1));
        assert!(stale.is_everything() && concerns(&stale, "192.0.2.1", 0));
        let interface = Interface {
            port: PortId(0),
            vlans: Vec::new(),
            mac_address: MacAddress::new([2, 0, 0, 0, 0, 1]),
            mtu_bytes: 1500,
            up: true,
            forwarding_ipv4: true,
            forwarding_ipv6: true,
            own_ipv4: None,
            own_ipv6: None,
        };
        stale.clear();
        stale.note(&RouteUpdate::SetInterface(InterfaceId(0), interface));
        assert!(stale.is_everything());
    }

    #[test]
    fn too_many_changes_concern_everything() {
        let host = |n: u32| RouteUpdate::RemoveRoute(IpNet::from(IpAddr::from(n.to_be_bytes())));
        let mut stale = Stale::default();
        (0..CHANGES_MAX as u32).for_each(|n| stale.note(&host(n)));
        assert!(!stale.is_everything());
        stale.note(&host(CHANGES_MAX as u32));
        assert!(stale.is_everything());
    }

    proptest! {
        /// The same as asking each prefix in turn.
        #[test]
        fn nested_prefixes_are_found(
            prefixes in prop::collection::vec((any::<u8>(), 24_u8..=32), 0..40),
            last in any::<u8>(),
        ) {
            let net = |(last, length)| {
                IpNet::new([192, 0, 2, last].into(), length).expect("a length").trunc()
            };
            let prefixes: Vec<IpNet> = prefixes.into_iter().map(net).collect();
            let updates: Vec<_> = prefixes.iter().map(|&it| RouteUpdate::RemoveRoute(it)).collect();
            let destination = IpAddr::from([192, 0, 2, last]);
            let expected = prefixes.iter().any(|prefix| prefix.contains(&destination));
            prop_assert_eq!(stale(&updates).concerns(destination, AdjacencyId(0)), expected);
        }
    }
}
