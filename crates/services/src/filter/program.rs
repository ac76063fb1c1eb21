//! A filter made ready for packets: classifiers and what each rule does.
//!
//! A rule that goes on with those behind it (`continue`) ends a *chain*: the rules up to it are one pair of
//! classifiers, those behind it the next. A packet for which a chain comes to nothing, or to its last rule if
//! that goes on, is looked up in the next one. So a filter without such rules costs one lookup, and each of
//! them one more for the packets that come that far.
//!
//! A program is built aside and never changed: a reload builds another one, and nothing is half applied.

use std::fmt;

use linecard_packet::Metadata;
use linecard_tables::classifier::{Classifier, ClassifierImplementation, Entry, InsertError};

use super::condition::Condition;
use super::config::FilterCapacities;
use super::expand::{Family, TooManyEntries, expand};
use super::rule::{Action, Filter, Rule};

/// The counter of a rule that is not counted.
pub const NO_COUNTER: u32 = u32::MAX;

/// What the stage does with packets that a rule matches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effect {
    pub(super) action: Action,
    pub(super) counter: u32,
    pub(super) set_dscp: Option<u8>,
}

/// Rules up to and including one that goes on, or to the end.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) ipv4: Classifier<u32>,
    pub(super) ipv6: Classifier<u128>,
}

/// A filter made ready. Values of the classifiers are numbers of rules.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) chains: Vec<Chain>,
    /// By rule; the default stands last.
    effects: Vec<Effect>,
    /// By rule.
    conditions: Vec<Option<Condition>>,
}

/// A filter that the tables cannot take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramError {
    /// Which of its rules, from 0.
    pub rule: usize,
    /// Why.
    pub reason: ProgramErrorReason,
}

/// Why the tables cannot take a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramErrorReason {
    /// Together with those before it, it needs too many entries.
    TooManyEntries(TooManyEntries),
    /// One of its ranges or masks is none.
    Invalid(InsertError),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "rule {}: ", self.rule + 1)?;
        match &self.reason {
            ProgramErrorReason::TooManyEntries(error) => error.fmt(formatter),
            ProgramErrorReason::Invalid(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for ProgramError {}

impl Program {
    /// Builds a filter; `counters` has the number of the counter of each rule, and of the default behind
    /// them. Rules without one are not counted.
    ///
    /// Cost: that of building the classifiers, see [`linecard_tables::classifier`].
    ///
    /// # Errors
    /// [`ProgramError`] for the first rule that does not fit.
    pub fn new(
        filter: &Filter,
        counters: &[u32],
        capacities: &FilterCapacities,
    ) -> Result<Self, ProgramError> {
        let counter = |index: usize| counters.get(index).copied().unwrap_or(NO_COUNTER);
        let rules = filter.rules.iter().enumerate();
        let mut effects: Vec<_> =
            rules.map(|(index, rule)| Effect::of(rule, counter(index))).collect();
        let default = filter.rules.len();
        effects.push(Effect { action: filter.default, counter: counter(default), set_dscp: None });
        let conditions: Vec<_> =
            filter.rules.iter().map(|rule| Condition::of(&rule.condition)).collect();
        let goes_on = |rule: &Rule| rule.action == Action::Continue;
        let mut chains = Vec::new();
        let mut first = 0;
        for rules in filter.rules.split_inclusive(goes_on) {
            chains.push(Chain {
                ipv4: classifier(rules, first, &conditions, capacities)?,
                ipv6: classifier(rules, first, &conditions, capacities)?,
            });
            first += rules.len();
        }
        Ok(Self { chains, effects, conditions })
    }

    /// What a rule does.
    #[inline]
    pub(super) fn effect(&self, rule: u32) -> &Effect {
        &self.effects[rule as usize]
    }

    /// The number of the default.
    pub(super) fn default_rule(&self) -> u32 {
        self.effects.len() as u32 - 1
    }

    /// Whether the conditions of a rule hold that the classifier does not ask for.
    pub(super) fn holds(&self, rule: u32, packet: &[u8], metadata: &Metadata) -> bool {
        let condition = self.conditions.get(rule as usize).and_then(Option::as_ref);
        condition.is_none_or(|condition| condition.holds(packet, metadata))
    }

    /// Entries of all its classifiers.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.chains.iter().map(|chain| chain.ipv4.len() + chain.ipv6.len()).sum()
    }

    /// Bytes of its classifiers.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let bytes = |chain: &Chain| chain.ipv4.memory_bytes() + chain.ipv6.memory_bytes();
        self.chains.iter().map(bytes).sum()
    }
}

impl Effect {
    fn of(rule: &Rule, counter: u32) -> Self {
        Self { action: rule.action, counter, set_dscp: rule.set_dscp }
    }
}

/// The entries of one family of a chain whose first rule is number `first` of the filter.
fn classifier<A: Family>(
    rules: &[Rule],
    first: usize,
    conditions: &[Option<Condition>],
    capacities: &FilterCapacities,
) -> Result<Classifier<A>, ProgramError> {
    let mut entries: Vec<Entry<A>> = Vec::with_capacity(rules.len());
    let mut order = 0;
    for (number, rule) in (first..).zip(rules) {
        let value = (number as u32, conditions[number].is_some());
        order = expand(&rule.condition, value, order, capacities.entries_max, &mut entries)
            .map_err(ProgramErrorReason::TooManyEntries)
            .map_err(|reason| ProgramError { rule: number, reason })?;
    }
    let mut classifier =
        Classifier::new(ClassifierImplementation::default(), capacities.entries_max);
    classifier.replace_all(&entries).map_err(|error| {
        let wrong = entries.iter().find(|entry| entry.check().is_err());
        let rule = wrong.map_or(first, |entry| entry.value as usize);
        ProgramError { rule, reason: ProgramErrorReason::Invalid(error) }
    })?;
    Ok(classifier)
}
