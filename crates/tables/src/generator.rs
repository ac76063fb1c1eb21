//! Routes and addresses drawn like the Internet's, the same for the same seed: test data.
//!
//! Prefix lengths follow a full table of 901,899 IPv4 and 160,147 IPv6 routes (the benchmark data
//! of the MIT-licensed `gaissmai/bart`). Routes of the Internet also cluster: address space
//! is handed out in blocks, whose holders announce many parts of one block. So prefixes are drawn
//! from blocks within blocks; how many there are at a few lengths is counted from the same table
//! ([`IPV4_BLOCKS`], [`IPV6_BLOCKS`]). Without them a tree over the routes would come out twice as
//! large as with the real ones.

use std::collections::HashSet;

use crate::hash::split_mix_64;
use crate::lpm::{Address, Prefix};

/// Routes of each IPv4 prefix length, as (length, routes).
pub const IPV4_LENGTHS: [(u8, u32); 25] = [
    (8, 16),
    (9, 13),
    (10, 38),
    (11, 103),
    (12, 299),
    (13, 581),
    (14, 1203),
    (15, 2100),
    (16, 13_490),
    (17, 8235),
    (18, 13_798),
    (19, 24_870),
    (20, 42_611),
    (21, 50_750),
    (22, 108_623),
    (23, 96_510),
    (24, 537_698),
    (25, 11),
    (26, 11),
    (27, 11),
    (28, 11),
    (29, 11),
    (30, 10),
    (31, 10),
    (32, 886),
];

/// Routes of the main IPv6 prefix lengths, as (length, routes).
pub const IPV6_LENGTHS: [(u8, u32); 11] = [
    (29, 4371),
    (32, 22_548),
    (33, 2926),
    (34, 2603),
    (36, 5996),
    (40, 13_418),
    (44, 14_365),
    (45, 1553),
    (46, 3039),
    (47, 3153),
    (48, 75_488),
];

/// Routes of all other IPv6 lengths below /48, which are drawn evenly from /20 on.
pub const IPV6_ROUTES_OTHER_SHORT: u32 = 10_358;

/// Routes of IPv6 lengths above /48, which are drawn evenly.
pub const IPV6_ROUTES_OTHER_LONG: u32 = 329;

/// Distinct IPv4 blocks in use at a length, for each 1,000 routes, as (length, blocks).
pub const IPV4_BLOCKS: [(u8, usize); 3] = [(13, 6), (16, 37), (19, 127)];

/// Distinct IPv6 blocks in use at a length, for each 1,000 routes, as (length, blocks).
pub const IPV6_BLOCKS: [(u8, usize); 5] = [(19, 2), (25, 68), (32, 183), (37, 110), (43, 196)];

/// A seeded source of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        split_mix_64(&mut self.state)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        // Multiply and take the high half (Lemire 2019): no division, bias below 2^-32 here.
        ((u128::from(self.next_u64()) * end as u128) >> 64) as usize
    }

    /// A random address of all bits.
    pub fn address<A: Address>(&mut self) -> A {
        (0..A::BITS).step_by(16).fold(A::default(), |address, offset| {
            address | A::from_bits_at(self.next_u64() as u16 as usize, offset, 16)
        })
    }
}

/// `count` distinct IPv4 prefixes out of 1.0.0.0 to 223.255.255.255, in random order.
///
/// `count` is at most 2,000,000: some lengths have no more prefixes to give.
#[must_use]
pub fn ipv4_routes(seed: u64, count: usize) -> Vec<Prefix<u32>> {
    let unicast = |random: &mut Random| {
        (1 + random.below(223) as u32) << 24 | (random.address::<u32>() & 0xff_ffff)
    };
    draw(seed, count, &IPV4_LENGTHS, &IPV4_BLOCKS, unicast)
}

/// `count` distinct IPv6 prefixes out of 2000::/3, in random order. At most 2,000,000, as above.
#[must_use]
pub fn ipv6_routes(seed: u64, count: usize) -> Vec<Prefix<u128>> {
    let mut lengths = IPV6_LENGTHS.to_vec();
    for (range, routes) in [(20..=47, IPV6_ROUTES_OTHER_SHORT), (49..=128, IPV6_ROUTES_OTHER_LONG)]
    {
        let others = range.filter(|length| IPV6_LENGTHS.iter().all(|(main, _)| main != length));
        let share = routes / others.clone().count() as u32;
        lengths.extend(others.map(|length| (length, share)));
    }
    let global = |random: &mut Random| (random.address::<u128>() >> 3) | (1 << 125);
    draw(seed, count, &lengths, &IPV6_BLOCKS, global)
}

/// Draws prefixes: the length by weight, then a block of the greatest length that is not longer,
/// then the bits behind it.
fn draw<A: Address>(
    seed: u64,
    count: usize,
    lengths: &[(u8, u32)],
    blocks_per_1000: &[(u8, usize)],
    any: impl Fn(&mut Random) -> A,
) -> Vec<Prefix<A>> {
    let mut random = Random::new(seed);
    let mut blocks: Vec<(u8, Vec<A>)> = Vec::new();
    for (length, per_1000) in blocks_per_1000 {
        let one = |_| within(&mut random, &blocks, *length, &any);
        let level = (0..count * per_1000 / 1000 + 1).map(one).collect();
        blocks.push((*length, level));
    }
    let total: u32 = lengths.iter().map(|(_, routes)| routes).sum();
    let mut seen = HashSet::with_capacity(count);
    let mut routes = Vec::with_capacity(count);
    while routes.len() < count {
        let length = length_at(lengths, random.below(total as usize) as u32);
        let bits = within(&mut random, &blocks, length, &any);
        let prefix = Prefix::new(bits, length).expect("the lengths are those of the address");
        if seen.insert(prefix) {
            routes.push(prefix);
        }
    }
    routes
}

/// An address within a block of the greatest length up to `length`, or `any` address.
fn within<A: Address>(
    random: &mut Random,
    blocks: &[(u8, Vec<A>)],
    length: u8,
    any: impl Fn(&mut Random) -> A,
) -> A {
    let host = any(random);
    match blocks.iter().rfind(|(block_length, _)| *block_length <= length) {
        None => host,
        Some((block_length, level)) => {
            let behind = A::mask(*block_length) ^ A::mask(A::BITS);
            let network = level[random.below(level.len())] & A::mask(*block_length);
            network | (host & behind)
        }
    }
}

/// The length of route number `at`, counted through the table of lengths.
fn length_at(lengths: &[(u8, u32)], mut at: u32) -> u8 {
    for (length, routes) in lengths {
        if at < *routes {
            return *length;
        }
        at -= routes;
    }
    unreachable!("`at` is below the sum of the table")
}

/// `count` addresses, each within one of `routes`, drawn evenly. `routes` must not be empty.
#[must_use]
pub fn addresses_within<A: Address>(routes: &[Prefix<A>], seed: u64, count: usize) -> Vec<A> {
    let mut random = Random::new(seed);
    let one = |_| {
        let prefix = routes[random.below(routes.len())];
        let host = A::mask(prefix.length()) ^ A::mask(A::BITS);
        prefix.bits() | (random.address::<A>() & host)
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_the_lengths_of_the_internet_and_repeat_by_seed() {
        let routes = ipv4_routes(1, 50_000);
        assert_eq!(routes, ipv4_routes(1, 50_000));
        assert_ne!(routes, ipv4_routes(2, 50_000));
        let of_24 = routes.iter().filter(|route| route.length() == 24).count();
        assert!(
            (28_000..32_000).contains(&of_24),
            "{of_24} of 50,000 are /24, 59.6 % in the table"
        );
        assert!(routes.iter().all(|route| (1 << 24..224 << 24).contains(&route.bits())));
        let routes = ipv6_routes(1, 50_000);
        let of_48 = routes.iter().filter(|route| route.length() == 48).count();
        assert!(
            (22_000..25_500).contains(&of_48),
            "{of_48} of 50,000 are /48, 47.1 % in the table"
        );
        assert!(routes.iter().all(|route| route.bits() >> 125 == 1));
    }

    #[test]
    fn addresses_lie_within_their_routes() {
        let routes = ipv6_routes(3, 100);
        let addresses = addresses_within(&routes, 4, 1000);
        assert!(addresses.iter().all(|a| routes.iter().any(|route| route.contains(*a))));
    }
}
