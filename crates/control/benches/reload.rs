//! What a reload costs until it can be published: `cargo bench -p linecard-control --bench reload`.
//!
//! A file of ClassBench-like rules is read, one of its rules is changed, and it is read again, stage by
//! stage. Prints the median of several runs in milliseconds. No flags but `--rules NUMBER`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use linecard_control::config::Document;
use linecard_services::filter::{Action, FilterCapacities, Program};
use linecard_tables::classifier::generator::{self, Shape};
use linecard_tables::classifier::{Entry, Ports};
use linecard_tables::lpm::Prefix;

const RULES: usize = 10_000;
const RUNS: usize = 9;
const SEED: u64 = 7;

fn address(prefix: Prefix<u32>) -> String {
    format!("{}/{}", std::net::Ipv4Addr::from_bits(prefix.bits()), prefix.length())
}

/// The rule that matches as the entry does, in the language of the configuration.
fn line(entry: &Entry<u32>) -> String {
    let mut text = "ipv4".to_owned();
    let mut add = |asked: bool, term: String| {
        let _ = if asked { write!(text, " {term}") } else { Ok(()) };
    };
    let range = |ports: Ports| format!("{}-{}", ports.first, ports.last);
    add(entry.kind.mask & 0xff != 0, format!("protocol {}", entry.kind.value & 0xff));
    add(entry.source.length() > 0, format!("source {}", address(entry.source)));
    add(entry.destination.length() > 0, format!("destination {}", address(entry.destination)));
    add(entry.source_ports != Ports::ANY, format!("source-port {}", range(entry.source_ports)));
    let ports = range(entry.destination_ports);
    add(entry.destination_ports != Ports::ANY, format!("destination-port {ports}"));
    text
}

/// The file; `other` rules in its middle say something else.
fn file(shape: Shape, rules: usize, other: bool) -> String {
    let mut text = "[[port]]\nname = \"eth0\"\nfilter_in = \"edge\"\n\n[[filter]]\n\
                    name = \"edge\"\ndefault = \"accept\"\nrules = [\n"
        .to_owned();
    for (number, entry) in generator::rules::<u32>(shape, SEED, rules).iter().enumerate() {
        let action = if (number == rules / 2) & other { "drop" } else { "accept" };
        let condition = line(entry);
        let name = format!("r{number}");
        let _ = writeln!(
            text,
            "    {{ name = \"{name}\", match = \"{condition}\", action = \"{action}\" }},"
        );
    }
    text + "]\n"
}

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--rules").skip(1);
    let rules = args.next().map_or(RULES, |number| number.parse().expect("a number of rules"));
    println!("{rules} rules, one of which has changed; milliseconds, median of {RUNS}");
    println!(
        "{:<12} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "", "whole", "again", "warn", "changed", "built"
    );
    for shape in Shape::ALL {
        let [whole, again, warn, changed, built] = measure(shape, rules);
        let name = format!("{shape:?}");
        println!("{name:<12} {whole:>8.1} {again:>8.1} {warn:>8.1} {changed:>8.1} {built:>8.1}");
    }
    println!(
        "\nwhole: read, parse and judge the whole file; again: read it again, one rule having changed;"
    );
    println!(
        "warn: search for rules that never match; changed: the program with one rule exchanged;"
    );
    println!("built: the program built anew");
}

/// Milliseconds of each stage.
fn measure(shape: Shape, rules: usize) -> [f64; 5] {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("linecard.toml");
    let texts = [false, true].map(|other| file(shape, rules, other));
    let write = |text: &str| std::fs::write(&path, text).expect("a file");
    write(&texts[0]);
    let before = Document::load(&path).expect("the rules are right");
    write(&texts[1]);
    let after = before.reloaded().expect("the rules are right");
    let filters =
        [&before, &after].map(|document| document.config().filters.filters()[0].resolved());
    let counters: Vec<u32> = (0..=rules as u32).collect();
    let capacities = FilterCapacities::default();
    let program = Program::new(&filters[0], &counters, &capacities).expect("it fits");
    [
        time(|| Document::load(&path)),
        time(|| before.reloaded()),
        time(|| after.warnings()),
        time(|| program.changed(&filters[0].rules, &filters[1].rules, Action::Accept, &counters)),
        time(|| Program::new(&filters[1], &counters, &capacities)),
    ]
}

/// Median of several runs, in milliseconds; what comes out is dropped outside of it.
fn time<T>(mut work: impl FnMut() -> T) -> f64 {
    let run = |_| {
        let start = Instant::now();
        let outcome = work();
        (start.elapsed(), outcome).0
    };
    let mut times: Vec<Duration> = (0..RUNS).map(run).collect();
    times.sort_unstable();
    times[RUNS / 2].as_secs_f64() * 1e3
}
