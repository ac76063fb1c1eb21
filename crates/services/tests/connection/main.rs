//! Connections packet by packet: traces with the state that each packet must be found in, run once by one
//! worker and once with a worker for each direction.

mod limits;
mod others;
mod random;
mod tcp;

use std::net::{Ipv4Addr, Ipv6Addr};

use ConnectionState::{Established, Invalid, New, Related};
use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{Batch, DropReason, InterfaceId, PortId, Station, Verdict, parse};
use linecard_services::connection::{
    Connection, ConnectionConfig, ConnectionCount, ConnectionScratch, ConnectionState,
    ConnectionStats, ConnectionTables, WhenFull, classify, commit,
};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Extension, Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ip::Protocol;
use linecard_wire::tcp::Flags;
use proptest::prelude::*;

const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const SENDER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const SECOND: u64 = 1_000_000_000;

/// Workers that share tables; packets go through them one by one.
struct Rig {
    memory: PacketMemory,
    tables: ConnectionTables,
    workers: Vec<(ConnectionScratch, ConnectionStats)>,
    batch: Batch,
    now: u64,
}

impl Rig {
    fn new(config: &ConnectionConfig, workers: usize) -> Self {
        let memory = MemoryConfig { frames: 4, chunk_bytes: 2048 };
        let worker = |n| (ConnectionScratch::new(n, 3), ConnectionStats::default());
        Self {
            memory: PacketMemory::new(memory).expect("8 KiB"),
            tables: ConnectionTables::new(config, 7),
            workers: (0..workers).map(worker).collect(),
            batch: Batch::new(),
            now: 1000 * SECOND,
        }
    }

    /// Takes a packet through both halves, or through the first only when the filter refuses it.
    fn pass(
        &mut self,
        worker: usize,
        packet: &[u8],
        is_accepted: bool,
    ) -> (ConnectionState, Verdict) {
        let mut frame = self.memory.allocate().expect("a frame");
        assert!(self.memory.set_packet(&mut frame, packet));
        self.batch.frames.push(frame);
        self.batch.end_segment(PortId(0), 0);
        let station = Station::new(InterfaceId(0), ROUTER, true, true);
        parse(&mut self.batch, &self.memory, |_| station);
        let worker = worker % self.workers.len();
        let (scratch, stats) = &mut self.workers[worker];
        classify(&self.batch, &self.memory, &self.tables, scratch, stats, self.now);
        let state = scratch.states()[0];
        if !is_accepted {
            self.batch.verdicts[0] = Verdict::Drop(DropReason::Blackhole);
        }
        commit(&mut self.batch, &self.tables, scratch, stats, self.now);
        let verdict = self.batch.verdicts[0];
        for frame in self.batch.drain() {
            self.memory.free(frame);
        }
        (state, verdict)
    }

    fn state(&mut self, worker: usize, packet: &[u8]) -> ConnectionState {
        self.pass(worker, packet, true).0
    }

    fn count(&self, what: ConnectionCount) -> u64 {
        self.workers.iter().map(|(_, stats)| stats.reader().get(what)).sum()
    }
}

fn link() -> PacketBuilder {
    PacketBuilder::new().ethernet(ROUTER, SENDER)
}

fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// A layer between client and server, in either family.
fn between(from_client: bool, is_ipv6: bool) -> PacketBuilder {
    let (a, b) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let (a6, b6) = if from_client { (v6(1), v6(2)) } else { (v6(2), v6(1)) };
    if is_ipv6 { link().ipv6(Ipv6::new(a6, b6)) } else { link().ipv4(Ipv4::new(a, b)) }
}

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const RST: Flags = Flags::RST;
const FIN_ACK: Flags = Flags(0x11);
const SYN_ACK: Flags = Flags(0x12);
const RST_ACK: Flags = Flags(0x14);
/// Initial sequence numbers, of which the server's is about to come round.
const C: u32 = 1000;
const S: u32 = u32::MAX - 100;

/// One segment of a trace: seconds to wait before, who sends, flags, numbers, bytes of data, and what it is.
type Line = (u64, char, Flags, u32, u32, usize, ConnectionState);

fn segment(line: &Line, is_ipv6: bool) -> Vec<u8> {
    let (_, from, flags, seq, ack, bytes, _) = *line;
    let (source_port, destination_port) = if from == 'c' { (40_000, 443) } else { (443, 40_000) };
    let header = Tcp {
        sequence_number: seq,
        acknowledgment_number: ack,
        flags,
        window: 1000,
        // Windows in units of 128 bytes.
        options: if flags.contains(SYN) { vec![3, 3, 7] } else { Vec::new() },
        ..Tcp::new(source_port, destination_port)
    };
    between(from == 'c', is_ipv6).tcp(header).payload(&vec![0; bytes]).build()
}

fn run(description: &str, config: &ConnectionConfig, trace: &[Line]) {
    for (workers, is_ipv6) in [(1, false), (2, false), (1, true), (2, true)] {
        let mut rig = Rig::new(config, workers);
        for (number, line) in trace.iter().enumerate() {
            rig.now += line.0 * SECOND;
            let state = rig.state(usize::from(line.1 == 's'), &segment(line, is_ipv6));
            assert_eq!(state, line.6, "{description}, segment {number}, {workers} workers");
        }
    }
}

const HANDSHAKE: [Line; 3] = [
    (0, 'c', SYN, C, 0, 0, New),
    (0, 's', SYN_ACK, S, C + 1, 0, Established),
    (0, 'c', ACK, C + 1, S.wrapping_add(1), 0, Established),
];

fn after_handshake(more: &[Line]) -> Vec<Line> {
    [&HANDSHAKE, more].concat()
}

/// An error that a router on the way sends to `to`, about `packet` without its Ethernet header.
fn error(to_client: bool, is_ipv6: bool, packet: &[u8]) -> Vec<u8> {
    let to = |packet: &[u8]| packet[14..].to_vec();
    if is_ipv6 {
        let header = Ipv6::new(v6(99), v6(if to_client { 1 } else { 2 }));
        link().ipv6(header).icmpv6(Icmpv6::new(1, 0)).payload(&to(packet)).build()
    } else {
        let header = Ipv4::new([203, 0, 113, 9].into(), if to_client { CLIENT } else { SERVER });
        let quoted = &to(packet)[..28];
        link().ipv4(header).icmpv4(Icmpv4::new(3, 1)).payload(quoted).build()
    }
}
