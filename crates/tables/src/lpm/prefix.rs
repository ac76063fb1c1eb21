//! Addresses as numbers, and prefixes of them.

use std::fmt;
use std::hash::Hash;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::{BitAnd, BitOr, BitXor, Shl};

use ipnet::{Ipv4Net, Ipv6Net};

/// An address as an unsigned number in host order: `u32` for IPv4, `u128` for IPv6.
///
/// The trait is sealed: nothing else is an address.
pub trait Address:
    Copy
    + Default
    + Ord
    + Hash
    + Send
    + Sync
    + fmt::Debug
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Shl<u8, Output = Self>
    + sealed::Sealed
    + 'static
{
    /// Bits of an address.
    const BITS: u8;

    /// The number with the first `length` bits set; `length` is at most [`Self::BITS`].
    #[must_use]
    fn mask(length: u8) -> Self;

    /// The `count` bits (1 to 16) that start `offset` bits from the front (below
    /// [`Self::BITS`]); zeros follow the last bit.
    #[must_use]
    fn bits_at(self, offset: u8, count: u8) -> usize;

    /// An address of zeros but for `count` bits of `value` that start at `offset`: the inverse of
    /// [`Self::bits_at`].
    #[must_use]
    fn from_bits_at(value: usize, offset: u8, count: u8) -> Self;

    /// The high and the low 64 bits, for hashing.
    #[must_use]
    fn words(self) -> [u64; 2];
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u128 {}
}

macro_rules! address {
    ($number:ty, $words:expr, $bits_at:expr) => {
        impl Address for $number {
            const BITS: u8 = <$number>::BITS as u8;

            fn mask(length: u8) -> Self {
                <$number>::MAX.checked_shl(<$number>::BITS - u32::from(length)).unwrap_or(0)
            }

            #[inline(always)]
            fn bits_at(self, offset: u8, count: u8) -> usize {
                $bits_at(self, offset, count)
            }

            fn from_bits_at(value: usize, offset: u8, count: u8) -> Self {
                ((value as $number) << (<$number>::BITS - u32::from(count))) >> offset
            }

            #[inline]
            fn words(self) -> [u64; 2] {
                $words(self)
            }
        }
    };
}

address!(u32, |address: u32| [0, u64::from(address)], |address: u32, offset: u8, count: u8| {
    ((address << offset) >> (32 - count)) as usize
});
address!(
    u128,
    |address: u128| [(address >> 64) as u64, address as u64],
    |address: u128, offset: u8, count: u8| {
        // Lookups that go beyond the first half are rare, and one half needs half the instructions.
        match offset + count <= 64 {
            true => ((((address >> 64) as u64) << offset) >> (64 - count)) as usize,
            false => ((address << offset) >> (128 - count)) as usize,
        }
    }
);

/// A prefix in canonical form: the bits behind its length are zero.
///
/// Ordered by address, then shorter before longer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Prefix<A> {
    bits: A,
    length: u8,
}

impl<A: Address> Prefix<A> {
    /// The default route: the prefix of length 0.
    #[must_use]
    pub fn default_route() -> Self {
        Self::default()
    }

    /// The prefix of `length` bits that contains `bits`; `None` if `length` exceeds the address.
    #[must_use]
    pub fn new(bits: A, length: u8) -> Option<Self> {
        (length <= A::BITS).then(|| Self { bits: bits & A::mask(length), length })
    }

    /// The prefix of full length: one address.
    #[must_use]
    pub fn host(address: A) -> Self {
        Self { bits: address, length: A::BITS }
    }

    /// Its first address.
    #[must_use]
    pub fn bits(self) -> A {
        self.bits
    }

    /// Its length in bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// True if `address` lies within.
    #[must_use]
    pub fn contains(self, address: A) -> bool {
        address & A::mask(self.length) == self.bits
    }
}

impl From<Ipv4Net> for Prefix<u32> {
    fn from(net: Ipv4Net) -> Self {
        Self { bits: net.network().to_bits(), length: net.prefix_len() }
    }
}

impl From<Ipv6Net> for Prefix<u128> {
    fn from(net: Ipv6Net) -> Self {
        Self { bits: net.network().to_bits(), length: net.prefix_len() }
    }
}

impl From<Prefix<u32>> for Ipv4Net {
    fn from(prefix: Prefix<u32>) -> Self {
        Self::new_assert(Ipv4Addr::from_bits(prefix.bits), prefix.length)
    }
}

impl From<Prefix<u128>> for Ipv6Net {
    fn from(prefix: Prefix<u128>) -> Self {
        Self::new_assert(Ipv6Addr::from_bits(prefix.bits), prefix.length)
    }
}

impl<A: Address> fmt::Debug for Prefix<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [high, low] = self.bits.words();
        match A::BITS {
            32 => write!(formatter, "{}/{}", Ipv4Addr::from_bits(low as u32), self.length),
            _ => {
                let bits = u128::from(high) << 64 | u128::from(low);
                write!(formatter, "{}/{}", Ipv6Addr::from_bits(bits), self.length)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_are_cleared_and_lengths_checked() {
        let prefix = Prefix::new(0x0a01_02ff_u32, 24).unwrap();
        assert_eq!((prefix.bits(), prefix.length()), (0x0a01_0200, 24));
        assert_eq!(Prefix::new(u32::MAX, 0), Some(Prefix::default_route()));
        assert_eq!(Prefix::new(1u32, 33), None);
        assert_eq!(Prefix::new(1u128, 129), None);
        assert!(prefix.contains(0x0a01_02aa) && !prefix.contains(0x0a01_03aa));
    }

    #[test]
    fn converts_from_and_to_ipnet() {
        let net: Ipv4Net = "192.0.2.77/25".parse().unwrap();
        let prefix = Prefix::from(net);
        assert_eq!(format!("{prefix:?}"), "192.0.2.0/25");
        assert_eq!(Ipv4Net::from(prefix), net.trunc());
        let net: Ipv6Net = "2001:db8::1/33".parse().unwrap();
        let prefix = Prefix::from(net);
        assert_eq!(format!("{prefix:?}"), "2001:db8::/33");
        assert_eq!(Ipv6Net::from(prefix), net.trunc());
    }

    #[test]
    fn bits_are_read_and_written_at_any_offset() {
        for offset in 0..32 {
            let read = 0xdead_beef_u32.bits_at(offset, 6);
            assert_eq!(read as u64, (0xdead_beef_0000_0000_u64 << offset) >> 58);
        }
        assert_eq!(u128::from_bits_at(0x3f, 122, 6), 0x3f);
        assert_eq!(u32::from_bits_at(0x3f, 31, 6), 1);
        assert_eq!((u32::mask(0), u32::mask(32), u32::mask(1)), (0, u32::MAX, 1 << 31));
        assert_eq!((u128::mask(0), u128::mask(128)), (0, u128::MAX));
    }
}
