//! Ethernet II framing (IEEE 802.3 clause 3, RFC 894, RFC 2464).

use crate::field::{Fields, header_mut};
use crate::{MacAddress, Malformed};

/// Bytes of an untagged Ethernet header; the frame check sequence is the NIC's own.
pub const HEADER_LENGTH: usize = 14;

/// The shortest frame without its frame check sequence; shorter ones are padded by the sender.
pub const FRAME_LENGTH_MIN: usize = 60;

/// The type field of a frame or of a VLAN tag.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4 (RFC 894).
    pub const IPV4: Self = Self(0x0800);
    /// ARP (RFC 826).
    pub const ARP: Self = Self(0x0806);
    /// 802.1Q customer tag (C-TAG).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6 (RFC 2464).
    pub const IPV6: Self = Self(0x86dd);
    /// MPLS unicast (RFC 3032).
    pub const MPLS: Self = Self(0x8847);
    /// 802.1ad service tag (S-TAG).
    pub const SERVICE_VLAN: Self = Self(0x88a8);
    /// LLDP (IEEE 802.1AB).
    pub const LLDP: Self = Self(0x88cc);

    /// Whether it introduces a VLAN tag.
    #[inline]
    pub const fn is_vlan(self) -> bool {
        matches!(self, Self::VLAN | Self::SERVICE_VLAN)
    }

    /// Whether the field is a length instead: 802.3 with LLC, as spanning tree and IS-IS use it.
    #[inline]
    pub const fn is_length(self) -> bool {
        self.0 < 0x0600
    }
}

impl core::fmt::Debug for EtherType {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// A frame with its Ethernet header. VLAN tags are part of the payload here: see [`crate::vlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    header: Fields<'a, HEADER_LENGTH>,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks that the header is there.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below [`HEADER_LENGTH`] bytes.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = Fields::split(bytes)?;
        Ok(Self { header, payload })
    }

    /// Destination address.
    #[inline]
    pub const fn destination(&self) -> MacAddress {
        MacAddress::new(self.header.array::<0, 6>())
    }

    /// Source address.
    #[inline]
    pub const fn source(&self) -> MacAddress {
        MacAddress::new(self.header.array::<6, 6>())
    }

    /// The type field: of the payload, or of the outer VLAN tag.
    #[inline]
    pub const fn ethertype(&self) -> EtherType {
        EtherType(self.header.u16::<12>())
    }

    /// What follows the header, padding included.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Writes both addresses: what a router does to every packet that it forwards.
///
/// # Errors
/// [`Malformed::Truncated`] below [`HEADER_LENGTH`] bytes.
#[inline]
pub fn set_addresses(
    frame: &mut [u8],
    destination: MacAddress,
    source: MacAddress,
) -> Result<(), Malformed> {
    let header = header_mut::<HEADER_LENGTH>(frame)?;
    header[..6].copy_from_slice(&destination.octets());
    header[6..12].copy_from_slice(&source.octets());
    Ok(())
}

/// Writes the destination address.
///
/// # Errors
/// [`Malformed::Truncated`] below [`HEADER_LENGTH`] bytes.
#[inline]
pub fn set_destination(frame: &mut [u8], destination: MacAddress) -> Result<(), Malformed> {
    header_mut::<HEADER_LENGTH>(frame)?[..6].copy_from_slice(&destination.octets());
    Ok(())
}

/// Writes the source address.
///
/// # Errors
/// [`Malformed::Truncated`] below [`HEADER_LENGTH`] bytes.
#[inline]
pub fn set_source(frame: &mut [u8], source: MacAddress) -> Result<(), Malformed> {
    header_mut::<HEADER_LENGTH>(frame)?[6..12].copy_from_slice(&source.octets());
    Ok(())
}

/// Writes the type field that follows the addresses.
///
/// # Errors
/// [`Malformed::Truncated`] below [`HEADER_LENGTH`] bytes.
#[inline]
pub fn set_ethertype(frame: &mut [u8], ethertype: EtherType) -> Result<(), Malformed> {
    header_mut::<HEADER_LENGTH>(frame)?[12..].copy_from_slice(&ethertype.0.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_where_the_standard_puts_them() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0x86, 0xdd, 0xaa];
        let frame = Frame::new(&bytes).unwrap();
        assert_eq!(frame.destination().octets(), [1, 2, 3, 4, 5, 6]);
        assert_eq!(frame.source().octets(), [7, 8, 9, 10, 11, 12]);
        assert_eq!(frame.ethertype(), EtherType::IPV6);
        assert_eq!(frame.payload(), [0xaa]);
        assert_eq!(Frame::new(&bytes[..13]), Err(Malformed::Truncated));
    }

    #[test]
    fn setters_touch_their_field_only() {
        let mut bytes = [0xee; 15];
        set_addresses(&mut bytes, MacAddress::new([1; 6]), MacAddress::new([2; 6])).unwrap();
        assert_eq!(bytes[..13], [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0xee]);
        set_ethertype(&mut bytes, EtherType::ARP).unwrap();
        set_destination(&mut bytes, MacAddress::new([3; 6])).unwrap();
        set_source(&mut bytes, MacAddress::new([4; 6])).unwrap();
        assert_eq!(bytes, [3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 8, 6, 0xee]);
        assert_eq!(set_ethertype(&mut bytes[..13], EtherType::ARP), Err(Malformed::Truncated));
    }
}
