//! What each stage of the pipeline costs a packet: parse, route, rewrite, and a whole round of a worker.
//!
//! `cargo bench -p linecard-forwarder` prints nanoseconds a packet, the median of several rounds with
//! the least and the most. The headers of a round's packets are larger than the caches (`--frames`), and
//! were written before the first of them is read; destinations are random. With `--scatter` the packets
//! lie in memory in random order.

use std::hint::black_box;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use linecard_forwarder::{IdlePolicy, PuntLimit, PuntSink, Worker, WorkerConfig, WorkerPort};
use linecard_io::{Frame, MemoryConfig, PacketMemory, PortQueue};
use linecard_packet::{
    AdjacencyId, BATCH_PACKETS_MAX, Batch, InterfaceId, PortId, WorkerCounters, parse,
};
use linecard_services::route::{
    self, Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities,
    RouteScratch, RouteStats, RouteTables, RouteUpdate,
};
use linecard_tables::generator::Random;
use linecard_tables::hash::FlowHash;
use linecard_tables::publication::{Publish, Writer};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

const ROUNDS: usize = 15;
const PORTS: u16 = 4;
const NEIGHBOURS: u32 = 256;
const ROUTES: u32 = 1000;
/// Where the packets of the bench begin: 10.0.0.0/24 to 10.3.231.0/24 are routed.
const BASE: u32 = 0x0a00_0000;

fn main() {
    let frames = frames_of_command_line();
    let mut bench = Bench::new(frames);
    println!("{frames} packets a round, {ROUNDS} rounds; ns a packet: median (least to most)");
    bench.stages();
    bench.worker();
}

/// `--frames N`; all else (cargo's own `--bench`) is passed over.
fn frames_of_command_line() -> u32 {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--frames").skip(1);
    arguments.next().map_or(1 << 18, |frames| frames.parse().expect("--frames is a number"))
}

fn report(what: &str, mut rounds: Vec<f64>) {
    rounds.sort_by(f64::total_cmp);
    let [least, median, most] = [0, rounds.len() / 2, rounds.len() - 1].map(|i| rounds[i]);
    println!("{what:<24} {median:>7.2} ({least:.2} to {most:.2})");
}

/// As many that few packets are enough, too.
fn rounds(frames: usize) -> usize {
    ROUNDS.max((1 << 22) / frames)
}

fn mac(kind: u8, number: u32) -> MacAddress {
    MacAddress::new([2, 0, kind, 0, (number >> 8) as u8, number as u8])
}

struct Bench {
    memory: PacketMemory,
    writer: Writer<RouteTables, RouteUpdate>,
    frames: Vec<Frame>,
    headers: Headers,
}

impl Bench {
    fn new(frames: u32) -> Self {
        let capacities = RouteCapacities::default();
        let mut writer = Writer::new(RouteTables::new(&capacities), RouteTables::new(&capacities));
        updates().into_iter().for_each(|update| writer.append(update));
        assert_eq!(writer.publish(), Publish::Published);
        let config = MemoryConfig { frames, chunk_bytes: 2048 };
        let mut memory = PacketMemory::new(config).expect("packet memory");
        let mut frames: Vec<Frame> =
            (0..frames).map(|_| memory.allocate().expect("a frame")).collect();
        if std::env::args().any(|argument| argument == "--scatter") {
            let mut random = Random::new(8);
            for i in (1..frames.len()).rev() {
                frames.swap(i, random.below(i + 1));
            }
        }
        Self { memory, writer, frames, headers: Headers(Random::new(7)) }
    }

    fn fill(&mut self) {
        self.headers.fill(&mut self.frames, &mut self.memory);
    }

    fn stages(&mut self) {
        let hash = FlowHash::new(1);
        let mut scratch = RouteScratch::new();
        let mut stats = RouteStats::new(NEIGHBOURS);
        let mut batch = Batch::new();
        let mut times: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds(self.frames.len()) {
            self.fill();
            let tables = self.writer.published();
            let mut nanoseconds = [0; 4];
            let mut pending = std::mem::take(&mut self.frames);
            pending.reverse();
            while !pending.is_empty() {
                let start = pending.len().saturating_sub(BATCH_PACKETS_MAX);
                batch.frames.extend(pending.drain(start..).rev());
                let at = Instant::now();
                batch.end_segment(PortId(0), 0);
                let begun = Instant::now();
                parse(&mut batch, &self.memory, |port| tables.station(port));
                let parsed = Instant::now();
                route::process(&mut batch, &self.memory, &tables, &hash, &mut scratch, &mut stats);
                let routed = Instant::now();
                route::rewrite(&mut batch, &mut self.memory, &tables);
                let rewritten = Instant::now();
                black_box(&batch.verdicts);
                let steps = [begun - at, parsed - begun, routed - parsed, rewritten - routed];
                for (sum, step) in nanoseconds.iter_mut().zip(steps) {
                    *sum += step.as_nanos();
                }
                self.frames.extend(batch.drain());
            }
            for (times, sum) in times.iter_mut().zip(nanoseconds) {
                times.push(sum as f64 / self.frames.len() as f64);
            }
        }
        for (what, times) in ["gather", "parse", "route", "rewrite"].into_iter().zip(times) {
            report(what, times);
        }
    }

    /// Rounds of a worker whose first port receives all packets, for comparison with the sum of the
    /// stages: what is more is egress, counters, and moving frames from and to the queues.
    fn worker(self) {
        let frames = self.frames.len();
        let pool = Arc::new(Mutex::new((self.frames, self.headers)));
        let refill = Arc::new(AtomicBool::new(false));
        let queue = |port| Queue {
            receives: port == 0,
            waiting: Vec::with_capacity(frames),
            sent: Vec::with_capacity(frames),
            pool: Arc::clone(&pool),
            refill: Arc::clone(&refill),
        };
        let port = |id| WorkerPort { id: PortId(id), queues: vec![Box::new(queue(id))] };
        let mut worker = Worker::new(WorkerConfig {
            ports: (0..PORTS).map(port).collect(),
            memory: self.memory,
            tables: self.writer.subscription(),
            counters: WorkerCounters::new(usize::from(PORTS)),
            route_stats: RouteStats::new(NEIGHBOURS),
            punt: Box::new(NoPunt),
            punt_limit: PuntLimit::default(),
            flow_hash_seed: 1,
            idle: IdlePolicy::default(),
        })
        .expect("a worker");
        let mut times = Vec::new();
        for _ in 0..rounds(frames) {
            refill.store(true, Ordering::Relaxed);
            // Twice, for ports that are asked behind the one that receives.
            worker.run_once(1);
            worker.run_once(1);
            refill.store(false, Ordering::Relaxed);
            let start = Instant::now();
            let mut carried = 0;
            while carried < frames {
                let received = worker.run_once(1);
                assert_ne!(received, 0, "all packets come back");
                carried += received;
            }
            times.push(start.elapsed().as_nanos() as f64 / frames as f64);
        }
        report("worker", times);
    }
}

/// Writes headers that were never sent before.
struct Headers(Random);

impl Headers {
    fn fill(&mut self, frames: &mut [Frame], memory: &mut PacketMemory) {
        let packet = PacketBuilder::new()
            .ethernet(mac(1, 0), mac(3, 0))
            .ipv4(Ipv4::new([192, 0, 2, 1].into(), [10, 0, 0, 1].into()))
            .udp(Udp::new(1000, 2000))
            .payload(&[0; 18])
            .build();
        for frame in frames {
            let route = self.0.below(ROUTES as usize) as u32;
            let destination = BASE | route << 8 | self.0.below(256) as u32;
            let source = 0xc000_0200 | self.0.next_u64() as u32 & 0x00ff_ffff;
            assert!(memory.set_packet(frame, &packet));
            let bytes = memory.packet_mut(frame);
            bytes[26..30].copy_from_slice(&source.to_be_bytes());
            bytes[30..34].copy_from_slice(&destination.to_be_bytes());
            linecard_wire::ipv4::fill_checksum(&mut bytes[14..34]).expect("an IPv4 header");
        }
    }
}

/// Gives out what waits and keeps what is sent; between rounds gives back what it kept. That of the
/// receiving port takes all.
struct Queue {
    receives: bool,
    waiting: Vec<Frame>,
    sent: Vec<Frame>,
    pool: Arc<Mutex<(Vec<Frame>, Headers)>>,
    refill: Arc<AtomicBool>,
}

impl Queue {
    #[cold]
    fn refill(&mut self, memory: &mut PacketMemory) {
        let mut pool = self.pool.lock().expect("one thread");
        let (frames, headers) = &mut *pool;
        frames.append(&mut self.sent);
        if self.receives {
            headers.fill(frames, memory);
            self.waiting.append(frames);
            self.waiting.reverse();
        }
    }
}

impl PortQueue for Queue {
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        if self.refill.load(Ordering::Relaxed) {
            self.refill(memory);
            return 0;
        }
        let count = frames_max.min(self.waiting.len());
        frames.extend(self.waiting.drain(self.waiting.len() - count..).rev());
        count
    }

    fn transmit(&mut self, _: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize {
        let count = frames.len();
        self.sent.append(frames);
        count
    }

    fn flush(&mut self, _: &mut PacketMemory) {}

    fn queued(&self) -> usize {
        0
    }

    fn sent(&self) -> u64 {
        self.sent.len() as u64
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

struct NoPunt;

impl PuntSink for NoPunt {
    fn punt(&mut self, _: PortId, _: &[u8]) -> bool {
        false
    }
}

fn updates() -> Vec<RouteUpdate> {
    let mut updates = Vec::new();
    for port in 0..PORTS {
        let interface = Interface {
            port: PortId(port),
            vlans: Vec::new(),
            mac_address: mac(1, u32::from(port)),
            mtu_bytes: 1500,
            up: true,
            forwarding_ipv4: true,
            forwarding_ipv6: true,
            own_ipv4: None,
            own_ipv6: None,
        };
        updates.push(RouteUpdate::SetInterface(InterfaceId(port), interface));
    }
    for id in 0..NEIGHBOURS {
        let interface = InterfaceId((id % u32::from(PORTS)) as u16);
        let address = std::net::Ipv4Addr::from(0xac10_0000 | id).into();
        let mac_address = Some(mac(2, id));
        let adjacency = Adjacency { interface, address, mac_address };
        updates.push(RouteUpdate::SetAdjacency(AdjacencyId(id), adjacency));
        updates.push(RouteUpdate::SetNextHop(NextHopId(id), NextHop::Gateway(AdjacencyId(id))));
        let members = vec![Member { next_hop: NextHopId(id), weight: 1 }];
        updates.push(RouteUpdate::SetGroup(NextHopGroupId(id + 1), members));
    }
    for route in 0..ROUTES {
        let address = std::net::Ipv4Addr::from(BASE | route << 8);
        let prefix = format!("{address}/24").parse().expect("a prefix");
        updates.push(RouteUpdate::SetRoute(prefix, NextHopGroupId(route % NEIGHBOURS + 1)));
    }
    updates
}
