//! What is said of rules holds for packets: a small world, in which every packet can be asked.

use linecard_packet::PortId;
use linecard_services::filter::{Action, Masked, Match, Prefixes, Rule, States};
use linecard_tables::lpm::Prefix;
use proptest::prelude::*;

use super::*;

/// A packet of the small world: three bits of each address, a few ports and flags.
#[derive(Debug, Clone, Copy)]
struct Packet {
    ipv6: bool,
    source: u8,
    destination: u8,
    protocol: u8,
    /// `None`: a fragment behind the first.
    port: Option<u16>,
    ttl: u8,
    flags: u8,
    in_port: u16,
}

fn packets() -> Vec<Packet> {
    let mut all = Vec::new();
    for bits in 0..8u32 * 8 * 2 * 3 * 4 * 2 * 4 * 2 {
        let mut rest = bits;
        let mut take = |below: u32| {
            let digit = rest % below;
            rest /= below;
            digit as u8
        };
        let (source, destination, ipv6) = (take(8), take(8), take(2) == 1);
        let protocol = [1, 6, 17][usize::from(take(3))];
        let port = take(4);
        all.push(Packet {
            ipv6,
            source,
            destination,
            protocol,
            port: (protocol != 1 && port < 3).then_some(u16::from(port)),
            ttl: [0, 255][usize::from(take(2))],
            flags: if protocol == 6 { take(4) } else { 0 },
            in_port: u16::from(take(2)),
        });
    }
    all
}

/// The reference: what each part means, in the plainest words.
fn matches(m: &Match, packet: &Packet) -> bool {
    let family = (!m.ipv4 && !m.ipv6) || if packet.ipv6 { m.ipv6 } else { m.ipv4 };
    let within = |prefixes: &Prefixes, address: u8| {
        prefixes.is_any()
            || if packet.ipv6 {
                prefixes.ipv6.iter().any(|p| p.contains(u128::from(address) << 125))
            } else {
                prefixes.ipv4.iter().any(|p| p.contains(u32::from(address) << 29))
            }
    };
    let ports = &m.destination_ports;
    let flags = |flags: &Masked<u8>| packet.flags & flags.mask == flags.value;
    family
        && within(&m.source, packet.source)
        && within(&m.destination, packet.destination)
        && (m.protocols.is_empty() || m.protocols.contains(&packet.protocol))
        && (ports.is_empty()
            || packet.port.is_some_and(|port| ports.iter().any(|range| range.contains(&port))))
        && (m.ttls.is_empty() || m.ttls.iter().any(|range| range.contains(&packet.ttl)))
        && (m.tcp_flags.is_empty() || packet.protocol == 6 && m.tcp_flags.iter().any(flags))
        && (m.in_ports.is_empty() || m.in_ports.contains(&PortId(packet.in_port)))
}

fn prefixes() -> impl Strategy<Value = Prefixes> {
    let list = proptest::collection::vec((any::<bool>(), 0..8u8, 0..4u8), 1..3);
    let prefixes = list.prop_map(|list| {
        let mut prefixes = Prefixes::default();
        for (ipv6, bits, length) in list {
            if ipv6 {
                prefixes.ipv6.extend(Prefix::new(u128::from(bits) << 125, length));
            } else {
                prefixes.ipv4.extend(Prefix::new(u32::from(bits) << 29, length));
            }
        }
        crate::filter::list::join_prefixes(&mut prefixes.ipv4);
        crate::filter::list::join_prefixes(&mut prefixes.ipv6);
        prefixes
    });
    prop_oneof![Just(Prefixes::default()), prefixes]
}

fn rule() -> impl Strategy<Value = Rule> {
    let ports = prop_oneof![
        Just(vec![]),
        Just(vec![0u16..=0]),
        Just(vec![0..=1]),
        Just(vec![1..=2]),
        Just(vec![0..=0, 2..=65535]),
    ];
    let family = prop_oneof![Just((false, false)), Just((true, false)), Just((false, true))];
    let protocols = prop_oneof![Just(vec![]), Just(vec![6u8]), Just(vec![6, 17]), Just(vec![1])];
    let ttls =
        prop_oneof![3 => Just(vec![]), 1 => Just(vec![0u8..=127]), 1 => Just(vec![128..=255])];
    let in_ports =
        prop_oneof![4 => Just(vec![]), 1 => Just(vec![PortId(0)]), 1 => Just(vec![PortId(1)])];
    let flags = prop_oneof![
        4 => Just(vec![]),
        1 => (0u8..4, 1u8..4).prop_map(|(v, mask)| vec![Masked { value: v & mask, mask }]),
    ];
    let parts = (family, prefixes(), prefixes(), protocols, ports, ttls, flags, in_ports);
    (parts, any::<bool>()).prop_map(|(parts, goes_on)| {
        let (
            (ipv4, ipv6),
            source,
            destination,
            protocols,
            destination_ports,
            ttls,
            flags,
            in_ports,
        ) = parts;
        let (protocols, destination_ports) = if flags.is_empty() {
            let ports = if protocols == [1] { vec![] } else { destination_ports };
            (protocols, ports)
        } else {
            (vec![6], destination_ports)
        };
        let condition = Match {
            ipv4,
            ipv6,
            source,
            destination,
            protocols,
            destination_ports,
            ttls,
            tcp_flags: flags,
            in_ports,
            ..Match::default()
        };
        Rule {
            name: String::new(),
            condition,
            action: if goes_on { Action::Continue } else { Action::Drop },
            policer: None,
            set_dscp: None,
            set_class: None,
            mirror_to: None,
            sample_one_in: 0,
            log: false,
        }
    })
}

/// Rules whose families, sources and destinations exclude each other are refused before.
fn can_match(rule: &Rule, packets: &[Packet]) -> bool {
    packets.iter().any(|packet| matches(&rule.condition, packet))
}

/// The states of a mask's bits.
fn states(mask: u8) -> States {
    let asks = |bit: u8| mask & bit != 0;
    States { new: asks(1), established: asks(2), related: asks(4), invalid: asks(8) }
}

/// A rule of nothing but states and, maybe, a family.
fn stateful(mask: u8, (ipv4, ipv6): (bool, bool)) -> Rule {
    let condition = Match { ipv4, ipv6, states: states(mask), ..Match::default() };
    Rule {
        name: String::new(),
        condition,
        action: Action::Drop,
        policer: None,
        set_dscp: None,
        set_class: None,
        mirror_to: None,
        sample_one_in: 0,
        log: false,
    }
}

/// Each packet has one of four states, so that no state and all four ask for the same: all lists of three
/// rules, against sets of (state, family).
#[test]
fn states_in_all_combinations_agree() {
    let families = [(false, false), (true, false), (false, true)];
    let packets = |mask: u8, family: (bool, bool)| {
        let states = if mask == 0 { 15 } else { u16::from(mask) };
        let is_in = |asked: bool| if family == (false, false) || asked { states } else { 0 };
        is_in(family.0) | is_in(family.1) << 4
    };
    let all: Vec<(u8, (bool, bool))> =
        (0..16).flat_map(|mask| families.map(|family| (mask, family))).collect();
    let rules: Vec<Rule> = all.iter().map(|&(mask, family)| stateful(mask, family)).collect();
    let masks: Vec<u16> = all.iter().map(|&(mask, family)| packets(mask, family)).collect();
    for (a, b, c) in (0..48 * 48 * 48).map(|n| (n / 2304, n / 48 % 48, n % 48)) {
        let found = covered(&[&rules[a], &rules[b], &rules[c]]);
        let by = |rule: usize| found.iter().find(|it| it.rule == rule).map(|it| it.by.as_slice());
        let within = |inner: usize, outer: u16| masks[inner] & !outer == 0;
        assert_eq!(by(0), None);
        let second = within(b, masks[a]).then_some(&[0_usize][..]);
        assert_eq!(by(1), second, "{:?} {:?}", all[a], all[b]);
        let expected: Option<&[usize]> = match () {
            () if within(c, masks[a]) => Some(&[0]),
            () if within(c, masks[b]) => Some(&[1]),
            () if within(c, masks[a] | masks[b]) => {
                // Found where the states alone tell the rules apart; else it may be missed, never be wrong.
                let is_sure = all[a].1 == all[c].1 && all[b].1 == all[c].1;
                if is_sure || by(2).is_some() { Some(&[0, 1]) } else { None }
            }
            () => None,
        };
        assert_eq!(by(2), expected, "{:?} {:?} {:?}", all[a], all[b], all[c]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn packets_agree(rules in proptest::collection::vec(rule(), 1..24)) {
        let packets = packets();
        let rules: Vec<Rule> = rules.into_iter().filter(|rule| can_match(rule, &packets)).collect();
        let found = covered(&rules);
        let takes = |at: usize, packet: &Packet| matches(&rules[at].condition, packet);
        for covered in &found {
            let named = |packet: &Packet| covered.by.iter().any(|&by| takes(by, packet));
            prop_assert!(covered.by.iter().all(|&by| by < covered.rule));
            prop_assert!(covered.by.iter().all(|&by| rules[by].action != Action::Continue));
            let missed = packets.iter().find(|packet| takes(covered.rule, packet) && !named(packet));
            prop_assert!(missed.is_none(), "{:?} by {:?}: {:?}", covered, rules, missed);
        }
        // And the other way: whom one earlier rule contains is found.
        for at in 0..rules.len() {
            let is_found = found.iter().any(|covered| covered.rule == at);
            for by in (0..at).filter(|&by| rules[by].action != Action::Continue) {
                let (own, other) = (&rules[at].condition, &rules[by].condition);
                let is_plain = own == other || *other == Match::default();
                prop_assert!(!is_plain || is_found, "{by} is {at}: {rules:?}");
            }
        }
    }
}
