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

use linecard_io::PacketMemory;
use linecard_packet::{
    AdjacencyId, BATCH_PACKETS_MAX, Batch, DropReason, InterfaceId, Layer3, Metadata, PuntReason,
    Verdict,
};
use linecard_tables::exact::NO_ENTRY;
use linecard_tables::lpm::NO_ROUTE;

use super::fib::LEFT_TO_KERNEL;
use super::table::{InterfaceEntry, InterfaceKey};
use super::{NextHop, RouteStats, RouteTables, Special};

/// Offset of the destination address in an IPv4 header (RFC 791 3.1).
const DESTINATION_IPV4: usize = 16;
/// Offset of the destination address in an IPv6 header (RFC 8200 3).
const DESTINATION_IPV6: usize = 24;

/// The slices that the stage gathers into; allocated once, empty between batches.
#[derive(Debug)]
pub struct RouteScratch {
    ipv4: Gathered<u32>,
    ipv6: Gathered<u128>,
}

/// The undecided packets of one network-layer protocol, as a structure of arrays.
#[derive(Debug)]
struct Gathered<A> {
    /// Place in the batch.
    places: Vec<u16>,
    destinations: Vec<A>,
    hashes: Vec<u32>,
    groups: Vec<u32>,
    next_hops: Vec<u32>,
    /// Of the packets whose next hop is the destination itself: place here, and what to look up.
    connected: Vec<u16>,
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
        Self { ipv4: Gathered::new(), ipv6: Gathered::new() }
    }
}

impl<A> Gathered<A> {
    fn new() -> Self {
        Self {
            places: Vec::with_capacity(BATCH_PACKETS_MAX),
            destinations: Vec::with_capacity(BATCH_PACKETS_MAX),
            hashes: Vec::with_capacity(BATCH_PACKETS_MAX),
            groups: Vec::with_capacity(BATCH_PACKETS_MAX),
            next_hops: Vec::with_capacity(BATCH_PACKETS_MAX),
            connected: Vec::with_capacity(BATCH_PACKETS_MAX),
            neighbours: Vec::with_capacity(BATCH_PACKETS_MAX),
            adjacencies: Vec::with_capacity(BATCH_PACKETS_MAX),
        }
    }

    fn clear(&mut self) {
        self.places.clear();
        self.destinations.clear();
        self.hashes.clear();
        self.groups.clear();
        self.next_hops.clear();
        self.connected.clear();
        self.neighbours.clear();
        self.adjacencies.clear();
    }

    fn push(&mut self, place: usize, destination: A, hash: u32) {
        self.places.push(place as u16);
        self.destinations.push(destination);
        self.hashes.push(hash);
    }
}

/// Decides on every packet that is still undecided: none is when this returns.
pub fn process(
    batch: &mut Batch,
    memory: &PacketMemory,
    tables: &RouteTables,
    scratch: &mut RouteScratch,
    stats: &mut RouteStats,
) {
    admit(batch, memory, tables);
    gather(batch, memory, scratch);

    let ipv4 = &mut scratch.ipv4;
    ipv4.groups.resize(ipv4.places.len(), NO_ROUTE);
    tables.routes_ipv4.lookup_bulk(&ipv4.destinations, &mut ipv4.groups);
    resolve(batch, tables, ipv4, stats, |neighbours, adjacencies| {
        tables.neighbours_ipv4.lookup_bulk(neighbours, adjacencies);
    });

    let ipv6 = &mut scratch.ipv6;
    ipv6.groups.resize(ipv6.places.len(), NO_ROUTE);
    tables.routes_ipv6.lookup_bulk(&ipv6.destinations, &mut ipv6.groups);
    resolve(batch, tables, ipv6, stats, |neighbours, adjacencies| {
        tables.neighbours_ipv6.lookup_bulk(neighbours, adjacencies);
    });
}

/// Finds the incoming interface of each packet, and whether it routes packets that come this way.
fn admit(batch: &mut Batch, memory: &PacketMemory, tables: &RouteTables) {
    // Packets of a batch mostly share port and tags: the last answer is kept.
    let mut last = None;
    let packets = batch.frames.iter().zip(&mut batch.metadata).zip(&mut batch.verdicts);
    for ((frame, metadata), verdict) in packets {
        if !matches!(verdict, Verdict::Undecided | Verdict::Punt(_)) {
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

/// Collects the destinations of the packets that are still undecided.
fn gather(batch: &Batch, memory: &PacketMemory, scratch: &mut RouteScratch) {
    scratch.ipv4.clear();
    scratch.ipv6.clear();
    for (place, frame) in batch.frames.iter().enumerate() {
        if !batch.verdicts[place].is_undecided() {
            continue;
        }
        let metadata = &batch.metadata[place];
        let header = memory.packet(frame).get(usize::from(metadata.layer3_offset)..);
        let header = header.unwrap_or_default();
        let hash = metadata.flow_hash;
        // Parse left only packets with a whole header undecided, so the addresses are there.
        match metadata.layer3 {
            Layer3::Ipv4 => {
                let octets = address_at(header, DESTINATION_IPV4).unwrap_or_default();
                scratch.ipv4.push(place, u32::from_be_bytes(octets), hash);
            }
            Layer3::Ipv6 => {
                let octets = address_at(header, DESTINATION_IPV6).unwrap_or_default();
                scratch.ipv6.push(place, u128::from_be_bytes(octets), hash);
            }
            Layer3::Other => {}
        }
    }
}

#[inline]
fn address_at<const N: usize>(header: &[u8], offset: usize) -> Option<[u8; N]> {
    header.get(offset..)?.first_chunk().copied()
}

/// From groups to verdicts, for the packets of one protocol.
fn resolve<A: Copy>(
    batch: &mut Batch,
    tables: &RouteTables,
    gathered: &mut Gathered<A>,
    stats: &mut RouteStats,
    lookup_neighbours: impl FnOnce(&[(u16, A)], &mut [u32]),
) {
    let g = gathered;
    g.next_hops.resize(g.places.len(), NO_ENTRY);
    tables.groups.select_bulk(&g.groups, &g.hashes, &mut g.next_hops);
    for (i, &place) in g.places.iter().enumerate() {
        let place = usize::from(place);
        let metadata = &mut batch.metadata[place];
        // RFC 1812 5.2.4.3: the most specific route decides, whatever it leads to.
        batch.verdicts[place] = match (g.groups[i], tables.next_hop(g.next_hops[i])) {
            (LEFT_TO_KERNEL, _) => Verdict::Punt(PuntReason::NotServed),
            (NO_ROUTE, _) | (_, None) => Verdict::Punt(PuntReason::NoRoute),
            (_, Some(NextHop::Special(special))) => special_verdict(special),
            (_, Some(NextHop::Gateway(adjacency))) => leave(tables, metadata, adjacency, stats),
            (_, Some(NextHop::Connected(interface))) => {
                g.connected.push(place as u16);
                g.neighbours.push((interface.0, g.destinations[i]));
                Verdict::Undecided
            }
        };
    }
    g.adjacencies.resize(g.connected.len(), NO_ENTRY);
    lookup_neighbours(&g.neighbours, &mut g.adjacencies);
    for (i, &place) in g.connected.iter().enumerate() {
        let place = usize::from(place);
        let metadata = &mut batch.metadata[place];
        batch.verdicts[place] = match g.adjacencies[i] {
            NO_ENTRY => unresolved(tables, metadata, InterfaceId(g.neighbours[i].0)),
            adjacency => leave(tables, metadata, AdjacencyId(adjacency), stats),
        };
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
    let Some(adjacency) = tables.adjacency(id) else {
        metadata.unresolved = id;
        return Verdict::Punt(PuntReason::NeighbourUnresolved);
    };
    let interface = match usable(tables, adjacency.interface) {
        Ok(interface) => interface,
        Err(verdict) => return verdict,
    };
    // RFC 1812 5.2.6, RFC 8200 5: the kernel fragments IPv4 without DF, and sends "fragmentation
    // needed" or "packet too big" for the rest.
    if u32::from(metadata.layer3_length) > interface.mtu_bytes {
        return Verdict::Punt(PuntReason::TooBig);
    }
    if adjacency.mac_address.is_none() {
        metadata.unresolved = id;
        return Verdict::Punt(PuntReason::NeighbourUnresolved);
    }
    stats.count(id);
    Verdict::Forward { port: interface.port, adjacency: id }
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
