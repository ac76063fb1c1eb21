//! The route stage: from an incoming packet to the adjacency it leaves by.
//!
//! What may happen to a packet here:
//!
//! * drop `other_host`: the frame is for another station. This overrides a punt of the parse stage:
//!   the kernel would drop it as well (`ip_rcv_core`: `PACKET_OTHERHOST`);
//! * punt `vlan_unknown`, `forwarding_off`: not ours to decide;
//! * punt `no_route`, `route_rejects`, `local`, `not_served`, `neighbour_unresolved`, `too_big`: the
//!   kernel answers, delivers, resolves or fragments;
//! * punt `not_served` also when the way is not known for certain: a route did not fit the tables and
//!   contains the destination, or the interface is missing in them;
//! * drop `blackhole`: the kernel drops without an answer as well (`ip_error`: EINVAL);
//! * drop `port_down`: the outgoing interface is down, and the routing daemon has not yet
//!   withdrawn the route;
//! * forward, with a port and an adjacency.
//!
//! Two differences from the kernel remain. No redirect is sent when a packet leaves by the interface
//! it came in on (RFC 1812 5.2.7.2 allows that; `send_redirects`). And a source address that is one
//! of the router's own is not looked up, hence not refused (`fib_validate_source`).

use linecard_io::{Frame, PacketMemory};
use linecard_packet::{
    AdjacencyId, BATCH_PACKETS_MAX, Batch, Destinations, DropReason, InterfaceId, Metadata,
    PuntReason, Verdict, flow_hash,
};
use linecard_tables::exact::{ExactTable, NO_ENTRY};
use linecard_tables::hash::FlowHash;
use linecard_tables::lpm::{Address, NO_ROUTE};

use super::entry::{InterfaceEntry, InterfaceKey};
use super::fib::{Fib, LEFT_TO_KERNEL};
use super::{NextHop, RouteStats, RouteTables, Special};

/// The columns between the lookups of the stage; allocated once, overwritten by each batch.
#[derive(Debug)]
pub struct RouteScratch {
    groups: Box<[u32; BATCH_PACKETS_MAX]>,
    ipv4: Connected<u32>,
    ipv6: Connected<u128>,
}

/// The packets whose next hop is the destination itself: place in the batch, what to look up, and
/// what was found.
#[derive(Debug)]
struct Connected<A> {
    places: Vec<u8>,
    neighbours: Vec<(u16, A)>,
    adjacencies: Vec<u32>,
}

impl Default for RouteScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteScratch {
    /// Scratch for one batch.
    #[must_use]
    pub fn new() -> Self {
        Self {
            groups: Box::new([NO_ROUTE; BATCH_PACKETS_MAX]),
            ipv4: Connected::new(),
            ipv6: Connected::new(),
        }
    }
}

impl<A> Connected<A> {
    fn new() -> Self {
        Self {
            places: Vec::with_capacity(BATCH_PACKETS_MAX),
            neighbours: Vec::with_capacity(BATCH_PACKETS_MAX),
            adjacencies: Vec::with_capacity(BATCH_PACKETS_MAX),
        }
    }
}

/// What the steps of the stage have in common.
struct Step<'a> {
    frames: &'a [Frame],
    metadata: &'a mut [Metadata],
    verdicts: &'a mut [Verdict],
    memory: &'a PacketMemory,
    tables: &'a RouteTables,
    hash: &'a FlowHash,
    stats: &'a mut RouteStats,
}

/// Decides on every packet that is still undecided: none is when this returns.
///
/// `hash` chooses among the members of a group; packets to a single next hop are not hashed.
pub fn process(
    batch: &mut Batch,
    memory: &PacketMemory,
    tables: &RouteTables,
    hash: &FlowHash,
    scratch: &mut RouteScratch,
    stats: &mut RouteStats,
) {
    admit(batch, memory, tables);
    let Batch { frames, metadata, verdicts, destinations_ipv4, destinations_ipv6, .. } = batch;
    let mut step = Step { frames, metadata, verdicts, memory, tables, hash, stats };

    let RouteScratch { groups, ipv4, ipv6 } = scratch;
    step.decide(destinations_ipv4, &tables.routes_ipv4, &tables.neighbours_ipv4, groups, ipv4);
    step.decide(destinations_ipv6, &tables.routes_ipv6, &tables.neighbours_ipv6, groups, ipv6);
}

/// Finds the incoming interface of each packet of which parse did not know it, and whether it routes
/// packets that come this way. [`process`] does it too; a stage before it that needs the incoming
/// interface calls it itself.
///
/// Cost: nothing where parse has admitted all packets, or it was called before.
pub fn admit(batch: &mut Batch, memory: &PacketMemory, tables: &RouteTables) {
    if batch.unadmitted == 0 {
        return;
    }
    batch.unadmitted = 0;
    // Packets of a batch mostly share port and tags: the last answer is kept.
    let mut last = None;
    let packets = batch.frames.iter().zip(&mut batch.metadata).zip(&mut batch.verdicts);
    for ((frame, metadata), verdict) in packets {
        let is_open = matches!(verdict, Verdict::Undecided | Verdict::Punt(_));
        if !is_open || metadata.in_interface != Metadata::NO_INTERFACE {
            continue;
        }
        let key = InterfaceKey::of(metadata);
        let id = match last {
            Some((last_key, id)) if last_key == key => id,
            _ => tables.interface_by_key(key),
        };
        last = Some((key, id));
        let interface = id.and_then(|id| Some((id, tables.interface(id)?)));
        let Some((id, interface)) = interface else {
            if verdict.is_undecided() {
                *verdict = Verdict::Punt(PuntReason::VlanUnknown);
            }
            continue;
        };
        metadata.in_interface = id;
        let destination = memory.packet(frame).first_chunk::<6>();
        // RFC 1812 3.3.1: only frames to our own or to a group address are for us.
        let for_us = destination
            .is_some_and(|octets| octets[0] & 1 != 0 || *octets == interface.mac_address.octets());
        if !for_us {
            *verdict = Verdict::Drop(DropReason::OtherHost);
        } else if verdict.is_undecided() && !interface.forwards(metadata.layer3) {
            // RFC 1812 5.2.1: a host does not forward; what the packet is then is the kernel's.
            *verdict = Verdict::Punt(PuntReason::ForwardingOff);
        }
    }
}

impl Step<'_> {
    /// From destinations to verdicts, for the packets of one protocol.
    fn decide<A: Address>(
        &mut self,
        destinations: &Destinations<A>,
        routes: &Fib<A>,
        neighbours: &ExactTable<A>,
        groups: &mut [u32; BATCH_PACKETS_MAX],
        connected: &mut Connected<A>,
    ) {
        let groups = &mut groups[..destinations.places().len()];
        routes.lookup_bulk(destinations.addresses(), groups);
        self.resolve(destinations, groups, connected);
        if !connected.places.is_empty() {
            connected.adjacencies.resize(connected.places.len(), NO_ENTRY);
            neighbours.lookup_bulk(&connected.neighbours, &mut connected.adjacencies);
            self.resolve_connected(connected);
        }
    }

    /// From groups to verdicts, for the packets of one protocol. Those to neighbours on a link stay
    /// undecided and are collected.
    fn resolve<A: Copy + Default>(
        &mut self,
        destinations: &Destinations<A>,
        groups: &[u32],
        connected: &mut Connected<A>,
    ) {
        connected.places.clear();
        connected.neighbours.clear();
        let columns = destinations.places().iter().zip(groups).zip(destinations.addresses());
        for ((&place, &group), &destination) in columns {
            let at = usize::from(place);
            // Parse left it undecided; a stage in between, or its interface, may have decided.
            if !self.verdicts[at].is_undecided() {
                continue;
            }
            let metadata = &mut self.metadata[at];
            let hash = || flow_hash(self.memory.packet(&self.frames[at]), metadata, self.hash);
            let next_hop = self.tables.groups.select_with(group, hash);
            // RFC 1812 5.2.4.3: the most specific route decides, whatever it leads to.
            self.verdicts[at] = match self.tables.next_hop(next_hop) {
                _ if group == NO_ROUTE => Verdict::Punt(PuntReason::NoRoute),
                Some(NextHop::Gateway(adjacency)) => {
                    leave(self.tables, metadata, adjacency, self.stats)
                }
                None if group == LEFT_TO_KERNEL => Verdict::Punt(PuntReason::NotServed),
                None => Verdict::Punt(PuntReason::NoRoute),
                Some(NextHop::Special(special)) => special_verdict(special),
                Some(NextHop::Connected(interface)) => {
                    connected.places.push(place);
                    connected.neighbours.push((interface.0, destination));
                    Verdict::Undecided
                }
            };
        }
    }

    /// From neighbours to verdicts.
    fn resolve_connected<A>(&mut self, connected: &Connected<A>) {
        let found = connected.adjacencies.iter().zip(&connected.neighbours);
        for (&place, (&adjacency, &(interface, _))) in connected.places.iter().zip(found) {
            let at = usize::from(place);
            let metadata = &mut self.metadata[at];
            self.verdicts[at] = match adjacency {
                NO_ENTRY => unresolved(self.tables, metadata, InterfaceId(interface)),
                adjacency => leave(self.tables, metadata, AdjacencyId(adjacency), self.stats),
            };
        }
    }
}

fn special_verdict(special: Special) -> Verdict {
    match special {
        Special::Local => Verdict::Punt(PuntReason::Local),
        Special::Blackhole => Verdict::Drop(DropReason::Blackhole),
        Special::Reject => Verdict::Punt(PuntReason::RouteRejects),
        Special::NotServed => Verdict::Punt(PuntReason::NotServed),
    }
}

/// The way out through a known adjacency.
#[inline]
fn leave(
    tables: &RouteTables,
    metadata: &mut Metadata,
    id: AdjacencyId,
    stats: &mut RouteStats,
) -> Verdict {
    let rewrite = tables.rewrite(id);
    if metadata.layer3_length > rewrite.length_max {
        return stay(tables, metadata, id);
    }
    stats.count(id);
    Verdict::Forward { port: rewrite.port, adjacency: id }
}

/// What becomes of a packet that cannot leave by an adjacency.
#[cold]
fn stay(tables: &RouteTables, metadata: &mut Metadata, id: AdjacencyId) -> Verdict {
    let Some(adjacency) = tables.adjacency(id) else {
        metadata.unresolved = id;
        return Verdict::Punt(PuntReason::NeighbourUnresolved);
    };
    match usable(tables, adjacency.interface) {
        Err(verdict) => verdict,
        // RFC 1812 5.2.6, RFC 8200 5: the kernel fragments IPv4 without DF, and sends "fragmentation
        // needed" or "packet too big" for the rest.
        Ok(interface) if u32::from(metadata.layer3_length) > interface.mtu_bytes => {
            Verdict::Punt(PuntReason::TooBig)
        }
        Ok(_) => {
            metadata.unresolved = id;
            Verdict::Punt(PuntReason::NeighbourUnresolved)
        }
    }
}

/// No adjacency for a destination on the link: the kernel asks for it (RFC 826, RFC 4861 7.2).
fn unresolved(tables: &RouteTables, metadata: &Metadata, id: InterfaceId) -> Verdict {
    match usable(tables, id) {
        Err(verdict) => verdict,
        Ok(interface) if u32::from(metadata.layer3_length) > interface.mtu_bytes => {
            Verdict::Punt(PuntReason::TooBig)
        }
        Ok(_) => Verdict::Punt(PuntReason::NeighbourUnresolved),
    }
}

/// The outgoing interface, or what becomes of packets that cannot leave by it.
#[inline]
fn usable(tables: &RouteTables, id: InterfaceId) -> Result<&InterfaceEntry, Verdict> {
    match tables.interface(id) {
        Some(interface) if interface.up => Ok(interface),
        Some(_) => Err(Verdict::Drop(DropReason::PortDown)),
        None => Err(Verdict::Punt(PuntReason::NotServed)),
    }
}
