//! UDP loads and TCP transfers through the kernel's own forwarding. Needs root.

use std::net::SocketAddr;
use std::time::Duration;

use linecard_lab::{
    Namespace, RouterOptions, RouterTopology, TcpDirection, TcpTransfer, UdpLoad, UdpSink, wait_for,
};

const TIMEOUT: Duration = Duration::from_secs(10);

fn topology() -> RouterTopology {
    RouterTopology::new(&RouterOptions::default()).unwrap()
}

fn sink(topology: &RouterTopology, ipv6: bool) -> UdpSink {
    let address = SocketAddr::new(topology.server_address(ipv6), 0);
    UdpSink::start(&topology.server, &[address]).unwrap()
}

#[test]
fn every_datagram_of_a_paced_load_is_counted() {
    let topology = topology();
    for ipv6 in [false, true] {
        let sink = sink(&topology, ipv6);
        let load = UdpLoad {
            flows: 64,
            packets_per_second: Some(20_000),
            packets_max: 2_000,
            ..UdpLoad::to(sink.addresses()[0])
        };
        let sent = load.start(&topology.client).unwrap().join();
        assert_eq!((sent.packets, sent.failures), (2_000, 0));
        assert!(sent.elapsed >= Duration::from_millis(99), "it is paced: {sent:?}");
        assert!(sink.wait_packets(2_000, TIMEOUT));
        let report = sink.stop();
        assert_eq!((report.packets, report.missing, report.duplicates), (2_000, 0, 0));
        assert_eq!((report.foreign, report.overflowed, report.reordered), (0, 0, 0));
        assert_eq!(report.payload_bytes, 2_000 * 64);
        assert_eq!(report.flows.len(), 64);
        assert!(report.flows.iter().all(|flow| (31..=32).contains(&flow.packets)), "{report:?}");
        assert_eq!(report.outage_longest, Duration::ZERO);
    }
    // The flows spread over both paths.
    for port in [&topology.path_a.near, &topology.path_b.near] {
        let counters = topology.router.interface(port.interface).unwrap().counters;
        assert!(counters.tx_packets > 400, "{}: {counters:?}", port.interface);
    }
}

#[test]
fn a_load_runs_flat_out_until_it_is_stopped() {
    let topology = topology();
    let sink = sink(&topology, false);
    let load = UdpLoad {
        packets_per_second: None,
        payload_bytes: 18,
        duration_max: Duration::from_secs(60),
        ..UdpLoad::to(sink.addresses()[0])
    };
    let generator = load.start(&topology.client).unwrap();
    assert!(sink.wait_packets(10_000, TIMEOUT));
    assert!(!generator.is_finished());
    let sent = generator.stop();
    assert!(sent.packets >= 10_000);
    assert!(sent.elapsed < Duration::from_secs(60));
    // Whatever did not arrive was counted where it was dropped: by a full socket or a full backlog.
    let accounted = || {
        let report = sink.report();
        report.packets + report.overflowed + dropped_on_the_way(&topology)
    };
    wait_for("every datagram accounted for", TIMEOUT, || Ok(accounted() == sent.packets)).unwrap();
    assert_eq!(sink.stop().duplicates, 0);
}

/// What the veths between client and server dropped on transmission.
fn dropped_on_the_way(topology: &RouterTopology) -> u64 {
    let dropped = |namespace: &Namespace, interface| {
        namespace.interface(interface).unwrap().counters.tx_dropped
    };
    dropped(&topology.client, topology.client_link.near.interface)
        + dropped(&topology.router, topology.path_a.near.interface)
        + dropped(&topology.router, topology.path_b.near.interface)
}

#[test]
fn a_load_of_thousands_of_flows_has_a_five_tuple_for_each() {
    let topology = topology();
    let sink = sink(&topology, false);
    let load = UdpLoad {
        flows: 3_000,
        source_port: Some(20_000),
        packets_per_second: Some(50_000),
        packets_max: 3_000,
        ..UdpLoad::to(sink.addresses()[0])
    };
    let sent = load.start(&topology.client).unwrap().join();
    assert!(sink.wait_packets(sent.packets, TIMEOUT));
    let report = sink.stop();
    assert_eq!(report.flows.len(), 3_000);
    assert!(report.flows.iter().all(|flow| flow.packets == 1));
}

#[test]
fn a_sink_measures_an_outage_by_the_senders_clock() {
    let topology = topology();
    let sink = sink(&topology, false);
    let load = UdpLoad {
        packets_per_second: Some(10_000),
        packets_max: 5_000,
        ..UdpLoad::to(sink.addresses()[0])
    };
    let generator = load.start(&topology.client).unwrap();
    assert!(sink.wait_packets(500, TIMEOUT));
    topology.router.sysctl("net.ipv4.ip_forward", "0").unwrap();
    let lost_from = generator.sent();
    wait_for("500 lost datagrams", TIMEOUT, || Ok(generator.sent() >= lost_from + 500)).unwrap();
    topology.router.sysctl("net.ipv4.ip_forward", "1").unwrap();
    let sent = generator.join();
    let last = sink.wait_packets(sent.packets, Duration::from_millis(200));
    assert!(!last, "some are lost");
    let report = sink.stop();
    assert_eq!(report.packets + report.missing, sent.packets, "the last one came");
    assert!(report.missing_run_longest >= 500, "{report:?}");
    assert!(report.outage_longest >= Duration::from_millis(40), "{report:?}");
    assert!(report.outage_longest < Duration::from_secs(1), "{report:?}");
}

#[test]
fn a_load_to_nowhere_counts_refusals_and_ends() {
    let topology = topology();
    let closed = SocketAddr::new(topology.server_address(false), 9);
    let load = UdpLoad { packets_max: 50, ..UdpLoad::to(closed) };
    let sent = load.start(&topology.client).unwrap().join();
    assert_eq!(sent.packets, 50);
    assert!(sent.failures > 0, "port unreachable comes back: {sent:?}");
    assert_eq!(sent.last_errno, Some(111));
    let error = UdpLoad { payload_bytes: 17, ..load }.start(&topology.client).unwrap_err();
    assert!(error.to_string().contains("18–65,507"), "{error}");
}

#[test]
fn a_tcp_transfer_brings_every_byte_either_way() {
    let topology = topology();
    for ipv6 in [false, true] {
        for direction in [TcpDirection::Upload, TcpDirection::Download] {
            let server = SocketAddr::new(topology.server_address(ipv6), 0);
            let bytes_max = 8_000_003;
            let transfer = TcpTransfer { direction, bytes_max, ..TcpTransfer::to(server) };
            let run = transfer.start(&topology.client, &topology.server).unwrap();
            let report = run.join().unwrap();
            assert_eq!((report.bytes, report.chunks_spoilt), (bytes_max, 0));
            assert!(report.bits_per_second() > 0.0 && report.stall_longest < report.elapsed);
        }
    }
}

#[test]
fn a_tcp_transfer_stops_on_request_and_shows_a_stall() {
    let topology = topology();
    let server = SocketAddr::new(topology.server_address(false), 0);
    let run = TcpTransfer::to(server).start(&topology.client, &topology.server).unwrap();
    let arrives = |more: u64| {
        let target = run.received() + more;
        wait_for("more bytes", TIMEOUT, || Ok(run.received() >= target)).unwrap();
    };
    arrives(100_000);
    topology.router.sysctl("net.ipv4.ip_forward", "0").unwrap();
    let quiet_since = std::time::Instant::now();
    let outage = Duration::from_millis(100);
    wait_for("an outage", TIMEOUT, || Ok(quiet_since.elapsed() >= outage)).unwrap();
    topology.router.sysctl("net.ipv4.ip_forward", "1").unwrap();
    arrives(100_000);
    let report = run.stop().unwrap();
    assert!(report.bytes >= 200_000 && report.chunks_spoilt == 0, "{report:?}");
    assert!(report.stall_longest >= Duration::from_millis(90), "{report:?}");
}
