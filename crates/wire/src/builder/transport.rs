//! Layers on top of IP: UDP, TCP, ICMP and ICMPv6.

use super::length_u16;
use crate::checksum::Sum;
use crate::tcp::{self, Flags};
use crate::{icmpv4, icmpv6};

/// A UDP header. `Option`s override what follows from the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The length, where not the true one.
    pub length: Option<u16>,
    /// The checksum, where not the right one; 0 over IPv4 means none.
    pub checksum: Option<u16>,
}

impl Udp {
    /// A header with nothing overridden.
    pub const fn new(source_port: u16, destination_port: u16) -> Self {
        Self { source_port, destination_port, length: None, checksum: None }
    }

    pub(super) fn emit(&self, pseudo_header: Sum, body: &[u8]) -> Vec<u8> {
        let mut bytes = self.source_port.to_be_bytes().to_vec();
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(self.length.unwrap_or(length_u16(8 + body.len())).to_be_bytes());
        bytes.extend([0, 0]);
        // RFC 768: a computed zero is sent as all ones, since zero means "no checksum".
        let checksum = match pseudo_header.add_bytes(&bytes).add_bytes(body).finish() {
            0 => 0xffff,
            checksum => checksum,
        };
        put_checksum(&mut bytes, 6, self.checksum.unwrap_or(checksum));
        bytes
    }
}

/// A TCP header. `Option`s override what follows from the stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence_number: u32,
    /// Acknowledgement number.
    pub acknowledgment_number: u32,
    /// The control bits.
    pub flags: Flags,
    /// The window, not scaled.
    pub window: u16,
    /// The urgent pointer.
    pub urgent_pointer: u16,
    /// Options, filled with zeroes to a multiple of 4; at most 40 bytes fit the data offset.
    pub options: Vec<u8>,
    /// The header length in units of 4 bytes, where not the true one; low 4 bits count.
    pub data_offset: Option<u8>,
    /// The checksum, where not the right one.
    pub checksum: Option<u16>,
}

impl Tcp {
    /// A segment with ACK set, numbers 0 and the largest window; nothing overridden.
    pub fn new(source_port: u16, destination_port: u16) -> Self {
        let window = u16::MAX;
        Self { source_port, destination_port, flags: Flags::ACK, window, ..Self::default() }
    }

    /// The true header length in bytes.
    pub(super) fn length(&self) -> usize {
        tcp::HEADER_LENGTH_MIN + self.options.len().next_multiple_of(4)
    }

    pub(super) fn emit(&self, pseudo_header: Sum, body: &[u8]) -> Vec<u8> {
        let data_offset = self.data_offset.unwrap_or((self.length() / 4) as u8);
        let mut bytes = Vec::with_capacity(self.length());
        bytes.extend(self.source_port.to_be_bytes());
        bytes.extend(self.destination_port.to_be_bytes());
        bytes.extend(self.sequence_number.to_be_bytes());
        bytes.extend(self.acknowledgment_number.to_be_bytes());
        bytes.extend([data_offset << 4, self.flags.0]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(self.urgent_pointer.to_be_bytes());
        bytes.extend(&self.options);
        bytes.resize(self.length(), 0);
        let checksum = pseudo_header.add_bytes(&bytes).add_bytes(body).finish();
        put_checksum(&mut bytes, 16, self.checksum.unwrap_or(checksum));
        bytes
    }
}

/// An ICMP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv4 {
    /// Type of the message.
    pub message_type: icmpv4::MessageType,
    /// Code.
    pub code: u8,
    /// The four bytes behind the checksum, as the type defines them.
    pub rest_of_header: [u8; 4],
    /// The checksum, where not the right one.
    pub checksum: Option<u16>,
}

impl Icmpv4 {
    /// A header whose four bytes behind the checksum are zero.
    pub const fn new(message_type: u8, code: u8) -> Self {
        let message_type = icmpv4::MessageType(message_type);
        Self { message_type, code, rest_of_header: [0; 4], checksum: None }
    }

    /// An echo request.
    pub const fn echo_request(identifier: u16, sequence_number: u16) -> Self {
        let rest_of_header = echo_fields(identifier, sequence_number);
        Self { rest_of_header, ..Self::new(icmpv4::MessageType::ECHO_REQUEST.0, 0) }
    }

    /// An echo reply.
    pub const fn echo_reply(identifier: u16, sequence_number: u16) -> Self {
        let rest_of_header = echo_fields(identifier, sequence_number);
        Self { rest_of_header, ..Self::new(icmpv4::MessageType::ECHO_REPLY.0, 0) }
    }

    pub(super) fn emit(&self, body: &[u8]) -> Vec<u8> {
        emit_icmp(self.message_type.0, self.code, self.rest_of_header, self.checksum, |header| {
            Sum::new().add_bytes(header).add_bytes(body)
        })
    }
}

/// An ICMPv6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv6 {
    /// Type of the message.
    pub message_type: icmpv6::MessageType,
    /// Code.
    pub code: u8,
    /// The four bytes behind the checksum, as the type defines them.
    pub rest_of_header: [u8; 4],
    /// The checksum, where not the right one.
    pub checksum: Option<u16>,
}

impl Icmpv6 {
    /// A header whose four bytes behind the checksum are zero.
    pub const fn new(message_type: u8, code: u8) -> Self {
        let message_type = icmpv6::MessageType(message_type);
        Self { message_type, code, rest_of_header: [0; 4], checksum: None }
    }

    /// An echo request.
    pub const fn echo_request(identifier: u16, sequence_number: u16) -> Self {
        let rest_of_header = echo_fields(identifier, sequence_number);
        Self { rest_of_header, ..Self::new(icmpv6::MessageType::ECHO_REQUEST.0, 0) }
    }

    /// An echo reply.
    pub const fn echo_reply(identifier: u16, sequence_number: u16) -> Self {
        let rest_of_header = echo_fields(identifier, sequence_number);
        Self { rest_of_header, ..Self::new(icmpv6::MessageType::ECHO_REPLY.0, 0) }
    }

    pub(super) fn emit(&self, pseudo_header: Sum, body: &[u8]) -> Vec<u8> {
        emit_icmp(self.message_type.0, self.code, self.rest_of_header, self.checksum, |header| {
            pseudo_header.add_bytes(header).add_bytes(body)
        })
    }
}

const fn echo_fields(identifier: u16, sequence_number: u16) -> [u8; 4] {
    ((identifier as u32) << 16 | sequence_number as u32).to_be_bytes()
}

fn emit_icmp(
    message_type: u8,
    code: u8,
    rest_of_header: [u8; 4],
    checksum: Option<u16>,
    sum: impl Fn(&[u8]) -> Sum,
) -> Vec<u8> {
    let mut bytes = vec![message_type, code, 0, 0];
    bytes.extend(rest_of_header);
    let checksum = checksum.unwrap_or_else(|| sum(&bytes).finish());
    put_checksum(&mut bytes, 2, checksum);
    bytes
}

fn put_checksum(bytes: &mut [u8], at: usize, checksum: u16) {
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
