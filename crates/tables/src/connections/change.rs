//! What changes which entries there are: inserting, with eviction when there is no room, and the clock hand.

use std::ops::Range;

use super::lookup::{Place, slot_of};
use super::slot::{self, Content, VALUES, Word};
use super::{ConnectionTable, Handle, Lifetime, SLOTS, Tick, age};
use crate::sync::atomic::{Ordering, fence};

/// How often a worker looks again that lost a slot to another one.
pub(super) const TRIES: usize = 4;

/// What came of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insertion {
    /// The entry is new.
    Inserted(Handle),
    /// The entry is new, in the place of one that could be evicted.
    Evicted(Handle),
    /// There was one with this key already; it is as it was.
    Exists(Handle),
    /// No room: each of its slots has an entry that may not be evicted, or other workers were faster
    /// several times over.
    Refused,
}

impl Insertion {
    /// The entry; [`Handle::NONE`] when it was refused.
    #[must_use]
    pub fn handle(self) -> Handle {
        match self {
            Self::Inserted(handle) | Self::Evicted(handle) | Self::Exists(handle) => handle,
            Self::Refused => Handle::NONE,
        }
    }
}

/// A slot that a new entry may take.
#[derive(Clone, Copy)]
struct Vacancy {
    slot: usize,
    word: Word,
    is_eviction: bool,
}

impl<const K: usize> ConnectionTable<K> {
    /// Adds an entry, seen now. `gone` is told key and values of an entry that had to go for it, expired or not.
    ///
    /// Cost: both buckets and the entry, which a lookup of the key has fetched.
    pub fn insert(
        &self,
        key: &[u64; K],
        values: &[u64; VALUES],
        lifetime: Lifetime,
        now: Tick,
        mut gone: impl FnMut(&[u64; K], &[u64; VALUES]),
    ) -> Insertion {
        let place = self.place(key);
        let fingerprint = place.fingerprint;
        let content = Content { key: *key, values: *values, fingerprint, lifetime, seen: now.0 };
        for _ in 0..TRIES {
            let existing = self.find_among(key, &place, self.matches(&place), now);
            if existing.is_some() {
                return Insertion::Exists(existing);
            }
            // In its own place if it has expired: nobody who still has that one's handle can revive it.
            let own = self.find_expired(key, &place, now);
            let own = own.map(|(slot, word)| Vacancy { slot, word, is_eviction: false });
            let Some(vacancy) = own.or_else(|| self.vacancy(&place, now)) else {
                return Insertion::Refused;
            };
            let Vacancy { slot, word, is_eviction } = vacancy;
            let Some((generation, old)) =
                slot::put(self.word(slot), &self.entries[slot], word, &content)
            else {
                continue;
            };
            if let Some((key, values)) = old {
                gone(&key, &values);
            }
            let handle = Handle { slot: slot as u32, generation };
            return match self.remove_duplicate(key, &place, handle, now, &mut gone) {
                Some(other) => Insertion::Exists(other),
                None if is_eviction => Insertion::Evicted(handle),
                None => Insertion::Inserted(handle),
            };
        }
        Insertion::Refused
    }

    /// Begins an entry anew: same key and slot, but whoever has the old handle has nothing. `None` if it was
    /// gone. `gone` is told of the values that it had.
    pub fn restart(
        &self,
        handle: Handle,
        values: &[u64; VALUES],
        lifetime: Lifetime,
        now: Tick,
        mut gone: impl FnMut(&[u64; K], &[u64; VALUES]),
    ) -> Option<Handle> {
        let slot = handle.slot as usize;
        let entry = self.entries.get(slot)?;
        let cell = self.word(slot);
        let word = Word(cell.load(Ordering::Acquire));
        if word.generation() != handle.generation || word.lifetime().is_none() {
            return None;
        }
        let (key, fingerprint) = (entry.key(), word.fingerprint());
        let content = Content { key, values: *values, fingerprint, lifetime, seen: now.0 };
        let (generation, old) = slot::put(cell, entry, word, &content)?;
        if let Some((key, values)) = old {
            gone(&key, &values);
        }
        Some(Handle { slot: handle.slot, generation })
    }

    /// Ends an entry, if it is still there; `gone` is told of it.
    pub fn remove(&self, handle: Handle, mut gone: impl FnMut(&[u64; K], &[u64; VALUES])) {
        if (handle.slot as usize) < self.entries.len() {
            let word = Word(self.word(handle.slot as usize).load(Ordering::Acquire));
            if word.generation() == handle.generation {
                self.clear(handle.slot as usize, word, &mut gone);
            }
        }
    }

    /// The clock hand: empties the slots of entries that have expired in these buckets, tells `gone` of each,
    /// and returns how many. Numbers beyond the last bucket are passed over.
    ///
    /// Cost: a cache line a bucket, and one or two for each entry that has expired.
    pub fn sweep(
        &self,
        buckets: Range<usize>,
        now: Tick,
        mut gone: impl FnMut(&[u64; K], &[u64; VALUES]),
    ) -> usize {
        let mut emptied = 0;
        let end = buckets.end.min(self.buckets.len());
        for bucket in buckets.start.min(end)..end {
            for (number, cell) in self.buckets[bucket].0.iter().enumerate() {
                let word = Word(cell.load(Ordering::Acquire));
                if word.lifetime().is_some() && !self.is_live(word, now) {
                    emptied += usize::from(self.clear(bucket * SLOTS + number, word, &mut gone));
                }
            }
        }
        emptied
    }

    fn clear(
        &self,
        slot: usize,
        word: Word,
        gone: &mut impl FnMut(&[u64; K], &[u64; VALUES]),
    ) -> bool {
        if word.lifetime().is_none() {
            return false;
        }
        let entry = &self.entries[slot];
        let (key, values) = (entry.key(), entry.values(word.generation()));
        // If the word is still the same, so was the key.
        let is_mine = slot::empty(self.word(slot), word);
        if let (true, Some(values)) = (is_mine, values) {
            gone(&key, &values);
        }
        is_mine
    }

    /// As [`Self::clear`], and however often others renew the entry meanwhile: each of them does it at most
    /// once a packet, and nobody who looks the key up finds it.
    fn clear_generation(
        &self,
        slot: usize,
        mut word: Word,
        gone: &mut impl FnMut(&[u64; K], &[u64; VALUES]),
    ) {
        let generation = word.generation();
        while word.lifetime().is_some()
            && word.generation() == generation
            && !self.clear(slot, word, gone)
        {
            word = Word(self.word(slot).load(Ordering::Acquire));
        }
    }

    /// The slot for a new entry: a free one, in the bucket that has more of them; one that has expired counts
    /// as free. Else that of the entry that was seen least lately of those that may be evicted.
    fn vacancy(&self, place: &Place, now: Tick) -> Option<Vacancy> {
        let mut free = [(0, None); 2];
        let mut oldest: Option<(i64, Vacancy)> = None;
        for candidate in 0..2 * SLOTS as u32 {
            let slot = slot_of(place, candidate);
            let word = Word(self.word(slot).load(Ordering::Acquire));
            let (count, first) = &mut free[candidate as usize / SLOTS];
            if word.is_empty() || (word.lifetime().is_some() && !self.is_live(word, now)) {
                *count += 1;
                first.get_or_insert(Vacancy { slot, word, is_eviction: false });
            } else if self.is_evictable(word) {
                let age = age(word, now);
                if oldest.is_none_or(|(oldest, _)| age > oldest) {
                    oldest = Some((age, Vacancy { slot, word, is_eviction: true }));
                }
            }
        }
        let [first, second] = free;
        let emptier = if second.0 > first.0 { second.1 } else { first.1 };
        emptier.or(oldest.map(|(_, vacancy)| vacancy))
    }

    /// Two workers may have inserted the same key at once. Both look again when theirs is there to be seen,
    /// and so one of them sees both: that one empties the slot behind the other in the order of lookups.
    /// Returns the other entry, if it is the one that stays.
    fn remove_duplicate(
        &self,
        key: &[u64; K],
        place: &Place,
        mine: Handle,
        now: Tick,
        gone: &mut impl FnMut(&[u64; K], &[u64; VALUES]),
    ) -> Option<Handle> {
        fence(Ordering::SeqCst);
        let mut found = self.matches(place);
        let mut first = None;
        while found != 0 {
            let slot = slot_of(place, found.trailing_zeros());
            found &= found - 1;
            let cell = self.word(slot);
            let word = Word(cell.load(Ordering::Acquire));
            let handle = Handle { slot: slot as u32, generation: word.generation() };
            if !slot::holds(cell, &self.entries[slot], word, key) {
                continue;
            }
            // One that has expired goes as well: a worker whose clock is behind could still revive it.
            if first.is_none() && self.is_live(word, now) {
                first = Some(handle);
            } else {
                self.clear_generation(slot, word, gone);
            }
        }
        first.filter(|first| *first != mine)
    }
}
