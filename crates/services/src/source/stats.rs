//! What the source stage counts besides the drops, which are in the worker's counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of one worker: the side that counts.
#[derive(Debug, Default)]
pub struct SourceStats {
    unverified: Arc<AtomicU64>,
}

impl SourceStats {
    /// Counts of zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The side that reads.
    #[must_use]
    pub fn reader(&self) -> SourceStatsReader {
        SourceStatsReader { unverified: Arc::clone(&self.unverified) }
    }

    pub(super) fn count_unverified(&mut self) {
        // There is one writer, so the sum needs no atomic addition.
        let count = self.unverified.load(Ordering::Relaxed) + 1;
        self.unverified.store(count, Ordering::Relaxed);
    }
}

/// The reading side of [`SourceStats`]; cheap to clone, outlives the worker.
#[derive(Debug, Clone)]
pub struct SourceStatsReader {
    unverified: Arc<AtomicU64>,
}

impl SourceStatsReader {
    /// Packets that passed the reverse-path check because the route tables were not complete, since the
    /// worker started.
    #[must_use]
    pub fn unverified(&self) -> u64 {
        self.unverified.load(Ordering::Relaxed)
    }
}
