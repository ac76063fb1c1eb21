//! Routes as intervals of addresses in order: longest-prefix match by binary search.
//!
//! Prefixes nest or are disjoint, so they cut the addresses into intervals in each of which one
//! route is the longest. There are twice as many at the most. Nothing here is shared with the tables
//! that it judges.

use linecard_tables::lpm::{Address, Prefix};

/// The value of each interval, by its first address; `None` where there is no route.
#[derive(Debug)]
pub(super) struct Intervals<A> {
    starts: Vec<A>,
    values: Vec<Option<u32>>,
}

impl<A: Address> Intervals<A> {
    /// The intervals of these routes, each prefix once.
    pub(super) fn new(routes: &[(Prefix<A>, u32)]) -> Self {
        let mut routes = routes.to_vec();
        // By address, then shorter before longer: who contains comes before who is contained.
        routes.sort_unstable_by_key(|(prefix, _)| *prefix);
        let mut intervals = Self { starts: vec![A::default()], values: vec![None] };
        // The routes that contain the present address, longest last.
        let mut open: Vec<(Prefix<A>, u32)> = Vec::new();
        for (prefix, value) in routes {
            while let Some((last, _)) = open.last()
                && !last.contains(prefix.bits())
            {
                intervals.close(&mut open);
            }
            intervals.begin(prefix.bits(), Some(value));
            open.push((prefix, value));
        }
        while !open.is_empty() {
            intervals.close(&mut open);
        }
        intervals
    }

    /// Behind the last address of the innermost route the one around it goes on.
    fn close(&mut self, open: &mut Vec<(Prefix<A>, u32)>) {
        let Some((prefix, _)) = open.pop() else { return };
        if let Some(next) = behind(prefix) {
            self.begin(next, open.last().map(|(_, value)| *value));
        }
    }

    fn begin(&mut self, start: A, value: Option<u32>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        self.starts.push(start);
        self.values.push(value);
    }

    /// The value of the longest route that contains `address`.
    pub(super) fn find(&self, address: A) -> Option<u32> {
        let behind = self.starts.partition_point(|start| *start <= address);
        self.values[behind - 1]
    }
}

/// The first address behind a prefix; `None` behind the last of all.
fn behind<A: Address>(prefix: Prefix<A>) -> Option<A> {
    // Adds one to the prefix's last bit: from the right, ones become zeroes up to the first zero.
    let mut bits = prefix.bits();
    for place in (0..prefix.length()).rev() {
        let one = A::from_bits_at(1, place, 1);
        bits = bits ^ one;
        if bits & one == one {
            return Some(bits);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use linecard_tables::generator::{Random, addresses_within, ipv4_routes, ipv6_routes};
    use linecard_tables::lpm::{Lpm, LpmImplementation};

    use super::*;

    fn agrees_with_the_sorted_twin<A: Address>(prefixes: Vec<Prefix<A>>) {
        let mut twin = Lpm::new(LpmImplementation::Sorted, prefixes.len());
        let mut random = Random::new(9);
        let mut routes = Vec::new();
        for prefix in prefixes.iter().copied() {
            let value = 1 + random.below(1000) as u32;
            twin.insert(prefix, value).expect("there is room for all");
            routes.push((prefix, value));
        }
        let intervals = Intervals::new(&routes);
        let any = (0..20_000).map(|_| random.address::<A>()).collect::<Vec<_>>();
        let within = addresses_within(&prefixes, 1, 20_000);
        let edges = prefixes.iter().flat_map(|prefix| [Some(prefix.bits()), behind(*prefix)]);
        for address in any.into_iter().chain(within).chain(edges.flatten()) {
            assert_eq!(intervals.find(address).unwrap_or(0), twin.lookup(address), "{address:?}");
        }
    }

    #[test]
    fn intervals_give_the_longest_match() {
        agrees_with_the_sorted_twin(ipv4_routes(1, 5_000));
        agrees_with_the_sorted_twin(ipv6_routes(1, 5_000));
        let nested = |lengths: std::ops::RangeInclusive<u8>, bits: u32| {
            lengths.map(move |length| Prefix::new(bits, length).expect("a prefix"))
        };
        agrees_with_the_sorted_twin(nested(0..=32, u32::MAX).chain(nested(1..=32, 0)).collect());
    }
}
