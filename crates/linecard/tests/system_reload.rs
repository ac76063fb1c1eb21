//! Reloads under traffic: a rule of ten thousand changes again and again, a set is read alone, and each packet
//! is judged by what was in force before or by what is now.

mod common;

use common::traffic::{PORT, load, send_all, sink, wait_reachable};
use common::{DEADLINE, Daemon, Options, PortMode};
use linecard_lab::{RouterOptions, RouterTopology};
use linecard_packet::DropReason;

const RULES: usize = 10_000;
const PACKETS: u64 = 20_000;
const RELOADS: usize = 5;

fn topology() -> RouterTopology {
    let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
    RouterTopology::new(&options).expect("a topology")
}

/// A filter of many rules of which `middle` is one, at the input of the client's port.
fn options(topology: &RouterTopology, rules: usize, middle: &str, more: &str) -> Options {
    let filler = |number: usize| {
        let (high, low) = (number / 250, number % 250);
        format!(
            "    {{ name = \"r{number}\", match = \"tcp source 10.{high}.{low}.0/24 \
             destination-port {}\", action = \"drop\" }},\n",
            1 + number % 1_000
        )
    };
    let before: String = (0..rules / 2).map(filler).collect();
    let behind: String = (rules / 2..rules).map(filler).collect();
    let filter = format!(
        "{more}[[filter]]\nname = \"edge\"\ndefault = \"accept\"\n\
         rules = [\n{before}    {middle},\n{behind}]\n"
    );
    let port = topology.router_ports()[0].interface;
    Options::of_router(topology, PortMode::Native)
        .tables(&filter)
        .port_keys(port, "filter_in = \"edge\"\n")
}

fn counted(daemon: &Daemon, name: &str) -> u64 {
    let filters = daemon.client().filters().expect("an answer").filters;
    let rule = filters[0].rules.iter().find(|rule| rule.name == name);
    rule.expect("it is there").packets
}

#[test]
fn a_rule_of_ten_thousand_changes_under_traffic_without_loss() {
    let topology = topology();
    let rule = |action: &str| {
        let middle = format!(
            "{{ name = \"load\", match = \"udp destination-port {PORT}\", action = \"{action}\" }}"
        );
        options(&topology, RULES, &middle, "")
    };
    let mut daemon = Daemon::start(&topology.router, &rule("accept"));
    wait_reachable(&topology, &daemon, false);
    let sink = sink(&topology, false);
    let sending = load(&topology, false, 16, PACKETS).start(&topology.client).expect("a load");
    let mut live = Vec::new();
    for number in 0..RELOADS {
        daemon.configure(&rule(if number % 2 == 0 { "drop" } else { "accept" }));
        let seen = counted(&daemon, "load");
        let report = daemon.client().reload().expect("it is right");
        assert_eq!(report.changed_filters, ["edge"]);
        live.push(report.live_microseconds.expect("the workers have it"));
        println!("read and judged after {} microseconds", report.read_microseconds);
        daemon.wait_for("packets be judged", |daemon| counted(daemon, "load") > seen);
    }
    let sent = sending.join();
    assert_eq!((sent.packets, sent.failures), (PACKETS, 0));
    daemon.wait_for("all be judged", |daemon| counted(daemon, "load") == PACKETS);
    let dropped = daemon.dropped(DropReason::Filtered);
    sink.wait_packets(PACKETS - dropped, DEADLINE);
    let came = sink.stop().packets;
    assert_eq!(came + dropped, PACKETS, "each packet by the one rule or the other");
    assert!(came > 0 && dropped > 0, "{came} came, {dropped} were dropped");
    daemon.assert_books_balance();
    // Other tests may share the processor: this is an upper bound, the figures are in docs/performance.md.
    live.sort_unstable();
    println!("microseconds until a rule was live: {live:?}");
    assert!(live[RELOADS / 2] < 500_000, "{live:?}");
}

#[test]
fn a_set_is_read_again_alone() {
    let topology = topology();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("customers");
    let write = |text: &str| std::fs::write(&file, text).expect("a file");
    write("192.0.2.200\n");
    let sets = format!("[[set]]\nname = \"customers\"\nfile = \"{}\"\n", file.display());
    let inline = "[[set]]\nname = \"inline\"\nports = [1]\n";
    let middle = "{ name = \"load\", match = \"udp source @customers\", action = \"drop\" }";
    let options = options(&topology, 20, middle, &format!("{sets}{inline}"));
    let daemon = Daemon::start(&topology.router, &options);
    wait_reachable(&topology, &daemon, false);
    send_all(&topology, false, 4, 500);
    assert_eq!(counted(&daemon, "load"), 0);

    write(&format!("{}\n", topology.client_address(false)));
    let report = daemon.client().reload_set("customers").expect("it is right");
    assert_eq!(report.changed_filters, ["edge"]);
    assert!(report.live_microseconds.is_some());
    let sink = sink(&topology, false);
    let sent = load(&topology, false, 4, 500).start(&topology.client).expect("a load").join();
    assert_eq!((sent.packets, sent.failures), (500, 0));
    daemon.wait_for("all be dropped", |daemon| counted(daemon, "load") == 500);
    assert_eq!(sink.stop().packets, 0);

    let again = daemon.client().reload_set("customers").expect("it is right");
    assert!(again.changed_filters.is_empty(), "nothing has changed");
    let error = |name: &str| daemon.client().reload_set(name).expect_err("wrong").to_string();
    assert!(error("custommers").contains("did you mean customers?"), "{}", error("custommers"));
    assert!(error("inline").contains("stand in"), "{}", error("inline"));
    assert!(error("a&b=c d%").contains("has no set a&b=c d%"), "{}", error("a&b=c d%"));
    write("192.0.2.0/24\n\n  192.0.2.1/24\n");
    assert!(error("customers").contains("customers:3:3"), "{}", error("customers"));
    assert_eq!(counted(&daemon, "load"), 500, "what is wrong changes nothing");
    daemon.assert_books_balance();
}
