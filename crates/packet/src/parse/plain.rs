//! The packets that most packets are: untagged IPv4 without options, untagged IPv6 without extension
//! headers, between unicast addresses that need no second look.
//!
//! Here all conditions are computed and asked in one branch, which the processor predicts; a packet
//! that fails any of them is left to the general path, which decides what it is. So this file
//! says nothing about why a packet is dropped or punted, and the general path is its twin: what is
//! accepted here must come out of it undecided and with the same metadata (a property test compares).

use linecard_wire::ip::Protocol;

use crate::{Layer3, Metadata, PortId, Station};

/// Ethernet and IPv4 header, and the ports.
const HEADERS_IPV4: usize = 14 + 20 + 4;
/// Ethernet and IPv6 header, and the ports.
const HEADERS_IPV6: usize = 14 + 40 + 4;

/// What a packet is, and its destination.
pub(super) enum Plain {
    Ipv4(u32),
    Ipv6(u128),
    No,
}

/// What plain packets of a batch have in common.
pub(super) struct Common {
    station: Station,
    ipv4: Metadata,
    ipv6: Metadata,
}

impl Common {
    /// Of packets that came in by `in_port` for `station`.
    pub(super) fn new(in_port: PortId, station: &Station) -> Self {
        let ipv4 = Metadata {
            in_interface: station.interface(),
            layer3: Layer3::Ipv4,
            layer3_offset: 14,
            layer4_offset: 34,
            ..Metadata::of_port(in_port)
        };
        let ipv6 = Metadata { layer3: Layer3::Ipv6, layer4_offset: 54, ..ipv4 };
        Self { station: *station, ipv4, ipv6 }
    }

    /// Looks whether a packet is a plain one for the station, and fills its metadata if it is.
    #[inline]
    pub(super) fn parse(&self, packet: &[u8], metadata: &mut Metadata) -> Plain {
        let Some(head) = packet.first_chunk::<HEADERS_IPV4>() else { return Plain::No };
        // Ethernet type, version, header length.
        if word(head, 8) << 8 >> 40 == 0x45_00_08 {
            self.ipv4(head, packet.len(), metadata)
        } else {
            match packet.first_chunk() {
                Some(head) => self.ipv6(head, packet.len(), metadata),
                None => Plain::No,
            }
        }
    }

    #[inline]
    fn ipv4(&self, head: &[u8; HEADERS_IPV4], length: usize, metadata: &mut Metadata) -> Plain {
        let [front, middle, behind] = [8, 16, 24].map(|at| word(head, at));
        let total_length = (middle as u16).swap_bytes();
        // Total length (RFC 1812 5.2.2), TTL, classes of addresses by their first octets.
        let is_plain = self.station.is_addressed(word(head, 0))
            & self.station.forwards_ipv4()
            & (total_length >= 24)
            & (usize::from(total_length) + 14 <= length)
            & (middle & 0xfe << 48 != 0)
            & is_unicast_ipv4(octet(behind, 2))
            & is_unicast_ipv4(octet(behind, 6))
            & is_checksum_right([front >> 48, middle, behind, half_word(head, 32)]);
        if !is_plain {
            return Plain::No;
        }
        *metadata = self.ipv4;
        metadata.layer3_length = total_length;
        metadata.protocol = octet(middle, 7);
        // More fragments and fragment offset are both zero.
        metadata.has_ports = has_ports(metadata.protocol) & (middle & 0xff3f << 32 == 0);
        Plain::Ipv4(u32::from_be_bytes([head[30], head[31], head[32], head[33]]))
    }

    #[inline]
    fn ipv6(&self, head: &[u8; HEADERS_IPV6], length: usize, metadata: &mut Metadata) -> Plain {
        let [front, middle] = [8, 16].map(|at| word(head, at));
        let payload_length = ((middle >> 16) as u16).swap_bytes();
        let protocol = octet(middle, 4);
        // Ethernet type and version; lengths; a header that no other follows; hop limit; addresses.
        let is_plain = self.station.is_addressed(word(head, 0))
            & self.station.forwards_ipv6()
            & (front >> 32 & 0xf0_ff_ff == 0x60_dd_86)
            & (4..=u16::MAX - 40).contains(&payload_length)
            & (usize::from(payload_length) + 54 <= length)
            & (has_ports(protocol) | (protocol == Protocol::ICMPV6.0))
            & (octet(middle, 5) > 1)
            & is_unicast_ipv6(octet(middle, 6))
            & is_unicast_ipv6(head[38]);
        if !is_plain {
            return Plain::No;
        }
        *metadata = self.ipv6;
        metadata.layer3_length = payload_length + 40;
        metadata.protocol = protocol;
        metadata.has_ports = has_ports(protocol);
        let (octets, _) = head[38..].split_first_chunk().expect("58 bytes hold the header");
        Plain::Ipv6(u128::from_be_bytes(*octets))
    }
}

/// By the first octet of an IPv4 address: neither 0/8, 127/8, multicast nor class E.
const UNICAST_IPV4: [bool; 256] = {
    let mut unicast = [true; 256];
    unicast[0] = false;
    unicast[127] = false;
    let mut first = 224;
    while first < 256 {
        unicast[first] = false;
        first += 1;
    }
    unicast
};

/// By protocol number: TCP, UDP and SCTP. A table, because a mix of protocols cannot be predicted.
const HAS_PORTS: [bool; 256] = {
    let mut has_ports = [false; 256];
    has_ports[Protocol::TCP.0 as usize] = true;
    has_ports[Protocol::UDP.0 as usize] = true;
    has_ports[Protocol::SCTP.0 as usize] = true;
    has_ports
};

#[inline]
fn is_unicast_ipv4(first: u8) -> bool {
    UNICAST_IPV4[usize::from(first)]
}

/// Neither 0::/8 (which has the unspecified, the loopback and mapped addresses), fe00::/8 (which has the
/// link-local ones) nor multicast, by the first octet.
#[inline]
fn is_unicast_ipv6(first: u8) -> bool {
    first.wrapping_sub(1) < 0xfd
}

#[inline]
fn has_ports(protocol: u8) -> bool {
    HAS_PORTS[usize::from(protocol)]
}

/// RFC 1071. The one's complement sum of 16-bit words is right when it is a multiple of 0xffff, and so
/// is then the sum of words of any multiple of that length, in any byte order: of which 2^64 − 1, where
/// the carry is added, is a multiple too. It is not 0, because the header is not. The first and the
/// last word have 16 bits.
#[inline]
fn is_checksum_right([first, second, third, last]: [u64; 4]) -> bool {
    let (sum, carry) = second.overflowing_add(third);
    let (sum, carry) = sum.overflowing_add(first + last + u64::from(carry));
    sum.wrapping_add(u64::from(carry)).is_multiple_of(0xffff)
}

/// The 8 bytes at `at`, the first one lowest.
#[inline]
fn word(head: &[u8], at: usize) -> u64 {
    let bytes = head.get(at..).and_then(<[u8]>::first_chunk);
    u64::from_le_bytes(bytes.copied().unwrap_or_default())
}

/// The 2 bytes at `at`, the first one lowest.
#[inline]
fn half_word(head: &[u8], at: usize) -> u64 {
    u64::from(u16::from_le_bytes([head[at], head[at + 1]]))
}

/// Byte `number` of a word, the first one being 0.
#[inline]
fn octet(word: u64, number: u32) -> u8 {
    (word >> (8 * number)) as u8
}

#[cfg(test)]
mod tests {
    use linecard_wire::MacAddress;
    use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::{InterfaceId, Verdict};

    const PORT: PortId = PortId(3);
    const INTERFACE: InterfaceId = InterfaceId(9);
    const STATION: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);

    fn seeds() -> Vec<Vec<u8>> {
        let link = || PacketBuilder::new().ethernet(STATION, MacAddress::new([2; 6]));
        let ipv4 = || Ipv4::new([192, 0, 2, 1].into(), [198, 51, 100, 7].into());
        let ipv6 = Ipv6::new("2001:db8::1".parse().unwrap(), "2001:db8:1::2".parse().unwrap());
        let fragment = Ipv4 { more_fragments: true, ..ipv4() };
        vec![
            link().ipv4(ipv4()).udp(Udp::new(1, 2)).pad_to(60).build(),
            link().ipv4(ipv4()).tcp(Tcp::new(80, 2000)).payload(b"some text").build(),
            link().ipv4(fragment).udp(Udp::new(1, 2)).payload(&[7; 32]).build(),
            link().ipv6(ipv6.clone()).udp(Udp::new(1, 2)).build(),
            link().ipv6(ipv6).tcp(Tcp::new(80, 2000)).payload(b"text").pad_to(100).build(),
        ]
    }

    /// What the general path says, with the interface that the route stage would add.
    fn general(packet: &[u8]) -> (Verdict, Metadata) {
        let mut metadata = Metadata::of_port(PORT);
        let verdict = crate::parse::parse_packet(packet, &mut metadata);
        metadata.in_interface = INTERFACE;
        (verdict, metadata)
    }

    fn check(packet: &[u8]) -> bool {
        let station = Station::new(INTERFACE, STATION, true, true);
        // Whatever was there before is overwritten.
        let mut found = Metadata { layer4_offset: 77, ..Metadata::of_port(PortId(77)) };
        match Common::new(PORT, &station).parse(packet, &mut found) {
            Plain::Ipv4(destination) => assert_eq!(packet[30..34], destination.to_be_bytes()),
            Plain::Ipv6(destination) => assert_eq!(packet[38..54], destination.to_be_bytes()),
            Plain::No => return false,
        }
        assert_eq!(packet[..6], STATION.octets());
        assert_eq!((Verdict::Undecided, found), general(packet), "{packet:02x?}");
        true
    }

    #[test]
    fn what_most_packets_are_is_plain() {
        assert!(seeds().iter().all(|packet| check(packet)));
    }

    #[test]
    fn no_protocol_but_that_of_the_port_is_plain() {
        for (index, packet) in seeds().iter().enumerate() {
            let off = Station::new(INTERFACE, STATION, index >= 3, index < 3);
            for station in [off, Station::none()] {
                let mut metadata = Metadata::of_port(PORT);
                let plain = Common::new(PORT, &station).parse(packet, &mut metadata);
                assert!(matches!(plain, Plain::No), "it does not forward, or is nobody's");
            }
        }
    }

    #[test]
    fn every_checksum_is_judged_as_the_general_path_does() {
        let mut packet = seeds().swap_remove(0);
        let accepted = (0..=u16::MAX)
            .filter(|checksum| {
                packet[24..26].copy_from_slice(&checksum.to_be_bytes());
                check(&packet) || general(&packet).0.is_undecided()
            })
            .count();
        assert_eq!(accepted, 1, "both take the right one only");
    }

    proptest! {
        /// Whatever is changed in a header: what is plain is so for the general path too.
        #[test]
        fn plain_packets_are_undecided_with_the_same_metadata(
            seed in any::<Index>(),
            changes in prop::collection::vec((0..60usize, any::<u8>()), 0..4),
            cut in 0..20usize,
            fix_checksum in any::<bool>(),
        ) {
            let mut packet = seeds().swap_remove(seed.index(5));
            for (at, byte) in changes {
                if let Some(place) = packet.get_mut(at) {
                    *place = byte;
                }
            }
            packet.truncate(packet.len() - cut);
            if fix_checksum && packet.len() >= 34 {
                // Fails for a header length that the packet does not have: then it stays wrong.
                let _ = linecard_wire::ipv4::fill_checksum(&mut packet[14..]);
            }
            check(&packet);
        }
    }
}
