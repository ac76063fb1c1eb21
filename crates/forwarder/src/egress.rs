//! Where each packet of a batch ends: a transmit queue, the kernel, or a drop counter.

use std::ops::Range;

use linecard_io::{Frame, PacketMemory, PortQueue};
use linecard_packet::{
    Batch, DropReason, Metadata, PortCounters, PortId, PuntReason, Verdict, WorkerCounters,
};
use linecard_services::route::RouteTables;
use linecard_tables::hash::FlowHash;

use crate::originate::{OwnPackets, REPLY_LIMIT};
use crate::punt::{Neighbour, Neighbours, PortPuntLimits, PuntSink, TokenBucket};
use crate::worker::WorkerPort;

/// A port as the worker holds it: its queues, and what is on its way to them.
pub(crate) struct PortState {
    pub(crate) id: PortId,
    pub(crate) queues: Vec<Box<dyn PortQueue>>,
    /// Places in `queues` of those that can transmit.
    transmitters: Vec<usize>,
    /// Frames were handed to a queue that has not been flushed since: once a round.
    pub(crate) flush_due: bool,
    punt_limits: PortPuntLimits,
    /// How fast senders of rejected packets are told.
    pub(crate) reply_limit: TokenBucket,
}

impl PortState {
    pub(crate) fn new(port: WorkerPort, punt_limits: PortPuntLimits) -> Self {
        let queues = port.queues;
        let transmitters = (0..queues.len()).filter(|&place| queues[place].transmits()).collect();
        let reply_limit = TokenBucket::new(REPLY_LIMIT);
        Self { id: port.id, queues, transmitters, flush_due: false, punt_limits, reply_limit }
    }

    /// Frames in all transmit queues.
    pub(crate) fn queued(&self) -> usize {
        self.queues.iter().map(|queue| queue.queued()).sum()
    }

    /// True when what came in by different queues must not leave together.
    pub(crate) fn has_several_transmitters(&self) -> bool {
        self.transmitters.len() > 1
    }

    /// Sends these frames by the queue that serves what came in by queue `number` of another
    /// port, and returns the packets and bytes it took. Makes room once if there is none; what
    /// still does not fit stays in `leaving`. What was taken leaves at the end of the round, when the
    /// queue is flushed: one system call for all batches of the round.
    pub(crate) fn transmit(
        &mut self,
        number: u16,
        leaving: &mut Vec<Frame>,
        memory: &mut PacketMemory,
    ) -> (u64, u64) {
        let before = bytes(leaving);
        let place = match &self.transmitters[..] {
            // Nearly always, and a division is the dearest instruction here.
            [only] => Some(only),
            several => several.get(usize::from(number) % several.len().max(1)),
        };
        let Some(queue) = place.and_then(|&place| self.queues.get_mut(place)) else {
            return (0, 0);
        };
        let mut taken = queue.transmit(memory, leaving);
        self.flush_due = true;
        if !leaving.is_empty() {
            queue.flush(memory);
            taken += queue.transmit(memory, leaving);
        }
        (taken as u64, before - bytes(leaving))
    }
}

/// By port number, the frames of the present batch that leave by it. Apart from [`PortState`], so that what
/// is written for each packet stands close together.
#[derive(Debug)]
pub(crate) struct EgressLists(Vec<Vec<Frame>>);

impl EgressLists {
    /// For so many port numbers, with room for so many frames each; those of other workers' ports among them
    /// stay empty.
    pub(crate) fn new(ports: &[PortState], frames_max: usize) -> Self {
        let numbers = ports.iter().map(|port| port.id.index() + 1).max().unwrap_or(0);
        let mut lists: Vec<_> = (0..numbers).map(|_| Vec::new()).collect();
        for port in ports {
            // Frames for a port that cannot send are dropped as for one that is not there.
            if !port.transmitters.is_empty() {
                lists[port.id.index()].reserve_exact(frames_max);
            }
        }
        Self(lists)
    }

    /// Where to add a frame that leaves by `port`, if the port is the worker's.
    #[inline]
    pub(crate) fn list(&mut self, port: PortId) -> Option<&mut Vec<Frame>> {
        // There is room for a batch, so this asks for the port only; but the compiler learns that a push
        // does not allocate, which spares instructions.
        self.0.get_mut(port.index()).filter(|leaving| leaving.len() < leaving.capacity())
    }

    /// What leaves by `port`, if anything does.
    pub(crate) fn non_empty(&mut self, port: PortId) -> Option<&mut Vec<Frame>> {
        self.0.get_mut(port.index()).filter(|leaving| !leaving.is_empty())
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
    /// Some port has more than one queue that transmits.
    pub(crate) has_several_transmitters: bool,
    pub(crate) lists: &'a mut EgressLists,
    pub(crate) own: &'a mut OwnPackets,
    pub(crate) routes: &'a RouteTables,
    pub(crate) memory: &'a mut PacketMemory,
    pub(crate) counters: &'a mut WorkerCounters,
    pub(crate) sink: &'a mut dyn PuntSink,
    pub(crate) unresolved: &'a mut Neighbours,
    pub(crate) flow_hash: &'a FlowHash,
    pub(crate) now_nanoseconds: u64,
}

impl Egress<'_> {
    /// Ends every packet of a batch, which is empty afterwards.
    ///
    /// All packets that came in by one queue leave by one queue of each port, so that no flow is
    /// reordered.
    pub(crate) fn finish(&mut self, batch: &mut Batch) {
        let segments = std::mem::take(&mut batch.segments);
        let mut frames = std::mem::take(&mut batch.frames);
        let (mut arriving, mut sent) = (frames.drain(..), 0);
        let mut start = 0;
        for (index, segment) in segments.iter().enumerate() {
            let end = usize::from(segment.end);
            let decided = batch.metadata[start..end].iter().zip(&mut batch.verdicts[start..end]);
            let decided = decided.zip(&batch.received_lengths[start..end]);
            // In this order: the zip must not take a frame for which there is no verdict here.
            self.sort_by_port(segment.in_port, decided.zip(arriving.by_ref()));
            start = end;
            let next = segments.get(index + 1);
            if next.is_none_or(|next| self.has_several_transmitters && next.queue != segment.queue)
            {
                self.transmit(segment.queue, batch, sent..end);
                self.transmit_replies(segment.queue);
                sent = end;
            }
        }
        drop(arriving);
        (batch.frames, batch.segments) = (frames, segments);
        batch.segments.clear();
        if !batch.copies.is_empty() {
            self.transmit_copies(&mut batch.copies);
        }
    }

    /// Sorts the packets that came in by one queue by the ports that they leave by, and ends the others.
    fn sort_by_port<'b>(
        &mut self,
        in_port: PortId,
        packets: impl Iterator<Item = (((&'b Metadata, &'b mut Verdict), &'b u16), Frame)>,
    ) {
        let (mut forwarded, mut bytes) = (0, 0);
        for (((metadata, verdict), &received_length), frame) in packets {
            let received_bytes = u64::from(received_length);
            if let Verdict::Forward { port, .. } = *verdict
                && let Some(leaving) = self.lists.list(port)
            {
                forwarded += 1;
                bytes += received_bytes;
                leaving.push(frame);
            } else {
                self.drop_or_punt(frame, received_bytes, metadata, verdict);
            }
        }
        self.counters.port(in_port).forwarded(forwarded, bytes);
    }

    /// A packet that no port of the worker sends. The verdict says afterwards where it ended.
    fn drop_or_punt(
        &mut self,
        frame: Frame,
        received_bytes: u64,
        metadata: &Metadata,
        verdict: &mut Verdict,
    ) {
        let in_port = metadata.in_port;
        let refused = match *verdict {
            Verdict::Punt(reason) => match self.punt(&frame, metadata, reason) {
                Ok(()) => {
                    self.counters.port(in_port).punted(reason, 1, received_bytes);
                    return self.memory.free(frame);
                }
                Err(reason) => reason,
            },
            Verdict::Drop(DropReason::FilterRejected) => {
                return self.reject(frame, received_bytes, metadata);
            }
            Verdict::Drop(reason) => reason,
            Verdict::Forward { .. } => DropReason::PortDown,
            Verdict::Undecided => {
                debug_assert!(false, "the route stage decides on all packets");
                DropReason::PortDown
            }
        };
        *verdict = Verdict::Drop(refused);
        self.counters.port(in_port).dropped(refused, 1, received_bytes);
        self.memory.free(frame);
    }

    /// Hands what was sorted to the transmit queues that serve queue `number`: packets of this range
    /// of the batch.
    fn transmit(&mut self, number: u16, batch: &mut Batch, range: Range<usize>) {
        for port in &mut *self.ports {
            let Some(leaving) = self.lists.non_empty(port.id) else { continue };
            let (packets, bytes) = port.transmit(number, leaving, self.memory);
            let counters = self.counters.port(port.id);
            counters.transmitted(packets, bytes);
            // The queue took from the front, so what is left are the last ones that were to leave here.
            let leaves_here = |verdict: &Verdict| match *verdict {
                Verdict::Forward { port: id, .. } => id == port.id,
                _ => false,
            };
            if batch.classes.is_set() {
                let places = range.clone().filter(|&place| leaves_here(&batch.verdicts[place]));
                let classes = places.map(|place| batch.classes.get(place as u8));
                classes.take(packets as usize).for_each(|class| counters.classified(class));
            }
            let metadata = batch.metadata[range.clone()].iter();
            let packets = metadata.zip(&mut batch.verdicts[range.clone()]);
            let packets = packets.zip(&batch.received_lengths[range.clone()]);
            let last = packets.rev().filter(|((_, verdict), _)| leaves_here(verdict));
            for (frame, ((metadata, verdict), length)) in leaving.drain(..).rev().zip(last) {
                let in_port = metadata.in_port;
                *verdict = Verdict::Drop(DropReason::TransmitQueueFull);
                self.counters.port(in_port).transmit_queue_full(u64::from(*length));
                self.memory.free(frame);
            }
        }
    }

    /// Hands a packet to the kernel, or says why not.
    fn punt(
        &mut self,
        frame: &Frame,
        metadata: &Metadata,
        reason: PuntReason,
    ) -> Result<(), DropReason> {
        let in_port = metadata.in_port;
        let place = self.places.get(in_port.index()).copied().flatten();
        let Some(PortState { punt_limits, .. }) = place.and_then(|at| self.ports.get_mut(at))
        else {
            debug_assert!(false, "a packet came in by a port of the worker");
            return Err(DropReason::PortDown);
        };
        let packet = self.memory.packet(frame);
        let now = self.now_nanoseconds;
        let within_limits = if reason == PuntReason::NeighbourUnresolved {
            let neighbour = Neighbour::of(packet, metadata, self.flow_hash);
            punt_limits.take_unresolved(self.unresolved.turn(neighbour, now), now)
        } else {
            punt_limits.take(reason, now)
        };
        if !within_limits {
            return Err(DropReason::PuntRateLimited);
        }
        if !self.sink.punt(in_port, packet) {
            return Err(DropReason::PuntQueueFull);
        }
        Ok(())
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
