//! What cannot go on: the sender hears the same from the router as if the kernel alone forwarded,
//! for it is the kernel that answers.

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::traffic::probe;
use common::{DEADLINE, Daemon, PortMode, for_each_port_mode, resolved_topology};
use ipnet::IpNet;
use linecard_lab::{
    IcmpError, PingOptions, ProbeKind, ProbeOutcome, Route, RouterOptions, RouterTopology,
    TracerouteOptions, path_mtu, ping, traceroute,
};
use linecard_packet::{DropReason, PuntReason};

for_each_port_mode!(
    traceroute_shows_the_router,
    the_path_mtu_is_found,
    refusals_are_the_kernels,
    a_host_that_is_not_there_is_unreachable,
    a_blackhole_is_silent_and_counted,
);

fn router_address(topology: &RouterTopology, ipv6: bool) -> IpAddr {
    let port = &topology.client_link.far;
    if ipv6 { port.ipv6.addr().into() } else { port.ipv4.addr().into() }
}

fn traceroute_shows_the_router(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let port = topology.client_link.far.interface;
    for ipv6 in [false, true] {
        for kind in [ProbeKind::Icmp, ProbeKind::Udp] {
            let before = (daemon.passed(port, "ttl_expired"), daemon.total().forwarded_packets);
            let options =
                TracerouteOptions { kind, probes_per_hop: 3, timeout: DEADLINE, hops_max: 5 };
            let destination = topology.server_address(ipv6);
            let hops = traceroute(&topology.client, destination, &options).expect("a traceroute");
            assert_eq!(hops.len(), 2, "{hops:?}");
            assert_eq!(hops[0].address(), Some(router_address(&topology, ipv6)));
            for outcome in &hops[0].probes {
                let ProbeOutcome::Error(error) = outcome else { panic!("{outcome:?}") };
                assert!(error.is_time_exceeded(), "{error:?}");
            }
            assert_eq!(hops[1].address(), Some(destination));
            daemon.assert_books_balance();
            // The last answer may not be counted yet.
            daemon.wait_for("the answers", |it| it.total().forwarded_packets >= before.1 + 4);
            let after = (daemon.passed(port, "ttl_expired"), daemon.total().forwarded_packets);
            assert_eq!(after.0 - before.0, 3, "three probes end at the router");
            // A host sends few "port unreachable" at once (icmp_ratelimit), so some may be missing.
            assert!((4..=6).contains(&(after.1 - before.1)), "three go on, and the answers");
        }
    }
}

fn the_path_mtu_is_found(mode: PortMode) {
    const MTU_BYTES: u32 = 1400;
    let topology = RouterTopology::new(&RouterOptions {
        server_mtu_bytes: MTU_BYTES,
        permanent_neighbours: true,
        ..RouterOptions::default()
    })
    .expect("a topology");
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let before = daemon.punted(PuntReason::TooBig);
        let found = path_mtu(&topology.client, topology.server_address(ipv6), 1500, DEADLINE)
            .expect("a path MTU");
        assert_eq!(found.mtu_bytes, MTU_BYTES, "{found:?}");
        assert_eq!(found.errors.len(), 1, "the first message names the MTU: {found:?}");
        assert_eq!(found.errors[0].mtu_bytes, Some(MTU_BYTES));
        assert_eq!(found.errors[0].from, router_address(&topology, ipv6));
        daemon.assert_books_balance();
        daemon.assert_punted(PuntReason::TooBig, before + 1);
        daemon.assert_forwarded(if ipv6 { 4 } else { 2 });
    }
}

/// The sender, type and code of the ICMP error that a probe from `source` gets.
fn refusal(topology: &RouterTopology, source: IpAddr, destination: IpAddr) -> (IpAddr, u8, u8) {
    let options =
        PingOptions { count: 1, timeout: DEADLINE, source: Some(source), ..PingOptions::default() };
    let report = ping(&topology.client, destination, &options).expect("an ICMP socket");
    match report.probes[0] {
        ProbeOutcome::Error(IcmpError { from, kind, code, .. }) => (from, kind, code),
        other => panic!("{destination}: {other:?}"),
    }
}

/// No route, and routes of type unreachable and prohibit: the same answer with Linecard as without.
fn refusals_are_the_kernels(mode: PortMode) {
    let topology = resolved_topology();
    let add = |route: &Route| topology.router.add_route(route).expect("a route");
    let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
    add(&Route::unreachable(net("198.18.1.0/24")));
    add(&Route::unreachable(net("2001:db8:101::/48")));
    add(&Route::prohibit(net("198.18.2.0/24")));
    add(&Route::prohibit(net("2001:db8:102::/48")));
    // RFC 792 and RFC 4443: type and code, the code as the kernel chooses it.
    let cases = [
        ("198.18.3.7", (3, 0), PuntReason::NoRoute),
        ("2001:db8:103::7", (1, 0), PuntReason::NoRoute),
        ("198.18.1.7", (3, 1), PuntReason::RouteRejects),
        ("2001:db8:101::7", (1, 0), PuntReason::RouteRejects),
        ("198.18.2.7", (3, 13), PuntReason::RouteRejects),
        ("2001:db8:102::7", (1, 1), PuntReason::RouteRejects),
    ];
    let cases = cases.map(|(text, expected, reason)| {
        let destination: IpAddr = text.parse().expect("an address");
        let source = topology.client_address(destination.is_ipv6());
        (destination, expected, reason, refusal(&topology, source, destination))
    });
    // The kernel refuses a source no more than five times in a row (`ip_error`, net/ipv4/route.c),
    // so Linecard's turn is another one's.
    let client_port = topology.client_link.near.interface;
    for address in ["192.0.2.99/24", "2001:db8:1::99/64"] {
        topology.client.add_address(client_port, net(address)).expect("an address");
    }
    let source = |ipv6| if ipv6 { "2001:db8:1::99" } else { "192.0.2.99" };
    let daemon = Daemon::on_router(&topology, mode);
    for (destination, (kind, code), reason, of_kernel) in cases {
        assert_eq!(
            of_kernel,
            (router_address(&topology, destination.is_ipv6()), kind, code),
            "the kernel alone, for {destination}"
        );
        let before = daemon.punted(reason);
        let source = source(destination.is_ipv6()).parse().expect("an address");
        let seen = refusal(&topology, source, destination);
        assert_eq!(seen, of_kernel, "with Linecard: {destination}");
        daemon.assert_punted(reason, before + 1);
    }
    daemon.assert_books_balance();
    assert_eq!(daemon.total().sent_packets, 0, "no probe went on");
}

/// On a connected subnet, an address that nobody answers for.
fn a_host_that_is_not_there_is_unreachable(mode: PortMode) {
    let topology = resolved_topology();
    let port = topology.path_a.near.interface;
    for family in ["ipv4", "ipv6"] {
        let key = |name: &str| format!("net.{family}.neigh.{port}.{name}");
        topology.router.sysctl(&key("retrans_time_ms"), "50").expect("a sysctl");
        topology.router.sysctl(&key("mcast_solicit"), "2").expect("a sysctl");
    }
    let daemon = Daemon::on_router(&topology, mode);
    let cases = [("198.51.100.77", 3, 1), ("2001:db8:a::77", 1, 3)];
    for (destination, kind, code) in cases {
        let destination: IpAddr = destination.parse().expect("an address");
        let before = daemon.punted(PuntReason::NeighbourUnresolved);
        let source = topology.client_address(destination.is_ipv6());
        let (from, kind_seen, code_seen) = refusal(&topology, source, destination);
        assert_eq!((kind_seen, code_seen), (kind, code), "{destination}");
        assert_eq!(from, router_address(&topology, destination.is_ipv6()));
        daemon.assert_punted(PuntReason::NeighbourUnresolved, before + 1);
        daemon.assert_books_balance();
    }
}

fn a_blackhole_is_silent_and_counted(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    for (prefix, destination) in
        [("198.18.0.0/15", "198.18.0.1"), ("2001:db8:bad::/48", "2001:db8:bad::1")]
    {
        let route = Route::blackhole(prefix.parse().expect("a prefix"));
        topology.router.add_route(&route).expect("a route");
        let destination: IpAddr = destination.parse().expect("an address");
        // Until the route has reached the workers, the kernel says "no route".
        daemon.wait_for("the blackhole swallow", |daemon| {
            let before = daemon.dropped(DropReason::Blackhole);
            let _ = probe(&topology, destination, Duration::from_millis(50));
            daemon.dropped(DropReason::Blackhole) > before
        });
        let before = daemon.dropped(DropReason::Blackhole);
        let outcome = probe(&topology, destination, Duration::from_millis(300));
        assert_eq!(outcome, ProbeOutcome::Lost, "{destination}");
        daemon.assert_count("blackholed", before + 1, |it| it.dropped(DropReason::Blackhole));
        daemon.assert_books_balance();
    }
    let drops = daemon.client().drops().expect("an answer").drops;
    let line = drops.iter().find(|line| line.reason == "blackhole").expect("a line");
    assert_eq!(line.packets, daemon.dropped(DropReason::Blackhole));
    assert_eq!(line.ports.len(), 1);
    assert_eq!(line.ports[0].port, topology.client_link.far.interface);
    // The route goes, and with it the silence.
    let route = Route::blackhole("198.18.0.0/15".parse().expect("a prefix"));
    topology.router.delete_route(&route).expect("it was there");
    daemon.wait_for("no route", |_| {
        let destination = "198.18.0.1".parse().expect("an address");
        matches!(
            probe(&topology, destination, Duration::from_millis(300)),
            ProbeOutcome::Error(IcmpError { kind: 3, code: 0, .. })
        )
    });
}
