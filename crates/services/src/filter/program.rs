//! A filter made ready for packets: classifiers and what each rule does.
//!
//! A rule that goes on with those behind it (`continue`) ends a *chain*: the rules up to it are one pair of
//! classifiers, those behind it the next. A packet for which a chain comes to nothing, or to its last rule if
//! that goes on, is looked up in the next one. So a filter without such rules costs one lookup, and each of
//! them one more for the packets that come that far.
//!
//! A program that packets are looked up in is never changed: [`Program::new`] builds another one, and
//! [`Program::changed`] a copy in which only the rules that differ are exchanged. The classifiers' entries stand
//! [`ORDER_STEP`] apart, so that new ones find a place between old ones, and their values are *slots*, which
//! rules keep when others come and go before them.

mod change;

use std::borrow::Borrow;
use std::fmt;

use linecard_packet::{Metadata, PortId};
use linecard_tables::classifier::{Classifier, ClassifierImplementation, Entry, InsertError};

use super::condition::Condition;
use super::config::FilterCapacities;
use super::expand::{Family, TooManyEntries, expand};
use super::rule::{Action, Filter, Rule};
use crate::police::PolicerId;

/// The counter of a rule that is not counted.
pub const NO_COUNTER: u32 = u32::MAX;

/// From the order of an entry to that of the next when a program is built.
const ORDER_STEP: u32 = 1 << 10;

/// What the stage does with packets that a rule matches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effect {
    pub(super) action: Action,
    pub(super) counter: u32,
    pub(super) set_dscp: Option<u8>,
    pub(super) policer: Option<PolicerId>,
    pub(super) set_class: Option<u8>,
    pub(super) mirror_to: Option<PortId>,
    pub(super) sample_one_in: u32,
    pub(super) log: bool,
}

/// What the packet path reads of an effect first, and mostly all: 8 bytes, so that the rules of a large filter
/// stay in the caches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brief {
    pub(super) counter: u32,
    /// A policer's slot, or one of the constants.
    outcome: u32,
}

/// What a [`Brief`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Accept, and that is all.
    Accept,
    /// Accept, and bring to the policer.
    Police(PolicerId),
    /// Drop, and that is all.
    Drop,
    /// More than that: the [`Effect`] says what.
    More,
}

impl Brief {
    const ACCEPT: u32 = u32::MAX;
    const DROP: u32 = u32::MAX - 1;
    const MORE: u32 = u32::MAX - 2;

    fn of(effect: &Effect) -> Self {
        let &Effect { set_dscp, set_class, mirror_to, sample_one_in, log, .. } = effect;
        let marks = set_dscp.is_some() || set_class.is_some() || mirror_to.is_some();
        let is_told = sample_one_in > 0 || log;
        let outcome = match (effect.action, effect.policer) {
            _ if marks || is_told => Self::MORE,
            (Action::Accept, None) => Self::ACCEPT,
            (Action::Accept, Some(policer)) => policer.0.min(Self::MORE),
            (Action::Drop, _) => Self::DROP,
            _ => Self::MORE,
        };
        Self { counter: effect.counter, outcome }
    }

    #[inline]
    pub(super) fn outcome(self) -> Outcome {
        match self.outcome {
            Self::ACCEPT => Outcome::Accept,
            Self::DROP => Outcome::Drop,
            Self::MORE => Outcome::More,
            policer => Outcome::Police(PolicerId(policer)),
        }
    }
}

/// A rule by its slot.
#[derive(Debug, Clone)]
struct Slot {
    effect: Effect,
    /// What the classifier does not ask for.
    condition: Option<Condition>,
}

/// Where a rule's entries are, and its slot.
#[derive(Debug, Clone)]
struct Placed {
    slot: u32,
    /// The orders of its entries.
    orders_ipv4: Vec<u32>,
    orders_ipv6: Vec<u32>,
}

/// Rules up to and including one that goes on, or to the end.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) ipv4: Classifier<u32>,
    pub(super) ipv6: Classifier<u128>,
}

/// A filter made ready. Values of the classifiers are slots.
#[derive(Debug, Clone)]
pub struct Program {
    pub(super) chains: Vec<Chain>,
    slots: Vec<Slot>,
    /// By slot.
    briefs: Vec<Brief>,
    /// By rule.
    placed: Vec<Placed>,
    pub(super) default: Effect,
    capacities: FilterCapacities,
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
        Self::of_rules(&filter.rules, filter.default, counters, capacities)
    }

    /// As [`Self::new`], of rules that lie anywhere.
    ///
    /// # Errors
    /// As there.
    pub fn of_rules<R: Borrow<Rule>>(
        rules: &[R],
        default: Action,
        counters: &[u32],
        capacities: &FilterCapacities,
    ) -> Result<Self, ProgramError> {
        let counter = |number: usize| counters.get(number).copied().unwrap_or(NO_COUNTER);
        let mut program = Self {
            chains: Vec::new(),
            slots: Vec::with_capacity(rules.len()),
            briefs: Vec::with_capacity(rules.len()),
            placed: Vec::with_capacity(rules.len()),
            default: Effect::of(default, counter(rules.len())),
            capacities: *capacities,
        };
        for rules in rules.split_inclusive(goes_on) {
            program.add_chain(rules, counter)?;
        }
        Ok(program)
    }

    /// Adds a chain of rules, which stand behind those that are there.
    fn add_chain<R: Borrow<Rule>>(
        &mut self,
        rules: &[R],
        counter: impl Fn(usize) -> u32,
    ) -> Result<(), ProgramError> {
        let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
        for rule in rules.iter().map(Borrow::borrow) {
            let number = self.placed.len();
            let slot = Slot::of(rule, counter(number));
            let value = (self.slots.len() as u32, slot.condition.is_some());
            let failed = |reason| ProgramError { rule: number, reason };
            let orders_ipv4 = self.append(rule, value, &mut ipv4).map_err(failed)?;
            let orders_ipv6 = self.append(rule, value, &mut ipv6).map_err(failed)?;
            self.placed.push(Placed { slot: value.0, orders_ipv4, orders_ipv6 });
            self.set_slot(value.0, slot);
        }
        let chain = Chain { ipv4: self.classifier(&ipv4), ipv6: self.classifier(&ipv6) };
        self.chains.push(chain);
        Ok(())
    }

    /// Appends the entries of a rule, and returns their orders.
    fn append<A: Family>(
        &self,
        rule: &Rule,
        value: (u32, bool),
        entries: &mut Vec<Entry<A>>,
    ) -> Result<Vec<u32>, ProgramErrorReason> {
        let start = entries.len();
        expand(&rule.condition, value, self.capacities.entries_max, entries)
            .map_err(ProgramErrorReason::TooManyEntries)?;
        let orders = (start..entries.len()).map(|at| (at as u32 + 1) * ORDER_STEP);
        for (entry, order) in entries[start..].iter_mut().zip(orders.clone()) {
            entry.order = order;
            entry.check().map_err(|invalid| ProgramErrorReason::Invalid(invalid.into()))?;
        }
        Ok(orders.collect())
    }

    /// A classifier of entries that were all looked at.
    fn classifier<A: Family>(&self, entries: &[Entry<A>]) -> Classifier<A> {
        let implementation = ClassifierImplementation::default();
        let mut classifier = Classifier::new(implementation, self.capacities.entries_max);
        classifier.replace_all(entries).expect("each entry is valid and there is room for all");
        classifier
    }

    /// Puts a rule into a slot, which may be the one behind the last.
    fn set_slot(&mut self, number: u32, slot: Slot) {
        let (at, brief) = (number as usize, Brief::of(&slot.effect));
        if at < self.slots.len() {
            (self.slots[at], self.briefs[at]) = (slot, brief);
        } else {
            self.slots.push(slot);
            self.briefs.push(brief);
        }
    }

    /// What the rule in a slot does, in brief.
    #[inline]
    pub(super) fn brief(&self, slot: u32) -> Brief {
        self.briefs[slot as usize]
    }

    /// What becomes of packets that no rule decides on, in brief.
    #[inline]
    pub(super) fn default_brief(&self) -> Brief {
        Brief::of(&self.default)
    }

    /// What the rule in a slot does.
    #[inline]
    pub(super) fn effect(&self, slot: u32) -> &Effect {
        &self.slots[slot as usize].effect
    }

    /// Whether the conditions of the rule in a slot hold that the classifier does not ask for.
    pub(super) fn holds(&self, slot: u32, packet: &[u8], metadata: &Metadata) -> bool {
        let condition = self.slots.get(slot as usize).and_then(|slot| slot.condition.as_ref());
        condition.is_none_or(|condition| condition.holds(packet, metadata))
    }

    /// The place of the rule in a slot.
    pub(super) fn rule_of(&self, slot: u32) -> u32 {
        let place = self.placed.iter().position(|placed| placed.slot == slot);
        place.unwrap_or(self.placed.len()) as u32
    }

    /// Rules.
    pub(super) fn rules(&self) -> u32 {
        self.placed.len() as u32
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

impl Slot {
    fn of(rule: &Rule, counter: u32) -> Self {
        let &Rule { action, set_dscp, set_class, mirror_to, sample_one_in, log, .. } = rule;
        let policer = rule.policer.map(PolicerId);
        let plain = Effect::of(action, counter);
        let effect =
            Effect { set_dscp, policer, set_class, mirror_to, sample_one_in, log, ..plain };
        Self { effect, condition: Condition::of(&rule.condition) }
    }
}

/// Whether the rules behind this one are asked as well.
fn goes_on<R: Borrow<Rule>>(rule: &R) -> bool {
    rule.borrow().action == Action::Continue
}

impl Effect {
    /// That of a rule which says nothing but what becomes of the packet.
    fn of(action: Action, counter: u32) -> Self {
        Self {
            action,
            counter,
            set_dscp: None,
            policer: None,
            set_class: None,
            mirror_to: None,
            sample_one_in: 0,
            log: false,
        }
    }
}
