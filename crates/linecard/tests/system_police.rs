//! Policers under real traffic: what is above the rate is dropped and counted by colour, what is within it
//! arrives, and a reload leaves buckets and counters alone.
//!
//! A rate of 8 b/s gives a packet of 92 bytes in 92 seconds: no test lasts so long, so what passes is the
//! burst, to the packet.

mod common;

use std::net::SocketAddr;
use std::time::Instant;

use common::traffic::{PORT, load, probe, wait_reachable};
use common::{DEADLINE, Daemon, LINECARD, Options, PortMode, iperf3, text};
use linecard_lab::{FrameSocket, Namespace, RouterOptions, RouterTopology, UdpLoad, UdpSink};
use linecard_observe::PolicerReport;
use linecard_packet::DropReason;

/// Bytes of the IPv4 packets of a load.
const PACKET_BYTES: u64 = 64 + 8 + 20;
/// The same of IPv6.
const PACKET_BYTES_IPV6: u64 = 64 + 8 + 40;

fn topology() -> RouterTopology {
    let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
    RouterTopology::new(&options).expect("a topology")
}

/// A policer that lets so many packets of a load pass, and then none.
fn burst_of(name: &str, packets: u64, keys: &str) -> String {
    let burst_bytes = packets * PACKET_BYTES;
    format!(
        "[[police]]\nname = \"{name}\"\nrate_bits_per_second = 8\nburst_bytes = {burst_bytes}\n{keys}\n"
    )
}

/// A filter that brings all UDP to a policer.
fn filter(policer: &str) -> String {
    format!(
        "[[filter]]\nname = \"edge\"\ndefault = \"accept\"\n\
         rules = [{{ name = \"udp\", match = \"udp\", action = \"accept\", police = \"{policer}\" }}]\n"
    )
}

/// These policers, and the filter at the client's port.
fn options(topology: &RouterTopology, mode: PortMode, policers: &str, name: &str) -> Options {
    Options::of_router(topology, mode)
        .tables(&format!("{policers}{}", filter(name)))
        .port_keys(topology.router_ports()[0].interface, "filter_in = \"edge\"\n")
}

fn policer(daemon: &Daemon, title: &str) -> PolicerReport {
    let policers = daemon.client().policers().expect("the daemon answers").policers;
    let found = policers.iter().find(|policer| policer.title() == title);
    found.unwrap_or_else(|| panic!("no policer {title} in {policers:?}")).clone()
}

/// Packets that it has metered.
fn metered(policer: &PolicerReport) -> u64 {
    policer.green_packets + policer.yellow_packets + policer.red_packets
}

/// Green and red packets, when all of `expected` are metered.
fn colours(daemon: &Daemon, title: &str, expected: u64) -> (u64, u64) {
    daemon.assert_count("packets metered", expected, |daemon| metered(&policer(daemon, title)));
    let policer = policer(daemon, title);
    (policer.green_packets, policer.red_packets)
}

/// Sends a load from the client to its end; returns who receives it, for the refusal of a datagram that nobody
/// wants would fail the next one.
fn send(topology: &RouterTopology, load: &UdpLoad) -> UdpSink {
    send_between((&topology.client, &topology.server), load)
}

fn send_between((from, to): (&Namespace, &Namespace), load: &UdpLoad) -> UdpSink {
    let sink = UdpSink::start(to, &load.destinations).expect("a sink");
    let sent = load.start(from).expect("a load").join();
    assert_eq!((sent.packets, sent.failures), (load.packets_max, 0), "{sent:?}");
    sink
}

fn the_burst_passes_and_no_more(mode: PortMode) {
    let topology = topology();
    let options = options(&topology, mode, &burst_of("load", 500, ""), "load");
    let daemon = Daemon::start(&topology.router, &options);
    wait_reachable(&topology, &daemon, false);
    let sink = send(&topology, &load(&topology, false, 4, 2_000));
    assert_eq!(colours(&daemon, "load", 2_000), (500, 1_500));
    assert!(sink.wait_packets(500, DEADLINE), "{:?}", sink.report());
    assert_eq!(sink.stop().packets, 500, "what is green arrives, what is red does not");
    daemon.assert_count("packets policed", 1_500, |it| it.dropped(DropReason::Policed));

    let counted = policer(&daemon, "load");
    assert_eq!((counted.dropped_packets, counted.marked_packets), (1_500, 0));
    assert_eq!(counted.green_bytes, 500 * PACKET_BYTES);
    assert_eq!(counted.red_bytes, 1_500 * PACKET_BYTES);
    let service = topology.server_address(false);
    assert!(probe(&topology, service, DEADLINE).is_reply(), "others are not policed");
    daemon.assert_books_balance();

    let shown = daemon.show_json(&["policers", "load"]);
    assert_eq!(shown["policers"][0]["green_packets"], 500);
    let shown = text(&daemon.show(&["policers"]).stdout);
    assert!(shown.contains("load") && shown.contains("8 b/s"), "{shown}");
}

#[test]
fn the_burst_passes_on_native_xdp() {
    the_burst_passes_and_no_more(PortMode::Native);
}

#[test]
fn the_burst_passes_on_packet_sockets() {
    the_burst_passes_and_no_more(PortMode::Packet);
}

/// With ports that could redirect in the kernel, a policer keeps all packets with the worker.
#[test]
fn nothing_goes_round_a_policer_by_the_route_cache() {
    the_burst_passes_and_no_more(PortMode::Redirected);
}

#[test]
fn a_port_brings_all_its_packets_to_its_policer() {
    let topology = topology();
    let interface = topology.router_ports()[0].interface;
    // Packets of both families, and two of IPv6 are more bytes than two of IPv4.
    let burst = burst_of("all", 0, "").replace("burst_bytes = 0", "burst_bytes = 1000");
    let options = Options::of_router(&topology, PortMode::Native)
        .tables(&burst)
        .port_keys(interface, "police_in = \"all\"\n");
    let daemon = Daemon::start(&topology.router, &options);
    send(&topology, &load(&topology, false, 1, 5));
    assert_eq!(colours(&daemon, "all", 5), (5, 0));
    send(&topology, &load(&topology, true, 1, 20));
    let left = (1000 - 5 * PACKET_BYTES) / PACKET_BYTES_IPV6;
    assert_eq!(colours(&daemon, "all", 25), (5 + left, 20 - left));
    assert_eq!(policer(&daemon, "all").input_ports, [interface]);
    daemon.assert_books_balance();
}

#[test]
fn yellow_packets_arrive_with_their_mark() {
    let topology = topology();
    let excess = format!("excess_burst_bytes = {}\nyellow_dscp = \"af12\"", 3 * PACKET_BYTES);
    let options = options(&topology, PortMode::Native, &burst_of("mark", 2, &excess), "mark");
    let daemon = Daemon::start(&topology.router, &options);
    let server = &topology.path_a.far;
    let capture = FrameSocket::open(&topology.server, server.interface).expect("a socket");
    let destination = SocketAddr::new(server.ipv4.addr().into(), PORT);
    let load = UdpLoad { destinations: vec![destination], ..load(&topology, false, 1, 8) };
    send(&topology, &load);
    let is_load = |frame: &[u8]| {
        frame.len() == 14 + PACKET_BYTES as usize && frame[36..38] == PORT.to_be_bytes()
    };
    let frames = capture.collect(5, DEADLINE, |frame| is_load(&frame.bytes)).expect("frames");
    let dscps: Vec<u8> = frames.iter().map(|frame| frame.bytes[15] >> 2).collect();
    assert_eq!(dscps, [0, 0, 12, 12, 12], "two green, three yellow, the others are red");
    daemon.assert_count("packets metered", 8, |daemon| metered(&policer(daemon, "mark")));
    let counted = policer(&daemon, "mark");
    assert_eq!((counted.green_packets, counted.yellow_packets, counted.red_packets), (2, 3, 3));
    assert_eq!((counted.marked_packets, counted.dropped_packets), (3, 3));
    daemon.assert_books_balance();
}

#[test]
fn each_source_has_a_rate_of_its_own() {
    let topology = topology();
    let per_source = burst_of("each", 100, "per = \"source-prefix/32/64\"");
    let options = options(&topology, PortMode::Native, &per_source, "each");
    let daemon = Daemon::start(&topology.router, &options);
    let client = &topology.client_link.near;
    let other = "192.0.2.77/24".parse().expect("an address");
    topology.client.add_address(client.interface, other).expect("an address more");
    let first = load(&topology, false, 1, 300);
    let second = UdpLoad { source: Some(other.addr()), ..first.clone() };
    send(&topology, &first);
    assert_eq!(colours(&daemon, "each", 300), (100, 200));
    send(&topology, &second);
    assert_eq!(colours(&daemon, "each", 600), (200, 400), "the other one has its own burst");
    let report = daemon.client().policers().expect("the daemon answers");
    assert_eq!(report.sources.places_taken, 2);
    assert_eq!(report.policers[0].sources_refused_packets, 0);
    daemon.assert_books_balance();
}

#[test]
fn each_port_has_a_rate_of_its_own() {
    let topology = topology();
    let [client, a, b] = topology.router_ports().map(|port| port.interface);
    let policers = burst_of("each", 100, "per = \"port\"");
    let options = options(&topology, PortMode::Native, &policers, "each")
        .port_keys(a, "filter_in = \"edge\"\n")
        .port_keys(b, "filter_in = \"edge\"\n");
    let daemon = Daemon::start(&topology.router, &options);
    send(&topology, &load(&topology, false, 1, 300));
    let at = |port: &str| format!("each/{port}");
    assert_eq!(colours(&daemon, &at(client), 300), (100, 200));
    // The other way, by the one of the two paths that the flow takes.
    let destination = SocketAddr::new(topology.client_address(false), PORT);
    let back = UdpLoad {
        source: Some(topology.server_address(false)),
        destinations: vec![destination],
        ..load(&topology, false, 1, 300)
    };
    send_between((&topology.server, &topology.client), &back);
    let both = |daemon: &Daemon| [a, b].map(|port| metered(&policer(daemon, &at(port))));
    daemon.assert_count("packets back", 300, |daemon| both(daemon).iter().sum());
    let [by_a, _] = both(&daemon);
    let (used, unused) = if by_a > 0 { (a, b) } else { (b, a) };
    assert_eq!(colours(&daemon, &at(used), 300), (100, 200));
    assert_eq!(colours(&daemon, &at(unused), 0), (0, 0));
    assert_eq!(colours(&daemon, &at(client), 300), (100, 200), "as before");
    daemon.assert_books_balance();
}

#[test]
fn workers_share_a_rate() {
    let options = RouterOptions { queues: 2, permanent_neighbours: true, ..Default::default() };
    let topology = RouterTopology::new(&options).expect("a topology");
    let options = self::options(&topology, PortMode::Native, &burst_of("load", 800, ""), "load")
        .tables("[workers]\ncount_max = 2\n");
    let daemon = Daemon::start(&topology.router, &options);
    send(&topology, &load(&topology, false, 32, 3_000));
    let (green, red) = colours(&daemon, "load", 3_000);
    // Seven eighths of it at the least: workers may have credit left in their hands.
    assert!((700..=800).contains(&green), "{green} green, {red} red");
    daemon.assert_count("packets policed", red, |it| it.dropped(DropReason::Policed));
    daemon.assert_books_balance();
}

#[test]
fn a_reload_leaves_buckets_and_counters_alone() {
    let topology = topology();
    let options = |policers: &str, name| options(&topology, PortMode::Native, policers, name);
    let before = burst_of("p", 100, "");
    let mut daemon = Daemon::start(&topology.router, &options(&before, "p"));
    let load = load(&topology, false, 1, 200);
    send(&topology, &load);
    assert_eq!(colours(&daemon, "p", 200), (100, 100));

    // Another one is put before it, and its burst is larger now: what is in the bucket stays.
    let more = burst_of("a", 7, "") + &burst_of("p", 150, "");
    daemon.configure(&options(&more, "p"));
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(report.changed_policers, ["a", "p"]);
    assert_eq!((report.changed_filters.len(), report.needs_restart.len()), (0, 0), "{report:?}");
    assert_eq!(colours(&daemon, "p", 200), (100, 100), "the counts go on");
    send(&topology, &load);
    assert_eq!(colours(&daemon, "p", 400), (100, 300), "the bucket is still empty");
    assert_eq!(colours(&daemon, "a", 0), (0, 0));

    // The rule goes to the other one.
    daemon.configure(&options(&more, "a"));
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(
        (&report.changed_filters[..], report.changed_policers.len()),
        (&["edge".to_owned()][..], 0)
    );
    daemon.wait_for("the new rule in force", |daemon| {
        send(&topology, &UdpLoad { packets_max: 1, ..load.clone() });
        metered(&policer(daemon, "a")) > 0
    });
    send(&topology, &load);
    daemon.wait_for("all of the load", |daemon| metered(&policer(daemon, "a")) >= 201);
    assert_eq!(policer(&daemon, "a").green_packets, 7);

    // Of another unit it is another policer; and what is gone is gone.
    let packets =
        "[[police]]\nname = \"a\"\nrate_packets_per_second = 1000000\nburst_packets = 1000000\n";
    daemon.configure(&options(packets, "a"));
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(
        (report.changed_policers, report.removed_policers),
        (vec!["a".to_owned()], vec!["p".to_owned()])
    );
    let policers = daemon.client().policers().expect("the daemon answers").policers;
    assert_eq!((policers.len(), metered(&policers[0])), (1, 0), "{policers:?}");
    daemon.assert_books_balance();
}

/// While there is no route cache, which packets would go by.
#[test]
fn a_reload_puts_a_policer_at_a_port_that_had_none() {
    let topology = topology();
    let interface = topology.router_ports()[0].interface;
    let plain = Options::of_router(&topology, PortMode::Native)
        .tables("[route_cache]\nmode = \"off\"\n")
        .tables(&burst_of("p", 10, ""));
    let mut daemon = Daemon::start(&topology.router, &plain);
    let policed = plain.port_keys(interface, "police_in = \"p\"\nmartians = \"off\"\n");
    daemon.configure(&policed);
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(
        (&report.changed_ports[..], report.needs_restart.len()),
        (&[interface.to_owned()][..], 0)
    );
    daemon.wait_for("the policer in force", |daemon| {
        send(&topology, &load(&topology, false, 1, 1));
        metered(&policer(daemon, "p")) > 0
    });
    send(&topology, &load(&topology, false, 1, 50));
    daemon.wait_for("all of the load", |daemon| metered(&policer(daemon, "p")) >= 51);
    assert_eq!(policer(&daemon, "p").green_packets, 10);
    daemon.assert_books_balance();
}

/// iperf3 through a policer of 8 Mb/s: never more than the burst and what the time gives, and not much less.
fn iperf3_gets_the_rate(protocol: &str, keys: &[&str], least_part: f64) {
    const RATE_BITS_PER_SECOND: f64 = 8e6;
    const BURST_BYTES: u64 = 60_000;
    let topology = topology();
    let policers = format!(
        "[[police]]\nname = \"load\"\nrate_bits_per_second = 8000000\nburst_bytes = {BURST_BYTES}\n"
    );
    // iperf3 has a TCP connection besides the load, from another port.
    let options = options(&topology, PortMode::Native, &policers, "load");
    let udp = "match = \"udp\"";
    let options =
        Options { tables: options.tables.replace(udp, &udp.replace("udp", protocol)), ..options };
    let daemon = Daemon::start(&topology.router, &options);
    let service = topology.server_address(false);
    let _server = iperf3::server(&topology.server, Some(service));
    let started = Instant::now();
    let report = iperf3::run(&topology, service, keys);
    let counted = policer(&daemon, "load");
    let seconds = started.elapsed().as_secs_f64();
    let green_bits = counted.green_bytes as f64 * 8.0;
    let most = BURST_BYTES as f64 * 8.0 + RATE_BITS_PER_SECOND * seconds;
    assert!(green_bits <= most, "{green_bits} bits of {most} in {seconds} s");
    // iperf3 sends for two seconds.
    let least = least_part * RATE_BITS_PER_SECOND * 2.0;
    assert!(green_bits >= least, "{green_bits} bits, at least {least}: {report}");
    assert!(counted.red_packets > 0, "more was offered: {counted:?}");
    let sum = if protocol == "tcp" { "sum_received" } else { "sum" };
    let shown = iperf3::bytes(&report, sum);
    println!("{protocol}: {shown} bytes by iperf3, {counted:?} in {seconds:.2} s");
    if protocol == "tcp" {
        assert!(shown <= counted.green_bytes, "{shown} bytes arrived: {counted:?}");
    }
    daemon
        .assert_count("packets policed", counted.red_packets, |it| it.dropped(DropReason::Policed));
    daemon.assert_books_balance();
}

#[test]
fn iperf3_gets_the_rate_by_udp() {
    iperf3_gets_the_rate("udp", &["--udp", "--bitrate", "24M", "--length", "1000"], 0.7);
}

#[test]
fn iperf3_gets_the_rate_by_tcp() {
    // How near a sender comes to a policed rate is its congestion control's affair.
    iperf3_gets_the_rate("tcp", &[], 0.1);
}

/// `linecard explain` names the policer that a packet meets, and no bucket is touched by it.
#[test]
fn an_imagined_packet_meets_the_policer() {
    let topology = topology();
    let interface = topology.router_ports()[0].interface;
    let policers = burst_of("each", 1, "per = \"port\"");
    let options = options(&topology, PortMode::Native, &policers, "each");
    let daemon = Daemon::start(&topology.router, &options);
    let (client, service) = (topology.client_address(false), topology.server_address(false));
    let words = format!("{client} → {service} udp/{PORT} in {interface}");
    let mut command = std::process::Command::new(LINECARD);
    let output = command.args(["explain", &words, "--socket"]).arg(daemon.socket()).output();
    let told = text(&output.expect("the binary was built").stdout);
    assert!(told.contains("to policer each\n"), "{told}");
    let title = format!("policer each/{interface}: green, if its bucket is full");
    assert!(told.contains(&title), "{told}");
    assert_eq!(metered(&policer(&daemon, &format!("each/{interface}"))), 0);
}
