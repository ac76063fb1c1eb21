//! The kernel as the reference for states: the same packets, one by one, through a router with nftables' `ct state` and
//! through Linecard, which must call each of them the same.

mod common;

use std::net::IpAddr;
use std::process::Command;

use common::{DEADLINE, Daemon, Options, PortMode, resolved_topology, run_in, text};
use linecard_lab::{FrameSocket, Namespace, RouterTopology, wait_for};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Icmpv4, Ipv4, PacketBuilder, Tcp, Udp};
use linecard_wire::ip::Protocol;
use linecard_wire::tcp::Flags;

const STATES: [&str; 4] = ["new", "established", "related", "invalid"];
const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const RST: Flags = Flags::RST;
const SYN_ACK: Flags = Flags(0x12);
const RST_ACK: Flags = Flags(0x14);
const FIN_ACK: Flags = Flags(0x11);

/// What stands behind a packet's IP header; the client's addresses and the server's come from the topology.
enum Upper {
    Udp(u16, u16),
    /// Ports, flags, sequence number, acknowledgement, bytes.
    Tcp(u16, u16, Flags, u32, u32, usize),
    /// Type and identifier.
    Echo(u8, u16),
    /// "Port unreachable" about a query of the other side from this port to that.
    Unreachable(u16, u16),
    Other(u8),
}
use Upper::{Echo, Other, Unreachable};

/// A packet: what it is, who sends it, and the layer.
type Line = (&'static str, char, Upper);

fn story() -> Vec<Line> {
    let c = |flags, seq, ack, bytes| Upper::Tcp(40_000, 80, flags, seq, ack, bytes);
    let s = |flags, seq, ack, bytes| Upper::Tcp(80, 40_000, flags, seq, ack, bytes);
    let lone = |flags, port| Upper::Tcp(port, 22, flags, 1, 1, 0);
    vec![
        ("a query", 'c', Upper::Udp(4000, 53)),
        ("the query again", 'c', Upper::Udp(4000, 53)),
        ("its answer", 's', Upper::Udp(53, 4000)),
        ("another query", 'c', Upper::Udp(4000, 53)),
        ("from another port", 's', Upper::Udp(54, 4000)),
        ("an error about the query", 's', Unreachable(4000, 53)),
        ("an error about nothing", 's', Unreachable(4000, 99)),
        ("an echo request", 'c', Echo(8, 7)),
        ("its reply", 's', Echo(0, 7)),
        ("another's reply", 's', Echo(0, 8)),
        ("a protocol without ports", 'c', Other(99)),
        ("and back", 's', Other(99)),
        ("a SYN", 'c', c(SYN, 1000, 0, 0)),
        ("the SYN again", 'c', c(SYN, 1000, 0, 0)),
        ("a wrong SYN-ACK", 's', s(SYN_ACK, 7000, 90_000, 0)),
        ("the SYN-ACK", 's', s(SYN_ACK, 7000, 1001, 0)),
        ("the ACK", 'c', c(ACK, 1001, 7001, 0)),
        ("data", 'c', c(ACK, 1001, 7001, 100)),
        ("its ACK", 's', s(ACK, 7001, 1101, 0)),
        ("more data", 's', s(ACK, 7001, 1101, 1000)),
        ("data sent again", 's', s(ACK, 7001, 1101, 1000)),
        ("beyond the window", 's', s(ACK, 1 << 30, 1101, 10)),
        ("an ACK of what was not sent", 'c', c(ACK, 1101, 1 << 30, 0)),
        ("a reset from nowhere", 's', s(RST, 1 << 30, 0, 0)),
        ("a FIN", 'c', c(FIN_ACK, 1101, 8001, 0)),
        ("its ACK", 's', s(ACK, 8001, 1102, 0)),
        ("a FIN back", 's', s(FIN_ACK, 8001, 1102, 0)),
        ("the last ACK", 'c', c(ACK, 1102, 8002, 0)),
        ("the ports again", 'c', c(SYN, 50_000, 0, 0)),
        ("an answer", 's', s(SYN_ACK, 90_000, 50_001, 0)),
        ("a SYN to a closed port", 'c', Upper::Tcp(41_000, 81, SYN, 5, 0, 0)),
        ("the reset", 's', Upper::Tcp(81, 41_000, RST_ACK, 0, 6, 0)),
        ("the next try", 'c', Upper::Tcp(41_000, 81, SYN, 500, 0, 0)),
        ("a SYN from outside", 's', lone(SYN, 50)),
        ("an ACK scan", 's', lone(ACK, 51)),
        ("a FIN scan", 's', lone(Flags::FIN, 52)),
        ("an XMAS scan", 's', lone(Flags(0x29), 53)),
        ("a NULL scan", 's', lone(Flags(0), 54)),
        ("SYN and FIN", 's', lone(Flags(0x03), 55)),
        ("a SYN-ACK scan", 's', lone(SYN_ACK, 56)),
        ("a reset of nothing", 's', lone(RST, 57)),
        ("a Maimon scan", 's', lone(FIN_ACK, 58)),
    ]
}

fn frame(topology: &RouterTopology, from: char, upper: &Upper) -> Vec<u8> {
    let RouterTopology { client_link, path_a, .. } = topology;
    let (client, server) = (client_link.near.ipv4.addr(), path_a.far.ipv4.addr());
    let (host, router) = if from == 'c' {
        (&client_link.near, &client_link.far)
    } else {
        (&path_a.far, &path_a.near)
    };
    let (source, destination) = if from == 'c' { (client, server) } else { (server, client) };
    let link =
        PacketBuilder::new().ethernet(MacAddress::new(router.mac), MacAddress::new(host.mac));
    let header = Ipv4::new(source, destination);
    let packet = match *upper {
        Upper::Udp(from, to) => link.ipv4(header).udp(Udp::new(from, to)).payload(b"some bytes"),
        Upper::Tcp(from, to, flags, sequence_number, acknowledgment_number, bytes) => {
            let tcp = Tcp {
                flags,
                sequence_number,
                acknowledgment_number,
                window: 10_000,
                ..Tcp::new(from, to)
            };
            link.ipv4(header).tcp(tcp).payload(&vec![0; bytes])
        }
        Echo(0, id) => link.ipv4(header).icmpv4(Icmpv4::echo_reply(id, 1)),
        Echo(_, id) => link.ipv4(header).icmpv4(Icmpv4::echo_request(id, 1)),
        Unreachable(from, to) => {
            let quoted = PacketBuilder::new().ipv4(Ipv4::new(destination, source));
            let quoted = quoted.udp(Udp::new(from, to)).payload(b"some bytes").build();
            link.ipv4(header).icmpv4(Icmpv4::new(3, 3)).payload(&quoted)
        }
        Other(number) => {
            let header = Ipv4 { protocol: Some(Protocol(number)), ..header };
            link.ipv4(header).payload(&[1; 40])
        }
    };
    packet.build()
}

fn nft(namespace: &Namespace, arguments: &[&str]) -> String {
    let mut command = Command::new("nft");
    command.args(arguments);
    let output = run_in(namespace, command);
    assert!(output.status.success(), "nft {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// A topology of hosts that say nothing by themselves.
fn silent_hosts() -> RouterTopology {
    let topology = resolved_topology();
    for host in [&topology.client, &topology.server] {
        nft(
            host,
            &["table inet lab { chain i { type filter hook input priority 0; policy drop; }; }"],
        );
    }
    topology
}

/// Packets that the kernel has found in each state.
fn kernel_counts(topology: &RouterTopology) -> [u64; 4] {
    let listed = nft(&topology.router, &["list", "chain", "ip", "reference", "pre"]);
    STATES.map(|state| {
        let line = listed.lines().find(|line| line.contains(&format!("ct state {state} ")));
        let mut words = line.expect("a rule for each").split_whitespace();
        words.find(|word| *word == "packets").expect("it counts");
        words.next().and_then(|number| number.parse().ok()).expect("a number")
    })
}

/// Packets that Linecard's filter has found in each state.
fn linecard_counts(daemon: &Daemon) -> [u64; 4] {
    let filters = daemon.client().filters().expect("the daemon answers").filters;
    STATES.map(|state| {
        let rule = filters[0].rules.iter().find(|rule| rule.name == state);
        rule.expect("a rule for each").packets
    })
}

/// The state of which there is one more, when there is.
fn next_state(
    before: [u64; 4],
    counts: impl Fn() -> [u64; 4],
    what: &str,
) -> (&'static str, [u64; 4]) {
    let total = |counts: [u64; 4]| counts.iter().sum::<u64>();
    let mut now = before;
    wait_for(what, DEADLINE, || {
        now = counts();
        Ok(total(now) > total(before))
    })
    .expect("it arrives");
    assert_eq!(total(now), total(before) + 1, "{what}: {before:?} {now:?}");
    let at = (0..4).find(|&at| now[at] > before[at]).expect("one more");
    (STATES[at], now)
}

#[test]
fn states_are_those_of_the_kernel() {
    let (kernel, linecard) = (silent_hosts(), silent_hosts());
    let counters: String = STATES.map(|state| format!("ct state {state} counter; ")).concat();
    let chain = format!("chain pre {{ type filter hook prerouting priority 0; {counters}}}; ");
    nft(&kernel.router, &[&format!("table ip reference {{ {chain}}}")]);
    // As Linecard's default.
    kernel.router.sysctl("net.netfilter.nf_conntrack_tcp_loose", "0").expect("conntrack is there");

    let rule = |state| {
        format!("{{ name = \"{state}\", match = \"ipv4 state {state}\", action = \"continue\" }}")
    };
    let rules = STATES.map(rule).join(", ");
    let filter =
        format!("[[filter]]\nname = \"states\"\ndefault = \"accept\"\nrules = [{rules}]\n");
    let options =
        linecard.router_ports().iter().fold(
            Options::of_router(&linecard, PortMode::Native).tables(&filter),
            |options, port| options.port_keys(port.interface, "filter_in = \"states\"\n"),
        );
    let daemon = Daemon::start(&linecard.router, &options);
    let address = IpAddr::from(linecard.path_a.far.ipv4.addr());
    daemon.wait_neighbour(linecard.path_a.near.interface, address, true);

    let sockets = |topology: &RouterTopology| {
        let open =
            |namespace, interface| FrameSocket::open(namespace, interface).expect("a socket");
        let RouterTopology { client, server, client_link, path_a, .. } = topology;
        [open(client, client_link.near.interface), open(server, path_a.far.interface)]
    };
    let (kernel_sockets, linecard_sockets) = (sockets(&kernel), sockets(&linecard));
    let (mut kernel_before, mut linecard_before) =
        (kernel_counts(&kernel), linecard_counts(&daemon));
    let mut differences = Vec::new();
    for (description, from, upper) in story() {
        let side = usize::from(from == 's');
        kernel_sockets[side].send(&frame(&kernel, from, &upper)).expect("it is sent");
        linecard_sockets[side].send(&frame(&linecard, from, &upper)).expect("it is sent");
        let of_kernel = next_state(kernel_before, || kernel_counts(&kernel), description);
        let of_linecard = next_state(linecard_before, || linecard_counts(&daemon), description);
        (kernel_before, linecard_before) = (of_kernel.1, of_linecard.1);
        if of_kernel.0 != of_linecard.0 {
            differences.push(format!(
                "{description}: {} in the kernel, {} here",
                of_kernel.0, of_linecard.0
            ));
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
    assert!(kernel_before.iter().all(|count| *count > 0), "each state occurs: {kernel_before:?}");
    daemon.assert_books_balance();
}
