//! Lists in canonical form: sorted, without what another member covers, neighbours joined.

use std::ops::RangeInclusive;

use linecard_tables::lpm::{Address, Prefix};

/// Sorts ranges and joins those that overlap or touch. `next` gives the number behind one.
pub(super) fn join_ranges<T: Copy + Ord>(
    ranges: &mut Vec<RangeInclusive<T>>,
    next: impl Fn(T) -> Option<T>,
) {
    ranges.sort_by_key(|range| *range.start());
    ranges.dedup_by(|later, kept| {
        let touches = next(*kept.end()).is_none_or(|behind| *later.start() <= behind);
        if touches {
            *kept = *kept.start()..=*kept.end().max(later.end());
        }
        touches
    });
}

/// Sorts prefixes, drops those that lie within others and joins halves.
pub(super) fn join_prefixes<A: Address>(prefixes: &mut Vec<Prefix<A>>) {
    prefixes.sort_unstable();
    let mut kept: Vec<Prefix<A>> = Vec::with_capacity(prefixes.len());
    for &prefix in prefixes.iter() {
        // Ordered by address, shorter first: whatever covers this one stands last among the kept.
        if kept.last().is_some_and(|last| covers(*last, prefix)) {
            continue;
        }
        kept.push(prefix);
        while let [.., low, high] = kept[..]
            && let Some(whole) = parent_of_both(low, high)
        {
            kept.truncate(kept.len() - 2);
            kept.push(whole);
        }
    }
    *prefixes = kept;
}

/// True when `inner` lies within `outer`.
pub(super) fn covers<A: Address>(outer: Prefix<A>, inner: Prefix<A>) -> bool {
    outer.length() <= inner.length() && outer.contains(inner.bits())
}

/// The prefix of which these are the two halves.
fn parent_of_both<A: Address>(low: Prefix<A>, high: Prefix<A>) -> Option<Prefix<A>> {
    let length = low.length().checked_sub(1)?;
    let parent = Prefix::new(low.bits(), length)?;
    let halves = low != high && low.length() == high.length();
    (halves && parent.contains(high.bits())).then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut ranges = vec![7u8..=9, 1..=2, 3..=3, 200..=255, 250..=251, 11..=11];
        join_ranges(&mut ranges, |number| number.checked_add(1));
        assert_eq!(ranges, [1..=3, 7..=9, 11..=11, 200..=255]);
    }

    #[test]
    fn halves_are_joined_and_parts_dropped() {
        let of = |bits: u32, length| Prefix::new(bits, length).expect("a length of IPv4");
        let quarter = |n: u32| of(n << 30, 2);
        let mut prefixes =
            vec![quarter(3), quarter(1), of(5 << 28, 8), quarter(0), quarter(2), quarter(1)];
        join_prefixes(&mut prefixes);
        assert_eq!(prefixes, [Prefix::default_route()]);
        let mut apart = vec![quarter(2), quarter(1)];
        join_prefixes(&mut apart);
        assert_eq!(apart, [quarter(1), quarter(2)]);
    }
}
