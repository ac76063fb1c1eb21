//! Who has which slot: the control side's book of policers by name.
//!
//! A policer is the same as long as it has its name and its kind of marker: its slot, its buckets and its
//! counters stay whatever else changes. With another kind of marker the words of its pool mean something
//! else, so it is a new one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;

use linecard_tables::meter::Pool;

use super::{PoliceUpdate, Policer, PolicerId};

/// Where a policer is.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// Its slot.
    pub id: PolicerId,
    /// Which of the policers that had the slot.
    pub incarnation: NonZeroU32,
    policer: Policer,
    pool: Arc<Pool>,
}

/// There are more policers than slots; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RosterFull {
    /// The slots there are.
    pub policers_max: u32,
}

impl fmt::Display for RosterFull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "there is room for {} policers", self.policers_max)
    }
}

impl std::error::Error for RosterFull {}

/// What has to be published to make the policers of a roster those there are.
#[derive(Debug, Default)]
pub struct Enrolment {
    /// Before rules bring packets to the new ones.
    pub additions: Vec<PoliceUpdate>,
    /// When no rule brings packets to the old ones any more: what is brought to a policer that is not there passes.
    pub removals: Vec<PoliceUpdate>,
}

impl Enrolment {
    /// All of it in order, where no rule brings packets meanwhile.
    #[must_use]
    pub fn all(self) -> Vec<PoliceUpdate> {
        self.additions.into_iter().chain(self.removals).collect()
    }
}

/// All policers by name.
#[derive(Debug, Clone)]
pub struct Roster {
    policers_max: u32,
    by_name: BTreeMap<String, Enrolled>,
    incarnations: u32,
}

impl Roster {
    /// No policers; slots 0 to `policers_max` − 1.
    #[must_use]
    pub fn new(policers_max: u32) -> Self {
        Self { policers_max, by_name: BTreeMap::new(), incarnations: 0 }
    }

    /// Where a policer is.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Enrolled> {
        self.by_name.get(name)
    }

    /// All policers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Enrolled)> {
        self.by_name.iter().map(|(name, enrolled)| (name.as_str(), enrolled))
    }

    /// Makes these the policers there are, and says what has to be published for it. No worker may still be
    /// without what an earlier call has said: slots that it freed are given out again.
    ///
    /// # Errors
    /// [`RosterFull`]
    pub fn enrol(&mut self, wanted: &BTreeMap<String, Policer>) -> Result<Enrolment, RosterFull> {
        if wanted.len() > self.policers_max as usize {
            return Err(RosterFull { policers_max: self.policers_max });
        }
        let mut before = mem::take(&mut self.by_name);
        let stays = |name: &String, enrolled: &mut Enrolled| {
            wanted.get(name).is_some_and(|policer| is_same_kind(policer, &enrolled.policer))
        };
        let gone: Vec<_> = before.extract_if(.., |name, it| !stays(name, it)).collect();
        let taken: BTreeSet<u32> = before.values().map(|enrolled| enrolled.id.0).collect();
        // Rules bring packets to those that are gone until filters are published: others are there last of all.
        let freed: Vec<u32> = gone.iter().map(|(_, enrolled)| enrolled.id.0).collect();
        let unused = |slot: &u32| !taken.contains(slot) && !freed.contains(slot);
        let mut free = (0..self.policers_max).filter(unused).chain(freed.iter().copied());
        let mut additions = Vec::new();
        for (name, policer) in wanted {
            let mut enrolled = before.remove(name).unwrap_or_else(|| {
                self.incarnations = self.incarnations.wrapping_add(1).max(1);
                Enrolled {
                    id: PolicerId(free.next().expect("there are as many slots as are wanted")),
                    incarnation: NonZeroU32::new(self.incarnations).unwrap_or(NonZeroU32::MIN),
                    policer: *policer,
                    pool: Arc::default(),
                }
            });
            enrolled.policer = *policer;
            // With it goes what was told of the ports of one by port that had the slot.
            if freed.contains(&enrolled.id.0) {
                additions.push(PoliceUpdate::RemovePolicer(enrolled.id));
            }
            additions.push(PoliceUpdate::SetPolicer {
                id: enrolled.id,
                incarnation: enrolled.incarnation,
                policer: *policer,
                pool: Arc::clone(&enrolled.pool),
            });
            self.by_name.insert(name.clone(), enrolled);
        }
        let is_taken = |slot: u32| self.by_name.values().any(|enrolled| enrolled.id.0 == slot);
        let removals = freed.into_iter().filter(|slot| !is_taken(*slot));
        let removals = removals.map(|slot| PoliceUpdate::RemovePolicer(PolicerId(slot))).collect();
        Ok(Enrolment { additions, removals })
    }
}

/// Whether one can go on with the other's buckets.
fn is_same_kind(one: &Policer, other: &Policer) -> bool {
    mem::discriminant(&one.marker) == mem::discriminant(&other.marker)
        && one.options.unit == other.options.unit
        && one.sources == other.sources
}

#[cfg(test)]
mod tests {
    use linecard_tables::meter::{Marker, ProfileOptions};

    use super::*;
    use crate::police::ColourAction;

    fn policer(rate: u64) -> Policer {
        Policer {
            marker: Marker::SingleRate {
                committed_rate: rate,
                committed_burst: 8000,
                excess_burst: 0,
            },
            options: ProfileOptions::default(),
            actions: [ColourAction::Pass, ColourAction::Pass, ColourAction::Drop],
            sources: None,
        }
    }

    fn wanted(policers: &[(&str, Policer)]) -> BTreeMap<String, Policer> {
        policers.iter().map(|(name, policer)| ((*name).to_owned(), *policer)).collect()
    }

    #[test]
    fn who_stays_keeps_slot_incarnation_and_pool() {
        let mut roster = Roster::new(2);
        let both = wanted(&[("a", policer(1)), ("b", policer(2))]);
        assert_eq!(roster.enrol(&both).expect("two fit").all().len(), 2);
        let b = roster.get("b").expect("it was enrolled").clone();

        let other = wanted(&[("b", policer(3)), ("c", policer(4))]);
        let updates = roster.enrol(&other).expect("two fit");
        // There is no other slot for c, so a must go first; and is not removed again when c is there.
        assert!(matches!(updates.additions[1], PoliceUpdate::RemovePolicer(PolicerId(0))));
        assert!(updates.removals.is_empty(), "{updates:?}");
        let stayed = roster.get("b").expect("it stayed");
        assert_eq!((stayed.id, stayed.incarnation), (b.id, b.incarnation));
        assert!(Arc::ptr_eq(&stayed.pool, &b.pool));
        let c = roster.get("c").expect("it was enrolled");
        assert_eq!((c.id, c.incarnation.get()), (PolicerId(0), 3), "the slot of a, but not a");
        assert!(roster.get("a").is_none());
    }

    #[test]
    fn who_goes_is_there_until_nobody_brings_packets() {
        let mut roster = Roster::new(3);
        roster.enrol(&wanted(&[("a", policer(1)), ("b", policer(2))])).expect("two fit");
        let updates = roster.enrol(&wanted(&[("c", policer(3))])).expect("three fit");
        assert_eq!(roster.get("c").expect("it was enrolled").id, PolicerId(2));
        assert!(!updates.additions.iter().any(|it| matches!(it, PoliceUpdate::RemovePolicer(_))));
        let removed = |update: &PoliceUpdate| match update {
            PoliceUpdate::RemovePolicer(id) => id.0,
            other => panic!("{other:?} is no removal"),
        };
        assert_eq!(updates.removals.iter().map(removed).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn another_kind_of_marker_is_another_policer() {
        let mut roster = Roster::new(1);
        roster.enrol(&wanted(&[("a", policer(1))])).expect("one fits");
        let before = roster.get("a").expect("it was enrolled").incarnation;
        let marker = Marker::TwoRate {
            committed_rate: 1,
            committed_burst: 8000,
            peak_rate: 2,
            peak_burst: 8000,
        };
        let changed = Policer { marker, ..policer(1) };
        roster.enrol(&wanted(&[("a", changed)])).expect("one fits");
        assert_ne!(roster.get("a").expect("it is there").incarnation, before);
    }

    #[test]
    fn more_than_there_is_room_for_changes_nothing() {
        let mut roster = Roster::new(1);
        roster.enrol(&wanted(&[("a", policer(1))])).expect("one fits");
        let two = wanted(&[("b", policer(1)), ("c", policer(1))]);
        assert_eq!(roster.enrol(&two).expect_err("no room"), RosterFull { policers_max: 1 });
        assert!(roster.get("a").is_some());
    }
}
