//! `linecard show` against an API that answers what the test says.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use linecard_api::{Server, ServerConfig, Source};
use linecard_observe::{
    HealthReport, HealthState, NeighbourReport, NeighbourState, NeighboursReport, NextHopReport,
    PassedReport, PortReport, PortRouteCacheReport, PortState, PortsReport, RouteCacheObstacle,
    RouteCacheReport, RouteKind, RouteQuery, RouteReport, RoutesReport,
};
use linecard_packet::{DropReason, PortTotals, PuntReason};
use serde_json::Value;
use tempfile::TempDir;

const ROUTES: u32 = 12_000;

/// Of eth0 it is on, as of a third port; eth1's peer is not ready.
fn route_cache(name: &str) -> RouteCacheReport {
    let ports = [vec![], vec![RouteCacheObstacle::PeerNotReady], vec![]];
    RouteCacheReport::of_ports(&ports).remove(usize::from(name == "eth1"))
}

struct Fixed {
    state: HealthState,
}

impl Source for Fixed {
    fn ports(&self) -> PortsReport {
        let mut totals =
            PortTotals { received_packets: 1_234_567, sent_packets: 7, ..PortTotals::default() };
        totals.dropped_packets[DropReason::Blackhole] = 3;
        totals.dropped_bytes[DropReason::Blackhole] = 4_542;
        totals.dropped_packets[DropReason::ReceiveRingFull] = 2;
        totals.punted_packets[PuntReason::TtlExpired] = 4_000;
        totals.punted_bytes[PuntReason::TtlExpired] = 240_000;
        let port = |name: &str, totals| PortReport {
            name: name.to_owned(),
            kind: "xdp".to_owned(),
            mode: "native copy".to_owned(),
            state: PortState::Up,
            queues: 1,
            route_cache: Some(route_cache(name)),
            totals,
            passed: vec![PassedReport {
                reason: "not_ip".to_owned(),
                description: "It is neither IPv4 nor IPv6.".to_owned(),
                packets: 9,
                bytes: 540,
            }],
        };
        PortsReport::new(vec![port("eth0", totals), port("eth1", PortTotals::default())])
    }

    fn routes(&self, query: &RouteQuery) -> RoutesReport {
        let prefix = |n: u32| Ipv4Net::new((n << 8).into(), 24).expect("a length below 33");
        let hop = |name: &str, last, weight| NextHopReport {
            interface: name.to_owned(),
            gateway: Some([192, 0, 2, last].into()),
            weight,
        };
        let route = |n| RouteReport {
            prefix: IpNet::from(prefix(n)),
            kind: RouteKind::Unicast,
            next_hops: vec![hop("eth0", 2, 1), hop("eth1", 3, 2)],
        };
        query.page((0..ROUTES).map(route))
    }

    fn neighbours(&self) -> NeighboursReport {
        NeighboursReport {
            neighbours: vec![NeighbourReport {
                interface: "eth0".to_owned(),
                address: [192, 0, 2, 2].into(),
                mac_address: Some("02:00:00:00:00:02".to_owned()),
                state: NeighbourState::Usable,
            }],
        }
    }

    fn health(&self) -> HealthReport {
        HealthReport {
            state: self.state,
            troubles: vec!["port eth9 is gone".to_owned()],
            version: "1.2.3".to_owned(),
            uptime_seconds: 3600,
            workers: 2,
            snapshot_version: 7,
            routes: 100_005,
            route_cache: ["eth0", "eth1"]
                .map(|port| PortRouteCacheReport {
                    port: port.to_owned(),
                    report: route_cache(port),
                })
                .into(),
            netlink_overruns: 0,
            netlink_resyncs: 1,
            table_overflows: 0,
        }
    }
}

/// A server on a socket of its own.
struct Daemon {
    _directory: TempDir,
    server: Server,
}

fn daemon() -> Daemon {
    daemon_that_is(HealthState::Degraded)
}

fn daemon_that_is(state: HealthState) -> Daemon {
    let directory = tempfile::tempdir().expect("a directory of our own");
    let config = ServerConfig { socket: directory.path().join("linecard.sock"), group: None };
    let server = Server::start(&config, Arc::new(Fixed { state })).expect("the server starts");
    Daemon { _directory: directory, server }
}

impl Daemon {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_linecard"));
        command.arg("show").args(arguments).arg("--socket").arg(self.server.socket());
        command
    }

    fn show(&self, arguments: &[&str]) -> String {
        let output: Output = self.command(arguments).output().expect("the binary was built");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        // Of this daemon's health the exit status says that it is not well.
        let status = i32::from(arguments[0] == "health");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.show(&[arguments, &["--json"]].concat())).expect("JSON")
    }
}

#[test]
fn ports_are_a_table_with_numbers_at_the_right() {
    let daemon = daemon();
    let text = daemon.show(&["ports"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "port   kind  mode         state  route cache   received  bytes  sent  bytes  queued  redirected  dropped  bytes  punted    bytes",
            "eth0   xdp   native copy  up     on           1,234,567      0     7      0       0           0        5  4,542   4,000  240,000",
        ]
    );
    assert!(lines[3].starts_with("total"), "{text}");
    let last = text.lines().last().expect("a line");
    assert!(last.starts_with("route cache: in only (eth1): its peer has neither GRO"), "{text}");
    let report = daemon.json(&["ports"]);
    let part = &report["ports"][1]["route_cache"];
    assert_eq!(
        (&part["state"], part["obstacles"][0]["reason"].as_str()),
        (&Value::from("in_only"), Some("peer_not_ready"))
    );
    assert_eq!(report["ports"][0]["received_packets"], 1_234_567);
    assert_eq!(report["total"]["punted_packets"]["ttl_expired"], 4_000);
}

#[test]
fn drops_show_what_happened_and_all_on_request() {
    let daemon = daemon();
    let text = daemon.show(&["drops"]);
    assert!(
        text.contains("blackhole                3  4,542  eth0 3  The route is of type"),
        "{text}"
    );
    assert!(text.contains("receive_ring_full        2      -  eth0 2  "), "{text}");
    let lines: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let follows = |title: &str, start: &str| {
        let at = lines.iter().position(|line| line.starts_with(title)).expect(title);
        assert!(lines[at + 1].starts_with("reason packets bytes ports meaning"), "{text}");
        assert!(lines[at + 2].starts_with(start), "{text}");
    };
    follows("handed to the kernel by the pipeline", "ttl_expired 4,000 240,000 eth0 4,000");
    follows(
        "left to the kernel by the classifier, never received",
        "not_ip 18 1,080 eth0 9, eth1 9 It is neither IPv4 nor IPv6.",
    );
    assert!(!text.contains("martian_source"), "{text}");
    let all = daemon.show(&["drops", "--all"]);
    for reason in DropReason::ALL {
        assert!(all.contains(reason.label()), "{reason}: {all}");
    }
    let report = daemon.json(&["drops"]);
    assert_eq!(report["drops"].as_array().map(Vec::len), Some(DropReason::COUNT));
}

#[test]
fn routes_come_whole_over_several_pages() {
    let daemon = daemon();
    let text = daemon.show(&["routes"]);
    assert_eq!(text.lines().count(), ROUTES as usize + 1);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("prefix                         kind      next hops"));
    assert_eq!(
        lines.next(),
        Some(
            "0.0.0.0/24                     unicast   via 192.0.2.2 on eth0 weight 1, via \
             192.0.2.3 on eth1 weight 2"
        )
    );
    assert_eq!(daemon.show(&["routes", "--limit", "7"]).lines().count(), 8);
    assert_eq!(daemon.show(&["routes", "--covers", "0.1.0.9"]).lines().count(), 2);
    assert_eq!(daemon.show(&["routes", "--prefix", "0.1.0.0/16"]).lines().count(), 257);
    let report = daemon.json(&["routes"]);
    assert_eq!(report["routes"].as_array().map(Vec::len), Some(ROUTES as usize));
    assert_eq!(daemon.json(&["routes", "--prefix", "10.0.0.0/8"])["routes"], Value::Array(vec![]));
    let output = daemon.command(&["routes", "--prefix", "10.0.0.0/8"]).output().expect("built");
    assert_eq!((output.status.code(), output.stdout), (Some(0), Vec::new()));
    assert_eq!(output.stderr, b"no route matches\n");
}

#[test]
fn a_reader_of_routes_may_go_away() {
    let daemon = daemon();
    let mut child = daemon
        .command(&["routes"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut first = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    reader.read_line(&mut first).expect("a line");
    assert!(first.starts_with("prefix"), "{first}");
    drop(reader);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn neighbours_and_health_are_shown() {
    let daemon = daemon();
    let text = daemon.show(&["neighbours"]);
    assert!(text.contains("eth0       192.0.2.2  02:00:00:00:00:02  usable"), "{text}");
    let text = daemon.show(&["health"]);
    assert!(text.contains("state        degraded"), "{text}");
    assert!(text.contains("trouble      port eth9 is gone"), "{text}");
    assert!(text.contains("\nroute cache  on (eth0)\nroute cache  in only (eth1): its"), "{text}");
    let report = daemon.json(&["health"]);
    assert_eq!(report["uptime_seconds"], 3600);
    let part = &report["route_cache"][1];
    assert_eq!((part["port"].as_str(), part["state"].as_str()), (Some("eth1"), Some("in_only")));
    let well = daemon_that_is(HealthState::Well);
    let output = well.command(&["health"]).output().expect("the binary was built");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn watching_ends_when_nobody_reads() {
    let daemon = daemon();
    let mut child = daemon
        .command(&["ports", "--watch", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    reader.read_line(&mut line).expect("a line");
    let rates: Value = serde_json::from_str(&line).expect("one line is one answer");
    assert_eq!(rates[2]["name"], "total");
    assert_eq!(rates[2]["received_packets_per_second"], 0);
    drop(reader);
    assert!(child.wait().expect("it ends").success());
}
