//! Packets for the kernel: the way there, and the limits on how many take it.
//!
//! What a router itself must answer costs the kernel far more than forwarding costs a worker, so
//! somebody who sends nothing else could keep it from its real work (RFC 6192). But a limit that all
//! share does the attacker's work for him: a flood of one kind takes the place of every other. So:
//!
//! * each port has buckets of its own: one port's flood does not take the others' share;
//! * each reason has a bucket of its own: packets without a route do not keep "too big" from senders;
//! * for unresolved neighbours there are two: one for first packets, one for what follows them. A
//!   first packet makes the kernel ask, and of those behind it the kernel keeps a few at the most
//!   (RFC 4861 7.2.2 asks for one), so a host that is dead, or a network of them, takes the second
//!   bucket and not the first. What is a first packet, [`Neighbours`] knows, which also gives one
//!   neighbour a share of the second bucket only.
//!
//! The configured limit is that of each bucket. Time is an argument, once a round.

mod bucket;
mod neighbours;

use linecard_io::PuntQueue;
use linecard_packet::{PortId, PuntReason};

pub(crate) use bucket::TokenBucket;
pub(crate) use neighbours::{Neighbour, Neighbours, Turn};

/// Where punted packets go.
pub trait PuntSink: Send {
    /// Hands `packet` to the kernel as if received on `port`; false when there is no room.
    ///
    /// Must not block. `packet` is as it was received, from the Ethernet header on.
    fn punt(&mut self, port: PortId, packet: &[u8]) -> bool;

    /// Called once a round after packets were punted, for sinks that collect.
    fn flush(&mut self) {}
}

impl PuntSink for PuntQueue {
    fn punt(&mut self, port: PortId, packet: &[u8]) -> bool {
        Self::punt(self, port.0, packet)
    }
}

/// How fast a port may punt for each reason, per worker.
///
/// For [`PuntReason::NeighbourUnresolved`] it holds twice, for first packets and for the others; of
/// these, one neighbour gets an eighth of the rate and half of the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PuntLimit {
    /// Packets a second in the long run; 0 punts no more than the burst, ever.
    pub rate_packets_per_second: u32,
    /// Packets at once; at least 1, else nothing passes.
    pub burst_packets: u32,
}

impl Default for PuntLimit {
    /// 20,000 packets a second, 1,000 at once: plenty for neighbour discovery and path MTU, and a
    /// few per cent of a core for the kernel.
    fn default() -> Self {
        Self { rate_packets_per_second: 20_000, burst_packets: 1_000 }
    }
}

/// The buckets of one port.
#[derive(Debug)]
pub(crate) struct PortPuntLimits {
    reasons: [TokenBucket; PuntReason::COUNT],
    /// Packets to an unresolved neighbour after the first, which takes from the reason's bucket.
    repeats: TokenBucket,
}

impl PortPuntLimits {
    pub(crate) fn new(limit: PuntLimit) -> Self {
        Self {
            reasons: std::array::from_fn(|_| TokenBucket::new(limit)),
            repeats: TokenBucket::new(limit),
        }
    }

    /// Whether a packet may be punted; takes a token if so.
    pub(crate) fn take(&mut self, reason: PuntReason, now_nanoseconds: u64) -> bool {
        self.reasons[reason.index()].take(now_nanoseconds)
    }

    /// The same for a packet to an unresolved neighbour.
    pub(crate) fn take_unresolved(&mut self, turn: Turn, now_nanoseconds: u64) -> bool {
        match turn {
            Turn::First => self.take(PuntReason::NeighbourUnresolved, now_nanoseconds),
            Turn::Repeat => self.repeats.take(now_nanoseconds),
            Turn::TooMany => false,
        }
    }
}
