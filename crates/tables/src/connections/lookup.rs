//! Where a key may stand, and finding it there: one key or many, whose cache lines are on the way together.

use super::slot::{self, Word};
use super::{ConnectionTable, Handle, SLOTS, Tick};
use crate::hash::folded_multiply;
use crate::memory::{prefetch_index, prefetch_read};
use crate::sync::atomic::Ordering;

/// Keys that are looked up at a time; their cache lines are on the way together.
const GROUP: usize = 32;

/// Where a key may stand: its two buckets, and its fingerprint.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    buckets: [u32; 2],
    pub(super) fingerprint: u16,
}

impl<const K: usize> ConnectionTable<K> {
    /// Where the entry of each key is, into `handles` at the same place; [`Handle::NONE`] where there is none.
    ///
    /// The slices must be equally long; what one has more than the other is left alone.
    pub fn lookup_bulk(&self, keys: &[[u64; K]], now: Tick, handles: &mut [Handle]) {
        debug_assert_eq!(keys.len(), handles.len());
        for (keys, handles) in keys.chunks(GROUP).zip(handles.chunks_mut(GROUP)) {
            self.lookup_group(keys, now, handles);
        }
    }

    /// [`Self::lookup_bulk`] of one key.
    #[must_use]
    pub fn lookup(&self, key: &[u64; K], now: Tick) -> Handle {
        let mut handle = [Handle::NONE];
        self.lookup_group(std::slice::from_ref(key), now, &mut handle);
        handle[0]
    }

    fn lookup_group(&self, keys: &[[u64; K]], now: Tick, handles: &mut [Handle]) {
        let mut places = [Place::default(); GROUP];
        let mut matches = [0u32; GROUP];
        for (key, place) in keys.iter().zip(&mut places) {
            *place = self.place(key);
            prefetch_index(&self.buckets, place.buckets[0] as usize);
            prefetch_index(&self.buckets, place.buckets[1] as usize);
        }
        for (place, found) in places[..keys.len()].iter().zip(&mut matches) {
            *found = self.matches(place);
            if *found != 0 {
                self.prefetch_entry(slot_of(place, found.trailing_zeros()));
            }
        }
        for (((key, place), found), handle) in keys.iter().zip(&places).zip(&matches).zip(handles) {
            *handle = self.find_among(key, place, *found, now);
        }
    }

    /// Asks for both ends of an entry, which lies in two cache lines as a rule.
    #[inline]
    fn prefetch_entry(&self, slot: usize) {
        prefetch_index(&self.entries, slot);
        if let Some(entry) = self.entries.get(slot) {
            prefetch_read(entry.last());
        }
    }

    /// Which of a key's 16 slots have its fingerprint: a bit each.
    #[inline]
    pub(super) fn matches(&self, place: &Place) -> u32 {
        let mut found = 0;
        for (half, bucket) in place.buckets.iter().enumerate() {
            for (number, word) in self.buckets[*bucket as usize].0.iter().enumerate() {
                // Acquire, at the one that is taken: `find_among` loads it again.
                let word = Word(word.load(Ordering::Relaxed));
                found |= u32::from(word.fingerprint() == place.fingerprint) << (half * 8 + number);
            }
        }
        found
    }

    /// The first entry with this key among the slots that have its fingerprint.
    #[inline]
    pub(super) fn find_among(
        &self,
        key: &[u64; K],
        place: &Place,
        mut found: u32,
        now: Tick,
    ) -> Handle {
        while found != 0 {
            let slot = slot_of(place, found.trailing_zeros());
            let word = self.word(slot);
            let current = Word(word.load(Ordering::Acquire));
            if self.is_live(current, now) && slot::holds(word, &self.entries[slot], current, key) {
                return Handle { slot: slot as u32, generation: current.generation() };
            }
            found &= found - 1;
        }
        Handle::NONE
    }

    /// The slot of an entry with this key that has expired, and its word.
    pub(super) fn find_expired(
        &self,
        key: &[u64; K],
        place: &Place,
        now: Tick,
    ) -> Option<(usize, Word)> {
        let mut found = self.matches(place);
        while found != 0 {
            let slot = slot_of(place, found.trailing_zeros());
            found &= found - 1;
            let word = Word(self.word(slot).load(Ordering::Acquire));
            let has_expired = word.lifetime().is_some() && !self.is_live(word, now);
            if has_expired && slot::holds(self.word(slot), &self.entries[slot], word, key) {
                return Some((slot, word));
            }
        }
        None
    }

    #[inline]
    pub(super) fn place(&self, key: &[u64; K]) -> Place {
        let hash = hash(&self.hash_keys, key);
        let (high, low) = (hash >> 32, hash & 0xffff_ffff);
        // Multiply and take the high half (Lemire 2019): the number of buckets is no power of two.
        let buckets = self.buckets.len() as u64;
        let scaled = |half: u64| ((half * buckets) >> 32) as u32;
        let (first, mut second) = (scaled(high), scaled(low));
        if second == first {
            second = if first == 0 { 1 } else { first - 1 };
        }
        Place { buckets: [first, second], fingerprint: (high & 0xfff) as u16 }
    }
}

/// The slot of one of a key's 16 candidates.
#[inline]
pub(super) fn slot_of(place: &Place, candidate: u32) -> usize {
    let candidate = candidate as usize;
    place.buckets[candidate / SLOTS % 2] as usize * SLOTS + candidate % SLOTS
}

/// Two words at a time are folded; what is left over goes into the last step.
#[inline]
fn hash<const K: usize>(keys: &[u64; 6], words: &[u64; K]) -> u64 {
    let mut mixed = keys[5];
    for (number, pair) in words.chunks(2).enumerate() {
        let key = |i: usize| keys[(2 * number + i) % 5];
        let (first, second) = (pair[0] ^ key(0), pair.get(1).unwrap_or(&0) ^ key(1));
        mixed = mixed.rotate_left(23) ^ folded_multiply(first, second);
    }
    folded_multiply(mixed ^ keys[2], keys[3])
}
