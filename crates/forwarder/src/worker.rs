//! The worker, and one round of it.

use std::io;
use std::sync::Arc;

use linecard_io::{PacketMemory, PortQueue};
use linecard_packet::{BATCH_PACKETS_MAX, Batch, PortId, WorkerCounters, parse};
use linecard_services::connection::{ConnectionScratch, ConnectionStats, ConnectionTables};
use linecard_services::filter::{FilterStats, FilterTables};
use linecard_services::police::{PoliceStats, PoliceTables, PolicerMeters};
use linecard_services::route::{self, RouteOffers, RouteScratch, RouteStats, RouteTables};
use linecard_services::source::{SourceStats, SourceTables};
use linecard_tables::hash::FlowHash;
use linecard_tables::publication::{Reader, Subscription};

use crate::egress::{Egress, EgressLists, PortState, count_kernel, count_queues};
use crate::idle::{Idle, IdlePolicy};
use crate::originate::OwnPackets;
use crate::punt::{Neighbours, PortPuntLimits, PuntLimit, PuntSink, TokenBucket};
use crate::services::{ConnectionService, FilterService, PoliceService, Services, SourceService};
use crate::tap::{Nobody, Stage, Tap, Watch};

/// How often a worker asks the kernel what it dropped on the worker's queues.
const KERNEL_COUNTERS_INTERVAL_NANOSECONDS: u64 = 1_000_000_000;

/// What a worker is built from.
pub struct WorkerConfig {
    /// The ports it serves, each once; a packet for another port is dropped as `port_down`.
    pub ports: Vec<WorkerPort>,
    /// The memory of all its ports' frames.
    pub memory: PacketMemory,
    /// Where its route tables come from.
    pub tables: Subscription<RouteTables>,
    /// Its counters, for all port numbers that occur in `ports`.
    pub counters: WorkerCounters,
    /// Its counts of packets for each adjacency.
    pub route_stats: RouteStats,
    /// Where it punts to.
    pub punt: Box<dyn PuntSink>,
    /// How fast each port may punt, for each reason.
    pub punt_limit: PuntLimit,
    /// Seed of the flow hash, not known to senders. Equal seeds choose equal paths.
    pub flow_hash_seed: u64,
    /// When to go to sleep.
    pub idle: IdlePolicy,
}

/// One worker's share of a port.
pub struct WorkerPort {
    /// The port.
    pub id: PortId,
    /// Its queues that belong to this worker, at least one.
    pub queues: Vec<Box<dyn PortQueue>>,
}

/// Owns queues, memory and a view of the tables, and carries packets. Belongs to one thread.
pub struct Worker {
    pub(crate) ports: Vec<PortState>,
    /// Place in `ports` of each port number.
    places: Vec<Option<usize>>,
    turn: Turn,
    has_several_transmitters: bool,
    lists: EgressLists,
    own: OwnPackets,
    pub(crate) memory: PacketMemory,
    pub(crate) tables: Reader<RouteTables>,
    pipeline: Pipeline,
    /// Where it tells of single packets.
    tap: Option<Tap>,
    pub(crate) counters: WorkerCounters,
    punt: Box<dyn PuntSink>,
    /// Neighbours that packets were punted for.
    unresolved: Neighbours,
    /// What it tells the route cache, where there is one.
    route_offers: Option<RouteOffers>,
    kernel_counters_due_nanoseconds: u64,
    pub(crate) idle: Idle,
}

/// The order in which a round asks the ports. Packets of those asked first find room in the transmit queues,
/// so each begins in its turn; and as which of two comes before the other must not depend on the silent
/// ones between them, the order goes up in every other cycle of rounds and down in the others.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    first: usize,
    ports: usize,
    descends: bool,
}

impl Turn {
    /// The order of this round; the next one has another.
    fn next(&mut self, ports: usize) -> Self {
        let turn = Self { ports, ..*self };
        self.first += 1;
        if self.first >= ports {
            (self.first, self.descends) = (0, !self.descends);
        }
        turn
    }

    /// The port that is asked as number `number`, from 0.
    fn place(self, number: usize) -> usize {
        let place =
            if self.descends { self.first + self.ports - number } else { self.first + number };
        if place < self.ports { place } else { place - self.ports }
    }
}

/// A batch, the services in their order, and what they write.
pub(crate) struct Pipeline {
    pub(crate) batch: Batch,
    pub(crate) services: Services,
    flow_hash: FlowHash,
    route_scratch: RouteScratch,
    route_stats: RouteStats,
}

impl Pipeline {
    /// Without services.
    pub(crate) fn new(flow_hash_seed: u64, route_stats: RouteStats) -> Self {
        Self {
            batch: Batch::new(),
            services: Services::default(),
            flow_hash: FlowHash::new(flow_hash_seed),
            route_scratch: RouteScratch::new(),
            route_stats,
        }
    }

    /// Takes the batch from received frames to verdicts and rewritten frames.
    pub(crate) fn run(
        &mut self,
        memory: &mut PacketMemory,
        tables: &RouteTables,
        now_nanoseconds: u64,
        watch: &mut impl Watch,
    ) {
        let Self { batch, services, flow_hash, .. } = self;
        parse(batch, memory, |port| tables.station(port));
        watch.parsed(batch, memory);
        // They see packets as received, and what they drop spares the lookup.
        services.before_route(batch, memory, tables, now_nanoseconds, watch);
        let (scratch, stats) = (&mut self.route_scratch, &mut self.route_stats);
        route::process(batch, memory, tables, flow_hash, scratch, stats);
        watch.routed(batch, memory, tables, flow_hash);
        watch.decided(Stage::Route, batch);
        // They know the way out, and still see packets as received.
        services.behind_route(batch, memory, tables, now_nanoseconds, watch);
        route::rewrite(batch, memory, tables);
        watch.decided(Stage::Rewrite, batch);
        // queue goes here: from then on the packet is the outgoing port's.
    }
}

impl Worker {
    /// Builds a worker; everything it ever needs is allocated here.
    ///
    /// # Errors
    /// `InvalidInput` when there are more queues than one worker can wait for (63), or a port without
    /// counters.
    pub fn new(config: WorkerConfig) -> io::Result<Self> {
        let limits = || PortPuntLimits::new(config.punt_limit);
        let ports: Vec<_> =
            config.ports.into_iter().map(|port| PortState::new(port, limits())).collect();
        let numbers = ports.iter().map(|port| port.id.index() + 1).max().unwrap_or(0);
        if numbers > config.counters.reader().ports() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a worker with port {} needs counters for {numbers} ports", numbers - 1),
            ));
        }
        let mut places = vec![None; numbers];
        for (place, port) in ports.iter().enumerate() {
            places[port.id.index()] = Some(place);
        }
        let has_several_transmitters = ports.iter().any(PortState::has_several_transmitters);
        let lists = EgressLists::new(&ports, BATCH_PACKETS_MAX);
        let own = OwnPackets::new(&ports);
        let idle = Idle::new(config.idle, &ports)?;
        Ok(Self {
            ports,
            places,
            turn: Turn::default(),
            has_several_transmitters,
            lists,
            own,
            memory: config.memory,
            tables: config.tables.reader(),
            pipeline: Pipeline::new(config.flow_hash_seed, config.route_stats),
            tap: None,
            counters: config.counters,
            punt: config.punt,
            unresolved: Neighbours::new(config.punt_limit),
            route_offers: None,
            kernel_counters_due_nanoseconds: 0,
            idle,
        })
    }

    /// Lets the classifiers forward by themselves what this worker has forwarded once.
    pub fn offer_routes(&mut self, offers: RouteOffers) {
        self.route_offers = Some(offers);
    }

    /// Asks these filters about packets from the next round on. Their rules can ask for the states of connections
    /// with [`Self::connections`], and bring packets to policers with [`Self::police`].
    pub fn filter(&mut self, tables: &Subscription<FilterTables>, stats: FilterStats) {
        self.pipeline.services.filter = Some(FilterService::new(tables, stats));
    }

    /// How fast senders of packets that filters reject are told of it, on each port; [`REPLY_LIMIT`] by default.
    ///
    /// [`REPLY_LIMIT`]: crate::REPLY_LIMIT
    pub fn limit_replies(&mut self, limit: PuntLimit) {
        for port in &mut self.ports {
            port.reply_limit = TokenBucket::new(limit);
        }
    }

    /// Meters packets that rules of filters or ports bring to these policers, from the next round on. `meters`
    /// and `stats` have the capacities of the tables.
    pub fn police(
        &mut self,
        tables: &Subscription<PoliceTables>,
        meters: PolicerMeters,
        stats: PoliceStats,
    ) {
        self.pipeline.services.police = Some(PoliceService::new(tables, meters, stats));
    }

    /// Checks where packets come from, by reverse path and special-purpose addresses, from the next round on.
    pub fn source(&mut self, tables: &Subscription<SourceTables>, stats: SourceStats) {
        self.pipeline.services.source = Some(SourceService::new(tables, stats));
    }

    /// Tracks connections from the next round on. All workers share the tables, and so the clock: the times
    /// given to [`Self::run_once`] must count from the same moment, as those of [`Self::run`] do. `scratch` is
    /// made with the worker's number.
    pub fn connections(
        &mut self,
        tables: Arc<ConnectionTables>,
        scratch: ConnectionScratch,
        stats: ConnectionStats,
    ) {
        self.pipeline.services.connections = Some(ConnectionService::new(tables, scratch, stats));
    }

    /// Tells of single packets from the next round on, to whoever orders it of this tap.
    pub fn tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Lets go of all tables, for a worker that goes to sleep: it would keep the control side from changing
    /// the copies that it holds.
    pub(crate) fn release(&mut self) {
        self.tables.release();
        self.pipeline.services.release();
        if let Some(tap) = &mut self.tap {
            tap.release();
        }
    }

    /// One round: what each queue has, up to a batch, carried to its end. Returns the packets received.
    ///
    /// Each queue is asked once a round, and for at least half a batch, so that a busy port does not
    /// starve another. What few packets several queues have go through the pipeline together.
    /// `now_nanoseconds` counts from any fixed moment and must not run backwards.
    pub fn run_once(&mut self, now_nanoseconds: u64) -> usize {
        self.tables.refresh();
        self.pipeline.services.refresh();
        if let Some(tap) = &mut self.tap {
            tap.refresh();
        }
        let mut received = 0;
        let turn = self.turn.next(self.ports.len());
        for place in (0..self.ports.len()).map(|number| turn.place(number)) {
            for queue in 0..self.ports[place].queues.len() {
                if self.pipeline.batch.len() > BATCH_PACKETS_MAX / 2 {
                    self.carry_batch(now_nanoseconds);
                }
                received += self.receive(place, queue);
            }
        }
        if received > 0 {
            self.carry_batch(now_nanoseconds);
            self.punt.flush();
        }
        self.reclaim();
        if let Some(offers) = &mut self.route_offers {
            offers.make(&self.tables);
        }
        if now_nanoseconds >= self.kernel_counters_due_nanoseconds {
            self.count_kernel_drops();
            self.kernel_counters_due_nanoseconds =
                now_nanoseconds.saturating_add(KERNEL_COUNTERS_INTERVAL_NANOSECONDS);
        }
        self.counters.commit();
        received
    }

    /// Adds what a queue has to the batch; returns how many packets.
    fn receive(&mut self, place: usize, queue: usize) -> usize {
        let port = &mut self.ports[place];
        let batch = &mut self.pipeline.batch;
        let start = batch.len();
        let room = BATCH_PACKETS_MAX - start;
        let received = port.queues[queue].receive(&mut self.memory, &mut batch.frames, room);
        if received > 0 {
            let bytes = batch.end_segment(port.id, queue as u16);
            self.counters.port(port.id).received(received as u64, bytes);
        }
        received
    }

    /// Takes the batch to its end.
    fn carry_batch(&mut self, now_nanoseconds: u64) {
        let (memory, tables) = (&mut self.memory, self.tables.get());
        let is_armed = match &mut self.tap {
            Some(tap) if tap.is_armed() => {
                self.pipeline.run(memory, tables, now_nanoseconds, tap);
                true
            }
            tap => {
                self.pipeline.run(memory, tables, now_nanoseconds, &mut Nobody(tap.as_mut()));
                false
            }
        };
        // Somebody wants to see packets here, so none is to go round the worker.
        if let Some(offers) = &mut self.route_offers
            && !is_armed
        {
            offers.gather(&self.pipeline.batch, &self.memory, self.tables.get());
        }
        let mut egress = Egress {
            ports: &mut self.ports,
            places: &self.places,
            has_several_transmitters: self.has_several_transmitters,
            lists: &mut self.lists,
            own: &mut self.own,
            routes: self.tables.get(),
            memory: &mut self.memory,
            counters: &mut self.counters,
            sink: self.punt.as_mut(),
            unresolved: &mut self.unresolved,
            flow_hash: &self.pipeline.flow_hash,
            now_nanoseconds,
        };
        egress.finish(&mut self.pipeline.batch);
        if let Some(tap) = &mut self.tap
            && tap.has_selected()
        {
            tap.decided(Stage::Egress, &self.pipeline.batch);
            tap.end(&self.pipeline.batch, now_nanoseconds);
        }
    }

    /// Keeps queues going that hold frames, and takes back frames that were sent.
    pub(crate) fn reclaim(&mut self) {
        for port in &mut self.ports {
            let flush_due = std::mem::take(&mut port.flush_due);
            for queue in &mut port.queues {
                if flush_due || queue.queued() > 0 {
                    queue.flush(&mut self.memory);
                }
            }
            count_queues(port, self.counters.port(port.id));
        }
    }

    /// Counts what the kernel dropped on the worker's queues: a system call a queue.
    pub(crate) fn count_kernel_drops(&mut self) {
        for port in &self.ports {
            count_kernel(port, self.counters.port(port.id));
        }
    }

    /// Frames that wait in transmit queues.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.ports.iter().map(PortState::queued).sum()
    }

    /// Frames that are neither in the worker's hands nor the kernel's: for tests that look for leaks.
    #[must_use]
    pub fn free_frames(&self) -> usize {
        self.memory.free_frames()
    }

    /// True when no queue can ever receive again and everything was sent: the end of a replay.
    #[must_use]
    pub fn finished(&self) -> bool {
        let mut queues = self.ports.iter().flat_map(|port| &port.queues);
        queues.all(|queue| queue.finished() && queue.queued() == 0)
    }
}
