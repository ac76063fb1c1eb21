//! What the two halves of the connection stage cost a packet: `cargo bench -p linecard-services --bench connection`.
//!
//! Batches of 256 packets of random connections among so many; the packets' headers are in cache, as parse
//! leaves them. Nanoseconds a packet, the median of the rounds with the least and the most.

use std::hint::black_box;
use std::time::{Duration, Instant};

use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{BATCH_PACKETS_MAX, Batch, InterfaceId, PortId, Station, Verdict, parse};
use linecard_services::connection::{
    ConnectionConfig, ConnectionCount, ConnectionScratch, ConnectionStats, ConnectionTables,
    classify, commit,
};
use linecard_tables::generator::Random;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Tcp, Udp};
use linecard_wire::tcp::Flags;

const ROUNDS: usize = 9;
const BATCHES: usize = 1024;
const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const SENDER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);

fn main() {
    // `cargo test --all-targets` runs this too, without the flag that `cargo bench` adds.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    println!("ns a packet: median (least to most)   classify                 commit");
    for connections in [1000, 1 << 16, 1_000_000] {
        let mut bench = Bench::new(connections);
        for flow in 0..connections {
            for kind in [Kind::Syn, Kind::SynAck, Kind::Data(0), Kind::Ask, Kind::Answer] {
                bench.add(kind, flow);
            }
        }
        bench.flush();
        bench.measure("TCP, next segment", |_, flow, round| (Kind::Data(round), flow));
        bench.measure("UDP", |_, flow, _| (Kind::Ask, flow));
        bench.measure("TCP, without connection", |random, _, _| {
            (Kind::Data(0), 1 << 24 | random.below(1 << 24) as u32)
        });
        bench.measure("TCP, flood of SYNs", |random, _, _| {
            (Kind::Syn, 1 << 25 | random.below(1 << 25) as u32)
        });
        println!("evicted: {}", bench.stats.reader().get(ConnectionCount::Evicted));
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Syn,
    SynAck,
    Data(u32),
    Ask,
    Answer,
}

struct Bench {
    memory: PacketMemory,
    tables: ConnectionTables,
    scratch: ConnectionScratch,
    stats: ConnectionStats,
    batch: Batch,
    connections: u32,
    now: u64,
}

impl Bench {
    fn new(connections: u32) -> Self {
        // Each flow is one of TCP and one of UDP.
        let config =
            ConnectionConfig { connections_ipv4_max: 2 * connections, ..Default::default() };
        let memory = MemoryConfig { frames: 512, chunk_bytes: 2048 };
        Self {
            memory: PacketMemory::new(memory).expect("1 MiB"),
            tables: ConnectionTables::new(&config, 5),
            scratch: ConnectionScratch::new(0, 6),
            stats: ConnectionStats::default(),
            batch: Batch::new(),
            connections,
            now: 0,
        }
    }

    /// One more packet; a full batch goes through.
    fn add(&mut self, kind: Kind, flow: u32) {
        let mut frame = self.memory.allocate().expect("a frame");
        assert!(self.memory.set_packet(&mut frame, &packet(kind, flow)));
        self.batch.frames.push(frame);
        // An answer is never in one batch with what it answers.
        let is_last = matches!(kind, Kind::Syn | Kind::SynAck | Kind::Ask);
        if self.batch.len() == BATCH_PACKETS_MAX || is_last {
            self.flush();
        }
    }

    fn parse(&mut self) {
        self.batch.end_segment(PortId(0), 0);
        let station = Station::new(InterfaceId(0), ROUTER, true, true);
        parse(&mut self.batch, &self.memory, |_| station);
        assert!(self.batch.verdicts.iter().all(|verdict| *verdict == Verdict::Undecided));
    }

    fn flush(&mut self) -> [Duration; 2] {
        self.parse();
        let start = Instant::now();
        let Self { batch, memory, tables, scratch, stats, now, .. } = self;
        classify(batch, memory, tables, scratch, stats, *now);
        black_box(scratch.states());
        let classified = Instant::now();
        commit(batch, tables, scratch, stats, *now);
        let committed = Instant::now();
        for frame in self.batch.drain() {
            self.memory.free(frame);
        }
        [classified - start, committed - classified]
    }

    fn measure(&mut self, what: &str, packet_of: impl Fn(&mut Random, u32, u32) -> (Kind, u32)) {
        let mut random = Random::new(9);
        let mut figures: [Vec<f64>; 2] = Default::default();
        for round in 0..ROUNDS as u32 {
            let mut sums = [Duration::ZERO; 2];
            for _ in 0..BATCHES {
                self.now += 100_000;
                for _ in 0..BATCH_PACKETS_MAX {
                    let flow = random.below(self.connections as usize) as u32;
                    let (kind, flow) = packet_of(&mut random, flow, round + 1);
                    let mut frame = self.memory.allocate().expect("a frame");
                    assert!(self.memory.set_packet(&mut frame, &packet(kind, flow)));
                    self.batch.frames.push(frame);
                }
                for (sum, part) in sums.iter_mut().zip(self.flush()) {
                    *sum += part;
                }
            }
            for (figures, sum) in figures.iter_mut().zip(sums) {
                figures.push(sum.as_nanos() as f64 / (BATCHES * BATCH_PACKETS_MAX) as f64);
            }
        }
        let [classify, commit] = figures.map(|mut rounds| {
            rounds.sort_by(f64::total_cmp);
            format!("{:6.1} ({:.1} to {:.1})", rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1])
        });
        println!("{:>9} {what:<28} {classify:<24} {commit}", self.connections);
    }
}

fn packet(kind: Kind, flow: u32) -> Vec<u8> {
    let (client, server) = ((0x0a00_0000 + flow).into(), [198, 51, 100, 1].into());
    let link = PacketBuilder::new().ethernet(ROUTER, SENDER);
    let tcp = |source, destination, flags, sequence_number, acknowledgment_number| Tcp {
        flags,
        sequence_number,
        acknowledgment_number,
        ..Tcp::new(source, destination)
    };
    match kind {
        Kind::Syn => link.ipv4(Ipv4::new(client, server)).tcp(tcp(4000, 80, Flags::SYN, 0, 0)),
        Kind::SynAck => {
            link.ipv4(Ipv4::new(server, client)).tcp(tcp(80, 4000, Flags::SYN | Flags::ACK, 0, 1))
        }
        Kind::Data(number) => link
            .ipv4(Ipv4::new(client, server))
            .tcp(tcp(4000, 80, Flags::ACK, 1 + 10 * number, 1))
            .payload(&[0; 10]),
        Kind::Ask => link.ipv4(Ipv4::new(client, server)).udp(Udp::new(4000, 53)).payload(&[0; 4]),
        Kind::Answer => {
            link.ipv4(Ipv4::new(server, client)).udp(Udp::new(53, 4000)).payload(&[0; 4])
        }
    }
    .build()
}
