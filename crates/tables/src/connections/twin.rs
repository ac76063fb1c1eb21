//! The plain twin of the table: a map, without slots or buckets.

use std::collections::HashMap;

use super::{Lifetime, LifetimeRule, VALUES};

/// An entry, and when it was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TwinEntry {
    values: [u64; VALUES],
    lifetime: Lifetime,
    seen_nanoseconds: u64,
}

/// A map of connections that never evicts: what is in the table is in here, and what is in here and must not
/// be evicted is in the table.
#[derive(Debug, Clone)]
pub struct ConnectionTwin<const K: usize> {
    entries: HashMap<[u64; K], TwinEntry>,
    rules: Vec<LifetimeRule>,
}

impl<const K: usize> ConnectionTwin<K> {
    /// As [`super::ConnectionTable::new`].
    #[must_use]
    pub fn new(rules: &[LifetimeRule]) -> Self {
        Self { entries: HashMap::new(), rules: rules.to_vec() }
    }

    /// Adds an entry or changes it; it is seen now.
    pub fn set(
        &mut self,
        key: [u64; K],
        values: [u64; VALUES],
        lifetime: Lifetime,
        now_nanoseconds: u64,
    ) {
        let entry = TwinEntry { values, lifetime, seen_nanoseconds: now_nanoseconds };
        self.entries.insert(key, entry);
    }

    /// Ends an entry.
    pub fn remove(&mut self, key: &[u64; K]) {
        self.entries.remove(key);
    }

    /// The values of an entry that has not expired, and whether it may be evicted.
    #[must_use]
    pub fn lookup(&self, key: &[u64; K], now_nanoseconds: u64) -> Option<([u64; VALUES], bool)> {
        let entry = self.entries.get(key)?;
        let rule = self.rules.get(entry.lifetime.number())?;
        let age = now_nanoseconds.saturating_sub(entry.seen_nanoseconds);
        (age <= rule.nanoseconds).then_some((entry.values, rule.is_evictable))
    }

    /// All keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &[u64; K]> {
        self.entries.keys()
    }
}
