//! The packets: which destinations, which sizes, and a header that is new each time.
//!
//! A packet is a function of (seed, round, number), so that the checker can make it again and hold
//! the bytes that came out against it. The number travels in the packet itself: in IPv4 behind the
//! longest header, that of TCP, in IPv6 in the flow label and in the upper-layer header.
//!
//! What the router is to be tested with decides on the rest ([`Draw`]): destinations on its routes, from
//! anywhere or from where the route leads back, in UDP; packets that its filters' rules ask for; packets of flows.
//!
//! Sizes are those on the wire, frame check sequence included (RFC 2544 9): a frame in memory is 4
//! bytes shorter. IMIX is 7 : 4 : 1 of 64, 594 and 1,518 bytes, in IP packets 46, 576 and 1,500. The
//! smallest IPv6 frame here has 66 bytes, since UDP over IPv6 does not fit into 64, and 78 where some have TCP.

use std::sync::Arc;

use linecard_tables::classifier::Key;
use linecard_tables::generator::Random;
use linecard_tables::hash::FlowHash;
use linecard_tables::lpm::{Address, Prefix};
use linecard_wire::MacAddress;
use linecard_wire::ip::Protocol;

use super::connections::{Flow, Flows};
use super::ranks::Ranks;
use super::rules::RuleSet;
use super::sources::Origins;

/// Frame check sequence, which a frame in memory does not have.
pub(super) const FCS_BYTES: usize = 4;
/// Preamble, start frame delimiter and the shortest gap to the next frame (IEEE 802.3 3.1.1, 4.4.2).
pub(super) const GAP_BYTES: usize = 20;
/// Times to live with which packets come in.
const TTL: u8 = 64;
/// The longest frame without its check sequence.
pub(super) const FRAME_BYTES_MAX: usize = 1518 - FCS_BYTES;
pub(super) const TCP: u8 = Protocol::TCP.0;
pub(super) const UDP: u8 = Protocol::UDP.0;
/// Any odd number has an inverse modulo 2^32; this one spreads neighbouring numbers.
const SPREAD: u32 = 0x9e37_79b1;

/// How large packets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    /// The smallest frame that holds a UDP header: 64 bytes, 66 for IPv6.
    Smallest,
    /// The smallest that holds a TCP header: 64 bytes, 78 for IPv6.
    SmallestTcp,
    /// 7 : 4 : 1 of the smallest, 594 and 1,518 bytes.
    Imix,
}

impl Sizes {
    /// Twelve packets of this mix, in bytes on the wire.
    pub(super) fn mix(self, family: Family) -> [usize; 12] {
        let small = family.frame_bytes_min();
        match self {
            Self::Smallest => [small; 12],
            Self::SmallestTcp => [family.tcp_frame_bytes_min(); 12],
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
    fn tcp_frame_bytes_min(self) -> usize {
        match self {
            Self::Ipv4 => 64,
            Self::Ipv6 => 78,
        }
    }

    fn frame_bytes_min(self) -> usize {
        match self {
            Self::Ipv4 => 64,
            Self::Ipv6 => 66,
        }
    }
}

/// An address family as the generator writes it.
pub(super) trait Traffic: Address {
    const FAMILY: Family;

    /// Bytes from the Ethernet header to the end of what is written of a packet of so many: the rest are zeroes.
    fn headers_bytes(packet_bytes: usize) -> usize;
    /// A source that a router forwards from.
    fn source(random: &mut Random) -> Self;
    /// This address, or where no router forwards from or to it, one that differs in the first bits.
    fn forwarded(self) -> Self;
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
    pub(super) protocol: u8,
    /// 0 where the protocol has no ports.
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    /// 0 but for TCP.
    pub(super) tcp_flags: u8,
}

/// What packets are drawn from.
#[derive(Debug, Clone)]
pub(super) enum Draw<A: Address> {
    /// Destinations from routes, by rank; not one of them may be missing.
    Routes(Arc<Vec<Prefix<A>>>, Arc<Ranks>),
    /// Whole headers from the rules of a filter.
    Rules(Arc<RuleSet<A>>),
    /// As [`Self::Routes`], from sources whose route is that back to the packet's port.
    ThereAndBack(Arc<Vec<Prefix<A>>>, Arc<Ranks>, Arc<Origins<A>>),
    /// Of flows, between any addresses: IPv4 only.
    Flows(Flows),
}

/// Makes packet `number` of any round.
pub(super) struct Source<A: Address> {
    seed: u64,
    draw: Draw<A>,
}

impl<A: Traffic> Source<A> {
    pub(super) fn new(seed: u64, draw: Draw<A>) -> Self {
        Self { seed, draw }
    }

    /// The header of packet `number` in `round`: another in each round.
    pub(super) fn header(&self, round: u32, number: u32) -> Header<A> {
        let key = u64::from(round) << 32 | u64::from(number);
        let mut random = Random::new(self.seed ^ key.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let label = number.wrapping_mul(SPREAD);
        match &self.draw {
            Draw::Routes(prefixes, ranks) => {
                Header::to(prefixes[ranks.draw(&mut random)], A::source, label, &mut random)
            }
            Draw::Rules(rules) => Header::of_key(&rules.key(&mut random), label),
            Draw::ThereAndBack(prefixes, ranks, origins) => {
                let source = |random: &mut Random| origins.source(number, random);
                Header::to(prefixes[ranks.draw(&mut random)], source, label, &mut random)
            }
            Draw::Flows(flows) => {
                Header::of_flow(flows.packet(self.seed, (round, number), &mut random), label)
            }
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

impl<A: Address> Header<A> {
    /// To any address of a prefix, from a source that is drawn.
    fn to(
        prefix: Prefix<A>,
        source: impl FnOnce(&mut Random) -> A,
        label: u32,
        random: &mut Random,
    ) -> Self {
        let host = A::mask(prefix.length()) ^ A::mask(A::BITS);
        Self {
            source: source(random),
            destination: prefix.bits() | (random.address::<A>() & host),
            label,
            protocol: UDP,
            source_port: label as u16,
            destination_port: random.next_u64() as u16,
            tcp_flags: 0,
        }
    }

    fn of_flow(flow: Flow<A>, label: u32) -> Self {
        let Flow { source, destination, source_port, destination_port } = flow;
        let (protocol, tcp_flags) = (UDP, 0);
        Self { source, destination, label, protocol, source_port, destination_port, tcp_flags }
    }

    /// The header of the packet that a filter sees as this key.
    fn of_key(key: &Key<A>, label: u32) -> Self {
        let protocol = key.kind as u8;
        let has_ports = [TCP, UDP].contains(&protocol);
        let with = |has: bool, value: u16| if has { value } else { 0 };
        Self {
            source: key.source,
            destination: key.destination,
            label,
            protocol,
            source_port: with(has_ports, key.source_port),
            destination_port: with(has_ports, key.destination_port),
            tcp_flags: with(protocol == TCP, key.marks) as u8,
        }
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

/// Hops left to a packet that a router has forwarded once.
pub(super) const TTL_FORWARDED: u8 = TTL - 1;

#[cfg(test)]
mod tests {
    use super::super::ranks::Spread;
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
            let source = Source::new(5, Draw::Routes(Arc::new(vec![prefix]), Arc::clone(&ranks)));
            let header = source.header(3, number);
            assert!(prefix.contains(header.destination));
            assert_eq!(Source::number(&header), number);
            assert_ne!(header, source.header(4, number), "each round has packets of its own");
            assert_eq!(u32::read(&written(&header, 60)), Some((header, TTL)));

            let prefix = Prefix::new(0x2001_0db8u128 << 96, 32).expect("a prefix");
            let draw = Draw::Routes(Arc::new(vec![prefix]), ranks);
            let header = Source::new(5, draw).header(3, number);
            assert_eq!(Source::number(&header), number);
            assert_eq!(u128::read(&written(&header, 62)), Some((header, TTL)));
        }
    }

    #[test]
    fn sizes_are_seven_to_four_to_one() {
        assert!((Sizes::Imix.mean_bytes(Family::Ipv4) - 361.833).abs() < 0.001);
        assert!((Sizes::Smallest.mean_bytes(Family::Ipv6) - 66.0).abs() < f64::EPSILON);
    }
}
