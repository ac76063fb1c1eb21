//! Connections packet by packet: traces with the state that each packet must be found in, run once by one
//! worker and once with a worker for each direction.

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

#[test]
fn tcp_traces() {
    let s = |n: u32| S.wrapping_add(n);
    let traces: Vec<(&str, Vec<Line>)> = vec![
        (
            "data both ways, across the end of the numbers",
            after_handshake(&[
                (0, 'c', ACK, C + 1, s(1), 500, Established),
                (0, 's', ACK, s(1), C + 501, 1400, Established),
                (0, 'c', ACK, C + 501, s(1401), 0, Established),
                (0, 's', ACK, s(1401), C + 501, 1400, Established),
            ]),
        ),
        (
            "nothing without a SYN",
            vec![
                (0, 'c', ACK, C, 5, 10, Invalid),
                (0, 's', SYN_ACK, S, C + 1, 0, Invalid),
                (0, 'c', RST, C, 0, 0, Invalid),
                (0, 'c', Flags(0), C, 0, 0, Invalid),
                (0, 'c', Flags(0x29), C, 0, 0, Invalid),
                (0, 'c', Flags(3), C, 0, 0, Invalid),
            ],
        ),
        (
            "retransmissions",
            vec![
                (0, 'c', SYN, C, 0, 0, New),
                (1, 'c', SYN, C, 0, 0, New),
                (0, 's', SYN_ACK, S, C + 1, 0, Established),
                (1, 's', SYN_ACK, S, C + 1, 0, Established),
                (0, 'c', ACK, C + 1, s(1), 500, Established),
                (1, 'c', ACK, C + 1, s(1), 500, Established),
                (0, 's', SYN_ACK, S, C + 1, 0, Established),
            ],
        ),
        (
            "a SYN-ACK must acknowledge the SYN",
            vec![
                (0, 'c', SYN, C, 0, 0, New),
                (0, 's', SYN_ACK, S, C + 2, 0, Invalid),
                (0, 's', SYN_ACK, S, C.wrapping_sub(2000), 0, Invalid),
                (0, 's', ACK, S, C + 1, 0, Invalid),
                (0, 's', SYN_ACK, S, C + 1, 0, Established),
            ],
        ),
        (
            "simultaneous open",
            vec![
                (0, 'c', SYN, C, 0, 0, New),
                (0, 's', SYN, S, 0, 0, Established),
                (0, 'c', SYN_ACK, C, s(1), 0, Established),
                (0, 's', SYN_ACK, S, C + 1, 0, Established),
                (0, 'c', ACK, C + 1, s(1), 100, Established),
            ],
        ),
        (
            "half close, and both closed for two minutes",
            after_handshake(&[
                (0, 'c', FIN_ACK, C + 1, s(1), 0, Established),
                (0, 's', ACK, s(1), C + 2, 1000, Established),
                (50, 's', ACK, s(1001), C + 2, 1000, Established),
                (50, 'c', ACK, C + 2, s(2001), 0, Established),
                (0, 's', FIN_ACK, s(2001), C + 2, 0, Established),
                (0, 'c', ACK, C + 2, s(2002), 0, Established),
                (110, 's', FIN_ACK, s(2001), C + 2, 0, Established),
                (122, 'c', ACK, C + 2, s(2002), 0, Invalid),
            ]),
        ),
        (
            "a half closed connection is kept for a minute",
            after_handshake(&[
                (0, 'c', FIN_ACK, C + 1, s(1), 0, Established),
                (0, 's', ACK, s(1), C + 2, 0, Established),
                (62, 's', ACK, s(1), C + 2, 10, Invalid),
            ]),
        ),
        (
            "ports used again in TIME_WAIT",
            after_handshake(&[
                (0, 's', FIN_ACK, s(1), C + 1, 0, Established),
                (0, 'c', FIN_ACK, C + 1, s(2), 0, Established),
                (0, 's', ACK, s(2), C + 2, 0, Established),
                (1, 'c', SYN, 77_000, 0, 0, New),
                (0, 's', SYN_ACK, 5000, 77_001, 0, Established),
                (0, 'c', ACK, 77_001, 5001, 10, Established),
            ]),
        ),
        (
            "refused",
            vec![
                (0, 'c', SYN, C, 0, 0, New),
                (0, 's', RST_ACK, 0, C + 7, 0, Invalid),
                (0, 's', RST_ACK, 0, C + 1, 0, Established),
                (1, 'c', SYN, C + 9000, 0, 0, New),
            ],
        ),
        (
            "an exact reset closes, ten seconds later all is forgotten",
            after_handshake(&[
                (0, 'c', ACK, C + 1, s(1), 300, Established),
                (0, 's', RST, s(1), 0, 0, Established),
                (12, 'c', ACK, C + 301, s(1), 1, Invalid),
            ]),
        ),
        (
            "a reset outside of the window is invalid, one within it closes nothing",
            after_handshake(&[
                (0, 's', RST, s(1).wrapping_add(200_000), 0, 0, Invalid),
                (0, 's', RST, s(1).wrapping_sub(1), 0, 0, Invalid),
                (0, 'c', RST, C + 1_000_000, 0, 0, Invalid),
                (0, 's', RST, s(1).wrapping_add(50_000), 0, 0, Established),
                (12, 'c', ACK, C + 1, s(1), 1, Established),
            ]),
        ),
        (
            "data outside of the window is invalid",
            after_handshake(&[
                // The windows of SYNs are not scaled, this one is.
                (0, 's', ACK, s(1), C + 1, 0, Established),
                (0, 'c', ACK, C + 1 + 128_001, s(1), 10, Invalid),
                (0, 'c', ACK, C.wrapping_sub(140_000), s(1), 10, Invalid),
                (0, 'c', ACK, C + 1, s(900), 10, Invalid),
                (0, 'c', ACK, C + 1, s(1).wrapping_sub(140_000), 10, Invalid),
                (0, 'c', ACK, C + 1 + 128_000, s(1), 10, Established),
                // A keep-alive.
                (0, 's', ACK, S, C + 1, 0, Established),
            ]),
        ),
        (
            "a host that has restarted gets out of a half-open connection",
            after_handshake(&[
                (600, 'c', SYN, 900_000_000, 0, 0, Established),
                (0, 's', ACK, s(1), C + 1, 0, Established),
                (0, 'c', RST, C + 1, 0, 0, Established),
                (1, 'c', SYN, 900_000_000, 0, 0, New),
            ]),
        ),
        (
            "an idle connection is kept for five days, a SYN for two minutes",
            after_handshake(&[
                (431_999, 'c', ACK, C + 1, s(1), 10, Established),
                (432_001, 's', ACK, s(1), C + 11, 10, Invalid),
                (0, 'c', SYN, C, 0, 0, New),
                (119, 's', SYN_ACK, S, C + 1, 0, Established),
                (62, 'c', ACK, C + 1, s(1), 0, Invalid),
            ]),
        ),
    ];
    for (description, trace) in &traces {
        run(description, &ConnectionConfig::default(), trace);
    }
}

#[test]
fn connections_are_picked_up_in_the_middle_if_configured() {
    let config = ConnectionConfig { tcp_loose: true, ..ConnectionConfig::default() };
    run(
        "loose",
        &config,
        &[
            (0, 'c', ACK, C, 5, 10, New),
            (0, 'c', ACK, C + 10, 5, 10, New),
            (0, 's', ACK, 9_000_000, C + 20, 10, Established),
            (1000, 'c', ACK, C + 20, 9_000_010, 10, Established),
            (0, 's', RST, 9_000_010, 0, 0, Established),
            (12, 'c', FIN_ACK, C, 5, 0, Invalid),
        ],
    );
}

#[test]
fn what_the_filter_refuses_leaves_no_trace() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 1);
    let [syn, syn_ack, _] = HANDSHAKE.map(|line| segment(&line, false));
    assert_eq!(rig.pass(0, &syn, false).0, New);
    assert_eq!(rig.tables.count(rig.now), (0, 0));
    assert_eq!(rig.state(0, &syn_ack), Invalid);
    assert_eq!(rig.state(0, &syn), New);
    assert_eq!(rig.pass(0, &syn_ack, false).0, Established);
    assert_eq!(rig.tables.count(rig.now), (1, 0));
}

#[test]
fn udp_and_other_protocols_go_by_answers() {
    for is_ipv6 in [false, true] {
        let mut rig = Rig::new(&ConnectionConfig::default(), 2);
        let ask = between(true, is_ipv6).udp(Udp::new(4000, 53)).payload(b"?").build();
        let answer = between(false, is_ipv6).udp(Udp::new(53, 4000)).payload(b"!").build();
        let other = between(false, is_ipv6).udp(Udp::new(53, 4001)).payload(b"!").build();
        assert_eq!(
            [&ask, &ask, &answer, &ask, &other].map(|p| rig.state(0, p)),
            [New, New, Established, Established, New]
        );
        rig.now += 119 * SECOND;
        assert_eq!(rig.state(1, &answer), Established, "both ways: two minutes");
        rig.now += 121 * SECOND;
        assert_eq!(rig.state(1, &ask), New);
        rig.now += 31 * SECOND;
        assert_eq!(rig.state(1, &answer), New, "one way: half a minute");
    }
    let mut rig = Rig::new(&ConnectionConfig::default(), 2);
    let gre = |from_client| {
        let (a, b) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let header = Ipv4 { protocol: Some(Protocol::GRE), ..Ipv4::new(a, b) };
        link().ipv4(header).payload(&[0; 8]).build()
    };
    assert_eq!(rig.state(0, &gre(false)), New);
    assert_eq!(rig.state(1, &gre(true)), Established);
}

#[test]
fn echo_goes_by_identifier_and_role() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 2);
    let v4 = |from_client, message| between(from_client, false).icmpv4(message).build();
    let v6 = |from_client, message| between(from_client, true).icmpv6(message).build();
    assert_eq!(rig.state(1, &v4(false, Icmpv4::echo_reply(7, 1))), Invalid);
    assert_eq!(rig.state(0, &v4(true, Icmpv4::echo_request(7, 1))), New);
    assert_eq!(rig.state(0, &v4(true, Icmpv4::echo_request(7, 2))), New);
    assert_eq!(rig.state(1, &v4(false, Icmpv4::echo_request(7, 1))), New, "its own ping");
    assert_eq!(rig.state(1, &v4(false, Icmpv4::echo_reply(8, 1))), Invalid);
    assert_eq!(rig.state(1, &v4(false, Icmpv4::echo_reply(7, 1))), Established);
    assert_eq!(rig.state(0, &v4(true, Icmpv4::echo_request(7, 3))), Established);
    assert_eq!(rig.state(0, &v6(true, Icmpv6::echo_request(7, 1))), New);
    assert_eq!(rig.state(1, &v6(false, Icmpv6::echo_reply(7, 1))), Established);
    assert_eq!(rig.state(0, &v4(true, Icmpv4::new(9, 0))), Invalid, "router advertisement");
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

#[test]
fn errors_belong_to_the_connection_they_quote() {
    for is_ipv6 in [false, true] {
        let mut rig = Rig::new(&ConnectionConfig::default(), 2);
        let udp = between(true, is_ipv6).udp(Udp::new(4000, 53)).payload(b"?").build();
        assert_eq!(rig.state(1, &error(true, is_ipv6, &udp)), Invalid, "about nothing known");
        rig.state(0, &udp);
        assert_eq!(rig.state(1, &error(true, is_ipv6, &udp)), Related);
        assert_eq!(rig.state(1, &error(false, is_ipv6, &udp)), Invalid, "not to the sender");
        for line in HANDSHAKE {
            rig.state(0, &segment(&line, is_ipv6));
        }
        let sent = |seq| segment(&(0, 'c', ACK, seq, S.wrapping_add(1), 0, New), is_ipv6);
        assert_eq!(rig.state(1, &error(true, is_ipv6, &sent(C + 1))), Related);
        assert_eq!(rig.state(1, &error(true, is_ipv6, &sent(C + 9_000_000))), Invalid, "RFC 5927");
        let cut = error(true, is_ipv6, &udp);
        let cut = if is_ipv6 { &cut[..14 + 40 + 8 + 43] } else { &cut[..14 + 20 + 8 + 23] };
        assert_eq!(rig.state(1, cut), Invalid, "cut off before the ports");
    }
}

#[test]
fn later_fragments_have_the_state_of_the_first() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 1);
    let fragment = |from_client, offset, more_fragments, identification| {
        let (a, b) = if from_client { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let protocol = Some(Protocol::UDP);
        let header = Ipv4 {
            fragment_offset: offset,
            more_fragments,
            identification,
            protocol,
            ..Ipv4::new(a, b)
        };
        let ports = if from_client { [0x0f, 0xa0, 0, 53] } else { [0, 53, 0x0f, 0xa0] };
        link().ipv4(header).payload(&[&ports[..], &[0; 20]].concat()).build()
    };
    assert_eq!(rig.state(0, &fragment(true, 24, false, 1)), Invalid, "before the first");
    assert_eq!(rig.state(0, &fragment(true, 0, true, 1)), New);
    assert_eq!(rig.state(0, &fragment(true, 24, false, 1)), New);
    assert_eq!(rig.state(0, &fragment(true, 24, false, 2)), Invalid, "of another datagram");
    assert_eq!(rig.state(0, &fragment(false, 0, true, 3)), Established);
    assert_eq!(rig.state(0, &fragment(false, 24, true, 3)), Established);
    rig.now += 31 * SECOND;
    assert_eq!(rig.state(0, &fragment(false, 24, true, 3)), Invalid);

    let six = |offset, more| {
        let header = Ipv6::new(v6(1), v6(2));
        let extension = Extension::fragment(offset, more, 5);
        link().ipv6(header).extension(extension).udp(Udp::new(1, 2)).payload(&[0; 16]).build()
    };
    assert_eq!(rig.state(0, &six(0, true)), New);
    assert_eq!(rig.state(0, &six(24, false)), New);
}

/// A SYN from one of many addresses.
fn syn(number: u32) -> Vec<u8> {
    let source = Ipv4Addr::from_bits(0x0a00_0000 + number);
    let header = Tcp { flags: SYN, sequence_number: number, ..Tcp::new(1024, 80) };
    link().ipv4(Ipv4::new(source, SERVER)).tcp(header).build()
}

#[test]
fn a_flood_of_syns_evicts_no_established_connection_and_keeps_no_one_out() {
    let config = ConnectionConfig { connections_ipv4_max: 2000, ..ConnectionConfig::default() };
    let mut rig = Rig::new(&config, 2);
    let udp = |n: u16, back: bool| {
        let ports = if back { Udp::new(53, n) } else { Udp::new(n, 53) };
        between(!back, false).udp(ports).build()
    };
    for n in 1000..2000 {
        assert_eq!(rig.state(0, &udp(n, false)), New);
        assert_eq!(rig.state(1, &udp(n, true)), Established);
    }
    for number in 0..20_000 {
        rig.now += SECOND / 1000;
        assert_eq!(rig.pass(number as usize, &syn(number), true), (New, Verdict::Undecided));
    }
    assert!(rig.count(ConnectionCount::Evicted) > 15_000);
    assert_eq!(rig.count(ConnectionCount::Untracked), 0);
    assert!((1000..2000).all(|n| rig.state(1, &udp(n, true)) == Established));
    for line in HANDSHAKE {
        assert_eq!(rig.state(0, &segment(&line, false)), line.6, "a newcomer in the flood");
    }
    let live = rig.count(ConnectionCount::Inserted)
        - rig.count(ConnectionCount::Evicted)
        - rig.count(ConnectionCount::Expired);
    assert_eq!(rig.tables.count(rig.now).0 as u64, live);
}

#[test]
fn a_table_of_established_connections_is_full() {
    for (when_full, verdict) in [
        (WhenFull::Forward, Verdict::Undecided),
        (WhenFull::Drop, Verdict::Drop(DropReason::ConnectionTableFull)),
    ] {
        let config =
            ConnectionConfig { connections_ipv4_max: 10, when_full, ..ConnectionConfig::default() };
        let mut rig = Rig::new(&config, 1);
        let udp = |n: u16, back: bool| {
            let ports = if back { Udp::new(53, n) } else { Udp::new(n, 53) };
            between(!back, false).udp(ports).build()
        };
        for n in 0..16 {
            rig.state(0, &udp(n, false));
            assert_eq!(rig.state(0, &udp(n, true)), Established);
        }
        assert_eq!(rig.pass(0, &syn(1), true), (New, verdict));
        assert_eq!(rig.count(ConnectionCount::Untracked), 1);
        rig.now += 121 * SECOND;
        assert_eq!(rig.pass(0, &syn(1), true), (New, Verdict::Undecided));
        assert_eq!(rig.tables.count(rig.now), (1, 0));
    }
}

#[test]
fn a_source_begins_no_more_than_it_may() {
    let config = ConnectionConfig { connections_per_source_max: 20, ..ConnectionConfig::default() };
    let mut rig = Rig::new(&config, 2);
    let udp = |n: u16, from_client| between(from_client, false).udp(Udp::new(n, n)).build();
    let limited = Verdict::Drop(DropReason::ConnectionLimit);
    for n in 0..20 {
        assert_eq!(rig.pass(0, &udp(n, true), true).1, Verdict::Undecided);
    }
    assert_eq!(rig.pass(1, &udp(20, true), true), (New, limited));
    assert_eq!(rig.pass(1, &udp(3, true), true), (New, Verdict::Undecided), "it has this one");
    assert_eq!(rig.pass(1, &udp(30, false), true).1, Verdict::Undecided, "another source");
    // When the clock hand has come by, it may again.
    rig.now += 31 * SECOND;
    while rig.count(ConnectionCount::Expired) < 21 {
        rig.pass(0, &syn(1)[..20], true);
    }
    assert_eq!(rig.pass(1, &udp(20, true), true).1, Verdict::Undecided);
}

/// Without a packet of anybody, by the control side's own hand.
#[test]
fn a_sweep_forgets_what_has_expired() {
    let config = ConnectionConfig { connections_per_source_max: 1, ..ConnectionConfig::default() };
    let mut rig = Rig::new(&config, 1);
    let udp = |n: u16| between(true, true).udp(Udp::new(n, n)).build();
    let limited = Verdict::Drop(DropReason::ConnectionLimit);
    assert_eq!(rig.pass(0, &udp(1), true).1, Verdict::Undecided);
    assert_eq!(rig.pass(0, &udp(2), true).1, limited);
    let (mut hand, step) = (5, rig.tables.buckets() / 10 + 1);
    let mut sweep =
        |now| -> usize { (0..11).map(|_| rig.tables.sweep(&mut hand, step, now)).sum() };
    assert_eq!(sweep(rig.now), 0);
    assert_eq!(sweep(rig.now + 31 * SECOND), 1);
    rig.now += 31 * SECOND;
    assert_eq!(rig.pass(0, &udp(2), true).1, Verdict::Undecided);
    assert_eq!(rig.pass(0, &udp(1), true).1, limited);

    // Another limit, other timeouts and all else that can change at any time.
    assert!(config.fits(&ConnectionConfig { connections_per_source_max: 2, ..config }));
    assert!(!config.fits(&ConnectionConfig::default()));
    let other = ConnectionConfig {
        connections_per_source_max: 2,
        udp_unreplied_timeout_seconds: 1,
        tcp_loose: true,
        ..config
    };
    rig.tables.set(&other);
    assert_eq!(rig.pass(0, &udp(1), true).1, Verdict::Undecided);
    assert_eq!(rig.tables.count(rig.now), (0, 2));
    assert_eq!(rig.tables.count(rig.now + 2 * SECOND), (0, 0));
    let middle = segment(&(0, 'c', ACK, C, S, 10, New), false);
    assert_eq!(rig.state(0, &middle), New);
}

/// The hand does not stop at the end of a table: after a round it has been everywhere, wherever it began.
#[test]
fn a_round_of_sweeps_passes_each_bucket() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 1);
    // As many steps as the daemon takes for a round; they do not divide the buckets.
    let (buckets, steps) = (rig.tables.buckets(), 50);
    let step = buckets.div_ceil(steps);
    assert_ne!(buckets % step, 0);
    let mut hand = 0;
    for round in 0..4 {
        for number in 0..500 {
            let packet = between(true, true).udp(Udp::new(number, round)).build();
            assert_eq!(rig.pass(0, &packet, true).1, Verdict::Undecided);
            let packet = between(true, false).udp(Udp::new(number, round)).build();
            assert_eq!(rig.pass(0, &packet, true).1, Verdict::Undecided);
        }
        rig.now += 31 * SECOND;
        let gone: usize = (0..steps).map(|_| rig.tables.sweep(&mut hand, step, rig.now)).sum();
        assert_eq!(gone, 1000, "round {round}");
    }
}

#[test]
fn connections_are_listed_by_who_began_them() {
    let mut rig = Rig::new(&ConnectionConfig::default(), 1);
    for line in HANDSHAKE {
        rig.state(0, &segment(&line, true));
    }
    // Begun from the higher address, which is the key's second.
    rig.state(0, &between(false, false).udp(Udp::new(53, 4000)).build());
    rig.state(0, &between(true, false).icmpv4(Icmpv4::echo_request(7, 1)).build());
    for n in 0..100 {
        rig.state(0, &between(true, false).udp(Udp::new(n, 9)).build());
    }
    rig.now += SECOND;
    let census = rig.tables.census(rig.now);
    let count = |group, state| {
        let mut all = census.iter().filter(|it| it.group == group && it.state == state);
        all.next().map(|it| it.connections)
    };
    assert_eq!(count("tcp", "established"), Some([0, 1]));
    assert_eq!(count("udp", "unreplied"), Some([101, 0]));
    assert_eq!(count("icmp", "query"), Some([1, 0]));
    assert_eq!(census.iter().map(|it| it.connections[0]).sum::<usize>(), 102);

    let all = |limit, wanted: &dyn Fn(&Connection) -> bool| {
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            let (page, next) = rig.tables.page(at, limit, rig.now, wanted);
            assert!(page.len() < limit + 8 && next.is_none_or(|next| next > at));
            found.extend(page);
            from = next;
        }
        found
    };
    assert_eq!(all(10, &|_| true).len(), 103);
    let tcp = all(10, &|it| it.state == "established");
    assert_eq!((tcp[0].source, tcp[0].destination), (v6(1).into(), v6(2).into()));
    assert_eq!((tcp.len(), tcp[0].protocol, tcp[0].ports), (1, 6, Some((40_000, 443))));
    assert!((900_000_000..1_100_000_000).contains(&tcp[0].idle_nanoseconds), "{tcp:?}");
    assert!(tcp[0].left_nanoseconds.abs_diff(431_999 * SECOND) < SECOND, "{tcp:?}");
    let udp = all(10, &|it| it.source == SERVER);
    assert_eq!((udp.len(), udp[0].ports), (1, Some((53, 4000))));
    let ping = all(1, &|it| it.protocol == 1);
    assert_eq!((ping.len(), ping[0].query, ping[0].source), (1, Some((8, 7)), CLIENT.into()));
}

proptest! {
    /// Packets with some bytes changed, cut off anywhere.
    #[test]
    fn no_bytes_panic(
        changes in prop::collection::vec((0usize..8, prop::collection::vec((14usize..110, any::<u8>()), 0..4), 14usize..120), 1..30)
    ) {
        let mut rig = Rig::new(&ConnectionConfig { connections_per_source_max: 3, tcp_loose: true, ..ConnectionConfig::default() }, 1);
        let udp6 = between(true, true).udp(Udp::new(1, 2)).build();
        let udp4 = between(true, false).udp(Udp::new(1, 2)).build();
        let kinds = [
            segment(&HANDSHAKE[0], false),
            segment(&HANDSHAKE[1], true),
            between(true, true).extension(Extension::fragment(0, true, 1)).udp(Udp::new(1, 2)).build(),
            between(true, false).icmpv4(Icmpv4::echo_request(1, 1)).build(),
            error(true, true, &segment(&HANDSHAKE[0], true)),
            error(false, false, &udp4),
            error(true, true, &udp6),
            udp4,
        ];
        for (kind, bytes, length) in changes {
            let mut packet = kinds[kind].clone();
            for (at, value) in bytes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            packet.truncate(length);
            if packet.len() > 25 && packet[12] == 8 {
                // Past the header checksum.
                packet[24..26].fill(0);
                let header = packet[14..packet.len().min(34)].to_vec();
                packet[24..26].copy_from_slice(&linecard_wire::checksum::checksum(&header).to_be_bytes());
            }
            rig.state(0, &packet);
        }
    }
}
