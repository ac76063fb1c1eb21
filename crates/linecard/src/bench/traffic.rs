//! The packets: which destinations, which sizes, and a header that is new each time.
//!
//! A packet is a function of (seed, round, number), so that the checker can make it again and hold
//! the bytes that came out against it. The number travels in the packet itself: in IPv4 in the
//! identification and the source port, in IPv6 in the flow label and the source port.
//!
//! Sizes are those on the wire, frame check sequence included (RFC 2544 9): a frame in memory is 4
//! bytes shorter. IMIX is 7 : 4 : 1 of 64, 594 and 1,518 bytes, in IP packets 46, 576 and 1,500. The
//! smallest IPv6 frame here has 66 bytes, since UDP over IPv6 does not fit into 64.

use std::sync::Arc;

use linecard_tables::generator::Random;
use linecard_tables::hash::{FlowHash, FlowIpv4, FlowIpv6};
use linecard_tables::lpm::{Address, Prefix};
use linecard_wire::MacAddress;
use linecard_wire::ethernet;

/// Frame check sequence, which a frame in memory does not have.
pub(super) const FCS_BYTES: usize = 4;
/// Preamble, start frame delimiter and the shortest gap to the next frame (IEEE 802.3 3.1.1, 4.4.2).
pub(super) const GAP_BYTES: usize = 20;
/// Times to live with which packets come in.
const TTL: u8 = 64;
/// The longest frame without its check sequence.
pub(super) const FRAME_BYTES_MAX: usize = 1518 - FCS_BYTES;
const UDP: u8 = 17;
const UDP_HEADER_BYTES: usize = 8;
/// Any odd number has an inverse modulo 2^32; this one spreads neighbouring numbers.
const SPREAD: u32 = 0x9e37_79b1;

/// How large packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    /// The smallest frame that holds a UDP header: 64 bytes, 66 for IPv6.
    Smallest,
    /// 7 : 4 : 1 of the smallest, 594 and 1,518 bytes.
    Imix,
}

impl Sizes {
    /// Twelve packets of this mix, in bytes on the wire.
    pub(super) fn mix(self, family: Family) -> [usize; 12] {
        let small = family.frame_bytes_min();
        match self {
            Self::Smallest => [small; 12],
            Self::Imix => std::array::from_fn(|i| match i {
                0..7 => small,
                7..11 => 594,
                _ => 1518,
            }),
        }
    }

    /// Bytes of a packet on the wire in the mean, without preamble and gap.
    pub(super) fn mean_bytes(self, family: Family) -> f64 {
        self.mix(family).iter().sum::<usize>() as f64 / 12.0
    }
}

/// Which network-layer protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    fn frame_bytes_min(self) -> usize {
        match self {
            Self::Ipv4 => 64,
            Self::Ipv6 => 66,
        }
    }
}

/// How destinations are drawn. Bits behind the prefix are random always.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Spread {
    /// Each prefix as often as any other.
    Uniform,
    /// The prefix of rank k with a weight of k^−s; ranks have nothing to do with addresses.
    Zipf(f64),
}

/// Draws prefixes of a table by rank.
#[derive(Debug)]
pub(super) struct Ranks {
    /// Sum of the weights up to and with each rank, scaled to 64 bits; empty for equal weights.
    cumulative: Vec<u64>,
    ranks: usize,
}

impl Ranks {
    pub(super) fn new(spread: Spread, ranks: usize) -> Self {
        let cumulative = match spread {
            Spread::Uniform => Vec::new(),
            Spread::Zipf(s) => {
                let mut sum = 0.0;
                let sums: Vec<f64> = (1..=ranks)
                    .map(|rank| {
                        sum += (rank as f64).powf(-s);
                        sum
                    })
                    .collect();
                sums.iter().map(|at| (at / sum * u64::MAX as f64) as u64).collect()
            }
        };
        Self { cumulative, ranks }
    }

    /// A rank from 0.
    pub(super) fn draw(&self, random: &mut Random) -> usize {
        if self.cumulative.is_empty() {
            return random.below(self.ranks);
        }
        let at = random.next_u64();
        self.cumulative.partition_point(|&sum| sum < at).min(self.ranks - 1)
    }
}

/// An address family as the generator writes it.
pub(super) trait Traffic: Address {
    const FAMILY: Family;
    /// Bytes from the Ethernet header to the end of the UDP header.
    const HEADERS_BYTES: usize;

    /// A source that a router forwards from.
    fn source(random: &mut Random) -> Self;
    /// Writes EtherType, IP and UDP header behind the MAC addresses; `hops` are left.
    fn write(header: &Header<Self>, hops: u8, packet: &mut [u8]);
    /// The header of a packet, with the hops left; `None` when it has none of this family.
    fn read(packet: &[u8]) -> Option<(Header<Self>, u8)>;
    /// The flow's hash.
    fn flow_hash(header: &Header<Self>, hash: &FlowHash) -> u32;
}

/// What differs from packet to packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header<A> {
    pub(super) source: A,
    pub(super) destination: A,
    /// Where the packet's number is.
    pub(super) label: u32,
    pub(super) destination_port: u16,
}

impl<A> Header<A> {
    fn source_port(&self) -> u16 {
        self.label as u16
    }
}

/// Makes packet `number` of any round.
pub(super) struct Source<A> {
    seed: u64,
    prefixes: Arc<Vec<Prefix<A>>>,
    ranks: Arc<Ranks>,
}

impl<A: Traffic> Source<A> {
    /// `prefixes` are drawn from by rank and must not be empty.
    pub(super) fn new(seed: u64, prefixes: Arc<Vec<Prefix<A>>>, ranks: Arc<Ranks>) -> Self {
        Self { seed, prefixes, ranks }
    }

    /// The header of packet `number` in `round`: another in each round.
    pub(super) fn header(&self, round: u32, number: u32) -> Header<A> {
        let key = u64::from(round) << 32 | u64::from(number);
        let mut random = Random::new(self.seed ^ key.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let prefix = self.prefixes[self.ranks.draw(&mut random)];
        let host = A::mask(prefix.length()) ^ A::mask(A::BITS);
        Header {
            source: A::source(&mut random),
            destination: prefix.bits() | (random.address::<A>() & host),
            label: number.wrapping_mul(SPREAD),
            destination_port: random.next_u64() as u16,
        }
    }

    /// The number of the packet with this header.
    pub(super) fn number(header: &Header<A>) -> u32 {
        header.label.wrapping_mul(inverse(SPREAD))
    }

    /// Writes the packet with this header as it comes in on a port.
    pub(super) fn write(header: &Header<A>, station: MacAddress, packet: &mut [u8]) {
        const SENDER: MacAddress = MacAddress::new([0x02, 0x11, 0, 0, 0, 1]);
        packet[..6].copy_from_slice(&station.octets());
        packet[6..12].copy_from_slice(&SENDER.octets());
        A::write(header, TTL, packet);
    }
}

/// The inverse of an odd number modulo 2^32, by Newton's iteration: each step doubles the bits.
const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

impl Traffic for u32 {
    const FAMILY: Family = Family::Ipv4;
    const HEADERS_BYTES: usize = ethernet::HEADER_LENGTH + 20 + UDP_HEADER_BYTES;

    fn source(random: &mut Random) -> Self {
        // 1 to 223 without 127, which is no source (RFC 1812 5.3.7).
        let first = 1 + random.below(222) as u32;
        (first + u32::from(first >= 127)) << 24 | random.next_u64() as u32 >> 8
    }

    fn write(header: &Header<Self>, hops: u8, packet: &mut [u8]) {
        let ip_bytes = packet.len() - ethernet::HEADER_LENGTH;
        let mut bytes = [0; Self::HEADERS_BYTES - 12];
        bytes[..2].copy_from_slice(&[0x08, 0x00]);
        let (ip, udp) = bytes[2..].split_at_mut(20);
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&(ip_bytes as u16).to_be_bytes());
        ip[4..6].copy_from_slice(&((header.label >> 16) as u16).to_be_bytes());
        ip[8] = hops;
        ip[9] = UDP;
        ip[12..16].copy_from_slice(&header.source.to_be_bytes());
        ip[16..20].copy_from_slice(&header.destination.to_be_bytes());
        let checksum = linecard_wire::checksum::checksum(ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        // The UDP checksum stays 0: not computed (RFC 768).
        write_udp(udp, header.source_port(), header.destination_port, ip_bytes - 20);
        packet[12..Self::HEADERS_BYTES].copy_from_slice(&bytes);
    }

    fn read(packet: &[u8]) -> Option<(Header<Self>, u8)> {
        let bytes = packet.first_chunk::<{ <u32 as Traffic>::HEADERS_BYTES }>()?;
        let ip = linecard_wire::ipv4::Packet::new(&packet[ethernet::HEADER_LENGTH..]).ok()?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let is_whole = word(12) == 0x0800
            && ip.verify_checksum()
            && ip.protocol().0 == UDP
            && usize::from(ip.total_length()) + ethernet::HEADER_LENGTH == packet.len();
        let header = Header {
            source: ip.source().to_bits(),
            destination: ip.destination().to_bits(),
            label: u32::from(word(18)) << 16 | u32::from(word(34)),
            destination_port: word(36),
        };
        is_whole.then_some((header, ip.ttl()))
    }

    fn flow_hash(header: &Header<Self>, hash: &FlowHash) -> u32 {
        hash.ipv4(&FlowIpv4 {
            source: header.source,
            destination: header.destination,
            protocol: UDP,
            source_port: header.source_port(),
            destination_port: header.destination_port,
        })
    }
}

impl Traffic for u128 {
    const FAMILY: Family = Family::Ipv6;
    const HEADERS_BYTES: usize = ethernet::HEADER_LENGTH + 40 + UDP_HEADER_BYTES;

    fn source(random: &mut Random) -> Self {
        // Global unicast: 2000::/3.
        random.address::<Self>() >> 3 | 1 << 125
    }

    fn write(header: &Header<Self>, hops: u8, packet: &mut [u8]) {
        let payload_bytes = packet.len() - ethernet::HEADER_LENGTH - 40;
        let mut bytes = [0; Self::HEADERS_BYTES - 12];
        bytes[..2].copy_from_slice(&[0x86, 0xdd]);
        let (ip, udp) = bytes[2..].split_at_mut(40);
        ip[..4].copy_from_slice(&(6 << 28 | header.label >> 16).to_be_bytes());
        ip[4..6].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
        ip[6] = UDP;
        ip[7] = hops;
        ip[8..24].copy_from_slice(&header.source.to_be_bytes());
        ip[24..40].copy_from_slice(&header.destination.to_be_bytes());
        // The checksum is left at 0, which hosts refuse (RFC 8200 8.1) and routers do not look at.
        write_udp(udp, header.source_port(), header.destination_port, payload_bytes);
        packet[12..Self::HEADERS_BYTES].copy_from_slice(&bytes);
    }

    fn read(packet: &[u8]) -> Option<(Header<Self>, u8)> {
        let bytes = packet.first_chunk::<{ <u128 as Traffic>::HEADERS_BYTES }>()?;
        let ip = linecard_wire::ipv6::Packet::new(&packet[ethernet::HEADER_LENGTH..]).ok()?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let is_whole = word(12) == 0x86dd
            && ip.next_header().0 == UDP
            && ip.total_length() + ethernet::HEADER_LENGTH == packet.len();
        let header = Header {
            source: ip.source().to_bits(),
            destination: ip.destination().to_bits(),
            label: u32::from(word(16)) << 16 | u32::from(word(54)),
            destination_port: word(56),
        };
        is_whole.then_some((header, ip.hop_limit()))
    }

    fn flow_hash(header: &Header<Self>, hash: &FlowHash) -> u32 {
        hash.ipv6(&FlowIpv6 {
            source: header.source,
            destination: header.destination,
            protocol: UDP,
            source_port: header.source_port(),
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

/// Hops left to a packet that a router has forwarded once.
pub(super) const TTL_FORWARDED: u8 = TTL - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn written<A: Traffic>(header: &Header<A>, bytes: usize) -> Vec<u8> {
        let mut packet = vec![0; bytes];
        Source::write(header, MacAddress::new([2, 0, 0, 0, 0, 7]), &mut packet);
        packet
    }

    #[test]
    fn a_packet_is_read_as_it_was_written_and_knows_its_number() {
        for number in [0, 1, 77, u32::MAX] {
            let prefix = Prefix::new(0x0a00_0000u32, 8).expect("a prefix");
            let ranks = Arc::new(Ranks::new(Spread::Uniform, 1));
            let source = Source::new(5, Arc::new(vec![prefix]), Arc::clone(&ranks));
            let header = source.header(3, number);
            assert!(prefix.contains(header.destination));
            assert_eq!(Source::number(&header), number);
            assert_ne!(header, source.header(4, number), "each round has packets of its own");
            assert_eq!(u32::read(&written(&header, 60)), Some((header, TTL)));

            let prefix = Prefix::new(0x2001_0db8u128 << 96, 32).expect("a prefix");
            let header = Source::new(5, Arc::new(vec![prefix]), ranks).header(3, number);
            assert_eq!(Source::number(&header), number);
            assert_eq!(u128::read(&written(&header, 62)), Some((header, TTL)));
        }
    }

    #[test]
    fn zipf_ranks_fall_off_as_one_over_the_rank() {
        let ranks = Ranks::new(Spread::Zipf(1.0), 10_000);
        let mut random = Random::new(1);
        let mut drawn = vec![0u32; 10_000];
        for _ in 0..1_000_000 {
            drawn[ranks.draw(&mut random)] += 1;
        }
        // The harmonic number of 10,000 is 9.7876: the first rank gets 102,170 of a million.
        for (rank, expected) in [(1, 102_170.0), (2, 51_085.0), (10, 10_217.0), (100, 1_021.7)] {
            let error = (f64::from(drawn[rank - 1]) - expected).abs() / expected;
            assert!(error < 0.1, "rank {rank}: {} instead of {expected}", drawn[rank - 1]);
        }
        let tail: u32 = drawn[1_000..].iter().sum();
        assert!((220_000..250_000).contains(&tail), "{tail} of 1,000,000; 235,300 are right");
    }

    #[test]
    fn sizes_are_seven_to_four_to_one() {
        assert!((Sizes::Imix.mean_bytes(Family::Ipv4) - 361.833).abs() < 0.001);
        assert!((Sizes::Smallest.mean_bytes(Family::Ipv6) - 66.0).abs() < f64::EPSILON);
    }
}
