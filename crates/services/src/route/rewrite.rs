//! The rewrite of packets that go on: addresses, VLAN tags, TTL or hop limit, length.
//!
//! What may happen to a packet here: it is ready to send, or drop `frame_too_small` when there is
//! no headroom for the tags to be added, or drop `port_down` when its adjacency is gone.
//!
//! Padding behind the IP packet is cut off, as the kernel does on receipt (`pskb_trim_rcsum` in
//! `ip_rcv_core` and `ip6_rcv_core`); the sending card pads short frames again. Tags are those of
//! the outgoing interface, with priority 0; a priority that came in is not carried over.

use linecard_io::{Frame, PacketMemory};
use linecard_packet::{Batch, DropReason, Layer3, Metadata, Verdict};
use linecard_wire::ethernet::EtherType;
use linecard_wire::{ipv4, ipv6};

use super::RouteTables;
use super::entry::Rewrite;

/// The EtherType behind addresses and tags.
const ETHERTYPE_LENGTH: usize = 2;
/// Ethernet header without tags.
const UNTAGGED_HEADER_LENGTH: usize = 14;

/// Rewrites each packet whose verdict is to forward. `tables` are those that gave the verdict.
pub fn rewrite(batch: &mut Batch, memory: &mut PacketMemory, tables: &RouteTables) {
    let packets = batch.frames.iter_mut().zip(&batch.metadata).zip(&mut batch.verdicts);
    for ((frame, metadata), verdict) in packets {
        let Verdict::Forward { adjacency, .. } = *verdict else { continue };
        let rewrite = tables.rewrite(adjacency);
        let done = match rewrite.untagged() {
            Some(addresses) if usize::from(metadata.layer3_offset) == UNTAGGED_HEADER_LENGTH => {
                rewrite_in_place(frame, metadata, memory, addresses)
            }
            _ if metadata.layer3_length > rewrite.length_max => Err(DropReason::PortDown),
            _ => rewrite_tags(frame, metadata, memory, rewrite),
        };
        if let Err(reason) = done {
            *verdict = Verdict::Drop(reason);
        }
    }
}

/// No tags came in and none go out: only addresses change, the EtherType stays.
#[inline]
fn rewrite_in_place(
    frame: &mut Frame,
    metadata: &Metadata,
    memory: &mut PacketMemory,
    addresses: &[u8; 12],
) -> Result<(), DropReason> {
    memory.truncate(frame, UNTAGGED_HEADER_LENGTH + usize::from(metadata.layer3_length));
    let packet = memory.packet_mut(frame);
    let Some((header, packet)) = packet.split_first_chunk_mut::<UNTAGGED_HEADER_LENGTH>() else {
        return Err(DropReason::FrameTooSmall);
    };
    header[..12].copy_from_slice(addresses);
    decrement(packet, metadata.layer3)
}

/// Tags come off or are put on.
fn rewrite_tags(
    frame: &mut Frame,
    metadata: &Metadata,
    memory: &mut PacketMemory,
    rewrite: &Rewrite,
) -> Result<(), DropReason> {
    let layer3_offset = usize::from(metadata.layer3_offset);
    memory.truncate(frame, layer3_offset + usize::from(metadata.layer3_length));
    let addresses_and_tags = rewrite.header();
    let header_length = addresses_and_tags.len() + ETHERTYPE_LENGTH;
    let fits = if header_length > layer3_offset {
        memory.grow_front(frame, header_length - layer3_offset)
    } else {
        memory.shrink_front(frame, layer3_offset - header_length)
    };
    let packet = memory.packet_mut(frame);
    let (true, Some((header, packet))) = (fits, packet.split_at_mut_checked(header_length)) else {
        return Err(DropReason::FrameTooSmall);
    };
    let (front, ethertype) = header.split_at_mut(addresses_and_tags.len());
    front.copy_from_slice(addresses_and_tags);
    ethertype.copy_from_slice(&match metadata.layer3 {
        Layer3::Ipv4 => EtherType::IPV4.0.to_be_bytes(),
        _ => EtherType::IPV6.0.to_be_bytes(),
    });
    decrement(packet, metadata.layer3)
}

/// RFC 1812 5.3.1, RFC 8200 3. Parse saw a whole header with at least 2 hops left.
#[inline]
fn decrement(packet: &mut [u8], layer3: Layer3) -> Result<(), DropReason> {
    let hop = match layer3 {
        Layer3::Ipv4 => ipv4::decrement_ttl(packet),
        _ => ipv6::decrement_hop_limit(packet),
    };
    hop.map(drop).map_err(|_| DropReason::FrameTooSmall)
}

#[cfg(test)]
mod tests {
    use linecard_wire::ipv4;

    /// `ip_decrease_ttl` adds 0x0100 and the carry, and 1 where the sum is 0xffff; RFC 1624 must
    /// come out the same, bit for bit, whatever checksum a packet arrives with.
    #[test]
    fn checksums_are_the_kernels_for_every_checksum() {
        for checksum in 0..=u16::MAX {
            let mut header = [0u8; 20];
            header[0] = 0x45;
            header[8] = 64;
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            ipv4::decrement_ttl(&mut header).expect("a whole header");
            let sum = u32::from(checksum) + 0x0100;
            let kernel = (sum + u32::from(sum >= 0xffff)) as u16;
            assert_eq!(u16::from_be_bytes([header[10], header[11]]), kernel, "{checksum:#06x}");
        }
    }
}
