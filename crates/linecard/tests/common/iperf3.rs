//! iperf3 through the router.

use std::net::IpAddr;
use std::process::{Command, Stdio};

use linecard_lab::{Namespace, Process, RouterTopology, command_that_dies_with_us, wait_for};
use serde_json::Value;

use super::{DEADLINE, run_in, text};

const PORT: u16 = 5201;

/// An iperf3 server that listens; with an address it answers UDP from there, whatever its routes are.
pub fn server(namespace: &Namespace, address: Option<IpAddr>) -> Process {
    let mut command = command_that_dies_with_us("iperf3");
    command.args(["--server", "--port", &PORT.to_string()]);
    command.args(address.map(|address| format!("--bind={address}")));
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let process = namespace.spawn(command).expect("the system tests need iperf3");
    let listening = format!(":{PORT:04X} ");
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

/// Two seconds of iperf3 from the client, with these options besides; returns its report.
pub fn run(topology: &RouterTopology, address: IpAddr, options: &[&str]) -> Value {
    let mut command = Command::new("iperf3");
    command.args(["--json", "--time", "2", "--connect-timeout", "10000"]);
    command.args(["--port", &PORT.to_string(), "--client", &address.to_string()]).args(options);
    let output = run_in(&topology.client, command);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)));
    assert!(output.status.success() && report.get("error").is_none(), "{report}");
    report
}

/// The bytes that one of the sums at a report's end has.
pub fn bytes(report: &Value, sum: &str) -> u64 {
    report["end"][sum]["bytes"].as_u64().unwrap_or_else(|| panic!("no {sum} in {report}"))
}
