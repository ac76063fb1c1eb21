//! Neighbours, and the adjacencies of the packet path that stand for them.
//!
//! An adjacency exists for each neighbour to which frames can be sent (connected routes look the
//! destination up among them), and for each gateway that a next hop names, resolved or not. A
//! neighbour that is merely being asked for is none: a scan of a subnet would fill the table.

use std::net::IpAddr;

use hashbrown::{HashMap, HashSet};
use linecard_packet::{AdjacencyId, InterfaceId};
use linecard_services::route::{Adjacency, RouteUpdate};
use linecard_wire::MacAddress;

use super::{ids::Ids, links::Links, staged::Staged};
use crate::facts::{Neighbour, NeighbourState};

/// An adjacency as it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldAdjacency {
    /// Its number.
    pub id: AdjacencyId,
    /// The link on which the neighbour lives.
    pub ifindex: u32,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Frames can be sent to it.
    pub usable: bool,
    /// The operator has entered it for good (NUD state PERMANENT).
    pub permanent: bool,
    /// A route names it as a gateway.
    pub gateway: bool,
}

#[derive(Debug)]
struct Entry {
    id: AdjacencyId,
    ifindex: u32,
    /// Next hops that name it as their gateway.
    references: u32,
    /// What the packet path was told.
    told: Option<Adjacency>,
}

#[derive(Debug, Default)]
pub(super) struct Neighbours {
    neighbours: HashMap<(u32, IpAddr), (Neighbour, u8)>,
    adjacencies: HashMap<(InterfaceId, IpAddr), Entry>,
    ids: Ids,
    dirty: Vec<(InterfaceId, u32, IpAddr)>,
    /// Gateways that the kernel should resolve.
    wanted: Vec<(u32, IpAddr)>,
}

impl Neighbours {
    pub(super) fn set(&mut self, neighbour: Neighbour, generation: u8, links: &Links) {
        if neighbour.address.is_multicast() {
            return;
        }
        let key = (neighbour.ifindex, neighbour.address);
        let old = self.neighbours.insert(key, (neighbour, generation));
        if old.is_none_or(|(old, _)| old != neighbour) {
            self.touch(key, links);
        }
    }

    pub(super) fn remove(&mut self, ifindex: u32, address: IpAddr, links: &Links) {
        if self.neighbours.remove(&(ifindex, address)).is_some() {
            self.touch((ifindex, address), links);
        }
    }

    fn touch(&mut self, (ifindex, address): (u32, IpAddr), links: &Links) {
        // A link that is no interface yet: its neighbours are touched when it becomes one.
        if let Some(interface) = links.interface(ifindex) {
            self.dirty.push((interface, ifindex, address));
        }
    }

    /// Neighbours that `generation` has not seen.
    pub(super) fn stale(&self, is_stale: impl Fn(u8) -> bool) -> Vec<(u32, IpAddr)> {
        self.neighbours
            .iter()
            .filter(|(_, (_, seen))| is_stale(*seen))
            .map(|(key, _)| *key)
            .collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.neighbours.values().map(|(neighbour, _)| neighbour)
    }

    /// All adjacencies, in no order.
    pub(super) fn adjacencies(&self) -> impl Iterator<Item = HeldAdjacency> + '_ {
        self.adjacencies.iter().map(|(&(_, address), entry)| {
            let neighbour = self.neighbours.get(&(entry.ifindex, address));
            HeldAdjacency {
                id: entry.id,
                ifindex: entry.ifindex,
                address,
                usable: entry.told.is_some_and(|told| told.mac_address.is_some()),
                permanent: neighbour.is_some_and(|(neighbour, _)| neighbour.permanent),
                gateway: entry.references > 0,
            }
        })
    }

    /// Gateways that were found unresolved since the last call.
    pub(super) fn drain_wanted(&mut self) -> Vec<(u32, IpAddr)> {
        std::mem::take(&mut self.wanted)
    }

    /// Links became interfaces or ceased to be.
    pub(super) fn interfaces_moved(&mut self, moved: &HashSet<u32>, links: &Links) {
        for (ifindex, address) in self.neighbours.keys() {
            if moved.contains(ifindex)
                && let Some(interface) = links.interface(*ifindex)
            {
                self.dirty.push((interface, *ifindex, *address));
            }
        }
        for ((interface, address), entry) in &self.adjacencies {
            if moved.contains(&entry.ifindex) {
                self.dirty.push((*interface, entry.ifindex, *address));
            }
        }
    }

    /// A next hop names this gateway from now on.
    pub(super) fn reference(
        &mut self,
        interface: InterfaceId,
        ifindex: u32,
        address: IpAddr,
    ) -> AdjacencyId {
        self.dirty.push((interface, ifindex, address));
        let entry = self.entry(interface, ifindex, address);
        entry.references += 1;
        entry.id
    }

    fn entry(&mut self, interface: InterfaceId, ifindex: u32, address: IpAddr) -> &mut Entry {
        let ids = &mut self.ids;
        self.adjacencies.entry((interface, address)).or_insert_with(|| Entry {
            id: AdjacencyId(ids.take()),
            ifindex,
            references: 0,
            told: None,
        })
    }

    /// A next hop no longer names this gateway.
    pub(super) fn release(&mut self, interface: InterfaceId, address: IpAddr) {
        if let Some(entry) = self.adjacencies.get_mut(&(interface, address)) {
            entry.references -= 1;
            self.dirty.push((interface, entry.ifindex, address));
        }
    }

    fn mac_address(&self, ifindex: u32, address: IpAddr) -> Option<MacAddress> {
        let (neighbour, _) = self.neighbours.get(&(ifindex, address))?;
        neighbour.mac_address.filter(|_| neighbour.state == NeighbourState::Usable)
    }

    /// Tells the packet path what changed.
    pub(super) fn settle(&mut self, links: &Links, staged: &mut Staged) {
        for (interface, ifindex, address) in std::mem::take(&mut self.dirty) {
            let present = links.interface(ifindex) == Some(interface);
            let mac_address = self.mac_address(ifindex, address).filter(|_| present);
            let references =
                self.adjacencies.get(&(interface, address)).map_or(0, |entry| entry.references);
            if mac_address.is_none() && references == 0 {
                if let Some(entry) = self.adjacencies.remove(&(interface, address)) {
                    self.ids.retire(entry.id.0);
                    if entry.told.is_some() {
                        staged.push(RouteUpdate::RemoveAdjacency(entry.id));
                    }
                }
                continue;
            }
            if mac_address.is_none() && present {
                self.wanted.push((ifindex, address));
            }
            let adjacency = Adjacency { interface, address, mac_address };
            let entry = self.entry(interface, ifindex, address);
            if entry.told != Some(adjacency) {
                entry.told = Some(adjacency);
                staged.push(RouteUpdate::SetAdjacency(entry.id, adjacency));
            }
        }
        self.ids.settle();
    }
}
