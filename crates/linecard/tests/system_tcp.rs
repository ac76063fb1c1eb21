//! TCP through the router, with iperf3 and across restarts of the daemon.

mod common;

use std::net::SocketAddr;

use common::{
    DEADLINE, Daemon, PortMode, for_each_port_mode, iperf3, kernel_forwarded, resolved_topology,
};
use linecard_lab::{TcpDirection, TcpTransfer, wait_for};

for_each_port_mode!(iperf3_both_ways, a_transfer_survives_restarts);

fn iperf3_both_ways(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let _server = iperf3::server(&topology.server, None);
    let kernel_before = kernel_forwarded(&topology.router);
    for ipv6 in [false, true] {
        for reverse in [false, true] {
            let before = daemon.total().forwarded_bytes;
            let reverse_keys: &[&str] = if reverse { &["--reverse"] } else { &[] };
            let report = iperf3::run(&topology, topology.server_address(ipv6), reverse_keys);
            let received = iperf3::bytes(&report, "sum_received");
            // 145 to 386 MB were measured on two busy cores; less than this would be no rate at all.
            assert!(received > 10_000_000, "IPv6 {ipv6}, reverse {reverse}: {received} bytes");
            let forwarded = daemon.total().forwarded_bytes - before;
            assert!(forwarded > received, "{forwarded} bytes forwarded of {received} and headers");
        }
    }
    daemon.assert_books_balance();
    assert_eq!(kernel_forwarded(&topology.router), kernel_before, "nothing by the kernel");
}

/// The daemon stops, starts, is killed and starts again, and TCP only notices a lost segment.
fn a_transfer_survives_restarts(mode: PortMode) {
    let topology = resolved_topology();
    let mut daemon = Daemon::on_router(&topology, mode);
    for (ipv6, direction) in [(false, TcpDirection::Upload), (true, TcpDirection::Download)] {
        let transfer = TcpTransfer {
            direction,
            duration_max: 4 * DEADLINE,
            stall_max: DEADLINE,
            ..TcpTransfer::to(SocketAddr::new(topology.server_address(ipv6), 0))
        };
        let run = transfer.start(&topology.client, &topology.server).expect("a connection");
        let more = |what: &str| {
            let goal = run.received() + 2_000_000;
            wait_for(what, DEADLINE, || Ok(run.received() >= goal)).expect("TCP flows");
        };
        more("TCP through Linecard");
        let forwarded = daemon.total().forwarded_bytes;
        assert!(forwarded > 1_000_000, "{forwarded} bytes forwarded");
        let status = daemon.stop();
        assert!(status.success(), "{status}");
        more("TCP through the kernel");
        daemon.start_again();
        more("TCP through Linecard again");
        daemon.kill();
        more("TCP through the kernel after a crash");
        daemon.start_again();
        // What the server reads may have come before: Linecard's own count tells.
        let before = daemon.total().forwarded_bytes;
        daemon.wait_for("TCP through Linecard after a crash", |daemon| {
            daemon.total().forwarded_bytes > before + 1_000_000
        });
        more("TCP goes on");
        let report = run.stop().expect("the stream ends in good order");
        assert_eq!(report.chunks_spoilt, 0, "{report:?}");
        daemon.assert_books_balance();
    }
}
