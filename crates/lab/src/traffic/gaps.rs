//! Gaps in a numbered stream: what has not come yet, and between which times it was sent.
//!
//! Packets that take different paths overtake each other. A number that is passed over opens a gap,
//! which the late packet closes or splits; what stays open at the end was lost.

use std::collections::BTreeMap;
use std::time::Duration;

/// Gaps that are remembered one by one. Beyond them an outage may come out too long, never too short.
const GAPS_MAX: usize = 65_536;

/// Numbers that have not come; the key in [`Gaps`] is the first of them.
#[derive(Debug, Clone, Copy)]
struct Gap {
    last: u64,
    /// When the packet before the gap was sent, and the one behind it.
    sent_nanoseconds: (u64, u64),
}

impl Gap {
    fn time(&self) -> Duration {
        let (before, behind) = self.sent_nanoseconds;
        Duration::from_nanos(behind.saturating_sub(before))
    }
}

/// The open gaps of a stream.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    open: BTreeMap<u64, Gap>,
    /// The longest of those that found no room.
    forgotten_longest: Duration,
}

impl Gaps {
    /// The numbers from `first` to `last` were passed over.
    pub(super) fn open(&mut self, first: u64, last: u64, sent_nanoseconds: (u64, u64)) {
        if first > last {
            return;
        }
        let gap = Gap { last, sent_nanoseconds };
        if self.open.len() < GAPS_MAX {
            self.open.insert(first, gap);
        } else {
            self.forgotten_longest = self.forgotten_longest.max(gap.time());
        }
    }

    /// One of the numbers has come after all.
    pub(super) fn close(&mut self, number: u64, sent_nanoseconds: u64) {
        let Some((&first, &gap)) = self.open.range(..=number).next_back() else { return };
        if number > gap.last {
            return;
        }
        self.open.remove(&first);
        let (before, behind) = gap.sent_nanoseconds;
        if number > first {
            self.open(first, number - 1, (before, sent_nanoseconds));
        }
        self.open(number + 1, gap.last, (sent_nanoseconds, behind));
    }

    /// The longest time, by the sender's clock, of which nothing came.
    pub(super) fn longest(&self) -> Duration {
        self.open.values().map(Gap::time).max().unwrap_or_default().max(self.forgotten_longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanoseconds(gaps: &Gaps) -> u128 {
        gaps.longest().as_nanos()
    }

    #[test]
    fn what_comes_late_was_not_lost() {
        let mut gaps = Gaps::default();
        gaps.open(5, 7, (40, 80));
        assert_eq!(nanoseconds(&gaps), 40);
        gaps.close(6, 60);
        assert_eq!(nanoseconds(&gaps), 20, "5 and 7 are missing still");
        gaps.close(5, 50);
        gaps.close(9, 90);
        assert_eq!(nanoseconds(&gaps), 20);
        gaps.close(7, 70);
        assert!(gaps.open.is_empty() && nanoseconds(&gaps) == 0);
    }

    #[test]
    fn the_first_number_of_all_can_be_late() {
        let mut gaps = Gaps::default();
        gaps.open(0, 2, (10, 40));
        gaps.close(0, 10);
        assert_eq!((gaps.open.len(), nanoseconds(&gaps)), (1, 30));
    }

    #[test]
    fn gaps_without_room_still_count() {
        let mut gaps = Gaps::default();
        for number in 0..GAPS_MAX as u64 {
            gaps.open(2 * number, 2 * number, (0, 1));
        }
        gaps.open(1 << 40, 1 << 40, (0, 50));
        assert_eq!((gaps.open.len(), nanoseconds(&gaps)), (GAPS_MAX, 50));
    }
}
