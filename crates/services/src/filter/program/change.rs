//! A program of which a few rules have changed.
//!
//! Rules that begin and end both lists alike are left as they are; those between them are exchanged, entry by
//! entry, in a copy of the classifiers, which is a fraction of building them.

use std::borrow::Borrow;
use std::ops::Range;

use linecard_tables::classifier::{Classifier, Entry, ORDER_MAX};

use super::{Effect, NO_COUNTER, Placed, Program, ProgramError, Slot, goes_on};
use crate::filter::expand::{Family, expand};
use crate::filter::rule::{Action, Rule};

/// Beyond this part of the rules, building anew is no dearer than exchanging them one by one.
const CHANGED_SHARE_MAX: usize = 8;

/// Slots without a rule that a program may carry along besides as many as it has rules.
const SPARE_SLOTS_MAX: usize = 64;

/// The chain that rules are exchanged in.
struct Place {
    chain: usize,
    /// Its rules that stay: in front, and behind.
    front: Range<usize>,
    behind: Range<usize>,
}

impl Place {
    /// The chain of all rules from `head` to `tail` and of those that come in their place. `None` when rules
    /// that go on come or go with them, and so chains.
    fn of<R: Borrow<Rule>>(old: &[R], changed: Range<usize>, comes: &[R]) -> Option<Self> {
        let Range { start: head, end: tail } = changed;
        if old[head..tail].iter().chain(comes).any(goes_on) {
            return None;
        }
        let first = old[..head].iter().rposition(goes_on).map_or(0, |last| last + 1);
        let end = old[tail..].iter().position(goes_on).map_or(old.len(), |at| tail + at + 1);
        let chain = old[..head].iter().filter(|rule| goes_on(*rule)).count();
        Some(Self { chain, front: first..head, behind: tail..end })
    }
}

impl Program {
    /// The program of the rules `after`, if this is the one of `before`. The counters are those of `after`, as
    /// for [`Program::new`]. Rules that are the same ones in memory are not compared.
    ///
    /// Cost: a comparison of all rules, a copy of the classifiers and some microseconds for each rule that
    /// changed; that of [`Program::new`] when rules that go on come or go, when many rules changed, or when
    /// no place is left between their neighbours.
    ///
    /// # Errors
    /// As [`Program::new`].
    pub fn changed<R: Borrow<Rule>>(
        &self,
        before: &[R],
        after: &[R],
        default: Action,
        counters: &[u32],
    ) -> Result<Self, ProgramError> {
        match self.exchanged(before, after) {
            Some(mut program) => {
                program.set_counters(default, counters);
                Ok(program)
            }
            None => Self::of_rules(after, default, counters, &self.capacities),
        }
    }

    /// `None` when it has to be built anew.
    fn exchanged<R: Borrow<Rule>>(&self, old: &[R], new: &[R]) -> Option<Self> {
        if self.placed.len() != old.len() {
            return None;
        }
        // Where rules went and none came in their place, slots are nobody's: building anew takes them back.
        if self.slots.len() > 2 * old.len() + SPARE_SLOTS_MAX {
            return None;
        }
        let same = |(old, new): &(&R, &R)| {
            let (old, new): (&Rule, &Rule) = ((*old).borrow(), (*new).borrow());
            std::ptr::eq(old, new) || old == new
        };
        let head = old.iter().zip(new).take_while(same).count();
        let rest = old.len().min(new.len()) - head;
        let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(same).count();
        let (goes, comes) = (old.len() - head - tail, &new[head..new.len() - tail]);
        if goes.max(comes.len()) > old.len() / CHANGED_SHARE_MAX {
            return None;
        }
        let mut program = self.clone();
        if goes == 0 && comes.is_empty() {
            return Some(program);
        }
        let place = Place::of(old, head..head + goes, comes)?;
        let between_ipv4 = program.orders_around(&place, |placed| &placed.orders_ipv4);
        let between_ipv6 = program.orders_around(&place, |placed| &placed.orders_ipv6);
        let free = program.remove(place.chain, head..head + goes)?;
        program.insert(place.chain, head, comes, free, (between_ipv4, between_ipv6))?;
        Some(program)
    }

    /// Takes rules out of a chain, and returns their slots.
    fn remove(&mut self, chain: usize, rules: Range<usize>) -> Option<Vec<u32>> {
        let chain = self.chains.get_mut(chain)?;
        let mut free = Vec::with_capacity(rules.len());
        for placed in self.placed.drain(rules) {
            for order in placed.orders_ipv4 {
                chain.ipv4.remove(order)?;
            }
            for order in placed.orders_ipv6 {
                chain.ipv6.remove(order)?;
            }
            free.push(placed.slot);
        }
        Some(free)
    }

    /// Puts rules in front of number `head`, in slots that are free or new and with orders between these.
    fn insert<R: Borrow<Rule>>(
        &mut self,
        chain: usize,
        head: usize,
        rules: &[R],
        mut free: Vec<u32>,
        (between_ipv4, between_ipv6): ((u32, u32), (u32, u32)),
    ) -> Option<()> {
        let entries_max = self.capacities.entries_max;
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        let mut ends = Vec::with_capacity(rules.len());
        for rule in rules.iter().map(Borrow::borrow) {
            let slot = Slot::of(rule, NO_COUNTER);
            let number = free.pop().unwrap_or(self.slots.len() as u32);
            let value = (number, slot.condition.is_some());
            expand::<u32>(&rule.condition, value, entries_max, &mut ipv4).ok()?;
            expand::<u128>(&rule.condition, value, entries_max, &mut ipv6).ok()?;
            self.set_slot(number, slot);
            ends.push((number, ipv4.len(), ipv6.len()));
        }
        let chain = self.chains.get_mut(chain)?;
        let mut orders_ipv4 = spread(&mut chain.ipv4, &mut ipv4, between_ipv4)?.into_iter();
        let mut orders_ipv6 = spread(&mut chain.ipv6, &mut ipv6, between_ipv6)?.into_iter();
        let mut start = (0, 0);
        let placed = ends.into_iter().map(|(slot, end_ipv4, end_ipv6)| {
            let orders_ipv4 = orders_ipv4.by_ref().take(end_ipv4 - start.0).collect();
            let orders_ipv6 = orders_ipv6.by_ref().take(end_ipv6 - start.1).collect();
            start = (end_ipv4, end_ipv6);
            Placed { slot, orders_ipv4, orders_ipv6 }
        });
        self.placed.splice(head..head, placed);
        Some(())
    }

    /// The last order in front of a place, and the first one behind it.
    fn orders_around(&self, place: &Place, orders: impl Fn(&Placed) -> &Vec<u32>) -> (u32, u32) {
        let (before, behind) =
            (&self.placed[place.front.clone()], &self.placed[place.behind.clone()]);
        let last = before.iter().rev().find_map(|placed| orders(placed).last());
        let first = behind.iter().find_map(|placed| orders(placed).first());
        (last.copied().unwrap_or(0), first.copied().unwrap_or(ORDER_MAX))
    }

    fn set_counters(&mut self, default: Action, counters: &[u32]) {
        let counter = |number: usize| counters.get(number).copied().unwrap_or(NO_COUNTER);
        for (number, placed) in self.placed.iter().enumerate() {
            let slot = placed.slot as usize;
            self.slots[slot].effect.counter = counter(number);
            self.briefs[slot].counter = counter(number);
        }
        self.default = Effect::of(default, counter(self.placed.len()));
    }
}

/// Inserts entries with orders that lie evenly between two others, and returns them; `None` when there is no
/// room for all, between the orders or in the classifier.
fn spread<A: Family>(
    classifier: &mut Classifier<A>,
    entries: &mut [Entry<A>],
    (last, first): (u32, u32),
) -> Option<Vec<u32>> {
    let step = (first - last) / (entries.len() as u32 + 1);
    if step == 0 {
        return None;
    }
    let mut order = last;
    let mut orders = Vec::with_capacity(entries.len());
    for entry in entries {
        // What is in front and behind keeps most of the room: rules are mostly added at one place.
        order += step.min(super::ORDER_STEP);
        entry.order = order;
        classifier.insert(*entry).ok()?;
        orders.push(order);
    }
    Some(orders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{FilterCapacities, Match};

    fn rule(number: u8) -> Rule {
        let condition = Match { dscps: vec![number], ..Match::default() };
        Rule {
            name: format!("r{number}"),
            condition,
            action: Action::Drop,
            set_dscp: None,
            set_class: None,
            policer: None,
            mirror_to: None,
            sample_one_in: 0,
            log: false,
        }
    }

    #[test]
    fn rules_that_come_and_go_leave_no_slots_behind() {
        let few: Vec<Rule> = (0..16).map(rule).collect();
        let more: Vec<Rule> = (0..17).map(rule).collect();
        let counters: Vec<u32> = (0..18).collect();
        let capacities = FilterCapacities::default();
        let program = Program::of_rules(&few, Action::Accept, &counters, &capacities);
        let mut program = program.expect("it fits");
        for _ in 0..200 {
            for (before, after) in [(&few, &more), (&more, &few)] {
                let next = program.changed(before, after, Action::Accept, &counters);
                program = next.expect("it fits");
                assert_eq!(program.placed.len(), after.len());
                assert!(program.slots.len() <= 100, "{} slots", program.slots.len());
            }
        }
    }
}
