//! UDP (RFC 768; over IPv6: RFC 8200 §8.1).

use crate::Malformed;
use crate::checksum::Sum;
use crate::field::Fields;

/// Bytes of the header.
pub const HEADER_LENGTH: usize = 8;

/// A datagram: header, and as much payload as its length states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    header: Fields<'a, HEADER_LENGTH>,
    payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Over the payload of an IP packet. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer bytes than the header or the length says,
    /// [`Malformed::BadTotalLength`] when the length is below 8.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, behind) = Fields::<HEADER_LENGTH>::split(bytes)?;
        let length = usize::from(header.u16::<4>());
        let length = length.checked_sub(HEADER_LENGTH).ok_or(Malformed::BadTotalLength)?;
        let payload = behind.get(..length).ok_or(Malformed::Truncated)?;
        Ok(Self { header, payload })
    }

    /// Source port.
    #[inline]
    pub const fn source_port(&self) -> u16 {
        self.header.u16::<0>()
    }

    /// Destination port.
    #[inline]
    pub const fn destination_port(&self) -> u16 {
        self.header.u16::<2>()
    }

    /// Bytes of header and payload.
    #[inline]
    pub const fn length(&self) -> u16 {
        self.header.u16::<4>()
    }

    /// The checksum as it stands in the datagram; 0 over IPv4 means that there is none.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.header.u16::<6>()
    }

    /// Whether the checksum is right with this pseudo-header, made for [`Datagram::length`]. A
    /// checksum of 0 is not: the caller knows whether it may be absent. Cost: a pass over the
    /// datagram.
    pub fn verify_checksum(&self, pseudo_header: Sum) -> bool {
        let sum = pseudo_header.add_bytes(self.header.bytes()).add_bytes(self.payload);
        self.checksum() != 0 && sum.is_valid()
    }

    /// The data.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_cuts_padding_off_and_is_checked() {
        let mut bytes = [0, 53, 0x30, 0x39, 0, 10, 0xab, 0xcd, 1, 2, 0, 0];
        let datagram = Datagram::new(&bytes).unwrap();
        assert_eq!((datagram.source_port(), datagram.destination_port()), (53, 12345));
        assert_eq!((datagram.length(), datagram.checksum()), (10, 0xabcd));
        assert_eq!(datagram.payload(), [1, 2]);
        bytes[5] = 7;
        assert_eq!(Datagram::new(&bytes), Err(Malformed::BadTotalLength));
        bytes[5] = 13;
        assert_eq!(Datagram::new(&bytes), Err(Malformed::Truncated));
        assert_eq!(Datagram::new(&bytes[..7]), Err(Malformed::Truncated));
    }

    #[test]
    fn an_absent_checksum_is_not_a_right_one() {
        // These words sum up to 0xffff with the checksum field at zero.
        let bytes = [0xff, 0xf7, 0, 0, 0, 8, 0, 0];
        assert!(crate::checksum::verify(&bytes));
        assert!(!Datagram::new(&bytes).unwrap().verify_checksum(Sum::new()));
    }
}
