//! The queues without a worker: what they cost, and what touching packets costs at the least.
//!
//! `empty` is what the other cases leave out. `touch` is a floor under them: each packet's first
//! cache line is read and written, in the plainest loop, and nothing is decided.

use std::sync::Arc;

use linecard_io::{Frame, PacketMemory, PortQueue};
use linecard_packet::{BATCH_PACKETS_MAX, PortId};
use linecard_tables::generator::Random;

use super::hands::{self, Tokens};
use super::lane::{Course, Laps, Round, packet_memory};
use super::machine::{Scrubber, pin};
use super::meter::Meter;
use super::port::{Phase, Stage};
use super::tables::PORTS;

/// Queues whose packets are sent on by the port that they came in by.
pub(super) struct Empty {
    stage: Arc<Stage<Tokens>>,
    queues: Vec<Box<dyn PortQueue>>,
    batch: Vec<Frame>,
    /// That of the frames, or any other if they are not touched.
    memory: PacketMemory,
}

impl Empty {
    /// For up to `frames` frames of a memory that is somebody else's.
    ///
    /// # Errors
    /// When memory runs out.
    pub(super) fn new(batch: usize, frames: usize) -> anyhow::Result<Self> {
        Ok(Self::with_memory(batch, frames, packet_memory(1)?))
    }

    fn with_memory(batch: usize, frames: usize, memory: PacketMemory) -> Self {
        let stage = Stage::new(Tokens::new(batch, frames));
        let queue = |id| Box::new(stage.queue(PortId(id), batch, frames)) as Box<dyn PortQueue>;
        let queues = (0..PORTS).map(queue).collect();
        Self { stage, queues, batch: Vec::with_capacity(BATCH_PACKETS_MAX), memory }
    }

    /// Passes the first `frames` frames of the pool through the queues; returns the cycles.
    pub(super) fn pass(
        &mut self,
        pool: &mut Vec<Frame>,
        frames: usize,
        touch: bool,
        meter: &Meter,
    ) -> u64 {
        self.stage.with(|hands| {
            std::mem::swap(&mut hands.pool, pool);
            hands.order(frames);
        });
        let stage = Arc::clone(&self.stage);
        stage.between(Phase::Deal, || {
            self.poll(false);
        });
        let mut carried = 0;
        let start = meter.now();
        while carried < frames {
            carried += self.poll(touch);
        }
        let cycles = meter.now() - start;
        stage.between(Phase::Collect, || {
            self.poll(false);
        });
        self.stage.with(|hands| std::mem::swap(&mut hands.pool, pool));
        cycles
    }

    fn poll(&mut self, touch: bool) -> usize {
        let mut received = 0;
        for queue in &mut self.queues {
            received += queue.receive(&mut self.memory, &mut self.batch, BATCH_PACKETS_MAX);
            if self.batch.is_empty() {
                continue;
            }
            if touch {
                for frame in &mut self.batch {
                    if let Some(first) = self.memory.packet_mut(frame).first_mut() {
                        *first ^= 1;
                    }
                }
            }
            queue.transmit(&mut self.memory, &mut self.batch);
            queue.flush(&mut self.memory);
        }
        received
    }
}

/// A case without a worker; with `touch` the queues' own cost is left out as in the others.
///
/// # Errors
/// When memory runs out.
pub(super) fn run(
    course: &Course,
    touch: bool,
    meter: &Meter,
    core: usize,
) -> anyhow::Result<Laps> {
    pin(core);
    let mut memory = packet_memory(course.frames)?;
    let mut random = Random::new(course.seed);
    let mut pool = hands::prepare::<u32>(&mut memory, course.frames, course.sizes, &mut random);
    let frames = pool.len();
    let scrubber = Scrubber::new(course.scrub_bytes);
    let mut empty = Empty::with_memory(course.batch, frames, memory);
    let mut rounds = Vec::new();
    for round in 0..course.warmup_rounds + course.rounds {
        let queues = empty.pass(&mut pool, frames, false, meter);
        let mut lap =
            Round { packets: frames as u64, cycles: queues, empty_cycles: 0, instructions: None };
        if touch {
            scrubber.scrub();
            let cycles = empty.pass(&mut pool, frames, true, meter);
            lap = Round { cycles, empty_cycles: queues, ..lap };
        }
        if round >= course.warmup_rounds {
            rounds.push(lap);
        }
    }
    Ok(Laps { rounds, alone: Vec::new(), looked_up: 0 })
}
