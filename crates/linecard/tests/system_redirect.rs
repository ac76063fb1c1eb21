//! The route cache under the daemon: classifiers forward by themselves, and it shows in the speed only.
//!
//! That the rest is as without it, the tests of everything else say: they run with it as well, as
//! `redirected`.

mod common;

use std::net::IpAddr;
use std::process::Command;

use common::traffic::{PORT, load, send_all, sink};
use common::{
    DEADLINE, Daemon, Options, PortMode, kernel_forwarded, resolved_topology, run_in,
    take_redirects,
};
use linecard_lab::{Link, Route, RouterTopology};
use linecard_observe::{TapEvent, TapKind, TapQuery};
use linecard_packet::{DropReason, PuntReason};

fn gateway(path: &Link, ipv6: bool) -> IpAddr {
    if ipv6 { path.far.ipv6.addr().into() } else { path.far.ipv4.addr().into() }
}

/// Leads the service prefix over one path: several are never cached.
fn route_over(topology: &RouterTopology, path: &Link, ipv6: bool) {
    let prefix = if ipv6 { topology.service_ipv6.into() } else { topology.service_ipv4.into() };
    let route = Route::via(prefix, gateway(path, ipv6));
    topology.router.replace_route(&route).expect("a route");
}

/// Whether a trace begins with a note that the cache stands aside.
fn cache_is_told_to_stand_aside(daemon: &Daemon) -> bool {
    let query = TapQuery {
        kind: TapKind::Trace,
        condition: "tcp destination-port 7".to_owned(),
        port: None,
        dropped: false,
        count: Some(1),
        snap_bytes: None,
    };
    let mut begun = None;
    let outcome = daemon.client().tap(&query, |event| {
        if let Some(TapEvent::Begun { notes, .. }) = event {
            begun = Some(notes);
        }
        begun.is_none()
    });
    outcome.expect("the daemon answers");
    begun.expect("it begins").iter().any(|note| note.contains("route cache"))
}

/// Waits until all ports have this state in the route cache for this reason, and `linecard check` expects
/// the same.
fn assert_route_cache(
    daemon: &Daemon,
    topology: &RouterTopology,
    state: &str,
    reason: Option<&str>,
) {
    let is = |part: &serde_json::Value| {
        let obstacle = &part["obstacles"][0]["reason"];
        part["state"] == state && obstacle.as_str() == reason
    };
    let all = |parts: Vec<&serde_json::Value>| parts.len() == 3 && parts.into_iter().all(is);
    let values = |list: &serde_json::Value| list.as_array().cloned().expect("a list");
    daemon.wait_for(&format!("route cache {state} in health"), |daemon| {
        let health = serde_json::to_value(daemon.client().health().expect("an answer"));
        all(values(&health.expect("JSON")["route_cache"]).iter().collect())
    });
    let ports = values(&daemon.show_json(&["ports"])["ports"]);
    assert!(all(ports.iter().map(|port| &port["route_cache"]).collect()), "{ports:?}");
    let mut check = Command::new(env!("CARGO_BIN_EXE_linecard"));
    check.args(["check", "--json"]).arg(daemon.config());
    let report = run_in(&topology.router, check).stdout;
    let report: serde_json::Value = serde_json::from_slice(&report).expect("JSON");
    let ports = values(&report["plan"]["ports"]);
    assert!(all(ports.iter().map(|port| &port["route_cache"]).collect()), "{ports:?}");
}

fn redirected(daemon: &Daemon) -> u64 {
    daemon.total().redirected_packets
}

fn sent(daemon: &Daemon, path: &Link) -> u64 {
    daemon.port(path.near.interface).totals.sent_packets
}

fn snapshot(daemon: &Daemon) -> u64 {
    daemon.client().health().expect("an answer").snapshot_version
}

/// Sends to the service until the classifier forwards it.
fn wait_redirected(topology: &RouterTopology, daemon: &Daemon, ipv6: bool) {
    daemon.wait_for("the classifier forward", |daemon| {
        let before = redirected(daemon);
        send_all(topology, ipv6, 1, 10);
        redirected(daemon) > before
    });
}

/// A router whose classifiers forward to the service over path a.
fn warm(ipv6: bool) -> (RouterTopology, Daemon) {
    let topology = resolved_topology();
    route_over(&topology, &topology.path_a, ipv6);
    let daemon = Daemon::on_router(&topology, PortMode::Redirected);
    wait_redirected(&topology, &daemon, ipv6);
    (topology, daemon)
}

#[test]
fn classifiers_forward_and_the_books_balance() {
    for ipv6 in [false, true] {
        let (topology, daemon) = warm(ipv6);
        assert_route_cache(&daemon, &topology, "on", None);
        let path = &topology.path_a;
        let inside = topology.client_link.far.interface;
        let before = (daemon.port(inside).totals, daemon.port(path.near.interface).totals);
        let kernel = kernel_forwarded(&topology.router);
        send_all(&topology, ipv6, 16, 5_000);
        daemon.assert_forwarded(before.0.forwarded_packets + 5_000);
        let (came, left) = (daemon.port(inside).totals, daemon.port(path.near.interface).totals);
        let by_classifier = came.redirected_packets - before.0.redirected_packets;
        assert_eq!(by_classifier, 5_000, "all of them: {came:?}");
        assert_eq!(left.redirected_packets, 0, "counted where they came in");
        assert_eq!(came.received_packets - before.0.received_packets, 5_000);
        assert_eq!(left.sent_packets - before.1.sent_packets, 5_000);
        let bytes = came.received_bytes - before.0.received_bytes;
        assert!(bytes > 5_000 * 42, "{bytes}");
        assert_eq!(came.forwarded_bytes - before.0.forwarded_bytes, bytes);
        assert_eq!(left.transmitted_bytes - before.1.transmitted_bytes, bytes);
        assert_eq!(kernel_forwarded(&topology.router), kernel);
        daemon.assert_books_balance();
        let shown = daemon.show_json(&["ports"]);
        assert!(shown["total"]["redirected_packets"].as_u64() >= Some(5_000), "{shown}");
    }
}

#[test]
fn several_paths_are_the_workers() {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, PortMode::Redirected);
    for ipv6 in [false, true] {
        send_all(&topology, ipv6, 64, 2_000);
    }
    daemon.assert_forwarded(4_000);
    assert_eq!(redirected(&daemon), 0);
    let [a, b] = [&topology.path_a, &topology.path_b].map(|path| sent(&daemon, path));
    assert!(a > 1_000 && b > 1_000, "{a} and {b}");
    // Then one of them, and both again.
    route_over(&topology, &topology.path_a, false);
    wait_redirected(&topology, &daemon, false);
    let version = snapshot(&daemon);
    topology.router.replace_route(&topology.service_route_ipv4()).expect("a route");
    daemon.wait_for("both paths published", |daemon| snapshot(daemon) > version);
    let before = redirected(&daemon);
    send_all(&topology, false, 64, 1_000);
    assert_eq!(redirected(&daemon), before);
    daemon.assert_books_balance();
}

#[test]
fn the_configuration_turns_it_off() {
    let topology = resolved_topology();
    route_over(&topology, &topology.path_a, false);
    let options = Options::of_router(&topology, PortMode::Redirected);
    let daemon =
        Daemon::start(&topology.router, &options.tables("[route_cache]\nmode = \"off\"\n"));
    assert_route_cache(&daemon, &topology, "off", Some("mode_off"));
    send_all(&topology, false, 16, 2_000);
    daemon.assert_forwarded(2_000);
    assert_eq!(redirected(&daemon), 0);
    daemon.assert_books_balance();
}

/// Before the first filter is in force, the classifiers forward nothing by themselves any more.
#[test]
fn nothing_goes_round_the_first_filter_of_a_reload() {
    let (topology, mut daemon) = warm(false);
    assert!(cache_is_told_to_stand_aside(&daemon));
    let inside = topology.client_link.far.interface;
    let plain = Options::of_router(&topology, PortMode::Redirected);
    let rule = format!(
        "{{ name = \"load\", match = \"udp destination-port {PORT}\", action = \"drop\" }}"
    );
    let filter = format!("[[filter]]\nname = \"edge\"\ndefault = \"accept\"\nrules = [{rule}]\n");
    let filtered = plain.clone().tables(&filter).port_keys(inside, "filter_in = \"edge\"\n");
    let early = sink(&topology, false);
    let sending = load(&topology, false, 16, 20_000).start(&topology.client).expect("a load");
    let before = redirected(&daemon);
    daemon.wait_for("the load be redirected", |daemon| redirected(daemon) > before + 1_000);
    daemon.configure(&filtered);
    let report = daemon.client().reload().expect("it is right");
    assert!(report.needs_restart.is_empty(), "{report:?}");
    let stopped = redirected(&daemon);
    assert_route_cache(&daemon, &topology, "off", Some("services"));
    assert!(!cache_is_told_to_stand_aside(&daemon), "it is off");
    let sent = sending.join();
    assert_eq!((sent.packets, sent.failures), (20_000, 0));
    assert!(early.stop().packets > 1_000, "those before the filter");
    let sink = sink(&topology, false);
    let more = load(&topology, false, 16, 2_000).start(&topology.client).expect("a load").join();
    assert_eq!((more.packets, more.failures), (2_000, 0));
    let counted = |daemon: &Daemon| {
        let filters = daemon.client().filters().expect("an answer").filters;
        filters[0].rules[0].packets
    };
    daemon.wait_for("the filter count", |daemon| counted(daemon) > 2_000);
    daemon.wait_for("all be dropped", |daemon| {
        daemon.dropped(DropReason::Filtered) == counted(daemon) && redirected(daemon) == stopped
    });
    assert_eq!(sink.stop().packets, 0, "none went round it");

    // Without a filter packets go on, by the worker: the cache stays off.
    daemon.configure(&plain);
    let report = daemon.client().reload().expect("it is right");
    assert_eq!(report.removed_filters, ["edge"]);
    send_all(&topology, false, 16, 2_000);
    assert_eq!(redirected(&daemon), stopped);
    daemon.assert_books_balance();
}

/// A peer whose veth would let redirected frames vanish gets none.
#[test]
fn a_peer_that_takes_no_redirected_frames_gets_none() {
    let topology = resolved_topology();
    route_over(&topology, &topology.path_a, false);
    let daemon = Daemon::on_router(&topology, PortMode::Native);
    assert_route_cache(&daemon, &topology, "off", Some("peer_not_ready"));
    send_all(&topology, false, 16, 2_000);
    daemon.assert_forwarded(2_000);
    assert_eq!(redirected(&daemon), 0);
    daemon.assert_books_balance();
}

/// A peer that takes them no longer: what is lost is counted, and the worker takes over.
#[test]
fn what_a_port_refuses_is_counted_and_the_worker_takes_over() {
    let (topology, daemon) = warm(false);
    let before = (daemon.total(), kernel_forwarded(&topology.router));
    let sink = sink(&topology, false);
    let load = load(&topology, false, 4, 1_000_000);
    let load = load.start(&topology.client).expect("a load");
    assert!(sink.wait_packets(500, DEADLINE), "traffic flows");
    take_redirects(&topology, false);
    daemon.wait_for("the port closed", |daemon| {
        daemon.log().contains("do not forward to it any more")
    });
    let after_that = redirected(&daemon);
    let goal = sink.packets() + 1_000;
    assert!(sink.wait_packets(goal, DEADLINE), "traffic flows again");
    assert_eq!(redirected(&daemon), after_that, "the worker's");
    let sent = load.stop().packets;
    daemon.wait_for("all packets in the books", |daemon| {
        daemon.total().received_packets - before.0.received_packets >= sent
    });
    let refused = daemon.dropped(DropReason::RedirectRefused);
    sink.wait_packets(sent - refused, DEADLINE);
    let came = sink.stop();
    assert_eq!((came.packets + refused, came.duplicates), (sent, 0), "{came:?}");
    assert_eq!(kernel_forwarded(&topology.router), before.1);
    daemon.assert_books_balance();
}

/// Once a change is published no packet goes the old way.
#[test]
fn a_changed_route_is_followed_at_once() {
    for ipv6 in [false, true] {
        let (topology, daemon) = warm(ipv6);
        let (mut old, mut new) = (&topology.path_a, &topology.path_b);
        for _ in 0..20 {
            let version = snapshot(&daemon);
            route_over(&topology, new, ipv6);
            daemon.wait_for("the route published", |daemon| snapshot(daemon) > version);
            let before = (sent(&daemon, old), sent(&daemon, new), redirected(&daemon));
            send_all(&topology, ipv6, 4, 100);
            daemon.assert_count("by the new path", before.1 + 100, |it| sent(it, new));
            assert_eq!(sent(&daemon, old), before.0, "by the old path");
            assert!(redirected(&daemon) > before.2, "learned anew");
            (old, new) = (new, old);
        }
        daemon.assert_books_balance();
    }
}

#[test]
fn a_withdrawn_route_forwards_nothing() {
    let (topology, daemon) = warm(false);
    let prefix = topology.service_ipv4.into();
    let version = snapshot(&daemon);
    topology.router.replace_route(&Route::blackhole(prefix)).expect("a route");
    daemon.wait_for("the route published", |daemon| snapshot(daemon) > version);
    let before = (redirected(&daemon), daemon.dropped(DropReason::Blackhole));
    let sent = load(&topology, false, 4, 100).start(&topology.client).expect("a load").join();
    daemon.assert_count("blackholed", before.1 + sent.packets, |it| {
        it.dropped(DropReason::Blackhole)
    });
    assert_eq!(redirected(&daemon), before.0);
    daemon.assert_books_balance();
}

/// A neighbour that is gone is asked for: nothing goes to where it was.
#[test]
fn a_deleted_neighbour_gets_nothing_more() {
    let (topology, daemon) = warm(false);
    let (path, address) = (&topology.path_a, gateway(&topology.path_a, false));
    let interface = path.near.interface;
    topology.server.set_down(path.far.interface).expect("down");
    topology.server.set_up(path.far.interface).expect("up");
    topology.router.delete_neighbour(interface, address).expect("it was there");
    daemon.wait_neighbour(interface, address, true);
    topology.server.wait_running(path.far.interface, DEADLINE).expect("up");
    wait_redirected(&topology, &daemon, false);
    assert!(daemon.punted(PuntReason::NeighbourUnresolved) < 100);
    daemon.assert_books_balance();
}
