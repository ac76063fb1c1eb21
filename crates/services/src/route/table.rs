//! The tables of the route service, as workers read them.
//!
//! A lookup goes: destination → (FIB) → next-hop group → (flow hash) → next hop → adjacency →
//! link-layer rewrite. Routes share groups, groups share next hops, and next hops share
//! adjacencies, so that one resolved neighbour is one update whatever the number of routes.
//!
//! A connected route has no gateway: its next hop is the destination itself, looked up in an
//! exact-match table of the interface's neighbours. (Installing each neighbour as a host route
//! instead would be one lookup less, but wrong where a longer or better route covers the
//! neighbour's address on another interface.)
//!
//! Everything but the FIB and the neighbour tables is an array indexed by the number that the
//! control side gives out. What the packet path reads of an adjacency is its [`Rewrite`]: port, MTU
//! and the bytes in front of the packet, in half a cache line. It follows from adjacency and interface;
//! a change of an interface, which is rare, goes through all adjacencies.
//!
//! What does not fit is refused and counted, and its packets are the kernel's: those of a refused route
//! by [`Fib`], those of a group, next hop, adjacency or interface because it is missing. A refused
//! change of a group or an interface therefore removes what was there before.

use std::net::IpAddr;

use ipnet::IpNet;
use linecard_packet::{AdjacencyId, InterfaceId, Metadata, PortId, Station};
use linecard_tables::exact::{ExactTable, NO_ENTRY};
use linecard_tables::next_hop::NextHopGroups;
use linecard_tables::publication::Absorb;

use super::entry::{AdjacencyEntry, InterfaceEntry, InterfaceKey, OwnEnd, Rewrite};
use super::fib::Fib;
use super::{Adjacency, Interface, Member, NextHop, NextHopGroupId, RouteCapacities, RouteUpdate};

/// All tables that the route stage reads, and the one place where updates change them.
#[derive(Debug)]
pub struct RouteTables {
    capacities: RouteCapacities,
    pub(super) routes_ipv4: Fib<u32>,
    pub(super) routes_ipv6: Fib<u128>,
    pub(super) groups: NextHopGroups,
    next_hops: Vec<Option<NextHop>>,
    adjacencies: Vec<Option<AdjacencyEntry>>,
    /// As many as adjacencies; [`Rewrite::NOT_READY`] where packets cannot leave by one.
    rewrites: Vec<Rewrite>,
    pub(super) neighbours_ipv4: ExactTable<u32>,
    pub(super) neighbours_ipv6: ExactTable<u128>,
    interfaces: Vec<Option<InterfaceEntry>>,
    by_tags: hashbrown::HashMap<InterfaceKey, InterfaceId>,
    refused_updates: u64,
}

impl RouteTables {
    /// Empty tables. Two made with equal capacities stay equal under equal updates.
    #[must_use]
    pub fn new(capacities: &RouteCapacities) -> Self {
        let neighbours_max = capacities.adjacencies_max as usize;
        Self {
            capacities: *capacities,
            routes_ipv4: Fib::new(capacities.routes_ipv4_max),
            routes_ipv6: Fib::new(capacities.routes_ipv6_max),
            groups: NextHopGroups::new(capacities.groups_max),
            next_hops: Vec::new(),
            adjacencies: Vec::new(),
            rewrites: Vec::new(),
            neighbours_ipv4: ExactTable::new(neighbours_max, neighbour_seed()),
            neighbours_ipv6: ExactTable::new(neighbours_max, neighbour_seed()),
            interfaces: Vec::new(),
            by_tags: hashbrown::HashMap::new(),
            refused_updates: 0,
        }
    }

    /// Updates that were beyond a capacity, or that no table can hold (an interface with three
    /// tags, a group without members). What they are about is the kernel's: see the module.
    #[must_use]
    pub fn refused_updates(&self) -> u64 {
        self.refused_updates
    }

    /// IPv4 and IPv6 routes in the tables, without refused ones.
    #[must_use]
    pub fn routes(&self) -> (usize, usize) {
        (self.routes_ipv4.len(), self.routes_ipv6.len())
    }

    #[inline]
    pub(super) fn next_hop(&self, id: u32) -> Option<NextHop> {
        self.next_hops.get(id as usize).copied().flatten()
    }

    /// How packets leave by this adjacency.
    #[inline]
    pub(super) fn rewrite(&self, id: AdjacencyId) -> &Rewrite {
        self.rewrites.get(id.index()).unwrap_or(&Rewrite::NOT_READY)
    }

    #[inline]
    pub(super) fn adjacency(&self, id: AdjacencyId) -> Option<&AdjacencyEntry> {
        self.adjacencies.get(id.index())?.as_ref()
    }

    #[inline]
    pub(super) fn interface(&self, id: InterfaceId) -> Option<&InterfaceEntry> {
        self.interfaces.get(id.index())?.as_ref()
    }

    /// Who the untagged frames of a port are for.
    #[must_use]
    pub fn station(&self, port: PortId) -> Station {
        let id = self.interface_by_key(InterfaceKey::new(port, [].into_iter()));
        match id.and_then(|id| Some((id, self.interface(id)?))) {
            Some((id, entry)) => {
                Station::new(id, entry.mac_address, entry.forwarding_ipv4, entry.forwarding_ipv6)
            }
            None => Station::none(),
        }
    }

    /// What a packet of Linecard's own needs to leave by the interface that another came in by; `None` while that
    /// is down or not known.
    #[must_use]
    pub fn own(&self, metadata: &Metadata) -> Option<OwnEnd> {
        let entry = self.interface(self.interface_by_key(InterfaceKey::of(metadata))?)?;
        let &InterfaceEntry { mac_address, mtu_bytes, own_ipv4, own_ipv6, up, .. } = entry;
        up.then_some(OwnEnd { mac_address, mtu_bytes, ipv4: own_ipv4, ipv6: own_ipv6 })
    }

    /// Bytes of the largest network-layer packet that leaves by a port without a tag; `None` while it is down or
    /// not known.
    #[must_use]
    pub fn mtu_bytes(&self, port: PortId) -> Option<u32> {
        let id = self.interface_by_key(InterfaceKey::new(port, [].into_iter()))?;
        self.interface(id).filter(|entry| entry.up).map(|entry| entry.mtu_bytes)
    }

    #[inline]
    pub(super) fn interface_by_key(&self, key: InterfaceKey) -> Option<InterfaceId> {
        self.by_tags.get(&key).copied()
    }

    /// Carries one update out; false when it is refused.
    fn apply(&mut self, update: &RouteUpdate) -> bool {
        match update {
            RouteUpdate::SetInterface(id, interface) => self.set_interface(*id, interface),
            RouteUpdate::RemoveInterface(id) => {
                self.remove_interface(*id);
                true
            }
            RouteUpdate::SetAdjacency(id, adjacency) => self.set_adjacency(*id, adjacency),
            RouteUpdate::RemoveAdjacency(id) => {
                self.remove_adjacency(*id);
                true
            }
            RouteUpdate::SetNextHop(id, next_hop) => {
                set(&mut self.next_hops, id.0, *next_hop, self.capacities.next_hops_max)
            }
            RouteUpdate::RemoveNextHop(id) => {
                take(&mut self.next_hops, id.0);
                true
            }
            RouteUpdate::SetGroup(id, members) => self.set_group(*id, members),
            RouteUpdate::RemoveGroup(id) => {
                self.groups.remove(id.0);
                true
            }
            RouteUpdate::SetRoute(prefix, group) => self.set_route(*prefix, *group),
            RouteUpdate::RemoveRoute(prefix) => {
                match *prefix {
                    IpNet::V4(prefix) => self.routes_ipv4.remove(prefix.into()),
                    IpNet::V6(prefix) => self.routes_ipv6.remove(prefix.into()),
                };
                true
            }
        }
    }

    fn set_interface(&mut self, id: InterfaceId, interface: &Interface) -> bool {
        let Some(entry) = InterfaceEntry::new(interface) else {
            self.remove_interface(id);
            return false;
        };
        let interfaces_max = self.capacities.interfaces_max;
        if u32::from(id.0) >= interfaces_max {
            return false;
        }
        self.remove_interface(id);
        self.by_tags.insert(entry.key, id);
        let fits = set(&mut self.interfaces, u32::from(id.0), entry, interfaces_max);
        self.refresh_rewrites(id);
        fits
    }

    fn remove_interface(&mut self, id: InterfaceId) {
        if let Some(entry) = take(&mut self.interfaces, u32::from(id.0))
            && self.by_tags.get(&entry.key) == Some(&id)
        {
            self.by_tags.remove(&entry.key);
        }
        self.refresh_rewrites(id);
    }

    /// Brings the rewrites of an interface's adjacencies up to date.
    fn refresh_rewrites(&mut self, id: InterfaceId) {
        let interface = self.interfaces.get(id.index()).and_then(Option::as_ref);
        for (entry, rewrite) in self.adjacencies.iter().zip(&mut self.rewrites) {
            if let Some(entry) = entry.as_ref().filter(|entry| entry.interface == id) {
                *rewrite = Rewrite::new(entry, interface);
            }
        }
    }

    fn set_adjacency(&mut self, id: AdjacencyId, adjacency: &Adjacency) -> bool {
        let adjacencies_max = self.capacities.adjacencies_max;
        if id.0 >= adjacencies_max {
            return false;
        }
        self.remove_adjacency(id);
        let interface = adjacency.interface.0;
        // As many entries fit as there are adjacencies, each of which has one at the most.
        let stored = match adjacency.address {
            IpAddr::V4(address) => {
                self.neighbours_ipv4.insert((interface, address.to_bits()), id.0)
            }
            IpAddr::V6(address) => {
                self.neighbours_ipv6.insert((interface, address.to_bits()), id.0)
            }
        };
        let entry = AdjacencyEntry {
            interface: adjacency.interface,
            mac_address: adjacency.mac_address,
            address: adjacency.address,
        };
        let rewrite = Rewrite::new(&entry, self.interface(adjacency.interface));
        let fits = stored.is_ok() && set(&mut self.adjacencies, id.0, entry, adjacencies_max);
        self.rewrites.resize(self.adjacencies.len(), Rewrite::NOT_READY);
        if fits {
            self.rewrites[id.index()] = rewrite;
        }
        fits
    }

    fn remove_adjacency(&mut self, id: AdjacencyId) {
        let Some(entry) = take(&mut self.adjacencies, id.0) else { return };
        self.rewrites[id.index()] = Rewrite::NOT_READY;
        // Another adjacency may have taken over the address since.
        match entry.address {
            IpAddr::V4(address) => {
                let key = (entry.interface.0, address.to_bits());
                if self.neighbours_ipv4.lookup(key) == id.0 {
                    self.neighbours_ipv4.remove(key);
                }
            }
            IpAddr::V6(address) => {
                let key = (entry.interface.0, address.to_bits());
                if self.neighbours_ipv6.lookup(key) == id.0 {
                    self.neighbours_ipv6.remove(key);
                }
            }
        }
    }

    fn set_group(&mut self, id: NextHopGroupId, members: &[Member]) -> bool {
        let members: Vec<_> = members.iter().map(|m| (m.next_hop.0, m.weight)).collect();
        let fits = self.groups.set(id.0, &members).is_ok();
        if !fits {
            self.groups.remove(id.0);
        }
        fits
    }

    fn set_route(&mut self, prefix: IpNet, group: NextHopGroupId) -> bool {
        // 0 is no group; nobody gives it out.
        if group.0 == 0 {
            return false;
        }
        match prefix {
            IpNet::V4(prefix) => self.routes_ipv4.set(prefix.into(), group.0),
            IpNet::V6(prefix) => self.routes_ipv6.set(prefix.into(), group.0),
        }
    }

    /// The adjacency of a neighbour on a link, if there is one.
    #[must_use]
    pub fn neighbour(&self, interface: InterfaceId, address: IpAddr) -> Option<AdjacencyId> {
        let id = match address {
            IpAddr::V4(address) => self.neighbours_ipv4.lookup((interface.0, address.to_bits())),
            IpAddr::V6(address) => self.neighbours_ipv6.lookup((interface.0, address.to_bits())),
        };
        (id != NO_ENTRY).then_some(AdjacencyId(id))
    }
}

impl Absorb<RouteUpdate> for RouteTables {
    fn absorb(&mut self, update: &RouteUpdate) {
        if !self.apply(update) {
            self.refused_updates += 1;
        }
    }

    fn prepare(&self, update: &RouteUpdate, step: usize) {
        let (RouteUpdate::SetRoute(prefix, _) | RouteUpdate::RemoveRoute(prefix)) = update else {
            return;
        };
        match *prefix {
            IpNet::V4(prefix) => self.routes_ipv4.prepare(prefix.into(), step),
            IpNet::V6(prefix) => self.routes_ipv6.prepare(prefix.into(), step),
        }
    }
}

/// A seed that hosts on the link cannot know (they choose their addresses). Lookups do not depend on
/// it.
fn neighbour_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

/// Puts `value` at `index`; false when `index` is not below `entries_max`.
fn set<T>(slots: &mut Vec<Option<T>>, index: u32, value: T, entries_max: u32) -> bool {
    if index >= entries_max {
        return false;
    }
    let index = index as usize;
    if index >= slots.len() {
        slots.resize_with(index + 1, || None);
    }
    slots[index] = Some(value);
    true
}

/// Takes out what is at `index`, if anything.
fn take<T>(slots: &mut [Option<T>], index: u32) -> Option<T> {
    slots.get_mut(index as usize)?.take()
}
