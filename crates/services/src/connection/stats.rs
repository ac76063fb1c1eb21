//! What the connection stage counts, each worker for itself; readers sum up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ConnectionCount {
    /// Packets found new.
    PacketsNew,
    /// Packets found established.
    PacketsEstablished,
    /// Packets found related.
    PacketsRelated,
    /// Packets found invalid.
    PacketsInvalid,
    /// Connections entered.
    Inserted,
    /// Of these, ports of an ended connection used again.
    Restarted,
    /// Connections not yet established, or ended, that gave way to new ones.
    Evicted,
    /// Connections whose timeout has passed, as far as the clock hand has come by.
    Expired,
    /// New connections that were not kept: no room.
    Untracked,
    /// New connections of sources that had too many.
    LimitedBySource,
}

impl ConnectionCount {
    /// All of them, with the label that CLI and metrics show.
    pub const ALL: [(Self, &'static str); 10] = [
        (Self::PacketsNew, "packets_new"),
        (Self::PacketsEstablished, "packets_established"),
        (Self::PacketsRelated, "packets_related"),
        (Self::PacketsInvalid, "packets_invalid"),
        (Self::Inserted, "inserted"),
        (Self::Restarted, "restarted"),
        (Self::Evicted, "evicted"),
        (Self::Expired, "expired"),
        (Self::Untracked, "untracked"),
        (Self::LimitedBySource, "limited_by_source"),
    ];
}

/// The counting side, of one worker.
#[derive(Debug)]
pub struct ConnectionStats {
    cells: Arc<[AtomicU64; ConnectionCount::ALL.len()]>,
}

impl Default for ConnectionStats {
    fn default() -> Self {
        Self { cells: Arc::new(std::array::from_fn(|_| AtomicU64::new(0))) }
    }
}

impl ConnectionStats {
    /// The side that reads.
    #[must_use]
    pub fn reader(&self) -> ConnectionStatsReader {
        ConnectionStatsReader { cells: Arc::clone(&self.cells) }
    }

    /// So many more.
    #[inline]
    pub(super) fn add(&mut self, what: ConnectionCount, count: u64) {
        let cell = &self.cells[what as usize];
        // There is one writer, so the sum needs no atomic addition.
        cell.store(cell.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// The reading side of [`ConnectionStats`]; cheap to clone, outlives the worker.
#[derive(Debug, Clone)]
pub struct ConnectionStatsReader {
    cells: Arc<[AtomicU64; ConnectionCount::ALL.len()]>,
}

impl ConnectionStatsReader {
    /// How many since the worker started.
    #[must_use]
    pub fn get(&self, what: ConnectionCount) -> u64 {
        self.cells[what as usize].load(Ordering::Relaxed)
    }
}
