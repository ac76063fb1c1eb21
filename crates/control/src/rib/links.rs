//! Links, and which of them are interfaces of the packet path: the links of served ports and the
//! VLANs on top of them.

use hashbrown::{HashMap, HashSet};
use linecard_packet::{InterfaceId, PortId};
use linecard_services::route::{Interface, RouteUpdate};

use super::{
    ids::Ids,
    senders::{Addresses, Senders},
    staged::Staged,
};
use crate::facts::{Link, LinkKind};

/// Tags that a frame may carry: more would not be parsed by the packet path.
const VLAN_TAGS_MAX: usize = 2;

/// What a change of a link means for routes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Transition {
    /// It was administratively up and no longer is.
    pub(super) went_down: bool,
    /// It came up, or got its carrier back.
    pub(super) came_up: bool,
    /// It was usable (up, with carrier) and no longer is.
    pub(super) lost_carrier: bool,
}

#[derive(Debug, Default)]
pub(super) struct Links {
    links: HashMap<u32, (Link, u8)>,
    ports: HashMap<u32, PortId>,
    interfaces: HashMap<u32, (InterfaceId, Interface)>,
    ids: Ids,
    dirty: bool,
}

impl Links {
    pub(super) fn serve(&mut self, ifindex: u32, port: Option<PortId>) {
        match port {
            Some(port) => self.ports.insert(ifindex, port),
            None => self.ports.remove(&ifindex),
        };
        self.dirty = true;
    }

    /// The router's addresses have changed, by which it sends.
    pub(super) fn senders_changed(&mut self) {
        self.dirty = true;
    }

    pub(super) fn set(&mut self, link: Link, generation: u8) -> Transition {
        let (up, carrier) = (link.up, link.up && link.carrier);
        let Some((old, seen)) = self.links.get_mut(&link.ifindex) else {
            self.links.insert(link.ifindex, (link, generation));
            self.dirty = true;
            return Transition { came_up: up, ..Transition::default() };
        };
        *seen = generation;
        let had_carrier = old.up && old.carrier;
        let transition = Transition {
            went_down: old.up && !up,
            came_up: (up && !old.up) || (carrier && !had_carrier),
            lost_carrier: had_carrier && !carrier,
        };
        if *old != link {
            *old = link;
            self.dirty = true;
        }
        transition
    }

    pub(super) fn remove(&mut self, ifindex: u32) -> bool {
        let known = self.links.remove(&ifindex).is_some();
        self.dirty |= known;
        known
    }

    /// Interface indexes of links that `generation` has not seen.
    pub(super) fn stale(&self, is_stale: impl Fn(u8) -> bool) -> Vec<u32> {
        self.links
            .iter()
            .filter(|(_, (_, seen))| is_stale(*seen))
            .map(|(ifindex, _)| *ifindex)
            .collect()
    }

    pub(super) fn get(&self, ifindex: u32) -> Option<&Link> {
        self.links.get(&ifindex).map(|(link, _)| link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.values().map(|(link, _)| link)
    }

    /// The interface that a link is, as of the last refresh.
    pub(super) fn interface(&self, ifindex: u32) -> Option<InterfaceId> {
        self.interfaces.get(&ifindex).map(|(id, _)| *id)
    }

    pub(super) fn interfaces(&self) -> impl Iterator<Item = (u32, InterfaceId, &Interface)> {
        self.interfaces.iter().map(|(ifindex, (id, interface))| (*ifindex, *id, interface))
    }

    /// Whether the kernel uses next hops on this link. One that is not known yet is believed.
    pub(super) fn usable(&self, ifindex: u32, ipv4: bool) -> bool {
        self.get(ifindex).is_none_or(|link| {
            let ignore = if ipv4 { link.ignore_linkdown_ipv4 } else { link.ignore_linkdown_ipv6 };
            link.up && (link.carrier || !ignore)
        })
    }

    /// Port and tags of a link that is served, tags outermost first.
    fn port_and_tags(&self, ifindex: u32) -> Option<(PortId, Vec<(u16, u16)>)> {
        let mut tags = Vec::new();
        let mut at = ifindex;
        loop {
            if let Some(port) = self.ports.get(&at) {
                tags.reverse();
                return Some((*port, tags));
            }
            let LinkKind::Vlan { lower, tag_protocol, id } = self.get(at)?.kind else {
                return None;
            };
            // The bound also ends a circle, which the kernel does not make but a message can.
            if tags.len() == VLAN_TAGS_MAX {
                return None;
            }
            tags.push((tag_protocol, id));
            at = lower;
        }
    }

    fn interface_of(&self, link: &Link, senders: &Senders<'_>) -> Option<Interface> {
        let (port, vlans) = self.port_and_tags(link.ifindex)?;
        let (own_ipv4, own_ipv6) = senders.of(link.ifindex);
        Some(Interface {
            port,
            vlans,
            mac_address: link.mac_address,
            mtu_bytes: link.mtu_bytes,
            up: link.up,
            forwarding_ipv4: link.forwarding_ipv4,
            forwarding_ipv6: link.forwarding_ipv6,
            own_ipv4,
            own_ipv6,
        })
    }

    /// Brings the interfaces in step with the links; `None` where nothing changed, else the
    /// interface indexes of those that appeared or vanished.
    pub(super) fn refresh(
        &mut self,
        addresses: &Addresses,
        staged: &mut Staged,
    ) -> Option<HashSet<u32>> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let senders = Senders::new(addresses);
        let wanted: HashMap<u32, Interface> = self
            .links
            .values()
            .filter_map(|(link, _)| Some((link.ifindex, self.interface_of(link, &senders)?)))
            .collect();
        let mut moved = HashSet::new();
        let ids = &mut self.ids;
        self.interfaces.retain(|ifindex, (id, _)| {
            let keep = wanted.contains_key(ifindex);
            if !keep {
                staged.push(RouteUpdate::RemoveInterface(*id));
                ids.retire(u32::from(id.0));
                moved.insert(*ifindex);
            }
            keep
        });
        for (ifindex, interface) in wanted {
            match self.interfaces.get_mut(&ifindex) {
                Some((_, held)) if *held == interface => {}
                Some((id, held)) => {
                    *held = interface.clone();
                    staged.push(RouteUpdate::SetInterface(*id, interface));
                }
                None => {
                    // More interfaces than a number can name: the rest is the kernel's to forward.
                    let Ok(number) = u16::try_from(self.ids.take()) else { continue };
                    let id = InterfaceId(number);
                    self.interfaces.insert(ifindex, (id, interface.clone()));
                    staged.push(RouteUpdate::SetInterface(id, interface));
                    moved.insert(ifindex);
                }
            }
        }
        Some(moved)
    }

    pub(super) fn settle(&mut self) {
        self.ids.settle();
    }
}
