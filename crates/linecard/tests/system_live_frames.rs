//! Live frames under the daemon: where many packets leave at once it sends them so, and nothing but the
//! speed changes.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use common::traffic::{load, probe, send_all, sink};
use common::{
    DEADLINE, Daemon, Options, PortMode, kernel_forwarded, resolved_topology, take_redirects,
};
use linecard_lab::{
    CountSink, Flood, FloodLoad, ProbeOutcome, Route, RouterTopology, SinkHook, UdpLoad,
    UdpSinkReport, wait_for,
};
use linecard_packet::{DropReason, PortTotals, PuntReason};

/// Datagrams of a burst: no more than the smallest ring on the way holds, and enough for a worker that it
/// wakes to find many.
const BURST: u64 = 96;

/// A router without route cache, all of whose ports are open to live frames.
fn open() -> (RouterTopology, Daemon) {
    let topology = resolved_topology();
    let daemon = Daemon::start(&topology.router, &options(&topology));
    wait_open(&daemon);
    (topology, daemon)
}

fn options(topology: &RouterTopology) -> Options {
    let options = Options::of_router(topology, PortMode::Redirected);
    options.tables("[route_cache]\nmode = \"off\"\n[transmit]\nmode = \"live\"\n")
}

fn wait_open(daemon: &Daemon) {
    daemon.wait_for("ports open to live frames", |daemon| {
        daemon.ports().ports.iter().all(|port| port.mode == "native copy, live frames")
    });
}

/// As fast as can be, in four flows.
fn flat_out(topology: &RouterTopology, packets: u64) -> UdpLoad {
    UdpLoad { packets_per_second: None, ..load(topology, false, 4, packets) }
}

/// What came to the server, to its sockets or not.
fn came(report: &UdpSinkReport) -> u64 {
    report.packets + report.duplicates + report.overflowed
}

/// Frames that a daemon that has stopped says to have sent so.
fn live_frames(daemon: &Daemon) -> u64 {
    let log = daemon.log();
    let (_, after) = log.rsplit_once("live frames sent frames=").expect("it says so");
    let digits = after.split(|it: char| !it.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().expect("a number")
}

#[test]
fn a_flow_keeps_its_order_and_the_books_balance() {
    let (topology, mut daemon) = open();
    let kernel = kernel_forwarded(&topology.router);
    let sink = sink(&topology, false);
    let load = flat_out(&topology, 400_000).start(&topology.client).expect("a load");
    assert_eq!(load.join().failures, 0);
    daemon.wait_for("what left to have come", |daemon| {
        daemon.total().sent_packets == came(&sink.report())
    });
    daemon.assert_books_balance();
    let report = sink.stop();
    assert_eq!((report.reordered, report.duplicates), (0, 0), "{report:?}");
    assert!(report.packets > 0, "{report:?}");
    assert_eq!(kernel_forwarded(&topology.router), kernel);
    assert!(daemon.stop().success());
    assert!(live_frames(&daemon) > 0, "they were in use");
}

/// The transmitter's program stands on the punt device, where it lets all pass.
#[test]
fn punted_packets_still_reach_the_kernel() {
    let (topology, daemon) = open();
    let prefix: ipnet::IpNet = "198.18.1.0/24".parse().expect("a prefix");
    topology.router.add_route(&Route::unreachable(prefix)).expect("a route");
    // The first may come before the route has, and is refused for want of one.
    daemon.wait_for("a refusal by the route", |daemon| {
        let outcome = probe(&topology, prefix.addr(), DEADLINE / 30);
        matches!(outcome, ProbeOutcome::Error(_)) && daemon.punted(PuntReason::RouteRejects) > 0
    });
    daemon.assert_books_balance();
}

/// Floods the service over path a only, so that each round has a whole batch.
fn flood(topology: &RouterTopology) -> Flood {
    let over = |address| Route::via(topology.service_ipv4.into(), address);
    let gateway = topology.path_a.far.ipv4.addr().into();
    topology.router.replace_route(&over(gateway)).expect("a route");
    let link = &topology.client_link;
    let load = FloodLoad {
        destination_mac: link.far.mac,
        source_mac: link.near.mac,
        sources: link.near.ipv4.trunc(),
        destinations: topology.service_ipv4,
        frame_bytes: 60,
        core: None,
    };
    load.start(&topology.client, link.near.interface).expect("a flood")
}

fn count_sink(topology: &RouterTopology, hook: SinkHook) -> CountSink {
    let interface = topology.path_a.far.interface;
    CountSink::attach(&topology.server, interface, hook).expect("a sink")
}

fn frames(sink: &CountSink) -> u64 {
    sink.report().expect("a map").frames
}

fn totals(topology: &RouterTopology, daemon: &Daemon) -> PortTotals {
    daemon.port(topology.path_a.near.interface).totals
}

/// How many are lost follows from how fast the route goes; that all that left has come does not.
#[test]
fn nothing_is_lost_in_silence_when_a_link_goes_down() {
    let (topology, mut daemon) = open();
    let near = topology.path_a.near.interface;
    let sink = count_sink(&topology, SinkHook::Xdp);
    let flood = flood(&topology);
    daemon.wait_for("traffic", |_| frames(&sink) > 100_000);
    topology.router.set_down(near).expect("down");
    daemon.wait_for("the port closed", |daemon| daemon.log().contains("open=false"));
    drop(flood);
    // The kernel sends a frame now and then, too: multicast listener reports.
    daemon.wait_for("what left to have come", |daemon| {
        (0..=20).contains(&(frames(&sink) as i64 - totals(&topology, daemon).sent_packets as i64))
    });
    daemon.assert_books_balance();
    topology.router.set_up(near).expect("up");
    topology.router.wait_running(near, DEADLINE).expect("a carrier");
    wait_open(&daemon);
    assert!(daemon.stop().success());
    assert!(live_frames(&daemon) > 90_000, "nearly all of it");
}

#[test]
fn what_a_port_refuses_is_counted_and_the_ring_takes_over() {
    let (topology, daemon) = open();
    let sink = count_sink(&topology, SinkHook::Tcx);
    let flood = flood(&topology);
    daemon.wait_for("traffic", |_| frames(&sink) > 100_000);
    take_redirects(&topology, false);
    daemon.wait_for("losses on the port", |daemon| {
        totals(&topology, daemon).dropped_packets[DropReason::TransmitInvalid] > 0
    });
    daemon.wait_for("the port closed", |daemon| daemon.log().contains("open=false"));
    let goal = frames(&sink) + 100_000;
    daemon.wait_for("traffic again", |_| frames(&sink) > goal);
    drop(flood);
    daemon.assert_books_balance();
    assert!(daemon.log().contains("refused live frames"), "{}", daemon.log());
}

/// Sends bursts while `event` happens to the daemon; returns what was sent and what came.
fn bursts_over(
    topology: &RouterTopology,
    daemon: &mut Daemon,
    event: impl FnOnce(&mut Daemon),
) -> (u64, UdpSinkReport) {
    let sink = sink(topology, false);
    let done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                let load = flat_out(topology, BURST).start(&topology.client).expect("a load");
                sent += load.join().packets;
            }
            sent
        });
        let flow_on = || {
            let goal = came(&sink.report()) + 100 * BURST;
            wait_for("bursts", DEADLINE, || Ok(came(&sink.report()) > goal))
        };
        let before = flow_on();
        event(daemon);
        let after = flow_on();
        done.store(true, Ordering::Relaxed);
        before.and(after).expect("traffic flows before and after");
        sender.join().expect("the sender does not panic")
    });
    // The same numbers come again with each burst, so packets and duplicates are one.
    let _ = wait_for("all of it", DEADLINE / 30, || Ok(came(&sink.report()) >= sent));
    (sent, sink.stop())
}

/// The packets lost in the middle one of three rounds: a single one can be spoilt by whatever else the
/// machine does, such as another program that attaches XDP.
fn lost_over(event: impl Fn(&mut Daemon)) -> u64 {
    let mut lost = [(); 3].map(|()| {
        let (topology, mut daemon) = open();
        let (sent, report) = bursts_over(&topology, &mut daemon, &event);
        println!("{} of {sent} packets lost", sent - came(&report));
        sent - came(&report)
    });
    lost.sort_unstable();
    lost[1]
}

#[test]
fn a_graceful_stop_loses_nothing() {
    let lost = lost_over(|daemon| {
        assert!(daemon.stop().success());
        assert!(live_frames(daemon) > 0, "they were in use");
    });
    assert_eq!(lost, 0);
}

#[test]
fn a_kill_costs_no_more_than_a_few_bursts() {
    let lost = lost_over(Daemon::kill);
    assert!(lost <= 6 * BURST, "{lost} packets lost");
}

#[test]
fn it_is_off_unless_the_configuration_turns_it_on() {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, PortMode::Redirected);
    send_all(&topology, false, 16, 2_000);
    daemon.assert_forwarded(2_000);
    daemon.assert_books_balance();
    assert!(daemon.ports().ports.iter().all(|port| port.mode == "native copy"));
    assert!(!daemon.log().contains("live frames"), "{}", daemon.log());
}
