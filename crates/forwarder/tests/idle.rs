//! A sleeping worker is woken by a packet and by its wake descriptor, and by nothing else: it would
//! sleep for an hour.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use linecard_forwarder::{IdlePolicy, PuntLimit, PuntSink, Worker, WorkerConfig, WorkerPort};
use linecard_io::{Frame, MemoryConfig, MemoryPort, PacketMemory, PortQueue, memory_port};
use linecard_packet::{PortId, WorkerCounters};
use linecard_services::route::{RouteCapacities, RouteStats, RouteTables, RouteUpdate};
use linecard_tables::publication::Writer;
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
