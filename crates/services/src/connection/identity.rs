//! Whose packet it is: from headers to the key of a connection and the side that sent the packet.
//!
//! A key is the same in both directions: the lower of the two endpoints (address, then port) comes first, and
//! is side 0. ICMP queries are ordered by role instead, the asking side first, so that two hosts that ping
//! each other with one identifier are two connections. Other protocols have ports of 0.

use std::hint::select_unpredictable;

use linecard_packet::{Layer3, Metadata};
use linecard_tables::hash::{FlowHash, FlowIpv6};
use linecard_wire::ip::Protocol;
use linecard_wire::ipv6_extension::{HEADERS_MAX, UpperLayer};
use linecard_wire::{icmpv4, icmpv6, ipv4, ipv6, tcp};

use super::tcp::Segment;

/// The key of a connection of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Ipv4([u64; 2]),
    Ipv6([u64; 5]),
}

/// What the state depends on besides the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A TCP segment.
    Tcp(Segment),
    /// UDP, SCTP and whatever has no states: either side may begin.
    Datagram,
    /// An ICMP query; its answer cannot begin a connection.
    Query {
        /// It asks.
        is_request: bool,
    },
    /// An ICMP error about a packet that `side` sent; of TCP with its sequence number.
    Error {
        /// The number.
        sequence: Option<u32>,
    },
}

/// A packet's part in its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) side: usize,
    pub(super) protocol: u8,
    pub(super) what: What,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// Look this up. A first fragment comes with the identity of its datagram.
    Flow(Key, Subject, Option<u64>),
    /// A fragment that is not the first, of this datagram.
    LaterFragment(u64),
    /// Neighbour discovery and the like: new, and nothing is kept of it.
    Untracked,
    /// Too short or broken, or of a kind that begins and answers nothing.
    Invalid,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addresses {
    Ipv4(u32, u32),
    Ipv6(u128, u128),
}

impl Addresses {
    fn swapped(self) -> Self {
        match self {
            Self::Ipv4(source, destination) => Self::Ipv4(destination, source),
            Self::Ipv6(source, destination) => Self::Ipv6(destination, source),
        }
    }

    fn destination(self) -> u128 {
        match self {
            Self::Ipv4(_, destination) => destination.into(),
            Self::Ipv6(_, destination) => destination,
        }
    }

    /// Addresses in this order, and two numbers of 16 bits.
    #[inline]
    fn key(self, protocol: u8, first: u16, second: u16) -> Key {
        let rest = u64::from(first) << 24 | u64::from(second) << 8 | u64::from(protocol);
        match self {
            Self::Ipv4(a, b) => Key::Ipv4([u64::from(a) << 32 | u64::from(b), rest]),
            Self::Ipv6(a, b) => {
                Key::Ipv6([(a >> 64) as u64, a as u64, (b >> 64) as u64, b as u64, rest])
            }
        }
    }

    /// The key of two endpoints, and the side of the source.
    fn endpoints(self, protocol: u8, source_port: u16, destination_port: u16) -> (Key, usize) {
        match self {
            Self::Ipv4(source, destination) => {
                let source = endpoint(source, source_port);
                let destination = endpoint(destination, destination_port);
                let (key, side) = key_of_ends(protocol, source, destination);
                (Key::Ipv4(key), side)
            }
            Self::Ipv6(a, b) => {
                let is_upper = (a, source_port) > (b, destination_port);
                let either = |one, other| select_unpredictable(is_upper, other, one);
                let addresses = Self::Ipv6(either(a, b), either(b, a));
                let port = |one, other| select_unpredictable(is_upper, other, one);
                let [low, high] =
                    [port(source_port, destination_port), port(destination_port, source_port)];
                (addresses.key(protocol, low, high), usize::from(is_upper))
            }
        }
    }

    /// The key of a query and its answer.
    fn query(self, protocol: u8, query: Query) -> (Key, usize) {
        let asking = if query.is_request { self } else { self.swapped() };
        (asking.key(protocol, query.identifier, query.kind.into()), usize::from(!query.is_request))
    }

    /// Stands for a fragmented datagram.
    fn datagram(self, protocol: u8, identification: u32, hash: &FlowHash) -> u64 {
        let (source, destination) = match self {
            Self::Ipv4(source, destination) => (source.into(), destination.into()),
            Self::Ipv6(source, destination) => (source, destination),
        };
        let (source_port, destination_port) =
            ((identification >> 16) as u16, identification as u16);
        let flow = |flow_label| FlowIpv6 {
            source,
            destination,
            protocol,
            source_port,
            destination_port,
            flow_label,
        };
        u64::from(hash.ipv6(&flow(1))) << 32 | u64::from(hash.ipv6(&flow(2)))
    }
}

/// An ICMP query or its answer.
#[derive(Debug, Clone, Copy)]
struct Query {
    /// The type of the request.
    kind: u8,
    is_request: bool,
    identifier: u16,
}

impl Query {
    /// From the first bytes of a message.
    fn read(protocol: Protocol, message: &[u8]) -> Option<Self> {
        let (kind, is_request) = match (protocol, *message.first()?) {
            (Protocol::ICMPV4, kind @ (8 | 13 | 15 | 17)) => (kind, true),
            (Protocol::ICMPV4, 0) => (8, false),
            (Protocol::ICMPV4, kind @ (14 | 16 | 18)) => (kind - 1, false),
            (Protocol::ICMPV6, kind @ (128 | 139)) => (kind, true),
            (Protocol::ICMPV6, kind @ (129 | 140)) => (kind - 1, false),
            _ => return None,
        };
        Some(Self { kind, is_request, identifier: u16_at(message, 4)? })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
}

/// The part of a packet that is behind the network layer.
struct Upper<'a> {
    addresses: Addresses,
    protocol: Protocol,
    payload: &'a [u8],
    /// Offset in bytes and identification.
    fragment: Option<(u16, u32)>,
}

fn upper<'a>(packet: &'a [u8], metadata: &Metadata) -> Option<Upper<'a>> {
    let header = packet.get(usize::from(metadata.layer3_offset)..)?;
    match metadata.layer3 {
        Layer3::Ipv4 => {
            let packet = ipv4::Packet::new(header).ok()?;
            let fragment = (packet.fragment_offset(), packet.identification().into());
            Some(Upper {
                addresses: Addresses::Ipv4(
                    packet.source().to_bits(),
                    packet.destination().to_bits(),
                ),
                protocol: packet.protocol(),
                payload: packet.payload(),
                fragment: packet.is_fragment().then_some(fragment),
            })
        }
        Layer3::Ipv6 => {
            let packet = ipv6::Packet::new(header).ok()?;
            let upper = packet.upper_layer(HEADERS_MAX).ok()?;
            let fragment = upper.fragment.filter(|fragment| !fragment.is_atomic());
            Some(Upper {
                addresses: Addresses::Ipv6(
                    packet.source().to_bits(),
                    packet.destination().to_bits(),
                ),
                protocol: upper.protocol,
                payload: upper.payload,
                fragment: fragment.map(|fragment| (fragment.offset, fragment.identification)),
            })
        }
        Layer3::Other => None,
    }
}

/// Key and part of a plain packet, as most are: IPv4, no fragment, of a protocol with ports. `None` of all others,
/// and of those that [`identify`] finds wanting: it is the twin, which says the same of these.
#[inline(always)]
pub(super) fn identify_plain(packet: &[u8], metadata: &Metadata) -> Option<([u64; 2], Subject)> {
    if metadata.layer3 != Layer3::Ipv4 || !metadata.has_ports {
        return None;
    }
    let start = usize::from(metadata.layer3_offset);
    let network = packet.get(start..start + usize::from(metadata.layer3_length))?;
    let header = network.first_chunk::<{ ipv4::HEADER_LENGTH_MIN }>()?;
    let payload = network.get(usize::from(metadata.layer4_offset) - start..)?;
    let &[a, b, c, d] = payload.first_chunk()?;
    let what = match Protocol(metadata.protocol) {
        Protocol::TCP => What::Tcp(Segment::read(&tcp::Segment::new(payload).ok()?)?),
        Protocol::UDP if payload.len() < linecard_wire::udp::HEADER_LENGTH => return None,
        _ => What::Datagram,
    };
    let address = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let source = endpoint(address(12), u16::from_be_bytes([a, b]));
    let destination = endpoint(address(16), u16::from_be_bytes([c, d]));
    let (key, side) = key_of_ends(metadata.protocol, source, destination);
    Some((key, Subject { side, protocol: metadata.protocol, what }))
}

/// An address and a port, which compare as the two one after the other.
#[inline]
fn endpoint(address: u32, port: u16) -> u64 {
    u64::from(address) << 16 | u64::from(port)
}

/// The key of two endpoints of IPv4, and the side of the source. Without a branch: which one is the lower nobody
/// can predict.
#[inline]
fn key_of_ends(protocol: u8, source: u64, destination: u64) -> ([u64; 2], usize) {
    let (low, high) = (source.min(destination), source.max(destination));
    let addresses = low >> 16 << 32 | high >> 16;
    let ports = (low & 0xffff) << 24 | (high & 0xffff) << 8;
    ([addresses, ports | u64::from(protocol)], usize::from(source > destination))
}

/// Whose packet it is. `hash` is for the datagrams of fragments.
#[inline(never)]
pub(super) fn identify(packet: &[u8], metadata: &Metadata, hash: &FlowHash) -> Identity {
    let Some(upper) = upper(packet, metadata) else { return Identity::Invalid };
    let datagram = upper.fragment.map(|(_, identification)| {
        // The protocol of a later fragment of IPv6 may be that of another header.
        let protocol = if metadata.layer3 == Layer3::Ipv4 { upper.protocol.0 } else { 0 };
        upper.addresses.datagram(protocol, identification, hash)
    });
    match (upper.fragment, datagram) {
        (Some(_), _) if upper.protocol == Protocol::TCP => Identity::Invalid,
        (Some((offset, _)), Some(datagram)) if offset > 0 => Identity::LaterFragment(datagram),
        _ => whole(&upper, datagram).unwrap_or(Identity::Invalid),
    }
}

/// A packet with its upper-layer header; `None` when that is cut short or broken.
fn whole(upper: &Upper<'_>, datagram: Option<u64>) -> Option<Identity> {
    let Upper { addresses, protocol, payload, .. } = *upper;
    let flow = |(key, side), what| {
        Identity::Flow(key, Subject { side, protocol: protocol.0, what }, datagram)
    };
    if protocol == Protocol::ICMPV4 || protocol == Protocol::ICMPV6 {
        return control(upper, datagram);
    }
    let (source_port, destination_port) =
        if has_ports(protocol) { (u16_at(payload, 0)?, u16_at(payload, 2)?) } else { (0, 0) };
    let ends = addresses.endpoints(protocol.0, source_port, destination_port);
    let what = match protocol {
        Protocol::TCP => What::Tcp(Segment::read(&tcp::Segment::new(payload).ok()?)?),
        Protocol::UDP if payload.len() < linecard_wire::udp::HEADER_LENGTH => return None,
        _ => What::Datagram,
    };
    Some(flow(ends, what))
}

/// An ICMP message.
fn control(upper: &Upper<'_>, datagram: Option<u64>) -> Option<Identity> {
    let Upper { addresses, protocol, payload, .. } = *upper;
    if let Some(query) = Query::read(protocol, payload) {
        let (key, side) = addresses.query(protocol.0, query);
        let what = What::Query { is_request: query.is_request };
        return Some(Identity::Flow(key, Subject { side, protocol: protocol.0, what }, datagram));
    }
    let (is_error, is_untracked, quoted) = if protocol == Protocol::ICMPV4 {
        let message = icmpv4::Message::new(payload).ok()?;
        (message.message_type().is_error(), false, message.payload())
    } else {
        let message = icmpv6::Message::new(payload).ok()?;
        let kind = message.message_type();
        // Multicast listener and neighbour discovery stay on their link.
        (kind.is_error(), matches!(kind.0, 130..=137 | 143), message.payload())
    };
    if is_untracked {
        return Some(Identity::Untracked);
    }
    if !is_error {
        return None;
    }
    let (sent, key, subject) = match addresses {
        Addresses::Ipv4(..) => quoted_ipv4(quoted),
        Addresses::Ipv6(..) => quoted_ipv6(quoted),
    }?;
    // The error is for the sender of the packet, and for nobody else (RFC 792, RFC 4443 2.4).
    let is_for_sender = sent.swapped().destination() == addresses.destination();
    is_for_sender.then_some(Identity::Flow(key, subject, datagram))
}

/// Addresses, key and side of a packet that an error quotes.
type Quoted = (Addresses, Key, Subject);

/// An IPv4 packet that may be cut off behind 8 bytes of its payload (RFC 792).
fn quoted_ipv4(packet: &[u8]) -> Option<Quoted> {
    let first = *packet.first()?;
    let later = u16_at(packet, 6)? & 0x1fff != 0;
    if first >> 4 != 4 || first & 0xf < 5 || later {
        return None;
    }
    let addresses = Addresses::Ipv4(u32_at(packet, 12)?, u32_at(packet, 16)?);
    quoted(addresses, Protocol(*packet.get(9)?), packet.get(usize::from(first & 0xf) * 4..)?)
}

/// An IPv6 packet that is cut off somewhere (RFC 4443 2.4).
fn quoted_ipv6(packet: &[u8]) -> Option<Quoted> {
    let (header, behind) = packet.split_first_chunk::<{ ipv6::HEADER_LENGTH }>()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |at| {
        let octets: Option<&[u8; 16]> = header.get(at..).and_then(<[u8]>::first_chunk);
        octets.map(|octets| u128::from_be_bytes(*octets))
    };
    let addresses = Addresses::Ipv6(address(8)?, address(24)?);
    let upper = UpperLayer::find(Protocol(header[6]), behind, HEADERS_MAX).ok()?;
    if upper.has_header() { quoted(addresses, upper.protocol, upper.payload) } else { None }
}

fn quoted(addresses: Addresses, protocol: Protocol, payload: &[u8]) -> Option<Quoted> {
    let (key, side) = match protocol {
        Protocol::ICMPV4 | Protocol::ICMPV6 => {
            addresses.query(protocol.0, Query::read(protocol, payload)?)
        }
        _ if has_ports(protocol) => {
            addresses.endpoints(protocol.0, u16_at(payload, 0)?, u16_at(payload, 2)?)
        }
        _ => addresses.endpoints(protocol.0, 0, 0),
    };
    let sequence = if protocol == Protocol::TCP { Some(u32_at(payload, 4)?) } else { None };
    let subject = Subject { side, protocol: protocol.0, what: What::Error { sequence } };
    Some((addresses, key, subject))
}
