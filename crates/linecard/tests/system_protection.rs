//! Floods at the router's own address, while FRR in the router holds sessions over the very port by which they
//! come: BGP with a hold time of 9 seconds, OSPF and BFD.
//!
//! `cargo test -p linecard --test system_protection -- --nocapture` prints what each flood was and what became
//! of it.

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{DEADLINE, Daemon, Options, PortMode};
use linecard_lab::{
    FloodKind, FloodLoad, PingOptions, RouterOptions, RouterTopology, RoutingDaemon, ping, wait_for,
};
use linecard_observe::ClassReport;
use linecard_packet::DropReason;
use serde_json::Value;

/// How long sessions may take to come up, on a busy machine.
const UP_WITHIN: Duration = Duration::from_secs(120);
/// Frames of a flood that must have been too many before the next one begins.
const LIMITED_MIN: u64 = 100_000;
/// Keepalives come every three seconds: with so many the hold time has passed in a flood.
const KEEPALIVES_IN_HOLD_TIME: u64 = 4;

/// FRR's programs at one end of the link between client and router.
fn frr(topology: &RouterTopology, in_router: bool) -> RoutingDaemon {
    let link = &topology.client_link;
    let (namespace, own, other, numbers) = match in_router {
        true => (&topology.router, &link.far, &link.near, [65_001, 65_002]),
        false => (&topology.client, &link.near, &link.far, [65_002, 65_001]),
    };
    let (address, peer) = (own.ipv4.addr(), other.ipv4.addr());
    let bgp = format!(
        "router bgp {}\n bgp router-id {address}\n no bgp ebgp-requires-policy\n \
         timers bgp 3 9\n neighbor {peer} remote-as {}\n neighbor {peer} timers connect 1\n",
        numbers[0], numbers[1]
    );
    let ospf = format!(
        "interface {}\n ip ospf hello-interval 1\n ip ospf dead-interval 10\nexit\n\
         router ospf\n ospf router-id {address}\n network {} area 0\nexit\n",
        own.interface,
        own.ipv4.trunc()
    );
    let bfd = format!(
        "bfd\n peer {peer}\n  detect-multiplier 20\n  receive-interval 500\n  \
         transmit-interval 500\n  no shutdown\n exit\nexit\n"
    );
    let more = [("ospfd", ospf.as_str()), ("bfdd", bfd.as_str())];
    RoutingDaemon::frr_with(namespace, &bgp, &more).expect("FRR starts")
}

/// What the router's FRR says of its sessions: what must not change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sessions {
    bgp_state: String,
    bgp_dropped: u64,
    ospf_state: String,
    ospf_changes: u64,
    bfd_status: String,
    bfd_downs: u64,
}

fn ask(frr: &RoutingDaemon, program: &str, command: &str) -> Value {
    let said = frr.ask(program, command).expect("FRR answers");
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command}: {error}: {said}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn bgp(frr: &RoutingDaemon, peer: &str) -> Value {
    ask(frr, "bgpd", "show bgp neighbors json")[peer].clone()
}

fn sessions(frr: &RoutingDaemon, peer: &str) -> Sessions {
    let bgp = bgp(frr, peer);
    let ospf = ask(frr, "ospfd", "show ip ospf neighbor detail json");
    let ospf = &ospf["neighbors"][peer][0];
    let bfd = ask(frr, "bfdd", "show bfd peers json");
    let counters = ask(frr, "bfdd", "show bfd peers counters json");
    Sessions {
        bgp_state: text(&bgp["bgpState"]),
        bgp_dropped: number(&bgp["connectionsDropped"]),
        ospf_state: text(&ospf["nbrState"]),
        ospf_changes: number(&ospf["stateChangeCounter"]),
        bfd_status: text(&bfd[0]["status"]),
        bfd_downs: number(&counters[0]["session-down"]),
    }
}

fn keepalives(frr: &RoutingDaemon, peer: &str) -> u64 {
    number(&bgp(frr, peer)["messageStats"]["keepalivesRecv"])
}

/// The router, its FRR and the neighbour's, with all sessions up, and somebody who is logged in.
struct Bed {
    topology: RouterTopology,
    daemon: Daemon,
    router: RoutingDaemon,
    _neighbour: RoutingDaemon,
    peer: String,
    login: TcpStream,
}

impl Bed {
    fn new(mode: PortMode) -> Self {
        let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
        // What a veth asks for before it takes redirected frames, where it has no XDP program.
        let port = topology.client_link.far.interface;
        topology.router.set_features(port, &[("rx-gro", true)]).expect("a feature of veth");
        serve_logins(&topology);
        let daemon = Daemon::on_router(&topology, mode);
        let (router, neighbour) = (frr(&topology, true), frr(&topology, false));
        let peer = topology.client_link.near.ipv4.addr().to_string();
        let up = || {
            let now = sessions(&router, &peer);
            let up = now.bgp_state == "Established" && now.bfd_status == "up";
            Ok(up && now.ospf_state.starts_with("Full"))
        };
        wait_for("the sessions", UP_WITHIN, up)
            .unwrap_or_else(|error| panic!("{error}: {:?}", sessions(&router, &peer)));
        let login = log_in(&topology).expect("the router listens");
        Self { topology, daemon, router, _neighbour: neighbour, peer, login }
    }

    fn class(&self, name: &str) -> ClassReport {
        let report = self.daemon.client().protection().expect("the daemon answers");
        let port = self.topology.client_link.far.interface;
        let of_port = report.ports.into_iter().find(|it| it.port == port).expect("it is a port");
        of_port.classes.into_iter().find(|it| it.class == name).expect("a class")
    }

    /// Floods the router until `class` has dropped plenty and `keepalives` have come. Meanwhile what is not of
    /// that class goes on.
    fn survives(&mut self, kind: FloodKind, class: &str, keepalives_wanted: u64) {
        let link = &self.topology.client_link;
        let load = FloodLoad {
            destination_mac: link.far.mac,
            source_mac: link.near.mac,
            sources: "203.0.113.0/24".parse().expect("a prefix"),
            destinations: link.far.ipv4.addr().into(),
            frame_bytes: 62,
            core: None,
        };
        let before = sessions(&self.router, &self.peer);
        let keepalives_before = keepalives(&self.router, &self.peer);
        let (dropped, started) = (self.class(class).dropped_packets, Instant::now());
        let flood = load.start_as(kind, &self.topology.client, link.near.interface);
        let flood = flood.expect("a flood");
        wait_for("the flood be limited, and keepalives", UP_WITHIN, || {
            let keepalives = keepalives(&self.router, &self.peer) - keepalives_before;
            let limited = self.class(class).dropped_packets - dropped;
            Ok(limited >= LIMITED_MIN && keepalives >= keepalives_wanted)
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", sessions(&self.router, &self.peer)));
        if kind != FloodKind::Ping {
            self.answers_pings();
        }
        if kind != FloodKind::Syn(22) {
            wait_for("a connection to port 22", DEADLINE, || Ok(log_in(&self.topology).is_ok()))
                .expect("nobody else wants one");
        }
        self.echoes();
        let made = flood.stop().expect("it went on all the while");
        assert_eq!(sessions(&self.router, &self.peer), before, "{kind:?}");
        let line = self.class(class);
        println!(
            "{kind:?}: {:.2} Mpps for {:.1} s: {class} passed {}, dropped {}",
            made.frames_per_second() / 1e6,
            started.elapsed().as_secs_f64(),
            line.passed_packets,
            line.dropped_packets
        );
    }

    fn answers_pings(&self) {
        let own = IpAddr::from(self.topology.client_link.far.ipv4.addr());
        let options = PingOptions { count: 1, ..PingOptions::default() };
        wait_for("an answer to a ping", DEADLINE, || {
            Ok(ping(&self.topology.client, own, &options)?.replies() == 1)
        })
        .expect("the router answers");
    }

    /// Whoever is logged in goes on working.
    fn echoes(&mut self) {
        self.login.write_all(b"hello").expect("the connection lives");
        let mut said = [0; 5];
        self.login.read_exact(&mut said).expect("the connection lives");
        assert_eq!(&said, b"hello");
    }
}

/// Says again what it hears on port 22 of the router.
fn serve_logins(topology: &RouterTopology) {
    let listener = topology.router.run(|| TcpListener::bind("0.0.0.0:22").expect("nobody has it"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
}

fn log_in(topology: &RouterTopology) -> std::io::Result<TcpStream> {
    let server = SocketAddr::from((topology.client_link.far.ipv4.addr(), 22));
    let stream = topology.client.run(|| TcpStream::connect_timeout(&server, DEADLINE))?;
    stream.set_read_timeout(Some(UP_WITHIN))?;
    Ok(stream)
}

fn floods_do_not_starve_the_router(mode: PortMode) {
    let mut bed = Bed::new(mode);
    bed.survives(FloodKind::Syn(179), "bgp", KEEPALIVES_IN_HOLD_TIME);
    bed.survives(FloodKind::Syn(22), "ssh", 1);
    bed.survives(FloodKind::Udp, "rest", 1);
    bed.survives(FloodKind::Ping, "icmp", 1);
    bed.survives(FloodKind::Arp, "arp_nd", 1);
    for class in ["established", "ospf", "bfd"] {
        let class = bed.class(class);
        assert!(class.passed_packets > 0, "{class:?}");
        assert_eq!(class.dropped_packets, 0, "{class:?}");
    }
    let dropped = bed.daemon.dropped(DropReason::RouterRateLimited);
    let report = bed.daemon.client().protection().expect("the daemon answers");
    let classes = report.ports.iter().flat_map(|port| &port.classes);
    assert_eq!(dropped, classes.map(|class| class.dropped_packets).sum::<u64>());
    bed.daemon.assert_books_balance();
}

#[test]
fn floods_do_not_starve_the_router_native() {
    floods_do_not_starve_the_router(PortMode::Native);
}

#[test]
fn floods_do_not_starve_the_router_packet() {
    floods_do_not_starve_the_router(PortMode::Packet);
}

#[test]
fn limits_are_read_again_and_shown() {
    let topology = RouterTopology::new(&RouterOptions::default()).expect("a topology");
    let with = |tables: &str| Options::of_router(&topology, PortMode::Native).tables(tables);
    let mut daemon =
        Daemon::start(&topology.router, &Options::of_router(&topology, PortMode::Native));
    let ssh = |daemon: &Daemon| {
        let report = daemon.show_json(&["protection"]);
        assert_eq!(report["ports"].as_array().map(Vec::len), Some(3), "{report}");
        let classes = report["ports"][0]["classes"].as_array().expect("classes").clone();
        let ssh = classes.into_iter().find(|class| class["class"] == "ssh").expect("ssh");
        (number(&ssh["rate_packets_per_second"]), number(&ssh["burst_packets"]))
    };
    assert_eq!(ssh(&daemon), (500, 200));
    daemon.configure(&with("[protection.ssh]\nrate_packets_per_second = 7\n"));
    let report = daemon.client().reload().expect("the file is right");
    assert_eq!(report.needs_restart, Vec::<String>::new());
    assert_eq!(report.changed_sections, ["[protection]"]);
    assert!(daemon.log().contains("reload: changed sections: [protection]"), "{}", daemon.log());
    assert_eq!(ssh(&daemon), (7, 200));
    let report = daemon.client().reload().expect("the file is right");
    assert_eq!(report.changes().count(), 0, "{report:?}");
    let shown = common::text(&daemon.show(&["protection", "--all"]).stdout);
    assert!(shown.contains("TCP to port 22"), "{shown}");

    daemon.configure(&with("[protection]\nmode = \"off\"\n"));
    let report = daemon.client().reload().expect("the file is right");
    assert_eq!(report.needs_restart, ["mode of [protection]"]);
    assert_eq!(ssh(&daemon), (7, 200));
    assert!(daemon.stop().success());
    daemon.start_again();
    let shown = common::text(&daemon.show(&["protection"]).stdout);
    assert_eq!(shown.trim(), "control-plane protection is off");
}
