//! IPv6, the fixed header (RFC 8200 §3). The chain behind it: [`crate::ipv6_extension`].

use core::net::Ipv6Addr;

use crate::Malformed;
use crate::field::{Fields, header_mut};
use crate::ip::{Ecn, Protocol};
use crate::ipv6_extension::{self, TlvOptions, UpperLayer};

/// Bytes of the fixed header.
pub const HEADER_LENGTH: usize = 40;

/// The MTU that every IPv6 link has at least (RFC 8200 §5), in bytes.
pub const MTU_MIN: u16 = 1280;

/// A packet: fixed header, and as much payload as the payload length states.
///
/// Jumbograms (RFC 2675) are not understood: their payload length is zero, and so is the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: Fields<'a, HEADER_LENGTH>,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Checks version and length. Bytes beyond the payload length (Ethernet padding) are left out.
    /// Extension headers are not looked at: see [`Packet::upper_layer`].
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer bytes than the header or the payload length
    /// says, [`Malformed::BadVersion`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, behind) = Fields::<HEADER_LENGTH>::split(bytes)?;
        if header.u8::<0>() >> 4 != 6 {
            return Err(Malformed::BadVersion);
        }
        let payload_length = usize::from(header.u16::<4>());
        let payload = behind.get(..payload_length).ok_or(Malformed::Truncated)?;
        Ok(Self { header, payload })
    }

    /// The traffic class byte: DSCP and ECN.
    #[inline]
    pub const fn traffic_class(&self) -> u8 {
        (self.header.u16::<0>() >> 4) as u8
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

    /// Flow label, 20 bits; 0 means that the sender set none (RFC 6437).
    #[inline]
    pub const fn flow_label(&self) -> u32 {
        self.header.u32::<0>() & 0x000f_ffff
    }

    /// Bytes behind the fixed header, extension headers included.
    #[inline]
    pub const fn payload_length(&self) -> u16 {
        self.header.u16::<4>()
    }

    /// Bytes of header and payload together.
    #[inline]
    pub const fn total_length(&self) -> usize {
        HEADER_LENGTH + self.payload.len()
    }

    /// What stands right behind the fixed header: an extension header or the upper layer.
    #[inline]
    pub const fn next_header(&self) -> Protocol {
        Protocol(self.header.u8::<6>())
    }

    /// Hop limit.
    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        self.header.u8::<7>()
    }

    /// Source address.
    #[inline]
    pub const fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.header.array::<8, 16>()))
    }

    /// Destination address: the final one only if no routing header says otherwise.
    #[inline]
    pub const fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from_be_bytes(self.header.array::<24, 16>()))
    }

    /// What follows the fixed header.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Walks over at most `headers_max` extension headers to the upper layer. Without extension
    /// headers this costs one comparison.
    ///
    /// # Errors
    /// As [`UpperLayer::find`].
    #[inline]
    pub fn upper_layer(&self, headers_max: usize) -> Result<UpperLayer<'a>, Malformed> {
        UpperLayer::find(self.next_header(), self.payload, headers_max)
    }

    /// The options that every router on the path is to look at, if the packet has any.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when the hop-by-hop header is cut off.
    pub fn hop_by_hop_options(&self) -> Result<Option<TlvOptions<'a>>, Malformed> {
        if self.next_header() != Protocol::HOP_BY_HOP {
            return Ok(None);
        }
        ipv6_extension::Header::new(Protocol::HOP_BY_HOP, self.payload)
            .map(|header| Some(header.options()))
    }
}

/// Takes one hop off the hop limit and returns what is left. There is no checksum to keep.
///
/// A hop limit of 0 stays as it is: a router discards such a packet before it comes here (RFC 8200
/// §3). `packet` starts at the IPv6 header, of which [`Packet::new`] has approved.
///
/// # Errors
/// [`Malformed::Truncated`] below 40 bytes.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) -> Result<u8, Malformed> {
    let header = header_mut::<HEADER_LENGTH>(packet)?;
    header[7] = header[7].saturating_sub(1);
    Ok(header[7])
}

/// Writes the hop limit.
///
/// # Errors
/// [`Malformed::Truncated`] below 40 bytes.
#[inline]
pub fn set_hop_limit(packet: &mut [u8], hop_limit: u8) -> Result<(), Malformed> {
    header_mut::<HEADER_LENGTH>(packet)?[7] = hop_limit;
    Ok(())
}

/// Writes the DSCP (0..=63, excess bits are cut) and leaves ECN as it is.
///
/// # Errors
/// [`Malformed::Truncated`] below 40 bytes.
#[inline]
pub fn set_dscp(packet: &mut [u8], dscp: u8) -> Result<(), Malformed> {
    let header = header_mut::<HEADER_LENGTH>(packet)?;
    set_traffic_class(header, dscp << 2 | traffic_class(header) & 0b11);
    Ok(())
}

/// Writes the ECN field and leaves the DSCP as it is.
///
/// # Errors
/// [`Malformed::Truncated`] below 40 bytes.
#[inline]
pub fn set_ecn(packet: &mut [u8], ecn: Ecn) -> Result<(), Malformed> {
    let header = header_mut::<HEADER_LENGTH>(packet)?;
    set_traffic_class(header, traffic_class(header) & !0b11 | ecn.bits());
    Ok(())
}

#[inline]
const fn traffic_class(header: &[u8; HEADER_LENGTH]) -> u8 {
    header[0] << 4 | header[1] >> 4
}

/// The traffic class straddles two bytes, between the version and the flow label.
#[inline]
fn set_traffic_class(header: &mut [u8; HEADER_LENGTH], traffic_class: u8) {
    header[0] = header[0] & 0xf0 | traffic_class >> 4;
    header[1] = header[1] & 0x0f | traffic_class << 4;
}
