//! TCP, as much of it as a router looks at (RFC 9293 §3.1).

use crate::Malformed;
use crate::checksum::Sum;
use crate::field::Fields;
use crate::option::Options;

/// Bytes of a header without options.
pub const HEADER_LENGTH_MIN: usize = 20;

/// Kind of the maximum segment size option.
pub const OPTION_MAXIMUM_SEGMENT_SIZE: u8 = 2;
/// Kind of the window scale option (RFC 7323).
pub const OPTION_WINDOW_SCALE: u8 = 3;
/// Kind of the SACK-permitted option (RFC 2018).
pub const OPTION_SACK_PERMITTED: u8 = 4;
/// Kind of the timestamps option (RFC 7323).
pub const OPTION_TIMESTAMPS: u8 = 8;

/// The control bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    header: Fields<'a, HEADER_LENGTH_MIN>,
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Over the payload of an IP packet. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer bytes than the data offset says,
    /// [`Malformed::BadHeaderLength`] when the data offset is below 5.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, behind) = Fields::<HEADER_LENGTH_MIN>::split(bytes)?;
        let header_length = usize::from(header.u8::<12>() >> 4) * 4;
        let options_length =
            header_length.checked_sub(HEADER_LENGTH_MIN).ok_or(Malformed::BadHeaderLength)?;
        let (options, payload) =
            behind.split_at_checked(options_length).ok_or(Malformed::Truncated)?;
        Ok(Self { header, options, payload })
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

    /// Sequence number.
    #[inline]
    pub const fn sequence_number(&self) -> u32 {
        self.header.u32::<4>()
    }

    /// Acknowledgement number, which counts with [`Flags::ACK`].
    #[inline]
    pub const fn acknowledgment_number(&self) -> u32 {
        self.header.u32::<8>()
    }

    /// Header length in bytes, options included: 20..=60.
    #[inline]
    pub const fn header_length(&self) -> usize {
        HEADER_LENGTH_MIN + self.options.len()
    }

    /// The control bits.
    #[inline]
    pub const fn flags(&self) -> Flags {
        Flags(self.header.u8::<13>())
    }

    /// The window field, not scaled.
    #[inline]
    pub const fn window(&self) -> u16 {
        self.header.u16::<14>()
    }

    /// The checksum as it stands in the segment.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.header.u16::<16>()
    }

    /// Whether the checksum is right with this pseudo-header, made for the length of the whole
    /// segment. Cost: a pass over the segment.
    pub fn verify_checksum(&self, pseudo_header: Sum) -> bool {
        let header = pseudo_header.add_bytes(self.header.bytes()).add_bytes(self.options);
        header.add_bytes(self.payload).is_valid()
    }

    /// The urgent pointer, which counts with [`Flags::URG`].
    #[inline]
    pub const fn urgent_pointer(&self) -> u16 {
        self.header.u16::<18>()
    }

    /// The options, padding left out.
    #[inline]
    pub const fn options(&self) -> Options<'a> {
        Options::new(self.options)
    }

    /// The maximum segment size option in bytes, if it is there and well formed.
    pub fn maximum_segment_size(&self) -> Option<u16> {
        let mut options = self.options().map_while(Result::ok);
        let option = options.find(|option| option.kind == OPTION_MAXIMUM_SEGMENT_SIZE)?;
        option.data.try_into().ok().map(u16::from_be_bytes)
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

    fn syn(data_offset: u8) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[..8].copy_from_slice(&[0, 80, 0xc0, 0, 1, 2, 3, 4]);
        bytes[12] = data_offset << 4;
        bytes[13] = 0x12;
        bytes.extend([2, 4, 0x05, 0xb4, 0xaa]);
        bytes
    }

    #[test]
    fn fields_stand_where_the_rfc_puts_them() {
        let bytes = syn(6);
        let segment = Segment::new(&bytes).unwrap();
        assert_eq!((segment.source_port(), segment.destination_port()), (80, 0xc000));
        assert_eq!(segment.sequence_number(), 0x0102_0304);
        assert_eq!(segment.flags(), Flags::SYN | Flags::ACK);
        assert!(segment.flags().contains(Flags::SYN | Flags::ACK));
        assert!(!segment.flags().contains(Flags::SYN | Flags::RST));
        assert_eq!((segment.header_length(), segment.payload()), (24, &[0xaa][..]));
        assert_eq!(segment.maximum_segment_size(), Some(1460));
    }

    #[test]
    fn the_data_offset_is_checked() {
        assert_eq!(Segment::new(&syn(4)), Err(Malformed::BadHeaderLength));
        assert_eq!(Segment::new(&syn(7)), Err(Malformed::Truncated));
        assert_eq!(Segment::new(&syn(6)[..19]), Err(Malformed::Truncated));
    }
}
