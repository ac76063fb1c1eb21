//! Any filter over any frames, with states of connections: the stage decides and counts as its plain twin does, a
//! program that was changed rule by rule as one that was made at once, and no frame upsets either.
//!
//! The input is text up to the first zero byte: a rule a line, of which the first letter is the action (`a`, `d`,
//! `r`, and `c` to go on) and the rest the match. Behind it stand frames, each with a byte of flags (0x80: the
//! router's address in front; 0x40: the IPv4 checksum made right) and two bytes of length.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use linecard_control::filter::{Names, Sets, parse_match};
use linecard_fuzz::input::Input;
use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{Batch, DropReason, InterfaceId, PortId, Station, Verdict, parse};
use linecard_services::connection::{
    ConnectionConfig, ConnectionScratch, ConnectionStats, ConnectionTables, classify, commit,
};
use linecard_services::filter::{
    Action, Companions, Filter, FilterCapacities, FilterScratch, FilterStats, FilterTables,
    FilterUpdate, Hook, Program, Rule, process_input, twin,
};
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::ipv4;
use linecard_wire::vlan::Tags;

const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const FRAMES_MAX: usize = 32;
const RULES_MAX: usize = 24;
const CAPACITIES: FilterCapacities = FilterCapacities { entries_max: 1 << 12, counters_max: 32 };
const PORT: PortId = PortId(0);

struct Rig {
    memory: PacketMemory,
    connections: ConnectionTables,
    scratch: ConnectionScratch,
    stats: ConnectionStats,
    now_nanoseconds: u64,
}

impl Rig {
    fn new() -> Self {
        let config = ConnectionConfig {
            connections_ipv4_max: 64,
            connections_ipv6_max: 64,
            connections_per_source_max: 8,
            ..ConnectionConfig::default()
        };
        let memory = MemoryConfig { frames: FRAMES_MAX as u32, chunk_bytes: 2048 };
        Self {
            memory: PacketMemory::new(memory).expect("64 KiB"),
            connections: ConnectionTables::new(&config, 7),
            scratch: ConnectionScratch::new(0, 3),
            stats: ConnectionStats::default(),
            now_nanoseconds: 0,
        }
    }
}

thread_local!(static RIG: RefCell<Rig> = Rig::new().into());

fn rules(text: &str) -> Vec<Rule> {
    let ports = ["eth0".to_owned(), "eth1".to_owned()];
    let sets = Sets::default();
    let lines = text.lines().filter_map(|line| {
        let mut letters = line.chars();
        let action = match letters.next()? {
            'a' => Action::Accept,
            'd' => Action::Drop,
            'r' => Action::Reject,
            'c' => Action::Continue,
            _ => return None,
        };
        let judged = parse_match(letters.as_str(), Names { ports: &ports, sets: &sets }).ok()?;
        Some((judged.condition, action))
    });
    let rule = |(number, (condition, action)): (usize, _)| Rule {
        name: format!("{number}"),
        condition,
        action,
        policer: None,
        set_dscp: None,
        set_class: None,
        mirror_to: None,
        sample_one_in: 0,
        log: false,
    };
    lines.take(RULES_MAX).enumerate().map(rule).collect()
}

/// The filter's program, made at once or, the second time, by changing one of half of the rules.
fn programs(filter: &Filter) -> Option<[Program; 2]> {
    let counters: Vec<u32> = (0..=filter.rules.len() as u32).collect();
    let whole = Program::new(filter, &counters, &CAPACITIES).ok()?;
    let mut half = filter.clone();
    half.rules.truncate(filter.rules.len().div_ceil(2));
    let before = Program::new(&half, &counters[..=half.rules.len()], &CAPACITIES).ok()?;
    let changed = before.changed(&half.rules, &filter.rules, filter.default, &counters).ok()?;
    Some([whole, changed])
}

fn frames(input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let next = || {
        let (flags, length) = (input.u8(), usize::from(input.u16()));
        let mut bytes = input.take(length.min(1500)).to_vec();
        if flags & 0x80 != 0 && bytes.len() >= 6 {
            bytes[..6].copy_from_slice(&ROUTER.octets());
        }
        if let (true, Ok(tags)) = (flags & 0x40 != 0, Tags::new(&bytes)) {
            let offset = tags.payload_offset();
            // Where there is no IPv4 header there is no checksum to make right.
            let _ = ipv4::fill_checksum(&mut bytes[offset..]);
        }
        (!bytes.is_empty()).then_some(bytes)
    };
    std::iter::from_fn(next).take(FRAMES_MAX).collect()
}

fn check(rig: &mut Rig, filter: &Filter, program: Program, frames: &[Vec<u8>]) {
    let Rig { memory, connections, scratch, stats, now_nanoseconds } = rig;
    let mut tables = FilterTables::new(1);
    tables.absorb(&FilterUpdate { hook: Hook::Input(PORT), program: Some(Arc::new(program)) });
    let mut batch = Batch::new();
    for bytes in frames {
        let mut frame = memory.allocate().expect("no more than there are");
        assert!(memory.set_packet(&mut frame, bytes));
        batch.frames.push(frame);
    }
    batch.end_segment(PORT, 0);
    let station = Station::new(InterfaceId(0), ROUTER, true, true);
    parse(&mut batch, memory, |_| station);
    *now_nanoseconds += 1_000_000_000;
    classify(&batch, memory, connections, scratch, stats, *now_nanoseconds);
    let (before, states) = (batch.verdicts.clone(), *scratch.states());

    let mut filter_stats = FilterStats::new(CAPACITIES.counters_max);
    let reader = filter_stats.reader();
    let companions = Companions { states: Some(&states), police: None };
    let mut columns = FilterScratch::new();
    process_input(&mut batch, memory, &tables, companions, &mut columns, &mut filter_stats);
    let mut counts = vec![0; filter.rules.len() + 1];
    for (place, bytes) in frames.iter().enumerate() {
        let applied = match before[place] {
            Verdict::Drop(_) => Vec::new(),
            _ => twin::rules_of(filter, bytes, &batch.metadata[place], Some(states[place])),
        };
        applied.iter().for_each(|&rule| counts[rule] += 1);
        let last = applied.last();
        let action =
            last.map(|&rule| filter.rules.get(rule).map_or(filter.default, |it| it.action));
        let expected = match action {
            Some(Action::Drop) => Verdict::Drop(DropReason::Filtered),
            Some(Action::Reject) => Verdict::Drop(DropReason::FilterRejected),
            _ => before[place],
        };
        assert_eq!(batch.verdicts[place], expected, "{applied:?}: {bytes:02x?}");
    }
    for (counter, count) in counts.into_iter().enumerate() {
        assert_eq!(reader.read(counter as u32).packets, count, "rule {counter}");
    }
    commit(&mut batch, connections, scratch, stats, *now_nanoseconds);
    batch.drain().for_each(|frame| memory.free(frame));
}

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return };
    let rules = rules(text);
    let filter = Filter { name: "filter".to_owned(), rules, default: Action::Accept };
    let frames = frames(&mut Input(bytes.get(end + 1..).unwrap_or_default()));
    RIG.with_borrow_mut(|rig| {
        for program in programs(&filter).into_iter().flatten() {
            check(rig, &filter, program, &frames);
        }
    });
});
