//! What stands in the table, for readers: as workers change it meanwhile, a picture of no one moment.

use std::ops::Range;

use super::slot::{LIFETIMES, Lifetime, VALUES, Word};
use super::{ConnectionTable, EVICTABLE, SLOTS, TICK_SHIFT, Tick, age};
use crate::sync::atomic::{Ordering, fence};

/// An entry as it was when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<const K: usize> {
    /// Its key.
    pub key: [u64; K],
    /// Its values.
    pub values: [u64; VALUES],
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Since it was seen last, to the tick.
    pub idle_nanoseconds: u64,
    /// Until it is gone, if it is not seen again; to the tick.
    pub left_nanoseconds: u64,
}

impl<const K: usize> ConnectionTable<K> {
    /// How many entries that have not expired have each lifetime, by its number. Cost: reads all buckets, 64
    /// bytes for eight slots.
    #[must_use]
    pub fn census(&self, now: Tick) -> [usize; LIFETIMES] {
        let mut counts = [0; LIFETIMES];
        for cell in self.buckets.iter().flat_map(|bucket| &bucket.0) {
            let word = Word(cell.load(Ordering::Relaxed));
            if let Some(lifetime) = word.lifetime().filter(|_| self.is_live(word, now)) {
                counts[lifetime.number()] += 1;
            }
        }
        counts
    }

    /// Shows the entries in these buckets that have not expired. Numbers beyond the last bucket are passed over.
    ///
    /// Cost: a cache line a bucket, and one or two for each entry.
    pub fn list(&self, buckets: Range<usize>, now: Tick, mut each: impl FnMut(&Listed<K>)) {
        let end = buckets.end.min(self.buckets.len());
        for slot in buckets.start.min(end) * SLOTS..end * SLOTS {
            if let Some(listed) = self.read(slot, now) {
                each(&listed);
            }
        }
    }

    /// The entry of a slot, unless it goes while it is read.
    fn read(&self, slot: usize, now: Tick) -> Option<Listed<K>> {
        let cell = self.word(slot);
        let word = Word(cell.load(Ordering::Acquire));
        let lifetime = word.lifetime().filter(|_| self.is_live(word, now))?;
        let entry = &self.entries[slot];
        let (key, values) = (entry.key(), entry.values(word.generation())?);
        fence(Ordering::Acquire);
        let again = Word(cell.load(Ordering::Relaxed));
        if again.generation() != word.generation() || again.lifetime().is_none() {
            return None;
        }
        let ticks = self.lifetimes[lifetime.number()].load(Ordering::Relaxed) & !EVICTABLE;
        let idle = u64::try_from(age(word, now)).unwrap_or(0);
        Some(Listed {
            key,
            values,
            lifetime,
            idle_nanoseconds: idle << TICK_SHIFT,
            left_nanoseconds: u64::from(ticks).saturating_sub(idle) << TICK_SHIFT,
        })
    }
}
