//! The daemon itself: what it says when it cannot start, and whether what it shows is true.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::traffic::{load, send_all, sink};
use common::{
    DEADLINE, Daemon, LINECARD, Options, PortMode, for_each_port_mode, kernel_forwarded,
    resolved_topology, run_in, text,
};
use linecard_lab::{Namespace, PingOptions, Route, ping};
use linecard_observe::PortsReport;
use linecard_packet::DropReason;
use serde_json::{Value, json};

for_each_port_mode!(a_second_daemon_on_the_same_ports_is_refused, what_is_shown_is_true,);

/// `linecard run` with a configuration of its own, to its end.
fn run(namespace: &Namespace, directory: &Path, options: &Options, wrapper: &[&str]) -> Output {
    let config = directory.join("linecard.toml");
    std::fs::write(&config, options.text(&directory.join("linecard.sock"))).expect("written");
    let mut command = Command::new(wrapper.first().unwrap_or(&LINECARD));
    if let Some((_, arguments)) = wrapper.split_first() {
        command.args(arguments).arg(LINECARD);
    }
    command.args(["run", "--config"]).arg(&config).env("NO_COLOR", "1");
    run_in(namespace, command)
}

#[test]
fn a_missing_interface_is_named() {
    let namespace = Namespace::new("router").expect("a namespace");
    let directory = tempfile::tempdir().expect("a directory of our own");
    let options = Options::new(&["no-such-port"], PortMode::Native);
    let output = run(&namespace, directory.path(), &options, &[]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("no-such-port"), "{errors}");
    assert!(errors.contains("`ip link`"), "the remedy: {errors}");
    assert!(!directory.path().join("linecard.sock").exists(), "no socket is left");
}

/// Root without capabilities is a user like any other, who may read the test's own files.
#[test]
fn a_missing_privilege_is_named() {
    let topology = resolved_topology();
    let directory = tempfile::tempdir().expect("a directory of our own");
    for mode in PortMode::ALL {
        let options = Options::of_router(&topology, mode);
        let powerless = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"];
        let output = run(&topology.router, directory.path(), &options, &powerless);
        assert_eq!(output.status.code(), Some(1), "{mode:?}: {}", text(&output.stderr));
        let errors = text(&output.stderr);
        for word in ["run as root", "CAP_NET_ADMIN", "CAP_BPF"] {
            assert!(errors.contains(word), "{mode:?}: {word} is not in: {errors}");
        }
    }
}

/// A daemon that is there already keeps its ports, its socket and its traffic.
fn a_second_daemon_on_the_same_ports_is_refused(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let kernel_before = kernel_forwarded(&topology.router);
    let sink = sink(&topology, false);
    let load = load(&topology, false, 8, 1_000_000).start(&topology.client).expect("a load");
    assert!(sink.wait_packets(100, DEADLINE), "traffic flows");

    // With a socket of its own, whatever its kind of port, and with the configuration of the first.
    let directory = tempfile::tempdir().expect("a directory of our own");
    let port = topology.client_link.far.interface;
    for second in PortMode::ALL {
        let output = run(&topology.router, directory.path(), &Options::new(&[port], second), &[]);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{second:?}: {errors}");
        assert!(errors.contains(port) && errors.contains("another linecard"), "{errors}");
        assert!(!directory.path().join("linecard.sock").exists(), "no socket is left");
    }
    let mut command = Command::new(LINECARD);
    command.args(["run", "--config"]).arg(daemon.config()).env("NO_COLOR", "1");
    let output = run_in(&topology.router, command);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));

    let more = sink.packets() + 100;
    assert!(sink.wait_packets(more, DEADLINE), "traffic flows on");
    let sent = load.stop();
    sink.wait_packets(sent.packets, DEADLINE);
    assert_eq!(sink.stop().packets, sent.packets, "none was lost");
    daemon.assert_forwarded(sent.packets);
    daemon.assert_books_balance();
    assert_eq!(kernel_forwarded(&topology.router), kernel_before, "nothing by the kernel");
}

fn what_is_shown_is_true(mode: PortMode) {
    let topology = resolved_topology();
    let blackhole = Route::blackhole("198.18.0.0/15".parse().expect("a prefix"));
    topology.router.add_route(&blackhole).expect("a route");
    let daemon = Daemon::on_router(&topology, mode);
    send_all(&topology, false, 8, 100);
    let mut lost = load(&topology, false, 1, 7);
    lost.destinations = vec!["198.18.0.1:9".parse().expect("an address")];
    lost.start(&topology.client).expect("a load").join();
    daemon.assert_forwarded(100);
    daemon.assert_count("blackholed", 7, |it| it.dropped(DropReason::Blackhole));
    daemon.assert_books_balance();

    let port = topology.client_link.far.interface;
    let shown: PortsReport =
        serde_json::from_value(daemon.show_json(&["ports"])).expect("a report");
    let line = shown.ports.iter().find(|it| it.name == port).expect("the port");
    assert_eq!((line.kind.as_str(), line.mode.as_str()), mode.shown());
    assert_eq!(line.totals.received_packets, 107);
    assert_eq!(line.totals.forwarded_packets, 100);
    assert_eq!(shown.total.sent_packets, 100);
    let bytes = line.totals.received_bytes - line.totals.forwarded_bytes;
    assert!(bytes >= 7 * 42 && bytes.is_multiple_of(7), "{line:#?}");
    let table = text(&daemon.show(&["ports"]).stdout);
    let line = table.lines().find(|line| line.contains(port)).expect("a line of the port");
    assert!(line.contains("107"), "{table}");

    let drops = daemon.show_json(&["drops"]);
    let blackhole = reason(&drops, "blackhole");
    assert_eq!((&blackhole["packets"], &blackhole["bytes"]), (&json!(7), &json!(bytes)));
    assert_eq!(blackhole["ports"], json!([{ "port": port, "packets": 7, "bytes": bytes }]));
    let table = text(&daemon.show(&["drops"]).stdout);
    assert!(table.lines().any(|it| it.contains("blackhole") && it.contains('7')), "{table}");

    shown_routes_are_the_kernels(&topology, &daemon);
    shown_neighbours_are_the_kernels(&topology, &daemon);
}

fn reason<'a>(drops: &'a Value, label: &str) -> &'a Value {
    let lines = drops["drops"].as_array().expect("a list");
    lines.iter().find(|line| line["reason"] == label).expect("a line for each reason")
}

fn shown_routes_are_the_kernels(topology: &linecard_lab::RouterTopology, daemon: &Daemon) {
    let prefix = topology.service_ipv4.to_string();
    let shown = daemon.show_json(&["routes", "--prefix", &prefix]);
    let next_hop = |path: &linecard_lab::Link| {
        json!({
            "interface": path.near.interface,
            "gateway": path.far.ipv4.addr(),
            "weight": 1,
        })
    };
    let expected = json!({ "routes": [{
        "prefix": prefix,
        "kind": "unicast",
        "next_hops": [next_hop(&topology.path_a), next_hop(&topology.path_b)],
    }]});
    assert_eq!(shown, expected);
    let table = text(&daemon.show(&["routes", "--covers", "198.18.0.1"]).stdout);
    assert!(table.contains("198.18.0.0/15") && table.contains("blackhole"), "{table}");
    let own = topology.client_link.far.ipv4.addr().to_string();
    let table = text(&daemon.show(&["routes", "--covers", &own]).stdout);
    let last = table.lines().last().expect("a route");
    assert!(last.contains(&format!("{own}/32")) && last.contains("local"), "{table}");
}

fn shown_neighbours_are_the_kernels(topology: &linecard_lab::RouterTopology, daemon: &Daemon) {
    let shown = daemon.show_json(&["neighbours"]);
    let mut of_kernel: Vec<(String, String, String)> = Vec::new();
    for port in topology.router_ports() {
        for it in topology.router.neighbours(port.interface).expect("a list") {
            let mac = it.mac.expect("it is permanent").map(|byte| format!("{byte:02x}")).join(":");
            of_kernel.push((port.interface.to_owned(), it.address.to_string(), mac));
        }
    }
    let text_of = |value: &Value| value.as_str().expect("text").to_owned();
    let mut of_linecard: Vec<(String, String, String)> = shown["neighbours"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|it| {
            assert_eq!(it["state"], "usable");
            (text_of(&it["interface"]), text_of(&it["address"]), text_of(&it["mac_address"]))
        })
        .collect();
    of_kernel.sort();
    of_linecard.sort();
    assert_eq!(of_linecard, of_kernel);
    assert_eq!(of_kernel.len(), 6, "one of each family on each port");
}

#[test]
fn the_punt_device_is_kept_up_and_its_loss_gives_all_to_the_kernel() {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, PortMode::Native);
    topology.router.set_down("linecard0").expect("it may be set down");
    daemon.wait_for("it is up again", |_| {
        topology.router.interface("linecard0").is_ok_and(|device| device.is_up)
            && daemon.log().contains("was set down")
    });
    topology.router.delete_link("linecard0").expect("it may be deleted");
    daemon.wait_for("the trouble is told", |daemon| {
        let health = daemon.client().health().expect("an answer");
        health.troubles.iter().any(|trouble| trouble.contains("punt device"))
    });
    let received = daemon.total().received_packets;
    let options = PingOptions { count: 3, timeout: DEADLINE, ..PingOptions::default() };
    let report = ping(&topology.client, topology.server_address(false), &options).expect("a ping");
    assert!(report.is_complete(), "the kernel forwards: {report:?}");
    assert_eq!(daemon.total().received_packets, received, "and Linecard receives nothing");
}
