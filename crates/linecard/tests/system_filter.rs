//! Filters under real traffic: what they drop is counted by rule and by reason, what they accept arrives,
//! and a reload changes rules without a packet lost or a count forgotten.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use common::traffic::{PORT, load, probe, send_all, sink, wait_reachable};
use common::{DEADLINE, Daemon, Options, PortMode};
use ipnet::Ipv4Net;
use linecard_lab::{Direction, FrameSocket, RouterOptions, RouterTopology, UdpLoad, UdpSink};
use linecard_observe::{FilterReport, RuleReport};
use linecard_packet::{DropReason, PuntReason};
use linecard_wire::builder::{Extension, Ipv4, Ipv6, PacketBuilder, Udp};

const PACKETS: u64 = 2_000;

fn topology() -> RouterTopology {
    let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
    RouterTopology::new(&options).expect("a topology")
}

/// A filter of the client's port, with these rules.
fn options(topology: &RouterTopology, mode: PortMode, hook: &str, rules: &str) -> Options {
    let filter = format!("[[filter]]\nname = \"edge\"\ndefault = \"accept\"\nrules = [{rules}]\n");
    Options::of_router(topology, mode)
        .tables(&filter)
        .port_keys(topology.router_ports()[0].interface, &format!("{hook} = \"edge\"\n"))
}

fn filter(daemon: &Daemon) -> FilterReport {
    let mut filters = daemon.client().filters().expect("the daemon answers").filters;
    assert_eq!(filters.len(), 1);
    filters.remove(0)
}

fn rule(daemon: &Daemon, name: &str) -> RuleReport {
    let rules = filter(daemon).rules;
    let found = rules.iter().find(|rule| rule.name == name);
    found.unwrap_or_else(|| panic!("no rule {name} in {rules:?}")).clone()
}

/// Sends a load that the filter drops: nothing of it arrives, all of it is counted.
fn send_in_vain(topology: &RouterTopology, daemon: &Daemon, ipv6: bool) {
    let before = daemon.dropped(DropReason::Filtered);
    let sink = sink(topology, ipv6);
    let sent = load(topology, ipv6, 4, PACKETS).start(&topology.client).expect("a load").join();
    assert_eq!((sent.packets, sent.failures), (PACKETS, 0));
    daemon
        .assert_count("packets filtered", before + PACKETS, |it| it.dropped(DropReason::Filtered));
    assert_eq!(sink.stop().packets, 0);
}

fn dropped_traffic_is_counted_by_rule_and_reason(mode: PortMode) {
    let topology = topology();
    let service = topology.server_address(false);
    let rules = format!(
        "{{ name = \"ping\", match = \"icmp icmp-type echo-request\", action = \"accept\" }},\n\
         {{ name = \"load\", match = \"udp destination {service} destination-port {PORT}\", \
         action = \"drop\" }},\n\
         {{ name = \"load6\", match = \"ipv6 udp destination-port 1-{PORT} length 49-1500\", \
         action = \"drop\" }},"
    );
    let daemon = Daemon::start(&topology.router, &options(&topology, mode, "filter_in", &rules));
    wait_reachable(&topology, &daemon, false);
    send_in_vain(&topology, &daemon, false);
    let counted = rule(&daemon, "load");
    assert_eq!(counted.packets, PACKETS);
    assert_eq!(counted.action, "drop");
    assert!(rule(&daemon, "ping").packets > 0, "{:?}", filter(&daemon));
    assert_eq!(rule(&daemon, "load6").packets, 0);

    send_in_vain(&topology, &daemon, true);
    assert_eq!(rule(&daemon, "load6").packets, PACKETS);
    assert!(probe(&topology, service, DEADLINE).is_reply(), "what is accepted goes on");
    daemon.assert_books_balance();

    let shown = daemon.show_json(&["filters", "edge"]);
    let ports = &shown["filters"][0]["input_ports"];
    assert_eq!(ports[0], topology.router_ports()[0].interface);
    // The rule says so itself, in the language that it is written in.
    assert_eq!(shown["filters"][0]["rules"][0]["match"], "icmp icmp-type echo-request");
}

#[test]
fn dropped_traffic_is_counted_on_native_xdp() {
    dropped_traffic_is_counted_by_rule_and_reason(PortMode::Native);
}

#[test]
fn dropped_traffic_is_counted_on_packet_sockets() {
    dropped_traffic_is_counted_by_rule_and_reason(PortMode::Packet);
}

/// With ports that could redirect in the kernel, a filter keeps all packets with the worker.
#[test]
fn nothing_goes_round_a_filter_by_the_route_cache() {
    dropped_traffic_is_counted_by_rule_and_reason(PortMode::Redirected);
}

#[test]
fn answers_are_filtered_where_they_leave() {
    let topology = topology();
    let rules = "{ name = \"pong\", match = \"icmp icmp-type echo-reply\", action = \"drop\" }";
    let options = options(&topology, PortMode::Native, "filter_out", rules);
    let daemon = Daemon::start(&topology.router, &options);
    let service = topology.server_address(false);
    daemon.wait_for("an answer meet the filter", |daemon| {
        let outcome = probe(&topology, service, std::time::Duration::from_millis(100));
        assert!(!outcome.is_reply(), "the answer came through");
        rule(daemon, "pong").packets > 0
    });
    daemon.assert_books_balance();
}

#[test]
fn a_reload_changes_rules_and_keeps_the_counts_of_those_that_stay() {
    let topology = topology();
    let interface = topology.router_ports()[0].interface;
    let count = "{ name = \"count\", match = \"udp\", action = \"continue\" }";
    let drop = "{ name = \"drop\", match = \"udp\", action = \"drop\" }";
    let before = options(&topology, PortMode::Native, "filter_in", count);
    let mut daemon = Daemon::start(&topology.router, &before);
    wait_reachable(&topology, &daemon, false);
    send_all(&topology, false, 4, PACKETS);
    assert_eq!(rule(&daemon, "count").packets, PACKETS);

    // A rule is put behind it, and one of another name in front.
    let other = "{ name = \"other\", match = \"tcp\", action = \"drop\" }";
    let rules = format!("{other}, {count}, {drop}");
    daemon.configure(&options(&topology, PortMode::Native, "filter_in", &rules));
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(report.changed_filters, ["edge"]);
    assert_eq!(rule(&daemon, "count").packets, PACKETS, "the count goes on");
    send_in_vain(&topology, &daemon, false);
    assert_eq!(rule(&daemon, "count").packets, 2 * PACKETS);
    assert_eq!(rule(&daemon, "drop").packets, PACKETS);

    // What is wrong is refused as a whole, with its place.
    let wrong =
        format!("{other}, {{ name = \"bad\", match = \"icmp source-port 1\", action = \"drop\" }}");
    daemon.configure(&options(&topology, PortMode::Native, "filter_in", &wrong));
    let error = daemon.client().reload().expect_err("ports of ICMP").to_string();
    assert!(error.contains("linecard.toml:"), "{error}");
    assert_eq!(filter(&daemon).rules.len(), 4, "three rules and the default");

    // What takes a restart changes nothing.
    let restart = before.clone().tables("[tables]\nroutes_ipv4_max = 5\n");
    daemon.configure(&restart);
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(report.needs_restart, ["[tables]"]);
    assert_eq!(filter(&daemon).rules.len(), 4, "{interface} keeps its filter");
    daemon.assert_books_balance();
}

/// UDP to a port of the server's, with options that do nothing or a hop-by-hop header that is padding.
fn with_options(topology: &RouterTopology, destination: IpAddr, port: u16) -> Vec<u8> {
    let near = &topology.client_link.near;
    let from = PacketBuilder::new().ethernet(topology.client_link.far.mac.into(), near.mac.into());
    let packet = match destination {
        IpAddr::V4(destination) => {
            let options = vec![1; 4];
            from.ipv4(Ipv4 { options, ..Ipv4::new(near.ipv4.addr(), destination) })
        }
        IpAddr::V6(destination) => from
            .ipv6(Ipv6::new(near.ipv6.addr(), destination))
            .extension(Extension::hop_by_hop(&[1, 4, 0, 0, 0, 0])),
    };
    packet.udp(Udp::new(4000, port)).payload(b"eighteen bytes of.").build()
}

/// Sends such packets to `PORT`, which a filter drops, and to the port behind it, which it accepts.
fn assert_options_are_filtered(topology: &RouterTopology, daemon: &Daemon) {
    let before = rule(daemon, "load").packets;
    // One path leads there, so that the packets are seen on it.
    let far = &topology.path_a.far;
    let services: [IpAddr; 2] = [far.ipv4.addr().into(), far.ipv6.addr().into()];
    let sink = UdpSink::start(&topology.server, &services.map(|it| SocketAddr::new(it, PORT)));
    let sink = sink.expect("a sink");
    let client = topology.client_link.near.interface;
    let client = FrameSocket::open(&topology.client, client).expect("a packet socket");
    let seen = FrameSocket::open(&topology.server, far.interface).expect("one");
    for destination in services {
        client.send(&with_options(topology, destination, PORT)).expect("sent");
        let accepted = with_options(topology, destination, PORT + 1);
        client.send(&accepted).expect("sent");
        let came = seen.receive_first(DEADLINE, |frame| {
            frame.direction == Direction::Received
                && frame.bytes.ends_with(&accepted[accepted.len() - 26..])
        });
        let came = came.expect("what is accepted goes on, by the kernel").bytes;
        assert_eq!(came.len(), accepted.len());
    }
    daemon.assert_count("packets by the rule", before + 2, |it| rule(it, "load").packets);
    daemon.assert_punted(PuntReason::Ipv4Options, 1);
    daemon.assert_punted(PuntReason::Ipv6HopByHop, 1);
    let came = sink.stop();
    assert_eq!((came.packets, came.foreign), (0, 0), "{came:?}");
    daemon.assert_books_balance();
}

fn options_lead_round_no_filter_of_an_input(mode: PortMode) {
    let topology = topology();
    let daemon =
        Daemon::start(&topology.router, &options(&topology, mode, "filter_in", &drop_load()));
    assert_options_are_filtered(&topology, &daemon);
}

fn drop_load() -> String {
    format!("{{ name = \"load\", match = \"udp destination-port {PORT}\", action = \"drop\" }}")
}

/// The first packets to a neighbour are the kernel's, and so are those with options: the filter of the port that
/// they would leave by is asked all the same.
fn the_kernel_forwards_nothing_round_the_filter_of_an_output(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let far = &topology.path_a.far;
    let [a, b, c, _] = far.ipv4.addr().octets();
    let host = Ipv4Addr::new(a, b, c, 100);
    let address = Ipv4Net::new_assert(host, far.ipv4.prefix_len());
    topology.server.add_address(far.interface, address.into()).expect("a new host");
    let mut options = options(&topology, mode, "filter_out", &drop_load());
    options.port_keys[0].0 = topology.path_a.near.interface.to_owned();
    let daemon = Daemon::start(&topology.router, &options);
    wait_reachable(&topology, &daemon, false);
    wait_reachable(&topology, &daemon, true);

    let sink = UdpSink::start(&topology.server, &[SocketAddr::new(host.into(), PORT)]);
    let sink = sink.expect("a sink");
    let packets = 100;
    let load = load(&topology, false, 1, packets);
    let load = UdpLoad { destinations: vec![SocketAddr::new(host.into(), PORT)], ..load };
    let sent = load.start(&topology.client).expect("a load").join();
    assert_eq!((sent.packets, sent.failures), (packets, 0));
    daemon.assert_count("packets by the rule", packets, |daemon| rule(daemon, "load").packets);
    assert!(probe(&topology, host.into(), DEADLINE).is_reply(), "what is accepted is resolved");
    assert_eq!(sink.stop().packets, 0);
    assert_options_are_filtered(&topology, &daemon);
}

/// Packets that the classifiers of all ports have left to the kernel for their options.
fn options_passed(daemon: &Daemon) -> u64 {
    let of = |name: &str| {
        ["ipv4_options", "ipv6_hop_by_hop"].map(|reason| daemon.passed(name, reason)).iter().sum()
    };
    daemon.ports().ports.iter().map(|port| -> u64 { of(&port.name) }).sum()
}

/// Sends packets that the filter would drop, and waits until the server has got them.
fn send_options_through(topology: &RouterTopology) {
    let far = &topology.path_a.far;
    let client = topology.client_link.near.interface;
    let client = FrameSocket::open(&topology.client, client).expect("a packet socket");
    let seen = FrameSocket::open(&topology.server, far.interface).expect("one");
    let services: [IpAddr; 2] = [far.ipv4.addr().into(), far.ipv6.addr().into()];
    for service in services {
        let packet = with_options(topology, service, PORT);
        client.send(&packet).expect("sent");
        let upper = &packet[packet.len() - 26..];
        let came = seen.receive_first(DEADLINE, |frame| {
            frame.direction == Direction::Received && frame.bytes.ends_with(upper)
        });
        came.unwrap_or_else(|error| panic!("{service}: {error}"));
    }
}

/// While no port has a service, packets with options are the kernel's; with the first filter they are judged,
/// though it comes by a reload, and what goes on without one goes through again.
fn options_are_judged_from_the_reload_on_that_brings_a_filter(mode: PortMode) {
    let topology = topology();
    let without = Options::of_router(&topology, mode);
    let with = options(&topology, mode, "filter_in", &drop_load());
    let mut daemon = Daemon::start(&topology.router, &without);
    wait_reachable(&topology, &daemon, false);
    wait_reachable(&topology, &daemon, true);
    send_options_through(&topology);
    assert_eq!(options_passed(&daemon), 2, "no worker has to see them");
    assert_eq!(daemon.punted(PuntReason::Ipv4Options), 0);

    daemon.configure(&with);
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(report.needs_restart, [""; 0]);
    assert_options_are_filtered(&topology, &daemon);
    assert_eq!(options_passed(&daemon), 2, "workers get them all");

    // The last service goes: nothing drops them any more, and soon no worker has to see them.
    daemon.configure(&without);
    daemon.client().reload().expect("it is right");
    let dropped = daemon.dropped(DropReason::Filtered);
    daemon.wait_for("options be the kernel's again", |daemon| {
        let passed = options_passed(daemon);
        send_options_through(&topology);
        options_passed(daemon) == passed + 2
    });
    assert_eq!(daemon.dropped(DropReason::Filtered), dropped);

    daemon.configure(&with);
    daemon.client().reload().expect("it is right");
    let passed = options_passed(&daemon);
    send_in_vain(&topology, &daemon, false);
    let client = topology.client_link.near.interface;
    let client = FrameSocket::open(&topology.client, client).expect("a packet socket");
    let before = daemon.dropped(DropReason::Filtered);
    let service = topology.path_a.far.ipv4.addr().into();
    client.send(&with_options(&topology, service, PORT)).expect("sent");
    daemon.assert_count("judged again", before + 1, |it| it.dropped(DropReason::Filtered));
    assert_eq!(options_passed(&daemon), passed, "workers get them all again");
}

common::for_each_port_mode!(
    options_lead_round_no_filter_of_an_input,
    options_are_judged_from_the_reload_on_that_brings_a_filter,
    the_kernel_forwards_nothing_round_the_filter_of_an_output,
);
