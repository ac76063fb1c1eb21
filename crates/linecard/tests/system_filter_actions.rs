//! What rules do besides letting pass and dropping, seen by real clients: they are told of what is rejected as
//! the kernel's own filter would tell them, copies come out where rules mirror to, classes are counted.

mod common;
#[path = "reference/dissect.rs"]
mod dissect;

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::traffic::{load, probe, send, send_all, wait_reachable};
use common::{
    DEADLINE, Daemon, LINECARD, Options, PortMode, for_each_port_mode, resolved_topology, run_in,
    text,
};
use linecard_lab::{Direction, FrameSocket, Namespace, Port, ProbeOutcome, RouterTopology};
use linecard_packet::{DropReason, Origin, Withheld};
use linecard_wire::builder::{Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::{icmpv4, icmpv6, ipv4, ipv6};

/// A filter of the client's port.
fn options(topology: &RouterTopology, mode: PortMode, rules: &str) -> Options {
    let filter = format!("[[filter]]\nname = \"edge\"\ndefault = \"accept\"\nrules = [{rules}]\n");
    let port = topology.router_ports()[0].interface;
    Options::of_router(topology, mode).tables(&filter).port_keys(port, "filter_in = \"edge\"\n")
}

const REJECT: &str = "{ name = \"ping\", match = \"icmp length 200-65535\", action = \"reject\" }, \
    { name = \"ping6\", match = \"icmpv6 icmp-type echo-request length 200-65535\", action = \"reject\" }, \
    { name = \"tcp\", match = \"tcp destination-port 23\", action = \"reject\" }, \
    { name = \"udp\", match = \"udp destination-port 1-5000\", action = \"reject\" }";

/// What a connection to a port of the server ends in, before a timeout would.
fn connect(topology: &RouterTopology, address: IpAddr, port: u16) -> ErrorKind {
    let server = SocketAddr::new(address, port);
    let begin = Instant::now();
    let outcome = topology.client.run(|| TcpStream::connect_timeout(&server, DEADLINE));
    assert!(begin.elapsed() < DEADLINE / 2, "nobody was told, it timed out");
    outcome.expect_err("it is rejected").kind()
}

fn clients_are_told_of_what_is_rejected(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::start(&topology.router, &options(&topology, mode, REJECT));
    let port = topology.router_ports()[0];
    for (ipv6, own, codes) in [
        (false, IpAddr::from(port.ipv4.addr()), (3, 13)),
        (true, IpAddr::from(port.ipv6.addr()), (1, 1)),
    ] {
        wait_reachable(&topology, &daemon, ipv6);
        let address = topology.server_address(ipv6);
        let options = linecard_lab::PingOptions {
            count: 1,
            payload_bytes: 1000,
            timeout: DEADLINE,
            ..linecard_lab::PingOptions::default()
        };
        let report = linecard_lab::ping(&topology.client, address, &options).expect("a socket");
        let ProbeOutcome::Error(error) = report.probes[0] else { panic!("{report:?}") };
        assert_eq!((error.from, (error.kind, error.code)), (own, codes));
        // As Linux tells its programs (icmp_err_convert, icmpv6_err_convert).
        let expected = if ipv6 { ErrorKind::PermissionDenied } else { ErrorKind::HostUnreachable };
        assert_eq!(connect(&topology, address, 23), expected);
        assert_eq!(connect(&topology, address, 24), ErrorKind::ConnectionRefused, "not rejected");
    }
    // A ping each, and a SYN each.
    daemon.assert_count("packets rejected", 4, |it| it.dropped(DropReason::FilterRejected));
    let total = daemon.total();
    assert_eq!(total.originated_packets[Origin::RejectReply], 4);
    assert_eq!(total.withheld_packets.sum(), 0);
    let shown = text(&daemon.show(&["ports"]).stdout);
    assert!(shown.contains("sent, among others: reject_reply 4"), "{shown}");
    daemon.assert_books_balance();
}

/// Frames from the client that both reject: of each family, short, long, and TCP.
fn rejected_frames(topology: &RouterTopology) -> Vec<Vec<u8>> {
    let near = &topology.client_link.near;
    let from = PacketBuilder::new().ethernet(topology.client_link.far.mac.into(), near.mac.into());
    let header = Ipv4 { identification: 9, ..Ipv4::new(near.ipv4.addr(), topology.server_ipv4()) };
    let header6 = Ipv6::new(near.ipv6.addr(), topology.server_ipv6());
    let (udp, tcp) = (Udp::new(4000, 4001), Tcp::new(4000, 23));
    [
        from.clone().ipv4(header.clone()).udp(udp).payload(b"odd"),
        from.clone().ipv4(header.clone()).udp(udp).payload(&[7; 1400]),
        from.clone().ipv4(header.clone()).tcp(tcp.clone()),
        from.clone().ipv4(header).icmpv4(Icmpv4::echo_request(1, 2)).payload(&[9; 999]),
        from.clone().ipv6(header6.clone()).udp(udp).payload(b"odd"),
        from.clone().ipv6(header6.clone()).udp(udp).payload(&[7; 1400]),
        from.clone().ipv6(header6.clone()).tcp(tcp),
        from.ipv6(header6).icmpv6(Icmpv6::echo_request(1, 2)).payload(&[9; 999]),
    ]
    .map(|packet| packet.build())
    .into()
}

/// The replies to frames of the client's.
fn replies(topology: &RouterTopology, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let socket = FrameSocket::open(&topology.client, topology.client_link.near.interface);
    let socket = socket.expect("a packet socket");
    let one = |frame: &Vec<u8>| {
        socket.send(frame).expect("sent");
        let is_error = |bytes: &[u8]| said(bytes).is_some();
        let reply = socket.receive_first(DEADLINE, |seen| {
            seen.direction == Direction::Received && is_error(&seen.bytes)
        });
        reply.expect("a reply").bytes
    };
    frames.iter().map(one).collect()
}

/// What an ICMP error says: link layer, source and destination, type and code, quotation.
type Said<'a> = (&'a [u8], [IpAddr; 2], (u8, u8), &'a [u8]);

/// `None` for frames that are no ICMP error.
fn said(frame: &[u8]) -> Option<Said<'_>> {
    let (link, network) = frame.split_at_checked(14)?;
    if let Ok(packet) = ipv4::Packet::new(network) {
        let message = icmpv4::Message::new(packet.payload()).ok()?;
        let kind = message.message_type();
        let ends = [packet.source().into(), packet.destination().into()];
        let is_ours = packet.protocol().0 == 1 && kind.is_error();
        return is_ours.then(|| (link, ends, (kind.0, message.code()), message.payload()));
    }
    let packet = ipv6::Packet::new(network).ok()?;
    let message = icmpv6::Message::new(packet.payload()).ok()?;
    let kind = message.message_type();
    let ends = [packet.source().into(), packet.destination().into()];
    let is_ours = packet.next_header().0 == 58 && kind.is_error();
    is_ours.then(|| (link, ends, (kind.0, message.code()), message.payload()))
}

fn nft(namespace: &Namespace, rules: &str) {
    let mut command = Command::new("nft");
    command.arg(rules);
    let output = run_in(namespace, command);
    assert!(output.status.success(), "nft {rules}: {}", text(&output.stderr));
}

#[test]
fn replies_say_what_nftables_says() {
    let topology = resolved_topology();
    let frames = rejected_frames(&topology);
    // Where it sees packets as they came in: behind forwarding their TTL is one less.
    let chain = "type filter hook prerouting priority 0; ip daddr 203.0.113.0/24 reject with icmp \
                 type admin-prohibited; ip6 daddr 2001:db8:5::/64 reject with icmpv6 type \
                 admin-prohibited";
    nft(&topology.router, &format!("table inet fw {{ chain c {{ {chain}; }}; }}"));
    let theirs = replies(&topology, &frames);
    nft(&topology.router, "delete table inet fw");

    let options = options(&topology, PortMode::Native, REJECT);
    let daemon = Daemon::start(&topology.router, &options);
    let ours = replies(&topology, &frames);
    for ((frame, theirs), ours) in frames.iter().zip(&theirs).zip(&ours) {
        assert_eq!(said(ours), said(theirs), "about {frame:02x?}");
    }
    let frames: Vec<&[u8]> = ours.iter().map(Vec::as_slice).collect();
    for (complaints, frame) in dissect::complaints(&frames).into_iter().zip(&frames) {
        // What is quoted ends where it is cut off.
        assert!(complaints.is_empty(), "{complaints:?} of {frame:02x?}");
    }
    daemon.assert_books_balance();
}

#[test]
fn a_flood_that_is_rejected_is_answered_at_the_limit() {
    let topology = resolved_topology();
    let daemon = Daemon::start(&topology.router, &options(&topology, PortMode::Native, REJECT));
    wait_reachable(&topology, &daemon, false);
    let destination = SocketAddr::new(topology.server_address(false), 4001);
    let flood = linecard_lab::UdpLoad {
        destinations: vec![destination],
        ..load(&topology, false, 4, 5_000)
    };
    let sent = flood.start(&topology.client).expect("a load").join();
    daemon.assert_count("packets rejected", sent.packets, |it| {
        it.dropped(DropReason::FilterRejected)
    });
    let total = daemon.total();
    let told = total.originated_packets[Origin::RejectReply];
    let limited = total.withheld_packets[Withheld::RejectRateLimited];
    assert_eq!(told + limited, sent.packets);
    assert!(told >= 100 && limited > 0, "{told} were told, {limited} were not");
    assert!(text(&daemon.show(&["drops"]).stdout).contains("reject_rate_limited"));
    daemon.assert_books_balance();
}

fn copies_come_out_where_rules_mirror_to(mode: PortMode) {
    let topology = resolved_topology();
    let [_, to_a, to_b] = topology.router_ports();
    let rules = format!(
        "{{ name = \"copy\", match = \"udp destination-port 5001\", action = \"continue\", \
         mirror = \"{}\", class = 5 }}, {{ name = \"drop\", match = \"udp ttl 7\", action = \"drop\" }}",
        to_b.interface
    );
    let daemon = Daemon::start(&topology.router, &options(&topology, mode, &rules));
    wait_reachable(&topology, &daemon, false);
    let far: &Port = &topology.path_b.far;
    let tap = FrameSocket::open(&topology.server, far.interface).expect("a packet socket");
    let near = &topology.client_link.near;
    let client = FrameSocket::open(&topology.client, near.interface).expect("a packet socket");
    let frame = |ttl| {
        let header = Ipv4 { ttl, ..Ipv4::new(near.ipv4.addr(), topology.path_a.far.ipv4.addr()) };
        let link =
            PacketBuilder::new().ethernet(topology.client_link.far.mac.into(), near.mac.into());
        link.ipv4(header).udp(Udp::new(4000, 5001)).payload(&[0x5a; 99]).build()
    };
    for ttl in [64, 7] {
        client.send(&frame(ttl)).expect("sent");
        let copy =
            tap.receive_first(DEADLINE, |seen| seen.bytes.get(36..38) == Some(&[0x13, 0x89]));
        assert_eq!(copy.expect("a copy").bytes, frame(ttl), "as it came");
    }
    daemon.assert_count("copies", 2, |it| it.total().originated_packets[Origin::MirrorCopy]);
    assert_eq!(daemon.dropped(DropReason::Filtered), 1, "the copy was of a packet that is dropped");
    assert_eq!(daemon.port(to_b.interface).totals.originated_packets[Origin::MirrorCopy], 2);
    let classes = daemon.port(to_a.interface).totals.class_packets;
    assert_eq!(classes[5], 1, "the other was not dropped: {classes:?}");
    daemon.assert_books_balance();
}

for_each_port_mode!(clients_are_told_of_what_is_rejected, copies_come_out_where_rules_mirror_to);

/// A load of which each packet is copied to the other path: all of it arrives, and all copies are accounted for.
#[test]
fn copies_of_a_load_are_counted_to_the_last() {
    const PACKETS: u64 = 2_000;
    let topology = resolved_topology();
    let to_b = topology.router_ports()[2].interface;
    let rules = format!("{{ match = \"udp\", action = \"accept\", mirror = \"{to_b}\" }}");
    let daemon = Daemon::start(&topology.router, &options(&topology, PortMode::Native, &rules));
    wait_reachable(&topology, &daemon, true);
    let (sent, came) = send(&topology, &load(&topology, true, 4, PACKETS));
    assert_eq!((sent.packets, came.packets), (PACKETS, PACKETS), "{came:?}");
    let total = daemon.total();
    let copies = total.originated_packets[Origin::MirrorCopy];
    assert_eq!(copies + total.withheld_packets.sum(), PACKETS, "{total:?}");
    assert!(copies > 0);
    assert!(probe(&topology, topology.server_address(true), Duration::from_secs(5)).is_reply());
    daemon.assert_books_balance();
}

#[test]
fn what_rules_log_is_in_the_log_up_to_a_limit() {
    let topology = resolved_topology();
    let rules = "{ name = \"spoofed\", match = \"udp destination-port 5001\", action = \"drop\", log = true }";
    let daemon = Daemon::start(&topology.router, &options(&topology, PortMode::Native, rules));
    wait_reachable(&topology, &daemon, false);
    let load = load(&topology, false, 1, 1);
    let send = |load: &linecard_lab::UdpLoad| load.start(&topology.client).expect("a load").join();
    assert_eq!(send(&load).packets, 1);
    let lines = |daemon: &Daemon| {
        let log = daemon.log();
        let is_line = |line: &&str| line.contains("filter log: ");
        log.lines().filter(is_line).map(str::to_owned).collect::<Vec<_>>()
    };
    daemon.wait_for("a line in the log", |daemon| !lines(daemon).is_empty());
    let first = &lines(&daemon)[0];
    let port = topology.router_ports()[0].interface;
    let packet = format!("{}:20000 → {}:5001 udp", load.source.unwrap(), load.destinations[0].ip());
    for part in ["spoofed", "edge", port, &packet, "dropped: filtered"] {
        assert!(first.contains(part), "no {part} in {first}");
    }
    let flood = linecard_lab::UdpLoad { packets_max: 3_000, ..load };
    assert_eq!(send(&flood).packets, 3_000);
    daemon.wait_for("the packets without a line", |daemon| {
        lines(daemon).iter().any(|line| line.contains("more packets than lines"))
    });
    // At a packet each fifth of a millisecond it lasts for less than a second or, on a busy machine, not much more.
    assert!(lines(&daemon).len() < 1_500, "{} lines", lines(&daemon).len());
    daemon.assert_books_balance();
}

#[test]
fn one_packet_in_a_hundred_is_a_sample() {
    let topology = resolved_topology();
    let rules = "{ name = \"load\", match = \"udp\", action = \"accept\", sample = 100 }";
    let daemon = Daemon::start(&topology.router, &options(&topology, PortMode::Native, rules));
    wait_reachable(&topology, &daemon, false);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("samples.pcapng");
    let mut command = Command::new(LINECARD);
    command.args(["capture", "--samples", "-n", "20", "-w"]).arg(&path);
    command.arg("--socket").arg(daemon.socket()).stderr(Stdio::piped());
    let mut capturing = command.spawn().expect("the binary was built");
    let mut stderr = BufReader::new(capturing.stderr.take().expect("it is piped"));
    let mut note = String::new();
    stderr.read_line(&mut note).expect("it says something");
    assert!(note.starts_with("note: samples"), "{note}");
    send_all(&topology, false, 4, 2_000);
    assert!(capturing.wait().expect("it ends").success());

    let mut tshark = Command::new("tshark");
    tshark.args(["-T", "fields", "-e", "frame.comment", "-e", "udp.dstport", "-r"]).arg(&path);
    let output = tshark.output().expect("tshark is there: cargo xtask test installs it");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = text(&output.stdout);
    assert_eq!(read.lines().count(), 20, "{read}");
    for line in read.lines() {
        assert!(line.starts_with("forwarded by "), "{line}");
        assert!(line.ends_with("sample of rule load of filter edge\t5001"), "{line}");
    }
    assert_eq!(daemon.total().forwarded_packets, daemon.total().received_packets);
}
