//! A rate that several threads share: credit in two atomic words, leased in quanta.
//!
//! A pool does not hold tokens but *times*. A word says when the bucket would have been empty had it
//! filled since: its content is now − that time, in nanoseconds of the rate. To take credit is to move the
//! time forward by as much; nothing has to be added as time passes, a full bucket is a time long ago, and
//! everything a bucket needs is one word, which one compare-and-exchange changes. A nanosecond of a rate is a
//! whole number of tokens (see the module above), so nothing is rounded here either.
//!
//! The second bucket of RFC 2697 fills with what flows over the first, not with time. All that ever flowed
//! over is how far the first word has moved less what was taken of it, which a third word counts; and this
//! sum is to the second bucket what time is to the first. It only grows, so a thread that sees
//! it late takes too little and never too much: what is to be taken is counted before the exchange that takes
//! it, and counted back if that fails. (Adding what flowed over to a content instead would be two steps, and
//! credit that was lost because the bucket was full would come back for who takes between them.)
//!
//! But for that order, release and acquire on the first word, relaxed order suffices: each exchange is
//! of one word, and the words guard no other memory.
//!
//! `tests/meter_pool_model.rs` compiles this file against loom.

// Not `std::sync`: the model checker puts its own in place.
use crate::sync::atomic::{AtomicU64, Ordering};

/// Words hold times this much later, so that a word of 0 is longer ago than any bucket takes to fill.
const TIME_OFFSET_NANOSECONDS: u64 = 1 << 63;

/// How a bucket is leased from; nanoseconds of the bucket's rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// What the pool holds at the most.
    pub size_nanoseconds: u64,
    /// What a thread takes at once, if there is so much.
    pub quantum_nanoseconds: u64,
}

/// The shared part of a policer: in a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub struct Pool {
    committed: AtomicU64,
    /// A time like `committed`, or an amount that has flowed over.
    excess: AtomicU64,
    /// All that was taken of the first bucket, where it flows over.
    taken: AtomicU64,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Pool {
    /// Both buckets full, whatever their sizes.
    #[must_use]
    pub fn new() -> Self {
        let word = || AtomicU64::new(0);
        Self { committed: word(), excess: word(), taken: word() }
    }

    /// Takes at least `needed` and, if there is more, up to a quantum from the committed bucket.
    /// `flows_over` is true if what does not fit goes to the other one, always or never.
    ///
    /// # Errors
    /// The nanoseconds after which there may be enough; nothing is taken.
    pub fn take_committed(
        &self,
        now_nanoseconds: u64,
        lease: &Lease,
        needed: u64,
        flows_over: bool,
    ) -> Result<u64, u64> {
        let now = now_nanoseconds.saturating_add(TIME_OFFSET_NANOSECONDS);
        take(&self.committed, now, lease, needed, flows_over.then_some(&self.taken))
    }

    /// As [`Self::take_committed`], from an excess bucket with a rate of its own.
    ///
    /// # Errors
    /// As there.
    pub fn take_excess(
        &self,
        now_nanoseconds: u64,
        lease: &Lease,
        needed: u64,
    ) -> Result<u64, u64> {
        let now = now_nanoseconds.saturating_add(TIME_OFFSET_NANOSECONDS);
        take(&self.excess, now, lease, needed, None)
    }

    /// As [`Self::take_excess`], from an excess bucket that fills with what flows over `committed`.
    ///
    /// # Errors
    /// As there.
    pub fn take_overflow(
        &self,
        now_nanoseconds: u64,
        committed: &Lease,
        lease: &Lease,
        needed: u64,
    ) -> Result<u64, u64> {
        // Brings in what has flowed over since: a lease of nothing, which never fails.
        let nothing = Lease { quantum_nanoseconds: 0, ..*committed };
        let _ = self.take_committed(now_nanoseconds, &nothing, 0, true);
        // In this order: what has been taken by an exchange that is seen has been counted.
        let moved = self.committed.load(Ordering::Acquire);
        let flowed_over = moved.saturating_sub(self.taken.load(Ordering::Relaxed));
        take(&self.excess, flowed_over, lease, needed, None)
    }
}

/// Takes from the bucket that is empty when `now` is what the word says.
fn take(
    word: &AtomicU64,
    now: u64,
    lease: &Lease,
    needed: u64,
    taken: Option<&AtomicU64>,
) -> Result<u64, u64> {
    let full = now.saturating_sub(lease.size_nanoseconds);
    let mut empty = word.load(Ordering::Relaxed);
    loop {
        let start = empty.max(full);
        // Another thread's time may be a little ahead.
        let content = now.saturating_sub(start);
        if content < needed {
            return Err(needed - content);
        }
        let credit = content.min(lease.quantum_nanoseconds.max(needed));
        if start + credit == empty {
            return Ok(credit);
        }
        if let Some(taken) = taken {
            taken.fetch_add(credit, Ordering::Relaxed);
        }
        let next = start + credit;
        match word.compare_exchange_weak(empty, next, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return Ok(credit),
            Err(seen) => empty = seen,
        }
        if let Some(taken) = taken {
            taken.fetch_sub(credit, Ordering::Relaxed);
        }
    }
}
