//! What counters add up to: plain numbers for the API, the metrics and the tests.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::marker::PhantomData;
use std::ops::{AddAssign, Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::reason::Reason;
use crate::{DropReason, FORWARDING_CLASSES, Origin, PuntReason, Withheld};

/// The totals of one port, or the sum of several, since the workers started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortTotals {
    /// Packets that came in, those included that the kernel dropped on our receive queue.
    pub received_packets: u64,
    /// Bytes of the packets that a worker received, from the Ethernet header on, without FCS. Those that the
    /// kernel dropped are not among them: it says how many they were and not how long.
    pub received_bytes: u64,
    /// Of the packets that came in here, those that some port's transmit queue took.
    pub forwarded_packets: u64,
    /// Bytes of those, as received. Redirected frames that the outgoing port then lost are among them:
    /// the kernel says how many they were and not how long.
    pub forwarded_bytes: u64,
    /// Of `forwarded_packets`, those that the port's classifier redirected by itself to the other
    /// port, by the route cache.
    #[serde(default)]
    pub redirected_packets: u64,
    /// Packets that left by this port.
    pub sent_packets: u64,
    /// Packets in this port's transmit queues.
    pub queued_packets: u64,
    /// Bytes that this port's transmit queues took, whether they have left yet or not, and those of
    /// redirected frames, with the lost ones as in `forwarded_bytes`. As sent: with the VLAN tags and without the
    /// padding that a frame has when it leaves.
    pub transmitted_bytes: u64,
    /// Of the packets that came in here, those dropped (`transmit_invalid`,
    /// `shutdown`: of those that should have left here).
    pub dropped_packets: ReasonCounts<DropReason>,
    /// Bytes of those, as received. 0 of what the kernel dropped (`receive_ring_full`, `receive_invalid`,
    /// `transmit_invalid`) or a transmit queue still held (`shutdown`), of which only the number is known.
    #[serde(default)]
    pub dropped_bytes: ReasonCounts<DropReason>,
    /// Of the packets that came in here, those handed to the kernel.
    pub punted_packets: ReasonCounts<PuntReason>,
    /// Bytes of those, as received.
    #[serde(default)]
    pub punted_bytes: ReasonCounts<PuntReason>,
    /// Packets of Linecard's own that this port's transmit queues took: replies to those whose packets a filter
    /// rejected, and copies.
    #[serde(default)]
    pub originated_packets: ReasonCounts<Origin>,
    /// Bytes of those.
    #[serde(default)]
    pub originated_bytes: u64,
    /// Replies and copies that came to nothing, of packets that came in here (`reject_queue_full`,
    /// `mirror_queue_full`: those that should have left here).
    #[serde(default)]
    pub withheld_packets: ReasonCounts<Withheld>,
    /// Packets that workers handed to this port's transmit queues, by forwarding class; 0 is the default.
    #[serde(default)]
    pub class_packets: [u64; FORWARDING_CLASSES],
}

impl PortTotals {
    /// Of the packets that came in by this port, those that are in no account: received −
    /// forwarded − Σ dropped − Σ punted. 0, always.
    #[must_use]
    pub fn balance(&self) -> i64 {
        let outgoing = self.dropped_packets[DropReason::TransmitInvalid]
            + self.dropped_packets[DropReason::Shutdown];
        let dropped = self.dropped_packets.sum() - outgoing;
        let accounted = self.forwarded_packets + dropped + self.punted_packets.sum();
        self.received_packets as i64 - accounted as i64
    }

    /// The same of bytes, of one port or the sum of several: received − forwarded − Σ dropped − Σ punted, of
    /// frames as received. 0, always.
    #[must_use]
    pub fn byte_balance(&self) -> i64 {
        let ended = self.dropped_bytes.sum() + self.punted_bytes.sum();
        self.received_bytes as i64 - (self.forwarded_bytes + ended) as i64
    }

    /// For the sum over all ports: received + Σ originated − sent − queued − Σ dropped − Σ punted. 0, always.
    #[must_use]
    pub fn total_balance(&self) -> i64 {
        let left = self.sent_packets + self.queued_packets;
        let accounted = left + self.dropped_packets.sum() + self.punted_packets.sum();
        (self.received_packets + self.originated_packets.sum()) as i64 - accounted as i64
    }
}

impl AddAssign<&Self> for PortTotals {
    fn add_assign(&mut self, other: &Self) {
        self.received_packets += other.received_packets;
        self.received_bytes += other.received_bytes;
        self.forwarded_packets += other.forwarded_packets;
        self.forwarded_bytes += other.forwarded_bytes;
        self.redirected_packets += other.redirected_packets;
        self.sent_packets += other.sent_packets;
        self.queued_packets += other.queued_packets;
        self.transmitted_bytes += other.transmitted_bytes;
        self.dropped_packets += &other.dropped_packets;
        self.dropped_bytes += &other.dropped_bytes;
        self.punted_packets += &other.punted_packets;
        self.punted_bytes += &other.punted_bytes;
        self.originated_packets += &other.originated_packets;
        self.originated_bytes += other.originated_bytes;
        self.withheld_packets += &other.withheld_packets;
        for (sum, packets) in self.class_packets.iter_mut().zip(other.class_packets) {
            *sum += packets;
        }
    }
}

impl Sum for PortTotals {
    fn sum<I: Iterator<Item = Self>>(totals: I) -> Self {
        totals.fold(Self::default(), |mut sum, port| {
            sum += &port;
            sum
        })
    }
}

/// A count for each reason; in JSON an object from label to count, all labels present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonCounts<R> {
    counts: Vec<u64>,
    reason: PhantomData<R>,
}

impl<R: Reason> Default for ReasonCounts<R> {
    fn default() -> Self {
        Self { counts: vec![0; R::all().len()], reason: PhantomData }
    }
}

impl<R: Reason> ReasonCounts<R> {
    /// All counts together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each reason with its count, zeroes included.
    pub fn iter(&self) -> impl Iterator<Item = (R, u64)> + '_ {
        R::all().iter().copied().zip(self.counts.iter().copied())
    }
}

impl<R: Reason> Index<R> for ReasonCounts<R> {
    type Output = u64;

    fn index(&self, reason: R) -> &u64 {
        &self.counts[reason.number()]
    }
}

impl<R: Reason> IndexMut<R> for ReasonCounts<R> {
    fn index_mut(&mut self, reason: R) -> &mut u64 {
        &mut self.counts[reason.number()]
    }
}

impl<R: Reason> AddAssign<&Self> for ReasonCounts<R> {
    fn add_assign(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }
}

impl<R: Reason> Serialize for ReasonCounts<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(reason, count)| (reason.name(), count)))
    }
}

impl<'de, R: Reason> Deserialize<'de> for ReasonCounts<R> {
    /// A label that this version does not know is left out: the daemon may be newer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let by_label = BTreeMap::<String, u64>::deserialize(deserializer)?;
        let mut counts = Self::default();
        for &reason in R::all() {
            counts[reason] = by_label.get(reason.name()).copied().unwrap_or(0);
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_both_ways_by_label() {
        let mut totals = PortTotals { received_packets: 7, ..PortTotals::default() };
        totals.dropped_packets[DropReason::MartianSource] = 4;
        totals.dropped_bytes[DropReason::MartianSource] = 240;
        totals.punted_packets[PuntReason::NoRoute] = 3;
        let text = serde_json::to_string(&totals).expect("numbers and labels");
        assert!(text.contains(r#""martian_source":4"#), "{text}");
        assert!(text.contains(r#""no_route":3"#), "{text}");
        assert_eq!(serde_json::from_str::<PortTotals>(&text).expect("own text"), totals);
        assert_eq!(totals.balance(), 0);
    }

    #[test]
    fn a_missing_packet_shows_in_the_balance() {
        let totals =
            PortTotals { received_packets: 2, forwarded_packets: 1, ..PortTotals::default() };
        assert_eq!((totals.balance(), totals.total_balance()), (1, 2));
        let totals =
            PortTotals { received_bytes: 60, forwarded_bytes: 46, ..PortTotals::default() };
        assert_eq!(totals.byte_balance(), 14);
    }
}
