//! Which counter counts for which rule.
//!
//! A rule is known by its filter's name and its own. Its counter goes on as long as there is such a rule,
//! whatever else a reload changes; a counter that became free begins anew for its next rule: what it had
//! counted before is taken off.

use std::collections::HashMap;
use std::sync::Arc;

use linecard_control::config::{ConfiguredFilter, ConfiguredRule};
use linecard_services::filter::{NO_COUNTER, RuleCount};

/// A rule's counter, and what it had counted before it was the rule's.
#[derive(Debug, Clone, Copy)]
pub(in crate::daemon) struct Counted {
    pub(in crate::daemon) counter: u32,
    pub(in crate::daemon) before: RuleCount,
}

/// Which counters are taken.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Counters {
    max: usize,
    used: u32,
    free: Vec<u32>,
    /// Those of rules that the last change took away: until it is everywhere, packets are counted there.
    freed: Vec<u32>,
}

impl Counters {
    pub(in crate::daemon) fn new(max: usize) -> Self {
        Self { max, used: 0, free: Vec::new(), freed: Vec::new() }
    }

    /// A change begins. No worker has the filters from before the last one, so what that has freed can be used.
    pub(in crate::daemon) fn begin(&mut self) {
        self.free.append(&mut self.freed);
    }

    /// A counter that nobody has. Without one a rule is not counted.
    fn take(&mut self, read: impl Fn(u32) -> RuleCount) -> Counted {
        let counter = match self.free.pop() {
            Some(counter) => counter,
            None if (self.used as usize) < self.max => {
                self.used += 1;
                self.used - 1
            }
            None => NO_COUNTER,
        };
        Counted { counter, before: read(counter) }
    }

    /// Takes back the counters of rules that are there no more.
    pub(in crate::daemon) fn release(&mut self, counted: impl IntoIterator<Item = Counted>) {
        let counters = counted.into_iter().map(|counted| counted.counter);
        self.freed.extend(counters.filter(|counter| *counter != NO_COUNTER));
    }

    /// The counters of a filter's rules, and of its default behind them: rules keep theirs by name. `before` is what
    /// the filter had.
    pub(in crate::daemon) fn of_rules(
        &mut self,
        configured: &ConfiguredFilter,
        before: Option<(&[Arc<ConfiguredRule>], &[Counted])>,
        read: impl Fn(u32) -> RuleCount,
    ) -> Vec<Counted> {
        let rules = &configured.rules;
        let (old, old_counted) = before.unwrap_or((&[], &[]));
        let same = |(old, new): &(&Arc<ConfiguredRule>, &Arc<ConfiguredRule>)| {
            Arc::ptr_eq(old, new) || old.rule.name == new.rule.name
        };
        let head = old.iter().zip(rules).take_while(same).count();
        let rest = old.len().min(rules.len()) - head;
        let tail = old.iter().rev().zip(rules.iter().rev()).take(rest).take_while(same).count();
        let goes = head..old.len() - tail;
        // Names are unique, so those between are not among the rest.
        let names = old[goes.clone()].iter().map(|rule| rule.rule.name.as_str());
        let mut between: HashMap<&str, Counted> =
            names.zip(old_counted[goes.clone()].iter().copied()).collect();
        let mut counted = old_counted[..head].to_vec();
        for rule in &rules[head..rules.len() - tail] {
            let kept = between.remove(rule.rule.name.as_str());
            counted.push(kept.unwrap_or_else(|| self.take(&read)));
        }
        counted.extend_from_slice(&old_counted[goes.end..]);
        if before.is_none() {
            counted.push(self.take(&read));
        }
        self.release(between.into_values());
        counted
    }
}
