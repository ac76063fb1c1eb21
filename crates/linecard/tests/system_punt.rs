//! Floods of packets that the kernel must handle do not keep it from resolving other neighbours.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use common::traffic::{PORT, probe, wait_reachable};
use common::{DEADLINE, Daemon, Options, PortMode};
use ipnet::Ipv4Net;
use linecard_lab::{RouterOptions, RouterTopology, UdpGenerator, UdpLoad};
use linecard_packet::{DropReason, PuntReason};

/// As much as the ports of this test carry easily, and four times what may be punted.
const FLOOD_PACKETS_PER_SECOND: u64 = 20_000;
const LIMIT: &str = "[punt]\nrate_packets_per_second = 5000\nburst_packets = 500\n";

fn flood(topology: &RouterTopology, destinations: Vec<SocketAddr>) -> UdpGenerator {
    let load = UdpLoad {
        flows: u16::try_from(destinations.len()).expect("few destinations"),
        destinations,
        packets_per_second: Some(FLOOD_PACKETS_PER_SECOND),
        duration_max: 4 * DEADLINE,
        ..UdpLoad::to(SocketAddr::new(topology.server_address(false), PORT))
    };
    load.start(&topology.client).expect("a load")
}

/// Addresses of the server's link that nobody has.
fn dead_hosts(topology: &RouterTopology, hosts: std::ops::RangeInclusive<u8>) -> Vec<SocketAddr> {
    let [a, b, c, _] = topology.path_a.far.ipv4.addr().octets();
    hosts.map(|host| SocketAddr::new(Ipv4Addr::new(a, b, c, host).into(), PORT)).collect()
}

/// A daemon under a flood that exceeds what may be punted.
fn flooded(
    topology: &RouterTopology,
    mode: PortMode,
    dead: std::ops::RangeInclusive<u8>,
) -> (Daemon, UdpGenerator) {
    let options = Options::of_router(topology, mode).tables(LIMIT);
    let daemon = Daemon::start(&topology.router, &options);
    wait_reachable(topology, &daemon, false);
    let flood = flood(topology, dead_hosts(topology, dead));
    daemon.wait_for("the flood exceed its limit", |daemon| {
        daemon.dropped(DropReason::PuntRateLimited) > FLOOD_PACKETS_PER_SECOND / 4
    });
    (daemon, flood)
}

fn assert_answers(topology: &RouterTopology, host: Ipv4Addr) {
    let outcome = probe(topology, IpAddr::V4(host), DEADLINE);
    assert!(outcome.is_reply(), "{host}: {outcome:?}");
}

fn a_dead_host_does_not_keep_others_from_being_resolved(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let (daemon, flood) = flooded(&topology, mode, 77..=77);
    let (interface, host) = (topology.path_a.near.interface, topology.path_a.far.ipv4.addr());
    for _ in 0..8 {
        daemon.wait_neighbour(interface, host.into(), true);
        topology.router.delete_neighbour(interface, host.into()).expect("it was there");
        assert_answers(&topology, host);
    }
    assert!(!flood.is_finished(), "the flood went on all the while");
    flood.stop();
    daemon.assert_books_balance();
}

fn a_scan_does_not_keep_others_from_being_resolved(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let far = &topology.path_a.far;
    let (daemon, flood) = flooded(&topology, mode, 10..=41);
    let before = daemon.punted(PuntReason::NeighbourUnresolved);
    for host in dead_hosts(&topology, 100..=103) {
        let IpAddr::V4(host) = host.ip() else { unreachable!("of an IPv4 link") };
        let address = Ipv4Net::new_assert(host, far.ipv4.prefix_len());
        topology.server.add_address(far.interface, address.into()).expect("a new host");
        assert_answers(&topology, host);
    }
    assert!(!flood.is_finished(), "the flood went on all the while");
    daemon.wait_for("their first packets be counted", |daemon| {
        daemon.punted(PuntReason::NeighbourUnresolved) >= before + 4
    });
    flood.stop();
    daemon.assert_books_balance();
}

common::for_each_port_mode!(
    a_dead_host_does_not_keep_others_from_being_resolved,
    a_scan_does_not_keep_others_from_being_resolved,
);
