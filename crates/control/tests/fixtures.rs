//! Filters told as tables: `tests/fixtures/*.txt` say in the words of the configuration which rules there are, and
//! line by line which packet comes, what becomes of it and which rules have counted it. Every other rule must have
//! counted nothing, and the packet must leave as it came but for what the line says. `fixtures/README.md` explains
//! the form.

mod packet;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use linecard_control::config::{self, ConfiguredFilter};
use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{Batch, DropReason, InterfaceId, PortId, Station, Verdict, parse};
use linecard_services::filter::{
    Companions, FilterCapacities, FilterScratch, FilterStats, FilterTables, FilterUpdate, Hook,
    Program, process_input,
};
use linecard_tables::publication::Absorb;

use packet::Packet;

/// Ports of every fixture, by number.
const PORTS: [&str; 3] = ["eth0", "eth1", "eth2"];

/// What became of a packet, in the words of the fixtures.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    verdict: String,
    /// Rules that counted it, with how often; of each as many bytes as the packet has.
    counted: BTreeMap<String, u64>,
    packet: Vec<u8>,
}

/// Sends a packet through the filter, alone.
fn pass(filter: &ConfiguredFilter, in_port: PortId, packet: &[u8]) -> Outcome {
    let resolved = filter.resolved();
    let counters: Vec<u32> = (0..=resolved.rules.len() as u32).collect();
    let capacities = FilterCapacities::default();
    let program = Program::new(&resolved, &counters, &capacities).expect("it fits");
    let mut tables = FilterTables::new(PORTS.len());
    tables.absorb(&FilterUpdate { hook: Hook::Input(in_port), program: Some(Arc::new(program)) });
    let mut stats = FilterStats::new(counters.len());
    let reader = stats.reader();

    let config = MemoryConfig { frames: 8, chunk_bytes: 2048 };
    let mut memory = PacketMemory::new(config).expect("a little memory");
    let mut batch = Batch::new();
    let mut frame = memory.allocate().expect("it is empty");
    assert!(memory.set_packet(&mut frame, packet));
    batch.frames.push(frame);
    batch.end_segment(in_port, 0);
    let station = Station::new(InterfaceId(0), packet::STATION, true, true);
    parse(&mut batch, &memory, |_| station);
    let mut scratch = FilterScratch::new();
    let companions = Companions::default();
    process_input(&mut batch, &mut memory, &tables, companions, &mut scratch, &mut stats);

    let names = resolved.rules.iter().map(|rule| rule.name.as_str()).chain(["default"]);
    let mut counted = BTreeMap::new();
    for (name, counter) in names.zip(counters) {
        let count = reader.read(counter);
        assert_eq!(count.bytes, count.packets * packet.len() as u64, "bytes of {name}");
        if count.packets > 0 {
            counted.insert(name.to_owned(), count.packets);
        }
    }
    let verdict = verdict(&batch, packet);
    let frame = batch.drain().next().expect("it is still there");
    let packet = memory.packet(&frame).to_vec();
    memory.free(frame);
    Outcome { verdict, counted, packet }
}

fn verdict(batch: &Batch, packet: &[u8]) -> String {
    match batch.verdicts[0] {
        Verdict::Drop(DropReason::Filtered) => return "drop".to_owned(),
        Verdict::Drop(DropReason::FilterRejected) => return "reject".to_owned(),
        Verdict::Undecided => {}
        other => return format!("{other:?}"),
    }
    let ipv4 =
        batch.destinations_ipv4.addresses().first().map(|it| Ipv4Addr::from_bits(*it).into());
    let ipv6 =
        batch.destinations_ipv6.addresses().first().map(|it| Ipv6Addr::from_bits(*it).into());
    let destination: IpAddr = ipv4.or(ipv6).expect("an undecided packet has a destination");
    let own = packet::destination(packet, usize::from(batch.metadata[0].layer3_offset));
    if destination == own { "accept".to_owned() } else { format!("redirect {destination}") }
}

/// One line: a packet, and what must become of it.
fn check(filter: &ConfiguredFilter, line: &str) -> Result<(), String> {
    let (sent, expected) = line.split_once("=>").ok_or("no `=>` in it")?;
    let (sent, in_port) = Packet::parse(sent)?;
    let in_port = PORTS.iter().position(|name| *name == in_port).ok_or("no such port")?;
    let (verdict, counted) = expected.rsplit_once(':').ok_or("no `:` behind the outcome")?;
    // What is changed in the packet stands behind the verdict, as it stands in a packet.
    let words: Vec<&str> = verdict.split_whitespace().collect();
    let (changes, verdict): (Vec<&str>, Vec<&str>) =
        words.into_iter().partition(|word| word.contains('='));
    let mut left = sent.clone();
    changes.iter().try_for_each(|change| left.set(change))?;
    let mut counts = BTreeMap::new();
    for name in counted.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        *counts.entry(name.to_owned()).or_insert(0) += 1;
    }
    let expected = Outcome { verdict: verdict.join(" "), counted: counts, packet: left.build() };
    let outcome = pass(filter, PortId(in_port as u16), &sent.build());
    if outcome == expected {
        return Ok(());
    }
    let Outcome { verdict, counted, .. } = &outcome;
    let bytes = if outcome.packet == expected.packet { "" } else { ", with other bytes" };
    Err(format!("it is {verdict}, counted by {counted:?}{bytes}"))
}

/// The filter of a fixture: what stands above the line of dashes.
fn filter(text: &str) -> ConfiguredFilter {
    let ports: String = PORTS.iter().map(|name| format!("[[port]]\nname = \"{name}\"\n")).collect();
    let text = format!("{ports}filter_in = \"fixture\"\n[[filter]]\nname = \"fixture\"\n{text}");
    match config::parse(&text, Path::new("fixture")) {
        Ok(config) => config.filters.filters()[0].clone(),
        Err(errors) => panic!("{errors}"),
    }
}

/// Checks a file, and returns how many packets it has and what is wrong.
fn run(path: &Path) -> (usize, Vec<String>) {
    let text = std::fs::read_to_string(path).expect("a fixture");
    let (rules, packets) = text.split_once("\n---\n").expect("a line of dashes");
    let filter = filter(rules);
    let first = rules.lines().count() + 2;
    let lines = packets.lines().enumerate().map(|(number, line)| (first + number, line));
    let lines: Vec<_> =
        lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')).collect();
    let wrong = lines.iter().filter_map(|(number, line)| {
        let error = check(&filter, line).err()?;
        Some(format!("{}:{number}: {line}\n    {error}", path.display()))
    });
    (lines.len(), wrong.collect())
}

#[test]
fn packets_meet_the_rules_that_the_tables_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let files = std::fs::read_dir(&directory)
        .expect("the fixtures")
        .map(|file| file.expect("a file").path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "txt")).collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    let mut wrong = Vec::new();
    for file in &files {
        let (packets, errors) = run(file);
        assert!(packets > 0, "{} has no packets", file.display());
        wrong.extend(errors);
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_line_that_is_wrong_is_noticed() {
    let filter = filter(
        "default = \"drop\"\nrules = [{ name = \"a\", match = \"udp\", action = \"accept\" }]",
    );
    let packet = "eth0 192.0.2.1 198.51.100.1 udp 1 2";
    assert_eq!(check(&filter, &format!("{packet} => accept: a")), Ok(()));
    for wrong in [
        "accept:",
        "accept: a, a",
        "drop: a",
        "accept: a, default",
        "accept dscp=1: a",
        "redirect 192.0.2.9: a",
    ] {
        assert!(check(&filter, &format!("{packet} => {wrong}")).is_err(), "{wrong}");
    }
}
