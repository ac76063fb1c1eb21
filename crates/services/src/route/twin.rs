//! The plain twin of the route tables: maps, a linear scan over the routes, one packet at a time.
//!
//! It takes the same updates and must come to the same decision as
//! [`RouteTables`](super::RouteTables) and the stage, which property tests and fuzzers compare. Which
//! member of a group carries a flow depends on the group's history, so the twin is given the choice
//! and checks only that it is a member.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use linecard_packet::{AdjacencyId, DropReason, InterfaceId, PuntReason, Verdict};
use linecard_tables::next_hop::{MEMBERS_MAX, NO_NEXT_HOP};

use super::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, ReverseRoute,
    RouteCapacities, RouteUpdate, Special, TAGS_MAX,
};

/// What [`super::RouteTables`] holds, as plainly as can be.
#[derive(Debug)]
pub struct RouteTwin {
    capacities: RouteCapacities,
    interfaces: BTreeMap<InterfaceId, Interface>,
    adjacencies: BTreeMap<AdjacencyId, Adjacency>,
    next_hops: BTreeMap<NextHopId, NextHop>,
    groups: BTreeMap<NextHopGroupId, Vec<Member>>,
    routes: BTreeMap<IpNet, NextHopGroupId>,
    /// Routes that did not fit; they take the place of routes that go, in their order.
    refused: BTreeMap<IpNet, NextHopGroupId>,
    /// More IPv4 or IPv6 routes were refused than are kept.
    overflowed: [bool; 2],
    neighbours: BTreeMap<(InterfaceId, IpAddr), AdjacencyId>,
    refused_updates: u64,
}

impl RouteTwin {
    /// Empty tables.
    #[must_use]
    pub fn new(capacities: &RouteCapacities) -> Self {
        Self {
            capacities: *capacities,
            interfaces: BTreeMap::new(),
            adjacencies: BTreeMap::new(),
            next_hops: BTreeMap::new(),
            groups: BTreeMap::new(),
            routes: BTreeMap::new(),
            refused: BTreeMap::new(),
            overflowed: [false; 2],
            neighbours: BTreeMap::new(),
            refused_updates: 0,
        }
    }

    /// As [`super::RouteTables::refused_updates`].
    #[must_use]
    pub fn refused_updates(&self) -> u64 {
        self.refused_updates
    }

    /// Carries out an update, or refuses and counts it.
    pub fn apply(&mut self, update: &RouteUpdate) {
        if self.refuses(update) {
            self.refused_updates += 1;
            return self.refuse(update);
        }
        match update.clone() {
            RouteUpdate::SetInterface(id, interface) => {
                self.interfaces.insert(id, interface);
            }
            RouteUpdate::RemoveInterface(id) => {
                self.interfaces.remove(&id);
            }
            RouteUpdate::SetAdjacency(id, adjacency) => {
                self.forget_neighbour(id);
                self.neighbours.insert((adjacency.interface, adjacency.address), id);
                self.adjacencies.insert(id, adjacency);
            }
            RouteUpdate::RemoveAdjacency(id) => {
                self.forget_neighbour(id);
                self.adjacencies.remove(&id);
            }
            RouteUpdate::SetNextHop(id, next_hop) => {
                self.next_hops.insert(id, next_hop);
            }
            RouteUpdate::RemoveNextHop(id) => {
                self.next_hops.remove(&id);
            }
            RouteUpdate::SetGroup(id, members) => {
                self.groups.insert(id, members);
            }
            RouteUpdate::RemoveGroup(id) => {
                self.groups.remove(&id);
            }
            RouteUpdate::SetRoute(prefix, group) => {
                self.routes.insert(prefix.trunc(), group);
            }
            RouteUpdate::RemoveRoute(prefix) => {
                self.remove_route(prefix.trunc());
            }
        }
    }

    /// What is left of a refused update.
    fn refuse(&mut self, update: &RouteUpdate) {
        match update {
            RouteUpdate::SetInterface(id, _) => {
                self.interfaces.remove(id);
            }
            RouteUpdate::SetGroup(id, _) => {
                self.groups.remove(id);
            }
            RouteUpdate::SetRoute(prefix, group) if group.0 != 0 => {
                let prefix = prefix.trunc();
                let kept = count(&self.refused, prefix) < self.routes_max(prefix).min(65_536);
                if kept || self.refused.contains_key(&prefix) {
                    self.refused.insert(prefix, *group);
                } else {
                    self.overflowed[family(prefix.addr())] = true;
                }
            }
            _ => {}
        }
    }

    fn remove_route(&mut self, prefix: IpNet) {
        self.refused.remove(&prefix);
        if self.routes.remove(&prefix).is_none() {
            return;
        }
        let same = |other: &&IpNet| family(other.addr()) == family(prefix.addr());
        let next = self.refused.keys().find(same).copied();
        if let Some(group) = next.and_then(|next| self.refused.remove(&next)) {
            self.routes.extend(next.map(|next| (next, group)));
        }
    }

    fn routes_max(&self, prefix: IpNet) -> usize {
        let capacities = &self.capacities;
        [capacities.routes_ipv4_max, capacities.routes_ipv6_max][family(prefix.addr())] as usize
    }

    /// Whether packets to `destination` are the kernel's, because a route that they may take does not
    /// fit.
    #[must_use]
    pub fn left_to_kernel(&self, destination: IpAddr) -> bool {
        self.overflowed[family(destination)]
            || self.refused.keys().any(|prefix| prefix.contains(&destination))
    }

    fn refuses(&self, update: &RouteUpdate) -> bool {
        let capacities = &self.capacities;
        match update {
            RouteUpdate::SetInterface(id, interface) => {
                u32::from(id.0) >= capacities.interfaces_max || interface.vlans.len() > TAGS_MAX
            }
            RouteUpdate::SetAdjacency(id, _) => id.0 >= capacities.adjacencies_max,
            RouteUpdate::SetNextHop(id, _) => id.0 >= capacities.next_hops_max,
            RouteUpdate::SetGroup(id, members) => {
                id.0 >= capacities.groups_max
                    || members.is_empty()
                    || members.iter().any(|member| member.weight == 0)
                    || members.iter().any(|member| member.next_hop.0 == NO_NEXT_HOP)
                    || distinct(members) > MEMBERS_MAX
            }
            RouteUpdate::SetRoute(prefix, group) => {
                let prefix = prefix.trunc();
                let full = count(&self.routes, prefix) >= self.routes_max(prefix);
                group.0 == 0 || (full && !self.routes.contains_key(&prefix))
            }
            _ => false,
        }
    }

    fn forget_neighbour(&mut self, id: AdjacencyId) {
        self.neighbours.retain(|_, owner| *owner != id);
    }

    /// The next hops among which a flow to `destination` may be shared; none without a route.
    #[must_use]
    pub fn candidates(&self, destination: IpAddr) -> Vec<NextHopId> {
        let covering = self.routes.iter().filter(|(prefix, _)| prefix.contains(&destination));
        let best = covering.max_by_key(|(prefix, _)| prefix.prefix_len());
        let members = best.and_then(|(_, group)| self.groups.get(group));
        members.into_iter().flatten().map(|member| member.next_hop).collect()
    }

    /// What becomes of a packet of `length` bytes to `destination` along `next_hop`.
    #[must_use]
    pub fn verdict(&self, next_hop: NextHopId, destination: IpAddr, length: u32) -> Verdict {
        let (interface, adjacency) = match self.next_hops.get(&next_hop) {
            None => return Verdict::Punt(PuntReason::NoRoute),
            Some(NextHop::Special(Special::Local)) => return Verdict::Punt(PuntReason::Local),
            Some(NextHop::Special(Special::Reject)) => {
                return Verdict::Punt(PuntReason::RouteRejects);
            }
            Some(NextHop::Special(Special::NotServed)) => {
                return Verdict::Punt(PuntReason::NotServed);
            }
            Some(NextHop::Special(Special::Blackhole)) => {
                return Verdict::Drop(DropReason::Blackhole);
            }
            Some(&NextHop::Gateway(id)) => match self.adjacencies.get(&id) {
                None => return Verdict::Punt(PuntReason::NeighbourUnresolved),
                Some(adjacency) => (adjacency.interface, Some(id)),
            },
            Some(&NextHop::Connected(interface)) => {
                (interface, self.neighbours.get(&(interface, destination)).copied())
            }
        };
        let interface = match self.interfaces.get(&interface) {
            Some(interface) if interface.up => interface,
            Some(_) => return Verdict::Drop(DropReason::PortDown),
            None => return Verdict::Punt(PuntReason::NotServed),
        };
        if length > interface.mtu_bytes {
            return Verdict::Punt(PuntReason::TooBig);
        }
        let resolved = |id: &AdjacencyId| self.adjacencies[id].mac_address.is_some();
        match adjacency.filter(resolved) {
            Some(adjacency) => Verdict::Forward { port: interface.port, adjacency },
            None => Verdict::Punt(PuntReason::NeighbourUnresolved),
        }
    }

    /// As [`super::RouteTables::reverse`] for the best route to `address`; a group's first member tells
    /// where none leaves by the interface.
    #[must_use]
    pub fn reverse(&self, address: IpAddr, interface: InterfaceId) -> ReverseRoute {
        if self.left_to_kernel(address) {
            return ReverseRoute::Unknown;
        }
        if !self.routes.keys().any(|prefix| prefix.contains(&address)) {
            return ReverseRoute::Missing;
        }
        let mut next_hops = self.candidates(address);
        next_hops.sort_unstable();
        let found: Vec<_> = next_hops.iter().map(|id| self.reverse_by(*id, interface)).collect();
        match found.first() {
            _ if found.contains(&ReverseRoute::Here) => ReverseRoute::Here,
            Some(first) => *first,
            None => ReverseRoute::Unknown,
        }
    }

    fn reverse_by(&self, next_hop: NextHopId, interface: InterfaceId) -> ReverseRoute {
        let leaves_by = match self.next_hops.get(&next_hop) {
            Some(NextHop::Gateway(id)) => self.adjacencies.get(id).map(|it| it.interface),
            Some(NextHop::Connected(interface)) => Some(*interface),
            Some(NextHop::Special(Special::Local)) => return ReverseRoute::Local,
            Some(NextHop::Special(Special::NotServed)) => return ReverseRoute::Elsewhere,
            Some(NextHop::Special(_)) => return ReverseRoute::Refused,
            None => None,
        };
        match leaves_by {
            Some(id) if id == interface => ReverseRoute::Here,
            Some(_) => ReverseRoute::Elsewhere,
            None => ReverseRoute::Unknown,
        }
    }

    /// The interface of a frame that came in on `port` with these tags, and its MAC address.
    #[must_use]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(&id)
    }
}

/// 0 for IPv4, 1 for IPv6.
fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// Routes of the family of `prefix`.
fn count(routes: &BTreeMap<IpNet, NextHopGroupId>, prefix: IpNet) -> usize {
    routes.keys().filter(|other| family(other.addr()) == family(prefix.addr())).count()
}

/// Next hops among the members; one that is listed twice counts once.
fn distinct(members: &[Member]) -> usize {
    members.iter().map(|member| member.next_hop).collect::<BTreeSet<_>>().len()
}
