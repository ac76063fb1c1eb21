//! Checks of where packets come from: reverse paths as the kernel's `rp_filter` judges them, lists of feasible
//! sources, and special-purpose addresses.

mod common;

use std::collections::BTreeMap;
use std::net::IpAddr;

use common::traffic::PORT;
use common::{DEADLINE, Daemon, Options, PortMode};
use linecard_lab::{FrameSocket, NextHop, Route, RouterOptions, RouterTopology};
use linecard_packet::DropReason;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};

/// What tells a packet's source in its payload: UDP ports are the same for all.
type Number = u8;

/// The number of the packet that comes last, from the client's own address.
const LAST: Number = 255;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The topology, and routes behind the ports: 10.1.0.0/16 and 8.8.4.0/24 behind the client, 10.2.0.0/16 behind
/// path a, 10.3.0.0/16 behind both of them, 10.4.0.0/16 a blackhole; to 9.9.9.9 by path a.
fn topology() -> RouterTopology {
    let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
    let topology = RouterTopology::new(&options).expect("a topology");
    let client = NextHop::via(topology.client_link.near.ipv4.addr().into());
    let server: IpAddr = topology.path_a.far.ipv4.addr().into();
    let prefix = |text: &str| text.parse().expect("a prefix");
    for route in [
        Route::unicast(prefix("10.1.0.0/16"), client.clone()),
        Route::unicast(prefix("8.8.4.0/24"), client.clone()),
        Route::via(prefix("10.2.0.0/16"), server),
        Route::multipath(
            prefix("10.3.0.0/16"),
            vec![
                NextHop::via(server).interface(topology.path_a.near.interface),
                client.interface(topology.client_link.far.interface),
            ],
        ),
        Route::blackhole(prefix("10.4.0.0/16")),
        Route::via(prefix("9.9.9.9/32"), server),
        Route::via(prefix("2606:4700::1/128"), topology.path_a.far.ipv6.addr().into()),
    ] {
        topology.router.add_route(&route).expect("a route");
    }
    topology
}

/// A frame from the client.
fn frame(
    topology: &RouterTopology,
    source: IpAddr,
    destination: IpAddr,
    number: Number,
) -> Vec<u8> {
    let link = &topology.client_link;
    let mac = |port: &linecard_lab::Port| MacAddress::new(port.mac);
    let builder = PacketBuilder::new().ethernet(mac(&link.far), mac(&link.near));
    let network = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            builder.ipv4(Ipv4::new(source, destination))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            builder.ipv6(Ipv6::new(source, destination))
        }
        _ => panic!("{source} and {destination} are of one family"),
    };
    network.udp(Udp::new(PORT, PORT)).payload(&[number; 18]).build()
}

/// Sends a packet from each source, and one more that passes; returns the numbers of those that came. All take
/// path a, so the last to come tells that all the others would have come before.
fn arrived(topology: &RouterTopology, packets: &[(IpAddr, IpAddr)]) -> Vec<Number> {
    let server = &topology.path_a.far;
    let capture = FrameSocket::open(&topology.server, server.interface).expect("a socket");
    let client = FrameSocket::open(&topology.client, topology.client_link.near.interface);
    let client = client.expect("a socket");
    for (number, (source, destination)) in (0..).zip(packets) {
        client.send(&frame(topology, *source, *destination, number)).expect("it is sent");
    }
    let (last_source, last_destination) = (address("8.8.4.4"), address("9.9.9.9"));
    client.send(&frame(topology, last_source, last_destination, LAST)).expect("it is sent");
    let mut numbers = Vec::new();
    let number = |bytes: &[u8]| {
        let is_udp = match bytes.get(12..14) {
            Some([0x08, 0x00]) => bytes[23] == 17,
            Some([0x86, 0xdd]) => bytes[20] == 17,
            _ => false,
        };
        is_udp.then(|| bytes[bytes.len() - 1])
    };
    capture
        .receive_first(DEADLINE, |frame| {
            let number = number(&frame.bytes);
            numbers.extend(number.filter(|number| *number != LAST));
            number == Some(LAST)
        })
        .expect("the last packet comes");
    numbers
}

/// Sources, all of packets to 9.9.9.9 by the client's port, and whether they pass: strict, loose.
const SOURCES: &[(&str, &str, [bool; 2])] = &[
    ("on the client's link", "192.0.2.77", [true, true]),
    ("routed to the client", "10.1.2.3", [true, true]),
    ("routed to the server", "10.2.3.4", [false, true]),
    ("on another link", "198.51.100.99", [false, true]),
    ("routed to both, the port among them", "10.3.4.5", [true, true]),
    ("routed to both paths to the server", "203.0.113.9", [false, true]),
    ("behind a blackhole", "10.4.5.6", [false, false]),
    ("without a route", "100.64.0.1", [false, false]),
    ("the router's own", "192.0.2.1", [false, false]),
    ("the router's own on another link", "198.51.100.1", [false, false]),
];

fn packets() -> Vec<(IpAddr, IpAddr)> {
    SOURCES.iter().map(|(_, source, _)| (address(source), address("9.9.9.9"))).collect()
}

fn expected(mode: usize) -> Vec<Number> {
    let all = (0..).zip(SOURCES);
    all.filter(|(_, (_, _, passes))| passes[mode]).map(|(number, _)| number).collect()
}

/// A check at the client's port.
fn options(topology: &RouterTopology, mode: PortMode, keys: &str) -> Options {
    let interface = topology.router_ports()[0].interface;
    Options::of_router(topology, mode).port_keys(interface, &format!("{keys}\n"))
}

/// The kernel alone, then Linecard: the same packets pass.
fn reverse_paths_are_judged_as_by_the_kernel(mode: PortMode) {
    let topology = topology();
    let interface = topology.router_ports()[0].interface;
    for (at, (key, rp_filter)) in [("strict", "1"), ("loose", "2")].into_iter().enumerate() {
        let sysctl = format!("net.ipv4.conf.{interface}.rp_filter");
        topology.router.sysctl(&sysctl, rp_filter).expect("a sysctl");
        assert_eq!(arrived(&topology, &packets()), expected(at), "the kernel, {key}");
        topology.router.sysctl(&sysctl, "0").expect("a sysctl");
        let keys = format!("reverse_path = \"{key}\"");
        let mut daemon = Daemon::start(&topology.router, &options(&topology, mode, &keys));
        assert_eq!(arrived(&topology, &packets()), expected(at), "Linecard, {key}");
        // Both of the router's own are dropped as martians, the others as what they are.
        let refused = SOURCES.len() - expected(at).len() - 2;
        daemon.assert_count("packets without a reverse path", refused as u64, |it| {
            it.dropped(DropReason::ReversePath)
        });
        daemon.assert_count("martians", 2, |it| it.dropped(DropReason::MartianSource));
        assert_eq!(daemon.port(interface).totals.dropped_packets.sum(), refused as u64 + 2);
        daemon.assert_books_balance();
        assert!(daemon.stop().success());
    }
}

#[test]
fn reverse_paths_on_native_xdp() {
    reverse_paths_are_judged_as_by_the_kernel(PortMode::Native);
}

#[test]
fn reverse_paths_on_packet_sockets() {
    reverse_paths_are_judged_as_by_the_kernel(PortMode::Packet);
}

/// With ports that could redirect in the kernel, a check keeps all packets with the worker.
#[test]
fn nothing_goes_round_a_check_by_the_route_cache() {
    reverse_paths_are_judged_as_by_the_kernel(PortMode::Redirected);
}

#[test]
fn listed_sources_are_feasible() {
    let topology = topology();
    let set = "[[set]]\nname = \"customers\"\nprefixes = [\"10.2.3.0/24\", \"10.4.0.0/16\"]\n";
    let keys = "reverse_path = \"feasible\"\nfeasible_sources = \"customers\"";
    let options = options(&topology, PortMode::Native, keys).tables(set);
    let mut daemon = Daemon::start(&topology.router, &options);
    let number = |source: &str| {
        let at = SOURCES.iter().position(|it| it.1 == source).expect("one of them");
        at as Number
    };
    let mut all = expected(0);
    all.extend([number("10.2.3.4"), number("10.4.5.6")]);
    all.sort_unstable();
    assert_eq!(arrived(&topology, &packets()), all);

    // The list is read again with the rest.
    daemon.configure(&Options { tables: set.replace(", \"10.4.0.0/16\"", ""), ..options });
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(report.changed_ports, [topology.router_ports()[0].interface]);
    all.retain(|it| *it != number("10.4.5.6"));
    daemon.wait_for("the list in force", |_| arrived(&topology, &packets()) == all);
    daemon.assert_books_balance();
}

/// The check follows routes and the configuration while packets flow.
#[test]
fn the_check_follows_routes_and_reloads() {
    let topology = topology();
    let strict = options(&topology, PortMode::Native, "reverse_path = \"strict\"");
    let mut daemon = Daemon::start(&topology.router, &strict);
    let packet = [(address("10.2.3.4"), address("9.9.9.9"))];
    assert_eq!(arrived(&topology, &packet), [0; 0]);
    let client = topology.client_link.near.ipv4.addr().into();
    let route = Route::via("10.2.3.0/24".parse().expect("a prefix"), client);
    topology.router.add_route(&route).expect("a route");
    daemon.wait_for("the route make it pass", |_| arrived(&topology, &packet) == [0]);
    topology.router.delete_route(&route).expect("it is there");
    daemon.wait_for("it be refused again", |_| arrived(&topology, &packet).is_empty());

    daemon.configure(&options(&topology, PortMode::Native, "reverse_path = \"off\""));
    let report = daemon.client().reload().expect("it is right");
    assert_eq!((report.changed_ports.len(), report.needs_restart.len()), (1, 0), "{report:?}");
    daemon.wait_for("the check be off", |_| arrived(&topology, &packet) == [0]);
    daemon.assert_books_balance();
}

/// Source, destination, and how a packet is dropped with `special` and with `not-global`; it passes otherwise.
const MARTIANS: &[(&str, &str, [Option<DropReason>; 2])] = &[
    ("8.8.4.4", "9.9.9.9", [None, None]),
    ("10.1.2.3", "9.9.9.9", [None, Some(DropReason::MartianSource)]),
    ("100.64.0.1", "9.9.9.9", [None, Some(DropReason::MartianSource)]),
    ("192.0.2.77", "9.9.9.9", [Some(DropReason::MartianSource); 2]),
    ("198.18.0.1", "9.9.9.9", [None, Some(DropReason::MartianSource)]),
    ("8.8.4.4", "10.2.0.1", [None, Some(DropReason::MartianDestination)]),
    ("8.8.4.4", "198.51.100.2", [Some(DropReason::MartianDestination); 2]),
    ("2606:4700::2", "2606:4700::1", [None, None]),
    ("fd00::1", "2606:4700::1", [None, Some(DropReason::MartianSource)]),
    ("2001:db8:1::99", "2606:4700::1", [Some(DropReason::MartianSource); 2]),
    ("2606:4700::2", "2001:db8:a::2", [Some(DropReason::MartianDestination); 2]),
];

#[test]
fn special_purpose_addresses_are_refused_where_it_is_asked() {
    let topology = topology();
    let packets: Vec<_> =
        MARTIANS.iter().map(|(from, to, _)| (address(from), address(to))).collect();
    for (at, key) in ["special", "not-global"].into_iter().enumerate() {
        let keys = format!("martians = \"{key}\"");
        let mut daemon =
            Daemon::start(&topology.router, &options(&topology, PortMode::Native, &keys));
        let mut passes = Vec::new();
        let mut drops: BTreeMap<&str, u64> = BTreeMap::new();
        for (number, (_, _, outcomes)) in (0..).zip(MARTIANS) {
            match outcomes[at] {
                None => passes.push(number),
                Some(reason) => *drops.entry(reason.label()).or_default() += 1,
            }
        }
        assert_eq!(arrived(&topology, &packets), passes, "{key}");
        for reason in [DropReason::MartianSource, DropReason::MartianDestination] {
            daemon.assert_count(reason.label(), drops[reason.label()], |it| it.dropped(reason));
        }
        daemon.assert_books_balance();
        assert!(daemon.stop().success());
    }
    let off = Daemon::start(&topology.router, &options(&topology, PortMode::Native, ""));
    assert_eq!(arrived(&topology, &packets).len(), packets.len(), "all pass where nobody asks");
    off.assert_books_balance();
}
