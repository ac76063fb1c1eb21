//! A token bucket, for packets.

use super::PuntLimit;

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

    /// Takes a token; false when there is none.
    pub(crate) fn take(&mut self, now_nanoseconds: u64) -> bool {
        self.refill(now_nanoseconds);
        let enough = self.credit >= PACKET;
        if enough {
            self.credit -= PACKET;
        }
        enough
    }

    /// Adds what the time since the last call earns.
    fn refill(&mut self, now_nanoseconds: u64) {
        let last = self.last_nanoseconds.unwrap_or(now_nanoseconds);
        let elapsed = now_nanoseconds.saturating_sub(last);
        let earned = elapsed.saturating_mul(u64::from(self.limit.rate_packets_per_second));
        let full = u64::from(self.limit.burst_packets) * PACKET;
        self.credit = self.credit.saturating_add(earned).min(full);
        self.last_nanoseconds = Some(now_nanoseconds.max(last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(rate_packets_per_second: u32, burst_packets: u32) -> TokenBucket {
        TokenBucket::new(PuntLimit { rate_packets_per_second, burst_packets })
    }

    fn passed(bucket: &mut TokenBucket, now_nanoseconds: u64, attempts: u32) -> u32 {
        (0..attempts).map(|_| u32::from(bucket.take(now_nanoseconds))).sum()
    }

    #[test]
    fn a_burst_passes_then_the_rate() {
        let mut bucket = bucket(100, 10);
        assert_eq!(passed(&mut bucket, 5 * SECOND, 50), 10);
        let hundredth = 5 * SECOND + SECOND / 100;
        assert_eq!(passed(&mut bucket, hundredth - 1, 50), 0, "a nanosecond short of a packet");
        assert_eq!(passed(&mut bucket, hundredth, 50), 1);
        let saved = passed(&mut bucket, 1_000_000 * SECOND, 50);
        assert_eq!(saved, 10, "no more than the burst is saved up");
    }

    #[test]
    fn an_hour_of_a_flood_gets_the_rate() {
        let mut bucket = bucket(1_000, 64);
        let mut total = 0;
        for millisecond in 0..=3_600_000u64 {
            total += passed(&mut bucket, millisecond * SECOND / 1_000, 5);
        }
        assert_eq!(total, 3_600_000 + 64);
    }

    #[test]
    fn time_that_runs_backwards_earns_nothing() {
        let mut bucket = bucket(1, 1);
        assert!(bucket.take(10 * SECOND));
        assert!(!bucket.take(2 * SECOND));
        assert!(!bucket.take(10 * SECOND));
    }
}
