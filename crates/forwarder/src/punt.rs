//! Packets for the kernel: the way there, and the limit on how many take it.
//!
//! What a router itself must answer costs the kernel far more than forwarding costs a worker, so
//! somebody who sends nothing else could keep it from its real work (RFC 6192). Each port has a token
//! bucket of its own, so that one port's flood does not take the others' share.

use linecard_io::PuntQueue;
use linecard_packet::PortId;

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

/// How fast a port may punt, per worker.
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

/// A token bucket (RFC 2697 without colours). Time is an argument and never runs backwards here: an
/// earlier time counts as the last one seen.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    limit: PuntLimit,
    /// In billionths of a packet, so that one nanosecond at any rate is a whole number.
    credit: u64,
    last_nanoseconds: Option<u64>,
}

/// Credit of one packet.
const PACKET: u64 = 1_000_000_000;

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(limit: PuntLimit) -> Self {
        Self { limit, credit: u64::from(limit.burst_packets) * PACKET, last_nanoseconds: None }
    }

    /// Adds what the time since the last call earns. Once a batch.
    pub(crate) fn refill(&mut self, now_nanoseconds: u64) {
        let last = self.last_nanoseconds.unwrap_or(now_nanoseconds);
        let elapsed = now_nanoseconds.saturating_sub(last);
        let earned = elapsed.saturating_mul(u64::from(self.limit.rate_packets_per_second));
        let full = u64::from(self.limit.burst_packets) * PACKET;
        self.credit = self.credit.saturating_add(earned).min(full);
        self.last_nanoseconds = Some(now_nanoseconds.max(last));
    }

    /// Takes a token; false when there is none.
    pub(crate) fn take(&mut self) -> bool {
        let enough = self.credit >= PACKET;
        if enough {
            self.credit -= PACKET;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(rate_packets_per_second: u32, burst_packets: u32) -> TokenBucket {
        TokenBucket::new(PuntLimit { rate_packets_per_second, burst_packets })
    }

    fn passed(bucket: &mut TokenBucket, attempts: u32) -> u32 {
        (0..attempts).map(|_| u32::from(bucket.take())).sum()
    }

    #[test]
    fn a_burst_passes_then_the_rate() {
        let mut bucket = bucket(100, 10);
        bucket.refill(5 * SECOND);
        assert_eq!(passed(&mut bucket, 50), 10);
        bucket.refill(5 * SECOND + SECOND / 100 - 1);
        assert_eq!(passed(&mut bucket, 50), 0, "a nanosecond short of a packet");
        bucket.refill(5 * SECOND + SECOND / 100);
        assert_eq!(passed(&mut bucket, 50), 1);
        bucket.refill(1_000_000 * SECOND);
        assert_eq!(passed(&mut bucket, 50), 10, "no more than the burst is saved up");
    }

    #[test]
    fn an_hour_of_a_flood_gets_the_rate() {
        let mut bucket = bucket(1_000, 64);
        let mut total = 0;
        for millisecond in 0..=3_600_000u64 {
            bucket.refill(millisecond * SECOND / 1_000);
            total += passed(&mut bucket, 5);
        }
        assert_eq!(total, 3_600_000 + 64);
    }

    #[test]
    fn time_that_runs_backwards_earns_nothing() {
        let mut bucket = bucket(1, 1);
        bucket.refill(10 * SECOND);
        assert!(bucket.take());
        bucket.refill(2 * SECOND);
        bucket.refill(10 * SECOND);
        assert!(!bucket.take());
    }
}
