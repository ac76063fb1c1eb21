//! Whole ICMP error messages, made in place around what they quote: RFC 792, RFC 1812 4.3.2, RFC 4443 2.4.
//!
//! The packet that an error is about is quoted from its network-layer header on. So an error is that packet, cut
//! off, with two headers in front of it; its bytes do not move.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::pseudo_header_v6;
use crate::ip::Protocol;
use crate::{Malformed, icmpv4, icmpv6, ipv4, ipv6};

/// Bytes in front of the quotation in an IPv4 packet.
pub const FRONT_IPV4: usize = ipv4::HEADER_LENGTH_MIN + icmpv4::HEADER_LENGTH;
/// Bytes in front of the quotation in an IPv6 packet.
pub const FRONT_IPV6: usize = ipv6::HEADER_LENGTH + icmpv6::HEADER_LENGTH;

/// Bytes of an IPv4 packet with an error at the most (RFC 1812 4.3.2.3).
pub const LENGTH_MAX_IPV4: usize = 576;
/// Bytes of an IPv6 packet with an error at the most: the least MTU of IPv6 (RFC 4443 2.4 (c)).
pub const LENGTH_MAX_IPV6: usize = 1280;

/// CS6 (RFC 2474 4.2.2.2): RFC 1812 4.3.2.5 asks for precedence 6 or 7.
const TRAFFIC_CLASS: u8 = 48 << 2;
/// As hosts and routers send (RFC 1700).
const HOPS: u8 = 64;

/// Writes the headers of an error into the first [`FRONT_IPV4`] bytes of `packet`, behind which the quotation
/// stands. The fields of the ICMP header behind its checksum are 0.
///
/// The packet is an atomic datagram: DF is set, so its identification is 0 (RFC 6864 4.1).
///
/// # Errors
/// [`Malformed::Truncated`] when `packet` has no room for the headers; [`Malformed::BadTotalLength`] when it is
/// longer than an IPv4 packet can be.
pub fn write_ipv4(
    packet: &mut [u8],
    (source, destination): (Ipv4Addr, Ipv4Addr),
    (kind, code): (icmpv4::MessageType, u8),
) -> Result<(), Malformed> {
    let length = u16::try_from(packet.len()).map_err(|_| Malformed::BadTotalLength)?;
    let Some((header, message)) = packet.split_first_chunk_mut::<{ ipv4::HEADER_LENGTH_MIN }>()
    else {
        return Err(Malformed::Truncated);
    };
    *header = [0; ipv4::HEADER_LENGTH_MIN];
    [header[0], header[1]] = [0x45, TRAFFIC_CLASS];
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[6] = 0x40;
    [header[8], header[9]] = [HOPS, Protocol::ICMPV4.0];
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    ipv4::fill_checksum(header)?;
    let front = message.first_chunk_mut().ok_or(Malformed::Truncated)?;
    *front = [kind.0, code, 0, 0, 0, 0, 0, 0];
    icmpv4::fill_checksum(message)
}

/// The same for IPv6, with [`FRONT_IPV6`] bytes.
///
/// # Errors
/// As [`write_ipv4`].
pub fn write_ipv6(
    packet: &mut [u8],
    (source, destination): (Ipv6Addr, Ipv6Addr),
    (kind, code): (icmpv6::MessageType, u8),
) -> Result<(), Malformed> {
    let Some((header, message)) = packet.split_first_chunk_mut::<{ ipv6::HEADER_LENGTH }>() else {
        return Err(Malformed::Truncated);
    };
    let length = u16::try_from(message.len()).map_err(|_| Malformed::BadTotalLength)?;
    *header = [0; ipv6::HEADER_LENGTH];
    [header[0], header[1]] = [0x60 | TRAFFIC_CLASS >> 4, TRAFFIC_CLASS << 4];
    header[4..6].copy_from_slice(&length.to_be_bytes());
    [header[6], header[7]] = [Protocol::ICMPV6.0, HOPS];
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&destination.octets());
    let front = message.first_chunk_mut().ok_or(Malformed::Truncated)?;
    *front = [kind.0, code, 0, 0, 0, 0, 0, 0];
    let pseudo = pseudo_header_v6(source, destination, Protocol::ICMPV6, u32::from(length));
    let checksum = pseudo.add_bytes(message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_error_reads_as_it_was_written() {
        let (source, destination) = ([192, 0, 2, 1].into(), [198, 51, 100, 7].into());
        let mut packet = [0xa5; FRONT_IPV4 + 33];
        let kind = icmpv4::MessageType::DESTINATION_UNREACHABLE;
        write_ipv4(&mut packet, (source, destination), (kind, 13)).expect("there is room");
        let read = ipv4::Packet::new(&packet).expect("a packet");
        assert!(read.verify_checksum() && read.dont_fragment());
        assert_eq!((read.source(), read.destination()), (source, destination));
        assert_eq!((read.protocol(), read.ttl(), read.dscp()), (Protocol::ICMPV4, 64, 48));
        let message = icmpv4::Message::new(read.payload()).expect("a message");
        assert!(message.verify_checksum());
        assert_eq!((message.message_type(), message.code()), (kind, 13));
        assert_eq!(message.payload(), [0xa5; 33]);
        let short = &mut packet[..FRONT_IPV4 - 1];
        assert!(write_ipv4(short, (source, destination), (kind, 13)).is_err());
    }

    #[test]
    fn an_ipv6_error_reads_as_it_was_written() {
        let source = "2001:db8::1".parse().expect("an address");
        let destination = "2001:db8:7::9".parse().expect("an address");
        let mut packet = [0x5a; FRONT_IPV6 + 33];
        let kind = icmpv6::MessageType::DESTINATION_UNREACHABLE;
        write_ipv6(&mut packet, (source, destination), (kind, 1)).expect("there is room");
        let read = ipv6::Packet::new(&packet).expect("a packet");
        assert_eq!((read.source(), read.destination()), (source, destination));
        assert_eq!((read.next_header(), read.hop_limit(), read.dscp()), (Protocol::ICMPV6, 64, 48));
        let message = icmpv6::Message::new(read.payload()).expect("a message");
        assert!(message.verify_checksum(source, destination));
        assert_eq!((message.message_type(), message.code()), (kind, 1));
        assert_eq!(message.payload(), [0x5a; 33]);
        let short = &mut packet[..FRONT_IPV6 - 1];
        assert!(write_ipv6(short, (source, destination), (kind, 1)).is_err());
    }
}
