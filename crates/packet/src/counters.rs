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

mod cells;
mod port;
mod reader;

pub use port::PortCounters;
pub use reader::CountersReader;

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use crate::PortId;
use cells::Block;

/// The counters of one worker: the side that counts.
#[derive(Debug)]
pub struct WorkerCounters {
    block: Arc<Block>,
    ports: Box<[PortCounters]>,
}

impl WorkerCounters {
    /// Counters for ports 0 to `ports` − 1, all zero. All memory is allocated here.
    #[must_use]
    pub fn new(ports: usize) -> Self {
        let counters = (0..ports).map(|_| PortCounters::new()).collect();
        Self { block: Arc::new(Block::new(ports)), ports: counters }
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

#[cfg(test)]
mod tests {
    use linecard_io::KernelCounters;

    use super::*;
    use crate::{DropReason, PortTotals, PuntReason};

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
