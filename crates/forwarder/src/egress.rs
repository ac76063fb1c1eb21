//! Where each packet of a batch ends: a transmit queue, the kernel, or a drop counter.

use linecard_io::{Frame, PacketMemory, PortQueue};
use linecard_packet::{
    BATCH_PACKETS_MAX, Batch, DropReason, Metadata, PortCounters, PortId, PuntReason, Verdict,
    WorkerCounters,
};
use linecard_tables::hash::FlowHash;

use crate::punt::{Neighbour, Neighbours, PortPuntLimits, PuntSink};
use crate::worker::WorkerPort;

/// A port as the worker holds it: its queues, and what is on its way to them.
pub(crate) struct PortState {
    pub(crate) id: PortId,
    pub(crate) queues: Vec<Box<dyn PortQueue>>,
    /// Places in `queues` of those that can transmit.
    transmitters: Vec<usize>,
    /// Frames of the present batch that leave here.
    leaving: Vec<Frame>,
    /// Frames were handed to a queue that has not been flushed since: once a round.
    pub(crate) flush_due: bool,
    punt_limits: PortPuntLimits,
}

impl PortState {
    pub(crate) fn new(port: WorkerPort, punt_limits: PortPuntLimits) -> Self {
        let leaving = Vec::with_capacity(BATCH_PACKETS_MAX);
        let queues = port.queues;
        let transmitters = (0..queues.len()).filter(|&place| queues[place].transmits()).collect();
        Self { id: port.id, queues, transmitters, leaving, flush_due: false, punt_limits }
    }

    /// Frames in all transmit queues.
    pub(crate) fn queued(&self) -> usize {
        self.queues.iter().map(|queue| queue.queued()).sum()
    }

    /// Sends what was gathered, by the queue that serves what came in by queue `number` of another
    /// port, and returns the packets and bytes it took. Makes room once if there is none; what
    /// still does not fit stays in `leaving`. What was taken leaves at the end of the round, when the
    /// queue is flushed: one system call for all batches of the round.
    fn transmit(&mut self, number: usize, memory: &mut PacketMemory) -> (u64, u64) {
        let before = bytes(&self.leaving);
        let place = match &self.transmitters[..] {
            // Nearly always, and a division is the dearest instruction here.
            [only] => Some(only),
            several => several.get(number % several.len().max(1)),
        };
        let Some(queue) = place.and_then(|&place| self.queues.get_mut(place)) else {
            return (0, 0);
        };
        let mut taken = queue.transmit(memory, &mut self.leaving);
        self.flush_due = true;
        if !self.leaving.is_empty() {
            queue.flush(memory);
            taken += queue.transmit(memory, &mut self.leaving);
        }
        (taken as u64, before - bytes(&self.leaving))
    }
}

fn bytes(frames: &[Frame]) -> u64 {
    frames.iter().map(|frame| frame.len() as u64).sum()
}

/// The parts of a worker that packets end in.
pub(crate) struct Egress<'a> {
    pub(crate) ports: &'a mut [PortState],
    /// Place in `ports` of each port number.
    pub(crate) places: &'a [Option<usize>],
    pub(crate) memory: &'a mut PacketMemory,
    pub(crate) counters: &'a mut WorkerCounters,
    pub(crate) sink: &'a mut dyn PuntSink,
    pub(crate) unresolved: &'a mut Neighbours,
    pub(crate) flow_hash: &'a FlowHash,
    pub(crate) now_nanoseconds: u64,
}

impl Egress<'_> {
    /// Ends every packet of a batch that came in by queue `queue` of the port at `place`; the batch
    /// is empty afterwards.
    ///
    /// All packets that came in by one queue leave by one queue of each port, so that no flow is
    /// reordered.
    pub(crate) fn finish(&mut self, batch: &mut Batch, place: usize, queue: usize) {
        let in_port = self.ports[place].id;
        let verdicts = std::mem::take(&mut batch.verdicts);
        let packets = batch.frames.drain(..).zip(&batch.metadata).zip(&verdicts);
        for ((frame, metadata), &verdict) in packets {
            if let Verdict::Forward { port, .. } = verdict
                && let Some(&Some(place)) = self.places.get(port.index())
                && let Some(port) = self.ports.get_mut(place)
            {
                port.leaving.push(frame);
            } else {
                self.end_here(frame, metadata, verdict, place);
            }
        }
        batch.verdicts = verdicts;
        for place in 0..self.ports.len() {
            if !self.ports[place].leaving.is_empty() {
                self.transmit(place, queue, in_port);
            }
        }
    }

    /// A packet that no port of the worker sends.
    fn end_here(&mut self, frame: Frame, metadata: &Metadata, verdict: Verdict, place: usize) {
        let in_port = self.ports[place].id;
        match verdict {
            Verdict::Punt(reason) => self.punt(frame, metadata, reason, place),
            Verdict::Drop(reason) => self.discard(frame, reason, in_port),
            Verdict::Forward { .. } => self.discard(frame, DropReason::PortDown, in_port),
            Verdict::Undecided => {
                debug_assert!(false, "the route stage decides on all packets");
                self.discard(frame, DropReason::PortDown, in_port);
            }
        }
    }

    fn transmit(&mut self, place: usize, queue: usize, in_port: PortId) {
        let port = &mut self.ports[place];
        let (packets, bytes) = port.transmit(queue, self.memory);
        self.counters.port(port.id).transmitted(packets, bytes);
        self.counters.port(in_port).forwarded(packets, bytes);
        let full = port.leaving.len() as u64;
        if full > 0 {
            self.counters.port(in_port).dropped(DropReason::TransmitQueueFull, full);
            for frame in port.leaving.drain(..) {
                self.memory.free(frame);
            }
        }
    }

    fn punt(&mut self, frame: Frame, metadata: &Metadata, reason: PuntReason, place: usize) {
        let packet = self.memory.packet(&frame);
        let now = self.now_nanoseconds;
        let PortState { id, punt_limits, .. } = &mut self.ports[place];
        let in_port = *id;
        let within_limits = if reason == PuntReason::NeighbourUnresolved {
            let neighbour = Neighbour::of(packet, metadata, self.flow_hash);
            punt_limits.take_unresolved(self.unresolved.turn(neighbour, now), now)
        } else {
            punt_limits.take(reason, now)
        };
        if !within_limits {
            return self.discard(frame, DropReason::PuntRateLimited, in_port);
        }
        if !self.sink.punt(in_port, packet) {
            return self.discard(frame, DropReason::PuntQueueFull, in_port);
        }
        self.counters.port(in_port).punted(reason, 1);
        self.memory.free(frame);
    }

    fn discard(&mut self, frame: Frame, reason: DropReason, in_port: PortId) {
        self.counters.port(in_port).dropped(reason, 1);
        self.memory.free(frame);
    }
}

/// Brings a port's counters up to date with what its queues say of themselves.
pub(crate) fn count_queues(port: &PortState, counters: &mut PortCounters) {
    counters.set_queued(port.queued() as u64);
}

/// Reads what the kernel dropped on a port's queues: a system call a queue.
pub(crate) fn count_kernel(port: &PortState, counters: &mut PortCounters) {
    let mut sum = linecard_io::KernelCounters::default();
    for queue in &port.queues {
        let queue = queue.kernel_counters();
        sum.rx_ring_full += queue.rx_ring_full;
        sum.rx_invalid += queue.rx_invalid;
        sum.tx_invalid += queue.tx_invalid;
    }
    counters.set_kernel(sum);
}
