//! The filter stage against its plain twin: random filters, packets of every kind, in batches.

mod random_filters;

use std::sync::Arc;

use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{
    BATCH_PACKETS_MAX, Batch, DropReason, InterfaceId, PortId, Station, Verdict, parse,
};
use linecard_services::connection::ConnectionState;
use linecard_services::filter::{
    Action, Companions, Filter, FilterCapacities, FilterScratch, FilterStats, FilterTables,
    FilterUpdate, Hook, Match, Program, RuleCount, States, process_input, twin,
};
use linecard_tables::publication::Absorb;
use linecard_wire::ip::Protocol;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use random_filters::{STATION, condition, filter, packets, rule};

/// The state of each packet's connection, by place; or that nobody looks for connections.
type PacketStates = Option<[ConnectionState; BATCH_PACKETS_MAX]>;

fn packet_states() -> impl Strategy<Value = PacketStates> {
    let state = select(vec![
        ConnectionState::New,
        ConnectionState::Established,
        ConnectionState::Related,
        ConnectionState::Invalid,
    ]);
    let some = prop::collection::vec(state, BATCH_PACKETS_MAX);
    prop::option::of(some.prop_map(|states| states.try_into().expect("so many were made")))
}

/// A place, what happens there, and another condition and action.
type Edit = (Index, usize, Match, Action);

fn edit() -> impl Strategy<Value = Edit> {
    let action = prop_oneof![6 => Just(Action::Drop), 3 => Just(Action::Accept), 1 => Just(Action::Continue)];
    (any::<Index>(), 0..4usize, condition(), action)
}

/// A rule comes, goes, is exchanged or changes places with another.
fn edited(before: &Filter, (place, edit, condition, action): Edit, number: usize) -> Filter {
    let mut after = before.clone();
    // Programs of some size only are changed in part.
    let size = after.rules.len();
    let new = rule(100 + number, condition, action);
    match edit {
        0 if size > 8 => drop(after.rules.remove(place.index(size))),
        1 if size > 8 => after.rules[place.index(size)] = new,
        2 if size > 8 => after.rules.swap(place.index(size), place.index(size - 1)),
        _ => after.rules.insert(place.index(size + 1), new),
    }
    after
}

fn changed(program: &Program, before: &Filter, after: &Filter) -> Program {
    let program = program.changed(&before.rules, &after.rules, after.default, &counters(after));
    program.expect("it fits")
}

/// A batch of these packets on port 3, as parse leaves it.
fn batch(packets: &[Vec<u8>]) -> (Batch, PacketMemory) {
    let config = MemoryConfig { frames: 256, chunk_bytes: 2048 };
    let mut memory = PacketMemory::new(config).expect("512 KiB of memory");
    let mut batch = Batch::new();
    for packet in packets {
        let mut frame = memory.allocate().expect("a small batch");
        assert!(memory.set_packet(&mut frame, packet));
        batch.frames.push(frame);
    }
    batch.end_segment(PortId(3), 0);
    let station = Station::new(InterfaceId(0), STATION, true, true);
    parse(&mut batch, &memory, |_| station);
    (batch, memory)
}

const CAPACITIES: FilterCapacities = FilterCapacities { entries_max: 1 << 16, counters_max: 64 };

/// A counter for each rule and the default.
fn counters(filter: &Filter) -> Vec<u32> {
    (0..=filter.rules.len() as u32).collect()
}

/// What the stage and its twin make of these packets must be the same.
fn check(filter: &Filter, packets: &[Vec<u8>], states: &PacketStates) {
    let program = Program::new(filter, &counters(filter), &CAPACITIES).expect("it fits");
    check_program(filter, program, packets, states);
}

/// The same for a program of the filter.
fn check_program(filter: &Filter, program: Program, packets: &[Vec<u8>], states: &PacketStates) {
    let (capacities, counters) = (CAPACITIES, counters(filter));
    let mut tables = FilterTables::new(8);
    let program = Some(Arc::new(program));
    tables.absorb(&FilterUpdate { hook: Hook::Input(PortId(3)), program });
    let mut stats = FilterStats::new(capacities.counters_max);
    let reader = stats.reader();
    let (mut batch, mut memory) = batch(packets);
    let before = batch.verdicts.clone();
    let companions = Companions { states: states.as_ref(), police: None };
    let mut scratch = FilterScratch::new();
    process_input(&mut batch, &mut memory, &tables, companions, &mut scratch, &mut stats);

    let mut counts = vec![RuleCount::default(); counters.len()];
    for (place, packet) in packets.iter().enumerate() {
        let applied = match before[place] {
            Verdict::Drop(_) => Vec::new(),
            _ => {
                // Those that parse has punted, too.
                let state = states.map(|states| states[place]);
                twin::rules_of(filter, packet, &batch.metadata[place], state)
            }
        };
        for &rule in &applied {
            counts[rule] += RuleCount { packets: 1, bytes: packet.len() as u64 };
        }
        let action = applied
            .last()
            .map(|rule| filter.rules.get(*rule).map_or(filter.default, |rule| rule.action));
        let expected = match action {
            Some(Action::Drop) => Verdict::Drop(DropReason::Filtered),
            Some(Action::Reject) => Verdict::Drop(DropReason::FilterRejected),
            _ => before[place],
        };
        assert_eq!(batch.verdicts[place], expected, "{applied:?} of {filter:#?}: {packet:02x?}");
    }
    let counted: Vec<_> = counters.iter().map(|counter| reader.read(*counter)).collect();
    assert_eq!(counted, counts);
    for frame in batch.drain() {
        memory.free(frame);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_stage_decides_as_its_twin(
        filter in filter(),
        chosen in prop::collection::vec(any::<Index>(), 1..64),
        states in packet_states(),
    ) {
        let all = packets();
        let packets: Vec<_> = chosen.iter().map(|index| index.get(&all).clone()).collect();
        check(&filter, &packets, &states);
    }

    /// Rules come, go and change places: the program that is changed decides as the filter says.
    #[test]
    fn a_changed_program_decides_as_its_filter(
        filter in filter(),
        edits in prop::collection::vec(edit(), 1..20),
        chosen in prop::collection::vec(any::<Index>(), 1..32),
        states in packet_states(),
    ) {
        let all = packets();
        let packets: Vec<_> = chosen.iter().map(|index| index.get(&all).clone()).collect();
        let mut before = filter;
        let mut program = Program::new(&before, &counters(&before), &CAPACITIES).expect("it fits");
        for (number, edit) in edits.into_iter().enumerate() {
            let after = edited(&before, edit, number);
            program = changed(&program, &before, &after);
            before = after;
            check_program(&before, program.clone(), &packets, &states);
        }
    }

    /// Whatever is in a header: neither panics, and both agree.
    #[test]
    fn broken_packets_are_decided_alike(
        filter in filter(),
        chosen in any::<Index>(),
        changes in prop::collection::vec((14..70usize, any::<u8>()), 1..4),
        cut in 0..60usize,
        states in packet_states(),
    ) {
        let mut packet = chosen.get(&packets()).clone();
        for (at, byte) in changes {
            if let Some(place) = packet.get_mut(at) {
                *place = byte;
            }
        }
        packet.truncate(packet.len().saturating_sub(cut).max(1));
        // Fails for a header length that the packet does not have: then the checksum stays wrong.
        let _ = packet.get_mut(14..).map(linecard_wire::ipv4::fill_checksum);
        check(&filter, &[packet], &states);
    }
}

#[test]
fn answers_to_known_connections_take_one_entry() {
    let known = States { established: true, related: true, ..States::default() };
    let condition = Match { ipv4: true, states: known, ..Match::default() };
    let rules = vec![rule(0, condition, Action::Accept)];
    let filter = Filter { name: "filter".to_owned(), rules, default: Action::Drop };
    let program = Program::new(&filter, &counters(&filter), &CAPACITIES).expect("it fits");
    assert_eq!(program.entries(), 1);
}

#[test]
fn the_packets_are_those_that_they_should_be() {
    let (mut batch, mut memory) = batch(&packets());
    let dropped = batch.verdicts.iter().filter(|it| matches!(it, Verdict::Drop(_))).count();
    assert_eq!(dropped, 0, "{:?}", batch.verdicts);
    let protocols: std::collections::BTreeSet<u8> =
        batch.metadata.iter().map(|metadata| metadata.protocol).collect();
    let expected = [Protocol::ICMPV4, Protocol::TCP, Protocol::UDP].map(|protocol| protocol.0);
    assert!(expected.iter().all(|protocol| protocols.contains(protocol)), "{protocols:?}");
    batch.drain().for_each(|frame| memory.free(frame));
}
