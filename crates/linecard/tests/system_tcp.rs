//! TCP through the router, with iperf3 and across restarts of the daemon.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use common::{
    DEADLINE, Daemon, PortMode, for_each_port_mode, kernel_forwarded, resolved_topology, run_in,
    text,
};
use linecard_lab::{
    Namespace, Process, RouterTopology, TcpDirection, TcpTransfer, command_that_dies_with_us,
    wait_for,
};
use serde_json::Value;

for_each_port_mode!(iperf3_both_ways, a_transfer_survives_restarts);

const IPERF3_PORT: u16 = 5201;

/// An iperf3 server that listens.
fn iperf3_server(namespace: &Namespace) -> Process {
    let mut command = command_that_dies_with_us("iperf3");
    command.args(["--server", "--port", &IPERF3_PORT.to_string()]);
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let process = namespace.spawn(command).expect("the system tests need iperf3");
    let listening = format!(":{IPERF3_PORT:04X} ");
    wait_for("iperf3 listening", DEADLINE, || {
        let sockets = namespace.run(|| {
            let read = |path| std::fs::read_to_string(path).unwrap_or_default();
            read("/proc/thread-self/net/tcp") + &read("/proc/thread-self/net/tcp6")
        });
        Ok(sockets.lines().any(|line| {
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().unwrap_or_default();
            format!("{local} ").ends_with(&listening) && words.nth(1) == Some("0A")
        }))
    })
    .expect("it listens");
    process
}

/// Two seconds of iperf3 from the client; returns the bytes that its receiving side got.
fn iperf3(topology: &RouterTopology, address: IpAddr, reverse: bool) -> u64 {
    let mut command = Command::new("iperf3");
    command.args(["--json", "--time", "2", "--connect-timeout", "10000"]);
    command.args(["--port", &IPERF3_PORT.to_string(), "--client", &address.to_string()]);
    if reverse {
        command.arg("--reverse");
    }
    let output = run_in(&topology.client, command);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)));
    assert!(output.status.success() && report.get("error").is_none(), "{report}");
    report["end"]["sum_received"]["bytes"].as_u64().expect("a number")
}

fn iperf3_both_ways(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let _server = iperf3_server(&topology.server);
    let kernel_before = kernel_forwarded(&topology.router);
    for ipv6 in [false, true] {
        for reverse in [false, true] {
            let before = daemon.total().forwarded_bytes;
            let received = iperf3(&topology, topology.server_address(ipv6), reverse);
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
