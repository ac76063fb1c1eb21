//! The bytes of a packet in each address family, from its header and back.

use linecard_tables::generator::Random;
use linecard_tables::hash::{FlowHash, FlowIpv4, FlowIpv6};
use linecard_wire::ethernet;

use super::traffic::{Family, Header, TCP, Traffic, UDP};

const UDP_HEADER_BYTES: usize = 8;
const TCP_HEADER_BYTES: usize = 20;
const TCP_FLAGS_OFFSET: usize = 13;
/// The number of an IPv4 packet, behind its headers.
const LABEL_BYTES: usize = 4;
/// Where the last 16 bits of the number of an IPv6 packet are, in its upper-layer header.
const LABEL_OFFSET: usize = 6;
const IPV4_HEADERS_BYTES: usize = ethernet::HEADER_LENGTH + 20 + TCP_HEADER_BYTES + LABEL_BYTES;
const IPV6_HEADERS_BYTES: usize = ethernet::HEADER_LENGTH + 40 + TCP_HEADER_BYTES;

impl Traffic for u32 {
    const FAMILY: Family = Family::Ipv4;

    fn headers_bytes(_: usize) -> usize {
        IPV4_HEADERS_BYTES
    }

    fn source(random: &mut Random) -> Self {
        // 1 to 223 without 127, which is no source (RFC 1812 5.3.7).
        let first = 1 + random.below(222) as u32;
        (first + u32::from(first >= 127)) << 24 | random.next_u64() as u32 >> 8
    }

    fn forwarded(self) -> Self {
        // Not 0/8, 127/8, multicast and class E, as above.
        let first = match self >> 24 {
            0 => 1,
            127 => 63,
            first @ 224.. => first - 192,
            first => first,
        };
        first << 24 | self & 0xff_ffff
    }

    fn write(header: &Header<Self>, hops: u8, packet: &mut [u8]) {
        let ip_bytes = packet.len() - ethernet::HEADER_LENGTH;
        let mut bytes = [0; IPV4_HEADERS_BYTES - 12];
        bytes[..2].copy_from_slice(&[0x08, 0x00]);
        let (ip, upper) = bytes[2..].split_at_mut(20);
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(ip_bytes as u16).to_be_bytes());
        ip[4..6].copy_from_slice(&((header.label >> 16) as u16).to_be_bytes());
        ip[8] = hops;
        ip[9] = header.protocol;
        ip[12..16].copy_from_slice(&header.source.to_be_bytes());
        ip[16..20].copy_from_slice(&header.destination.to_be_bytes());
        let checksum = linecard_wire::checksum::checksum(ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        let (upper, label) = upper.split_at_mut(TCP_HEADER_BYTES);
        match header.protocol {
            // The checksum stays 0: not computed (RFC 768), and of TCP a router looks at none.
            UDP => write_udp(upper, header.source_port, header.destination_port, ip_bytes - 20),
            TCP => write_tcp(upper, header),
            // An echo reply, in GRE no options: zeroes.
            _ => (),
        }
        label.copy_from_slice(&header.label.to_be_bytes());
        packet[12..IPV4_HEADERS_BYTES].copy_from_slice(&bytes);
    }

    fn read(packet: &[u8]) -> Option<(Header<Self>, u8)> {
        let bytes = packet.first_chunk::<IPV4_HEADERS_BYTES>()?;
        let ip = linecard_wire::ipv4::Packet::new(&packet[ethernet::HEADER_LENGTH..]).ok()?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let is_whole = word(12) == 0x0800
            && ip.verify_checksum()
            && usize::from(ip.total_length()) + ethernet::HEADER_LENGTH == packet.len();
        let protocol = ip.protocol().0;
        let header = Header {
            source: ip.source().to_bits(),
            destination: ip.destination().to_bits(),
            label: u32::from(word(54)) << 16 | u32::from(word(56)),
            protocol,
            source_port: word(34),
            destination_port: word(36),
            tcp_flags: if protocol == TCP { bytes[34 + TCP_FLAGS_OFFSET] } else { 0 },
        };
        is_whole.then_some((header, ip.ttl()))
    }

    fn flow_hash(header: &Header<Self>, hash: &FlowHash) -> u32 {
        hash.ipv4(&FlowIpv4 {
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            source_port: header.source_port,
            destination_port: header.destination_port,
        })
    }
}

impl Traffic for u128 {
    const FAMILY: Family = Family::Ipv6;

    fn headers_bytes(packet_bytes: usize) -> usize {
        // The smallest frames hold no more than UDP.
        let shortest = ethernet::HEADER_LENGTH + 40 + UDP_HEADER_BYTES;
        packet_bytes.clamp(shortest, IPV6_HEADERS_BYTES)
    }

    fn source(random: &mut Random) -> Self {
        // Global unicast: 2000::/3.
        random.address::<Self>() >> 3 | 1 << 125
    }

    fn forwarded(self) -> Self {
        self << 3 >> 3 | 1 << 125
    }

    fn write(header: &Header<Self>, hops: u8, packet: &mut [u8]) {
        let payload_bytes = packet.len() - ethernet::HEADER_LENGTH - 40;
        let mut bytes = [0; IPV6_HEADERS_BYTES - 12];
        bytes[..2].copy_from_slice(&[0x86, 0xdd]);
        let (ip, upper) = bytes[2..].split_at_mut(40);
        ip[..4].copy_from_slice(&(6 << 28 | header.label >> 16).to_be_bytes());
        ip[4..6].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
        ip[6] = header.protocol;
        ip[7] = hops;
        ip[8..24].copy_from_slice(&header.source.to_be_bytes());
        ip[24..40].copy_from_slice(&header.destination.to_be_bytes());
        match header.protocol {
            UDP => write_udp(upper, header.source_port, header.destination_port, payload_bytes),
            TCP => write_tcp(upper, header),
            _ => (),
        }
        // Where UDP has its checksum, which hosts look at and routers do not, and TCP its sequence number.
        upper[LABEL_OFFSET..][..2].copy_from_slice(&(header.label as u16).to_be_bytes());
        let length = Self::headers_bytes(packet.len()) - 12;
        packet[12..][..length].copy_from_slice(&bytes[..length]);
    }

    fn read(packet: &[u8]) -> Option<(Header<Self>, u8)> {
        const UPPER: usize = ethernet::HEADER_LENGTH + 40;
        let bytes = packet.first_chunk::<{ UPPER + UDP_HEADER_BYTES }>()?;
        let ip = linecard_wire::ipv6::Packet::new(&packet[ethernet::HEADER_LENGTH..]).ok()?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let is_whole =
            word(12) == 0x86dd && ip.total_length() + ethernet::HEADER_LENGTH == packet.len();
        let protocol = ip.next_header().0;
        let tcp_flags = packet.get(UPPER + TCP_FLAGS_OFFSET).filter(|_| protocol == TCP);
        let header = Header {
            source: ip.source().to_bits(),
            destination: ip.destination().to_bits(),
            label: u32::from(word(16)) << 16 | u32::from(word(UPPER + LABEL_OFFSET)),
            protocol,
            source_port: word(UPPER),
            destination_port: word(UPPER + 2),
            tcp_flags: tcp_flags.copied().unwrap_or_default(),
        };
        is_whole.then_some((header, ip.hop_limit()))
    }

    fn flow_hash(header: &Header<Self>, hash: &FlowHash) -> u32 {
        hash.ipv6(&FlowIpv6 {
            source: header.source,
            destination: header.destination,
            protocol: header.protocol,
            source_port: header.source_port,
            destination_port: header.destination_port,
            flow_label: header.label >> 16,
        })
    }
}

fn write_udp(udp: &mut [u8], source_port: u16, destination_port: u16, bytes: usize) {
    udp[..2].copy_from_slice(&source_port.to_be_bytes());
    udp[2..4].copy_from_slice(&destination_port.to_be_bytes());
    udp[4..6].copy_from_slice(&(bytes as u16).to_be_bytes());
}

fn write_tcp<A>(tcp: &mut [u8], header: &Header<A>) {
    tcp[..2].copy_from_slice(&header.source_port.to_be_bytes());
    tcp[2..4].copy_from_slice(&header.destination_port.to_be_bytes());
    // The header's length in words (RFC 9293 3.1).
    tcp[TCP_FLAGS_OFFSET - 1] = (TCP_HEADER_BYTES as u8 / 4) << 4;
    tcp[TCP_FLAGS_OFFSET] = header.tcp_flags;
}
