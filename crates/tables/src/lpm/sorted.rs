//! The plain twin: a sorted map, asked once for each prefix length in use, longest first.

use std::collections::BTreeMap;
use std::mem::size_of;

use super::{Address, NO_ROUTE, Prefix};

/// Prefixes in order.
#[derive(Debug, Clone)]
pub(super) struct Sorted<A: Address> {
    routes: BTreeMap<Prefix<A>, u32>,
    /// Routes of each length, so that a lookup skips lengths that nobody uses.
    routes_by_length: Vec<usize>,
}

impl<A: Address> Sorted<A> {
    pub(super) fn new() -> Self {
        Self { routes: BTreeMap::new(), routes_by_length: vec![0; usize::from(A::BITS) + 1] }
    }

    pub(super) fn insert(&mut self, prefix: Prefix<A>, value: u32) -> Option<u32> {
        let old = self.routes.insert(prefix, value);
        self.routes_by_length[usize::from(prefix.length())] += usize::from(old.is_none());
        old
    }

    pub(super) fn remove(&mut self, prefix: Prefix<A>) -> Option<u32> {
        let old = self.routes.remove(&prefix);
        self.routes_by_length[usize::from(prefix.length())] -= usize::from(old.is_some());
        old
    }

    pub(super) fn get(&self, prefix: Prefix<A>) -> Option<u32> {
        self.routes.get(&prefix).copied()
    }

    pub(super) fn lookup(&self, address: A) -> u32 {
        (0..=A::BITS)
            .rev()
            .filter(|&length| self.routes_by_length[usize::from(length)] > 0)
            .find_map(|length| self.get(Prefix::new(address, length)?))
            .unwrap_or(NO_ROUTE)
    }

    pub(super) fn lookup_bulk(&self, addresses: &[A], values: &mut [u32]) {
        for (address, value) in addresses.iter().zip(values) {
            *value = self.lookup(*address);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.routes.len() * size_of::<(Prefix<A>, u32)>()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix<A>, u32)> {
        self.routes.iter().map(|(prefix, value)| (*prefix, *value))
    }
}
