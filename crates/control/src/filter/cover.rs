//! Rules that can never match, because earlier ones take all that they would.
//!
//! A match is a box: one set of values for each dimension (family, source, protocol, …), and it asks
//! for all of them. A box lies within another exactly when each of its sides does, so that one rule
//! covers another is decided exactly. Whether *several* cover one is a hard question in general; it is
//! answered where all of them contain the rule in every dimension but one and the same, and together
//! contain it in that one too: the halves of a port range, both families, every state.
//!
//! Comparing all pairs would do for a thousand rules. Here a rule meets only those whose source,
//! destination or destination port contains its own, whichever are fewest: they stand under the 33 or 129
//! prefixes that may contain one of the rule's, or under its port. Rules with many prefixes, and those with
//! a range of ports, stand in a list that every rule meets; a comparison of bounds is mostly enough there.

mod bounds;
mod dimension;
mod index;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;

use linecard_services::filter::{Action, Match, Rule};

use dimension::{Dimension, Lacks, Shape};
use index::{PortIndex, PrefixIndex};

/// What is spent on covers by several: lists of so many rules are searched for parts of one.
const CANDIDATES_MAX: usize = 256;

/// A rule that can never match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// Its index.
    pub rule: usize,
    /// The rules before it that take all of its packets: the first one that does alone, or several that
    /// do together. In order.
    pub by: Vec<usize>,
}

/// The rules of a filter that can never match, in order.
///
/// Costs a few microseconds a rule where prefixes tell the rules apart; in the worst case (all have the
/// same) each pair is compared.
#[must_use]
pub fn covered<R: Borrow<Rule>>(rules: &[R]) -> Vec<Covered> {
    let shapes: Vec<Shape<'_>> =
        { rules.iter().map(|rule| Shape::of(&rule.borrow().condition)).collect() };
    let (mut sources, mut destinations) = (PrefixIndex::default(), PrefixIndex::default());
    let mut ports = PortIndex::default();
    let mut found = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let rule = rule.borrow();
        let condition = &rule.condition;
        let mut lists = [
            sources.containing(&condition.source),
            destinations.containing(&condition.destination),
            ports.containing(&condition.destination_ports),
        ];
        lists.sort_by_key(|lists| count(lists));
        if let Some(by) = cover(&shapes, at, &lists) {
            found.push(Covered { rule: at, by });
        } else if rule.action != Action::Continue {
            // What a covered rule covers, another does already.
            let at = u32::try_from(at).expect("a filter has fewer rules than that");
            sources.insert(&condition.source, at);
            destinations.insert(&condition.destination, at);
            ports.insert(&condition.destination_ports, at);
        }
    }
    found
}

/// Whether IPv4 packets may match, and IPv6 packets.
pub(crate) fn families(condition: &Match) -> (bool, bool) {
    let families = dimension::families(condition);
    (families & dimension::IPV4 != 0, families & dimension::IPV6 != 0)
}

fn count(lists: &[&[u32]]) -> usize {
    lists.iter().map(|list| list.len()).sum()
}

/// The rules that cover rule `at`. A rule that does alone is in each of the `candidates`, fewest first;
/// one that does together with others is in one of them.
fn cover(shapes: &[Shape<'_>], at: usize, candidates: &[Vec<&[u32]>; 3]) -> Option<Vec<usize>> {
    let own = &shapes[at];
    let mut partial: Vec<(Dimension, usize)> = Vec::new();
    let mut alone: Option<usize> = None;
    for (number, lists) in candidates.iter().enumerate() {
        let few = count(lists) <= CANDIDATES_MAX;
        if number > 0 && !few {
            break;
        }
        for candidate in lists.iter().copied().flatten().map(|&rule| rule as usize) {
            match shapes[candidate].lacks(own, usize::from(few)) {
                Lacks::Nothing => {
                    alone = Some(alone.map_or(candidate, |first| first.min(candidate)));
                }
                Lacks::One(dimension) => partial.push((dimension, candidate)),
                Lacks::More => {}
            }
        }
    }
    if let Some(alone) = alone {
        return Some(vec![alone]);
    }
    partial.sort_unstable();
    partial.dedup();
    let groups = partial.chunk_by(|one, other| one.0 == other.0);
    groups.filter(|group| group.len() > 1).find_map(|group| {
        let rules: Vec<usize> = group.iter().map(|(_, rule)| *rule).collect();
        together(shapes, at, group[0].0, rules)
    })
}

/// `rules` less what is not needed to cover rule `at`, if they do.
fn together(
    shapes: &[Shape<'_>],
    at: usize,
    dimension: Dimension,
    mut rules: Vec<usize>,
) -> Option<Vec<usize>> {
    let covers = |rules: &[usize]| {
        let parts = rules.iter().map(|&rule| &shapes[rule]);
        shapes[at].is_within(dimension, parts)
    };
    if !covers(&rules) {
        return None;
    }
    // The fewer are named the better it is understood; with many, time is worth more.
    let mut last = if rules.len() <= 64 { rules.len() } else { 0 };
    while last > 0 {
        last -= 1;
        let without = rules.remove(last);
        if !covers(&rules) {
            rules.insert(last, without);
        }
    }
    Some(rules)
}
