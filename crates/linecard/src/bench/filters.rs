//! The filter under test: rules made ready and published as the daemon does it, attached to the input of
//! every port.
//!
//! All packets are accepted and go on, and are checked as in the other cases. Each rule has a counter, and
//! together they must have counted every packet once.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use linecard_packet::{PortId, PortTotals};
use linecard_services::filter::{
    Action, Filter, FilterCapacities, FilterStats, FilterStatsReader, FilterTables, FilterUpdate,
    Hook, Masked, Match, Prefixes, Program, Rule, RuleCount, States,
};
use linecard_tables::classifier::{Entry, Ports};
use linecard_tables::lpm::{Address, Prefix};
use linecard_tables::publication::{Publish, Subscription, Writer};

use super::tables::PORTS;

/// A filter on all ports.
pub(super) struct Filters {
    writer: Writer<FilterTables, FilterUpdate>,
    size: Size,
}

/// What a filter takes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Size {
    pub(super) rules: usize,
    /// From rules to what can be published.
    pub(super) build: Duration,
    pub(super) memory_bytes: usize,
}

impl Filters {
    /// Builds the filter of these rules.
    ///
    /// # Errors
    /// When the tables cannot take them.
    pub(super) fn new(rules: Vec<Rule>, default: Action) -> anyhow::Result<Self> {
        let count = rules.len();
        let filter = Filter { name: "bench".to_owned(), rules, default };
        let counters: Vec<u32> = (0..).take(count + 1).collect();
        let start = Instant::now();
        let program = Arc::new(Program::new(&filter, &counters, &FilterCapacities::default())?);
        let build = start.elapsed();
        let size = Size { rules: count, build, memory_bytes: program.memory_bytes() };
        let tables = || FilterTables::new(usize::from(PORTS));
        let mut writer = Writer::new(tables(), tables());
        for hook in (0..PORTS).map(PortId).map(Hook::Input) {
            writer.append(FilterUpdate { hook, program: Some(Arc::clone(&program)) });
        }
        if writer.publish() != Publish::Published {
            bail!("the filters have a reader before they are there");
        }
        Ok(Self { writer, size })
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// What makes readers.
    pub(super) fn subscription(&self) -> Subscription<FilterTables> {
        self.writer.subscription()
    }

    /// Counters for one worker: of each rule, and of the default.
    pub(super) fn stats(&self) -> FilterStats {
        FilterStats::new(self.size.rules + 1)
    }

    /// Holds a worker's counters against what its ports have received.
    ///
    /// # Errors
    /// When the rules have not counted every packet once, and every byte.
    pub(super) fn balance(
        &self,
        stats: &FilterStatsReader,
        received: &PortTotals,
    ) -> anyhow::Result<()> {
        let mut sum = RuleCount::default();
        for counter in (0..).take(self.size.rules + 1) {
            sum += stats.read(counter);
        }
        let right =
            RuleCount { packets: received.received_packets, bytes: received.received_bytes };
        ensure!(sum == right, "the rules counted {sum:?}; right is {right:?}");
        Ok(())
    }
}

/// Rules that match as the entries do, and accept; if `policed`, each brings its packets to the policer of its
/// number.
pub(super) fn rules<A: Filtered>(entries: &[Entry<A>], policed: bool) -> Vec<Rule> {
    let numbered = (0..).zip(entries);
    let policer = |number| policed.then_some(number);
    numbered.map(|(number, entry)| rule(number, condition(entry), policer(number))).collect()
}

/// Rules that accept what belongs to a connection, and what may begin one.
pub(super) fn by_states() -> Vec<Rule> {
    let known = States { established: true, related: true, ..States::default() };
    let new = States { new: true, ..States::default() };
    let of_states = |states| Match { states, ..Match::default() };
    vec![rule(0, of_states(known), None), rule(1, of_states(new), None)]
}

fn rule(number: u32, condition: Match, policer: Option<u32>) -> Rule {
    Rule {
        name: number.to_string(),
        condition,
        action: Action::Accept,
        policer,
        set_dscp: None,
        set_class: None,
        mirror_to: None,
        sample_one_in: 0,
        log: false,
    }
}

/// An entry of the generator asks for protocol, ports and TCP flags; that a packet has ports, where some are
/// asked for, the filter adds by itself.
fn condition<A: Filtered>(entry: &Entry<A>) -> Match {
    let (kind, marks) = (entry.kind, entry.marks);
    let protocol = (kind.mask & 0xff != 0).then_some(kind.value as u8);
    let flags = Masked { value: marks.value as u8, mask: marks.mask as u8 };
    Match {
        ipv4: A::BITS == 32,
        ipv6: A::BITS == 128,
        source: prefixes(entry.source),
        destination: prefixes(entry.destination),
        protocols: protocol.into_iter().collect(),
        source_ports: ports(entry.source_ports),
        destination_ports: ports(entry.destination_ports),
        tcp_flags: (flags.mask != 0).then_some(flags).into_iter().collect(),
        ..Match::default()
    }
}

fn prefixes<A: Filtered>(prefix: Prefix<A>) -> Prefixes {
    if prefix.length() > 0 { A::only(prefix) } else { Prefixes::default() }
}

/// An address family as filters take it.
pub(super) trait Filtered: Address {
    /// This prefix and no other.
    fn only(prefix: Prefix<Self>) -> Prefixes;
}

impl Filtered for u32 {
    fn only(prefix: Prefix<Self>) -> Prefixes {
        Prefixes { ipv4: vec![prefix], ipv6: Vec::new() }
    }
}

impl Filtered for u128 {
    fn only(prefix: Prefix<Self>) -> Prefixes {
        Prefixes { ipv4: Vec::new(), ipv6: vec![prefix] }
    }
}

fn ports(ports: Ports) -> Vec<RangeInclusive<u16>> {
    (ports != Ports::ANY).then_some(ports.first..=ports.last).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_rule_has_counted_is_noticed() {
        let filters =
            Filters::new(rules(&[Entry::<u32>::any(0, 0)], false), Action::Accept).expect("tables");
        let stats = filters.stats().reader();
        let received = PortTotals { received_packets: 1, received_bytes: 60, ..Default::default() };
        assert!(filters.balance(&stats, &PortTotals::default()).is_ok());
        assert!(filters.balance(&stats, &received).is_err());
    }

    #[test]
    fn a_rule_asks_for_what_its_entry_asks_for() {
        let mut entry = Entry::any(0, 0);
        let nothing = Match { ipv4: true, ..Match::default() };
        assert_eq!(condition(&entry), nothing);
        entry.source = Prefix::new(0x0a00_0000, 8).expect("a prefix");
        entry.destination_ports = Ports { first: 80, last: 90 };
        entry.kind = linecard_tables::classifier::Masked { value: 0x106, mask: 0x1ff };
        entry.marks = linecard_tables::classifier::Masked { value: 0x02, mask: 0x12 };
        let right = Match {
            source: Prefixes { ipv4: vec![entry.source], ipv6: Vec::new() },
            protocols: vec![6],
            destination_ports: vec![80..=90],
            tcp_flags: vec![Masked { value: 0x02, mask: 0x12 }],
            ..nothing
        };
        assert_eq!(condition(&entry), right);
    }
}
