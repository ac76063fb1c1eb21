//! Rules like those of real filters, and the packets that they are about.
//!
//! Sets are ClassBench-like ([`generator`]); of the addresses only the first octet is another where no
//! router would forward. Each packet is drawn on its own, so that of millions hardly two are alike: no
//! cache of flows could help.

use std::sync::Arc;

use linecard_services::filter::Rule;
use linecard_tables::classifier::generator::{self, Shape};
use linecard_tables::classifier::{Entry, Key};
use linecard_tables::generator::Random;
use linecard_tables::lpm::{Address, Prefix};

use super::filters;
use super::traffic::{Family, Traffic};

/// Which rules there are, which packets come, and how many of the rules are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filtering {
    pub(super) shape: Shape,
    /// Rules that packets are drawn from.
    pub(super) rules: usize,
    pub(super) packets: Packets,
    pub(super) asked: Asked,
}

/// How packets are drawn from rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packets {
    /// Nine in ten lie within a rule, drawn evenly; one is random in all bits.
    Matching,
    /// Source, destination, and protocol with ports are each from another such packet: all fields are
    /// those that rules know, and few rules know them together.
    Crossed,
}

/// The filter that packets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// None is attached.
    Nothing,
    /// One of the last rule only, which every packet matches.
    LastRule,
    AllRules,
}

/// A set of rules that packets are drawn from.
#[derive(Debug)]
pub(super) struct RuleSet<A: Address> {
    entries: Vec<Entry<A>>,
    packets: Packets,
}

impl<A: Traffic> RuleSet<A> {
    pub(super) fn new(filtering: &Filtering, seed: u64) -> Self {
        let mut entries = generator::rules(filtering.shape, seed, filtering.rules);
        for entry in &mut entries {
            entry.source = forwarded(entry.source);
            entry.destination = forwarded(entry.destination);
        }
        Self { entries, packets: filtering.packets }
    }

    /// The rules that are asked, in order.
    pub(super) fn asked(&self, asked: Asked) -> &[Entry<A>] {
        match asked {
            Asked::Nothing => &[],
            Asked::LastRule => &self.entries[self.entries.len().saturating_sub(1)..],
            Asked::AllRules => &self.entries,
        }
    }

    /// What a filter is to see of a packet.
    pub(super) fn key(&self, random: &mut Random) -> Key<A> {
        let mut packet = || generator::packets(&self.entries, random.next_u64(), 1)[0];
        let key = match self.packets {
            Packets::Matching => packet(),
            Packets::Crossed => {
                let (source, destination) = (packet().source, packet().destination);
                Key { source, destination, ..packet() }
            }
        };
        Key { source: key.source.forwarded(), destination: key.destination.forwarded(), ..key }
    }
}

/// Rules of one address family.
#[derive(Debug)]
pub(super) enum Drawn {
    Ipv4(Arc<RuleSet<u32>>),
    Ipv6(Arc<RuleSet<u128>>),
}

impl Drawn {
    pub(super) fn new(filtering: &Filtering, family: Family, seed: u64) -> Self {
        match family {
            Family::Ipv4 => Self::Ipv4(Arc::new(RuleSet::new(filtering, seed))),
            Family::Ipv6 => Self::Ipv6(Arc::new(RuleSet::new(filtering, seed))),
        }
    }

    /// The rules that are asked, as a filter takes them.
    pub(super) fn asked(&self, asked: Asked, policed: bool) -> Vec<Rule> {
        match self {
            Self::Ipv4(set) => filters::rules(set.asked(asked), policed),
            Self::Ipv6(set) => filters::rules(set.asked(asked), policed),
        }
    }
}

/// The prefix with an address in it that is forwarded.
fn forwarded<A: Traffic>(prefix: Prefix<A>) -> Prefix<A> {
    Prefix::new(prefix.bits().forwarded(), prefix.length()).expect("the length is as it was")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: usize = 1_000;

    fn set(shape: Shape, packets: Packets) -> RuleSet<u32> {
        RuleSet::new(&Filtering { shape, rules: RULES, packets, asked: Asked::AllRules }, 7)
    }

    /// How many of the rules decide on any of 10,000 packets, and on how many the last one does.
    fn deciding(set: &RuleSet<u32>) -> (usize, usize) {
        let mut random = Random::new(7);
        let mut packets = vec![0; RULES];
        for _ in 0..10_000 {
            let key = set.key(&mut random);
            let first = set.asked(Asked::AllRules).iter().position(|rule| rule.matches(&key));
            packets[first.expect("the last rule matches all")] += 1;
        }
        (packets.iter().filter(|packets| **packets > 0).count(), packets[RULES - 1])
    }

    #[test]
    fn packets_meet_most_rules_and_crossed_ones_fewer() {
        for shape in Shape::ALL {
            let (rules, by_last) = deciding(&set(shape, Packets::Matching));
            assert!(
                rules > RULES / 2 && by_last < 4_000,
                "{shape:?}: {rules}, {by_last} by the last"
            );
            let (crossed, _) = deciding(&set(shape, Packets::Crossed));
            assert!(crossed < rules, "{shape:?}: {crossed} of {rules}");
        }
    }

    #[test]
    fn only_addresses_that_are_forwarded_occur() {
        let is_forwarded = |address: u32| {
            let first = address >> 24;
            (1..224).contains(&first) && first != 127
        };
        for first in 0..=255u32 {
            assert!(is_forwarded((first << 24 | 5).forwarded()), "{first}");
            let unchanged = (first << 24 | 5).forwarded() == first << 24 | 5;
            assert_eq!(unchanged, is_forwarded(first << 24), "{first}");
        }
        let set = set(Shape::AccessList, Packets::Matching);
        for rule in set.asked(Asked::AllRules).iter().filter(|rule| rule.source.length() >= 8) {
            assert!(is_forwarded(rule.source.bits()), "{rule:?}");
        }
        assert_eq!(set.asked(Asked::LastRule)[0].source.length(), 0);
    }
}
