//! The half of `cargo xtask compare acl` that needs the tables: writes rules and packets to files that
//! another implementation reads too, and measures with them.
//!
//! The files are those of DPDK's `dpdk-test-acl`, which are ClassBench's: a rule a line,
//! `@10.0.0.0/8 192.0.2.1/32 0 : 65535 80 : 80 0x06/0xff`, and a packet a line, five decimal numbers.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use ipnet::Ipv4Net;
use linecard_tables::classifier::generator::{Shape, packets, rules_ipv4};
use linecard_tables::classifier::{
    Classifier, ClassifierImplementation, Entry, Key, KeyColumns, Masked, Ports,
};

use crate::measure::Meter;

const PACKETS: usize = 1 << 16;
/// `dpdk-test-acl` looks up so many at a time.
const BATCH: usize = 256;

/// `DIRECTORY SHAPE RULES`: writes `rules.txt` and `packets.txt`.
pub(crate) fn write(arguments: &[String]) {
    let [directory, shape, count] = arguments else { panic!("write-acl DIRECTORY SHAPE RULES") };
    let shape = Shape::ALL.into_iter().find(|known| known.name() == shape).expect("acl, fw or ipc");
    let rules = rules_ipv4(shape, 2026, count.parse().expect("a number of rules"));
    let mut text = String::new();
    for rule in &rules {
        let [from, to] = [rule.source, rule.destination].map(Ipv4Net::from);
        let Ports { first, last } = rule.source_ports;
        let _ = write!(text, "@{from}\t{to}\t{first} : {last}\t");
        let Ports { first, last } = rule.destination_ports;
        let protocol = (rule.kind.value & 0xff, rule.kind.mask & 0xff);
        let _ = writeln!(text, "{first} : {last}\t{:#04x}/{:#04x}", protocol.0, protocol.1);
    }
    let directory = Path::new(directory);
    std::fs::write(directory.join("rules.txt"), &text).expect("the directory can be written");
    text.clear();
    for key in packets(&rules, 7, PACKETS) {
        let (from, to) = (key.source_port, key.destination_port);
        let _ = writeln!(
            text,
            "{}\t{}\t{from}\t{to}\t{}",
            key.source,
            key.destination,
            key.kind & 0xff
        );
    }
    std::fs::write(directory.join("packets.txt"), &text).expect("the directory can be written");
}

/// `DIRECTORY`: measures with the files and prints `acl cycles bytes milliseconds`: of a lookup, of the table, and
/// of building it.
pub(crate) fn run(arguments: &[String]) {
    let [directory] = arguments else { panic!("acl DIRECTORY") };
    let load = |name: &str| {
        let path = Path::new(directory).join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let rules: Vec<Entry<u32>> = load("rules.txt").lines().zip(0..).map(rule).collect();
    let keys: KeyColumns<u32> = load("packets.txt").lines().map(packet).collect();
    let keys = keys.as_keys();
    let meter = Meter::new();
    let mut table = Classifier::new(ClassifierImplementation::Trees, rules.len());
    let start = meter.now();
    table.replace_all(&rules).expect("the capacity is that of the rules");
    let build = meter.nanoseconds((meter.now() - start) as f64) / 1e6;
    let mut values = vec![0; keys.len()];
    let lookup = meter.rounds(keys.len(), || {
        for (number, values) in values.chunks_mut(BATCH).enumerate() {
            let start = number * BATCH;
            table.lookup_bulk(keys.part(start, start + values.len()), values, |_, _| true);
        }
        black_box(&values);
    });
    println!("acl {:.1} {} {build:.1}", lookup.median, table.memory_bytes());
}

fn rule((line, number): (&str, u32)) -> Entry<u32> {
    let words: Vec<&str> = line.trim_start_matches('@').split_whitespace().collect();
    let [from, to, from_first, ":", from_last, to_first, ":", to_last, protocol] = words[..] else {
        panic!("no rule: {line}")
    };
    let prefix = |text: &str| text.parse::<Ipv4Net>().expect("a prefix").into();
    let ports = |first: &str, last: &str| Ports {
        first: first.parse().expect("a port"),
        last: last.parse().expect("a port"),
    };
    let hexadecimal =
        |text: &str| u16::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex");
    let (value, mask) = protocol.split_once('/').expect("a value and a mask");
    Entry {
        source: prefix(from),
        destination: prefix(to),
        source_ports: ports(from_first, from_last),
        destination_ports: ports(to_first, to_last),
        kind: Masked { value: hexadecimal(value), mask: hexadecimal(mask) },
        ..Entry::any(number, number)
    }
}

fn packet(line: &str) -> Key<u32> {
    let numbers: Vec<u32> =
        line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [source, destination, source_port, destination_port, protocol] = numbers[..] else {
        panic!("no packet: {line}")
    };
    let port = |number: u32| u16::try_from(number).expect("a port");
    Key {
        source,
        destination,
        source_port: port(source_port),
        destination_port: port(destination_port),
        kind: port(protocol),
        marks: 0,
    }
}
