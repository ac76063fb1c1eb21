//! Ping, traceroute and path MTU through the kernel's own forwarding. Needs root.

use std::net::IpAddr;
use std::time::Duration;

use linecard_lab::{
    PingOptions, ProbeKind, ProbeOutcome, Route, RouterOptions, RouterTopology, TracerouteOptions,
    path_mtu, ping, traceroute,
};

const TIMEOUT: Duration = Duration::from_secs(2);

fn topology(options: RouterOptions) -> RouterTopology {
    RouterTopology::new(&options).unwrap()
}

fn router_address(topology: &RouterTopology, ipv6: bool) -> IpAddr {
    let port = &topology.client_link.far;
    if ipv6 { port.ipv6.addr().into() } else { port.ipv4.addr().into() }
}

#[test]
fn ping_reaches_the_server_through_the_router() {
    let topology = topology(RouterOptions::default());
    for ipv6 in [false, true] {
        let server = topology.server_address(ipv6);
        let report = ping(&topology.client, server, &PingOptions::default()).unwrap();
        assert!(report.is_complete(), "{report:?}");
        assert!(report.round_trip_median().unwrap() > Duration::ZERO);
        for probe in report.probes {
            let ProbeOutcome::Reply { from, hop_limit, .. } = probe else { panic!("{probe:?}") };
            assert_eq!((from, hop_limit), (server, Some(63)), "64 less the router's hop");
        }
    }
}

#[test]
fn ping_reports_errors_loss_and_what_it_could_not_send() {
    let topology = topology(RouterOptions::default());
    let one = PingOptions { count: 1, timeout: TIMEOUT, ..PingOptions::default() };
    let expire = PingOptions { hop_limit: Some(1), ..one.clone() };
    for ipv6 in [false, true] {
        let server = topology.server_address(ipv6);
        let report = ping(&topology.client, server, &expire).unwrap();
        let error = report.errors().next().unwrap();
        assert!(error.is_time_exceeded(), "{error:?}");
        assert_eq!(error.from, router_address(&topology, ipv6));
    }
    topology.router.add_route(&Route::prohibit("10.0.0.0/24".parse().unwrap())).unwrap();
    let report = ping(&topology.client, "10.0.0.1".parse().unwrap(), &one).unwrap();
    let error = report.errors().next().unwrap();
    assert_eq!((error.kind, error.code), (3, 13), "administratively prohibited");
    topology.router.add_route(&Route::blackhole("10.0.1.0/24".parse().unwrap())).unwrap();
    let quick = PingOptions { timeout: Duration::from_millis(50), ..one.clone() };
    let report = ping(&topology.client, "10.0.1.1".parse().unwrap(), &quick).unwrap();
    assert_eq!(report.probes, [ProbeOutcome::Lost]);
    let big = PingOptions { payload_bytes: 1473, dont_fragment: true, ..one };
    let report = ping(&topology.client, topology.server_address(false), &big).unwrap();
    assert_eq!(report.probes, [ProbeOutcome::NotSent { errno: 90 }], "EMSGSIZE");
}

#[test]
fn traceroute_shows_the_router_and_the_server() {
    let topology = topology(RouterOptions::default());
    for kind in [ProbeKind::Icmp, ProbeKind::Udp] {
        for ipv6 in [false, true] {
            let server = topology.server_address(ipv6);
            let options = TracerouteOptions { kind, probes_per_hop: 2, ..Default::default() };
            let hops = traceroute(&topology.client, server, &options).unwrap();
            let addresses: Vec<_> = hops.iter().map(linecard_lab::Hop::address).collect();
            let router = router_address(&topology, ipv6);
            assert_eq!(addresses, [Some(router), Some(server)], "{kind:?} {hops:?}");
            assert!(hops[1].is_destination() && !hops[0].is_destination());
        }
    }
}

#[test]
fn path_mtu_finds_the_narrow_link_by_the_routers_word() {
    let topology = topology(RouterOptions { server_mtu_bytes: 1400, ..RouterOptions::default() });
    for ipv6 in [false, true] {
        let server = topology.server_address(ipv6);
        let found = path_mtu(&topology.client, server, 1500, TIMEOUT).unwrap();
        assert_eq!(found.mtu_bytes, 1400, "{found:?}");
        assert_eq!(found.errors.len(), 1);
        assert_eq!(found.errors[0].mtu_bytes, Some(1400));
        assert_eq!(found.errors[0].from, router_address(&topology, ipv6));
    }
}

#[test]
fn path_mtu_finds_this_hosts_own_limit() {
    let topology = topology(RouterOptions::default());
    for ipv6 in [false, true] {
        let server = topology.server_address(ipv6);
        let found = path_mtu(&topology.client, server, 9000, TIMEOUT).unwrap();
        assert_eq!((found.mtu_bytes, found.errors.len()), (1500, 0), "{found:?}");
    }
}

#[test]
fn a_fresh_topology_resolves_its_neighbours_at_once() {
    for _ in 0..5 {
        let topology = topology(RouterOptions::default());
        for ipv6 in [true, false] {
            let server = topology.server_address(ipv6);
            let report = ping(&topology.client, server, &PingOptions::default()).unwrap();
            // A lost solicitation would be repeated after a second.
            let longest = report.round_trips().last().copied();
            assert!(longest.is_some_and(|it| it < Duration::from_millis(900)), "{report:?}");
        }
    }
}
