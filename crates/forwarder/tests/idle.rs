//! A sleeping worker is woken by a packet and by its wake descriptor, and by nothing else: it would
//! sleep for an hour. Asleep it holds no tables.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use linecard_forwarder::{IdlePolicy, PuntLimit, PuntSink, Worker, WorkerConfig, WorkerPort};
use linecard_io::{Frame, MemoryConfig, MemoryPort, PacketMemory, PortQueue, memory_port};
use linecard_packet::{PortId, WorkerCounters};
use linecard_services::filter::{FilterStats, FilterTables, FilterUpdate, Hook};
use linecard_services::police::{
    PoliceCapacities, PoliceStats, PoliceTables, PoliceUpdate, PolicerMeters,
};
use linecard_services::route::{RouteCapacities, RouteStats, RouteTables, RouteUpdate};
use linecard_services::source::{
    PortCheck, SourceCapacities, SourceStats, SourceTables, SourceUpdate,
};
use linecard_tables::publication::{Absorb, Publish, Writer};
use rustix::event::{EventfdFlags, eventfd};

const HOUR_NANOSECONDS: u64 = 3_600_000_000_000;

/// A memory port that can be waited for, as a socket can.
struct SocketLike {
    wire: MemoryPort,
    readable: Arc<OwnedFd>,
}

impl PortQueue for SocketLike {
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        // Empty is fine: the descriptor does not block.
        let _ = rustix::io::read(&*self.readable, &mut [0; 8]);
        self.wire.receive(memory, frames, frames_max)
    }

    fn transmit(&mut self, memory: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize {
        self.wire.transmit(memory, frames)
    }

    fn flush(&mut self, memory: &mut PacketMemory) {
        self.wire.flush(memory);
    }

    fn queued(&self) -> usize {
        self.wire.queued()
    }

    fn sent(&self) -> u64 {
        self.wire.sent()
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.readable.as_fd())
    }
}

/// Counts nothing and takes everything.
struct Sink;

impl PuntSink for Sink {
    fn punt(&mut self, _port: PortId, _packet: &[u8]) -> bool {
        true
    }
}

fn event() -> Arc<OwnedFd> {
    Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd"))
}

fn signal(descriptor: &OwnedFd) {
    rustix::io::write(descriptor, &1u64.to_ne_bytes()).expect("an eventfd takes a number");
}

fn worker(queues: Vec<Box<dyn PortQueue>>, counters: WorkerCounters) -> std::io::Result<Worker> {
    let capacities = RouteCapacities { adjacencies_max: 1, groups_max: 1, ..Default::default() };
    let tables = || RouteTables::new(&capacities);
    let writer: Writer<_, RouteUpdate> = Writer::new(tables(), tables());
    let memory = PacketMemory::new(MemoryConfig { frames: 16, chunk_bytes: 2048 });
    Worker::new(WorkerConfig {
        ports: vec![WorkerPort { id: PortId(0), queues }],
        memory: memory.expect("32 KiB of memory"),
        tables: writer.subscription(),
        counters,
        route_stats: RouteStats::new(1),
        punt: Box::new(Sink),
        punt_limit: PuntLimit::default(),
        flow_hash_seed: 1,
        idle: IdlePolicy {
            busy_rounds: 0,
            sleep_nanoseconds_max: HOUR_NANOSECONDS,
            sleep_nanoseconds_with_work: HOUR_NANOSECONDS,
        },
    })
}

#[test]
fn packets_and_the_wake_descriptor_end_a_sleep() {
    let (readable, wake) = (event(), event());
    let (wire, mut peer) = memory_port::pair(16);
    let queue = Box::new(SocketLike { wire, readable: Arc::clone(&readable) });
    let counters = WorkerCounters::new(1);
    let reader = counters.reader();
    let mut worker = worker(vec![queue], counters).expect("one queue");
    let stop = Arc::new(AtomicBool::new(false));
    let (worker_stop, worker_wake) = (Arc::clone(&stop), Arc::clone(&wake));
    let thread = thread::spawn(move || worker.run(&worker_stop, &*worker_wake));

    let deadline = Instant::now() + Duration::from_secs(20);
    for packets in 1..=50 {
        assert!(peer.send(&[0xff; 60]));
        signal(&readable);
        while reader.read()[0].received_packets < packets && Instant::now() < deadline {
            thread::yield_now();
        }
        assert_eq!(reader.read()[0].received_packets, packets, "the worker slept on");
    }
    stop.store(true, Ordering::Release);
    signal(&wake);
    while !thread.is_finished() && Instant::now() < deadline {
        thread::yield_now();
    }
    assert!(thread.is_finished(), "the worker slept on");
    thread.join().expect("no panic").expect("no error");
}

/// Publishes a change; false while a reader holds the copy that is to be changed.
fn publish<T: Absorb<U>, U>(writer: &mut Writer<T, U>, change: U) -> bool {
    writer.append(change);
    writer.publish() == Publish::Published
}

#[test]
fn a_sleeping_worker_holds_no_tables_of_services() {
    let (readable, wake) = (event(), event());
    let (wire, mut peer) = memory_port::pair(16);
    let queue = Box::new(SocketLike { wire, readable: Arc::clone(&readable) });
    let counters = WorkerCounters::new(1);
    let reader = counters.reader();
    let mut worker = worker(vec![queue], counters).expect("one queue");
    let filter_tables = || FilterTables::new(1);
    let mut filters = Writer::new(filter_tables(), filter_tables());
    worker.filter(&filters.subscription(), FilterStats::new(1));
    let capacities = PoliceCapacities { policers_max: 1, sources_max: 1 };
    let police_tables = || PoliceTables::new(&capacities, 1);
    let mut policers = Writer::new(police_tables(), police_tables());
    let meters = PolicerMeters::new(&capacities, 1);
    worker.police(&policers.subscription(), meters, PoliceStats::new(1));
    let source_tables = || SourceTables::new(&SourceCapacities::default());
    let mut checks = Writer::new(source_tables(), source_tables());
    worker.source(&checks.subscription(), SourceStats::new());
    let stop = Arc::new(AtomicBool::new(false));
    let (worker_stop, worker_wake) = (Arc::clone(&stop), Arc::clone(&wake));
    let thread = thread::spawn(move || worker.run(&worker_stop, &*worker_wake));

    let deadline = Instant::now() + Duration::from_secs(20);
    for packets in 1..=3 {
        // It wakes, and takes the current copies.
        assert!(peer.send(&[0xff; 60]));
        signal(&readable);
        while reader.read()[0].received_packets < packets && Instant::now() < deadline {
            thread::yield_now();
        }
        // Two of each, so that both copies are changed: soon it sleeps again, and for an hour.
        let mut published = [0; 3];
        while published != [2; 3] && Instant::now() < deadline {
            let filter = || FilterUpdate { hook: Hook::Input(PortId(0)), program: None };
            let police = || PoliceUpdate::SetPort(PortId(0), None);
            let source = || SourceUpdate::SetPort(PortId(0), PortCheck::default());
            let [of_filters, of_policers, of_checks] = &mut published;
            *of_filters += u8::from(*of_filters < 2 && publish(&mut filters, filter()));
            *of_policers += u8::from(*of_policers < 2 && publish(&mut policers, police()));
            *of_checks += u8::from(*of_checks < 2 && publish(&mut checks, source()));
            thread::yield_now();
        }
        assert_eq!(published, [2; 3], "filters, policers, checks");
    }
    stop.store(true, Ordering::Release);
    signal(&wake);
    thread.join().expect("no panic").expect("no error");
}

#[test]
fn a_worker_that_could_not_wait_or_count_is_refused() {
    let queues = |count: usize| -> Vec<Box<dyn PortQueue>> {
        let queue = || SocketLike { wire: memory_port::pair(1).0, readable: event() };
        (0..count).map(|_| Box::new(queue()) as Box<dyn PortQueue>).collect()
    };
    assert!(worker(queues(63), WorkerCounters::new(1)).is_ok());
    let refused = worker(queues(64), WorkerCounters::new(1)).err().expect("one too many");
    assert!(refused.to_string().contains("63 queues at the most, not 64"), "{refused}");
    let refused = worker(queues(1), WorkerCounters::new(0)).err().expect("no counters");
    assert!(refused.to_string().contains("needs counters for 1 ports"), "{refused}");
}
