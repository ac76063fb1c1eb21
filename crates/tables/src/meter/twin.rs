//! The plain twin of [`Meter`](super::Meter): the RFCs' text, with buckets in 128 bits and all arithmetic in
//! fractions of a unit, so that no time is too long and no product too large.

use super::{Colour, ColourMode, Marker, ProfileOptions, Unit};

/// What one unit is here: rates are units a second and times nanoseconds, so a credit has this denominator.
const DENOMINATOR: u128 = 1_000_000_000;

/// Two buckets, the markers' own words, and nothing clever.
#[derive(Debug, Clone)]
pub struct MeterTwin {
    marker: Marker,
    options: ProfileOptions,
    /// Tc, in units over [`DENOMINATOR`].
    committed: u128,
    /// Te or Tp, likewise.
    second: u128,
    time_nanoseconds: u64,
}

impl MeterTwin {
    /// Full buckets.
    #[must_use]
    pub fn new(marker: Marker, options: ProfileOptions, now_nanoseconds: u64) -> Self {
        let mut twin =
            Self { marker, options, committed: 0, second: 0, time_nanoseconds: now_nanoseconds };
        (twin.committed, twin.second) = twin.sizes();
        twin
    }

    /// Another marker in mid-course: the buckets keep what fits.
    pub fn change(&mut self, marker: Marker, options: ProfileOptions) {
        (self.marker, self.options) = (marker, options);
    }

    fn sizes(&self) -> (u128, u128) {
        let (committed, second) = match self.marker {
            Marker::SingleRate { committed_burst, excess_burst, .. }
            | Marker::TwoRateExcess { committed_burst, excess_burst, .. } => {
                (committed_burst, excess_burst)
            }
            Marker::TwoRate { committed_burst, peak_burst, .. } => (committed_burst, peak_burst),
        };
        (u128::from(committed) * DENOMINATOR, u128::from(second) * DENOMINATOR)
    }

    /// The buckets as they are at `now_nanoseconds`.
    fn wait(&mut self, now_nanoseconds: u64) {
        let (committed_size, second_size) = self.sizes();
        (self.committed, self.second) =
            (self.committed.min(committed_size), self.second.min(second_size));
        let elapsed = u128::from(now_nanoseconds.saturating_sub(self.time_nanoseconds));
        self.time_nanoseconds = self.time_nanoseconds.max(now_nanoseconds);
        match self.marker {
            // RFC 2697 section 3: "if Tc is less than CBS, Tc is incremented by one, else if Te is less
            // than EBS, Te is incremented by one, else neither".
            Marker::SingleRate { committed_rate, .. } => {
                let filled = self.committed + u128::from(committed_rate) * elapsed;
                self.committed = filled.min(committed_size);
                self.second = (self.second + filled - self.committed).min(second_size);
            }
            Marker::TwoRate { committed_rate, peak_rate: rate, .. }
            | Marker::TwoRateExcess { committed_rate, excess_rate: rate, .. } => {
                let filled = self.committed + u128::from(committed_rate) * elapsed;
                self.committed = filled.min(committed_size);
                self.second = (self.second + u128::from(rate) * elapsed).min(second_size);
            }
        }
    }

    /// As [`Meter::mark`](super::Meter::mark).
    pub fn mark(&mut self, now_nanoseconds: u64, bytes: u16, incoming: Colour) -> Colour {
        self.wait(now_nanoseconds);
        let size = DENOMINATOR
            * match self.options.unit {
                Unit::Bits => 8 * (u128::from(bytes) + u128::from(self.options.overhead_bytes)),
                Unit::Packets => 1,
            };
        let incoming = match self.options.colour_mode {
            ColourMode::Blind => Colour::Green,
            ColourMode::Aware => incoming,
        };
        match self.marker {
            Marker::SingleRate { .. } | Marker::TwoRateExcess { .. } => {
                if incoming == Colour::Green && self.committed >= size {
                    self.committed -= size;
                    Colour::Green
                } else if incoming != Colour::Red && self.second >= size {
                    self.second -= size;
                    Colour::Yellow
                } else {
                    Colour::Red
                }
            }
            Marker::TwoRate { .. } => {
                if incoming == Colour::Red || self.second < size {
                    Colour::Red
                } else if incoming == Colour::Yellow || self.committed < size {
                    self.second -= size;
                    Colour::Yellow
                } else {
                    self.second -= size;
                    self.committed -= size;
                    Colour::Green
                }
            }
        }
    }
}
