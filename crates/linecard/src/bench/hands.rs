//! What happens to packets between the timed parts: the generator writes them, the checker reads
//! them.

use linecard_io::{Frame, PacketMemory};
use linecard_packet::PortId;
use linecard_tables::generator::Random;

use super::check::Checker;
use super::port::Hands;
use super::tables::{PORTS, station};
use super::traffic::{FCS_BYTES, Sizes, Source, Traffic};

/// Takes `frames` frames out of memory, in random order, sized for this traffic.
///
/// Random, as the buffers of a router are after some time: a queue's packets lie anywhere.
pub(super) fn prepare<A: Traffic>(
    memory: &mut PacketMemory,
    frames: u32,
    sizes: Sizes,
    random: &mut Random,
) -> Vec<Frame> {
    let mix = sizes.mix(A::FAMILY);
    let zeroes = vec![0; memory.packet_bytes_max()];
    let mut pool = Vec::with_capacity(frames as usize);
    for i in 0..frames as usize {
        let Some(mut frame) = memory.allocate() else { break };
        let fits = memory.set_packet(&mut frame, &zeroes[..mix[i % 12] - FCS_BYTES]);
        debug_assert!(fits, "a chunk holds a frame of 1,518 bytes");
        pool.push(frame);
    }
    for i in (1..pool.len()).rev() {
        pool.swap(i, random.below(i + 1));
    }
    pool
}

/// The port of packet `number`: ports take turns of a batch.
pub(super) fn turn(number: usize, batch: usize) -> usize {
    number / batch % usize::from(PORTS)
}

/// Frames that wait to be dealt, port by port in turns of a batch, as the worker will take them.
struct Turns {
    batch: usize,
    dealt: Vec<Vec<Frame>>,
}

impl Turns {
    fn new(batch: usize, frames: usize) -> Self {
        let room = frames.div_ceil(usize::from(PORTS)) + batch;
        Self { batch, dealt: (0..PORTS).map(|_| Vec::with_capacity(room)).collect() }
    }

    /// Gives out what was dealt to a port, the first frame last.
    fn take(&mut self, port: PortId, frames: &mut Vec<Frame>) {
        frames.append(&mut self.dealt[port.index()]);
        frames.reverse();
    }
}

/// Writes and checks the packets of one worker.
pub(super) struct Traffickers<A: Traffic> {
    pub(super) source: Source<A>,
    pub(super) checker: Checker<A>,
    /// Frames in nobody's queue.
    pub(super) pool: Vec<Frame>,
    turns: Turns,
    /// Packets that the next [`Hands::deal`] makes; 0 when they are made.
    quota: usize,
    round: u32,
    next_number: u32,
}

impl<A: Traffic> Traffickers<A> {
    pub(super) fn new(
        source: Source<A>,
        checker: Checker<A>,
        pool: Vec<Frame>,
        batch: usize,
    ) -> Self {
        let turns = Turns::new(batch, pool.len());
        Self { source, checker, pool, turns, quota: 0, round: 0, next_number: 0 }
    }

    /// A round of packets that were never sent before begins.
    pub(super) fn begin_round(&mut self, round: u32, thorough: bool) {
        self.round = round;
        self.next_number = 0;
        self.checker.begin(thorough);
    }

    /// The next [`Hands::deal`] makes so many packets.
    pub(super) fn order(&mut self, packets: usize) {
        self.quota = packets;
    }
}

impl<A: Traffic> Hands for Traffickers<A> {
    fn collect(&mut self, port: PortId, frames: &mut Vec<Frame>, memory: &PacketMemory) {
        for frame in frames.iter() {
            self.checker.packet(port, memory.packet(frame), &self.source, self.round);
        }
        self.pool.append(frames);
    }

    fn deal(&mut self, port: PortId, frames: &mut Vec<Frame>, memory: &mut PacketMemory) {
        let quota = std::mem::take(&mut self.quota).min(self.pool.len());
        // In the order in which the worker will take them: what was written first is read first.
        for mut frame in self.pool.drain(..quota) {
            let port = turn(self.next_number as usize, self.turns.batch);
            let header = self.source.header(self.round, self.next_number);
            let packet = memory.packet_mut(&mut frame);
            Source::write(&header, station(PortId(port as u16)), packet);
            self.turns.dealt[port].push(frame);
            self.next_number += 1;
        }
        self.turns.take(port, frames);
    }
}

/// Passes frames around without looking into them: for the cost of the queues alone.
pub(super) struct Tokens {
    pub(super) pool: Vec<Frame>,
    turns: Turns,
    quota: usize,
}

impl Tokens {
    /// For up to `frames` frames.
    pub(super) fn new(batch: usize, frames: usize) -> Self {
        Self { pool: Vec::new(), turns: Turns::new(batch, frames), quota: 0 }
    }

    /// The next [`Hands::deal`] deals so many frames.
    pub(super) fn order(&mut self, frames: usize) {
        self.quota = frames;
    }
}

impl Hands for Tokens {
    fn collect(&mut self, _port: PortId, frames: &mut Vec<Frame>, _memory: &PacketMemory) {
        self.pool.append(frames);
    }

    fn deal(&mut self, port: PortId, frames: &mut Vec<Frame>, _memory: &mut PacketMemory) {
        let quota = std::mem::take(&mut self.quota).min(self.pool.len());
        for (dealt, frame) in self.pool.drain(..quota).enumerate() {
            let port = turn(dealt, self.turns.batch);
            self.turns.dealt[port].push(frame);
        }
        self.turns.take(port, frames);
    }
}
