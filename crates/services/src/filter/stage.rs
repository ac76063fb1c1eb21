//! The filter stages: which rule decides on a packet, and what becomes of it.
//!
//! What may happen to a packet here:
//!
//! * drop `filtered` or `filter_rejected`: of the latter the sender is told ([`super::RejectReply`], where packets end);
//! * its DSCP changes, it gets a forwarding class, it is copied, or noted for the log or as a sample,
//!   where a rule asks for it;
//! * a packet that comes in is routed as if it were for another destination (`redirect`);
//! * it is brought to a policer, which has the last word;
//! * nothing: it is accepted.
//!
//! The filter of a port's input sees each IP packet that a worker received and parse did not drop, also those
//! that the kernel will get: it may forward them, as it does those with options, and they have states as all
//! others. (What the classifier leaves to the kernel, such as packets to the router's own addresses, no worker
//! receives; the kernel does not forward that.) The filter of a port's output sees the packets that are about to
//! leave, as they were received, and those that the kernel gets and may forward by the port: with options, over
//! the MTU, for an unresolved neighbour. Where a route has several next hops, which of them the kernel takes is
//! its own choice, so the filters of all of them are asked. What is not IP passes.
//!
//! Cost: 20 bytes of each packet's headers, which are in the cache since parse read them, but for the flags of TCP over
//! IPv6, which are in the next line and asked for ahead; and the lookup (see [`linecard_tables::classifier`]). Ports without a filter cost one load a queue and batch.

use std::net::IpAddr;

use linecard_io::{Frame, PacketMemory};
use linecard_packet::{
    BATCH_PACKETS_MAX, Batch, DropReason, Layer3, Metadata, NoteKind, RuleNote, Verdict,
};
use linecard_tables::classifier::{Classifier, NO_MATCH};

use super::columns::Columns;
use super::dscp::DscpMarks;
use super::expand::Family;
use super::program::{Brief, Chain, Effect, Outcome};
use super::rule::Action;
use super::{FilterStats, FilterTables, Program, key};
use linecard_wire::ip::Protocol;

use crate::connection::ConnectionState;
use crate::police::PoliceScratch;
use crate::route::{RouteTables, is_forwarded_by_kernel};

/// The services that filters work with, as far as they are on.
#[derive(Debug, Default)]
pub struct Companions<'a> {
    /// The state of each packet's connection, by place. Without them no rule that asks for states matches.
    pub states: Option<&'a [ConnectionState; BATCH_PACKETS_MAX]>,
    /// Gets the packets that rules bring to a policer. Without it they are not policed.
    pub police: Option<&'a mut PoliceScratch>,
}

/// How many packets ahead of the one whose key is made its second cache line is asked for.
const PREFETCH_PACKETS: usize = 24;

/// The columns of the stage; allocated once, overwritten by each batch.
#[derive(Debug)]
pub struct FilterScratch {
    ipv4: Columns<u32>,
    ipv6: Columns<u128>,
    rules: Box<[u32; BATCH_PACKETS_MAX]>,
    marks: DscpMarks,
}

impl Default for FilterScratch {
    fn default() -> Self {
        Self::new()
    }
}

impl FilterScratch {
    /// Scratch for one batch.
    #[must_use]
    pub fn new() -> Self {
        let rules = Box::new([NO_MATCH; BATCH_PACKETS_MAX]);
        Self { ipv4: Columns::new(), ipv6: Columns::new(), rules, marks: DscpMarks::new() }
    }
}

/// Asks the filters of the ports that packets came in on.
pub fn process_input(
    batch: &mut Batch,
    memory: &mut PacketMemory,
    tables: &FilterTables,
    mut companions: Companions<'_>,
    scratch: &mut FilterScratch,
    stats: &mut FilterStats,
) {
    let mut start = 0;
    for index in 0..batch.segments.len() {
        let segment = batch.segments[index];
        let places = start..usize::from(segment.end);
        start = places.end;
        let Some(program) = tables.input(segment.in_port) else { continue };
        gather(batch, memory, scratch, places, |verdict, _, _| {
            matches!(verdict, Verdict::Undecided | Verdict::Punt(_))
        });
        run(program, batch, memory, &mut companions, scratch, stats);
    }
    scratch.marks.apply(batch, memory);
}

/// Asks the filters of the ports that packets leave by, before they are rewritten, or by which the kernel may
/// forward those that it gets.
///
/// Cost: each port with a filter looks through the batch for its packets, and looks up the routes of those that
/// the kernel gets.
pub fn process_output(
    batch: &mut Batch,
    memory: &mut PacketMemory,
    (tables, routes): (&FilterTables, &RouteTables),
    mut companions: Companions<'_>,
    scratch: &mut FilterScratch,
    stats: &mut FilterStats,
) {
    for (out_port, program) in tables.outputs() {
        gather(batch, memory, scratch, 0..batch.len(), |verdict, frame, metadata| match verdict {
            Verdict::Forward { port, .. } => port == out_port,
            Verdict::Punt(reason) if is_forwarded_by_kernel(reason) => {
                routes.kernel_may_leave_by(out_port, memory.packet(frame), metadata)
            }
            _ => false,
        });
        run(program, batch, memory, &mut companions, scratch, stats);
    }
    scratch.marks.apply(batch, memory);
}

/// Fills the columns with the packets at these places whose verdict is wanted. What looking ahead takes, batches
/// without IPv6 do not pay.
#[inline]
fn gather(
    batch: &Batch,
    memory: &PacketMemory,
    scratch: &mut FilterScratch,
    places: std::ops::Range<usize>,
    wanted: impl Fn(Verdict, &Frame, &Metadata) -> bool,
) {
    if batch.destinations_ipv6.places().is_empty() {
        gather_with::<false>(batch, memory, scratch, places, wanted);
    } else {
        gather_with::<true>(batch, memory, scratch, places, wanted);
    }
}

#[inline]
fn gather_with<const LOOKS_AHEAD: bool>(
    batch: &Batch,
    memory: &PacketMemory,
    scratch: &mut FilterScratch,
    places: std::ops::Range<usize>,
    wanted: impl Fn(Verdict, &Frame, &Metadata) -> bool,
) {
    scratch.ipv4.clear();
    scratch.ipv6.clear();
    let packets = batch.frames[places.clone()].iter().zip(&batch.metadata[places.clone()]);
    let mut ahead = packets.clone();
    if LOOKS_AHEAD {
        let first = ahead.by_ref().take(PREFETCH_PACKETS);
        first.for_each(|(frame, metadata)| prefetch(memory, frame, metadata));
    }
    let packets = packets.zip(&batch.verdicts[places.clone()]).zip(places);
    for (((frame, metadata), &verdict), place) in packets {
        if LOOKS_AHEAD && let Some((frame, metadata)) = ahead.next() {
            prefetch(memory, frame, metadata);
        }
        if !wanted(verdict, frame, metadata) {
            continue;
        }
        let packet = memory.packet(frame);
        // Parse saw a whole header, so there is a key.
        match metadata.layer3 {
            Layer3::Ipv4 => {
                if let Some(key) = key::of_ipv4(packet, metadata) {
                    scratch.ipv4.push(place, &key);
                }
            }
            Layer3::Ipv6 => {
                if let Some(key) = key::of_ipv6(packet, metadata) {
                    scratch.ipv6.push(place, &key);
                }
            }
            Layer3::Other => {}
        }
    }
}

/// Asks for what a key is made of behind the first cache line, which parse has read: the flags of TCP over IPv6.
#[inline]
fn prefetch(memory: &PacketMemory, frame: &Frame, metadata: &Metadata) {
    if metadata.layer3 == Layer3::Ipv6 && metadata.protocol == Protocol::TCP.0 {
        memory.prefetch_at(frame, usize::from(metadata.layer4_offset) + key::TCP_FLAGS_OFFSET);
    }
}

/// Looks the gathered packets up and does what the rules say.
fn run(
    program: &Program,
    batch: &mut Batch,
    memory: &mut PacketMemory,
    companions: &mut Companions<'_>,
    scratch: &mut FilterScratch,
    stats: &mut FilterStats,
) {
    let FilterScratch { ipv4, ipv6, rules, marks } = scratch;
    if let Some(states) = companions.states {
        ipv4.set_states(states);
        ipv6.set_states(states);
    }
    let police = companions.police.as_deref_mut();
    let mut step = Step { program, batch, memory, police, marks, stats };
    step.family(ipv4, &mut rules[..], |chain| &chain.ipv4);
    step.family(ipv6, &mut rules[..], |chain| &chain.ipv6);
}

/// What the steps of the stage have in common.
struct Step<'a> {
    program: &'a Program,
    batch: &'a mut Batch,
    memory: &'a mut PacketMemory,
    police: Option<&'a mut PoliceScratch>,
    marks: &'a mut DscpMarks,
    stats: &'a mut FilterStats,
}

impl Step<'_> {
    /// Takes the packets of one family through the chains, until each is decided on.
    fn family<A: Family>(
        &mut self,
        columns: &mut Columns<A>,
        rules: &mut [u32],
        classifier: impl Fn(&Chain) -> &Classifier<A>,
    ) {
        for chain in &self.program.chains {
            if columns.is_empty() {
                return;
            }
            let places = columns.places();
            let rules = &mut rules[..places.len()];
            let (frames, metadata) = (&self.batch.frames, &self.batch.metadata);
            classifier(chain).lookup_bulk(columns.keys(), rules, |number, rule| {
                let place = usize::from(places[number]);
                self.program.holds(rule, self.memory.packet(&frames[place]), &metadata[place])
            });
            let mut undecided = false;
            for (&place, rule) in places.iter().zip(&mut *rules) {
                let is_decided = *rule != NO_MATCH && {
                    let program = self.program;
                    self.apply(place, program.brief(*rule), || program.effect(*rule))
                };
                if !is_decided {
                    (*rule, undecided) = (NO_MATCH, true);
                }
            }
            if undecided {
                columns.retain(|number| rules[number] == NO_MATCH);
            } else {
                columns.clear();
            }
        }
        let (default, program) = (self.program.default_brief(), self.program);
        for &place in columns.places() {
            self.apply(place, default, || &program.default);
        }
    }

    /// Does what a rule says with a packet; false when the rules behind it are to be asked as well.
    #[inline]
    fn apply<'e>(&mut self, place: u8, brief: Brief, effect: impl FnOnce() -> &'e Effect) -> bool {
        let at = usize::from(place);
        self.stats.count(brief.counter, self.batch.frames[at].len());
        match brief.outcome() {
            Outcome::Accept => {}
            Outcome::Police(policer) => {
                if let Some(police) = &mut self.police {
                    police.push(place, policer);
                }
            }
            Outcome::Drop => self.batch.verdicts[at] = Verdict::Drop(DropReason::Filtered),
            Outcome::More => return self.apply_rare(place, effect()),
        }
        true
    }

    #[cold]
    fn apply_rare(&mut self, place: u8, effect: &Effect) -> bool {
        let at = usize::from(place);
        // First, since a copy is of the packet as it came.
        if let Some(port) = effect.mirror_to {
            self.marks.with_mark(place, self.batch, self.memory, |batch, memory| {
                let Batch { frames, metadata, copies, .. } = batch;
                copies.make(memory, &frames[at], &metadata[at], port);
            });
        }
        if let Some(dscp) = effect.set_dscp {
            self.marks.set(place, dscp);
        }
        if effect.log || effect.sample_one_in > 0 {
            self.note(place, effect);
        }
        if let Some(class) = effect.set_class {
            self.batch.classes.set(place, class);
        }
        match effect.action {
            Action::Drop => {
                self.batch.verdicts[at] = Verdict::Drop(DropReason::Filtered);
                return true;
            }
            Action::Reject => {
                self.batch.verdicts[at] = Verdict::Drop(DropReason::FilterRejected);
                return true;
            }
            Action::Redirect(IpAddr::V4(address)) => {
                self.batch.destinations_ipv4.redirect(place, address.to_bits());
            }
            Action::Redirect(IpAddr::V6(address)) => {
                self.batch.destinations_ipv6.redirect(place, address.to_bits());
            }
            Action::Accept | Action::Continue => {}
        }
        if let (Some(policer), Some(police)) = (effect.policer, &mut self.police) {
            police.push(place, policer);
        }
        effect.action != Action::Continue
    }
}

impl Step<'_> {
    /// Notes that somebody is to be told of a packet.
    fn note(&mut self, place: u8, effect: &Effect) {
        let &Effect { counter, log, sample_one_in, .. } = effect;
        if log {
            self.batch.notes.make(RuleNote { place, kind: NoteKind::Log, counter });
        }
        if sample_one_in > 0 && self.stats.is_sample(counter, sample_one_in) {
            self.batch.notes.make(RuleNote { place, kind: NoteKind::Sample, counter });
        }
    }
}
