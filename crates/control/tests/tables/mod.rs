//! A plain interpreter of route updates: maps and a linear search. It refuses an update that
//! refers to what is not there, or removes what is still referred to.

// Shared by several tests, of which none needs all of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use linecard_packet::{AdjacencyId, InterfaceId};
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteUpdate, Special,
};
use linecard_wire::MacAddress;

/// Where a packet goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Punted, dropped …
    Special(String),
    /// To a gateway, or (no address) to the destination itself.
    Out { interface: u16, via: Option<IpAddr> },
}

impl Way {
    pub(crate) fn special(special: Special) -> Self {
        Self::Special(format!("{special:?}"))
    }
}

/// What a lookup gives: the prefix, and the weight of each way.
pub(crate) type Answer = Option<(IpNet, BTreeMap<Way, u32>)>;

/// The tables of the packet path, plainly.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) interfaces: BTreeMap<u16, Interface>,
    pub(crate) adjacencies: BTreeMap<u32, Adjacency>,
    pub(crate) next_hops: BTreeMap<u32, NextHop>,
    pub(crate) groups: BTreeMap<u32, Vec<Member>>,
    pub(crate) routes: BTreeMap<IpNet, u32>,
}

impl Tables {
    pub(crate) fn apply(&mut self, update: RouteUpdate) {
        match update {
            RouteUpdate::SetInterface(InterfaceId(id), interface) => {
                self.interfaces.insert(id, interface);
            }
            RouteUpdate::RemoveInterface(id) => {
                let used = self.adjacencies.values().any(|held| held.interface == id)
                    || self.next_hops.values().any(|held| *held == NextHop::Connected(id));
                assert!(!used, "{id:?} is removed while something refers to it");
                self.interfaces.remove(&id.0).expect("an interface that is removed exists");
            }
            RouteUpdate::SetAdjacency(AdjacencyId(id), adjacency) => {
                assert!(self.interfaces.contains_key(&adjacency.interface.0), "{adjacency:?}");
                let double = self.adjacencies.iter().any(|(other, held)| {
                    (held.interface, held.address) == (adjacency.interface, adjacency.address)
                        && *other != id
                });
                assert!(!double, "{adjacency:?} exists under another number");
                self.adjacencies.insert(id, adjacency);
            }
            RouteUpdate::RemoveAdjacency(id) => {
                let used = self.next_hops.values().any(|held| *held == NextHop::Gateway(id));
                assert!(!used, "{id:?} is removed while a next hop refers to it");
                self.adjacencies.remove(&id.0).expect("an adjacency that is removed exists");
            }
            RouteUpdate::SetNextHop(NextHopId(id), next_hop) => {
                match next_hop {
                    NextHop::Gateway(id) => assert!(self.adjacencies.contains_key(&id.0)),
                    NextHop::Connected(id) => assert!(self.interfaces.contains_key(&id.0)),
                    NextHop::Special(_) => {}
                }
                self.next_hops.insert(id, next_hop);
            }
            RouteUpdate::RemoveNextHop(id) => {
                let used = self.groups.values().flatten().any(|member| member.next_hop == id);
                assert!(!used, "{id:?} is removed while a group refers to it");
                self.next_hops.remove(&id.0).expect("a next hop that is removed exists");
            }
            RouteUpdate::SetGroup(NextHopGroupId(id), members) => {
                assert!(id != 0 && !members.is_empty());
                for member in &members {
                    assert!(self.next_hops.contains_key(&member.next_hop.0) && member.weight > 0);
                }
                let distinct: BTreeSet<_> = members.iter().map(|member| member.next_hop).collect();
                assert_eq!(distinct.len(), members.len(), "each next hop once");
                self.groups.insert(id, members);
            }
            RouteUpdate::RemoveGroup(NextHopGroupId(id)) => {
                assert!(!self.routes.values().any(|group| *group == id), "group {id} is used");
                self.groups.remove(&id).expect("a group that is removed exists");
            }
            RouteUpdate::SetRoute(prefix, NextHopGroupId(group)) => {
                assert!(self.groups.contains_key(&group), "{prefix} leads to nothing");
                self.routes.insert(prefix, group);
            }
            RouteUpdate::RemoveRoute(prefix) => {
                self.routes.remove(&prefix).expect("a route that is removed exists");
            }
        }
    }

    pub(crate) fn lookup(&self, destination: IpAddr) -> Answer {
        let matching = self.routes.iter().filter(|(prefix, _)| prefix.contains(&destination));
        let (prefix, group) = matching.max_by_key(|(prefix, _)| prefix.prefix_len())?;
        let mut ways = BTreeMap::new();
        for member in &self.groups[group] {
            let way = match self.next_hops[&member.next_hop.0] {
                NextHop::Special(special) => Way::special(special),
                NextHop::Connected(InterfaceId(interface)) => Way::Out { interface, via: None },
                NextHop::Gateway(AdjacencyId(id)) => {
                    let adjacency = &self.adjacencies[&id];
                    let interface = adjacency.interface.0;
                    Way::Out { interface, via: Some(adjacency.address) }
                }
            };
            *ways.entry(way).or_insert(0) += member.weight;
        }
        Some((*prefix, ways))
    }

    /// The MAC address of a neighbour; `None` where the packet path knows no such neighbour.
    pub(crate) fn neighbour(&self, interface: u16, address: IpAddr) -> Option<Option<MacAddress>> {
        let wanted = (InterfaceId(interface), address);
        let mut held = self.adjacencies.values();
        held.find(|held| (held.interface, held.address) == wanted).map(|held| held.mac_address)
    }
}
