//! ICMPv6 (RFC 4443). The messages of neighbour discovery: [`crate::ndp`].

use core::net::Ipv6Addr;

use crate::Malformed;
use crate::checksum::pseudo_header_v6;
use crate::field::Fields;
use crate::ip::Protocol;

/// Bytes in front of a message's data: type, code, checksum and four that the type defines.
pub const HEADER_LENGTH: usize = 8;

/// Code of destination unreachable: communication with the destination administratively prohibited.
pub const CODE_ADMINISTRATIVELY_PROHIBITED: u8 = 1;

/// The type field (IANA icmpv6-parameters).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct MessageType(pub u8);

impl MessageType {
    /// Destination unreachable.
    pub const DESTINATION_UNREACHABLE: Self = Self(1);
    /// Packet too big.
    pub const PACKET_TOO_BIG: Self = Self(2);
    /// Time exceeded.
    pub const TIME_EXCEEDED: Self = Self(3);
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: Self = Self(4);
    /// Echo request.
    pub const ECHO_REQUEST: Self = Self(128);
    /// Echo reply.
    pub const ECHO_REPLY: Self = Self(129);
    /// Router solicitation (RFC 4861).
    pub const ROUTER_SOLICITATION: Self = Self(133);
    /// Router advertisement (RFC 4861).
    pub const ROUTER_ADVERTISEMENT: Self = Self(134);
    /// Neighbour solicitation (RFC 4861).
    pub const NEIGHBOR_SOLICITATION: Self = Self(135);
    /// Neighbour advertisement (RFC 4861).
    pub const NEIGHBOR_ADVERTISEMENT: Self = Self(136);
    /// Redirect (RFC 4861).
    pub const REDIRECT: Self = Self(137);

    /// Whether it reports an error, which must never be answered with another (RFC 4443 §2.4).
    #[inline]
    pub const fn is_error(self) -> bool {
        self.0 < 128
    }

    /// Whether it belongs to neighbour discovery, which never leaves its link.
    #[inline]
    pub const fn is_neighbor_discovery(self) -> bool {
        matches!(self.0, 133..=137)
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    header: Fields<'a, HEADER_LENGTH>,
    bytes: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Over the upper layer of an IPv6 packet. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below [`HEADER_LENGTH`] bytes.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = Fields::split(bytes)?;
        Ok(Self { header, bytes, payload })
    }

    /// Type of the message.
    #[inline]
    pub const fn message_type(&self) -> MessageType {
        MessageType(self.header.u8::<0>())
    }

    /// Code, whose meaning depends on the type.
    #[inline]
    pub const fn code(&self) -> u8 {
        self.header.u8::<1>()
    }

    /// The checksum as it stands in the message.
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.header.u16::<2>()
    }

    /// Whether the checksum is right between these addresses; the destination is the final one.
    /// Cost: a pass over the message.
    pub fn verify_checksum(&self, source: Ipv6Addr, destination: Ipv6Addr) -> bool {
        // A view over a slice longer than any IPv6 payload never has a valid checksum.
        let Ok(length) = u32::try_from(self.bytes.len()) else { return false };
        let sum = pseudo_header_v6(source, destination, Protocol::ICMPV6, length);
        sum.add_bytes(self.bytes).is_valid()
    }

    /// Identifier and sequence number of an echo request or reply.
    pub fn echo(&self) -> Option<(u16, u16)> {
        let echo =
            matches!(self.message_type(), MessageType::ECHO_REQUEST | MessageType::ECHO_REPLY);
        echo.then(|| (self.header.u16::<4>(), self.header.u16::<6>()))
    }

    /// Next-hop MTU in bytes of "packet too big".
    pub fn next_hop_mtu(&self) -> Option<u32> {
        let too_big = self.message_type() == MessageType::PACKET_TOO_BIG;
        too_big.then(|| self.header.u32::<4>())
    }

    /// The data; of an error the start of the packet that caused it, cut off anywhere.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_shows_its_own_fields_only() {
        let too_big = [2, 0, 0, 0, 0, 0, 0x05, 0x00, 0x60];
        let message = Message::new(&too_big).unwrap();
        assert_eq!((message.next_hop_mtu(), message.echo()), (Some(1280), None));
        assert!(message.message_type().is_error());
        assert_eq!(message.payload(), [0x60]);

        let reply = [129, 0, 0, 0, 0x12, 0x34, 0, 7];
        let message = Message::new(&reply).unwrap();
        assert_eq!((message.next_hop_mtu(), message.echo()), (None, Some((0x1234, 7))));
        assert!(!message.message_type().is_error());
    }
}
