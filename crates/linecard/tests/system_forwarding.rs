//! Packets through the router: the client and the server talk as if the kernel forwarded, and the
//! counters say that it did not.

mod common;

use std::net::SocketAddr;

use common::traffic::{probe, send_all};
use common::{DEADLINE, Daemon, PortMode, for_each_port_mode, kernel_forwarded, resolved_topology};
use linecard_lab::{PingOptions, RouterOptions, RouterTopology, TcpDirection, TcpTransfer, ping};
use linecard_packet::PuntReason;

for_each_port_mode!(
    ping_passes,
    first_packet_to_an_unresolved_neighbour_arrives,
    fragments_of_the_kernel_arrive_whole,
    the_router_itself_answers_while_it_forwards,
    large_packets_pass_beside_small_ones,
);

#[test]
fn two_native_queues_are_served_by_two_workers() {
    two_queues_are_served_by_two_workers(PortMode::Native);
}

// Not in generic mode: there a veth says nothing of the queue, and all packets come in by the first.
#[test]
fn two_packet_sockets_are_served_by_two_workers() {
    two_queues_are_served_by_two_workers(PortMode::Packet);
}

fn ping_passes(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let kernel_before = kernel_forwarded(&topology.router);
    for ipv6 in [false, true] {
        let before = daemon.total().forwarded_packets;
        let options = PingOptions { count: 20, ..PingOptions::default() };
        let report = ping(&topology.client, topology.server_address(ipv6), &options).expect("ping");
        assert!(report.is_complete(), "{mode:?}, IPv6 {ipv6}: {report:?}");
        daemon.assert_forwarded(before + 40);
        daemon.assert_books_balance();
    }
    assert_eq!(kernel_forwarded(&topology.router), kernel_before, "nothing by the kernel");
    let client_port = daemon.port(topology.client_link.far.interface);
    assert_eq!((client_port.kind.as_str(), client_port.mode.as_str()), mode.shown());
    assert_eq!(client_port.totals.forwarded_packets, 40);
    assert_eq!(client_port.totals.sent_packets, 40);
}

/// The kernel finds the neighbour, and the packet that asked for it is not lost.
fn first_packet_to_an_unresolved_neighbour_arrives(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let link = &topology.client_link;
    // The client knows the router for good: its own ARP and ND would tell the kernel of the client.
    for router in [link.far.ipv4.addr().into(), link.far.ipv6.addr().into()] {
        topology.client.add_neighbour(link.near.interface, router, link.far.mac).expect("added");
    }
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        // A host of a connected network; gateways are resolved without any packet.
        let (inside, host) = (link.far.interface, topology.client_address(ipv6));
        topology.router.flush_neighbours(inside).expect("flushed");
        daemon.wait_neighbour(inside, host, false);
        let unresolved = daemon.punted(PuntReason::NeighbourUnresolved);
        let outcome = probe(&topology, topology.server_address(ipv6), DEADLINE);
        assert!(outcome.is_reply(), "IPv6 {ipv6}: {outcome:?}");
        // The reply, and perhaps the request, if the server's gateway was not found yet.
        daemon.wait_for("the punt", |it| it.punted(PuntReason::NeighbourUnresolved) > unresolved);
        let punted = daemon.punted(PuntReason::NeighbourUnresolved) - unresolved;
        assert!((1..=2).contains(&punted), "IPv6 {ipv6}: {punted} punted");
        let neighbours = topology.router.neighbours(inside).expect("a list");
        let known = neighbours.iter().any(|it| it.address == host && it.mac.is_some());
        assert!(known, "the kernel holds the client as a neighbour: {neighbours:?}");
        let forwarded = daemon.total().forwarded_packets;
        daemon.wait_for("Linecard forward to the neighbour", |daemon| {
            let outcome = probe(&topology, topology.server_address(ipv6), DEADLINE);
            outcome.is_reply() && daemon.total().forwarded_packets >= forwarded + 2
        });
        daemon.assert_books_balance();
    }
}

/// A packet that may be fragmented is, by the kernel, and the fragments of the answer pass.
fn fragments_of_the_kernel_arrive_whole(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions {
        server_mtu_bytes: 1400,
        permanent_neighbours: true,
        ..RouterOptions::default()
    })
    .expect("a topology");
    // A host that does not look for the path's MTU leaves DF off (ip-sysctl: 1).
    topology.client.sysctl("net.ipv4.ip_no_pmtu_disc", "1").expect("a sysctl");
    let daemon = Daemon::on_router(&topology, mode);
    let options = PingOptions { count: 5, payload_bytes: 1472, ..PingOptions::default() };
    let report = ping(&topology.client, topology.server_ipv4().into(), &options).expect("ping");
    assert!(report.is_complete(), "{report:?}");
    daemon.assert_books_balance();
    daemon.assert_punted(PuntReason::TooBig, 5);
    // The replies' fragments, two each.
    daemon.assert_forwarded(10);
}

/// The router is a host, too: its own addresses and services answer while transit passes.
fn the_router_itself_answers_while_it_forwards(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let transit = common::traffic::load(&topology, false, 16, 1_000_000);
    let sink = common::traffic::sink(&topology, false);
    let load = transit.start(&topology.client).expect("a load");
    assert!(sink.wait_packets(1, DEADLINE), "transit passes");
    let options = PingOptions { timeout: DEADLINE, ..PingOptions::default() };
    for port in topology.router_ports() {
        for address in [port.ipv4.addr().into(), port.ipv6.addr().into()] {
            let report = ping(&topology.client, address, &options).expect("ping");
            assert!(report.is_complete(), "{address}: {report:?}");
        }
    }
    for ipv6 in [false, true] {
        for direction in [TcpDirection::Upload, TcpDirection::Download] {
            let near = &topology.client_link.far;
            let address = if ipv6 { near.ipv6.addr().into() } else { near.ipv4.addr().into() };
            let transfer = TcpTransfer {
                direction,
                bytes_max: 2_000_000,
                duration_max: DEADLINE,
                stall_max: DEADLINE,
                ..TcpTransfer::to(SocketAddr::new(address, 0))
            };
            let run = transfer.start(&topology.client, &topology.router).expect("a connection");
            let report = run.join().expect("a whole stream");
            assert_eq!((report.bytes, report.chunks_spoilt), (2_000_000, 0));
        }
    }
    let sent = load.stop();
    assert!(sink.wait_packets(sent.packets, DEADLINE), "{sent:?} {:?}", sink.report());
    daemon.assert_books_balance();
    // Transit, and nothing else.
    daemon.assert_forwarded(sent.packets);
    assert!(daemon.passed(topology.client_link.far.interface, "local") > 18, "18 pings, and TCP");
}

/// On a link with an MTU of 9,000, Linecard forwards what fits its frames, and the kernel the rest.
fn large_packets_pass_beside_small_ones(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions {
        client_mtu_bytes: 9000,
        server_mtu_bytes: 9000,
        permanent_neighbours: true,
        ..RouterOptions::default()
    })
    .expect("a topology");
    let daemon = Daemon::on_router(&topology, mode);
    for ipv6 in [false, true] {
        let address = topology.server_address(ipv6);
        let before = daemon.total().forwarded_packets;
        let small = PingOptions { count: 5, payload_bytes: 1000, ..PingOptions::default() };
        let report = ping(&topology.client, address, &small).expect("ping");
        assert!(report.is_complete(), "{report:?}");
        daemon.assert_forwarded(before + 10);

        let kernel_before = kernel_forwarded(&topology.router);
        let large = PingOptions { payload_bytes: 8900, dont_fragment: true, ..small };
        let report = ping(&topology.client, address, &large).expect("ping");
        assert!(report.is_complete(), "{report:?}");
        // What the kernel has not forwarded, Linecard has.
        let by_kernel = kernel_forwarded(&topology.router) - kernel_before;
        daemon.assert_forwarded(before + 20 - by_kernel);
        daemon.assert_books_balance();
    }
    let client_port = topology.client_link.far.interface;
    assert_eq!(daemon.passed(client_port, "oversized"), 10, "requests of 8,900 bytes");
}

/// Each of two workers gets its share of many flows.
fn two_queues_are_served_by_two_workers(mode: PortMode) {
    let topology = RouterTopology::new(&RouterOptions {
        queues: 2,
        permanent_neighbours: true,
        ..RouterOptions::default()
    })
    .expect("a topology");
    let options = common::Options::of_router(&topology, mode).tables("[workers]\ncount_max = 2\n");
    let mut daemon = Daemon::start(&topology.router, &options);
    assert_eq!(daemon.client().health().expect("an answer").workers, 2);
    assert!(daemon.ports().ports.iter().all(|port| port.queues == 2));
    let before = worker_turns(&mut daemon);
    for ipv6 in [false, true] {
        send_all(&topology, ipv6, 64, 5_000);
    }
    let after = worker_turns(&mut daemon);
    let turns: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    assert_eq!(turns.len(), 2, "{turns:?}");
    // An idle worker wakes about a hundred times a second, to look around.
    assert!(turns.iter().all(|turns| *turns > 600), "a worker has had little to do: {turns:?}");
    daemon.assert_forwarded(10_000);
    daemon.assert_books_balance();
}

/// What comes in by a queue that has no transmit queue of its number leaves all the same.
#[test]
fn fewer_transmit_queues_than_receive_queues() {
    let options = RouterOptions { queues: 2, permanent_neighbours: true, ..Default::default() };
    let topology = RouterTopology::new(&options).expect("a topology");
    for port in topology.router_ports() {
        topology.router.set_transmit_queues(port.interface, 1).expect("a queue less");
    }
    let tables = "[workers]\ncount_max = 2\n";
    let options = common::Options::of_router(&topology, PortMode::Native).tables(tables);
    let daemon = Daemon::start(&topology.router, &options);
    assert_eq!(daemon.client().health().expect("an answer").workers, 1, "one can transmit");
    assert!(daemon.ports().ports.iter().all(|port| port.queues == 2), "both are served");
    for ipv6 in [false, true] {
        send_all(&topology, ipv6, 64, 5_000);
    }
    daemon.assert_forwarded(10_000);
    daemon.assert_books_balance();
}

/// How often each worker's thread has been given a core: the third number of its schedstat.
fn worker_turns(daemon: &mut Daemon) -> Vec<u64> {
    let tasks = format!("/proc/{}/task", daemon.process().id());
    let mut workers: Vec<(String, u64)> = std::fs::read_dir(tasks)
        .expect("a list of threads")
        .filter_map(|task| {
            let task = task.expect("an entry").path();
            let name = std::fs::read_to_string(task.join("comm")).ok()?;
            let turns = std::fs::read_to_string(task.join("schedstat")).ok()?;
            let turns = turns.split_whitespace().nth(2)?.parse().ok()?;
            name.starts_with("worker-").then_some((name, turns))
        })
        .collect();
    workers.sort();
    workers.into_iter().map(|(_, turns)| turns).collect()
}
