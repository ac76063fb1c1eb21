//! The entries as a table: where a key's entry is, what is offered, and what is erased.
//!
//! With `entry`, all that workers and the control side do at the same time; `tests/route_cache_model.rs`
//! compiles both against loom.

use std::net::IpAddr;

use super::entry::Entry;
use super::key::Key;
// Not `std::sync`: the model checker puts its own in place.
use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Entries of a set.
pub(crate) const WAYS: usize = 2;

/// A destination, and what is done with packets to it that come in by a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CachedRoute {
    /// Number of the port that the packets come in by, untagged.
    pub in_port: u16,
    /// Where they go to.
    pub destination: IpAddr,
    /// Number of the port that they leave by, untagged.
    pub out_port: u16,
    /// The neighbour's MAC address.
    pub destination_mac: [u8; 6],
    /// The outgoing interface's own.
    pub source_mac: [u8; 6],
    /// Larger packets are the pipeline's to deal with.
    pub mtu_bytes: u32,
    /// What the entry was made from, for the control side: the number of the adjacency.
    pub adjacency: u32,
}

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is in the cache.
    Written,
    /// It was there.
    Present,
    /// The set is full of entries that are in use. All of them must be used anew to stay the next time.
    Full,
    /// The tables have changed meanwhile, or another worker writes at the same place.
    Withdrawn,
    /// One of the ports is no source or no target.
    NotServed,
}

/// The memory of a set, as the program sees it.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Set([Entry; WAYS]);

/// The entries, wherever they lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) sets: &'a [Set],
    pub(super) epoch: &'a AtomicU64,
    pub(super) seed: u64,
}

impl<'a> Table<'a> {
    /// What the hash of a port's and family's destinations begins with.
    pub(super) fn seed(&self, in_key: u32) -> u64 {
        self.seed ^ u64::from(in_key) << 32
    }

    /// The hash is a set's number from this bit on.
    pub(super) fn shift(&self) -> u32 {
        u64::BITS - self.sets.len().ilog2()
    }

    /// All of them.
    pub(super) fn entries(&self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.sets.iter().flat_map(|set| &set.0)
    }

    fn set(&self, key: &Key) -> &'a Set {
        &self.sets[key.set(self.seed(key.in_key), self.shift())]
    }

    /// Writes `route` down, if `is_current` holds afterwards.
    pub(super) fn offer(&self, route: &CachedRoute, is_current: impl FnOnce() -> bool) -> Offer {
        // Before the look at the publication: an epoch begins after the publication it is for.
        let epoch = self.epoch.load(Ordering::Acquire);
        let key = Key::new(route.in_port, route.destination);
        let entry = match self.place(epoch, &key, route) {
            Ok(entry) => entry,
            Err(offer) => return offer,
        };
        match entry.write(epoch, key, route, is_current) {
            true => Offer::Written,
            false => Offer::Withdrawn,
        }
    }

    /// Where to write: over an older answer for the same, a void entry, or one not used of late.
    fn place(&self, epoch: u64, key: &Key, route: &CachedRoute) -> Result<&'a Entry, Offer> {
        let set = self.set(key);
        let mut free = None;
        for entry in &set.0 {
            match entry.read(epoch) {
                Some((_, held, found)) if held == *key => {
                    return if found == *route { Err(Offer::Present) } else { Ok(entry) };
                }
                Some(_) => {}
                None if entry.is_taken() => {}
                None => free = free.or(Some(entry)),
            }
        }
        let idle = || set.0.iter().find(|entry| !entry.take_recent());
        free.or_else(idle).ok_or(Offer::Full)
    }

    /// Erases the entries of which `is_stale` holds, and keeps those that are being written from counting;
    /// how many were erased.
    pub(super) fn erase(&self, mut is_stale: impl FnMut(&CachedRoute) -> bool) -> usize {
        fence(Ordering::SeqCst);
        let epoch = self.epoch.load(Ordering::Relaxed);
        let mut erased = 0;
        for entry in self.entries() {
            entry.doom();
            if let Some((seen, _, route)) = entry.read(epoch)
                && is_stale(&route)
            {
                erased += usize::from(entry.erase(seen));
            }
        }
        erased
    }

    /// Makes all entries void.
    pub(super) fn erase_all(&self) {
        fence(Ordering::SeqCst);
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }
}
