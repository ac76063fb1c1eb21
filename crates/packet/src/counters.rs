//! The counters in which every packet ends, private to a worker and read by others.
//!
//! A worker counts in plain memory while it carries a batch to its end, and then publishes all of
//! it at once ([`WorkerCounters::commit`]): relaxed loads and stores of cells that nobody else
//! writes, between two steps of a generation number. A reader that sees the generation move reads
//! again, so that what it gets is always the state between two batches, and the books balance at
//! any moment under load:
//!
//! * **per port, by where a packet came in:** received = forwarded + Σ dropped(reason) + Σ
//!   punted(reason). `forwarded` counts what the queue of *some* port took.
//! * **in total:** received + Σ originated(origin) = sent + queued + Σ dropped(reason) + Σ punted(reason).
//!   `originated`, `sent` and `queued` are counted at the port a packet leaves by.
//!
//! A packet of Linecard's own, such as a reply or a copy, is originated when a transmit queue takes it. One that
//! comes to nothing before is in no account, but counted as withheld.
//!
//! The first holds in bytes, too, each packet being as long everywhere as the frame that was received: a
//! forwarded packet may leave shorter or longer, by its padding and VLAN tags, and `transmitted` says how long
//! it left. What only the kernel has counted has no bytes, since it says how many and not how long.
//!
//! `transmit_invalid` and `shutdown` are counted at the outgoing port: they befall packets in a
//! transmit queue, when the worker no longer knows where they came from.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use linecard_io::KernelCounters;

use crate::{DropReason, FORWARDING_CLASSES, Origin, PortId, PortTotals, PuntReason, Withheld};

// Where a port's counters stand among its cells.
const RECEIVED_PACKETS: usize = 0;
const RECEIVED_BYTES: usize = 1;
const FORWARDED_PACKETS: usize = 2;
const FORWARDED_BYTES: usize = 3;
const TRANSMITTED_PACKETS: usize = 4;
const TRANSMITTED_BYTES: usize = 5;
const QUEUED_PACKETS: usize = 6;
const RING_FULL: usize = 7;
const RX_INVALID: usize = 8;
const TX_INVALID: usize = 9;
const ABANDONED: usize = 10;
/// The cells from here on count what happens to few packets: two cells a reason, packets and bytes.
const REASONS: usize = 11;
/// And those from here on what Linecard sends of its own.
const ORIGINATED: usize = REASONS + 2 * (DropReason::COUNT + PuntReason::COUNT);
const ORIGINATED_BYTES: usize = ORIGINATED + Origin::COUNT;
const WITHHELD: usize = ORIGINATED_BYTES + 1;
const CLASSES: usize = WITHHELD + Withheld::COUNT;
const CELLS: usize = CLASSES + FORWARDING_CLASSES;

// `PortCounters::changed_reasons` has a bit for each.
const _: () = assert!(DropReason::COUNT + PuntReason::COUNT <= 64);

/// Number of a reason among all reasons.
const fn dropped(reason: DropReason) -> usize {
    reason.index()
}

/// The same of one to punt.
const fn punted(reason: PuntReason) -> usize {
    DropReason::COUNT + reason.index()
}

/// A reader gives up on an undisturbed copy after so many tries; a commit takes well below a
/// microsecond, so this happens only when the worker's thread is not running in the middle of one.
const READ_TRIES_MAX: usize = 10_000;

/// One port's cells. Aligned so that no two ports, and no two workers, share a cache line.
#[derive(Debug)]
#[repr(align(64))]
struct PortCells([AtomicU64; CELLS]);

/// What the worker and its readers share.
#[derive(Debug)]
struct Block {
    /// Odd while the worker writes.
    generation: AtomicU64,
    ports: Box<[PortCells]>,
}

/// The counters of one worker: the side that counts.
#[derive(Debug)]
pub struct WorkerCounters {
    block: Arc<Block>,
    ports: Box<[PortCounters]>,
}

/// What a worker has counted on one port since it started, not yet published.
#[derive(Debug)]
pub struct PortCounters {
    cells: [u64; CELLS],
    changed: bool,
    /// By its number a bit for each reason whose cells have changed.
    changed_reasons: u64,
    /// A cell of what Linecard sends of its own has changed.
    changed_own: bool,
}

impl PortCounters {
    /// Packets came in.
    #[inline]
    pub fn received(&mut self, packets: u64, bytes: u64) {
        self.add(RECEIVED_PACKETS, packets);
        self.add(RECEIVED_BYTES, bytes);
    }

    /// Packets that came in here, with so many bytes, are about to be handed to transmit queues; those that are
    /// refused, and so were none, [`Self::transmit_queue_full`] takes back before the next [`WorkerCounters::commit`].
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
    fn publish(&mut self, shared: &PortCells) {
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

impl WorkerCounters {
    /// Counters for ports 0 to `ports` − 1, all zero. All memory is allocated here.
    #[must_use]
    pub fn new(ports: usize) -> Self {
        let cells = || PortCells(std::array::from_fn(|_| AtomicU64::new(0)));
        let block =
            Block { generation: AtomicU64::new(0), ports: (0..ports).map(|_| cells()).collect() };
        let counters = || PortCounters {
            cells: [0; CELLS],
            changed: false,
            changed_reasons: 0,
            changed_own: false,
        };
        Self { block: Arc::new(block), ports: (0..ports).map(|_| counters()).collect() }
    }

    /// The side that reads.
    #[must_use]
    pub fn reader(&self) -> CountersReader {
        CountersReader { block: Arc::clone(&self.block) }
    }

    /// What is counted on `port`.
    ///
    /// # Panics
    /// When there are no counters for `port`: a worker is built with all its ports.
    #[inline]
    pub fn port(&mut self, port: PortId) -> &mut PortCounters {
        &mut self.ports[port.index()]
    }

    /// Lets readers see all that was counted. Once a round; costs a branch a port that did not
    /// change, two cache lines for one that did, and one for each reason for which packets were dropped or punted.
    pub fn commit(&mut self) {
        if !self.ports.iter().any(|port| port.changed) {
            return;
        }
        let generation = self.block.generation.load(Ordering::Relaxed);
        self.block.generation.store(generation + 1, Ordering::Relaxed);
        // Readers that see a cell written below see the odd generation too.
        fence(Ordering::Release);
        for (shared, port) in self.block.ports.iter().zip(&mut self.ports) {
            if port.changed {
                port.publish(shared);
            }
        }
        self.block.generation.store(generation + 2, Ordering::Release);
    }
}

/// The counters of one worker: the side that reads. Cheap to clone; outlives the worker.
#[derive(Debug, Clone)]
pub struct CountersReader {
    block: Arc<Block>,
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

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(0);

    #[test]
    fn nothing_is_seen_before_the_commit_and_all_of_it_after() {
        let mut counters = WorkerCounters::new(2);
        let reader = counters.reader();
        counters.port(PORT).received(3, 180);
        counters.port(PORT).dropped(DropReason::Blackhole, 2, 110);
        counters.port(PORT).punted(PuntReason::Local, 1, 70);
        assert_eq!(reader.read(), vec![PortTotals::default(); 2]);
        counters.commit();
        let read = reader.read();
        assert_eq!((read[0].received_packets, read[0].received_bytes), (3, 180));
        assert_eq!(read[0].dropped_packets[DropReason::Blackhole], 2);
        assert_eq!(read[0].dropped_bytes[DropReason::Blackhole], 110);
        assert_eq!(read[0].punted_packets[PuntReason::Local], 1);
        assert_eq!(read[0].punted_bytes[PuntReason::Local], 70);
        assert_eq!((read[0].balance(), read[0].byte_balance()), (0, 0));
        assert_eq!(read[1], PortTotals::default());
    }

    #[test]
    fn what_the_kernel_dropped_is_on_both_sides_of_the_balance() {
        let mut counters = WorkerCounters::new(2);
        counters.port(PORT).received(10, 600);
        counters.port(PORT).forwarded(10, 600);
        counters.port(PortId(1)).transmitted(10, 600);
        counters.port(PortId(1)).set_queued(4);
        let kernel = KernelCounters { rx_ring_full: 5, rx_invalid: 1, tx_invalid: 0 };
        counters.port(PORT).set_kernel(kernel);
        let kernel = KernelCounters { tx_invalid: 2, ..KernelCounters::default() };
        counters.port(PortId(1)).set_kernel(kernel);
        counters.commit();
        let read = counters.reader().read();
        assert_eq!(read[0].received_packets, 16);
        assert_eq!((read[1].sent_packets, read[1].queued_packets), (4, 4));
        assert_balanced(read);

        counters.port(PortId(1)).abandoned(4);
        counters.commit();
        let read = counters.reader().read();
        assert_eq!((read[1].sent_packets, read[1].queued_packets), (4, 0));
        assert_eq!(read[1].dropped_packets[DropReason::Shutdown], 4);
        assert_balanced(read);
    }

    fn assert_balanced(read: Vec<PortTotals>) {
        assert!(
            read.iter().all(|port| (port.balance(), port.byte_balance()) == (0, 0)),
            "{read:?}"
        );
        let all: PortTotals = read.into_iter().sum();
        assert_eq!(all.total_balance(), 0);
    }

    #[test]
    fn a_reader_sees_whole_batches_while_the_worker_counts() {
        const BATCHES: u64 = 20_000;
        let mut counters = WorkerCounters::new(1);
        let reader = counters.reader();
        let worker = std::thread::spawn(move || {
            for _ in 0..BATCHES {
                counters.port(PORT).received(3, 200);
                counters.port(PORT).dropped(DropReason::OtherHost, 1, 60);
                counters.port(PORT).punted(PuntReason::NotIp, 2, 140);
                counters.commit();
            }
        });
        while !worker.is_finished() {
            let read = reader.read();
            assert_eq!((read[0].balance(), read[0].byte_balance()), (0, 0));
        }
        worker.join().expect("the worker ends");
        assert_eq!(reader.read()[0].received_packets, 3 * BATCHES);
    }
}
