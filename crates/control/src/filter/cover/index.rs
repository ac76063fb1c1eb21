//! Rules by one of their prefixes or by their port, to find those that contain a given one.

use std::ops::RangeInclusive;

use hashbrown::HashMap;
use linecard_services::filter::Prefixes;
use linecard_tables::lpm::{Address, Prefix};

/// Rules with more prefixes, or ports, than this are met by every rule.
const LISTED_MAX: usize = 16;

#[derive(Default)]
pub(super) struct PrefixIndex {
    /// Rules that ask for no address.
    any: Vec<u32>,
    /// Rules with many prefixes.
    wide: Vec<u32>,
    ipv4: Family<u32>,
    ipv6: Family<u128>,
}

#[derive(Default)]
struct Family<A> {
    rules: HashMap<Prefix<A>, Vec<u32>>,
    /// Bit n: some prefix has length n.
    lengths: [u64; 3],
}

impl<A: Address> Family<A> {
    fn insert(&mut self, prefix: Prefix<A>, rule: u32) {
        let length = usize::from(prefix.length());
        self.lengths[length / 64] |= 1 << (length % 64);
        self.rules.entry(prefix).or_default().push(rule);
    }

    fn containing<'a>(&'a self, prefix: Prefix<A>, into: &mut Vec<&'a [u32]>) {
        for length in 0..=prefix.length() {
            let has = self.lengths[usize::from(length) / 64] >> (length % 64) & 1 == 1;
            let outer = Prefix::new(prefix.bits(), length).expect("no longer than the prefix");
            if has && let Some(rules) = self.rules.get(&outer) {
                into.push(rules);
            }
        }
    }
}

impl PrefixIndex {
    pub(super) fn insert(&mut self, prefixes: &Prefixes, rule: u32) {
        if prefixes.is_any() {
            self.any.push(rule);
        } else if prefixes.ipv4.len() + prefixes.ipv6.len() > LISTED_MAX {
            self.wide.push(rule);
        } else {
            prefixes.ipv4.iter().for_each(|&prefix| self.ipv4.insert(prefix, rule));
            prefixes.ipv6.iter().for_each(|&prefix| self.ipv6.insert(prefix, rule));
        }
    }

    /// Lists with every rule that may contain all of `prefixes`: those that contain the first one.
    pub(super) fn containing(&self, prefixes: &Prefixes) -> Vec<&[u32]> {
        let mut lists: Vec<&[u32]> = vec![&self.any, &self.wide];
        if let Some(first) = prefixes.ipv4.first() {
            self.ipv4.containing(*first, &mut lists);
        } else if let Some(first) = prefixes.ipv6.first() {
            self.ipv6.containing(*first, &mut lists);
        }
        lists
    }
}

#[derive(Default)]
pub(super) struct PortIndex {
    /// Rules that ask for no port, for a range, or for many.
    wide: Vec<u32>,
    single: HashMap<u16, Vec<u32>>,
}

impl PortIndex {
    pub(super) fn insert(&mut self, ports: &[RangeInclusive<u16>], rule: u32) {
        let single = |range: &RangeInclusive<u16>| range.start() == range.end();
        if ports.is_empty() || ports.len() > LISTED_MAX || !ports.iter().all(single) {
            self.wide.push(rule);
            return;
        }
        for range in ports {
            self.single.entry(*range.start()).or_default().push(rule);
        }
    }

    /// Lists with every rule that may contain all of `ports`.
    pub(super) fn containing(&self, ports: &[RangeInclusive<u16>]) -> Vec<&[u32]> {
        let single = ports.first().filter(|range| range.start() == range.end());
        let listed = single.and_then(|range| self.single.get(range.start()));
        let mut lists: Vec<&[u32]> = vec![&self.wide];
        lists.extend(listed.map(Vec::as_slice));
        lists
    }
}
