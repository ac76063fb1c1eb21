//! Next hops of the packet path: each kept once, however many groups name it.

use std::net::IpAddr;

use hashbrown::HashMap;
use linecard_packet::InterfaceId;
use linecard_services::route::{NextHop, NextHopId, RouteUpdate, Special};

use super::{ids::Ids, neighbours::Neighbours, staged::Staged};

/// A next hop before it has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Hop {
    Special(Special),
    Connected(InterfaceId),
    Gateway { interface: InterfaceId, ifindex: u32, address: IpAddr },
}

#[derive(Debug)]
struct HopEntry {
    id: NextHopId,
    next_hop: NextHop,
    references: u32,
    told: bool,
}

#[derive(Debug, Default)]
pub(super) struct Hops {
    hops: HashMap<Hop, HopEntry>,
    dirty: Vec<Hop>,
    ids: Ids,
}

impl Hops {
    /// A group names the next hop from now on.
    pub(super) fn reference(&mut self, hop: Hop, neighbours: &mut Neighbours) -> NextHopId {
        if let Some(entry) = self.hops.get_mut(&hop) {
            entry.references += 1;
            return entry.id;
        }
        let next_hop = match hop {
            Hop::Special(special) => NextHop::Special(special),
            Hop::Connected(interface) => NextHop::Connected(interface),
            Hop::Gateway { interface, ifindex, address } => {
                NextHop::Gateway(neighbours.reference(interface, ifindex, address))
            }
        };
        let id = NextHopId(self.ids.take());
        self.hops.insert(hop, HopEntry { id, next_hop, references: 1, told: false });
        self.dirty.push(hop);
        id
    }

    /// A group no longer names the next hop.
    pub(super) fn release(&mut self, hop: Hop) {
        if let Some(entry) = self.hops.get_mut(&hop) {
            entry.references -= 1;
            if entry.references == 0 {
                self.dirty.push(hop);
            }
        }
    }

    /// Tells the packet path what changed.
    pub(super) fn settle(&mut self, neighbours: &mut Neighbours, staged: &mut Staged) {
        for hop in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.hops.get_mut(&hop) else { continue };
            if entry.references > 0 {
                if !std::mem::replace(&mut entry.told, true) {
                    staged.push(RouteUpdate::SetNextHop(entry.id, entry.next_hop));
                }
                continue;
            }
            if entry.told {
                staged.push(RouteUpdate::RemoveNextHop(entry.id));
            }
            self.ids.retire(entry.id.0);
            self.hops.remove(&hop);
            if let Hop::Gateway { interface, address, .. } = hop {
                neighbours.release(interface, address);
            }
        }
        self.ids.settle();
    }
}
