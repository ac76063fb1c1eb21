//! Cycles, nanoseconds and bytes of each table.
//!
//!     cargo bench -p linecard-tables -- [SECTION…] [prefixes.txt[.gz]]
//!
//! Sections: `lpm`, `updates`, `meters`, `others`, `classifier`, `connections`; all without one. A file has one prefix a line, IPv4 and IPv6; without
//! one the routes are generated. Each figure is the median over rounds with the least and the most, in
//! cycles of the time stamp counter an operation (a unit of time: the counter's rate is printed).
//!
//! `write-fib DIRECTORY [prefixes.txt | ROUTES]` and `fib DIRECTORY` are for `cargo xtask compare fib`,
//! `write-acl DIRECTORY SHAPE RULES` and `acl DIRECTORY` for `cargo xtask compare acl`.

mod classifier;
mod compare;
mod compare_acl;
mod connections;
mod lpm;
mod measure;
mod meters;
mod others;
mod prefixes;
mod updates;

use linecard_tables::memory::Instructions;

use measure::Meter;
use prefixes::Prefixes;

const SECTIONS: [&str; 6] = ["lpm", "updates", "meters", "others", "classifier", "connections"];

fn main() {
    // `cargo test --all-targets` runs this too, without the flag that `cargo bench` adds.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.first().map(String::as_str) {
        Some("write-fib") => return compare::write(&arguments[1..]),
        Some("fib") => return compare::run(&arguments[1..]),
        Some("write-acl") => return compare_acl::write(&arguments[1..]),
        Some("acl") => return compare_acl::run(&arguments[1..]),
        _ => {}
    }
    let (sections, files): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|argument| SECTIONS.contains(&argument.as_str()));
    let wants =
        |section: &str| sections.is_empty() || sections.iter().any(|wanted| *wanted == section);
    let meter = Meter::new();
    println!("time stamp counter: {:.3} GHz", meter.hz() / 1e9);
    println!("instructions: {:?}", Instructions::detect());
    let prefixes = files.first().map_or_else(Prefixes::generated, |path| Prefixes::read(path));
    if wants("lpm") {
        lpm::run("IPv4", &prefixes.ipv4, &meter);
        lpm::run("IPv6", &prefixes.ipv6, &meter);
    }
    if wants("updates") {
        updates::run(&prefixes);
    }
    if wants("meters") {
        meters::run(&meter);
    }
    if wants("others") {
        others::run(&meter);
    }
    if wants("classifier") {
        classifier::run::<u32>("IPv4", &meter);
        classifier::run::<u128>("IPv6", &meter);
    }
    if wants("connections") {
        connections::run(&meter);
    }
}
