//! Which flow a packet belongs to, as a hash.
//!
//! Only what needs it asks: a router whose routes all have one next hop never does.

use linecard_tables::hash::{FlowHash, FlowIpv4, FlowIpv6};
use linecard_wire::{ipv4, ipv6};

use crate::{Layer3, Metadata};

/// The hash of a packet's flow: of IPv4 addresses, protocol and ports; of IPv6 also the flow label (RFC
/// 6438). Without ports, as in fragments, of which only the first one has them, the rest: and of IPv6
/// addresses and label only, since the protocol may hide behind headers that only the first fragment
/// has.
///
/// 0 for what is neither, and for a packet that is shorter than `metadata` says.
#[inline]
#[must_use]
pub fn flow_hash(packet: &[u8], metadata: &Metadata, hash: &FlowHash) -> u32 {
    let header = packet.get(usize::from(metadata.layer3_offset)..).unwrap_or_default();
    let ports = packet.get(usize::from(metadata.layer4_offset)..).and_then(<[u8]>::first_chunk);
    let (source_port, destination_port) = match ports {
        Some(&[a, b, c, d]) if metadata.has_ports => {
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        }
        _ => (0, 0),
    };
    match metadata.layer3 {
        Layer3::Ipv4 => ipv4::Packet::new(header).map_or(0, |packet| {
            hash.ipv4(&FlowIpv4 {
                source: packet.source().to_bits(),
                destination: packet.destination().to_bits(),
                protocol: metadata.protocol,
                source_port,
                destination_port,
            })
        }),
        Layer3::Ipv6 => ipv6::Packet::new(header).map_or(0, |packet| {
            hash.ipv6(&FlowIpv6 {
                source: packet.source().to_bits(),
                destination: packet.destination().to_bits(),
                protocol: if metadata.has_ports { metadata.protocol } else { 0 },
                source_port,
                destination_port,
                flow_label: packet.flow_label(),
            })
        }),
        Layer3::Other => 0,
    }
}
