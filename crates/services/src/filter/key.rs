//! What the classifier is asked about a packet, and how rules and packets agree on it.
//!
//! A [`Key`]'s `kind` has the protocol in its low byte and, above, what there is of the packet: so a rule
//! on ports asks for [`HAS_PORTS`] beside its ranges, and no later fragment, of which nobody knows the
//! ports, matches by the 0 that stands in their place. `marks` has the TCP flags in its low byte and the
//! DSCP above, and on top of it the state of the packet's connection, where that is known.

use linecard_packet::{Layer3, Metadata};
use linecard_tables::classifier::Key;
use linecard_wire::ip::Protocol;
use linecard_wire::{ipv4, ipv6, ipv6_extension};

use crate::connection::ConnectionState;

/// In `kind`: source and destination port are there.
pub(super) const HAS_PORTS: u16 = 1 << 8;
/// In `kind`: ICMP type and code are there, in place of the ports.
pub(super) const HAS_ICMP: u16 = 1 << 9;
/// In `kind`: TCP flags are there.
pub(super) const HAS_TCP_FLAGS: u16 = 1 << 10;
/// In `kind`: the packet is a fragment.
pub(super) const IS_FRAGMENT: u16 = 1 << 11;
/// In `kind`: and not the first one.
pub(super) const IS_LATER_FRAGMENT: u16 = 1 << 12;
/// In `kind`: the state of the packet's connection is there.
pub(super) const HAS_STATE: u16 = 1 << 13;
/// Place of the DSCP in `marks`.
pub(super) const DSCP_SHIFT: u32 = 8;
/// The bits of the state in `marks`.
pub(super) const STATE_MASK: u16 = 3 << 14;
/// In `marks`: established or related, which most rules on states ask for together: with this it is one entry.
pub(super) const STATE_KNOWN: u16 = 2 << 14;

/// Bytes of a TCP header up to its flags.
pub(super) const TCP_FLAGS_OFFSET: usize = 13;

/// What the first bytes behind the network-layer header are, by protocol number: a table, because a mix of
/// protocols cannot be predicted.
const HEADER_OF_PROTOCOL: [u16; 256] = {
    let mut header = [0; 256];
    header[Protocol::TCP.0 as usize] = HAS_PORTS;
    header[Protocol::UDP.0 as usize] = HAS_PORTS;
    header[Protocol::SCTP.0 as usize] = HAS_PORTS;
    header[Protocol::ICMPV4.0 as usize] = HAS_ICMP;
    header[Protocol::ICMPV6.0 as usize] = HAS_ICMP;
    header
};

/// The key of an IPv4 packet that parse has seen; `None` when it is shorter than `metadata` says.
#[inline]
pub(super) fn of_ipv4(packet: &[u8], metadata: &Metadata) -> Option<Key<u32>> {
    let network = network_layer(packet, metadata)?;
    let header = network.first_chunk::<20>()?;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let fragment = match fragment & 0x3fff {
        0 => 0,
        0x2000 => IS_FRAGMENT,
        _ => fragment_of(fragment & 0x1fff),
    };
    let start = usize::from(metadata.layer4_offset) - usize::from(metadata.layer3_offset);
    let upper = network.get(start..).unwrap_or_default();
    Some(Key {
        source: u32::from_be_bytes([header[12], header[13], header[14], header[15]]),
        destination: u32::from_be_bytes([header[16], header[17], header[18], header[19]]),
        ..with_upper_layer(upper, metadata.protocol, fragment, header[1] >> 2)
    })
}

/// The key of an IPv6 packet that parse has seen; `None` when it is shorter than `metadata` says.
#[inline]
pub(super) fn of_ipv6(packet: &[u8], metadata: &Metadata) -> Option<Key<u128>> {
    let network = network_layer(packet, metadata)?;
    let header = network.first_chunk::<40>()?;
    let dscp = header[0] << 2 & 0x3c | header[1] >> 6;
    let next_header = Protocol(header[6]);
    let rest = if next_header.is_ipv6_extension() {
        behind_extensions(network, dscp)
    } else {
        with_upper_layer(&network[40..], next_header.0, 0, dscp)
    };
    let (source, destination) = header[8..].split_at(16);
    Some(Key {
        source: u128::from_be_bytes(*source.first_chunk()?),
        destination: u128::from_be_bytes(*destination.first_chunk()?),
        source_port: rest.source_port,
        destination_port: rest.destination_port,
        kind: rest.kind,
        marks: rest.marks,
    })
}

/// The network-layer packet, without padding.
#[inline]
pub(super) fn network_layer<'a>(packet: &'a [u8], metadata: &Metadata) -> Option<&'a [u8]> {
    packet.get(usize::from(metadata.layer3_offset)..)?.get(..usize::from(metadata.layer3_length))
}

/// The upper-layer protocol and what stands from its header on; `None` for a later fragment, which has no
/// such header, and where extension headers cannot be read to their end.
pub(super) fn upper_layer<'a>(
    network: &'a [u8],
    metadata: &Metadata,
) -> Option<(Protocol, &'a [u8])> {
    match metadata.layer3 {
        Layer3::Ipv4 => {
            let packet = ipv4::Packet::new(network).ok()?;
            (packet.fragment_offset() == 0).then(|| (packet.protocol(), packet.payload()))
        }
        Layer3::Ipv6 => {
            let packet = ipv6::Packet::new(network).ok()?;
            let upper = packet.upper_layer(ipv6_extension::HEADERS_MAX).ok()?;
            upper.has_header().then_some((upper.protocol, upper.payload))
        }
        Layer3::Other => None,
    }
}

/// A state in `marks`.
#[inline]
pub(super) const fn mark_of(state: ConnectionState) -> u16 {
    match state {
        ConnectionState::New => 0,
        ConnectionState::Invalid => 1 << 14,
        ConnectionState::Established => STATE_KNOWN,
        ConnectionState::Related => STATE_KNOWN | 1 << 14,
    }
}

fn fragment_of(offset: u16) -> u16 {
    if offset == 0 { IS_FRAGMENT } else { IS_FRAGMENT | IS_LATER_FRAGMENT }
}

/// A packet with extension headers. If their chain cannot be read to its end, what was found is the protocol
/// and nothing else is there.
#[cold]
fn behind_extensions(network: &[u8], dscp: u8) -> Key<u32> {
    let chain = ipv6::Packet::new(network).ok();
    let upper = chain.and_then(|packet| packet.upper_layer(ipv6_extension::HEADERS_MAX).ok());
    let Some(upper) = upper else {
        return with_upper_layer(&[], network.get(6).copied().unwrap_or(0), 0, dscp);
    };
    let fragment = match upper.fragment {
        Some(fragment) if !fragment.is_atomic() => fragment_of(fragment.offset),
        _ => 0,
    };
    with_upper_layer(upper.payload, upper.protocol.0, fragment, dscp)
}

/// All of a key but the addresses.
#[inline]
fn with_upper_layer(upper: &[u8], protocol: u8, fragment: u16, dscp: u8) -> Key<u32> {
    let mut key = Key {
        kind: u16::from(protocol) | fragment,
        marks: u16::from(dscp) << DSCP_SHIFT,
        ..Key::default()
    };
    let header = HEADER_OF_PROTOCOL[usize::from(protocol)];
    let Some(&[a, b, c, d]) = upper.first_chunk() else { return key };
    if fragment & IS_LATER_FRAGMENT != 0 {
        return key;
    }
    key.kind |= header;
    let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    let type_and_code = [u16::from(a), u16::from(b)];
    let [source, destination] = match header {
        HAS_PORTS => ports,
        HAS_ICMP => type_and_code,
        _ => [0; 2],
    };
    (key.source_port, key.destination_port) = (source, destination);
    if let Some(&flags) = upper.get(TCP_FLAGS_OFFSET)
        && protocol == Protocol::TCP.0
    {
        key.kind |= HAS_TCP_FLAGS;
        key.marks |= u16::from(flags);
    }
    key
}
