//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::ethernet::EtherType;
use crate::field::Fields;
use crate::{MacAddress, Malformed};

/// Bytes of a packet with 6-byte hardware and 4-byte protocol addresses.
pub const PACKET_LENGTH: usize = 28;

/// Hardware type of Ethernet (IANA arp-parameters).
pub const HARDWARE_TYPE_ETHERNET: u16 = 1;

/// What the packet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Operation(pub u16);

impl Operation {
    /// Who has the target address?
    pub const REQUEST: Self = Self(1);
    /// The sender has its address.
    pub const REPLY: Self = Self(2);
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    fields: Fields<'a, PACKET_LENGTH>,
}

impl<'a> Packet<'a> {
    /// Checks that it is ARP for IPv4 over Ethernet. Padding behind it is left out.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], [`Malformed::BadHardwareType`], [`Malformed::BadProtocolType`],
    /// [`Malformed::BadAddressLength`].
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (fields, _) = Fields::<PACKET_LENGTH>::split(bytes)?;
        if fields.u16::<0>() != HARDWARE_TYPE_ETHERNET {
            return Err(Malformed::BadHardwareType);
        }
        if fields.u16::<2>() != EtherType::IPV4.0 {
            return Err(Malformed::BadProtocolType);
        }
        if fields.array::<4, 2>() != [6, 4] {
            return Err(Malformed::BadAddressLength);
        }
        Ok(Self { fields })
    }

    /// Request, reply, or something else.
    #[inline]
    pub const fn operation(&self) -> Operation {
        Operation(self.fields.u16::<6>())
    }

    /// The sender's MAC address.
    #[inline]
    pub const fn sender_mac(&self) -> MacAddress {
        MacAddress::new(self.fields.array::<8, 6>())
    }

    /// The sender's IPv4 address; unspecified in an address probe (RFC 5227).
    #[inline]
    pub const fn sender_address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.fields.u32::<14>())
    }

    /// The target's MAC address; without meaning in a request.
    #[inline]
    pub const fn target_mac(&self) -> MacAddress {
        MacAddress::new(self.fields.array::<18, 6>())
    }

    /// The target's IPv4 address.
    #[inline]
    pub const fn target_address(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.fields.u32::<24>())
    }

    /// Whether it announces the sender's own address to everyone (RFC 5227 §3).
    #[inline]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_address() == self.target_address()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: [u8; PACKET_LENGTH] =
        [0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 2, 0, 0, 0, 0, 2, 192, 0, 2, 2];

    #[test]
    fn fields_stand_where_the_rfc_puts_them() {
        let packet = Packet::new(&REPLY).unwrap();
        assert_eq!(packet.operation(), Operation::REPLY);
        assert_eq!(packet.sender_mac().octets(), [2, 0, 0, 0, 0, 1]);
        assert_eq!(packet.sender_address(), Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(packet.target_mac().octets(), [2, 0, 0, 0, 0, 2]);
        assert_eq!(packet.target_address(), Ipv4Addr::new(192, 0, 2, 2));
        assert!(!packet.is_gratuitous());
    }

    #[test]
    fn other_address_formats_are_refused() {
        let changed = |at: usize, to: u8| {
            let mut bytes = REPLY;
            bytes[at] = to;
            Packet::new(&bytes).map(|_| ()).unwrap_err()
        };
        assert_eq!(changed(1, 6), Malformed::BadHardwareType);
        assert_eq!(changed(2, 0x86), Malformed::BadProtocolType);
        assert_eq!(changed(4, 8), Malformed::BadAddressLength);
        assert_eq!(changed(5, 16), Malformed::BadAddressLength);
        assert_eq!(Packet::new(&REPLY[..27]), Err(Malformed::Truncated));
    }
}
