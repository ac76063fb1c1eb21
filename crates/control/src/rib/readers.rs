//! What the base holds, for whoever looks at it.

use ipnet::IpNet;
use linecard_packet::InterfaceId;
use linecard_services::route::Interface;

use super::{HeldAdjacency, HeldRoute, Rib};
use crate::facts::{Link, Neighbour, NextHopObjectKind, Path};

impl Rib {
    /// A link.
    #[must_use]
    pub fn link(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(ifindex)
    }

    /// All links, in no order.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    /// All interfaces of the packet path with the index of their link, in no order.
    pub fn interfaces(&self) -> impl Iterator<Item = (u32, InterfaceId, &Interface)> {
        self.links.interfaces()
    }

    /// The paths of a nexthop object, those of a group with its weights; none for a blackhole.
    #[must_use]
    pub fn object_paths(&self, id: u32) -> Vec<Path> {
        let path_of = |(member, weight)| match self.objects.kind(member) {
            Some(NextHopObjectKind::Path { path, .. }) => Some(Path { weight, ..*path }),
            _ => None,
        };
        self.objects.members(id).into_iter().filter_map(path_of).collect()
    }

    /// All neighbours, in no order.
    pub fn neighbours(&self) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.iter()
    }

    /// All routes, in no order.
    pub fn routes(&self) -> impl Iterator<Item = HeldRoute> + '_ {
        self.routes.iter(&self.paths)
    }

    /// The routes of one prefix. Cost: a lookup.
    pub fn routes_of(&self, prefix: IpNet) -> impl Iterator<Item = HeldRoute> + '_ {
        self.routes.of(prefix, &self.paths)
    }

    /// The prefixes of which the packet path uses a route, in no order. Allocates nothing.
    pub fn selected_prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.routes.selected()
    }

    /// Number of prefixes that have a route.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        self.routes.len()
    }

    /// Number of next-hop groups that the packet path holds. Cost: linear in the path sets.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.paths.groups()
    }

    /// All adjacencies, in no order.
    pub fn adjacencies(&self) -> impl Iterator<Item = HeldAdjacency> + '_ {
        self.neighbours.adjacencies()
    }
}
