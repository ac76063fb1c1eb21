//! The Internet checksum: whole (RFC 1071) and incremental (RFC 1624).
//!
//! The sum is the one's complement of 16-bit words. RFC 1071 §2 gives the two properties that make
//! it fast: the byte order of the words does not matter as long as the result is swapped once, and
//! wider words may be added as long as the carries come back in. So bytes are added eight at a time
//! in the machine's own order, into a `u64` with end-around carry, and folded to 16 bits at the end.
//!
//! In one's complement zero has two forms. A header that is not all zeroes never sums to +0, so a
//! computed checksum is never 0xffff. RFC 1141's update can produce it where a full computation gives
//! 0x0000; RFC 1624 §3 corrects this with HC' = ~(~HC + ~m + m'), which is what is used here.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::ip::Protocol;

/// A running sum over pieces of a packet. Cost: about one addition for each 8 bytes.
///
/// Every piece but the last must have an even length, since words may not straddle pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// The empty sum.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes; an odd last one counts as the high half of a word (RFC 1071 §1).
    #[inline]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        let (words, tail) = bytes.as_chunks::<8>();
        let mut sum = self.0;
        for word in words {
            sum = add_with_carry(sum, u64::from_ne_bytes(*word));
        }
        if !tail.is_empty() {
            let mut last = [0; 8];
            last[..tail.len()].copy_from_slice(tail);
            sum = add_with_carry(sum, u64::from_ne_bytes(last));
        }
        Self(sum)
    }

    /// Adds one 16-bit word.
    #[inline]
    pub const fn add_u16(self, word: u16) -> Self {
        Self(add_with_carry(self.0, word.to_be() as u64))
    }

    /// The sum itself, folded to 16 bits and not complemented.
    #[inline]
    pub const fn fold(self) -> u16 {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        u16::from_be(sum as u16)
    }

    /// The checksum to put in the field, which must have counted as zero.
    #[inline]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// Whether the sum, taken with the checksum field in it, is right.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

#[inline]
const fn add_with_carry(sum: u64, word: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(word);
    sum + carry as u64
}

/// The checksum of `bytes`, whose checksum field must be zero.
#[inline]
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::new().add_bytes(bytes).finish()
}

/// Whether `bytes`, with their checksum field, sum up right.
#[inline]
#[must_use]
pub fn verify(bytes: &[u8]) -> bool {
    Sum::new().add_bytes(bytes).is_valid()
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 §3.1, RFC 768). `length` counts the
/// transport header and its payload.
#[inline]
pub fn pseudo_header_v4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: Protocol,
    length: u16,
) -> Sum {
    let addresses = Sum::new().add_bytes(&source.octets()).add_bytes(&destination.octets());
    addresses.add_u16(u16::from(protocol.0)).add_u16(length)
}

/// The pseudo-header over IPv6 (RFC 8200 §8.1). `length` counts the upper-layer header and its
/// payload; `protocol` is the upper layer's own, not the fixed header's next header.
#[inline]
pub fn pseudo_header_v6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: Protocol,
    length: u32,
) -> Sum {
    let addresses = Sum::new().add_bytes(&source.octets()).add_bytes(&destination.octets());
    addresses.add_bytes(&length.to_be_bytes()).add_u16(u16::from(protocol.0))
}

/// The checksum after a covered 16-bit word went from `old` to `new` (RFC 1624 eqn. 3).
///
/// For UDP over IPv4 leave a zero field alone, which means "no checksum", and write 0xffff where
/// this gives zero (RFC 768).
#[inline]
#[must_use]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    let mut sum = !checksum as u32 + !old as u32 + new as u32;
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}

/// The checksum after a covered, aligned 32-bit word changed, an IPv4 address for instance.
#[inline]
#[must_use]
pub const fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    let high = update_u16(checksum, (old >> 16) as u16, (new >> 16) as u16);
    update_u16(high, old as u16, new as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 §1 taken literally, as the twin of the fast sum.
    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn rfc_1071_section_3_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().add_bytes(&bytes).fold(), 0xddf2);
        assert_eq!(checksum(&bytes), 0x220d);
    }

    #[test]
    fn rfc_1624_section_4_example() {
        // HC = 0xdd2f, m = 0x5555 becomes 0x3285: eqn. 2 gave 0xffff, eqn. 3 gives 0x0000.
        assert_eq!(update_u16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn all_zero_bytes_have_the_sum_zero() {
        assert_eq!(Sum::new().add_bytes(&[0; 20]).fold(), 0);
        assert!(!verify(&[0; 20]));
    }

    proptest! {
        #[test]
        fn fast_and_plain_sums_agree(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Sum::new().add_bytes(&bytes).fold(), plain(&bytes));
        }

        #[test]
        fn carries_are_never_lost(length in 0_usize..300, fill in prop::sample::select(vec![0xff, 0xfe, 0x80])) {
            let bytes = vec![fill; length];
            prop_assert_eq!(Sum::new().add_bytes(&bytes).fold(), plain(&bytes));
        }

        #[test]
        fn pieces_of_even_length_may_be_added_apart(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0_usize..100,
        ) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let apart = Sum::new().add_bytes(&bytes[..cut]).add_bytes(&bytes[cut..]);
            prop_assert_eq!(apart.fold(), Sum::new().add_bytes(&bytes).fold());
        }

        #[test]
        fn an_update_equals_a_new_computation(
            mut bytes in prop::collection::vec(any::<u8>(), 8..64),
            word in 0_usize..4,
            new in any::<u16>(),
        ) {
            // A first byte that is not zero, as in every IP header, keeps the sum from being +0.
            bytes[0] = 0x45;
            let before = checksum(&bytes);
            let at = if word == 0 { 2 } else { word * 2 };
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update_u16(before, old, new), checksum(&bytes));
        }

        #[test]
        fn a_wide_update_equals_a_new_computation(
            mut bytes in prop::collection::vec(any::<u8>(), 8..64),
            new in any::<u32>(),
        ) {
            bytes[0] = 0x45;
            let before = checksum(&bytes);
            let old = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            bytes[4..8].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update_u32(before, old, new), checksum(&bytes));
        }
    }
}
