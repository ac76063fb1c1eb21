//! A meter whose rate several threads share: each marks with credit that it has leased from a [`Pool`].
//!
//! **What holds.** All threads together let pass at most what the rate and the burst allow, in any time: credit
//! is made in one place only, the pool, which is smaller than the burst by what the threads may have in
//! their hands, a quantum each and an eighth of the burst at most. Nothing is lost below that, so the
//! rate is reached as exactly as with one meter. Credit is not given back: what a thread keeps that falls
//! idle was set aside for it.
//!
//! **What it costs.** A thread goes to the pool when its credit does not suffice, and takes a quantum: an eighth
//! of the burst divided by the threads, at most 200 µs of the rate. When the pool does not have enough, the
//! thread does not come back before a quantum's time: so above the rate, too, it goes there twice a
//! quantum at most, and not for each red packet. With the burst of 1 MB that suits 10 Gb/s and four threads, a
//! quantum is 31 kB: 21 full-size packets or some 500 small ones.
//!
//! **What differs from one meter.** The burst is between seven eighths and the whole of it; a packet larger than
//! seven eighths of the burst never passes. While a thread waits, smaller packets that would
//! fit are red with it. Which thread gets how much depends on when each asks: the rate is shared
//! by demand, not evenly.

use std::hint::select_unpredictable;

use super::pool::{Lease, Pool};
use super::{Colour, Profile};

/// The part of the bursts that threads may hold: one in so many.
const HELD_PART: u64 = 8;
/// A thread takes no more than this much of the rate at once.
const QUANTUM_MAX_NANOSECONDS: u64 = 200_000;

/// One thread's share of a policer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeasedMeter {
    /// Tokens in hand, as in [`super::Meter`].
    committed: u64,
    excess: u64,
    /// Until then the pool is not asked again.
    committed_retry_nanoseconds: u64,
    excess_retry_nanoseconds: u64,
    incarnation: u32,
    /// How often the pool was asked: each time one or two atomic exchanges.
    leases: u32,
}

impl LeasedMeter {
    /// As [`super::Meter::mark`]; `threads` share the pool.
    ///
    /// Cost: as there while there is credit in hand, or none to be had.
    #[inline]
    pub fn mark(
        &mut self,
        profile: &Profile,
        pool: &Pool,
        threads: u32,
        now_nanoseconds: u64,
        bytes: u16,
        incoming: Colour,
    ) -> Colour {
        if self.incarnation != profile.incarnation {
            *self = Self { incarnation: profile.incarnation, ..Self::default() };
        }
        let cost = profile.cost(bytes);
        if profile.is_plain() {
            if self.committed < cost {
                self.lease_committed(profile, pool, threads, now_nanoseconds, cost);
            }
            let fits = self.committed >= cost;
            self.committed -= select_unpredictable(fits, cost, 0);
            return select_unpredictable(fits, Colour::Green, Colour::Red);
        }
        self.mark_by_both((profile, pool, threads), now_nanoseconds, cost, incoming)
    }

    #[inline(never)]
    fn mark_by_both(
        &mut self,
        (profile, pool, threads): (&Profile, &Pool, u32),
        now_nanoseconds: u64,
        cost: u64,
        incoming: Colour,
    ) -> Colour {
        let heeded = profile.heeded(incoming);
        // Asked first, because RFC 2698 has no use for the other bucket when this one lacks.
        let wants_excess = heeded != Colour::Red as u8
            && (profile.is_peak_first() || heeded == Colour::Yellow as u8);
        if wants_excess && self.excess < cost {
            self.lease_excess(profile, pool, threads, now_nanoseconds, cost);
        }
        let wants_committed =
            heeded == Colour::Green as u8 && (!profile.is_peak_first() || self.excess >= cost);
        if wants_committed && self.committed < cost {
            self.lease_committed(profile, pool, threads, now_nanoseconds, cost);
            if !profile.is_peak_first() && self.committed < cost && self.excess < cost {
                self.lease_excess(profile, pool, threads, now_nanoseconds, cost);
            }
        }
        let decision = profile.decide(self.committed, self.excess, cost, incoming);
        self.committed -= select_unpredictable(decision.takes_committed, cost, 0);
        self.excess -= select_unpredictable(decision.takes_excess, cost, 0);
        decision.colour
    }

    /// How often the pool was asked since the policer began here.
    #[must_use]
    pub fn leases(&self) -> u32 {
        self.leases
    }

    #[inline(never)]
    fn lease_committed(
        &mut self,
        profile: &Profile,
        pool: &Pool,
        threads: u32,
        now_nanoseconds: u64,
        cost: u64,
    ) {
        let rate = profile.committed_rate;
        if now_nanoseconds < self.committed_retry_nanoseconds || rate == 0 {
            return;
        }
        self.leases = self.leases.wrapping_add(1);
        let lease = profile.committed_lease(threads);
        let needed = (cost - self.committed).div_ceil(rate);
        match pool.take_committed(now_nanoseconds, &lease, needed, profile.overflows()) {
            Ok(credit) => self.committed += credit * rate,
            Err(missing) => {
                let pause = missing.max(lease.quantum_nanoseconds);
                self.committed_retry_nanoseconds = now_nanoseconds.saturating_add(pause);
            }
        }
    }

    #[inline(never)]
    fn lease_excess(
        &mut self,
        profile: &Profile,
        pool: &Pool,
        threads: u32,
        now_nanoseconds: u64,
        cost: u64,
    ) {
        let rate = if profile.overflows() { profile.committed_rate } else { profile.excess_rate };
        if now_nanoseconds < self.excess_retry_nanoseconds || rate == 0 || profile.excess_burst == 0
        {
            return;
        }
        self.leases = self.leases.wrapping_add(1);
        let lease = profile.excess_lease(threads);
        let needed = (cost - self.excess).div_ceil(rate);
        let taken = if profile.overflows() {
            let committed = profile.committed_lease(threads);
            pool.take_overflow(now_nanoseconds, &committed, &lease, needed)
        } else {
            pool.take_excess(now_nanoseconds, &lease, needed)
        };
        match taken {
            Ok(credit) => self.excess += credit * rate,
            Err(missing) => {
                let pause = missing.max(lease.quantum_nanoseconds);
                self.excess_retry_nanoseconds = now_nanoseconds.saturating_add(pause);
            }
        }
    }
}

impl Profile {
    /// How threads lease from the first bucket.
    fn committed_lease(&self, threads: u32) -> Lease {
        lease(self.committed_burst, self.committed_rate, threads)
    }

    /// How threads lease from the second bucket, whose nanoseconds are of the rate that fills it.
    fn excess_lease(&self, threads: u32) -> Lease {
        let rate = if self.overflows() { self.committed_rate } else { self.excess_rate };
        lease(self.excess_burst, rate, threads)
    }
}

/// Two divisions or three, each time that the pool is asked. The rate is not 0.
fn lease(burst: u64, rate: u64, threads: u32) -> Lease {
    let (fill, threads) = (burst / rate.max(1), u64::from(threads.max(1)));
    let quantum_nanoseconds = (fill / HELD_PART / threads).min(QUANTUM_MAX_NANOSECONDS);
    Lease { size_nanoseconds: fill - quantum_nanoseconds * threads, quantum_nanoseconds }
}
