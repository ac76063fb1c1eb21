//! Exact match on (interface, address): which neighbour is it?
//!
//! An open-addressing hash table (`hashbrown`) whose hash is seeded, because hosts on the LAN
//! choose their addresses, and so could choose ones that collide. Room for all entries is taken
//! at set-up: inserting never allocates and never moves the others. A lookup is a hash (two
//! multiplications), one group of control bytes and one entry: two cache misses at the most
//! when the table is cold, and those of a bulk lookup overlap.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::TableFull;
use crate::hash::{folded_multiply, split_mix_64};
use crate::lpm::Address;

/// The answer where there is no entry. It cannot be stored.
pub const NO_ENTRY: u32 = u32::MAX;

/// An interface number and an address.
pub type Key<A> = (u16, A);

/// The table. Values are anything but [`NO_ENTRY`].
#[derive(Debug, Clone)]
pub struct ExactTable<A: Address> {
    entries: HashTable<(Key<A>, u32)>,
    entries_max: usize,
    keys: [u64; 3],
}

impl<A: Address> ExactTable<A> {
    /// An empty table for at most `entries_max` entries. `seed` should be random and secret;
    /// answers do not depend on it.
    #[must_use]
    pub fn new(entries_max: usize, seed: u64) -> Self {
        let mut state = seed;
        let keys = std::array::from_fn(|_| split_mix_64(&mut state));
        Self { entries: HashTable::with_capacity(entries_max), entries_max, keys }
    }

    /// Adds an entry or changes its value, and returns the value it had.
    ///
    /// [`NO_ENTRY`] is no value: inserting it removes the entry.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if the key is new and there are `entries_max` already.
    pub fn insert(&mut self, key: Key<A>, value: u32) -> Result<Option<u32>, TableFull> {
        if value == NO_ENTRY {
            return Ok(self.remove(key));
        }
        let full = self.entries.len() >= self.entries_max;
        let keys = self.keys;
        let rehash = |entry: &(Key<A>, u32)| hash(keys, entry.0);
        match self.entries.entry(hash(keys, key), |entry| entry.0 == key, rehash) {
            Entry::Occupied(mut entry) => {
                Ok(Some(std::mem::replace(&mut entry.get_mut().1, value)))
            }
            Entry::Vacant(_) if full => Err(TableFull { entries_max: self.entries_max }),
            Entry::Vacant(entry) => {
                entry.insert((key, value));
                Ok(None)
            }
        }
    }

    /// Removes an entry and returns its value; `None` if it was not there.
    pub fn remove(&mut self, key: Key<A>) -> Option<u32> {
        let found = self.entries.find_entry(hash(self.keys, key), |entry| entry.0 == key);
        found.ok().map(|entry| entry.remove().0.1)
    }

    /// The value of a key, or [`NO_ENTRY`].
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: Key<A>) -> u32 {
        let found = self.entries.find(hash(self.keys, key), |entry| entry.0 == key);
        found.map_or(NO_ENTRY, |entry| entry.1)
    }

    /// [`lookup`](Self::lookup) of each key, into `values` at the same place.
    ///
    /// The slices must be equally long; what one has more than the other is left alone.
    pub fn lookup_bulk(&self, keys: &[Key<A>], values: &mut [u32]) {
        debug_assert_eq!(keys.len(), values.len());
        for (key, value) in keys.iter().zip(values) {
            *value = self.lookup(*key);
        }
    }

    /// Entries in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True while there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that the table has taken from the allocator.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.entries.allocation_size()
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Key<A>, u32)> {
        self.entries.iter().copied()
    }
}

/// The hash of a key: the interface is mixed into the first word, the address fills the others.
#[inline]
fn hash<A: Address>(keys: [u64; 3], (interface, address): Key<A>) -> u64 {
    let [high, low] = address.words();
    let mixed = folded_multiply(high ^ keys[0], low ^ keys[1]);
    folded_multiply(mixed ^ keys[2], u64::from(interface) ^ keys[0])
}

/// The plain twin of [`ExactTable`]: a sorted map.
#[derive(Debug, Clone)]
pub struct ExactTwin<A: Address> {
    entries: BTreeMap<Key<A>, u32>,
    entries_max: usize,
}

impl<A: Address> ExactTwin<A> {
    /// As [`ExactTable::new`].
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        Self { entries: BTreeMap::new(), entries_max }
    }

    /// As [`ExactTable::insert`].
    ///
    /// # Errors
    ///
    /// [`TableFull`] if the key is new and there are `entries_max` already.
    pub fn insert(&mut self, key: Key<A>, value: u32) -> Result<Option<u32>, TableFull> {
        if value == NO_ENTRY {
            return Ok(self.remove(key));
        }
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&key) {
            return Err(TableFull { entries_max: self.entries_max });
        }
        Ok(self.entries.insert(key, value))
    }

    /// As [`ExactTable::remove`].
    pub fn remove(&mut self, key: Key<A>) -> Option<u32> {
        self.entries.remove(&key)
    }

    /// As [`ExactTable::lookup`].
    #[must_use]
    pub fn lookup(&self, key: Key<A>) -> u32 {
        self.entries.get(&key).copied().unwrap_or(NO_ENTRY)
    }

    /// All entries, by key.
    pub fn iter(&self) -> impl Iterator<Item = (Key<A>, u32)> {
        self.entries.iter().map(|(key, value)| (*key, *value))
    }
}
