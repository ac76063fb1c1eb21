//! Three-colour markers: is this packet within its rate (green), within what is tolerated beyond it
//! (yellow), or above both (red)? RFC 2697, RFC 2698 and RFC 4115, colour-blind and colour-aware.
//!
//! A meter is two token buckets and a time. The token here is the billionth part of a bit (or of a packet,
//! when packets are metered): rate in bits a second × elapsed nanoseconds is then a whole number
//! of tokens. So nothing is ever rounded, nothing drifts, and a bucket is exact to the nanosecond at
//! 64 kb/s as at 10 Tb/s. 64 bits hold a burst of 9 × 10⁹ bits (1.1 GB); time beyond that in which the buckets
//! are full anyway is not counted, which is one comparison and keeps the product within 64 bits however long
//! a meter was idle.
//!
//! What is the same for many packets stands in a [`Profile`] (56 bytes, read-only), what changes in a [`Meter`]
//! (32 bytes, its owner's): two cache lines at most. The three RFCs differ in two bits, so that one sequence
//! of instructions without a branch serves all: two multiplications for the credit, one for the
//! packet, comparisons and masks; there is no division and no loop. The plain policer, one bucket and two colours,
//! is what most are: it has a sequence of its own, half as long, chosen by the only branch.
//!
//! Time is an argument, in nanoseconds from any fixed moment. If it runs backwards nothing is added until it
//! has caught up.
//!
//! A meter belongs to one thread. A rate that several threads share is kept by [`Pool`], from which each
//! thread's [`LeasedMeter`] takes credit in quanta. [`MeterTwin`] follows the RFCs' text.

mod leased;
mod pool;
mod profile;
mod twin;

use std::hint::select_unpredictable;

use profile::least;

pub use leased::LeasedMeter;
pub use pool::{Lease, Pool};
pub use profile::{
    BURST_MAX, ColourMode, Marker, Profile, ProfileError, ProfileOptions, RATE_MAX, Unit,
};
pub use twin::MeterTwin;

/// What a marker says of a packet; also what an earlier one said, which a colour-aware marker heeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Colour {
    /// Within the committed rate.
    #[default]
    Green,
    /// Beyond the committed rate, within what is tolerated.
    Yellow,
    /// Beyond both.
    Red,
}

impl Colour {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Green, Self::Yellow, Self::Red];

    /// The number as a slice index: 0, 1, 2.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// `green`, `yellow` or `red`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// The buckets of one meter. Belongs to one thread.
///
/// The default value is of no profile: it starts with full buckets at its first packet, and again whenever
/// the profile's incarnation changes. So a new policer starts fresh in the place of an old one, and one
/// whose rate is changed goes on with what is in its buckets, or as much of it as fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(align(32))]
pub struct Meter {
    /// RFC 2697, 2698 and 4115: Tc.
    committed: u64,
    /// RFC 2697 and 4115: Te. RFC 2698: Tp.
    excess: u64,
    /// When credit was last added.
    time_nanoseconds: u64,
    incarnation: u32,
}

// Two to a cache line; and 8 bytes less than one.
const _: () = assert!(size_of::<Meter>() == 32 && size_of::<Profile>() == 56);

impl Meter {
    /// Marks a packet of `bytes` bytes that has the colour `incoming` already (without effect for a
    /// colour-blind profile), and takes its tokens.
    ///
    /// Cost: 8 cycles with one bucket, 14 to 15 with two, without a branch that depends on the packet; with 1,000
    /// meters 8 and 17 (`cargo bench -p linecard-tables -- meters`).
    #[inline]
    pub fn mark(
        &mut self,
        profile: &Profile,
        now_nanoseconds: u64,
        bytes: u16,
        incoming: Colour,
    ) -> Colour {
        if self.incarnation != profile.incarnation {
            self.start(profile, now_nanoseconds);
        }
        if profile.is_plain() {
            self.mark_plain(profile, now_nanoseconds, bytes)
        } else {
            self.mark_by_both(profile, now_nanoseconds, bytes, incoming)
        }
    }

    /// One bucket and two colours: nothing flows over, and no colour is heeded.
    #[inline]
    fn mark_plain(&mut self, profile: &Profile, now_nanoseconds: u64, bytes: u16) -> Colour {
        let elapsed = now_nanoseconds.saturating_sub(self.time_nanoseconds);
        self.time_nanoseconds += elapsed;
        // As in `refill`: what the bucket holds and what fills it, each at most a burst, are within 64 bits.
        let credit = profile.committed_rate * elapsed.min(profile.committed_fill_nanoseconds);
        let content = least(self.committed + credit, profile.committed_burst);
        let cost = profile.cost(bytes);
        let fits = content >= cost;
        self.committed = content - select_unpredictable(fits, cost, 0);
        // It may have had another bucket before.
        self.excess = 0;
        select_unpredictable(fits, Colour::Green, Colour::Red)
    }

    #[inline(never)]
    fn mark_by_both(
        &mut self,
        profile: &Profile,
        now_nanoseconds: u64,
        bytes: u16,
        incoming: Colour,
    ) -> Colour {
        self.refill(profile, now_nanoseconds);
        let cost = profile.cost(bytes);
        let decision = profile.decide(self.committed, self.excess, cost, incoming);
        self.committed -= select_unpredictable(decision.takes_committed, cost, 0);
        self.excess -= select_unpredictable(decision.takes_excess, cost, 0);
        decision.colour
    }

    /// Full buckets (RFC 2697 section 3, RFC 2698 section 3, RFC 4115 section 3).
    #[cold]
    fn start(&mut self, profile: &Profile, now_nanoseconds: u64) {
        *self = Self {
            committed: profile.committed_burst,
            excess: profile.excess_burst,
            time_nanoseconds: now_nanoseconds,
            incarnation: profile.incarnation,
        };
    }

    /// Adds the credit of the time that has passed.
    #[inline]
    fn refill(&mut self, profile: &Profile, now_nanoseconds: u64) {
        let elapsed = now_nanoseconds.saturating_sub(self.time_nanoseconds);
        self.time_nanoseconds += elapsed;
        // No product overflows: each is at most what fills the buckets and a nanosecond's more.
        let credit = profile.committed_rate * elapsed.min(profile.committed_fill_nanoseconds);
        let excess_credit = profile.excess_rate * elapsed.min(profile.excess_fill_nanoseconds);
        // The burst may have become smaller.
        let committed = self.committed.min(profile.committed_burst);
        let excess = self.excess.min(profile.excess_burst);
        let added = credit.min(profile.committed_burst - committed);
        // RFC 2697: what the first bucket does not hold goes to the second.
        let overflow = (credit - added) & profile.overflow_mask();
        self.committed = committed + added;
        self.excess = excess + least(excess_credit + overflow, profile.excess_burst - excess);
    }

    /// Whether a packet of now would find both buckets full: then the meter knows nothing that a new
    /// one does not know, and its place can be given away. True too of one that is of another profile.
    #[must_use]
    pub fn is_full(&self, profile: &Profile, now_nanoseconds: u64) -> bool {
        let mut later = *self;
        later.refill(profile, now_nanoseconds);
        self.incarnation != profile.incarnation
            || (later.committed == profile.committed_burst && later.excess == profile.excess_burst)
    }

    /// Marks a batch: packet `i` is metered by `meters[indexes[i]]` with `profiles[indexes[i]]`, has
    /// `bytes[i]` bytes and comes with `colours[i]`, which is overwritten.
    ///
    /// The slices must be equally long; what one has more than the shortest is left alone, and so are
    /// packets whose index is beyond meters or profiles.
    pub fn mark_bulk(
        meters: &mut [Self],
        profiles: &[Profile],
        now_nanoseconds: u64,
        indexes: &[u32],
        bytes: &[u16],
        colours: &mut [Colour],
    ) {
        debug_assert!(indexes.len() == bytes.len() && indexes.len() == colours.len());
        for ((&index, &bytes), colour) in indexes.iter().zip(bytes).zip(colours) {
            let index = index as usize;
            if let (Some(meter), Some(profile)) = (meters.get_mut(index), profiles.get(index)) {
                *colour = meter.mark(profile, now_nanoseconds, bytes, *colour);
            }
        }
    }
}
