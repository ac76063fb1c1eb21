//! The tap: what a worker tells about single packets, to whoever asked for it.
//!
//! Counters say how many packets were dropped and why; a tap says which, and what each stage did with them.
//! Who wants to know arms it with an [`Order`]: a condition in the filters' own terms, and how many packets.
//! Orders are published as tables are ([`TapOrders`]), so a worker that nobody asks looks at one word a round
//! and takes one branch a batch.
//!
//! While there are orders, the same stages run in the same order, with somebody between them who takes notes
//! (`watch`): the code of the pipeline is written once, for a watcher that is nobody or the tap. Behind parse
//! the tap selects packets and keeps what was received of them; behind each stage it writes down what the stage
//! did; and when the batch has ended it says where each packet ended and lets go. Rules of filters that log or
//! sample use the same way ([`Selection`]), with or without orders.
//!
//! Everything goes through a ring to one reader ([`TapReader`]): a full ring costs records, which are counted, and
//! never time. What is between worker and reader has its size from [`TapCapacities`]; memory that no packet
//! was selected into is never touched, so it is not the machine's.

mod explain;
mod order;
mod record;
mod ring;
mod rules;
mod watch;

pub use explain::{Explained, Explainer};
pub use order::{Order, OrderId, TapOrders, TapUpdate};
pub use record::{Kind, Policed, Record, Stage, Step};
pub use ring::{TapReader, TapTaken};
pub(crate) use watch::{Nobody, Watch};

use linecard_io::PacketMemory;
use linecard_packet::{BATCH_PACKETS_MAX, Batch, Verdict};
use linecard_services::connection::ConnectionState;
use linecard_tables::publication::{Reader, Subscription};

use crate::punt::TokenBucket;
use ring::TapWriter;

/// How much a worker's tap can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TapCapacities {
    /// Records between the worker and the reader.
    pub records_max: usize,
    /// Steps of those records.
    pub steps_max: usize,
    /// Bytes of packets of those records, and of the selected packets of one batch.
    pub bytes_max: usize,
}

impl Default for TapCapacities {
    /// 8,192 records, 32,768 steps, 4 MiB of packets: 8 MiB a worker, of which nothing is touched while nobody asks.
    fn default() -> Self {
        Self { records_max: 8192, steps_max: 32_768, bytes_max: 4 << 20 }
    }
}

/// Packets of one batch that an order traces at the most if it takes all that match: to say what happened to one costs
/// microseconds, and the next ones come with the next batch.
const TRACED_AT_ONCE: usize = 64;
/// Packets of one batch that are traced at the most. As many as a batch has: those that an order wants may be any of
/// them, if it goes by how they end.
const TRACED_MAX: usize = BATCH_PACKETS_MAX;
/// Steps of one packet at the most.
const STEPS_MAX: usize = 24;

/// A packet that somebody wants to know about.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// Its place in the batch.
    pub place: u8,
    /// What for.
    pub kind: Kind,
    /// [`Kind::Trace`], [`Kind::Capture`]: the order. [`Kind::Log`], [`Kind::Sample`]: the rule's counter.
    pub by: u32,
    /// How many of its bytes are wanted.
    pub snap_bytes: u16,
}

/// A selected packet, until the batch has ended.
#[derive(Debug, Clone, Copy)]
struct Selected {
    selection: Selection,
    frame_bytes: u32,
    /// Where its bytes stand.
    start: u32,
    captured: u16,
    /// Steps, if it is traced: place in the batch's steps.
    traced: Option<u8>,
    /// How it stood behind the last stage that was looked at.
    verdict: Verdict,
    state: Option<ConnectionState>,
    /// The last thing that is known about it, and the stage that decided last with what it knew: what is told of a
    /// packet that is captured.
    known: Option<Step>,
    decider: [Option<Step>; 2],
}

/// What one packet went through.
#[derive(Debug)]
struct Steps {
    len: usize,
    steps: [Step; STEPS_MAX],
}

/// One worker's tap, to be given to [`crate::Worker::tap`].
pub struct Tap {
    /// `None` where nobody can order anything.
    orders: Option<Reader<TapOrders>>,
    is_real: bool,
    selected: Vec<Selected>,
    bytes: Vec<u8>,
    traces: Vec<Steps>,
    traced: usize,
    writer: TapWriter,
    /// How many packets rules may log.
    log_limit: TokenBucket,
}

impl Tap {
    /// A tap that takes these orders, and who reads what it tells. Allocates all that it takes.
    #[must_use]
    pub fn new(orders: &Subscription<TapOrders>, capacities: &TapCapacities) -> (Self, TapReader) {
        let (mut tap, reader) = Self::without_orders(capacities);
        tap.orders = Some(orders.reader());
        tap.release();
        (tap, reader)
    }

    /// A tap that nobody can order anything of.
    fn without_orders(capacities: &TapCapacities) -> (Self, TapReader) {
        let (writer, reader) = ring::new(capacities);
        let steps = || Steps { len: 0, steps: [Step::NOTHING; STEPS_MAX] };
        let tap = Self {
            orders: None,
            is_real: true,
            selected: Vec::with_capacity(2 * BATCH_PACKETS_MAX),
            bytes: Vec::with_capacity(capacities.bytes_max),
            traces: (0..TRACED_MAX.min(capacities.records_max)).map(|_| steps()).collect(),
            traced: 0,
            writer,
            log_limit: TokenBucket::new(rules::LOG_LIMIT),
        };
        (tap, reader)
    }

    /// Takes the current orders, between batches.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        if let Some(orders) = &mut self.orders {
            orders.refresh();
        }
    }

    /// Holds no orders until the next refresh.
    pub(crate) fn release(&mut self) {
        if let Some(orders) = &mut self.orders {
            orders.release();
        }
    }

    /// True while somebody has ordered something: then the pipeline is watched.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.orders.as_ref().is_some_and(|orders| !orders.get().is_empty())
    }

    /// Keeps what was received of a packet, until [`Self::end`] tells it. Before a stage has changed the packet's
    /// bytes. Where there is no room the packet is counted as lost.
    pub(crate) fn select(&mut self, selection: Selection, batch: &Batch, memory: &PacketMemory) {
        let Some(frame) = batch.frames.get(usize::from(selection.place)) else { return };
        let packet = memory.packet(frame);
        let captured = packet.len().min(usize::from(selection.snap_bytes));
        let fits = self.selected.len() < self.selected.capacity()
            && self.bytes.len() + captured <= self.bytes.capacity();
        if !fits {
            return self.writer.lose();
        }
        let traced = (selection.kind == Kind::Trace).then_some(self.traced as u8);
        if traced.is_some() {
            let Some(steps) = self.traces.get_mut(self.traced) else { return self.writer.lose() };
            steps.len = 0;
            self.traced += 1;
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&packet[..captured]);
        self.selected.push(Selected {
            selection,
            frame_bytes: packet.len() as u32,
            start,
            captured: captured as u16,
            traced,
            verdict: Verdict::Undecided,
            state: None,
            known: None,
            decider: [None; 2],
        });
    }

    /// True when packets of the batch were selected, so that [`Self::end`] has something to tell.
    #[inline]
    pub(crate) fn has_selected(&self) -> bool {
        !self.selected.is_empty()
    }

    /// The batch has ended: tells where each selected packet did. `verdicts` and `metadata` are those of the batch.
    #[cold]
    pub(crate) fn end(&mut self, batch: &Batch, now_nanoseconds: u64) {
        let orders = self.orders.as_ref().map(Reader::get);
        for selected in &self.selected {
            let Selected { selection, start, captured, .. } = *selected;
            let place = usize::from(selection.place);
            let (Some(&verdict), Some(&metadata)) =
                (batch.verdicts.get(place), batch.metadata.get(place))
            else {
                continue;
            };
            let order = orders.filter(|_| selection.kind.is_ordered());
            let order = order.and_then(|orders| orders.get(OrderId(selection.by)));
            let is_meant = order.is_some_and(|order| order.takes(verdict, selected.state));
            if selection.kind.is_ordered() && !is_meant {
                continue;
            }
            let steps = selected.traced.and_then(|at| self.traces.get(usize::from(at)));
            let mut decider = [Step::NOTHING; 2];
            let mut told = 0;
            // Of a rule's packets nobody has followed the way.
            let is_followed = selection.kind == Kind::Capture;
            for step in selected.decider.into_iter().flatten().filter(|_| is_followed) {
                decider[told] = step;
                told += 1;
            }
            let steps = steps.map_or(&decider[..told], |steps| &steps.steps[..steps.len]);
            let start = start as usize;
            let bytes = &self.bytes[start..start + usize::from(captured)];
            let record = Record {
                kind: selection.kind,
                by: selection.by,
                at_nanoseconds: now_nanoseconds,
                frame_bytes: selected.frame_bytes,
                metadata,
                verdict,
                captured,
                steps: steps.len() as u8,
            };
            if !self.writer.write(&record, steps, bytes)
                && let Some(order) = order
            {
                order.give_back();
            }
        }
        self.forget();
    }

    /// Lets go of all selected packets.
    fn forget(&mut self) {
        self.selected.clear();
        self.bytes.clear();
        self.traced = 0;
    }

    /// Writes down what is known about a packet.
    fn note(traces: &mut [Steps], selected: &mut Selected, step: Step) {
        selected.known = Some(step);
        Self::tell(traces, selected, step);
    }

    /// Writes down how a stage has decided.
    fn note_decision(
        traces: &mut [Steps],
        selected: &mut Selected,
        stage: Stage,
        verdict: Verdict,
    ) {
        selected.verdict = verdict;
        let step = Step::Decided(stage, verdict);
        selected.decider = [selected.known.take(), Some(step)];
        Self::tell(traces, selected, step);
    }

    fn tell(traces: &mut [Steps], selected: &Selected, step: Step) {
        let steps = selected.traced.and_then(|at| traces.get_mut(usize::from(at)));
        if let Some(Steps { len, steps }) = steps
            && let Some(place) = steps.get_mut(*len)
        {
            *place = step;
            *len += 1;
        }
    }
}
