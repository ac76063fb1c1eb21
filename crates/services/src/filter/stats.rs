//! What the filters count: packets and bytes of each rule.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Packets and bytes that a rule decided on, or that passed one that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleCount {
    /// Packets.
    pub packets: u64,
    /// Bytes of their frames, the link-layer header included.
    pub bytes: u64,
}

impl std::ops::AddAssign for RuleCount {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

#[derive(Debug, Default)]
struct Cell {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// The counters of one worker: the side that counts.
#[derive(Debug)]
pub struct FilterStats {
    cells: Arc<[Cell]>,
    /// Packets of sampling rules that have no counter.
    uncounted: u64,
    sample_seed: u64,
}

impl FilterStats {
    /// Counters 0 to `counters_max` − 1, all zero.
    #[must_use]
    pub fn new(counters_max: usize) -> Self {
        let cells = (0..counters_max).map(|_| Cell::default()).collect();
        Self { cells, uncounted: 0, sample_seed: 0 }
    }

    /// Chooses samples by this seed, which senders should not know.
    #[must_use]
    pub fn sample_seed(self, sample_seed: u64) -> Self {
        Self { sample_seed, ..self }
    }

    /// The side that reads.
    #[must_use]
    pub fn reader(&self) -> FilterStatsReader {
        FilterStatsReader { cells: Arc::clone(&self.cells) }
    }

    /// One packet of `bytes`. Beyond the size given to [`Self::new`] nothing is counted.
    #[inline]
    pub(super) fn count(&mut self, counter: u32, bytes: usize) {
        if let Some(Cell { packets, bytes: sum }) = self.cells.get(counter as usize) {
            // There is one writer, so the sums need no atomic addition.
            packets.store(packets.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            sum.store(sum.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
        }
    }
}

impl FilterStats {
    /// Whether the packet that a rule has just counted is its sample. Of each `one_in` packets that it counts one is,
    /// at a place that cannot be known beforehand (RFC 5475 5.2.1: 1 out of N).
    ///
    /// Cost: two divisions.
    pub(super) fn is_sample(&mut self, counter: u32, one_in: u32) -> bool {
        let one_in = u64::from(one_in.max(1));
        let counted = match self.cells.get(counter as usize) {
            Some(cell) => cell.packets.load(Ordering::Relaxed),
            None => {
                self.uncounted += 1;
                self.uncounted
            }
        };
        let (turn, place) = ((counted - 1) / one_in, (counted - 1) % one_in);
        place == mix(self.sample_seed ^ u64::from(counter) << 32 ^ mix(turn)) % one_in
    }
}

/// Each bit of the result depends on each bit of `word` (the finaliser of SplitMix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// The reading side of [`FilterStats`]; cheap to clone, outlives the worker.
#[derive(Debug, Clone)]
pub struct FilterStatsReader {
    cells: Arc<[Cell]>,
}

impl FilterStatsReader {
    /// What a counter has counted since the worker began. Packets and bytes are read one after the other, so
    /// a packet that is counted in between is in the bytes only.
    #[must_use]
    pub fn read(&self, counter: u32) -> RuleCount {
        self.cells.get(counter as usize).map_or_else(RuleCount::default, |cell| RuleCount {
            packets: cell.packets.load(Ordering::Relaxed),
            bytes: cell.bytes.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_each_hundred_is_the_sample_and_not_always_at_the_same_place() {
        for (counter, seed) in [(0, 1), (3, 2), (9, 3)] {
            let mut stats = FilterStats::new(4).sample_seed(seed);
            let mut places = std::collections::BTreeSet::new();
            for _ in 0..1000 {
                let turn = (0..100).filter(|_| {
                    stats.count(counter, 60);
                    stats.is_sample(counter, 100)
                });
                let turn: Vec<u32> = turn.collect();
                assert_eq!(turn.len(), 1, "counter {counter}");
                places.extend(turn);
            }
            assert!(places.len() > 95, "{} places of 100", places.len());
        }
        let mut stats = FilterStats::new(1);
        stats.count(0, 60);
        assert!(stats.is_sample(0, 1), "each packet is its own turn");
    }
}
