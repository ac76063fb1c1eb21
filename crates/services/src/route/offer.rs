//! What the worker offers the route cache: packets that it has just forwarded in the plainest way.
//!
//! What may be offered: a packet without VLAN tags on either side, by a route with a single next hop
//! (which of several a packet takes depends on its flow, and the cache knows destinations only). At most
//! one packet in [`PACKETS_PER_OFFER`] and [`OFFERS_MAX`] a round are looked at, so that the cost stays flat
//! whatever the traffic; a destination that has many packets is soon among them.
//!
//! Offers are gathered before the batch is sent and made when the round's frames are with the kernel: from
//! then on newer packets pass by the worker, and must not overtake those that it still holds. Packets in the receive ring are
//! overtaken all the same, once each time that a destination is learned: at first, and again after
//! its entry was driven out or erased. Those larger than the MTU, which the classifier leaves to the worker though
//! their destination is known, go to the kernel in any case.

use std::net::IpAddr;
use std::sync::Arc;

use linecard_io::{CachedRoute, PacketMemory, RouteCache};
use linecard_packet::{Batch, Layer3, Verdict};
use linecard_tables::lpm::NO_ROUTE;
use linecard_tables::publication::Reader;

use super::RouteTables;

/// Packets of one round that are looked at, at the most.
const OFFERS_MAX: usize = 8;
/// Of so many packets in a batch one is looked at; one in any case.
const PACKETS_PER_OFFER: usize = 32;

/// Length of an Ethernet header without tags.
const LINK_HEADER: usize = 14;

/// What one worker has to offer; empty between rounds.
#[derive(Debug)]
pub struct RouteOffers {
    cache: Arc<RouteCache>,
    gathered: Vec<CachedRoute>,
    /// Where the next batch is begun to be looked at: not always at its first packets.
    start: usize,
}

impl RouteOffers {
    /// Offers to this cache.
    #[must_use]
    pub fn new(cache: Arc<RouteCache>) -> Self {
        Self { cache, gathered: Vec::with_capacity(OFFERS_MAX), start: 0 }
    }

    /// Chooses from a batch that is rewritten and still there. `tables` gave the verdicts.
    ///
    /// Cost: two loads a segment when no port's classifier asks the cache; else a lookup for each packet
    /// that is looked at, whether it can be offered or not.
    #[inline]
    pub fn gather(&mut self, batch: &Batch, memory: &PacketMemory, tables: &RouteTables) {
        if batch.segments.iter().any(|segment| self.cache.is_source(segment.in_port.0)) {
            self.choose(batch, memory, tables);
        }
    }

    fn choose(&mut self, batch: &Batch, memory: &PacketMemory, tables: &RouteTables) {
        let packets = batch.frames.len();
        let wanted = (packets / PACKETS_PER_OFFER)
            .clamp(1, OFFERS_MAX)
            .min(OFFERS_MAX - self.gathered.len());
        let start = self.start % packets.max(1);
        self.start = self.start.wrapping_add(wanted);
        let is_forwarded = |place: &usize| {
            matches!(batch.verdicts[*place], Verdict::Forward { .. })
                && self.cache.is_source(batch.metadata[*place].in_port.0)
        };
        // The bound is on lookups: with multipath routes all of them may be for nothing.
        let candidates = (start..packets).chain(0..start).filter(is_forwarded).take(wanted);
        let route = |place| plain_route(batch, place, memory, tables);
        self.gathered.extend(candidates.filter_map(route));
    }

    /// Offers what was gathered; `tables` are those that it was gathered by.
    #[inline]
    pub fn make(&mut self, tables: &Reader<RouteTables>) {
        for route in self.gathered.drain(..) {
            // Whatever becomes of it: the next packet is forwarded in any case.
            let _ = self.cache.offer(&route, || tables.is_current());
        }
    }
}

/// How the packet at `place` was forwarded, if it was in a way that the classifier can repeat.
fn plain_route(
    batch: &Batch,
    place: usize,
    memory: &PacketMemory,
    tables: &RouteTables,
) -> Option<CachedRoute> {
    let (metadata, Verdict::Forward { port, adjacency }) =
        (&batch.metadata[place], batch.verdicts[place])
    else {
        return None;
    };
    if usize::from(metadata.layer3_offset) != LINK_HEADER {
        return None;
    }
    let rewrite = tables.rewrite(adjacency);
    let macs = rewrite.untagged()?;
    let header = memory.packet(&batch.frames[place]).get(LINK_HEADER..)?;
    let (destination, group) = match metadata.layer3 {
        Layer3::Ipv4 => {
            let octets: [u8; 4] = *header.get(16..)?.first_chunk()?;
            let mut group = [NO_ROUTE];
            tables.routes_ipv4.lookup_bulk(&[u32::from_be_bytes(octets)], &mut group);
            (IpAddr::from(octets), group[0])
        }
        Layer3::Ipv6 => {
            let octets: [u8; 16] = *header.get(24..)?.first_chunk()?;
            let mut group = [NO_ROUTE];
            tables.routes_ipv6.lookup_bulk(&[u128::from_be_bytes(octets)], &mut group);
            (IpAddr::from(octets), group[0])
        }
        Layer3::Other => return None,
    };
    if tables.groups.is_multipath(group) {
        return None;
    }
    Some(CachedRoute {
        in_port: metadata.in_port.0,
        destination,
        out_port: port.0,
        destination_mac: *macs.first_chunk()?,
        source_mac: *macs.last_chunk()?,
        mtu_bytes: u32::from(rewrite.length_max),
        adjacency: adjacency.0,
    })
}
