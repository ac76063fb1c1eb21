//! What the route stage counts besides the worker's counters: packets for each adjacency.
//!
//! The control side looks at it from time to time: an adjacency whose count moves is in use, so its
//! neighbour entry in the kernel must be kept fresh, which the kernel cannot know from packets that it
//! never sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use linecard_packet::AdjacencyId;

/// Packets for each adjacency, written by one worker.
#[derive(Debug)]
pub struct RouteStats {
    packets: Arc<[AtomicU64]>,
}

impl RouteStats {
    /// Counts of zero for adjacencies 0 to `adjacencies_max` − 1; 8 bytes each.
    #[must_use]
    pub fn new(adjacencies_max: u32) -> Self {
        Self { packets: (0..adjacencies_max).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The side that reads.
    #[must_use]
    pub fn reader(&self) -> RouteStatsReader {
        RouteStatsReader { packets: Arc::clone(&self.packets) }
    }

    /// One packet goes to this neighbour. Beyond the size given to [`Self::new`] nothing is counted.
    #[inline]
    pub(super) fn count(&mut self, adjacency: AdjacencyId) {
        if let Some(packets) = self.packets.get(adjacency.index()) {
            // There is one writer, so the sum needs no atomic addition.
            packets.store(packets.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }
}

/// The reading side of [`RouteStats`]; cheap to clone, outlives the worker.
#[derive(Debug, Clone)]
pub struct RouteStatsReader {
    packets: Arc<[AtomicU64]>,
}

impl RouteStatsReader {
    /// Packets that were given this adjacency since the worker started.
    #[must_use]
    pub fn packets(&self, adjacency: AdjacencyId) -> u64 {
        self.packets.get(adjacency.index()).map_or(0, |packets| packets.load(Ordering::Relaxed))
    }
}
