//! One port's counters on the side of the worker: plain memory, and what of it has changed.

use std::ops::Range;
use std::sync::atomic::Ordering;

use linecard_io::KernelCounters;

use super::cells::{
    ABANDONED, CELLS, CLASSES, FORWARDED_BYTES, FORWARDED_PACKETS, ORIGINATED, ORIGINATED_BYTES,
    PortCells, QUEUED_PACKETS, REASONS, RECEIVED_BYTES, RECEIVED_PACKETS, RING_FULL, RX_INVALID,
    TRANSMITTED_BYTES, TRANSMITTED_PACKETS, TX_INVALID, WITHHELD, dropped, punted,
};
use crate::{DropReason, FORWARDING_CLASSES, Origin, PuntReason, Withheld};

/// What a worker has counted on one port since it started, not yet published.
#[derive(Debug)]
pub struct PortCounters {
    cells: [u64; CELLS],
    pub(super) changed: bool,
    /// By its number a bit for each reason whose cells have changed.
    changed_reasons: u64,
    /// A cell of what Linecard sends of its own has changed.
    changed_own: bool,
}

impl PortCounters {
    /// All zero, as readers see them.
    pub(super) fn new() -> Self {
        Self { cells: [0; CELLS], changed: false, changed_reasons: 0, changed_own: false }
    }

    /// Packets came in.
    #[inline]
    pub fn received(&mut self, packets: u64, bytes: u64) {
        self.add(RECEIVED_PACKETS, packets);
        self.add(RECEIVED_BYTES, bytes);
    }

    /// Packets that came in here, with so many bytes, are about to be handed to transmit queues; those that are
    /// refused, and so were none, [`Self::transmit_queue_full`] takes back before the next [`commit`](super::WorkerCounters::commit).
    #[inline]
    pub fn forwarded(&mut self, packets: u64, bytes: u64) {
        self.add(FORWARDED_PACKETS, packets);
        self.add(FORWARDED_BYTES, bytes);
    }

    /// A packet that was counted as forwarded with so many bytes found no room in the transmit queue, and is
    /// dropped.
    pub fn transmit_queue_full(&mut self, bytes: u64) {
        self.set(FORWARDED_PACKETS, self.cells[FORWARDED_PACKETS] - 1);
        self.set(FORWARDED_BYTES, self.cells[FORWARDED_BYTES] - bytes);
        self.dropped(DropReason::TransmitQueueFull, 1, bytes);
    }

    /// Packets were taken by this port's transmit queue, with so many bytes as they are sent.
    #[inline]
    pub fn transmitted(&mut self, packets: u64, bytes: u64) {
        self.add(TRANSMITTED_PACKETS, packets);
        self.add(TRANSMITTED_BYTES, bytes);
    }

    /// Packets that came in here, with so many bytes, were dropped.
    #[inline]
    pub fn dropped(&mut self, reason: DropReason, packets: u64, bytes: u64) {
        self.add_reason(dropped(reason), packets, bytes);
    }

    /// Packets that came in here, with so many bytes, were handed to the kernel.
    #[inline]
    pub fn punted(&mut self, reason: PuntReason, packets: u64, bytes: u64) {
        self.add_reason(punted(reason), packets, bytes);
    }

    /// Packets of Linecard's own were taken by this port's transmit queue; they are counted as transmitted, too.
    pub fn originated(&mut self, origin: Origin, packets: u64, bytes: u64) {
        self.add(ORIGINATED + origin.index(), packets);
        self.add(ORIGINATED_BYTES, bytes);
        self.transmitted(packets, bytes);
    }

    /// Packets of Linecard's own came to nothing, which were about packets that came in here.
    pub fn withheld(&mut self, reason: Withheld, packets: u64) {
        self.add(WITHHELD + reason.index(), packets);
    }

    /// A packet of this forwarding class was taken by this port's transmit queue.
    pub fn classified(&mut self, class: u8) {
        if class == 0 {
            return;
        }
        self.add(CLASSES + usize::from(class) % FORWARDING_CLASSES, 1);
    }

    /// Packets in this port's transmit queues were given up when the worker stopped. From now on
    /// they are not queued any more.
    pub fn abandoned(&mut self, packets: u64) {
        self.add(ABANDONED, packets);
        self.set(QUEUED_PACKETS, 0);
    }

    /// How many packets wait in this port's transmit queues now.
    #[inline]
    pub fn set_queued(&mut self, packets: u64) {
        self.set(QUEUED_PACKETS, packets);
    }

    /// What the kernel has dropped on this port's queues since they were opened.
    pub fn set_kernel(&mut self, kernel: KernelCounters) {
        self.set(RING_FULL, kernel.rx_ring_full);
        self.set(RX_INVALID, kernel.rx_invalid);
        self.set(TX_INVALID, kernel.tx_invalid);
    }

    #[inline]
    fn add(&mut self, cell: usize, count: u64) {
        self.set(cell, self.cells[cell] + count);
    }

    #[inline]
    fn add_reason(&mut self, reason: usize, packets: u64, bytes: u64) {
        self.cells[REASONS + 2 * reason] += packets;
        self.cells[REASONS + 2 * reason + 1] += bytes;
        self.changed = true;
        self.changed_reasons |= 1 << reason;
    }

    #[inline]
    fn set(&mut self, cell: usize, value: u64) {
        let has_changed = self.cells[cell] != value;
        self.changed |= has_changed;
        self.changed_own |= has_changed & (cell >= ORIGINATED);
        self.cells[cell] = value;
    }

    /// Writes what has changed into the cells that readers see.
    pub(super) fn publish(&mut self, shared: &PortCells) {
        let publish = |range: Range<usize>| {
            for (cell, value) in shared.0[range.clone()].iter().zip(&self.cells[range]) {
                cell.store(*value, Ordering::Relaxed);
            }
        };
        publish(0..REASONS);
        let mut left = self.changed_reasons;
        while left != 0 {
            let cell = REASONS + 2 * left.trailing_zeros() as usize;
            publish(cell..cell + 2);
            left &= left - 1;
        }
        if self.changed_own {
            publish(ORIGINATED..CELLS);
        }
        (self.changed, self.changed_reasons, self.changed_own) = (false, 0, false);
    }
}
