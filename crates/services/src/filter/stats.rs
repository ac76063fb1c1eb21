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
}

impl FilterStats {
    /// Counters 0 to `counters_max` − 1, all zero.
    #[must_use]
    pub fn new(counters_max: usize) -> Self {
        Self { cells: (0..counters_max).map(|_| Cell::default()).collect() }
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
