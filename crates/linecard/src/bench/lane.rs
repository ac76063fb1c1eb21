//! One worker under test: rounds of generated packets, timed from the first receive to the last
//! transmit.
//!
//! A round sends each frame once. Between rounds the generator writes new headers, then memory that
//! has nothing to do with it is read until nothing of the packets is left in the caches, so that the
//! worker finds them as far away as a card would have left them that writes to memory. With `warm`
//! packets a round is cut into passes of 256 packets a port, written right before: as a card that
//! writes to the cache leaves them.
//!
//! The queues' own cost is measured beside each round, with the same frames in the same queues: they
//! are received and sent on without a look. It is what `empty` shows, and is left out of the rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use linecard_forwarder::{IdlePolicy, PuntLimit, PuntSink, Worker, WorkerConfig, WorkerPort};
use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{CountersReader, PortId, PortTotals, WorkerCounters};
use linecard_services::route::{RouteCapacities, RouteStats};
use linecard_tables::generator::Random;

use super::check::Checker;
use super::connections::Expected;
use super::empty::Empty;
use super::hands::{self, Traffickers};
use super::machine::{Scrubber, pin};
use super::meter::{Instructions, Meter};
use super::port::{Phase, Stage};
use super::services::{Readers, Services};
use super::tables::{Network, PORTS, Routable};
use super::traffic::{Draw, Sizes, Source, Traffic};

/// Packets that are written before a worker gets them, when they are to be in the cache: few enough
/// for the second level.
const PASS_PACKETS_WARM: usize = 256 * PORTS as usize;

/// How a case is run, the same for all its workers.
pub(super) struct Course {
    /// Frames of each worker.
    pub(super) frames: u32,
    /// Packets of each worker in a round: a multiple of `frames` if they are warm, else as many.
    pub(super) packets: u32,
    /// Packets that a queue hands over at a time.
    pub(super) batch: usize,
    /// Packets are in the cache when the worker gets them.
    pub(super) warm: bool,
    pub(super) sizes: Sizes,
    pub(super) rounds: u32,
    pub(super) warmup_rounds: u32,
    pub(super) seed: u64,
    /// Memory to read until packets have left the caches.
    pub(super) scrub_bytes: u64,
}

/// What the workers of a case carry, and by which tables.
pub(super) struct Load<'a, A: Traffic> {
    pub(super) network: &'a Network<A>,
    pub(super) services: &'a Services,
    pub(super) draw: Draw<A>,
}

/// What one round took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) packets: u64,
    pub(super) cycles: u64,
    /// The same with queues alone.
    pub(super) empty_cycles: u64,
    pub(super) instructions: Option<u64>,
}

/// What a worker measured.
#[derive(Debug)]
pub(super) struct Laps {
    /// Those in which all workers ran.
    pub(super) rounds: Vec<Round>,
    /// Of several workers, those in which this one ran and the others rested.
    pub(super) alone: Vec<Round>,
    /// Packets that were looked up in the reference after they had come out.
    pub(super) looked_up: u64,
}

/// Keeps the workers of a case in step, and lets all of them stop together.
pub(super) struct Start<'a> {
    workers: usize,
    barrier: Barrier,
    /// From here all workers count time.
    clock: Instant,
    stop: AtomicBool,
    tick: &'a (dyn Fn() + Sync),
}

impl<'a> Start<'a> {
    pub(super) fn new(workers: usize, tick: &'a (dyn Fn() + Sync)) -> Self {
        let (barrier, stop) = (Barrier::new(workers), AtomicBool::new(false));
        Self { workers, barrier, clock: Instant::now(), stop, tick }
    }

    fn wait(&self) {
        self.barrier.wait();
    }

    /// True, for all workers alike, when this or another one cannot go on.
    fn ends(&self, here: bool) -> bool {
        if here {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.wait();
        let ends = self.stop.load(Ordering::Relaxed);
        // Nobody sets it for the next time before all have seen it this time.
        self.wait();
        ends
    }
}

/// A worker with its generator.
struct Lane<A: Traffic> {
    worker: Worker,
    stage: Arc<Stage<Traffickers<A>>>,
    counters: CountersReader,
    readers: Readers,
    empty: Empty,
    clock: Instant,
    meter: Meter,
    instructions: Instructions,
    scrubber: Scrubber,
}

/// Runs the worker of place `lane` on `core` and measures its rounds; fewer than asked for when another
/// worker cannot go on.
///
/// Before each round of several workers one of them, in turn, runs a round alone: so that what is
/// compared lies side by side in time, and a machine that slows down slows down both.
///
/// # Errors
/// When memory runs out, or a packet did not come out as it should.
pub(super) fn run<A: Traffic + Routable>(
    course: &Course,
    load: &Load<'_, A>,
    (place, core): (usize, usize),
    meter: &Meter,
    start: &Start<'_>,
) -> anyhow::Result<Laps> {
    pin(core);
    let lane = Lane::new(course, load, (place, start.clock), meter);
    if start.ends(lane.is_err()) {
        lane?;
        return Ok(Laps { rounds: Vec::new(), alone: Vec::new(), looked_up: 0 });
    }
    let mut lane = lane?;
    let (mut rounds, mut alone) = (Vec::new(), Vec::new());
    let all = course.warmup_rounds + course.rounds;
    let turns: &[bool] = if start.workers > 1 { &[false, true] } else { &[true] };
    let turns = (0..all).flat_map(|round| turns.iter().map(move |together| (round, *together)));
    let mut outcome = Ok(());
    // Of this worker.
    let mut number = 0;
    for (round, together) in turns {
        if together || round as usize % start.workers == place {
            let last = together && round + 1 == all;
            let lap = lane.round(course, number, last, together.then_some(start));
            number += 1;
            (start.tick)();
            match lap {
                Ok(_) if round < course.warmup_rounds => (),
                Ok(lap) if together => rounds.push(lap),
                Ok(lap) => alone.push(lap),
                Err(error) => outcome = Err(error),
            }
        }
        if start.ends(outcome.is_err()) {
            break;
        }
    }
    outcome?;
    let expected = match load.draw {
        Draw::Flows(flows) => flows.expected(number, course.packets),
        _ => Expected::default(),
    };
    lane.balance(load.services, &expected)?;
    let looked_up = lane.stage.with(|hands| hands.checker.looked_up());
    Ok(Laps { rounds, alone, looked_up })
}

impl<A: Traffic + Routable> Lane<A> {
    fn new(
        course: &Course,
        load: &Load<'_, A>,
        (place, clock): (usize, Instant),
        meter: &Meter,
    ) -> anyhow::Result<Self> {
        let (frames, network) = (course.frames, load.network);
        // Each worker has packets of its own.
        let seed = Random::new(course.seed.wrapping_add(place as u64)).next_u64();
        let mut memory = packet_memory(frames)?;
        let pool = hands::prepare::<A>(&mut memory, frames, course.sizes, &mut Random::new(seed));
        let source = Source::new(seed, load.draw.clone());
        let checker = Checker::new(Arc::clone(network.reference()), course.packets);
        let stage = Stage::new(Traffickers::new(source, checker, pool, course.batch));
        let counters = WorkerCounters::new(usize::from(PORTS));
        let reader = counters.reader();
        let port = |id| {
            let queue = stage.queue(id, course.batch, frames as usize);
            WorkerPort { id, queues: vec![Box::new(queue)] }
        };
        let mut worker = Worker::new(WorkerConfig {
            ports: (0..PORTS).map(PortId).map(port).collect(),
            memory,
            tables: network.subscription(),
            counters,
            route_stats: RouteStats::new(RouteCapacities::default().adjacencies_max),
            punt: Box::new(Nowhere),
            punt_limit: PuntLimit::default(),
            flow_hash_seed: course.seed,
            idle: IdlePolicy::default(),
        })?;
        let readers = load.services.attach(&mut worker, place);
        Ok(Self {
            worker,
            stage,
            counters: reader,
            readers,
            empty: Empty::new(course.batch, frames as usize)?,
            clock,
            meter: meter.clone(),
            instructions: Instructions::new(),
            scrubber: Scrubber::new(if course.warm { 0 } else { course.scrub_bytes }),
        })
    }

    /// A round of packets: dealt, carried, collected and checked; in step with other workers if
    /// there is a `start`.
    fn round(
        &mut self,
        course: &Course,
        round: u32,
        thorough: bool,
        start: Option<&Start<'_>>,
    ) -> anyhow::Result<Round> {
        let packets = course.packets as usize;
        // Passes are too short to wait for each other.
        let start = start.filter(|_| !course.warm);
        let pass = if course.warm { PASS_PACKETS_WARM } else { packets };
        self.stage.with(|hands| hands.begin_round(round, thorough));
        let before = self.instructions.count();
        let mut lap = Round { packets: 0, cycles: 0, empty_cycles: 0, instructions: None };
        let mut outcome = Ok(());
        while lap.packets < packets as u64 && outcome.is_ok() {
            let quota = pass.min(packets - lap.packets as usize);
            self.deal(quota);
            self.scrubber.scrub();
            start.inspect(|start| start.wait());
            let (carried, cycles) = self.carry(quota);
            start.inspect(|start| start.wait());
            lap.packets += carried as u64;
            lap.cycles += cycles;
            self.aside(Phase::Collect);
            if carried != quota {
                outcome = Err(anyhow::anyhow!("the worker received {carried} of {quota} packets"));
                continue;
            }
            let mut pool = self.stage.with(|hands| std::mem::take(&mut hands.pool));
            lap.empty_cycles += self.empty.pass(&mut pool, quota, false, &self.meter);
            self.stage.with(|hands| hands.pool = pool);
        }
        outcome?;
        let after = self.instructions.count();
        lap.instructions = after.map(|after| after - before.unwrap_or(0));
        self.stage.with(|hands| hands.checker.end(lap.packets))?;
        Ok(lap)
    }

    fn deal(&mut self, packets: usize) {
        self.stage.with(|hands| hands.order(packets));
        self.aside(Phase::Deal);
    }

    /// A round of the worker in which its queues serve the generator or the checker.
    fn aside(&mut self, phase: Phase) {
        let now = self.clock.elapsed().as_nanos() as u64;
        let worker = &mut self.worker;
        self.stage.between(phase, || {
            worker.run_once(now);
        });
    }

    /// Runs the worker until it has received `packets` packets, and returns how many it did and in
    /// how many cycles. The clock is read once a round of the worker, as in [`Worker::run`].
    fn carry(&mut self, packets: usize) -> (usize, u64) {
        let mut carried = 0;
        self.instructions.resume();
        let start = self.meter.now();
        while carried < packets {
            let received = self.worker.run_once(self.clock.elapsed().as_nanos() as u64);
            carried += received;
            if received == 0 {
                break;
            }
        }
        let cycles = self.meter.now() - start;
        self.instructions.pause();
        (carried, cycles)
    }

    /// Every packet is in one account of the worker's counters, and its services have seen it.
    fn balance(&self, services: &Services, expected: &Expected) -> anyhow::Result<()> {
        let ports = self.counters.read();
        for (port, totals) in ports.iter().enumerate() {
            let balances = (totals.balance(), totals.byte_balance());
            ensure!(balances == (0, 0), "the books of port {port} do not balance: {totals:?}");
        }
        let all: PortTotals = ports.into_iter().sum();
        if all.total_balance() != 0 || all.sent_packets != all.received_packets {
            bail!("not all packets that came in were sent: {all:?}");
        }
        services.balance(&self.readers, &all, expected)
    }
}

/// Memory for so many frames.
pub(super) fn packet_memory(frames: u32) -> anyhow::Result<PacketMemory> {
    let config = MemoryConfig { frames, ..MemoryConfig::default() };
    PacketMemory::new(config).context("map packet memory: choose fewer --frames")
}

/// Nothing is punted; what is would be missing at the end.
struct Nowhere;

impl PuntSink for Nowhere {
    fn punt(&mut self, _port: PortId, _packet: &[u8]) -> bool {
        true
    }
}
