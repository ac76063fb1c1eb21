//! The network changes under traffic: neighbours, links, MAC addresses and routes.

mod common;

use std::net::IpAddr;

use common::traffic::{load, probe, send_all, send_probes, sink, wait_reachable};
use common::{DEADLINE, Daemon, PortMode, for_each_port_mode, resolved_topology};
use linecard_lab::{
    Direction, FrameSocket, Link, MacAddress, Route, RouterOptions, RouterTopology,
};
use linecard_observe::PortState;
use linecard_packet::PuntReason;

for_each_port_mode!(
    a_deleted_neighbour_is_found_again_without_loss,
    traffic_follows_a_neighbour_to_its_new_mac_address,
    a_link_goes_down_and_comes_back,
    the_routers_own_mac_address_changes,
    a_route_that_flips_loses_no_packet,
);

fn address(link: &Link, ipv6: bool) -> IpAddr {
    if ipv6 { link.far.ipv6.addr().into() } else { link.far.ipv4.addr().into() }
}

/// Leads the service prefix over one path.
fn route_over(topology: &RouterTopology, path: &Link, ipv6: bool) {
    let prefix = if ipv6 { topology.service_ipv6.into() } else { topology.service_ipv4.into() };
    let route = Route::via(prefix, address(path, ipv6));
    topology.router.replace_route(&route).expect("a route");
}

fn sent(daemon: &Daemon, path: &Link) -> u64 {
    daemon.port(path.near.interface).totals.sent_packets
}

/// Waits until packets to the service leave by `path`, and by no other.
fn wait_path(topology: &RouterTopology, daemon: &Daemon, path: &Link, ipv6: bool) {
    daemon.wait_for(&format!("packets leave by {}", path.near.interface), |daemon| {
        let before = sent(daemon, path);
        send_probes(topology, ipv6, 16);
        sent(daemon, path) == before + 16
    });
}

fn a_deleted_neighbour_is_found_again_without_loss(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let path = &topology.path_a;
        route_over(&topology, path, ipv6);
        wait_reachable(&topology, &daemon, ipv6);
        let gateway = address(path, ipv6);
        daemon.wait_neighbour(path.near.interface, gateway, true);
        let before = daemon.punted(PuntReason::NeighbourUnresolved);
        let sink = sink(&topology, ipv6);
        let load = load(&topology, ipv6, 8, 1_000_000);
        let load = load.start(&topology.client).expect("a load");
        assert!(sink.wait_packets(500, DEADLINE), "traffic flows");
        let version = || daemon.client().health().expect("an answer").snapshot_version;
        for _ in 0..5 {
            let seen = version();
            topology.router.delete_neighbour(path.near.interface, gateway).expect("it was there");
            // One snapshot without the neighbour, and one with it again.
            daemon.wait_for("it is gone and back", |_| version() >= seen + 2);
            daemon.wait_neighbour(path.near.interface, gateway, true);
        }
        let more = sink.packets() + 500;
        assert!(sink.wait_packets(more, DEADLINE), "traffic flows again");
        let sent = load.stop();
        sink.wait_packets(sent.packets, DEADLINE);
        let came = sink.stop();
        assert_eq!((came.packets, came.missing), (sent.packets, 0), "{came:?}");
        daemon.assert_books_balance();
        let punted = daemon.punted(PuntReason::NeighbourUnresolved) - before;
        assert!(punted < sent.packets / 2, "{punted} of {sent:?}");
    }
}

/// The neighbour announces its new address, as hosts do that take over an address (RFC 5227,
/// RFC 9131); what is sent afterwards bears it.
fn traffic_follows_a_neighbour_to_its_new_mac_address(mode: PortMode) {
    const NEW: MacAddress = [2, 0, 0, 0, 0xbe, 0xef];
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let (path, server) = (&topology.path_a, &topology.server);
    server.sysctl(&format!("net.ipv4.conf.{}.arp_notify", path.far.interface), "1").expect("set");
    server.sysctl(&format!("net.ipv6.conf.{}.ndisc_notify", path.far.interface), "1").expect("set");
    // Else the kernel keeps what it has just learnt for a second.
    let locktime = format!("net.ipv4.neigh.{}.locktime", path.near.interface);
    topology.router.sysctl(&locktime, "0").expect("set");
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        route_over(&topology, path, ipv6);
        wait_reachable(&topology, &daemon, ipv6);
        daemon.wait_neighbour(path.near.interface, address(path, ipv6), true);
    }
    server.set_mac(path.far.interface, NEW).expect("a MAC address");
    for ipv6 in [false, true] {
        daemon.wait_for("the new MAC address", |daemon| {
            let report = daemon.client().neighbours().expect("an answer");
            let gateway = address(path, ipv6);
            let mac = report.neighbours.into_iter().find(|it| it.address == gateway);
            mac.is_some_and(|it| it.mac_address.as_deref() == Some("02:00:00:00:be:ef"))
        });
        wait_path(&topology, &daemon, path, ipv6);
        let frames = FrameSocket::open(server, path.far.interface).expect("a capture");
        send_all(&topology, ipv6, 4, 100);
        let captured = frames
            .collect(100, DEADLINE, |frame| {
                frame.direction == Direction::Received && frame.bytes[..6] == NEW
            })
            .expect("a capture");
        assert_eq!(captured.len(), 100, "all to the new address");
    }
    daemon.assert_books_balance();
}

fn a_link_goes_down_and_comes_back(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let (a, b) = (&topology.path_a, &topology.path_b);
    let port = a.near.interface;
    let keep = format!("net.ipv6.conf.{port}.keep_addr_on_down");
    topology.router.sysctl(&keep, "1").expect("a sysctl");
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        wait_reachable(&topology, &daemon, ipv6);
    }
    for round in 0..2 {
        topology.router.set_down(port).expect("down");
        daemon.wait_for("the port down", |daemon| daemon.port(port).state == PortState::Down);
        for ipv6 in [false, true] {
            wait_path(&topology, &daemon, b, ipv6);
            let before = sent(&daemon, b);
            send_all(&topology, ipv6, 64, 640);
            daemon.assert_count("by the other path", before + 640, |it| sent(it, b));
        }
        // What was on its way to the port waits in its queue for the link.
        daemon.assert_books_balance_now();

        topology.router.set_up(port).expect("up");
        topology.router.wait_running(port, DEADLINE).expect("up");
        // The kernel takes a multipath route's IPv6 next hops away with the link, for good.
        topology.router.replace_route(&topology.service_route_ipv6()).expect("a route");
        daemon.wait_for("the port up", |daemon| daemon.port(port).state == PortState::Up);
        for ipv6 in [false, true] {
            daemon.wait_for("both paths in use", |daemon| {
                let before = [sent(daemon, a), sent(daemon, b)];
                send_probes(&topology, ipv6, 64);
                let after = [sent(daemon, a), sent(daemon, b)];
                after[0] > before[0] && after[1] > before[1]
            });
            let before = [sent(&daemon, a), sent(&daemon, b)];
            // Counted where they came in: what a queue lost with its link is asked for once a second,
            // and counts as sent until then.
            let inside = topology.client_link.far.interface;
            let forwarded = |it: &Daemon| it.port(inside).totals.forwarded_packets;
            let goal = forwarded(&daemon) + 640;
            send_all(&topology, ipv6, 64, 640);
            daemon.assert_count("by both paths", goal, forwarded);
            let [by_a, by_b] = [sent(&daemon, a) - before[0], sent(&daemon, b) - before[1]];
            assert!(by_a > 100 && by_b > 100, "round {round}: {by_a} and {by_b}");
        }
        daemon.assert_books_balance();
    }
}

/// What comes to the new address is transit, what leaves bears it.
fn the_routers_own_mac_address_changes(mode: PortMode) {
    const NEW: MacAddress = [2, 0, 0, 0, 0xca, 0xfe];
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let destination = topology.server_address(ipv6);
        assert!(probe(&topology, destination, DEADLINE).is_reply());
    }
    let (client, router) = (&topology.client_link.near, &topology.client_link.far);
    topology.router.set_mac(router.interface, NEW).expect("a MAC address");
    for address in [IpAddr::from(router.ipv4.addr()), router.ipv6.addr().into()] {
        topology.client.add_neighbour(client.interface, address, NEW).expect("a neighbour");
    }
    let frames = FrameSocket::open(&topology.client, client.interface).expect("a capture");
    for ipv6 in [false, true] {
        let destination = topology.server_address(ipv6);
        daemon.wait_for("Linecard take frames to the new address", |daemon| {
            let before = daemon.port(router.interface).totals.forwarded_packets;
            probe(&topology, destination, DEADLINE).is_reply()
                && daemon.port(router.interface).totals.forwarded_packets > before
        });
        let ether_type: [u8; 2] = if ipv6 { [0x86, 0xdd] } else { [0x08, 0x00] };
        frames
            .receive_first(DEADLINE, |frame| {
                frame.direction == Direction::Received
                    && frame.bytes[6..12] == NEW
                    && frame.bytes[12..14] == ether_type
            })
            .expect("a reply from the new address");
    }
    daemon.assert_books_balance();
}

fn a_route_that_flips_loses_no_packet(mode: PortMode) {
    const FLIPS: u64 = 200;
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let before = [&topology.path_a, &topology.path_b].map(|path| sent(&daemon, path));
        let sink = sink(&topology, ipv6);
        let load = load(&topology, ipv6, 16, 1_000_000);
        let load = load.start(&topology.client).expect("a load");
        for flip in 1..=FLIPS {
            let path = if flip % 2 == 0 { &topology.path_a } else { &topology.path_b };
            route_over(&topology, path, ipv6);
            // In step with the traffic, so that packets meet every one of the routes.
            assert!(sink.wait_packets(20 * flip, DEADLINE), "traffic flows: {:?}", sink.report());
        }
        let sent_packets = load.stop().packets;
        sink.wait_packets(sent_packets, DEADLINE);
        let came = sink.stop();
        assert_eq!((came.packets, came.missing, came.duplicates), (sent_packets, 0, 0), "{came:?}");
        daemon.assert_books_balance();
        let goal = before.iter().sum::<u64>() + sent_packets;
        let paths = [&topology.path_a, &topology.path_b];
        let sent_by = |daemon: &Daemon| paths.map(|path| sent(daemon, path));
        daemon.assert_count("by Linecard", goal, |it| sent_by(it).iter().sum());
        let after = sent_by(&daemon);
        let [by_a, by_b] = [after[0] - before[0], after[1] - before[1]];
        assert!(by_a > 200 && by_b > 200, "{by_a} and {by_b}");
    }
    assert_eq!(daemon.total().punted_packets.sum(), 0);
}
