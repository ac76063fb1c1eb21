//! Layers of the network: IPv4, IPv6 and its extension headers.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::length_u16;
use crate::checksum::checksum;
use crate::ip::{Ecn, Protocol};
use crate::{ipv4, ipv6};

/// The protocol of a packet whose payload is bare bytes: "experimentation and testing" (RFC 3692).
pub const PROTOCOL_EXPERIMENTAL: Protocol = Protocol(253);

/// An IPv4 header. `Option`s override what follows from the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Time to live, in hops.
    pub ttl: u8,
    /// Differentiated services codepoint, 0..=63.
    pub dscp: u8,
    /// Explicit congestion notification.
    pub ecn: Ecn,
    /// Identification.
    pub identification: u16,
    /// The reserved bit of the flags.
    pub reserved_flag: bool,
    /// The DF bit.
    pub dont_fragment: bool,
    /// The MF bit.
    pub more_fragments: bool,
    /// Fragment offset in bytes, a multiple of 8; lower bits are cut.
    pub fragment_offset: u16,
    /// Options, filled with zeroes to a multiple of 4; at most 40 bytes fit the header length.
    pub options: Vec<u8>,
    /// The protocol, where not that of the next layer: for fragments and odd cases.
    pub protocol: Option<Protocol>,
    /// The version, where not 4; low 4 bits count.
    pub version: Option<u8>,
    /// The header length in units of 4 bytes, where not the true one; low 4 bits count.
    pub ihl: Option<u8>,
    /// The total length, where not the true one.
    pub total_length: Option<u16>,
    /// The checksum, where not the right one.
    pub checksum: Option<u16>,
}

impl Ipv4 {
    /// A header with TTL 64, DF clear, no options, nothing overridden.
    pub const fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self {
            source,
            destination,
            ttl: 64,
            dscp: 0,
            ecn: Ecn::NotEct,
            identification: 0,
            reserved_flag: false,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            options: Vec::new(),
            protocol: None,
            version: None,
            ihl: None,
            total_length: None,
            checksum: None,
        }
    }

    pub(super) fn emit(&self, protocol: Protocol, body_length: usize) -> Vec<u8> {
        let options_length = self.options.len().next_multiple_of(4);
        let length = ipv4::HEADER_LENGTH_MIN + options_length;
        let ihl = self.ihl.unwrap_or((length / 4) as u8) & 0x0f;
        let total_length = self.total_length.unwrap_or(length_u16(length + body_length));
        let flags = u16::from(self.reserved_flag) << 15
            | u16::from(self.dont_fragment) << 14
            | u16::from(self.more_fragments) << 13;

        let mut bytes = Vec::with_capacity(length);
        bytes.extend([self.version.unwrap_or(4) << 4 | ihl, self.dscp << 2 | self.ecn.bits()]);
        bytes.extend(total_length.to_be_bytes());
        bytes.extend(self.identification.to_be_bytes());
        bytes.extend((flags | self.fragment_offset >> 3).to_be_bytes());
        bytes.extend([self.ttl, self.protocol.unwrap_or(protocol).0, 0, 0]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(&self.options);
        bytes.resize(length, 0);
        let checksum = self.checksum.unwrap_or_else(|| checksum(&bytes));
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// An IPv6 fixed header. `Option`s override what follows from the stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address, which is also the checksums' one, whatever a routing header says.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Differentiated services codepoint, 0..=63.
    pub dscp: u8,
    /// Explicit congestion notification.
    pub ecn: Ecn,
    /// Flow label, low 20 bits count.
    pub flow_label: u32,
    /// The next header, where not that of the next layer.
    pub next_header: Option<Protocol>,
    /// The version, where not 6; low 4 bits count.
    pub version: Option<u8>,
    /// The payload length, where not the true one.
    pub payload_length: Option<u16>,
}

impl Ipv6 {
    /// A header with hop limit 64, no flow label, nothing overridden.
    pub const fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            source,
            destination,
            hop_limit: 64,
            dscp: 0,
            ecn: Ecn::NotEct,
            flow_label: 0,
            next_header: None,
            version: None,
            payload_length: None,
        }
    }

    pub(super) fn emit(&self, protocol: Protocol, body_length: usize) -> Vec<u8> {
        let traffic_class = u32::from(self.dscp << 2 | self.ecn.bits());
        let version = u32::from(self.version.unwrap_or(6));
        let first = version << 28 | traffic_class << 20 | self.flow_label & 0x000f_ffff;
        let payload_length = self.payload_length.unwrap_or(length_u16(body_length));

        let mut bytes = Vec::with_capacity(ipv6::HEADER_LENGTH);
        bytes.extend(first.to_be_bytes());
        bytes.extend(payload_length.to_be_bytes());
        bytes.extend([self.next_header.unwrap_or(protocol).0, self.hop_limit]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes
    }
}

/// An IPv6 extension header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its kind.
    pub protocol: Protocol,
    /// Everything behind the first two bytes, as long as the kind wants it.
    pub body: Vec<u8>,
    /// The next header, where not that of the next layer.
    pub next_header: Option<Protocol>,
    /// The length byte, where not the true one.
    pub length: Option<u8>,
}

impl Extension {
    fn new(protocol: Protocol, body: Vec<u8>) -> Self {
        Self { protocol, body, next_header: None, length: None }
    }

    /// Hop-by-hop options; padding is added.
    pub fn hop_by_hop(options: &[u8]) -> Self {
        Self::new(Protocol::HOP_BY_HOP, padded(options))
    }

    /// Destination options; padding is added.
    pub fn destination_options(options: &[u8]) -> Self {
        Self::new(Protocol::DESTINATION_OPTIONS, padded(options))
    }

    /// A routing header of type `kind`; `data` begins behind "segments left" and is filled with
    /// zeroes to a multiple of 8, less 4.
    pub fn routing(kind: u8, segments_left: u8, data: &[u8]) -> Self {
        let mut body = vec![kind, segments_left];
        body.extend(data);
        body.resize((body.len() + 2).next_multiple_of(8) - 2, 0);
        Self::new(Protocol::ROUTING, body)
    }

    /// A fragment header; `offset` in bytes is a multiple of 8.
    pub fn fragment(offset: u16, more_fragments: bool, identification: u32) -> Self {
        let mut body = (offset & 0xfff8 | u16::from(more_fragments)).to_be_bytes().to_vec();
        body.extend(identification.to_be_bytes());
        Self::new(Protocol::FRAGMENT, body)
    }

    /// An authentication header (RFC 4302) with an integrity check value of 12 bytes.
    pub fn authentication(spi: u32, sequence_number: u32) -> Self {
        let mut body = vec![0; 2];
        body.extend(spi.to_be_bytes());
        body.extend(sequence_number.to_be_bytes());
        body.extend([0xa5; 12]);
        Self::new(Protocol::AUTHENTICATION, body)
    }

    pub(super) fn emit(&self, protocol: Protocol) -> Vec<u8> {
        let length = self.body.len() + 2;
        let units = match self.protocol {
            Protocol::FRAGMENT => 0,
            Protocol::AUTHENTICATION => (length / 4).saturating_sub(2),
            _ => (length / 8).saturating_sub(1),
        };
        let mut bytes = vec![self.next_header.unwrap_or(protocol).0];
        bytes.push(self.length.unwrap_or(units as u8));
        bytes.extend(&self.body);
        bytes
    }
}

/// Options with Pad1 or PadN behind them, so that with two bytes in front they fill units of 8.
fn padded(options: &[u8]) -> Vec<u8> {
    let mut body = options.to_vec();
    let end = (options.len() + 2).next_multiple_of(8) - 2;
    match end - options.len() {
        0 => {}
        1 => body.push(0),
        padding => {
            body.extend([1, (padding - 2) as u8]);
            body.resize(end, 0);
        }
    }
    body
}
