//! The kernel takes over: Linecard is killed, stopped, started and started again under load on every
//! port, and what that costs is counted.
//!
//! Times here are by the sender's clock, from the last datagram that arrived before the event to the
//! first that arrived after it, on the worst of all ports. A single round can be spoilt by whatever else
//! the machine does, so the median of several is held against the promise; each round is printed.
//! `LINECARD_FAILOVER_ROUNDS` asks for more of them (docs/performance.md).

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::{DEADLINE, Daemon, Options, PortMode};
use ipnet::{IpNet, Ipv4Net};
use linecard_lab::{
    Namespace, Route, RouterOptions, RouterTopology, TcpTransfer, UdpGenerator, UdpLoad, UdpSink,
    VethOptions, create_veth,
};

/// Pairs of a client's and a server's link; the router has twice as many ports.
const PAIRS: u8 = 3;
/// Datagrams a second on each port: 5 ms are 10 of them.
const PACKETS_PER_SECOND: u64 = 2_000;
/// Datagrams that must have arrived on each port before and after an event.
const PACKETS_BETWEEN: u64 = 200;

/// What a kill may cost, and what a graceful stop may.
const KILL_MAX: Duration = Duration::from_millis(5);
const STOP_MAX: Duration = Duration::from_millis(1);

fn rounds() -> usize {
    let asked = std::env::var("LINECARD_FAILOVER_ROUNDS").ok();
    asked.map_or(5, |text| text.parse().expect("LINECARD_FAILOVER_ROUNDS is a number"))
}

/// A router with a pair of links for each client-server pair.
struct Pairs {
    clients: Namespace,
    router: Namespace,
    servers: Namespace,
}

fn client(pair: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, pair, 2)
}

fn server(pair: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 19, pair, 2)
}

impl Pairs {
    fn new() -> Self {
        let namespace = |name| Namespace::new(name).expect("run as root");
        let pairs = Self {
            clients: namespace("clients"),
            router: namespace("router"),
            servers: namespace("servers"),
        };
        pairs.router.sysctl("net.ipv4.ip_forward", "1").expect("sysctl");
        for pair in 0..PAIRS {
            pairs.link(&pairs.clients, &format!("c{pair}"), &format!("rc{pair}"), client(pair));
            pairs.link(&pairs.servers, &format!("s{pair}"), &format!("rs{pair}"), server(pair));
        }
        for pair in 0..PAIRS {
            route(&pairs.clients, server(pair), client(pair));
            route(&pairs.servers, client(pair), server(pair));
        }
        pairs
    }

    fn link(&self, hosts: &Namespace, near: &str, far: &str, host: Ipv4Addr) {
        create_veth((hosts, near), (&self.router, far), &VethOptions::default()).expect("veth");
        let net = |address: Ipv4Addr| IpNet::from(Ipv4Net::new(address, 24).expect("a length"));
        hosts.disable_tx_offloads(near).expect("ethtool");
        hosts.add_address(near, net(host)).expect("address");
        self.router.add_address(far, net(gateway(host))).expect("address");
        hosts.set_up(near).expect("up");
        self.router.set_up(far).expect("up");
        hosts.wait_running(near, DEADLINE).expect("a carrier");
        self.router.wait_running(far, DEADLINE).expect("a carrier");
    }

    fn options(&self, mode: PortMode) -> Options {
        let names: Vec<String> =
            (0..PAIRS).flat_map(|pair| [format!("rc{pair}"), format!("rs{pair}")]).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if mode == PortMode::Redirected {
            for (hosts, prefix) in [(&self.clients, 'c'), (&self.servers, 's')] {
                for pair in 0..PAIRS {
                    let host = format!("{prefix}{pair}");
                    hosts.set_features(&host, &[("rx-gro", true)]).expect("a feature of veth");
                }
            }
        }
        Options::new(&names, mode)
    }

    /// Load on every port, in both directions.
    fn load(&self) -> Vec<(UdpGenerator, UdpSink)> {
        let both = |pair| {
            [
                (&self.clients, &self.servers, client(pair), server(pair)),
                (&self.servers, &self.clients, server(pair), client(pair)),
            ]
        };
        (0..PAIRS)
            .flat_map(both)
            .map(|(from, to, source, destination)| {
                let address = SocketAddr::new(IpAddr::V4(destination), 0);
                let sink = UdpSink::start(to, &[address]).expect("a sink");
                let load = UdpLoad {
                    source: Some(IpAddr::V4(source)),
                    packets_per_second: Some(PACKETS_PER_SECOND),
                    packets_max: 1_000_000,
                    duration_max: DEADLINE * 4,
                    ..UdpLoad::to(sink.addresses()[0])
                };
                (load.start(from).expect("a load"), sink)
            })
            .collect()
    }
}

fn gateway(host: Ipv4Addr) -> Ipv4Addr {
    let [a, b, c, _] = host.octets();
    Ipv4Addr::new(a, b, c, 1)
}

fn route(namespace: &Namespace, to: Ipv4Addr, from: Ipv4Addr) {
    let prefix = Ipv4Net::new(to, 24).expect("a length").trunc();
    namespace.add_route(&Route::via(prefix.into(), gateway(from).into())).expect("route");
}

/// Waits until traffic has gone on for a while on every port.
fn flow_on(load: &[(UdpGenerator, UdpSink)]) {
    for (_, sink) in load {
        let enough = sink.packets() + PACKETS_BETWEEN;
        assert!(sink.wait_packets(enough, DEADLINE), "traffic has stopped: {:#?}", sink.report());
    }
}

/// Ends the load; what was lost, and the longest outage, on the worst port.
fn tally(load: Vec<(UdpGenerator, UdpSink)>) -> (u64, Duration) {
    let mut worst = (0, Duration::ZERO);
    for (generator, sink) in load {
        let sent = generator.stop();
        assert_eq!(sent.failures, 0, "the sender itself failed: {sent:?}");
        // What is under way when the sender stops arrives in its own time.
        sink.wait_packets(sent.packets, Duration::from_millis(200));
        let report = sink.stop();
        assert_eq!(report.overflowed, 0, "the sink itself lost packets: {report:?}");
        let outage = if report.missing == 0 { Duration::ZERO } else { report.outage_longest };
        worst = (worst.0.max(report.missing), worst.1.max(outage));
    }
    worst
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Starts a daemon under load, lets `event` happen to it under load, and holds the median of the
/// outages against `max`.
fn outage_at(what: &str, mode: PortMode, max: Duration, event: impl Fn(&mut Daemon)) {
    let pairs = Pairs::new();
    let mut daemon = Daemon::start(&pairs.router, &pairs.options(mode));
    let mut outages = Vec::new();
    for round in 0..rounds() {
        let load = pairs.load();
        flow_on(&load);
        let carried = daemon.total().received_packets;
        assert!(carried >= u64::from(PAIRS) * PACKETS_BETWEEN, "Linecard carries the load");
        event(&mut daemon);
        flow_on(&load);
        let (missing, outage) = tally(load);
        println!("{what} {mode:?} round {round}: at most {missing} lost, {outage:?} on a port");
        outages.push(outage);
        daemon.start_again();
    }
    let median = median(outages);
    println!("{what} {mode:?}: median {median:?} of the worst of {} ports", 2 * PAIRS);
    assert!(median <= max, "{what} {mode:?}: {median:?}, more than {max:?}");
}

#[test]
fn a_kill_under_load_on_every_port_costs_no_more_than_5_ms() {
    for mode in PortMode::ALL {
        outage_at("kill -9", mode, KILL_MAX, Daemon::kill);
    }
}

#[test]
fn a_graceful_stop_costs_less_than_1_ms() {
    for mode in PortMode::ALL {
        outage_at("stop", mode, STOP_MAX, |daemon| {
            let status = daemon.stop();
            assert!(status.success(), "{status}\n{}", daemon.log());
        });
    }
}

#[test]
fn attaching_to_live_traffic_costs_nothing() {
    for mode in PortMode::ALL {
        let pairs = Pairs::new();
        let load = pairs.load();
        flow_on(&load);
        let daemon = Daemon::start(&pairs.router, &pairs.options(mode));
        flow_on(&load);
        let (missing, _) = tally(load);
        assert_eq!(missing, 0, "{mode:?}");
        daemon.assert_books_balance();
    }
}

#[test]
fn tcp_does_not_notice_kills_and_restarts() {
    for mode in PortMode::ALL {
        let topology = RouterTopology::new(&RouterOptions::default()).expect("run as root");
        let mut daemon = Daemon::on_router(&topology, mode);
        let server = SocketAddr::new(topology.server_address(false), 0);
        let transfer = TcpTransfer { duration_max: DEADLINE * 4, ..TcpTransfer::to(server) };
        let run = transfer.start(&topology.client, &topology.server).expect("a connection");
        for _ in 0..3 {
            let more = run.received() + 1_000_000;
            daemon.wait_for("bytes go through Linecard", |_| run.received() > more);
            daemon.kill();
            daemon.start_again();
        }
        let more = run.received() + 1_000_000;
        daemon.wait_for("bytes go through Linecard", |_| run.received() > more);
        let report = run.stop().expect("the connection lives");
        assert_eq!(report.chunks_spoilt, 0, "{mode:?}: {report:?}");
        println!("{mode:?}: {} bytes, longest stall {:?}", report.bytes, report.stall_longest);
        daemon.assert_books_balance();
    }
}
