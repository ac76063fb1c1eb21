//! How many connections each source has begun: a count-min sketch of atomic counters.
//!
//! Two rows of counters, of which a source has one each; the lesser of the two is its number. Sources that
//! share a counter in both rows make it too high, never too low. With as many counters a row as connections
//! each is shared by one other connection on average, so the number is too high by a few at the most. (A
//! table of sources would be exact, and would have to say what happens when it is full.)

use std::sync::atomic::{AtomicU32, Ordering};

use linecard_tables::hash::{FlowHash, FlowIpv6};

/// The counters, shared by all workers.
#[derive(Debug)]
pub(super) struct Sources {
    rows: [Box<[AtomicU32]>; 2],
    hashes: [FlowHash; 2],
    limit: AtomicU32,
}

impl Sources {
    /// Counters for so many connections; 8 bytes each.
    pub(super) fn new(connections_max: usize, limit: u32, seed: u64) -> Self {
        let row = || (0..connections_max.max(1)).map(|_| AtomicU32::new(0)).collect();
        let hashes = [FlowHash::new(seed), FlowHash::new(!seed)];
        Self { rows: [row(), row()], hashes, limit: AtomicU32::new(limit) }
    }

    /// Another limit, from the next connection on.
    pub(super) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    fn counters(&self, source: u128) -> [&AtomicU32; 2] {
        std::array::from_fn(|row| {
            let flow = FlowIpv6 { source, ..FlowIpv6::default() };
            let hash = u64::from(self.hashes[row].ipv6(&flow));
            let counters = &self.rows[row];
            &counters[((hash * counters.len() as u64) >> 32) as usize]
        })
    }

    /// True when the source may begin one more.
    pub(super) fn allows(&self, source: u128) -> bool {
        let counts = self.counters(source).map(|counter| counter.load(Ordering::Relaxed));
        counts[0].min(counts[1]) < self.limit.load(Ordering::Relaxed)
    }

    /// It has begun one.
    pub(super) fn add(&self, source: u128) {
        for counter in self.counters(source) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One of its connections is gone.
    pub(super) fn remove(&self, source: u128) {
        for counter in self.counters(source) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
