//! One slot of the table: the word that says what stands in it, and the entry behind the word.
//!
//! ```text
//! word   63        52 51  48 47        32 31                    0
//!        fingerprint  kind   generation   tick it was seen last
//! value  63                  48 47                              0
//!        generation             what the service keeps
//! ```
//!
//! Kind 0 is an empty slot, kind 1 one that is being written; all others are the entry's [`Lifetime`].
//! A writer takes a slot by exchanging its word for a busy one of the next generation, writes key and
//! values, and publishes by storing the final word. A reader looks at the word before and after the key. A
//! value carries the generation too, so that an exchange of a value of an entry that is gone fails: nobody
//! can write into an entry that has another key by now. (Generations come round after 65,536 entries of
//! one slot, which a worker would have to sleep through within one batch.)

use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Values of an entry.
pub const VALUES: usize = 4;

/// Bits of a value.
pub const VALUE_BITS: u32 = 48;

const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;
const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const KIND_FIRST: u8 = 2;
const GENERATION_SHIFT: u32 = 32;
const KIND_SHIFT: u32 = 48;
const FINGERPRINT_SHIFT: u32 = 52;

/// Lifetimes that a table tells apart.
pub const LIFETIMES: usize = 16 - KIND_FIRST as usize;

/// Which of its table's lifetimes an entry has: how long it lives unseen, and whether it may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lifetime(u8);

impl Lifetime {
    /// Lifetime `number`, below [`LIFETIMES`].
    ///
    /// # Panics
    /// When there is no such lifetime; in a constant, when it is compiled.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        assert!((number as usize) < LIFETIMES);
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

/// A slot's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) fn live(fingerprint: u16, lifetime: Lifetime, generation: u16, seen: u32) -> Self {
        Self::of(fingerprint, lifetime.0 + KIND_FIRST, generation, seen)
    }

    fn of(fingerprint: u16, kind: u8, generation: u16, seen: u32) -> Self {
        Self(
            u64::from(fingerprint) << FINGERPRINT_SHIFT
                | u64::from(kind) << KIND_SHIFT
                | u64::from(generation) << GENERATION_SHIFT
                | u64::from(seen),
        )
    }

    /// Taken by a writer, for the next generation.
    fn busy(self) -> Self {
        Self::of(0, BUSY, self.generation().wrapping_add(1), 0)
    }

    /// Empty; the generation goes on with the next entry.
    fn emptied(self) -> Self {
        Self::of(0, EMPTY, self.generation(), 0)
    }

    #[inline]
    pub(super) fn fingerprint(self) -> u16 {
        (self.0 >> FINGERPRINT_SHIFT) as u16
    }

    #[inline]
    fn kind(self) -> u8 {
        (self.0 >> KIND_SHIFT) as u8 & 0xf
    }

    /// The lifetime of an entry; `None` of an empty or busy slot.
    #[inline]
    pub(super) fn lifetime(self) -> Option<Lifetime> {
        self.kind().checked_sub(KIND_FIRST).map(Lifetime)
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.kind() == EMPTY
    }

    #[inline]
    pub(super) fn generation(self) -> u16 {
        (self.0 >> GENERATION_SHIFT) as u16
    }

    #[inline]
    pub(super) fn seen(self) -> u32 {
        self.0 as u32
    }
}

#[inline]
fn tagged(value: u64, generation: u16) -> u64 {
    value & VALUE_MASK | u64::from(generation) << VALUE_BITS
}

/// Key and values of one slot.
#[derive(Debug)]
pub(super) struct Entry<const K: usize> {
    key: [AtomicU64; K],
    values: [AtomicU64; VALUES],
}

impl<const K: usize> Entry<K> {
    pub(super) fn new() -> Self {
        let zero = |_| AtomicU64::new(0);
        Self { key: std::array::from_fn(zero), values: std::array::from_fn(zero) }
    }

    #[inline]
    pub(super) fn key(&self) -> [u64; K] {
        std::array::from_fn(|i| self.key[i].load(Ordering::Relaxed))
    }

    /// What stands at the end of it in memory, to be fetched.
    #[inline]
    pub(super) fn last(&self) -> &AtomicU64 {
        &self.values[VALUES - 1]
    }

    /// The values, if all of them are of this generation.
    #[inline]
    pub(super) fn values(&self, generation: u16) -> Option<[u64; VALUES]> {
        let tagged: [u64; VALUES] = std::array::from_fn(|i| self.values[i].load(Ordering::Acquire));
        let same = tagged.iter().all(|value| (value >> VALUE_BITS) as u16 == generation);
        same.then(|| tagged.map(|value| value & VALUE_MASK))
    }

    /// Exchanges one value if it is still the old one, of this generation.
    #[inline]
    pub(super) fn exchange(&self, index: usize, generation: u16, old: u64, new: u64) -> bool {
        let (old, new) = (tagged(old, generation), tagged(new, generation));
        self.values[index].compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn write(&self, key: &[u64; K], values: &[u64; VALUES], generation: u16) {
        for (cell, word) in self.key.iter().zip(key) {
            cell.store(*word, Ordering::Relaxed);
        }
        for (cell, value) in self.values.iter().zip(values) {
            // Exchanged, since an exchange by the handle of the entry before may come in between.
            cell.swap(tagged(*value, generation), Ordering::Relaxed);
        }
    }
}

/// What is to stand in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<const K: usize> {
    pub(super) key: [u64; K],
    pub(super) values: [u64; VALUES],
    pub(super) fingerprint: u16,
    pub(super) lifetime: Lifetime,
    pub(super) seen: u32,
}

/// Key and values of an entry that stood in a slot.
pub(super) type Stood<const K: usize> = ([u64; K], [u64; VALUES]);

/// Puts an entry in place of what `found` says, and returns its generation and what stood there; `None` if
/// the slot has changed.
pub(super) fn put<const K: usize>(
    word: &AtomicU64,
    entry: &Entry<K>,
    found: Word,
    content: &Content<K>,
) -> Option<(u16, Option<Stood<K>>)> {
    let busy = found.busy();
    word.compare_exchange(found.0, busy.0, Ordering::AcqRel, Ordering::Relaxed).ok()?;
    let gone =
        found.lifetime().and_then(|_| Some((entry.key(), entry.values(found.generation())?)));
    // Whoever reads a key or value that is written below finds the slot busy when it looks again.
    fence(Ordering::Release);
    let generation = busy.generation();
    entry.write(&content.key, &content.values, generation);
    let Content { fingerprint, lifetime, seen, .. } = *content;
    let live = Word::live(fingerprint, lifetime, generation, seen);
    // Exchanged, not stored: `ConnectionTable::settle` of the entry that was here may come in between, and
    // writes the word that it finds once more.
    word.swap(live.0, Ordering::AcqRel);
    Some((generation, gone))
}

/// Empties a slot in which `found` stands; false if it has changed.
pub(super) fn empty(word: &AtomicU64, found: Word) -> bool {
    let emptied = found.emptied().0;
    word.compare_exchange(found.0, emptied, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// True when the entry of `found` has this key, and had it all the time.
#[inline]
pub(super) fn holds<const K: usize>(
    word: &AtomicU64,
    entry: &Entry<K>,
    found: Word,
    key: &[u64; K],
) -> bool {
    if entry.key() != *key {
        return false;
    }
    fence(Ordering::Acquire);
    let again = Word(word.load(Ordering::Relaxed));
    again.generation() == found.generation() && again.lifetime().is_some()
}
