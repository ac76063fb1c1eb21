//! A filter that is in force, or about to be: what was configured, and the program that workers ask.

use std::collections::HashMap;
use std::sync::Arc;

use linecard_control::config::{ConfiguredFilter, ConfiguredRule};
use linecard_services::filter::{FilterCapacities, Program, Rule};

use super::counters::Counted;

/// A filter in force.
pub(super) struct Held {
    pub(super) configured: ConfiguredFilter,
    pub(super) program: Arc<Program>,
    /// Of each rule, and of the default.
    pub(super) counted: Vec<Counted>,
    /// The slots of the policers that its rules name by number.
    policers: Vec<u32>,
}

impl Held {
    /// Makes a filter ready; `before` is what it was. Costs a copy of the classifiers and what the rules that
    /// have changed cost.
    pub(super) fn new(
        configured: &ConfiguredFilter,
        policers: &[u32],
        before: Option<&Self>,
        counted: Vec<Counted>,
        capacities: &FilterCapacities,
    ) -> anyhow::Result<Self> {
        let active = Active::of(configured, &counted, policers);
        let (rules, counters) = (active.rules(), &active.counters);
        let default = configured.default;
        let program = match before {
            Some(before) => {
                let was = before.active();
                let old = was.rules();
                let same = |(old, new): (&&Rule, &&Rule)| std::ptr::eq(*old, *new) || old == new;
                let are_same = old.len() == rules.len() && old.iter().zip(&rules).all(same);
                if are_same && before.configured.default == default && was.counters == *counters {
                    Arc::clone(&before.program)
                } else {
                    Arc::new(before.program.changed(&old, &rules, default, counters)?)
                }
            }
            None => Arc::new(Program::of_rules(&rules, default, counters, capacities)?),
        };
        let policers = policers.to_vec();
        Ok(Self { configured: configured.clone(), program, counted, policers })
    }

    /// What is asked of it: see [`Active`].
    pub(super) fn active(&self) -> Active<'_> {
        Active::of(&self.configured, &self.counted, &self.policers)
    }
}

/// The rules of a filter that packets can match, in order, as the service takes them: they name policers by their
/// slots.
pub(super) struct Active<'a> {
    rules: Vec<&'a ConfiguredRule>,
    /// By number, those whose policer has another slot than number.
    policed: HashMap<usize, Rule>,
    /// Of each, and of the default.
    pub(super) counters: Vec<u32>,
}

impl<'a> Active<'a> {
    fn of(configured: &'a ConfiguredFilter, counted: &[Counted], policers: &[u32]) -> Self {
        let mut rules = Vec::with_capacity(configured.rules.len());
        let mut counters = Vec::with_capacity(counted.len());
        let mut policed = HashMap::new();
        for (configured, counted) in configured.rules.iter().zip(counted) {
            if configured.idle.is_some() {
                continue;
            }
            let rule = &configured.rule;
            let policer = rule.policer.and_then(|at| policers.get(at as usize).copied());
            if policer != rule.policer {
                policed.insert(rules.len(), Rule { policer, ..rule.clone() });
            }
            rules.push(&**configured);
            counters.push(counted.counter);
        }
        counters.extend(counted.last().map(|default| default.counter));
        Self { rules, policed, counters }
    }

    /// The rules. Those that two filters share are the same in memory, but for those with a policer.
    pub(super) fn rules(&self) -> Vec<&Rule> {
        if self.policed.is_empty() {
            return self.rules.iter().map(|configured| &configured.rule).collect();
        }
        let rule = |(at, configured): (usize, &&'a ConfiguredRule)| {
            self.policed.get(&at).unwrap_or(&configured.rule)
        };
        self.rules.iter().enumerate().map(rule).collect()
    }
}
