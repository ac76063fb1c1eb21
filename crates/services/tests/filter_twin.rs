//! The filter stage against its plain twin: random filters, packets of every kind, in batches.

use std::sync::Arc;

use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{
    BATCH_PACKETS_MAX, Batch, DropReason, InterfaceId, PortId, Station, Verdict, parse,
};
use linecard_services::connection::ConnectionState;
use linecard_services::filter::{
    Action, Anchor, BytesMatch, Companions, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Filter,
    FilterCapacities, FilterScratch, FilterStats, FilterTables, FilterUpdate, Hook, Masked, Match,
    PAYLOAD_BYTES_MAX, Prefixes, Program, Rule, RuleCount, States, process_input, twin,
};
use linecard_tables::lpm::Prefix;
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Extension, Icmpv4, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ip::Protocol;
use linecard_wire::vlan::{Tag, Tci};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

const STATION: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);

fn link() -> PacketBuilder {
    PacketBuilder::new().ethernet(STATION, MacAddress::new([2, 0, 0, 0, 0, 2]))
}

/// Packets of every kind that a rule can ask for, between a few addresses and ports.
fn packets() -> Vec<Vec<u8>> {
    let ipv4 = |last: u8| Ipv4::new([192, 0, 2, last].into(), [198, 51, 100, last].into());
    let ipv6 = |last: u16| {
        let source = [0x2001, 0xdb8, 0, 0, 0, 0, 0, last];
        Ipv6::new(source.into(), [0x2001, 0xdb8, last, 0, 0, 0, 0, 1].into())
    };
    let tag = Tag { tpid: linecard_wire::ethernet::EtherType::VLAN, tci: Tci(100) };
    let mut packets = Vec::new();
    for last in [1, 2, 130] {
        let syn = Tcp::new(1000 + u16::from(last), 80);
        let fragment = Ipv4 { more_fragments: true, ..ipv4(last) };
        let later = Ipv4 { fragment_offset: 64, ..ipv4(last) };
        packets.extend([
            link().ipv4(ipv4(last)).udp(Udp::new(53, 1000)).payload(b"GET / of text").pad_to(64),
            link().ipv4(ipv4(last)).tcp(syn.clone()).payload(b"GET /"),
            link().ipv4(Ipv4 { ttl: 1, ..ipv4(last) }).tcp(Tcp::new(80, 443)),
            link().ipv4(fragment).udp(Udp::new(53, 80)).payload(&[7; 32]),
            link().ipv4(later).payload(&[0; 40]),
            link().ipv4(ipv4(last)).icmpv4(Icmpv4::echo_request(1, 2)).payload(b"ping"),
            link().vlan(tag).ipv4(ipv4(last)).udp(Udp::new(80, 53)),
        ]);
        let last = u16::from(last);
        packets.extend([
            link().ipv6(ipv6(last)).udp(Udp::new(53, 80)).payload(b"GET"),
            link().ipv6(Ipv6 { flow_label: 0x12345, ..ipv6(last) }).tcp(syn),
            link()
                .ipv6(ipv6(last))
                .extension(Extension::fragment(0, true, 9))
                .udp(Udp::new(53, 80))
                .payload(&[1; 16]),
            link().ipv6(ipv6(last)).extension(Extension::fragment(64, false, 9)).payload(&[0; 40]),
        ]);
    }
    packets.iter().map(PacketBuilder::build).collect()
}

fn prefixes() -> impl Strategy<Value = Prefixes> {
    let ipv4 = [([192, 0, 2, 0], 24), ([192, 0, 2, 1], 32), ([192, 0, 2, 128], 25), ([0; 4], 0)];
    let ipv4 = ipv4.map(|(octets, length)| {
        Prefix::new(u32::from_be_bytes(octets), length).expect("a length of IPv4")
    });
    let ipv6 =
        ["2001:db8::", "2001:db8::1", "2001:db8:2::", "::"].into_iter().zip([32, 128, 48, 0]);
    let ipv6: Vec<_> = ipv6
        .map(|(address, length)| {
            let bits = address.parse::<std::net::Ipv6Addr>().expect("an address").to_bits();
            Prefix::new(bits, length).expect("a length of IPv6")
        })
        .collect();
    let some = (subsequence(ipv4.to_vec(), 0..3), subsequence(ipv6, 0..3));
    let some = some.prop_map(|(ipv4, ipv6)| Prefixes { ipv4, ipv6 });
    prop_oneof![3 => Just(Prefixes::default()), 2 => some]
}

/// Mostly nothing, sometimes a few of these.
fn few<T: Clone + std::fmt::Debug + 'static>(of: Vec<T>) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![4 => Just(Vec::new()), 1 => subsequence(of, 1..3)]
}

fn bytes() -> impl Strategy<Value = BytesMatch> {
    let anchor = select(vec![Anchor::Layer3, Anchor::Layer4, Anchor::Payload]);
    let text = select(vec![(&b"GET"[..], [0xff; 3]), (b"get", [0xdf; 3]), (&[0; 3], [0; 3])]);
    (anchor, select(vec![0u16, 1, 8, 20, 60]), text).prop_map(|(anchor, offset, (text, asked))| {
        let (mut value, mut mask) = ([0; PAYLOAD_BYTES_MAX], [0; PAYLOAD_BYTES_MAX]);
        mask[..3].copy_from_slice(&asked);
        value.iter_mut().zip(text).zip(mask).for_each(|((to, of), mask)| *to = of & mask);
        BytesMatch { anchor, offset, length: 3, value, mask }
    })
}

prop_compose! {
    fn upper_layer()(
        protocols in few(vec![6, 17, 1, 58, 44]),
        source_ports in few(vec![53..=53, 0..=1023, 1001..=1001, 80..=1130]),
        destination_ports in few(vec![80..=80, 0..=0, 53..=443]),
        icmp_types in few(vec![8..=8, 0..=255]),
        icmp_codes in few(vec![0..=0, 1..=9]),
        tcp_flags in few(vec![Masked { value: 2, mask: 2 }, Masked { value: 0, mask: 0x12 }]),
    ) -> Match {
        Match {
            protocols, source_ports, destination_ports, icmp_types, icmp_codes, tcp_flags,
            ..Match::default()
        }
    }
}

prop_compose! {
    fn states()([new, established, related, invalid] in any::<[bool; 4]>()) -> States {
        States { new, established, related, invalid }
    }
}

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

prop_compose! {
    fn condition()(
        upper_layer in upper_layer(),
        (ipv4, ipv6) in select(vec![(false, false), (false, false), (true, false), (false, true)]),
        (source, destination) in (prefixes(), prefixes()),
        dscps in few(vec![0, 46]),
        fragments in select(vec![
            0, 0, 0, FRAGMENT_NONE, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_FIRST | FRAGMENT_LATER,
            FRAGMENT_NONE | FRAGMENT_LATER, FRAGMENT_NONE | FRAGMENT_FIRST, 7,
        ]),
        lengths in few(vec![0..=40, 41..=60, 28..=28]),
        ttls in few(vec![0..=1, 2..=64]),
        in_ports in few(vec![PortId(3), PortId(4)]),
        vlans in few(vec![0..=0, 100..=200]),
        flow_labels in few(vec![
            Masked { value: 0x12345, mask: 0xf_ffff }, Masked { value: 0, mask: 0xff },
        ]),
        bytes in prop_oneof![6 => Just(Vec::new()), 1 => prop::collection::vec(bytes(), 1..3)],
        states in prop_oneof![2 => Just(States::default()), 1 => states()],
    ) -> Match {
        Match {
            ipv4, ipv6, source, destination, dscps, fragments, lengths, ttls, in_ports, vlans,
            flow_labels, bytes, states, ..upper_layer
        }
    }
}

fn filter() -> impl Strategy<Value = Filter> {
    let terminal = || select(vec![Action::Accept, Action::Drop, Action::Reject]);
    let action = prop_oneof![6 => terminal(), 1 => Just(Action::Continue)];
    let rules = prop::collection::vec((condition(), action), 0..24);
    (rules, terminal()).prop_map(|(rules, default)| {
        let rules = rules.into_iter().enumerate();
        let rules = rules.map(|(number, (condition, action))| rule(number, condition, action));
        Filter { name: "filter".to_owned(), rules: rules.collect(), default }
    })
}

fn rule(number: usize, condition: Match, action: Action) -> Rule {
    Rule {
        name: format!("rule-{number}"),
        condition,
        action,
        policer: None,
        set_dscp: None,
        set_class: None,
        mirror_to: None,
        sample_one_in: 0,
        log: false,
    }
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
