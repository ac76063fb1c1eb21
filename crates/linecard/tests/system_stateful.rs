//! Stateful filters under real traffic: clients behind the router talk to servers, nobody else does, and what a
//! scanner or a flood sends does not change that.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use common::traffic::{PORT, load, send_all, sink, wait_reachable};
use common::{DEADLINE, Daemon, Options, PortMode, resolved_topology, run_in, text};
use linecard_lab::{
    FrameSocket, Hop, Namespace, PingOptions, ProbeKind, RouterOptions, RouterTopology,
    TcpDirection, TcpRun, TcpTransfer, TracerouteOptions, ping, traceroute, wait_for,
};
use linecard_observe::{ConnectionQuery, ConnectionSummary, ConnectionsReport};
use linecard_packet::DropReason;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Tcp};
use linecard_wire::tcp::Flags;

/// For what should not happen.
const A_MOMENT: Duration = Duration::from_millis(500);
/// SYNs of a flood that are to be tracked, and how many are sent at once: less than a ring holds.
const FLOOD_CONNECTIONS: u64 = 20_000;
const FLOOD_FRAMES: u16 = 500;
const FLOOD_ROUNDS_MAX: u16 = 1_000;

/// Behind the router, hosts may begin; from outside come answers. The client is inside.
const RULES: &str = "{ name = \"known\", match = \"state {established, related}\", action = \"accept\" },\n\
                     { name = \"invalid\", match = \"state invalid\", action = \"drop\" },\n";

/// The filter stands where the server's packets come in, on both paths.
fn options(topology: &RouterTopology, mode: PortMode, connections: &str) -> Options {
    let filter = format!(
        "[connections]\n{connections}\n[[filter]]\nname = \"outside\"\ndefault = \"drop\"\nrules = [{RULES}]\n"
    );
    let [_, path_a, path_b] = topology.router_ports();
    Options::of_router(topology, mode)
        .tables(&filter)
        .port_keys(path_a.interface, "filter_in = \"outside\"\n")
        .port_keys(path_b.interface, "filter_in = \"outside\"\n")
}

fn connections(daemon: &Daemon, state: &str) -> ConnectionsReport {
    let query = ConnectionQuery { state: Some(state.to_owned()), ..ConnectionQuery::default() };
    daemon.client().connections_up_to(query, 10_000).expect("the daemon answers")
}

fn summary(daemon: &Daemon) -> ConnectionSummary {
    let query = ConnectionQuery { limit: 0, ..ConnectionQuery::default() };
    let report = daemon.client().connections(&query).expect("the daemon answers");
    report.summary.expect("connections are tracked")
}

fn counter(daemon: &Daemon, name: &str) -> u64 {
    summary(daemon).counters[name]
}

fn rule(daemon: &Daemon, name: &str) -> u64 {
    let filters = daemon.client().filters().expect("the daemon answers").filters;
    let rules = &filters[0].rules;
    rules.iter().find(|rule| rule.name == name).expect("there is such a rule").packets
}

const PORTS_SCANNED: u16 = 50;

fn tcp(topology: &RouterTopology, ipv6: bool, direction: TcpDirection) -> TcpTransfer {
    TcpTransfer {
        direction,
        duration_max: 4 * DEADLINE,
        stall_max: DEADLINE,
        ..TcpTransfer::to(SocketAddr::new(topology.server_address(ipv6), 0))
    }
}

/// Waits until so many bytes more have come through.
fn goes_on(run: &TcpRun, what: &str) {
    let goal = run.received() + 1_000_000;
    wait_for(what, DEADLINE, || Ok(run.received() >= goal)).expect("TCP flows");
}

/// ICMP, UDP and TCP of both families begin at the client; what the server begins goes nowhere.
fn clients_are_answered_and_nobody_else(mode: PortMode, queues: u32) {
    let topology = RouterOptions { queues, permanent_neighbours: true, ..RouterOptions::default() };
    let topology = RouterTopology::new(&topology).expect("a topology");
    let daemon = Daemon::start(&topology.router, &options(&topology, mode, ""));
    for ipv6 in [false, true] {
        wait_reachable(&topology, &daemon, ipv6);
        // No sink: the server says "port unreachable", which is related.
        let before = counter(&daemon, "packets_related");
        let trace = TracerouteOptions { kind: ProbeKind::Udp, ..TracerouteOptions::default() };
        let address = topology.server_address(ipv6);
        let hops = traceroute(&topology.client, address, &trace).expect("a raw socket");
        assert!(hops.last().is_some_and(Hop::is_destination), "{hops:?}");
        assert!(counter(&daemon, "packets_related") > before);

        let run = tcp(&topology, ipv6, TcpDirection::Download);
        let run = run.start(&topology.client, &topology.server).expect("a connection");
        goes_on(&run, "TCP through the filter");
        let client = topology.client_address(ipv6);
        let listed = connections(&daemon, "established").connections;
        let flow = listed.iter().find(|it| it.source == client && it.protocol == "tcp");
        let flow = flow.unwrap_or_else(|| panic!("{listed:?}"));
        assert_eq!(flow.destination, address);
        assert!(flow.timeout_seconds > 431_990 && flow.idle_seconds < 10, "{flow:?}");
        let report = run.stop().expect("the stream ends in good order");
        assert_eq!(report.chunks_spoilt, 0);

        // The other way round: nothing begins.
        let before = daemon.dropped(DropReason::Filtered);
        let ping_options = PingOptions { count: 1, timeout: A_MOMENT, ..PingOptions::default() };
        let asked = ping(&topology.server, client, &ping_options).expect("an ICMP socket");
        assert_eq!(asked.replies(), 0, "{asked:?}");
        let refused = topology.server.run(|| {
            let listener = topology.client.run(|| TcpListener::bind((client, 0)));
            let there = listener.and_then(|listener| listener.local_addr()).expect("a socket");
            TcpStream::connect_timeout(&there, A_MOMENT)
        });
        assert!(refused.is_err(), "{refused:?}");
        assert!(daemon.dropped(DropReason::Filtered) >= before + 2);
    }
    send_all(&topology, false, 4, 200);
    let unreplied = connections(&daemon, "unreplied").connections;
    let load = unreplied.iter().filter(|it| it.destination_port == Some(PORT));
    assert_eq!(load.count(), 4, "{unreplied:?}");
    let shown = text(&daemon.show(&["connections", "--state", "unreplied"]).stdout);
    assert!(shown.contains("room for") && shown.contains("unreplied"), "{shown}");
    assert_eq!(rule(&daemon, "invalid"), 0);
    daemon.assert_books_balance();
}

/// Scans find nothing, and leave nothing behind in the table.
#[test]
fn scans_find_nothing() {
    let topology = resolved_topology();
    let daemon = Daemon::start(&topology.router, &options(&topology, PortMode::Native, ""));
    wait_reachable(&topology, &daemon, false);
    let client = topology.client_address(false).to_string();
    let ports = format!("1-{PORTS_SCANNED}");
    let before = summary(&daemon).ipv4;
    for (scan, state) in [
        ("-sS", "filtered"),
        ("-sF", "open|filtered"),
        ("-sX", "open|filtered"),
        ("-sN", "open|filtered"),
        ("-sA", "filtered"),
        ("-sU", "open|filtered"),
    ] {
        let (new, invalid) = (rule(&daemon, "default"), rule(&daemon, "invalid"));
        let mut nmap = Command::new("nmap");
        nmap.args([scan, "-n", "-Pn", "--disable-arp-ping", "--max-retries", "0"]);
        nmap.args(["--max-rtt-timeout", "100ms", "-p", &ports, &client]);
        let output = run_in(&topology.server, nmap);
        let found = text(&output.stdout);
        let expected = format!("{PORTS_SCANNED} {state} ");
        assert!(found.contains(&expected), "{scan}: {found}{}", text(&output.stderr));
        let scanned = u64::from(PORTS_SCANNED);
        let (new, invalid) = (rule(&daemon, "default") - new, rule(&daemon, "invalid") - invalid);
        match scan {
            "-sS" | "-sU" => assert!(new >= scanned && invalid == 0, "{scan}: {new} {invalid}"),
            _ => assert!(invalid >= scanned && new == 0, "{scan}: {new} {invalid}"),
        }
    }
    assert!(summary(&daemon).ipv4 <= before, "what is refused leaves no trace");
    wait_reachable(&topology, &daemon, false);
    daemon.assert_books_balance();
}

/// A table much too small: SYNs take each other's place, and the flow that goes on stays.
#[test]
fn a_flood_of_syns_does_not_evict_what_is_established() {
    let topology = resolved_topology();
    let small = "connections_ipv4_max = 1024\nwhen_full = \"drop\"\n";
    let daemon = Daemon::start(&topology.router, &options(&topology, PortMode::Native, small));
    wait_reachable(&topology, &daemon, false);
    // The server's kernel would answer each SYN by a reset; nobody answers a flood's.
    nft(
        &topology.server,
        "table ip lab { chain input { type filter hook input priority 0; tcp dport 9 drop; }; }",
    );
    let run = tcp(&topology, false, TcpDirection::Upload);
    let run = run.start(&topology.client, &topology.server).expect("a connection");
    goes_on(&run, "TCP before the flood");
    let link = &topology.client_link;
    let socket = FrameSocket::open(&topology.client, link.near.interface).expect("a packet socket");
    let inserted = |daemon: &Daemon| counter(daemon, "inserted");
    // What TCP sends fills the rings too, so some of the flood is lost: more of it, until enough has come.
    let (before, mut rounds) = (inserted(&daemon), 0..FLOOD_ROUNDS_MAX);
    while inserted(&daemon) < before + FLOOD_CONNECTIONS {
        let round = rounds.next().expect("most of a flood comes through");
        let frames: Vec<Vec<u8>> = (0..FLOOD_FRAMES).map(|n| syn(&topology, round, n)).collect();
        let already = inserted(&daemon);
        // As many as the link's queue takes beside TCP's.
        assert!(socket.send_all(&frames).expect("some are sent") > 0);
        daemon.wait_for("some of the flood be tracked", |daemon| inserted(daemon) > already);
    }
    assert!(counter(&daemon, "evicted") >= FLOOD_CONNECTIONS - 2048);
    goes_on(&run, "TCP after the flood");
    let listed = connections(&daemon, "established").connections;
    assert!(listed.iter().any(|it| it.protocol == "tcp"), "{listed:?}");
    assert_eq!((counter(&daemon, "untracked"), rule(&daemon, "invalid")), (0, 0));
    assert_eq!(
        daemon.dropped(DropReason::Filtered),
        0,
        "no packet of the flow was taken for another's"
    );
    assert_eq!(daemon.dropped(DropReason::ConnectionTableFull), 0);
    let report = run.stop().expect("the stream ends in good order");
    assert_eq!(report.chunks_spoilt, 0);
}

/// One of a flood, each of another source.
fn syn(topology: &RouterTopology, round: u16, number: u16) -> Vec<u8> {
    let link = &topology.client_link;
    let (router, client) = (link.far.mac, link.near.mac);
    let server = match topology.server_address(false) {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("IPv4 was asked for"),
    };
    let source = Ipv4Addr::from([192, 0, 2, 10 + (number % 200) as u8]);
    let port = 1024 + round * (FLOOD_FRAMES / 200 + 1) + number / 200;
    PacketBuilder::new()
        .ethernet(MacAddress::new(router), MacAddress::new(client))
        .ipv4(Ipv4::new(source, server))
        .tcp(Tcp { flags: Flags::SYN, sequence_number: 7, ..Tcp::new(port, 9) })
        .build()
}

#[test]
fn a_source_begins_as_many_as_it_may_and_a_reload_gives_it_more() {
    let topology = resolved_topology();
    let limit = |limit| {
        options(&topology, PortMode::Native, &format!("connections_per_source_max = {limit}\n"))
    };
    let mut daemon = Daemon::start(&topology.router, &limit(20));
    wait_reachable(&topology, &daemon, false);
    let begun = summary(&daemon).ipv4 as u64;
    let all = load(&topology, false, 50, 50);
    let sent = |what: &str| {
        let sink = sink(&topology, false);
        let sent = all.start(&topology.client).expect("a load").join();
        assert_eq!((sent.packets, sent.failures), (50, 0), "{what}");
        sink
    };
    let came = sent("beyond the limit");
    daemon.assert_count("packets over the limit", 50 + begun - 20, |it| {
        it.dropped(DropReason::ConnectionLimit)
    });
    came.wait_packets(20 - begun, DEADLINE);
    assert_eq!(came.stop().packets, 20 - begun);
    assert_eq!(counter(&daemon, "limited_by_source"), 50 + begun - 20);

    daemon.configure(&limit(1000));
    let report = daemon.client().reload().expect("it is right");
    assert!(report.needs_restart.is_empty() && report.changed_filters.is_empty(), "{report:?}");
    assert_eq!(report.changed_sections, ["[connections]"]);
    let came = sent("below the limit");
    came.wait_packets(50, DEADLINE);
    assert_eq!(came.stop().packets, 50);
    assert_eq!(counter(&daemon, "limited_by_source"), 50 + begun - 20, "no more than before");

    // The tables have the size that they have, and what is not counted cannot be limited.
    for other in [
        "connections_per_source_max = 0\n",
        "connections_per_source_max = 9\nconnections_ipv6_max = 5\n",
    ] {
        daemon.configure(&options(&topology, PortMode::Native, other));
        let report = daemon.client().reload().expect("it is right");
        assert!(report.needs_restart.iter().any(|it| it.contains("[connections]")), "{report:?}");
    }
    assert_eq!(summary(&daemon).per_source_max, 1000);
    daemon.assert_books_balance();
}

#[test]
fn connections_survive_a_reload_of_filters() {
    let topology = resolved_topology();
    let with = |more: &str| {
        let [_, a, b] = topology.router_ports();
        Options::of_router(&topology, PortMode::Native)
            .tables(&format!(
                "[[filter]]\nname = \"outside\"\ndefault = \"drop\"\nrules = [{more}{RULES}]\n"
            ))
            .port_keys(a.interface, "filter_in = \"outside\"\n")
            .port_keys(b.interface, "filter_in = \"outside\"\n")
    };
    let mut daemon = Daemon::start(&topology.router, &with(""));
    wait_reachable(&topology, &daemon, false);
    let run = tcp(&topology, false, TcpDirection::Download);
    let run = run.start(&topology.client, &topology.server).expect("a connection");
    for number in 0..5 {
        goes_on(&run, "TCP from one reload to the next");
        let more = format!(
            "{{ name = \"more-{number}\", match = \"udp destination-port {number}\", action = \"drop\" }},"
        );
        daemon.configure(&with(&more));
        assert_eq!(daemon.client().reload().expect("it is right").changed_filters, ["outside"]);
    }
    goes_on(&run, "TCP after all");
    run.stop().expect("the stream ends in good order");
    assert_eq!((rule(&daemon, "invalid"), daemon.dropped(DropReason::Filtered)), (0, 0));

    // Without a rule that asks, there was no table to begin with.
    let plain = "{ name = \"all\", match = \"any\", action = \"accept\" }";
    let [port, ..] = topology.router_ports();
    let without = Options::of_router(&topology, PortMode::Native)
        .tables(&format!("[[filter]]\nname = \"plain\"\ndefault = \"drop\"\nrules = [{plain}]\n"))
        .port_keys(port.interface, "filter_in = \"plain\"\n");
    drop(daemon);
    let mut daemon = Daemon::start(&topology.router, &without);
    assert_eq!(connections(&daemon, ""), ConnectionsReport::default());
    let shown = text(&daemon.show(&["connections"]).stdout);
    assert!(shown.starts_with("no connections are tracked"), "{shown}");
    daemon.configure(&with(""));
    let report = daemon.client().reload().expect("it is right");
    assert!(report.needs_restart.iter().any(|it| it.contains("`state`")), "{report:?}");
}

/// The table is the process's: it begins empty after a crash, and who takes connections up in their middle goes on.
#[test]
fn established_flows_survive_a_crash_only_where_they_may_be_taken_up() {
    for is_loose in [true, false] {
        let topology = resolved_topology();
        let options = options(&topology, PortMode::Native, &format!("tcp_loose = {is_loose}\n"));
        let mut daemon = Daemon::start(&topology.router, &options);
        wait_reachable(&topology, &daemon, false);
        let run = tcp(&topology, false, TcpDirection::Upload);
        let run = run.start(&topology.client, &topology.server).expect("a connection");
        goes_on(&run, "TCP through the filter");
        daemon.kill();
        goes_on(&run, "TCP through the kernel, which filters nothing");
        daemon.start_again();
        if is_loose {
            let before = daemon.total().forwarded_bytes;
            daemon.wait_for("TCP through Linecard after a crash", |daemon| {
                daemon.total().forwarded_bytes > before + 1_000_000
            });
            goes_on(&run, "TCP goes on");
            run.stop().expect("the stream ends in good order");
        } else {
            // A sender that gets none tries again ever more rarely: few may come in a while.
            daemon.wait_for("acknowledgements be refused", |daemon| rule(daemon, "invalid") >= 3);
            assert!(
                connections(&daemon, "established")
                    .connections
                    .iter()
                    .all(|it| it.protocol != "tcp")
            );
            drop(run);
        }
        daemon.assert_books_balance_now();
    }
}

fn nft(namespace: &Namespace, rules: &str) {
    let mut command = Command::new("nft");
    command.arg(rules);
    let output = run_in(namespace, command);
    assert!(output.status.success(), "nft {rules}: {}", text(&output.stderr));
}

mod ports {
    use super::{PortMode, clients_are_answered_and_nobody_else};

    #[test]
    fn clients_are_answered_on_native_xdp() {
        clients_are_answered_and_nobody_else(PortMode::Native, 1);
    }

    /// Which worker gets a direction is the receive hashing's affair: they share the table.
    #[test]
    fn clients_are_answered_by_two_workers() {
        clients_are_answered_and_nobody_else(PortMode::Native, 2);
    }

    #[test]
    fn clients_are_answered_on_packet_sockets() {
        clients_are_answered_and_nobody_else(PortMode::Packet, 1);
    }

    /// With ports that could redirect in the kernel the route cache is off: the tracker must see each packet.
    #[test]
    fn nothing_goes_round_the_tracker_by_the_route_cache() {
        clients_are_answered_and_nobody_else(PortMode::Redirected, 1);
    }
}
