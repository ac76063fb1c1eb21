//! ICMP for IPv4 (RFC 792; next-hop MTU: RFC 1191).

use core::net::Ipv4Addr;

use crate::Malformed;
use crate::checksum::{self, Sum};
use crate::field::Fields;

/// Bytes in front of a message's data.
pub const HEADER_LENGTH: usize = 8;

/// Code of destination unreachable: fragmentation needed and DF set.
pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;

/// Code of destination unreachable: communication administratively prohibited (RFC 1812 5.2.7.1).
pub const CODE_ADMINISTRATIVELY_PROHIBITED: u8 = 13;

/// The type field (IANA icmp-parameters).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct MessageType(pub u8);

impl MessageType {
    /// Echo reply.
    pub const ECHO_REPLY: Self = Self(0);
    /// Destination unreachable.
    pub const DESTINATION_UNREACHABLE: Self = Self(3);
    /// Redirect.
    pub const REDIRECT: Self = Self(5);
    /// Echo request.
    pub const ECHO_REQUEST: Self = Self(8);
    /// Time exceeded.
    pub const TIME_EXCEEDED: Self = Self(11);
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: Self = Self(12);

    /// Whether it reports an error, which must never be answered with another (RFC 1122 §3.2.2).
    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Self::DESTINATION_UNREACHABLE
                | Self::REDIRECT
                | Self::TIME_EXCEEDED
                | Self::PARAMETER_PROBLEM
                | Self(4)
        )
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    header: Fields<'a, HEADER_LENGTH>,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Over the payload of an IPv4 packet. The checksum is not looked at.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] below [`HEADER_LENGTH`] bytes.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (header, payload) = Fields::split(bytes)?;
        Ok(Self { header, payload })
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

    /// Whether the checksum is right. Cost: a pass over the message.
    pub fn verify_checksum(&self) -> bool {
        Sum::new().add_bytes(self.header.bytes()).add_bytes(self.payload).is_valid()
    }

    /// Identifier and sequence number of an echo request or reply.
    pub fn echo(&self) -> Option<(u16, u16)> {
        let echo =
            matches!(self.message_type(), MessageType::ECHO_REQUEST | MessageType::ECHO_REPLY);
        echo.then(|| (self.header.u16::<4>(), self.header.u16::<6>()))
    }

    /// Next-hop MTU in bytes of "fragmentation needed"; 0 from routers older than RFC 1191.
    pub fn next_hop_mtu(&self) -> Option<u16> {
        let needed = self.message_type() == MessageType::DESTINATION_UNREACHABLE
            && self.code() == CODE_FRAGMENTATION_NEEDED;
        needed.then(|| self.header.u16::<6>())
    }

    /// The better gateway that a redirect names.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        let redirect = self.message_type() == MessageType::REDIRECT;
        redirect.then(|| Ipv4Addr::from_bits(self.header.u32::<4>()))
    }

    /// The data; of an error the start of the packet that caused it, cut off anywhere.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// Computes the checksum of a whole message and writes it.
///
/// # Errors
/// [`Malformed::Truncated`] below [`HEADER_LENGTH`] bytes.
pub fn fill_checksum(message: &mut [u8]) -> Result<(), Malformed> {
    if message.len() < HEADER_LENGTH {
        return Err(Malformed::Truncated);
    }
    message[2..4].fill(0);
    let checksum = checksum::checksum(message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_shows_its_own_fields_only() {
        let echo = [8, 0, 0, 0, 0x12, 0x34, 0, 7, 0xaa];
        let message = Message::new(&echo).unwrap();
        assert_eq!(message.echo(), Some((0x1234, 7)));
        assert_eq!((message.next_hop_mtu(), message.gateway()), (None, None));
        assert_eq!(message.payload(), [0xaa]);

        let needed = [3, 4, 0, 0, 0, 0, 0x05, 0x14];
        let message = Message::new(&needed).unwrap();
        assert_eq!((message.next_hop_mtu(), message.echo()), (Some(1300), None));
        assert!(message.message_type().is_error());

        let redirect = [5, 1, 0, 0, 192, 0, 2, 9];
        let gateway = Message::new(&redirect).unwrap().gateway();
        assert_eq!(gateway, Some(Ipv4Addr::new(192, 0, 2, 9)));
    }

    #[test]
    fn a_filled_checksum_verifies() {
        let mut bytes = [8, 0, 0xff, 0xff, 0, 1, 0, 2, 3];
        fill_checksum(&mut bytes).unwrap();
        assert!(Message::new(&bytes).unwrap().verify_checksum());
        bytes[8] ^= 1;
        assert!(!Message::new(&bytes).unwrap().verify_checksum());
        assert_eq!(fill_checksum(&mut bytes[..7]), Err(Malformed::Truncated));
    }
}
