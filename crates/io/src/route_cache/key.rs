//! What an entry is found by, the same in the classifier and in a worker.

use std::net::IpAddr;

/// The two families, as they stand in a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

/// Port and family in one number, never 0.
pub(crate) fn in_key(in_port: u16, family: Family) -> u32 {
    let family = match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 2,
    };
    u32::from(in_port) | family << 16
}

/// Odd, with as many ones as zeros: 2^64 divided by the golden ratio.
pub(crate) const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// What an entry is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) in_key: u32,
    /// The address as the program loads it from the packet; an IPv4 address is one word.
    pub(super) destination: [u64; 2],
}

impl Key {
    pub(super) fn new(in_port: u16, destination: IpAddr) -> Self {
        match destination {
            IpAddr::V4(address) => Self {
                in_key: in_key(in_port, Family::Ipv4),
                destination: [u64::from(u32::from_ne_bytes(address.octets())), 0],
            },
            IpAddr::V6(address) => {
                let bits = u128::from_ne_bytes(address.octets());
                let (low, high) = (bits as u64, (bits >> 64) as u64);
                // The word at the lower address first.
                let words = if cfg!(target_endian = "little") { [low, high] } else { [high, low] };
                Self { in_key: in_key(in_port, Family::Ipv6), destination: words }
            }
        }
    }

    pub(super) fn in_port(&self) -> u16 {
        self.in_key as u16
    }

    pub(super) fn address(&self) -> IpAddr {
        if self.in_key == in_key(self.in_port(), Family::Ipv4) {
            return IpAddr::from((self.destination[0] as u32).to_ne_bytes());
        }
        let mut octets = [0; 16];
        for (octets, word) in octets.chunks_exact_mut(8).zip(self.destination) {
            octets.copy_from_slice(&word.to_ne_bytes());
        }
        IpAddr::from(octets)
    }

    /// The number of the set, by `seed` and the upper bits from `shift` on.
    pub(super) fn set(&self, seed: u64, shift: u32) -> usize {
        let hash = (self.destination[0] ^ seed).wrapping_mul(MIX);
        let hash = (hash ^ hash >> 32 ^ self.destination[1]).wrapping_mul(MIX);
        (hash >> shift) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_was_made_of() {
        for address in ["192.0.2.1", "0.0.0.0", "2001:db8::1", "::", "::ffff:192.0.2.1"] {
            let address: IpAddr = address.parse().expect("an address");
            let key = Key::new(7, address);
            assert_eq!((key.in_port(), key.address()), (7, address));
        }
        let (a, b) = ("192.0.2.1".parse().expect("v4"), "::c000:201".parse().expect("v6"));
        assert_ne!(Key::new(1, a), Key::new(1, b), "families are told apart");
    }

    #[test]
    fn neighbouring_addresses_spread_over_the_sets() {
        const SETS: usize = 1 << 10;
        let mut used = [0_u32; SETS];
        for host in 0..SETS as u32 {
            let key = Key::new(0, IpAddr::from((0xcb00_0000 + host).to_be_bytes()));
            used[key.set(0x5eed, 64 - SETS.ilog2())] += 1;
        }
        // A random function would leave 1/e of the sets empty.
        assert!(used.iter().filter(|&&count| count == 0).count() < SETS / 2);
        assert!(used.iter().all(|&count| count < 8), "{used:?}");
    }
}
