//! What a marker is to do, as people say it ([`Marker`]) and as a meter needs it ([`Profile`]).

use std::fmt;
use std::num::NonZeroU32;

use super::Colour;

/// Tokens of a bit, and of a packet: as many as there are nanoseconds in a second.
pub(super) const TOKENS_PER_UNIT: u64 = 1_000_000_000;
/// The largest rate, in bits or packets a second: 10 Tb/s.
pub const RATE_MAX: u64 = 10_000_000_000_000;
/// The largest burst, in bits or packets: 1.125 GB.
pub const BURST_MAX: u64 = 9_000_000_000;

// Two full buckets and a nanosecond at the largest rate are within 64 bits.
const _: () = assert!(RATE_MAX < u64::MAX - 2 * BURST_MAX * TOKENS_PER_UNIT);

/// What is metered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Unit {
    /// Rates in bits a second, bursts in bits.
    #[default]
    Bits,
    /// Rates in packets a second, bursts in packets.
    Packets,
}

/// Whether a marker heeds the colour that a packet comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ColourMode {
    /// It does not: every packet counts as green.
    #[default]
    Blind,
    /// It never improves a packet's colour.
    Aware,
}

/// A marker with its parameters: rates in [`Unit`]s a second up to [`RATE_MAX`], bursts in units up to
/// [`BURST_MAX`]. A burst smaller than a packet never lets that packet through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Marker {
    /// RFC 2697: one rate, two bursts. Without an excess burst it knows green and red only: the
    /// plain policer.
    SingleRate {
        /// CIR.
        committed_rate: u64,
        /// CBS.
        committed_burst: u64,
        /// EBS.
        excess_burst: u64,
    },
    /// RFC 2698: green up to the committed rate, red above the peak rate.
    TwoRate {
        /// CIR.
        committed_rate: u64,
        /// CBS.
        committed_burst: u64,
        /// PIR, which includes the committed rate.
        peak_rate: u64,
        /// PBS.
        peak_burst: u64,
    },
    /// RFC 4115: green up to the committed rate, and yellow up to the excess rate on top of it.
    TwoRateExcess {
        /// CIR.
        committed_rate: u64,
        /// CBS.
        committed_burst: u64,
        /// EIR, which does not include the committed rate.
        excess_rate: u64,
        /// EBS.
        excess_burst: u64,
    },
}

impl Marker {
    /// The marker with its rates, not its bursts, divided among `parts` that each see a part of the
    /// traffic; rounded up to whole units a second, and a `parts` of 0 taken for 1.
    #[must_use]
    pub fn divided(self, parts: u32) -> Self {
        let divide = |rate: u64| rate.div_ceil(u64::from(parts.max(1)));
        let mut divided = self;
        match &mut divided {
            Self::SingleRate { committed_rate, .. } => *committed_rate = divide(*committed_rate),
            Self::TwoRate { committed_rate, peak_rate: second, .. }
            | Self::TwoRateExcess { committed_rate, excess_rate: second, .. } => {
                (*committed_rate, *second) = (divide(*committed_rate), divide(*second));
            }
        }
        divided
    }
}

/// What a profile has besides its marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ProfileOptions {
    /// Bits or packets.
    pub unit: Unit,
    /// Blind or aware.
    pub colour_mode: ColourMode,
    /// Bytes that a packet counts for besides its own, at most 255: 38 for all that Ethernet puts on
    /// the wire around an IP packet (header, FCS, preamble, gap). Without effect when packets are metered.
    pub overhead_bytes: u8,
}

/// Why there is no such profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileError {
    /// A rate is above [`RATE_MAX`].
    RateTooHigh,
    /// A burst is above [`BURST_MAX`].
    BurstTooLarge,
    /// RFC 2698: the peak rate must not be below the committed rate.
    PeakBelowCommitted,
    /// All bursts are 0: everything would be red.
    NoBurst,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RateTooHigh => write!(formatter, "a rate is above {RATE_MAX} a second"),
            Self::BurstTooLarge => write!(formatter, "a burst is above {BURST_MAX}"),
            Self::PeakBelowCommitted => write!(formatter, "the peak rate is below the committed"),
            Self::NoBurst => write!(formatter, "the bursts are 0"),
        }
    }
}

impl std::error::Error for ProfileError {}

/// A marker as a meter reads it: 56 bytes, so that whoever keeps it has room for what he does with colours in
/// the same cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Tokens a nanosecond, which are units a second.
    pub(super) committed_rate: u64,
    /// As `committed_rate`: EIR, PIR, or 0 with a single rate.
    pub(super) excess_rate: u64,
    /// In tokens.
    pub(super) committed_burst: u64,
    /// In tokens.
    pub(super) excess_burst: u64,
    /// After this time the bucket, and where it flows over the other one too, is full.
    pub(super) committed_fill_nanoseconds: u64,
    pub(super) excess_fill_nanoseconds: u64,
    /// Units that each packet counts for whatever its length.
    addend: u16,
    /// `COUNTS_BITS` and the others.
    flags: u8,
    pub(super) incarnation: u32,
}

const COUNTS_BITS: u8 = 1;
const IS_AWARE: u8 = 2;
/// RFC 2697: the committed bucket flows over into the other.
const OVERFLOWS: u8 = 4;
/// RFC 2698: the second bucket is asked first, for green packets too.
const PEAK_FIRST: u8 = 8;
/// There is one bucket, and the colour that a packet comes with does not count.
const IS_PLAIN: u8 = 16;

/// What becomes of a packet and of the buckets.
pub(super) struct Decision {
    pub(super) colour: Colour,
    pub(super) takes_committed: bool,
    pub(super) takes_excess: bool,
}

/// By whether a packet is green, and whether the second bucket has its tokens. A table, because
/// colours cannot be predicted.
const COLOURS: [Colour; 4] = [Colour::Red, Colour::Green, Colour::Yellow, Colour::Green];

impl Profile {
    /// The profile of a marker. `incarnation` tells a new policer from the one that had its place
    /// before: a meter that meets another incarnation starts anew.
    ///
    /// # Errors
    /// [`ProfileError`]
    pub fn new(
        marker: &Marker,
        options: ProfileOptions,
        incarnation: NonZeroU32,
    ) -> Result<Self, ProfileError> {
        let (committed_rate, committed_burst, excess_rate, excess_burst) = match *marker {
            Marker::SingleRate { committed_rate, committed_burst, excess_burst } => {
                (committed_rate, committed_burst, 0, excess_burst)
            }
            Marker::TwoRate { committed_rate, peak_rate, .. } if peak_rate < committed_rate => {
                return Err(ProfileError::PeakBelowCommitted);
            }
            Marker::TwoRate { committed_rate, committed_burst, peak_rate, peak_burst } => {
                (committed_rate, committed_burst, peak_rate, peak_burst)
            }
            Marker::TwoRateExcess {
                committed_rate,
                committed_burst,
                excess_rate,
                excess_burst,
            } => (committed_rate, committed_burst, excess_rate, excess_burst),
        };
        if committed_rate.max(excess_rate) > RATE_MAX {
            return Err(ProfileError::RateTooHigh);
        }
        if committed_burst.max(excess_burst) > BURST_MAX {
            return Err(ProfileError::BurstTooLarge);
        }
        if committed_burst == 0 && excess_burst == 0 {
            return Err(ProfileError::NoBurst);
        }
        let overflows = matches!(marker, Marker::SingleRate { .. });
        let filled = committed_burst + if overflows { excess_burst } else { 0 };
        let counts_bits = options.unit == Unit::Bits;
        let is_aware = options.colour_mode == ColourMode::Aware;
        let peak_first = matches!(marker, Marker::TwoRate { .. });
        Ok(Self {
            committed_rate,
            excess_rate,
            committed_burst: committed_burst * TOKENS_PER_UNIT,
            excess_burst: excess_burst * TOKENS_PER_UNIT,
            committed_fill_nanoseconds: fill_nanoseconds(filled, committed_rate),
            excess_fill_nanoseconds: fill_nanoseconds(excess_burst, excess_rate),
            addend: if counts_bits { u16::from(options.overhead_bytes) * 8 } else { 1 },
            incarnation: incarnation.get(),
            flags: flag(counts_bits, COUNTS_BITS)
                | flag(is_aware, IS_AWARE)
                | flag(overflows, OVERFLOWS)
                | flag(peak_first, PEAK_FIRST)
                | flag(excess_burst == 0 && !peak_first && !is_aware, IS_PLAIN),
        })
    }

    /// Whether the colour that a packet comes with makes a difference.
    #[inline]
    #[must_use]
    pub fn is_aware(&self) -> bool {
        self.has(IS_AWARE)
    }

    /// Which policer it is, among those that had its place.
    #[inline]
    #[must_use]
    pub fn incarnation(&self) -> u32 {
        self.incarnation
    }

    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether the committed bucket flows over into the other.
    #[inline]
    pub(super) fn overflows(&self) -> bool {
        self.has(OVERFLOWS)
    }

    /// A plain policer, as most are: one bucket, and green or red.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.has(IS_PLAIN)
    }

    /// Tokens that a packet takes.
    #[inline]
    pub(super) fn cost(&self, bytes: u16) -> u64 {
        let bits = (u64::from(bytes) * 8) & mask(self.has(COUNTS_BITS));
        (bits + u64::from(self.addend)) * TOKENS_PER_UNIT
    }

    #[inline]
    pub(super) fn overflow_mask(&self) -> u64 {
        mask(self.overflows())
    }

    /// The colour that counts of the one that a packet comes with, as its number.
    #[inline]
    pub(super) fn heeded(&self, incoming: Colour) -> u8 {
        incoming as u8 & mask(self.is_aware()) as u8
    }

    /// Whether a packet that fits the committed bucket still needs the other.
    #[inline]
    pub(super) fn is_peak_first(&self) -> bool {
        self.has(PEAK_FIRST)
    }

    /// RFC 2697 section 3.2 and RFC 4115 section 3: green from the first bucket, else yellow from the
    /// second. RFC 2698 section 3: red unless the second has it, which pays in any case; then green
    /// if the first has it too. RFC 4115 writes "> 0" where the others have "≥ 0"; here it is "≥ 0" always, so
    /// that a bucket can be emptied.
    #[inline]
    pub(super) fn decide(
        &self,
        committed: u64,
        excess: u64,
        cost: u64,
        incoming: Colour,
    ) -> Decision {
        let incoming = self.heeded(incoming);
        let excess_fits = (incoming != Colour::Red as u8) & (excess >= cost);
        let committed_fits = (incoming == Colour::Green as u8) & (committed >= cost);
        let is_green = committed_fits & (excess_fits | !self.is_peak_first());
        Decision {
            colour: COLOURS[usize::from(is_green) | usize::from(excess_fits) << 1],
            takes_committed: is_green,
            takes_excess: excess_fits & (self.is_peak_first() | !is_green),
        }
    }
}

/// The smaller one by arithmetic: whether a bucket is full cannot be predicted, and of a comparison that
/// it recognizes the compiler may make a branch, which costs more than the meter when guessed wrong.
#[inline]
pub(super) fn least(a: u64, b: u64) -> u64 {
    let borrow = (u128::from(a).wrapping_sub(u128::from(b)) >> 64) as u64;
    b.wrapping_add(a.wrapping_sub(b) & borrow)
}

/// All ones or none.
#[inline]
fn mask(is_set: bool) -> u64 {
    u64::from(is_set).wrapping_neg()
}

fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

/// The time in which `units` come at a rate, rounded up; 0 where none come, which adds nothing either.
fn fill_nanoseconds(units: u64, rate: u64) -> u64 {
    // Below 2^64: 1.8e10 units of 1e9 tokens.
    if rate == 0 { 0 } else { (units * TOKENS_PER_UNIT).div_ceil(rate) }
}
