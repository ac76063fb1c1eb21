//! The plain twin: the entries in order, asked one after the other.

use std::collections::BTreeMap;
use std::mem::size_of;

use super::{Entry, Key, NO_MATCH};
use crate::lpm::Address;

/// Entries by order.
#[derive(Debug, Clone)]
pub(super) struct Linear<A: Address> {
    entries: BTreeMap<u32, Entry<A>>,
}

impl<A: Address> Linear<A> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, entry: Entry<A>) -> Option<Entry<A>> {
        self.entries.insert(entry.order, entry)
    }

    pub(super) fn remove(&mut self, order: u32) -> Option<Entry<A>> {
        self.entries.remove(&order)
    }

    pub(super) fn get(&self, order: u32) -> Option<&Entry<A>> {
        self.entries.get(&order)
    }

    pub(super) fn lookup(&self, key: &Key<A>, mut holds: impl FnMut(u32) -> bool) -> u32 {
        let mut matching = self.entries.values().filter(|entry| entry.matches(key));
        let first = matching.find(|entry| !entry.conditional || holds(entry.value));
        first.map_or(NO_MATCH, |entry| entry.value)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.len() * size_of::<(u32, Entry<A>)>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<A>> {
        self.entries.values()
    }
}
