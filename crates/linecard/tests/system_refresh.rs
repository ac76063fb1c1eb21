//! Neighbours that carry packets are kept fresh, and permanent ones are left alone.

mod common;

use common::{DEADLINE, Daemon, PortMode};
use linecard_lab::{
    NeighbourState, PingOptions, PingReport, RouterOptions, RouterTopology, ping, wait_for,
};

/// One echo request, which Linecard forwards, and its reply.
fn probe(topology: &RouterTopology) -> PingReport {
    let options = PingOptions { count: 1, timeout: DEADLINE, ..PingOptions::default() };
    let server = topology.path_a.far.ipv4.addr();
    ping(&topology.client, server.into(), &options).expect("a ping")
}

fn a_neighbour_in_use_is_refreshed_and_a_permanent_one_stays_so(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let client = &topology.client_link;
    let (inside, host) = (client.far.interface, client.near.ipv4.addr());
    topology.router.add_neighbour(inside, host.into(), client.near.mac).expect("a neighbour");
    let (outside, server) = (topology.path_a.near.interface, topology.path_a.far.ipv4.addr());
    for (key, value) in [("base_reachable_time_ms", "4000"), ("delay_first_probe_time", "1")] {
        let key = format!("net.ipv4.neigh.{outside}.{key}");
        topology.router.sysctl(&key, value).expect("a sysctl");
    }

    let daemon = Daemon::on_router(&topology, mode);
    assert!(probe(&topology).is_complete(), "the kernel resolves the server");
    let state = |interface: &str, address: std::net::Ipv4Addr| {
        let neighbours = topology.router.neighbours(interface)?;
        Ok(neighbours.into_iter().find(|it| it.address == address).map(|it| it.state))
    };
    wait_for("the server's entry age", DEADLINE, || {
        Ok(state(outside, server)? == Some(NeighbourState::Stale))
    })
    .expect("the kernel does not see that it is used");
    daemon.wait_neighbour(outside, server.into(), true);
    let forwarded = daemon.total().forwarded_packets;
    assert!(probe(&topology).is_complete());
    daemon.wait_for("Linecard to carry both packets", |daemon| {
        daemon.total().forwarded_packets == forwarded + 2
    });
    // Both neighbours carried a packet, so both are due at once.
    wait_for("the server's entry be used", DEADLINE, || {
        let now = state(outside, server)?;
        Ok(matches!(
            now,
            Some(NeighbourState::Delay | NeighbourState::Probe | NeighbourState::Reachable)
        ))
    })
    .expect("Linecard refreshes it");
    assert_eq!(state(inside, host).expect("a list"), Some(NeighbourState::Permanent));
    assert!(probe(&topology).is_complete(), "the neighbours are there as before");
    daemon.assert_books_balance();
}

common::for_each_port_mode!(a_neighbour_in_use_is_refreshed_and_a_permanent_one_stays_so);

#[test]
fn gateways_are_resolved_before_the_first_packet() {
    // The kernel, asked to forward a punted packet, may choose the other gateway of the two: so
    // neither may depend on traffic.
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let daemon = Daemon::on_router(&topology, PortMode::Native);
    for path in [&topology.path_a, &topology.path_b] {
        daemon.wait_neighbour(path.near.interface, path.far.ipv4.addr().into(), true);
        daemon.wait_neighbour(path.near.interface, path.far.ipv6.addr().into(), true);
    }
    assert_eq!(daemon.total().received_packets, 0, "nothing was sent");
    // One that is gone is asked for again.
    let (interface, gateway) = (topology.path_b.near.interface, topology.path_b.far.ipv4.addr());
    topology.router.delete_neighbour(interface, gateway.into()).expect("a neighbour");
    wait_for("the kernel to resolve it again", DEADLINE, || {
        let neighbours = topology.router.neighbours(interface)?;
        Ok(neighbours.iter().any(|it| it.address == gateway && it.mac.is_some()))
    })
    .expect("Linecard asks for it");
    daemon.wait_neighbour(interface, gateway.into(), true);
}
