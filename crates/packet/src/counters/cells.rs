//! What a worker and its readers share: cells of atomic words, and where each counter stands among them.

use std::sync::atomic::AtomicU64;

use crate::{DropReason, FORWARDING_CLASSES, Origin, PuntReason, Withheld};

pub(super) const RECEIVED_PACKETS: usize = 0;
pub(super) const RECEIVED_BYTES: usize = 1;
pub(super) const FORWARDED_PACKETS: usize = 2;
pub(super) const FORWARDED_BYTES: usize = 3;
pub(super) const TRANSMITTED_PACKETS: usize = 4;
pub(super) const TRANSMITTED_BYTES: usize = 5;
pub(super) const QUEUED_PACKETS: usize = 6;
pub(super) const RING_FULL: usize = 7;
pub(super) const RX_INVALID: usize = 8;
pub(super) const TX_INVALID: usize = 9;
pub(super) const ABANDONED: usize = 10;
/// The cells from here on count what happens to few packets: two cells a reason, packets and bytes.
pub(super) const REASONS: usize = 11;
/// And those from here on what Linecard sends of its own.
pub(super) const ORIGINATED: usize = REASONS + 2 * (DropReason::COUNT + PuntReason::COUNT);
pub(super) const ORIGINATED_BYTES: usize = ORIGINATED + Origin::COUNT;
pub(super) const WITHHELD: usize = ORIGINATED_BYTES + 1;
pub(super) const CLASSES: usize = WITHHELD + Withheld::COUNT;
pub(super) const CELLS: usize = CLASSES + FORWARDING_CLASSES;

// `PortCounters::changed_reasons` has a bit for each.
const _: () = assert!(DropReason::COUNT + PuntReason::COUNT <= 64);

/// Number of a reason among all reasons.
pub(super) const fn dropped(reason: DropReason) -> usize {
    reason.index()
}

/// The same of one to punt.
pub(super) const fn punted(reason: PuntReason) -> usize {
    DropReason::COUNT + reason.index()
}

/// One port's cells. Aligned so that no two ports, and no two workers, share a cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct PortCells(pub(super) [AtomicU64; CELLS]);

/// What the worker and its readers share.
#[derive(Debug)]
pub(super) struct Block {
    /// Odd while the worker writes.
    pub(super) generation: AtomicU64,
    pub(super) ports: Box<[PortCells]>,
}

impl Block {
    /// Cells for so many ports, all zero.
    pub(super) fn new(ports: usize) -> Self {
        let cells = || PortCells(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { generation: AtomicU64::new(0), ports: (0..ports).map(|_| cells()).collect() }
    }
}
