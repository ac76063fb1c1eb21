//! Single packets under real traffic: traces and captures say what became of them and which rule or route decided,
//! the same packets imagined fare the same, and whoever asks may go away at any moment.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Instant;

use common::traffic::{PORT, load, probe, send_all, wait_reachable};
use common::{DEADLINE, Daemon, LINECARD, Options, PortMode, text};
use linecard_lab::{Route, RouterOptions, RouterTopology, Signal};
use serde_json::Value;

/// The service behind one path: which of several a flow takes nobody knows beforehand.
fn topology() -> RouterTopology {
    let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
    let topology = RouterTopology::new(&options).expect("a topology");
    let gateway = topology.path_a.far.ipv4.addr().into();
    let route = Route::via(topology.service_ipv4.into(), gateway);
    topology.router.replace_route(&route).expect("a route");
    topology
}

/// A filter at the client's port that drops the load, and nothing else.
fn filtered(topology: &RouterTopology, mode: PortMode) -> Daemon {
    let rules = format!(
        "{{ name = \"ping\", match = \"icmp\", action = \"continue\", dscp = \"af11\" }},\n\
         {{ name = \"load\", match = \"udp destination-port {PORT}\", action = \"drop\" }},"
    );
    let filter = format!("[[filter]]\nname = \"edge\"\ndefault = \"accept\"\nrules = [{rules}]\n");
    let options = Options::of_router(topology, mode)
        .tables(&filter)
        .port_keys(topology.router_ports()[0].interface, "filter_in = \"edge\"\n");
    Daemon::start(&topology.router, &options)
}

fn command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(LINECARD);
    command.args(arguments).arg("--socket").arg(daemon.socket()).env("NO_COLOR", "1");
    command
}

/// Somebody who looks for packets. When this is made the workers look too.
struct Looking {
    child: Child,
    /// Held, so that there is somebody to complain to.
    stderr: BufReader<ChildStderr>,
}

impl Looking {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let mut command = command(daemon, arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("it says something");
        assert!(line.starts_with("note: "), "{line}");
        Self { child, stderr }
    }

    fn finish(self) -> Output {
        let Self { child, stderr } = self;
        let output = child.wait_with_output().expect("it ends");
        drop(stderr);
        output
    }

    fn signal(&mut self, signal: Signal) {
        let id = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(id, signal).expect("it is ours");
    }
}

/// What a trace tells, packet by packet.
fn packets(output: &Output) -> Vec<Value> {
    let lines = text(&output.stdout);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn explain(daemon: &Daemon, words: &str) -> Value {
    let output = command(daemon, &["explain", "--json", words]).output().expect("it was built");
    assert!(output.status.success(), "{words}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Steps without what only a real packet, or only an imagined one, has.
fn comparable(report: &Value) -> Vec<Value> {
    let steps = report["steps"].as_array().expect("steps").iter();
    steps.filter(|step| step["stage"] != "classifier").cloned().collect()
}

fn step<'a>(report: &'a Value, stage: &str) -> &'a Value {
    let steps = report["steps"].as_array().expect("steps");
    steps
        .iter()
        .find(|step| step["stage"] == stage)
        .unwrap_or_else(|| panic!("{stage}: {report:#}"))
}

fn send_in_vain(topology: &RouterTopology, packets: u64) {
    let sent = load(topology, false, 4, packets).start(&topology.client).expect("a load").join();
    assert_eq!((sent.packets, sent.failures), (packets, 0));
}

fn a_trace_says_which_rule_and_route_decide(mode: PortMode) {
    let topology = topology();
    let daemon = filtered(&topology, mode);
    wait_reachable(&topology, &daemon, false);
    let port = topology.router_ports()[0].interface;
    let (client, service) = (topology.client_address(false), topology.server_address(false));

    let tracing = Looking::start(
        &daemon,
        &["trace", "udp destination-port", &PORT.to_string(), "--dropped", "-n", "3", "--json"],
    );
    send_in_vain(&topology, 20);
    let output = tracing.finish();
    assert!(output.status.success());
    let dropped = packets(&output);
    assert_eq!(dropped.len(), 3);
    for packet in &dropped {
        assert_eq!(packet["summary"], "dropped: filtered (filter edge, rule load)");
        assert_eq!(
            (&packet["in_port"], &packet["verdict"]["reason"]),
            (&port.into(), &"filtered".into())
        );
        assert_eq!(step(packet, "filter_in")["verdict"], packet["verdict"]);
    }
    let imagined = explain(&daemon, &format!("{client} → {service} udp/{PORT} in {port}"));
    assert_eq!(imagined["verdict"], dropped[0]["verdict"]);
    assert_eq!(comparable(&imagined), comparable(&dropped[0]));

    let tracing = Looking::start(&daemon, &["trace", "icmp", "--port", port, "-n", "1", "--json"]);
    assert!(probe(&topology, service, DEADLINE).is_reply());
    let output = tracing.finish();
    let [forwarded] = &packets(&output)[..] else { panic!("{}", text(&output.stdout)) };
    assert_eq!(forwarded["verdict"]["fate"], "forwarded");
    assert_eq!(forwarded["verdict"]["out_port"], topology.router_ports()[1].interface);
    assert!(step(forwarded, "route")["route"].is_string(), "{forwarded:#}");
    let rules: Vec<&Value> = comparable_rules(forwarded);
    assert_eq!(rules, ["ping", "default"]);
    let imagined = explain(&daemon, &format!("{client} -> {service} icmp/8 in {port}"));
    assert_eq!(imagined["verdict"], forwarded["verdict"]);
    assert_eq!(comparable(&imagined), comparable(forwarded));

    // Nobody was charged for what was imagined.
    let filters = daemon.client().filters().expect("the daemon answers").filters;
    let load = filters[0].rules.iter().find(|rule| rule.name == "load").expect("the rule");
    assert_eq!(load.packets, 20);
    daemon.assert_books_balance();
}

fn comparable_rules(report: &Value) -> Vec<&Value> {
    let steps = report["steps"].as_array().expect("steps");
    steps.iter().map(|step| &step["rule"]).filter(|rule| rule.is_string()).collect()
}

#[test]
fn a_trace_says_which_rule_and_route_decide_on_native_xdp() {
    a_trace_says_which_rule_and_route_decide(PortMode::Native);
}

#[test]
fn a_trace_says_which_rule_and_route_decide_on_packet_sockets() {
    a_trace_says_which_rule_and_route_decide(PortMode::Packet);
}

/// The bucket takes no packet of the load, which is as true of an imagined one; and the server's side checks where
/// packets come from.
#[test]
fn policers_and_checks_of_sources_are_named() {
    let topology = topology();
    let [inside, outside, _] = topology.router_ports().map(|port| port.interface);
    let tables = format!(
        "[[police]]\nname = \"tiny\"\nrate_bits_per_second = 8000\nburst_bytes = 90\n\
         [[filter]]\nname = \"edge\"\ndefault = \"accept\"\n\
         rules = [{{ name = \"load\", match = \"udp destination-port {PORT}\", action = \"accept\", \
         police = \"tiny\" }}]\n"
    );
    let options = Options::of_router(&topology, PortMode::Native)
        .tables(&tables)
        .port_keys(inside, "filter_in = \"edge\"\n")
        .port_keys(outside, "reverse_path = \"strict\"\n");
    let daemon = Daemon::start(&topology.router, &options);
    wait_reachable(&topology, &daemon, false);
    let (client, service) = (topology.client_address(false), topology.server_address(false));

    let tracing = Looking::start(&daemon, &["trace", "udp", "-n", "1", "--json"]);
    send_in_vain(&topology, 1);
    let output = tracing.finish();
    let [policed] = &packets(&output)[..] else { panic!("{}", text(&output.stdout)) };
    assert_eq!(policed["summary"], "dropped: policed (policer tiny, red)");
    let length = policed["frame_bytes"].as_u64().expect("a number") - 14;
    let words = format!("{client} → {service} udp/{PORT} length {length} in {inside}");
    let imagined = explain(&daemon, &words);
    assert_eq!(imagined["summary"], policed["summary"], "{imagined:#}");
    let words = format!("{client} → {service} udp/{PORT} length 60 in {inside}");
    assert_eq!(explain(&daemon, &words)["verdict"]["fate"], "forwarded", "it fits a full bucket");

    let words = format!("{client} → {client} udp/9 in {outside}");
    let imagined = explain(&daemon, &words);
    assert_eq!(imagined["verdict"]["reason"], "reverse_path", "{imagined:#}");
    let text = step(&imagined, "source")["text"].as_str().expect("text");
    assert!(text.contains("leaves elsewhere"), "{text}");
    daemon.assert_books_balance();
}

/// What the classifiers forward by themselves no worker sees, so they stop while somebody looks.
#[test]
fn the_route_cache_stands_aside() {
    let topology = topology();
    let daemon = Daemon::on_router(&topology, PortMode::Redirected);
    wait_reachable(&topology, &daemon, false);
    send_all(&topology, false, 1, 100);
    daemon.wait_for("packets redirected", |daemon| {
        send_all(&topology, false, 1, 10);
        daemon.total().redirected_packets > 0
    });
    let mut tracing = Looking::start(&daemon, &["trace", "udp", "-n", "5", "--json"]);
    // The first ones may come before the cache is void.
    daemon.wait_for("the trace end", |_| {
        send_all(&topology, false, 1, 10);
        tracing.child.try_wait().expect("it is ours").is_some()
    });
    let output = tracing.finish();
    assert_eq!(packets(&output).len(), 5);
    let before = daemon.total().redirected_packets;
    daemon.wait_for("packets redirected again", |daemon| {
        send_all(&topology, false, 1, 10);
        daemon.total().redirected_packets > before
    });
    daemon.assert_books_balance();
}

#[test]
fn what_the_classifier_keeps_is_explained() {
    let topology = topology();
    let daemon = filtered(&topology, PortMode::Native);
    let port = topology.router_ports()[0].interface;
    let (client, service) = (topology.client_address(false), topology.server_address(false));
    let router = topology.router_ports()[0].ipv4.addr();
    let cases = [
        (format!("{client} → {router} tcp/179 in {port}"), "local"),
        (format!("{client} → {service} tcp/80 ttl 1 in {port}"), "ttl_expired"),
        (format!("{client} → 224.0.0.5 protocol/89 in {port}"), "multicast"),
        (format!("{client} → {service} udp/9 length 9000 in {port}"), "oversized"),
    ];
    for (words, reason) in cases {
        let report = explain(&daemon, &words);
        assert_eq!(report["verdict"]["fate"], "passed", "{words}: {report:#}");
        assert_eq!(report["verdict"]["reason"], reason, "{words}");
    }
    let report = explain(&daemon, &format!("{client} → 100.64.0.1 tcp/80 in {port}"));
    assert_eq!(report["verdict"]["reason"], "no_route", "{report:#}");
    let refused = command(&daemon, &["explain", &format!("{client} → {service} in eth9")]);
    let output = { refused }.output().expect("it was built");
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("there is no port eth9"), "{}", text(&output.stderr));
}

#[test]
fn a_capture_has_reasons_as_comments() {
    let topology = topology();
    let daemon = filtered(&topology, PortMode::Native);
    wait_reachable(&topology, &daemon, false);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("seen.pcapng");
    let file = path.to_str().expect("it is text");
    let port = topology.router_ports()[0].interface;
    let arguments = ["capture", "ipv4", "--port", port, "-n", "21", "--snaplen", "64", "-w", file];
    let capturing = Looking::start(&daemon, &arguments);
    assert!(probe(&topology, topology.server_address(false), DEADLINE).is_reply());
    send_in_vain(&topology, 20);
    assert!(capturing.finish().status.success());

    let fields = ["frame.interface_name", "frame.comment", "frame.cap_len", "frame.len"];
    let mut tshark = Command::new("tshark");
    tshark.args(["-r", file, "-T", "fields"]);
    fields.iter().for_each(|field| {
        tshark.args(["-e", *field]);
    });
    let output = tshark.output().expect("tshark is there: cargo xtask test installs it");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read = text(&output.stdout);
    let lines: Vec<Vec<&str>> = read.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 21, "{read}");
    for line in &lines {
        assert_eq!(line[0], port);
        let (captured, length): (u32, u32) =
            (line[2].parse().expect("a number"), line[3].parse().expect("a number"));
        assert_eq!(captured, length.min(64));
    }
    let out = topology.router_ports()[1].interface;
    assert!(lines[0][1].starts_with(&format!("forwarded by {out} (route ")), "{read}");
    let dropped = |line: &&Vec<&str>| line[1] == "dropped: filtered (filter edge, rule load)";
    assert_eq!(lines.iter().filter(dropped).count(), 20, "{read}");
}

#[test]
fn whoever_asks_may_go_away_at_any_moment() {
    let topology = topology();
    let daemon = filtered(&topology, PortMode::Native);
    let nothing = ["trace", "tcp destination-port 7", "--json"];
    let mut all: Vec<Looking> = (0..8).map(|_| Looking::start(&daemon, &nothing)).collect();
    let refused = || command(&daemon, &["trace", "--timeout", "1"]).output().expect("it was built");
    let output = refused();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("run already"), "{}", text(&output.stderr));

    // One is interrupted, and ends by itself; the others are killed.
    all[0].signal(Signal::SIGINT);
    let output = all.remove(0).finish();
    assert_eq!(output.status.code(), Some(1), "it has seen nothing");
    for looking in &mut all {
        looking.child.kill().expect("it is ours");
    }
    let began = Instant::now();
    daemon.wait_for("all be forgotten", |daemon| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let mut command = command(daemon, &nothing);
                command.stdout(Stdio::null()).stderr(Stdio::piped());
                command.spawn().expect("the binary was built")
            })
            .collect();
        let served = |mut client: Child| {
            let mut line = String::new();
            let stderr = client.stderr.take().expect("it is piped");
            BufReader::new(stderr).read_line(&mut line).expect("it says something");
            client.kill().and_then(|()| client.wait()).expect("it is ours");
            line.starts_with("note: ")
        };
        clients.into_iter().map(served).filter(|is_served| *is_served).count() == 8
    });
    assert!(began.elapsed() < DEADLINE);
    for mut looking in all {
        looking.child.wait().expect("it has ended");
    }
    let output = command(&daemon, &["trace", "udp soruce 192.0.2.1"]).output().expect("built");
    assert!(text(&output.stderr).contains("did you mean"), "{}", text(&output.stderr));
    daemon.assert_books_balance();
}
