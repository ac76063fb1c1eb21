//! One entry, and how it is written, read and erased by several at once.
//!
//! Writers are the workers; the control side erases; classifiers on any CPU read. Nobody waits:
//!
//! * The **state** is a sequence number and, in the low two bits, empty, being written, doomed, or valid.
//!   It is changed by compare-and-swap, and the sequence moves with each change that takes the entry from
//!   somebody, so that no state comes twice.
//! * A writer takes the entry (being written), writes the fields, asks whether they still hold, and then
//!   says valid. One that finds the entry being written leaves it to the other. One that dies at it has
//!   used it up.
//! * The control side dooms an entry that it finds being written: its writer then fails to say valid, and
//!   empties it. So what the control side has passed by is not valid by an older answer, and does not
//!   become so, however long the writer was away between asking and saying.
//! * A reader (the program in `bpf::redirect`; [`Entry::read`] is its twin) loads the state, the fields,
//!   and the state again: the same valid state twice means that no field was written in between.
//!
//! **Orderings.** Writer: the swap to "being written", a release fence, relaxed stores of the fields, a
//! sequentially consistent fence, the question, a releasing swap to "valid". So a reader that sees one of
//! the new fields sees the state moved when it looks again, if its loads keep their order; and one that sees
//! "valid" sees all fields. The program's loads keep their order on x86 by themselves, elsewhere they are
//! load-acquire instructions.

use super::CachedRoute;
use super::key::Key;
// Not `std::sync`: the model checker puts its own in place.
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Nothing is there.
const EMPTY: u64 = 0;
/// Somebody writes.
const WRITING: u64 = 1;
/// Whole.
pub(crate) const VALID: u64 = 2;
/// Where these stand in a state.
pub(crate) const STATE_MASK: u64 = 3;
/// Somebody writes what must not become valid any more.
const DOOMED: u64 = 3;
const SEQUENCE: u64 = 4;

/// Set by the program, taken by the control side: the adjacency was used.
const USED: u32 = 1;
/// Set by the program, taken by workers that look for a place: the entry was used of late.
const RECENT: u32 = 2;
/// What the program writes.
pub(crate) const USED_ALL: u32 = USED | RECENT;

pub(crate) const STATE_OFFSET: i16 = std::mem::offset_of!(Entry, state) as i16;
pub(crate) const EPOCH_OFFSET: i16 = std::mem::offset_of!(Entry, epoch) as i16;
pub(crate) const IN_KEY_OFFSET: i16 = std::mem::offset_of!(Entry, in_key) as i16;
pub(crate) const OUT_PORT_OFFSET: i16 = std::mem::offset_of!(Entry, out_port) as i16;
pub(crate) const MTU_OFFSET: i16 = std::mem::offset_of!(Entry, mtu_bytes) as i16;
pub(crate) const MACS_OFFSET: i16 = std::mem::offset_of!(Entry, macs) as i16;
pub(crate) const MACS_REST_OFFSET: i16 = std::mem::offset_of!(Entry, macs_rest) as i16;
pub(crate) const USED_OFFSET: i16 = std::mem::offset_of!(Entry, used) as i16;

/// Offset of a word of the destination.
pub(crate) const fn destination_offset(word: usize) -> i16 {
    (std::mem::offset_of!(Entry, destination) + word * 8) as i16
}

/// A cache line. Zeros are an empty entry.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Entry {
    state: AtomicU64,
    /// The epoch in which it was written; of another one it is void.
    epoch: AtomicU64,
    destination: [AtomicU64; 2],
    in_key: AtomicU32,
    out_port: AtomicU32,
    mtu_bytes: AtomicU32,
    adjacency: AtomicU32,
    /// Destination and source MAC address as they stand in a frame: the first eight bytes …
    macs: AtomicU64,
    /// … and the last four.
    macs_rest: AtomicU32,
    used: AtomicU32,
}

/// A state in which an entry was valid: proof against a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Entry {
    /// Replaces what is there, if `is_current` holds after it is written; false when it does not, or
    /// somebody else writes, or the entry was doomed meanwhile.
    pub(super) fn write(
        &self,
        epoch: u64,
        key: Key,
        route: &CachedRoute,
        is_current: impl FnOnce() -> bool,
    ) -> bool {
        let before = self.state.load(Ordering::Relaxed);
        let taken = (before & !STATE_MASK).wrapping_add(SEQUENCE) | WRITING;
        let swap = |from, to, success| {
            self.state.compare_exchange(from, to, success, Ordering::Relaxed).is_ok()
        };
        if is_taken(before) || !swap(before, taken, Ordering::Acquire) {
            return false;
        }
        fence(Ordering::Release);
        self.fill(epoch, key, route);
        // One of this and the control side's fence comes first: see `route_cache`.
        fence(Ordering::SeqCst);
        let valid = taken & !STATE_MASK | VALID;
        if is_current() && swap(taken, valid, Ordering::Release) {
            return true;
        }
        // Nobody else changes an entry that is being written, but to doom it.
        self.state.store((taken & !STATE_MASK).wrapping_add(SEQUENCE) | EMPTY, Ordering::Release);
        false
    }

    fn fill(&self, epoch: u64, key: Key, route: &CachedRoute) {
        self.epoch.store(epoch, Ordering::Relaxed);
        for (word, value) in self.destination.iter().zip(key.destination) {
            word.store(value, Ordering::Relaxed);
        }
        self.in_key.store(key.in_key, Ordering::Relaxed);
        self.out_port.store(u32::from(route.out_port), Ordering::Relaxed);
        self.mtu_bytes.store(route.mtu_bytes, Ordering::Relaxed);
        self.adjacency.store(route.adjacency, Ordering::Relaxed);
        let (d, s) = (route.destination_mac, route.source_mac);
        let macs = [d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1]];
        self.macs.store(u64::from_ne_bytes(macs), Ordering::Relaxed);
        self.macs_rest.store(u32::from_ne_bytes([s[2], s[3], s[4], s[5]]), Ordering::Relaxed);
        self.used.store(0, Ordering::Relaxed);
    }

    /// Keeps what is being written, if anything is, from becoming valid.
    pub(super) fn doom(&self) {
        let state = self.state.load(Ordering::Relaxed);
        if state & STATE_MASK == WRITING {
            // Fails when it has become valid just now, or was emptied: then it is no longer being written.
            let doomed = state & !STATE_MASK | DOOMED;
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = self.state.compare_exchange(state, doomed, success, failure);
        }
    }

    /// Erases what was seen; false when it is gone already.
    pub(super) fn erase(&self, seen: Seen) -> bool {
        let erased = (seen.0 & !STATE_MASK).wrapping_add(SEQUENCE) | EMPTY;
        self.state.compare_exchange(seen.0, erased, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// What is there, whole, if it is of this epoch.
    pub(super) fn read(&self, epoch: u64) -> Option<(Seen, Key, CachedRoute)> {
        let before = self.state.load(Ordering::Acquire);
        if before & STATE_MASK != VALID || self.epoch.load(Ordering::Relaxed) != epoch {
            return None;
        }
        let key = Key {
            in_key: self.in_key.load(Ordering::Relaxed),
            destination: [0, 1].map(|word| self.destination[word].load(Ordering::Relaxed)),
        };
        let macs = self.macs.load(Ordering::Relaxed).to_ne_bytes();
        let rest = self.macs_rest.load(Ordering::Relaxed).to_ne_bytes();
        let [d0, d1, d2, d3, d4, d5, s0, s1] = macs;
        let [s2, s3, s4, s5] = rest;
        let route = CachedRoute {
            in_port: key.in_port(),
            destination: key.address(),
            out_port: self.out_port.load(Ordering::Relaxed) as u16,
            destination_mac: [d0, d1, d2, d3, d4, d5],
            source_mac: [s0, s1, s2, s3, s4, s5],
            mtu_bytes: self.mtu_bytes.load(Ordering::Relaxed),
            adjacency: self.adjacency.load(Ordering::Relaxed),
        };
        // Orders the fields' loads before the second look at the state.
        fence(Ordering::Acquire);
        (self.state.load(Ordering::Relaxed) == before).then_some((Seen(before), key, route))
    }

    /// True when somebody writes.
    pub(super) fn is_taken(&self) -> bool {
        is_taken(self.state.load(Ordering::Relaxed))
    }

    /// Whether it was used since the last call of this; for the control side.
    pub(super) fn take_used(&self) -> bool {
        self.take(USED)
    }

    /// Whether it was used since the last call of this; for workers.
    pub(super) fn take_recent(&self) -> bool {
        self.take(RECENT)
    }

    fn take(&self, bit: u32) -> bool {
        // The program writes both bits at once, without looking: at worst one use is told twice.
        self.used.load(Ordering::Relaxed) & bit != 0
            && self.used.fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }
}

fn is_taken(state: u64) -> bool {
    matches!(state & STATE_MASK, WRITING | DOOMED)
}
