//! What arrives behind the router, read by another's dissector: every length and checksum right.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use common::traffic::{load, send, write_pcap};
use common::{DEADLINE, Daemon, PortMode, resolved_topology, text};
use linecard_lab::{
    CapturedFrame, Direction, FrameSocket, PingOptions, RouterTopology, TcpDirection, TcpTransfer,
    ping,
};

// Not with redirected frames: hosts that take them merge TCP segments before a capture sees them.
#[test]
fn native() {
    tshark_finds_no_fault(PortMode::Native);
}

#[test]
fn generic() {
    tshark_finds_no_fault(PortMode::Generic);
}

#[test]
fn packet() {
    tshark_finds_no_fault(PortMode::Packet);
}

/// What a faulty frame looks like to tshark. It also takes a TCP checksum of 0xffff for bad, which is the
/// other zero of one's complement (RFC 1624) and what Linux sends for it (`skb_checksum_help`).
const FAULTS: &str = "_ws.malformed || _ws.short || ip.checksum.status == \"Bad\" \
    || (tcp.checksum.status == \"Bad\" && tcp.checksum != 0xffff) || udp.checksum.status == \"Bad\" \
    || icmp.checksum.status == \"Bad\" || icmpv6.checksum.status == \"Bad\" \
    || ip.len > frame.len || udp.length.bad || ip.bogus_ip_length";
/// Hosts send with a TTL of 64, and there is one router; what never leaves a link is left out.
const NOT_ROUTED_ONCE: &str =
    "(ip && ip.ttl != 63) || (ipv6 && ipv6.hlim != 63 && !(icmpv6.type >= 130))";

/// The summary lines of the frames of a capture that match `filter`.
fn tshark(capture: &Path, filter: &str) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter]);
    for protocol in ["ip", "tcp", "udp"] {
        command.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    let output = command.output().expect("the system tests need tshark");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// Pings, datagrams whole and in fragments, and TCP, of both families and in both directions.
fn send_a_bit_of_everything(topology: &RouterTopology) {
    for ipv6 in [false, true] {
        for payload_bytes in [0, 1, 1000, 1400] {
            let options = PingOptions { payload_bytes, ..PingOptions::default() };
            let address = topology.server_address(ipv6);
            let report = ping(&topology.client, address, &options).expect("ping");
            assert!(report.is_complete(), "{report:?}");
        }
        for payload_bytes in [18, 19, 1400, 4000] {
            let mut load = load(topology, ipv6, 16, 64);
            load.payload_bytes = payload_bytes;
            let (sent, came) = send(topology, &load);
            assert_eq!((sent.packets, came.packets), (64, 64), "{payload_bytes} bytes: {came:?}");
        }
        for direction in [TcpDirection::Upload, TcpDirection::Download] {
            let transfer = TcpTransfer {
                direction,
                bytes_max: 500_000,
                duration_max: DEADLINE,
                ..TcpTransfer::to(SocketAddr::new(topology.server_address(ipv6), 0))
            };
            let run = transfer.start(&topology.client, &topology.server).expect("a connection");
            assert_eq!(run.join().expect("a whole stream").chunks_spoilt, 0);
        }
    }
}

fn tshark_finds_no_fault(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let captures = [
        (&topology.client, topology.client_link.near.interface),
        (&topology.server, topology.path_a.far.interface),
        (&topology.server, topology.path_b.far.interface),
    ]
    .map(|(namespace, interface)| FrameSocket::open(namespace, interface).expect("a capture"));
    send_a_bit_of_everything(&topology);
    daemon.assert_books_balance();
    // All has arrived, so all is in the sockets: nothing more is waited for.
    let now = std::time::Duration::ZERO;
    let received = |frame: &CapturedFrame| frame.direction == Direction::Received;
    let frames: Vec<CapturedFrame> = captures
        .iter()
        .flat_map(|capture| capture.collect(usize::MAX, now, received).expect("a capture"))
        .collect();

    let directory = tempfile::tempdir().expect("a directory of our own");
    let path = directory.path().join("frames.pcap");
    write_pcap(&path, &frames);
    assert_eq!(tshark(&path, "frame").len(), frames.len());
    let forwarded = tshark(&path, "ip || (ipv6 && !(icmpv6.type >= 130))").len() as u64;
    assert!(forwarded > 1000, "{forwarded} frames");
    daemon.assert_forwarded(forwarded);
    assert_eq!(tshark(&path, FAULTS), Vec::<String>::new());
    assert_eq!(tshark(&path, NOT_ROUTED_ONCE), Vec::<String>::new());
    for seen in ["icmp", "icmpv6", "udp && ip", "udp && ipv6", "tcp && ip", "tcp && ipv6"] {
        assert!(tshark(&path, seen).len() >= 12, "{seen} is in the capture");
    }

    // The filter does find a fault where there is one: the last byte of a payload has changed.
    let mut spoilt = frames;
    let whole = |frame: &&mut CapturedFrame| frame.bytes.len() > 1000 && frame.bytes[23] == 6;
    let frame = spoilt.iter_mut().find(whole).expect("an IPv4 TCP segment");
    *frame.bytes.last_mut().expect("a byte") ^= 1;
    write_pcap(&path, &spoilt);
    assert_eq!(tshark(&path, FAULTS).len(), 1);
}
