//! IPv4 (RFC 791, checks of RFC 1812 §5.2.2).

use core::net::Ipv4Addr;

use crate::checksum::{self, Sum};
use crate::field::{Fields, header_mut};
use crate::ip::{Ecn, Protocol};
use crate::option::Options;
use crate::{Malformed, checksum::update_u16};

/// Bytes of a header without options.
pub const HEADER_LENGTH_MIN: usize = 20;

/// Bytes of a header with all the options that fit.
pub const HEADER_LENGTH_MAX: usize = 60;

/// Type byte of the router alert option (RFC 2113).
pub const OPTION_ROUTER_ALERT: u8 = 148;
/// Type byte of the record route option.
pub const OPTION_RECORD_ROUTE: u8 = 7;
/// Type byte of the timestamp option.
pub const OPTION_TIMESTAMP: u8 = 68;
/// Type byte of loose source and record route.
pub const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
/// Type byte of strict source and record route.
pub const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;

const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A packet: header, options, and as much payload as the total length states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: Fields<'a, HEADER_LENGTH_MIN>,
    options: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version and lengths. Bytes beyond the total length (Ethernet padding) are left out.
    /// The checksum is not looked at: see [`Packet::verify_checksum`].
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer bytes than the header or the total length
    /// says, [`Malformed::BadVersion`], [`Malformed::BadHeaderLength`] when IHL is below 5,
    /// [`Malformed::BadTotalLength`] when the total length is below the header's.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, behind) = Fields::<HEADER_LENGTH_MIN>::split(bytes)?;
        let first = header.u8::<0>();
        if first >> 4 != 4 {
            return Err(Malformed::BadVersion);
        }
        let header_length = usize::from(first & 0x0f) * 4;
        let options_length =
            header_length.checked_sub(HEADER_LENGTH_MIN).ok_or(Malformed::BadHeaderLength)?;
        let total_length = usize::from(header.u16::<2>());
        let payload_length =
            total_length.checked_sub(header_length).ok_or(Malformed::BadTotalLength)?;
        let (options, behind) =
            behind.split_at_checked(options_length).ok_or(Malformed::Truncated)?;
        let payload = behind.get(..payload_length).ok_or(Malformed::Truncated)?;
        Ok(Self { header, options, payload })
    }

    /// Header length in bytes, options included: 20..=60.
    #[inline]
    pub const fn header_length(&self) -> usize {
        HEADER_LENGTH_MIN + self.options.len()
    }

    /// Total length in bytes: header, options and payload.
    #[inline]
    pub const fn total_length(&self) -> u16 {
        self.header.u16::<2>()
    }

    /// The TOS byte as a whole: DSCP and ECN.
    #[inline]
    pub const fn traffic_class(&self) -> u8 {
        self.header.u8::<1>()
    }

    /// Differentiated services codepoint (RFC 2474), 0..=63.
    #[inline]
    pub const fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// Explicit congestion notification.
    #[inline]
    pub const fn ecn(&self) -> Ecn {
        Ecn::from_bits(self.traffic_class())
    }

    /// Identification, which fragments of one packet share.
    #[inline]
    pub const fn identification(&self) -> u16 {
        self.header.u16::<4>()
    }

    /// The reserved bit of the flags, which must be zero.
    #[inline]
    pub const fn reserved_flag(&self) -> bool {
        self.header.u16::<6>() & RESERVED != 0
    }

    /// The DF bit.
    #[inline]
    pub const fn dont_fragment(&self) -> bool {
        self.header.u16::<6>() & DONT_FRAGMENT != 0
    }

    /// The MF bit.
    #[inline]
    pub const fn more_fragments(&self) -> bool {
        self.header.u16::<6>() & MORE_FRAGMENTS != 0
    }

    /// Where the payload stands in the whole packet's, in bytes: a multiple of 8, at most 65,528.
    #[inline]
    pub const fn fragment_offset(&self) -> u16 {
        (self.header.u16::<6>() & FRAGMENT_OFFSET) << 3
    }

    /// Whether the packet is a fragment: the first, a middle or the last one.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.header.u16::<6>() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// Time to live, in hops.
    #[inline]
    pub const fn ttl(&self) -> u8 {
        self.header.u8::<8>()
    }

    /// The protocol of the payload.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        Protocol(self.header.u8::<9>())
    }

    /// The header checksum as it stands in the packet.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.header.u16::<10>()
    }

    /// Whether the header checksum is right. Cost: a pass over the header.
    #[inline]
    pub fn verify_checksum(&self) -> bool {
        Sum::new().add_bytes(self.header.bytes()).add_bytes(self.options).is_valid()
    }

    /// Source address.
    #[inline]
    pub const fn source(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.header.array::<12, 4>();
        Ipv4Addr::new(a, b, c, d)
    }

    /// Destination address.
    #[inline]
    pub const fn destination(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.header.array::<16, 4>();
        Ipv4Addr::new(a, b, c, d)
    }

    /// Whether the header is longer than 20 bytes.
    #[inline]
    pub const fn has_options(&self) -> bool {
        !self.options.is_empty()
    }

    /// The options, padding left out.
    #[inline]
    pub const fn options(&self) -> Options<'a> {
        Options::new(self.options)
    }

    /// Whether the router alert option asks routers to look closer (RFC 2113). Options behind a
    /// malformed one are not seen.
    pub fn has_router_alert(&self) -> bool {
        let mut options = self.options().map_while(Result::ok);
        options.any(|option| option.kind == OPTION_ROUTER_ALERT)
    }

    /// What the header carries; of a fragment that is not the first it has no transport header.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Takes one hop off the TTL, updates the checksum (RFC 1624) and returns the new TTL.
///
/// A TTL of 0 stays as it is: a router discards such a packet before it comes here (RFC 1812
/// §5.3.1). `packet` starts at the IPv4 header, of which [`Packet::new`] has approved.
///
/// # Errors
/// [`Malformed::Truncated`] below 20 bytes.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) -> Result<u8, Malformed> {
    let header = header_mut::<HEADER_LENGTH_MIN>(packet)?;
    let Some(ttl) = header[8].checked_sub(1) else { return Ok(0) };
    // The word of TTL and protocol has become 0x0100 less: RFC 1624 eqn. 3, put together.
    let sum = u32::from(u16::from_be_bytes([header[10], header[11]])) + 0x0100;
    let checksum = (sum + u32::from(sum >= 0xffff)) as u16;
    header[8] = ttl;
    [header[10], header[11]] = checksum.to_be_bytes();
    Ok(ttl)
}

/// Writes the TTL and updates the checksum.
///
/// # Errors
/// [`Malformed::Truncated`] below 20 bytes.
#[inline]
pub fn set_ttl(packet: &mut [u8], ttl: u8) -> Result<(), Malformed> {
    let header = header_mut::<HEADER_LENGTH_MIN>(packet)?;
    replace_word::<8>(header, [ttl, header[9]]);
    Ok(())
}

/// Writes the DSCP (0..=63, excess bits are cut), leaves ECN as it is, updates the checksum.
///
/// # Errors
/// [`Malformed::Truncated`] below 20 bytes.
#[inline]
pub fn set_dscp(packet: &mut [u8], dscp: u8) -> Result<(), Malformed> {
    let header = header_mut::<HEADER_LENGTH_MIN>(packet)?;
    replace_word::<0>(header, [header[0], dscp << 2 | header[1] & 0b11]);
    Ok(())
}

/// Writes the ECN field, leaves the DSCP as it is, updates the checksum.
///
/// # Errors
/// [`Malformed::Truncated`] below 20 bytes.
#[inline]
pub fn set_ecn(packet: &mut [u8], ecn: Ecn) -> Result<(), Malformed> {
    let header = header_mut::<HEADER_LENGTH_MIN>(packet)?;
    replace_word::<0>(header, [header[0], header[1] & !0b11 | ecn.bits()]);
    Ok(())
}

/// Writes the checksum field as given.
///
/// # Errors
/// [`Malformed::Truncated`] below 20 bytes.
#[inline]
pub fn set_checksum(packet: &mut [u8], checksum: u16) -> Result<(), Malformed> {
    let header = header_mut::<HEADER_LENGTH_MIN>(packet)?;
    [header[10], header[11]] = checksum.to_be_bytes();
    Ok(())
}

/// Computes the header checksum anew, over as many bytes as IHL says, and writes it.
///
/// # Errors
/// [`Malformed::BadHeaderLength`] when IHL is below 5, [`Malformed::Truncated`] when the header is
/// cut off; the packet is then unchanged.
pub fn fill_checksum(packet: &mut [u8]) -> Result<(), Malformed> {
    let first = *packet.first().ok_or(Malformed::Truncated)?;
    let length = usize::from(first & 0x0f) * 4;
    if length < HEADER_LENGTH_MIN {
        return Err(Malformed::BadHeaderLength);
    }
    let header = packet.get_mut(..length).ok_or(Malformed::Truncated)?;
    set_checksum(header, 0)?;
    set_checksum(header, checksum::checksum(header))
}

/// Replaces an aligned 16-bit word of the header, and the checksum accordingly.
#[inline]
fn replace_word<const AT: usize>(header: &mut [u8; HEADER_LENGTH_MIN], new: [u8; 2]) {
    const { assert!(AT.is_multiple_of(2) && AT < 10) };
    let old = u16::from_be_bytes([header[AT], header[AT + 1]]);
    let checksum = u16::from_be_bytes([header[10], header[11]]);
    let checksum = update_u16(checksum, old, u16::from_be_bytes(new));
    [header[AT], header[AT + 1]] = new;
    [header[10], header[11]] = checksum.to_be_bytes();
}
