//! Connections by their 5-tuple: a table of fixed size that all workers read and write, without locks.
//!
//! **What it must do.** Packets of one connection come in on two ports, and which worker gets them is the
//! receive hashing's affair: with the hash that most NICs have the two directions go to two workers. So
//! either the workers tell each other, or they have tables of their own and look into the others', or
//! there is one table. With tables of their own each packet of a new connection is looked up in as many
//! tables as there are workers, and a connection that both sides begin at once is in two of them. One table
//! is one lookup, and no question of who owns what: it is made of atomic words, and of nothing else.
//!
//! **Layout.** A *bucket* is a cache line of eight words, one for each of its slots: 12 bits of the key's
//! hash (the fingerprint), the entry's lifetime, when it was seen last, and a generation. The entries with key
//! and values are in an array of their own: 48 bytes for IPv4, 72 for IPv6. A key has two buckets, chosen by
//! two halves of its hash, and goes into the emptier one. With room for half as many again as asked for,
//! none of a million keys of the tests finds all 16 slots taken before the table holds what it was made for
//! (with a third more it was one in 200,000). All that eviction, expiry and the clock hand need to know is in
//! the buckets. A lookup reads two buckets and one entry; in bulk they are fetched ahead, for a group of keys
//! at a time.
//!
//! **Sharing.** A slot is taken by exchanging its word (`slot`), so inserting, evicting and emptying are
//! each decided by one instruction, and nobody waits: who loses looks again, a few times, and then gives up
//! (counted as no room). An entry has four values of 48 bits, each with the entry's generation beside it. A
//! worker changes a value by exchanging it, which fails if the entry has gone. The service gives each
//! direction of a connection its own two values: they are written by whichever worker receives that direction,
//! so exchanges hardly ever meet. Two workers that insert the same key at once both look again after
//! publishing: one of the two entries goes. `tests/connections_model.rs` explores this with loom.
//!
//! **Expiry.** An entry is gone when it has not been seen for its lifetime: lookups pass it by, and
//! inserting takes its slot. [`ConnectionTable::sweep`] empties slots, so many buckets a call, for those
//! who count. There is no thread and no timer. Ticks are 2^26 ns (67 ms), so an entry's word is written
//! some 15 times a second at most, however many packets it has.
//!
//! **When it is full.** A key that finds all its slots taken takes the one of the entry that was seen least
//! lately among those whose lifetime is evictable (such as connections that nobody has answered). An entry
//! whose lifetime is not evictable stays until it expires, whatever comes. If all are such, the
//! key is refused and the caller told.
//!
//! **Cost.** TSC cycles (2.6 GHz) a key in bulks of 256, median of nine rounds, random keys of a table that
//! holds what it was made for (`cargo bench -p linecard-tables -- connections`; Zen 5, L2 of 1 MiB, the third
//! level shared with strangers):
//!
//! | IPv4 / IPv6 | 1,000 | 65,536 | 1,000,000 |
//! |---|---|---|---|
//! | lookup, there | 32 / 56 | 37 / 74 | 88 / 151 |
//! | lookup, not there | 22 / 23 | 23 / 31 | 33 / 45 |
//! | lookup, and exchange a value | 49 / 72 | 53 / 99 | 104 / 116 |
//! | the same beside a worker that exchanges another | 57 / 76 | 53 / 96 | 155 / 113 |
//! | lookup and insert in a flood | 300 / 335 | 346 / 442 | 917 / 814 |
//!
//! An insertion is dear because of its six exchanges and a fence, and in a large table because the entry
//! that gives way is not in any cache: nobody has asked for it. Memory: 84 bytes a connection of IPv4, 120
//! of IPv6.
//!
//! **Not chosen**, by argument and not by measurement. *Linear probing* and `hashbrown` (the other exact
//! tables): an entry that moves, or a table that must be rehashed, cannot be shared like this, and neither
//! knows what may be evicted. *One bucket a key*: keys spread unevenly, so many would find it full long
//! before the table is. *Filling the first bucket before the second* spares a line for most hits, and none for
//! keys that are not there. *A lock a bucket*: a worker that loses the processor holds up all others.
//! *Handing packets over to the worker that has the connection*: adds a queue to each packet of half of all
//! connections.

mod change;
mod list;
mod lookup;
mod slot;
mod twin;

pub use change::Insertion;
pub use list::Listed;
pub use slot::{LIFETIMES, Lifetime, VALUE_BITS, VALUES};
pub use twin::ConnectionTwin;

use std::mem::size_of;

use crate::hash::split_mix_64;
use crate::memory::advise_huge_pages;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use slot::{Entry, Word};

/// Connections of IPv4: addresses in one word, ports and protocol in another.
pub type ConnectionsIpv4 = ConnectionTable<2>;
/// Connections of IPv6: four words of addresses, one of ports and protocol.
pub type ConnectionsIpv6 = ConnectionTable<5>;

/// Slots of a bucket: a cache line of words.
const SLOTS: usize = 8;
/// Slots for each two entries asked for.
const SLOTS_PER_TWO: usize = 3;
/// Tables from this size on ask for huge pages.
const HUGE_BYTES_MIN: usize = 1 << 21;
/// Nanoseconds of a tick as a power of two.
const TICK_SHIFT: u32 = 26;
/// A lifetime is less than half of what a tick can count.
const TICKS_MAX: u64 = (1 << 30) - 1;
const EVICTABLE: u32 = 1 << 31;

/// A moment as the table counts it, in units of 2^26 ns; comes round after nine years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick(u32);

impl Tick {
    /// The tick of a moment, counted from any fixed one that all workers share.
    #[inline]
    #[must_use]
    pub const fn from_nanoseconds(now_nanoseconds: u64) -> Self {
        Self((now_nanoseconds >> TICK_SHIFT) as u32)
    }
}

/// How long entries of one [`Lifetime`] live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifetimeRule {
    /// An entry that is not seen for so long is gone; at most two years. To the tick, never shorter.
    pub nanoseconds: u64,
    /// It may give way to a new one.
    pub is_evictable: bool,
}

/// Where an entry stands, as long as it stands there: what is done by the handle of one that is gone does
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    slot: u32,
    generation: u16,
}

impl Handle {
    /// No entry.
    pub const NONE: Self = Self { slot: u32::MAX, generation: 0 };

    /// True unless it is [`Handle::NONE`].
    #[inline]
    #[must_use]
    pub fn is_some(self) -> bool {
        self.slot != u32::MAX
    }
}

/// The words of a bucket's slots.
#[derive(Debug)]
#[repr(align(64))]
struct Bucket([AtomicU64; SLOTS]);

const _: () = assert!(size_of::<Bucket>() == 64);

/// The table. `K` is the number of words of a key; both directions of a connection have one key.
#[derive(Debug)]
pub struct ConnectionTable<const K: usize> {
    buckets: Box<[Bucket]>,
    entries: Box<[Entry<K>]>,
    /// Ticks, and [`EVICTABLE`].
    lifetimes: [AtomicU32; LIFETIMES],
    hash_keys: [u64; 6],
}

/// A box of so many items, in huge pages if it is large.
fn boxed<T>(items: usize, item: impl Fn() -> T) -> Box<[T]> {
    let mut room = Vec::with_capacity(items);
    if items * size_of::<T>() >= HUGE_BYTES_MIN {
        advise_huge_pages(room.spare_capacity_mut());
    }
    room.extend((0..items).map(|_| item()));
    room.into_boxed_slice()
}

impl<const K: usize> ConnectionTable<K> {
    /// An empty table with room for `connections_max` entries, at least one and at most 2^30. `seed`
    /// should be random and secret, since senders choose the keys. All memory is taken here:
    /// 3/2 × (8 + 8 `K` + 32) bytes an entry.
    ///
    /// Lifetimes that no rule is given for end at once.
    #[must_use]
    pub fn new(connections_max: u32, rules: &[LifetimeRule], seed: u64) -> Self {
        let connections = (connections_max as usize).clamp(1, 1 << 30);
        // A key has two buckets in any case.
        let buckets = (connections * SLOTS_PER_TWO).div_ceil(2 * SLOTS).max(2);
        let mut state = seed;
        let table = Self {
            buckets: boxed(buckets, || Bucket(std::array::from_fn(|_| AtomicU64::new(0)))),
            entries: boxed(buckets * SLOTS, Entry::new),
            lifetimes: std::array::from_fn(|_| AtomicU32::new(EVICTABLE)),
            hash_keys: std::array::from_fn(|_| split_mix_64(&mut state)),
        };
        for (number, rule) in rules.iter().enumerate().take(LIFETIMES) {
            table.set_rule(Lifetime::new(number as u8), *rule);
        }
        table
    }

    /// Changes how long entries live, those that are there too. At any time.
    pub fn set_rule(&self, lifetime: Lifetime, rule: LifetimeRule) {
        // One more, since an entry may have been seen at the very end of its tick.
        let ticks = rule.nanoseconds.div_ceil(1 << TICK_SHIFT).min(TICKS_MAX - 1) + 1;
        let evictable = if rule.is_evictable { EVICTABLE } else { 0 };
        self.lifetimes[lifetime.number()].store(ticks as u32 | evictable, Ordering::Relaxed);
    }

    /// Buckets, for [`Self::sweep`].
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Bytes that the table has taken from the allocator.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.entries)
    }

    /// Entries that have not expired. Cost: reads all buckets.
    #[must_use]
    pub fn count(&self, now: Tick) -> usize {
        let words = self.buckets.iter().flat_map(|bucket| &bucket.0);
        words.filter(|word| self.is_live(Word(word.load(Ordering::Relaxed)), now)).count()
    }

    /// The values of an entry; `None` when it is gone.
    #[inline]
    #[must_use]
    pub fn values(&self, handle: Handle) -> Option<[u64; VALUES]> {
        self.entries.get(handle.slot as usize)?.values(handle.generation)
    }

    /// Exchanges value number `index` of an entry for a new one, if it is still the old one; says whether it
    /// was. Values have [`VALUE_BITS`] bits.
    #[inline]
    pub fn exchange(&self, handle: Handle, index: usize, old: u64, new: u64) -> bool {
        let Some(entry) = self.entries.get(handle.slot as usize) else { return false };
        entry.exchange(index, handle.generation, old, new)
    }

    /// The entry was seen now. Cost: a load, and an exchange when the tick is another one.
    #[inline]
    pub fn refresh(&self, handle: Handle, now: Tick) {
        if handle.slot as usize >= self.entries.len() {
            return;
        }
        let cell = self.word(handle.slot as usize);
        let word = Word(cell.load(Ordering::Relaxed));
        if word.seen() != now.0 && word.generation() == handle.generation {
            self.renew(cell, word, word.lifetime(), now);
        }
    }

    /// The entry was seen now, and lives on as `lifetime` says, which is asked for the values as they are.
    /// When two workers exchange a value each and then do this, what stands in the end was said of both. Cost:
    /// one or two exchanges.
    pub fn settle(&self, handle: Handle, now: Tick, lifetime: impl Fn(&[u64; VALUES]) -> Lifetime) {
        let Some(entry) = self.entries.get(handle.slot as usize) else { return };
        let cell = self.word(handle.slot as usize);
        for _ in 0..change::TRIES {
            // Written though nothing changes, so that one of two workers comes after the other here, and
            // sees what that one has written before.
            let word = Word(cell.fetch_or(0, Ordering::AcqRel));
            if word.generation() != handle.generation || word.lifetime().is_none() {
                return;
            }
            let Some(values) = entry.values(handle.generation) else { return };
            if self.renew(cell, word, Some(lifetime(&values)), now) {
                return;
            }
        }
    }

    /// Exchanges the word of an entry for one with this lifetime, seen now; false if it is another by now.
    fn renew(&self, cell: &AtomicU64, word: Word, lifetime: Option<Lifetime>, now: Tick) -> bool {
        let Some(lifetime) = lifetime else { return true };
        let next = Word::live(word.fingerprint(), lifetime, word.generation(), now.0);
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        next == word || cell.compare_exchange(word.0, next.0, order.0, order.1).is_ok()
    }

    #[inline]
    fn word(&self, slot: usize) -> &AtomicU64 {
        &self.buckets[slot / SLOTS].0[slot % SLOTS]
    }

    /// There is an entry, and it was seen within its lifetime.
    #[inline]
    fn is_live(&self, word: Word, now: Tick) -> bool {
        word.lifetime().is_some_and(|lifetime| {
            let ticks = self.lifetimes[lifetime.number()].load(Ordering::Relaxed) & !EVICTABLE;
            age(word, now) <= i64::from(ticks)
        })
    }

    fn is_evictable(&self, word: Word) -> bool {
        word.lifetime().is_some_and(|lifetime| {
            self.lifetimes[lifetime.number()].load(Ordering::Relaxed) & EVICTABLE != 0
        })
    }
}

/// Ticks since it was seen; below 0 when another worker's clock is a little ahead.
#[inline]
fn age(word: Word, now: Tick) -> i64 {
    i64::from(now.0.wrapping_sub(word.seen()) as i32)
}
