//! The routing information base: facts in, updates of the packet path's tables out.
//!
//! It holds what the kernel holds (links, neighbours, nexthop objects and the routes of the tables
//! `main` and `local`), knows which links are ports, and follows the kernel in what it does without
//! telling: the routes of a link that goes down, of a deleted nexthop object, of the last address
//! of a link. Where that is not certain it asks for a *resync*: a fresh dump, of which only the
//! differences reach the packet path.
//!
//! ```text
//! route ─► candidates of a prefix ─► path set ─► next-hop group ─► next hop ─► adjacency
//!          (routes)                  (paths)                                   (neighbours)
//! ```
//!
//! A fact only marks what it touches. [`Rib::drain`] then looks at each marked thing once and says
//! what has changed since the last drain, in an order in which no update refers to what is not
//! there; a change that was taken back in between costs nothing. The cost of a drain is linear in
//! the changes, except when a path set dies or revives: then it is linear in the routes.

mod candidates;
mod hops;
mod ids;
mod links;
mod neighbours;
mod objects;
mod path_key;
mod paths;
mod readers;
mod resync;
mod routes;
mod senders;
mod staged;

use std::net::IpAddr;

use linecard_packet::PortId;
use linecard_services::route::RouteUpdate;

pub use self::neighbours::HeldAdjacency;
pub use self::routes::HeldRoute;
use self::{
    links::{Links, Transition},
    neighbours::Neighbours,
    objects::Objects,
    paths::{Flush, PathSets},
    routes::Routes,
    senders::Addresses,
    staged::Staged,
};
use crate::facts::{Address, Fact, Link, Route, RouteMode, RouteTarget, TABLE_LOCAL, TABLE_MAIN};

/// One change of the set of the router's own addresses, for the XDP program's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalUpdate {
    /// The address is the router's own.
    Set(IpAddr),
    /// The address is no longer the router's own.
    Remove(IpAddr),
}

/// Generation of facts of the configuration, which no resync sweeps away.
const GENERATION_STATIC: u8 = u8::MAX;

/// What the facts that arrive now are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// News.
    Live,
    /// A dump: the present state, in the kernel's order.
    Dump,
    /// News that arrived during a dump, and may be older than what it said.
    Replay,
}

/// All facts, and what the packet path was told of them.
#[derive(Debug)]
pub struct Rib {
    links: Links,
    addresses: Addresses,
    neighbours: Neighbours,
    objects: Objects,
    paths: PathSets,
    routes: Routes,
    local: Vec<LocalUpdate>,
    generation: u8,
    phase: Phase,
    resync_wanted: bool,
}

impl Default for Rib {
    fn default() -> Self {
        Self::new()
    }
}

impl Rib {
    /// An empty base that serves no port.
    #[must_use]
    pub fn new() -> Self {
        let mut paths = PathSets::new();
        Self {
            links: Links::default(),
            addresses: Addresses::new(),
            neighbours: Neighbours::default(),
            objects: Objects::default(),
            routes: Routes::new(&mut paths),
            paths,
            local: Vec::new(),
            generation: 0,
            phase: Phase::Live,
            resync_wanted: false,
        }
    }

    /// Tells that the link `ifindex` is a port: it and its VLANs become interfaces.
    pub fn serve(&mut self, ifindex: u32, port: PortId) {
        self.links.serve(ifindex, Some(port));
    }

    /// Tells that the link `ifindex` is no port any more.
    pub fn unserve(&mut self, ifindex: u32) {
        self.links.serve(ifindex, None);
    }

    /// Takes a fact of the kernel's.
    pub fn apply(&mut self, fact: Fact) {
        self.apply_as(fact, self.generation);
    }

    /// Takes a fact of the configuration's: a resync with the kernel leaves it alone. Its links
    /// have indexes from [`IFINDEX_STATIC_FIRST`](crate::facts::IFINDEX_STATIC_FIRST).
    pub fn apply_static(&mut self, fact: Fact) {
        self.apply_as(fact, GENERATION_STATIC);
    }

    fn apply_as(&mut self, fact: Fact, generation: u8) {
        match fact {
            Fact::SetLink(link) => self.set_link(link, generation),
            Fact::RemoveLink(ifindex) => self.remove_link(ifindex),
            Fact::SetAddress(address) => self.set_address(address, generation),
            Fact::RemoveAddress(address) => self.remove_address(address),
            Fact::SetNeighbour(neighbour) => {
                self.neighbours.set(neighbour, generation, &self.links);
            }
            Fact::RemoveNeighbour(ifindex, address) => {
                self.neighbours.remove(ifindex, address, &self.links);
            }
            Fact::SetRoute(route, mode) => self.set_route(&route, mode, generation),
            Fact::RemoveRoute(route) => self.remove_route(&route, generation),
            Fact::SetNextHopObject(object) => {
                let id = object.id;
                if self.objects.set(object, generation) {
                    self.touch_object(id);
                }
            }
            Fact::RemoveNextHopObject(id) => self.remove_object(id),
        }
    }

    fn set_link(&mut self, link: Link, generation: u8) {
        let ifindex = link.ifindex;
        let Transition { went_down, came_up, lost_carrier } = self.links.set(link, generation);
        if went_down {
            self.paths.flush_link(ifindex, true, Flush::LinkDown, &self.links);
            self.paths.flush_link(ifindex, false, Flush::LinkDown, &self.links);
            self.resync_wanted = true;
        }
        if went_down || lost_carrier {
            for object in self.objects.on_link(ifindex) {
                self.remove_object(object);
                self.resync_wanted = true;
            }
        }
        if came_up && self.paths.dead_on(ifindex) {
            self.resync_wanted = true;
        }
    }

    fn remove_link(&mut self, ifindex: u32) {
        if !self.links.remove(ifindex) {
            return;
        }
        self.addresses.remove(&ifindex);
        self.paths.flush_link(ifindex, true, Flush::LinkGone, &self.links);
        self.paths.flush_link(ifindex, false, Flush::LinkGone, &self.links);
        for object in self.objects.on_link(ifindex) {
            self.remove_object(object);
        }
        self.resync_wanted = true;
    }

    fn set_address(&mut self, address: Address, generation: u8) {
        let held = self.addresses.entry(address.ifindex).or_default();
        match held.iter_mut().find(|(known, _)| *known == address.address) {
            Some((_, seen)) => *seen = generation,
            None => {
                held.push((address.address, generation));
                self.links.senders_changed();
            }
        }
        // The kernel revives paths on a link that gets an IPv4 address, and does not say so.
        if address.address.addr().is_ipv4() && self.paths.dead_on(address.ifindex) {
            self.resync_wanted = true;
        }
    }

    fn remove_address(&mut self, address: Address) {
        let Some(held) = self.addresses.get_mut(&address.ifindex) else { return };
        held.retain(|(known, _)| *known != address.address);
        self.links.senders_changed();
        if address.address.addr().is_ipv6() {
            return;
        }
        if !held.iter().any(|(known, _)| known.addr().is_ipv4()) {
            self.paths.flush_link(address.ifindex, true, Flush::AddressesGone, &self.links);
        }
        // Routes that prefer this source address are gone, too; the base does not know which.
        self.resync_wanted = true;
    }

    fn set_route(&mut self, route: &Route, mode: RouteMode, generation: u8) {
        if !matches!(route.table, TABLE_MAIN | TABLE_LOCAL) {
            return;
        }
        if let RouteTarget::NextHopObject(id) = route.target
            && self.objects.kind(id).is_none()
        {
            self.want_resync_of_news();
        }
        let known = self.explain_dead(route);
        let route = known.as_ref().unwrap_or(route);
        let dump = self.phase == Phase::Dump;
        self.routes.set(route, mode, generation, dump, &mut self.paths);
    }

    /// Paths that are dead because of their link come back with it, and are not marked; the
    /// others keep the mark until a resync. `None` where the route stays as it is.
    fn explain_dead(&self, route: &Route) -> Option<Route> {
        let RouteTarget::Paths(paths) = &route.target else { return None };
        let ipv4 = route.prefix.addr().is_ipv4();
        let explained = |ifindex| !self.links.usable(ifindex, ipv4);
        if !paths.iter().any(|path| path.dead && explained(path.ifindex)) {
            return None;
        }
        let mut paths = paths.clone();
        for path in &mut paths {
            path.dead &= !explained(path.ifindex);
        }
        Some(Route { target: RouteTarget::Paths(paths), ..route.clone() })
    }

    fn remove_route(&mut self, route: &Route, generation: u8) {
        if !matches!(route.table, TABLE_MAIN | TABLE_LOCAL) {
            return;
        }
        if !self.routes.remove(route, generation, &mut self.paths) && !self.is_flushed(route) {
            self.want_resync_of_news();
        }
    }

    /// Whether the kernel tells of a route that the base dropped with its link.
    fn is_flushed(&self, route: &Route) -> bool {
        match &route.target {
            RouteTarget::NextHopObject(id) => self.objects.kind(*id).is_none(),
            RouteTarget::Paths(paths) => {
                paths.iter().any(|path| self.links.get(path.ifindex).is_none_or(|link| !link.up))
            }
        }
    }

    /// Something does not fit. In a replay that is to be expected.
    fn want_resync_of_news(&mut self) {
        self.resync_wanted |= self.phase == Phase::Live;
    }

    fn touch_object(&mut self, id: u32) {
        self.paths.touch_object(id);
        for group in self.objects.groups_of(id) {
            self.paths.touch_object(group);
        }
    }

    fn remove_object(&mut self, id: u32) {
        let (removed, changed) = self.objects.remove(id);
        for object in removed {
            self.paths.flush_object(object);
        }
        for object in changed {
            self.paths.touch_object(object);
        }
    }

    /// Appends what changed since the last call, each update complete on those before it.
    pub fn drain(&mut self, updates: &mut Vec<RouteUpdate>) {
        let mut staged = Staged::default();
        if let Some(moved) = self.links.refresh(&self.addresses, &mut staged) {
            self.neighbours.interfaces_moved(&moved, &self.links);
            self.paths.touch_all();
        }
        if self.paths.take_flushed() {
            self.routes.sweep_flushed(&mut self.paths);
        }
        if self.paths.revive(&self.links, &self.objects) {
            self.routes.touch_turned(&self.paths);
        }
        self.routes.settle(&mut self.paths, &mut staged, &mut self.local);
        self.paths.settle(&self.links, &self.objects, &mut self.neighbours, &mut staged);
        self.neighbours.settle(&self.links, &mut staged);
        self.links.settle();
        staged.append_to(updates);
    }

    /// Appends what changed in the set of the router's own addresses up to the last drain.
    pub fn drain_local(&mut self, updates: &mut Vec<LocalUpdate>) {
        updates.append(&mut self.local);
    }

    /// Gateways (link and address) that a drain found unresolved since the last call, for
    /// [`Mirror::refresh_neighbour`](crate::mirror::Mirror::refresh_neighbour).
    ///
    /// A punted packet does not make the kernel resolve them: among several paths the kernel may
    /// choose another one for it.
    pub fn drain_wanted(&mut self) -> Vec<(u32, IpAddr)> {
        self.neighbours.drain_wanted()
    }
}
