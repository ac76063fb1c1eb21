//! The side that reads: totals of each port as they stood between two batches.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use super::cells::{
    ABANDONED, Block, CLASSES, FORWARDED_BYTES, FORWARDED_PACKETS, ORIGINATED, ORIGINATED_BYTES,
    PortCells, QUEUED_PACKETS, REASONS, RECEIVED_BYTES, RECEIVED_PACKETS, RING_FULL, RX_INVALID,
    TRANSMITTED_BYTES, TRANSMITTED_PACKETS, TX_INVALID, WITHHELD, dropped, punted,
};
use crate::{DropReason, Origin, PortTotals, PuntReason, Withheld};

/// A reader gives up on an undisturbed copy after so many tries; a commit takes well below a
/// microsecond, so this happens only when the worker's thread is not running in the middle of one.
const READ_TRIES_MAX: usize = 10_000;

/// The counters of one worker: the side that reads. Cheap to clone; outlives the worker.
#[derive(Debug, Clone)]
pub struct CountersReader {
    pub(super) block: Arc<Block>,
}

impl CountersReader {
    /// How many ports there are.
    #[must_use]
    pub fn ports(&self) -> usize {
        self.block.ports.len()
    }

    /// The totals of all ports, by port number, as they stood between two batches.
    ///
    /// If the worker was interrupted in the middle of publishing and does not run on for thousands
    /// of tries, what was read last: then a batch may be counted in part.
    #[must_use]
    pub fn read(&self) -> Vec<PortTotals> {
        for _ in 0..READ_TRIES_MAX {
            let before = self.block.generation.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let totals = self.read_once();
                // Orders the cells' loads before the second look at the generation.
                fence(Ordering::Acquire);
                if self.block.generation.load(Ordering::Relaxed) == before {
                    return totals;
                }
            }
            std::thread::yield_now();
        }
        self.read_once()
    }

    fn read_once(&self) -> Vec<PortTotals> {
        self.block.ports.iter().map(totals).collect()
    }
}

/// One port's totals, with what the kernel dropped added to both sides of the balance.
fn totals(port: &PortCells) -> PortTotals {
    let cell = |index: usize| port.0[index].load(Ordering::Relaxed);
    let (ring_full, rx_invalid, tx_invalid) = (cell(RING_FULL), cell(RX_INVALID), cell(TX_INVALID));
    let (queued, abandoned) = (cell(QUEUED_PACKETS), cell(ABANDONED));
    let not_sent = queued + abandoned + tx_invalid;
    let mut totals = PortTotals {
        received_packets: cell(RECEIVED_PACKETS) + ring_full + rx_invalid,
        received_bytes: cell(RECEIVED_BYTES),
        forwarded_packets: cell(FORWARDED_PACKETS),
        forwarded_bytes: cell(FORWARDED_BYTES),
        sent_packets: cell(TRANSMITTED_PACKETS).saturating_sub(not_sent),
        transmitted_bytes: cell(TRANSMITTED_BYTES),
        queued_packets: queued,
        ..PortTotals::default()
    };
    for &reason in DropReason::ALL {
        let at = REASONS + 2 * dropped(reason);
        (totals.dropped_packets[reason], totals.dropped_bytes[reason]) = (cell(at), cell(at + 1));
    }
    for &reason in PuntReason::ALL {
        let at = REASONS + 2 * punted(reason);
        (totals.punted_packets[reason], totals.punted_bytes[reason]) = (cell(at), cell(at + 1));
    }
    for &origin in Origin::ALL {
        totals.originated_packets[origin] = cell(ORIGINATED + origin.index());
    }
    totals.originated_bytes = cell(ORIGINATED_BYTES);
    for &reason in Withheld::ALL {
        totals.withheld_packets[reason] = cell(WITHHELD + reason.index());
    }
    totals.class_packets = std::array::from_fn(|class| cell(CLASSES + class));
    // Those of class 0 are not counted one by one.
    let others: u64 = totals.class_packets.iter().sum();
    totals.class_packets[0] = cell(TRANSMITTED_PACKETS).saturating_sub(others);
    totals.dropped_packets[DropReason::ReceiveRingFull] += ring_full;
    totals.dropped_packets[DropReason::ReceiveInvalid] += rx_invalid;
    totals.dropped_packets[DropReason::TransmitInvalid] += tx_invalid;
    totals.dropped_packets[DropReason::Shutdown] += abandoned;
    totals
}
