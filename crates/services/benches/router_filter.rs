//! What the router's own filter costs: a packet for the router behind so many rules that do not match it, and a
//! change of the filter.
//!
//! Needs root, or `CAP_BPF` and `CAP_NET_ADMIN`: the kernel runs the classifier on a frame that goes nowhere
//! (`BPF_PROG_TEST_RUN`). All lengths take turns, so that they see the same machine; printed are medians and the
//! middle half.

use std::sync::Arc;
use std::time::Instant;

use linecard_io::router_filter::{RouterFilter, RouterFilterCounters};
use linecard_io::xdp::DeadManSwitch;
use linecard_io::{AttachMode, LocalAddresses, XdpPort};
use linecard_services::filter::{Action, Match, Prefixes, Rule, filter_for_router};
use linecard_tables::lpm::Prefix;

const REMEDY: &str = "run as root, or with CAP_BPF and CAP_NET_ADMIN";
const ROUNDS: usize = 25;
const RUNS: u32 = 100_000;
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Rules in front of the default; `None`: no filter.
const LENGTHS: [Option<usize>; 5] = [None, Some(0), Some(10), Some(100), Some(1_000)];
const LOOPBACK: u32 = 1;

fn main() {
    // `cargo test --benches` runs it as well.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    let local = LocalAddresses::new().expect(REMEDY);
    local.insert([198, 51, 100, 1].into()).expect("there is room");
    let switch = DeadManSwitch::new(1).expect(REMEDY);
    let mut port =
        XdpPort::new(LOOPBACK, MAC, 1, 1792, &local, &Arc::clone(&switch)).expect(REMEDY);
    let counters = RouterFilterCounters::new(2).expect(REMEDY);
    let _armed = switch.arm(0).expect("nobody else is worker 0");
    let (mut packets, mut changes) = (vec![vec![]; LENGTHS.len()], vec![vec![]; LENGTHS.len()]);
    for _ in 0..rounds {
        for (at, length) in LENGTHS.into_iter().enumerate() {
            let filter = length.map(filter);
            let begun = Instant::now();
            let loader = port.router_filter_loader();
            let loaded = filter.map(|filter| loader.load(&filter, &counters).expect("it fits"));
            port.put_router_filter(loaded).expect("there is a slot");
            changes[at].push(begun.elapsed().as_secs_f64() * 1e3);
            let nanoseconds = port.run_repeatedly(AttachMode::Native, &frame(), RUNS);
            packets[at].push(f64::from(nanoseconds.expect("the kernel runs it")));
        }
    }
    for (length, (packets, changes)) in LENGTHS.into_iter().zip(packets.into_iter().zip(changes)) {
        let what = length.map_or("no filter".to_owned(), |rules| format!("{rules} rules"));
        let (packet, change) = (Quartiles::of(packets), Quartiles::of(changes));
        println!("{what:>10}: {packet} ns a packet, {change} ms a change of one port");
    }
}

/// TCP rules of a source and a port each, none of which matches.
fn filter(rules: usize) -> RouterFilter {
    let rule = |number: usize| Rule {
        name: format!("r{number}"),
        condition: Match {
            protocols: vec![6],
            destination_ports: vec![10_000 + number as u16..=10_000 + number as u16],
            source: Prefixes {
                ipv4: vec![Prefix::new(0x0a00_0000 + number as u32, 32).expect("a host")],
                ipv6: vec![],
            },
            ..Match::default()
        },
        action: Action::Drop,
        policer: None,
        set_dscp: None,
        set_class: None,
        mirror_to: None,
        sample_one_in: 0,
        log: false,
    };
    let rules: Vec<Rule> = (0..rules).map(rule).collect();
    let rules = rules.iter().map(|rule| (rule, 0));
    filter_for_router(rules, (Action::Accept, 1), |_| None).expect("plain rules")
}

/// TCP to the router, port 22.
fn frame() -> Vec<u8> {
    let mut frame = [&MAC[..], &[2, 0, 0, 0, 0, 9, 8, 0]].concat();
    frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 198, 51, 100, 1]);
    frame.extend([0x30, 0x39, 0, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    frame.resize(64, 0);
    frame
}

/// The median and what a quarter is below and above.
struct Quartiles([f64; 3]);

impl Quartiles {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self([1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4]))
    }
}

impl std::fmt::Display for Quartiles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([low, median, high]) = self;
        write!(formatter, "{median:.2} ({low:.2}-{high:.2})")
    }
}
