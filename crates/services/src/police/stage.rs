//! The police stage: meters the packets that were brought to a policer, and does what their colour says.
//!
//! What may happen to a packet here:
//!
//! * drop `policed`: the policer drops packets of its colour, usually red;
//! * it goes on with another DSCP;
//! * nothing.
//!
//! Who brings packets: a filter's rules ([`PoliceScratch::push`]) and ports ([`PoliceScratch::gather_ports`]). A
//! packet may be brought to several policers; they see it in the order of bringing, and those after
//! one that drops it do not. A colour-aware policer takes the colour from the packet's DSCP, so what an earlier
//! one has marked reaches a later one that way. Packets that were dropped before are not metered, nor are those
//! that are punted and go no further; those that the kernel may forward are, or options would lead round a policer.
//!
//! What is metered is the IP packet, header included (RFC 2697 section 2), plus the policer's overhead.

use linecard_io::{Frame, PacketMemory};
use linecard_packet::{BATCH_PACKETS_MAX, Batch, DropReason, Layer3, Metadata, Verdict};
use linecard_tables::meter::{Colour, Meter};
use linecard_wire::{ipv4, ipv6};

use super::meters::{self, Packet};
use super::stats;
use super::table::Entry;
use super::{
    ColourAction, PoliceStats, PoliceTables, PolicerId, PolicerMeters, assured_forwarding_colour,
};
use crate::route::is_forwarded_by_kernel;

/// How many packets ahead of the one that is metered its source's meter is asked for.
const PREFETCH_PACKETS: usize = 8;

/// A packet can be brought to so many policers on average; beyond that it passes, and is counted.
const POLICERS_PER_PACKET: usize = 4;

/// What can be brought in one batch.
const BROUGHT_MAX: usize = BATCH_PACKETS_MAX * POLICERS_PER_PACKET;

/// A packet that was brought to a policer.
#[derive(Debug, Clone, Copy, Default)]
struct Brought {
    policer: u32,
    place: u8,
}

/// Which packets of a batch go to which policers; allocated once.
#[derive(Debug)]
pub struct PoliceScratch {
    brought: Box<[Brought; BROUGHT_MAX]>,
    len: usize,
    /// Those for which there was no room.
    refused: u64,
}

impl Default for PoliceScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl PoliceScratch {
    /// Nothing is brought to any policer.
    #[must_use]
    pub fn new() -> Self {
        Self { brought: Box::new([Brought::default(); BROUGHT_MAX]), len: 0, refused: 0 }
    }

    /// Brings the packet at `place` to a policer; false when there is no room for more.
    #[inline]
    pub fn push(&mut self, place: u8, policer: PolicerId) -> bool {
        let room = self.brought.get_mut(self.len);
        let fits = room.is_some();
        match room {
            Some(brought) => {
                *brought = Brought { policer: policer.0, place };
                self.len += 1;
            }
            None => self.refused += 1,
        }
        fits
    }

    /// Brings all packets of ports that have a policer to it, but for those that are decided and go no further. Nothing where no port has one.
    pub fn gather_ports(&mut self, batch: &Batch, tables: &PoliceTables) {
        if tables.polices_no_port() {
            return;
        }
        let mut start = 0;
        for segment in &batch.segments {
            let places = start..usize::from(segment.end);
            start = places.end;
            let Some(policer) = tables.port(segment.in_port) else { continue };
            for place in places {
                if is_metered(batch.verdicts[place]) {
                    self.push(place as u8, policer);
                }
            }
        }
    }

    /// Sends packets that were brought to a policer by port on to that of their port.
    fn resolve_by_port(&mut self, batch: &Batch, tables: &PoliceTables) {
        if !tables.has_by_port() {
            return;
        }
        for brought in &mut self.brought[..self.len] {
            if let Some(metadata) = batch.metadata.get(usize::from(brought.place)) {
                brought.policer = tables.of_port(brought.policer, metadata.in_port);
            }
        }
    }

    /// True when no packet was brought.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Whether a packet that stands so is metered: while it may still leave, be it by the kernel, or options would lead
/// round a policer. Packets that leave are brought by the filters of their ports.
#[inline]
fn is_metered(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Undecided | Verdict::Forward { .. } => true,
        Verdict::Punt(reason) => is_forwarded_by_kernel(reason),
        Verdict::Drop(_) => false,
    }
}

/// The DSCP of an IP packet; 0 for what is none.
#[inline]
fn dscp(packet: &[u8], metadata: &Metadata) -> u8 {
    let header = packet.get(usize::from(metadata.layer3_offset)..);
    match (metadata.layer3, header.and_then(<[u8]>::first_chunk)) {
        (Layer3::Ipv4, Some([_, class])) => class >> 2,
        // The traffic class lies across the first two bytes.
        (Layer3::Ipv6, Some([first, second])) => (first << 2 | second >> 6) & 0x3f,
        _ => 0,
    }
}

/// The first 64 bits of the source address, IPv4 in the first 32 of them; 0 for what has none.
#[inline]
fn source(packet: &[u8], metadata: &Metadata) -> u64 {
    let header = packet.get(usize::from(metadata.layer3_offset)..).unwrap_or_default();
    match metadata.layer3 {
        Layer3::Ipv4 => {
            let octets = header.get(12..).and_then(<[u8]>::first_chunk);
            u64::from(octets.map_or(0, |octets| u32::from_be_bytes(*octets))) << 32
        }
        Layer3::Ipv6 => {
            let octets = header.get(8..).and_then(<[u8]>::first_chunk);
            octets.map_or(0, |octets| u64::from_be_bytes(*octets))
        }
        Layer3::Other => 0,
    }
}

/// The colour that a packet comes with.
#[cold]
fn colour_of(packet: &[u8], metadata: &Metadata) -> Colour {
    assured_forwarding_colour(dscp(packet, metadata))
}

/// Gives a packet another DSCP.
#[inline(never)]
fn mark(frame: &mut Frame, metadata: &Metadata, memory: &mut PacketMemory, dscp: u8) {
    let packet = memory.packet_mut(frame);
    let header = packet.get_mut(usize::from(metadata.layer3_offset)..).unwrap_or_default();
    // Parse saw a whole header, so neither fails.
    let _ = match metadata.layer3 {
        Layer3::Ipv4 => ipv4::set_dscp(header, dscp),
        _ => ipv6::set_dscp(header, dscp),
    };
}

/// Meters all packets that `scratch` brings, which is empty afterwards. `now_nanoseconds` is the batch's time.
///
/// Cost: nothing without packets; else a cache line read and two written a policer: 11 to 14 cycles a packet
/// (`cargo bench -p linecard-services`), and 60 to 75 with a meter for each of 16,384 sources.
pub fn process(
    batch: &mut Batch,
    memory: &mut PacketMemory,
    tables: &PoliceTables,
    scratch: &mut PoliceScratch,
    meters: &mut PolicerMeters,
    stats: &mut PoliceStats,
    now_nanoseconds: u64,
) {
    let nobody = |_, _, _| {};
    process_watched(batch, memory, tables, scratch, meters, stats, (now_nanoseconds, nobody));
}

/// As [`process`], and tells of each packet that is metered: its place, the policer and the colour.
pub fn process_watched(
    batch: &mut Batch,
    memory: &mut PacketMemory,
    tables: &PoliceTables,
    scratch: &mut PoliceScratch,
    meters: &mut PolicerMeters,
    stats: &mut PoliceStats,
    (now_nanoseconds, mut metered): (u64, impl FnMut(u8, PolicerId, Colour)),
) {
    if scratch.is_empty() {
        return;
    }
    scratch.resolve_by_port(batch, tables);
    let brought = &scratch.brought[..scratch.len];
    let (open, cells) = (meters.open(), stats.open());
    if tables.has_sources() {
        each::<true>(batch, memory, tables, brought, (open, cells), now_nanoseconds, &mut metered);
    } else {
        each::<false>(batch, memory, tables, brought, (open, cells), now_nanoseconds, &mut metered);
    }
    scratch.len = 0;
    stats.count_unmetered(std::mem::take(&mut scratch.refused));
    stats.set_sources_taken(meters.sources_taken());
}

/// Meters the packets, with or without policers by source among the policers.
#[inline]
fn each<const BY_SOURCE: bool>(
    batch: &mut Batch,
    memory: &mut PacketMemory,
    tables: &PoliceTables,
    brought: &[Brought],
    (mut meters, cells): (meters::Open<'_>, stats::Open<'_>),
    now_nanoseconds: u64,
    metered: &mut impl FnMut(u8, PolicerId, Colour),
) {
    let policers = tables.policers();
    let Batch { frames, metadata, verdicts, .. } = batch;
    let (frames, metadata, verdicts) = (&mut frames[..], &metadata[..], &mut verdicts[..]);
    let mut ahead = if BY_SOURCE { brought.iter() } else { [].iter() };
    for brought in ahead.by_ref().take(PREFETCH_PACKETS) {
        prefetch((frames, metadata), memory, policers, &meters, *brought);
    }
    for &Brought { place, policer } in brought {
        if BY_SOURCE && let Some(brought) = ahead.next() {
            prefetch((frames, metadata), memory, policers, &meters, *brought);
        }
        let Some(Some(entry)) = policers.get(policer as usize) else { continue };
        let at = usize::from(place);
        let (Some(metadata), Some(verdict)) = (metadata.get(at), verdicts.get_mut(at)) else {
            continue;
        };
        if !is_metered(*verdict) {
            continue;
        }
        let bytes = metadata.layer3_length;
        let colour = match entry.profile.is_aware() {
            true => colour_of(memory.packet(&frames[at]), metadata),
            false => Colour::Green,
        };
        let packet = Packet { now_nanoseconds, bytes, colour };
        let colour = match entry.sources {
            Some(prefixes) if BY_SOURCE => {
                let source = source(memory.packet(&frames[at]), metadata);
                let prefix = prefixes.of(metadata.layer3, source);
                let key = meters.source_key(policer, metadata.layer3, prefix);
                let (colour, has_place) = meters.mark_source(tables, &key, entry, packet);
                if !has_place {
                    cells.count_refused_source(policer, entry.profile.incarnation());
                }
                colour
            }
            _ => meters.mark(tables, policer, entry, packet),
        };
        cells.count(policer, entry.profile.incarnation(), colour, bytes);
        metered(place, PolicerId(policer), colour);
        match entry.action(colour) {
            ColourAction::Pass => {}
            ColourAction::Drop => *verdict = Verdict::Drop(DropReason::Policed),
            ColourAction::Mark(dscp) => mark(&mut frames[at], metadata, memory, dscp),
        }
    }
}

/// Asks for the meter of a source whose packet comes soon.
#[inline]
fn prefetch(
    (frames, metadata): (&[Frame], &[Metadata]),
    memory: &PacketMemory,
    policers: &[Option<Entry>],
    meters: &meters::Open<'_>,
    Brought { policer, place }: Brought,
) {
    let Some(Some(entry)) = policers.get(policer as usize) else { return };
    let place = usize::from(place);
    if let (Some(prefixes), Some(frame)) = (entry.sources, frames.get(place)) {
        let metadata = &metadata[place];
        let prefix = prefixes.of(metadata.layer3, source(memory.packet(frame), metadata));
        meters.prefetch_source(&meters.source_key(policer, metadata.layer3, prefix));
    }
}

/// What [`process`] would do if the buckets of all policers were full, and nobody is charged for it; tells of
/// each packet as [`process_watched`] does.
pub fn imagine(
    batch: &mut Batch,
    memory: &mut PacketMemory,
    tables: &PoliceTables,
    scratch: &mut PoliceScratch,
    mut metered: impl FnMut(u8, PolicerId, Colour),
) {
    scratch.resolve_by_port(batch, tables);
    for &Brought { place, policer } in &scratch.brought[..scratch.len] {
        let Some(entry) = tables.policer(policer) else { continue };
        let at = usize::from(place);
        let Some(verdict) = batch.verdicts.get_mut(at) else { continue };
        if !is_metered(*verdict) {
            continue;
        }
        let (frame, metadata) = (&mut batch.frames[at], &batch.metadata[at]);
        let colour = match entry.profile.is_aware() {
            true => colour_of(memory.packet(frame), metadata),
            false => Colour::Green,
        };
        let colour = Meter::default().mark(&entry.profile, 0, metadata.layer3_length, colour);
        metered(place, PolicerId(policer), colour);
        match entry.action(colour) {
            ColourAction::Pass => {}
            ColourAction::Drop => *verdict = Verdict::Drop(DropReason::Policed),
            ColourAction::Mark(dscp) => mark(frame, metadata, memory, dscp),
        }
    }
    scratch.len = 0;
    scratch.refused = 0;
}
