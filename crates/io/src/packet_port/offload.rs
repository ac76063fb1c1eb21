//! Undoes what the kernel did to a packet on behalf of hardware: VLAN tags it took off, checksums
//! it left open, segments it merged.

use crate::{Frame, PacketMemory};

/// `struct virtio_net_hdr` (linux/virtio_net.h), in the machine's byte order.
pub(super) const VIRTIO_HEADER_BYTES: usize = 10;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the sum from `csum_start` on is still to be put in place.
const NEEDS_CHECKSUM: u8 = 1;

/// Two MAC addresses, behind which a VLAN tag stands.
const ADDRESSES_BYTES: usize = 12;
const TAG_BYTES: usize = 4;

/// Where SCTP has its checksum, which is a CRC and not the Internet's.
const SCTP_CHECKSUM_OFFSET: u16 = 8;

/// What is to be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offload {
    /// Start of the summed bytes, and where from there the checksum is.
    checksum: Option<(usize, usize)>,
    /// Tag protocol identifier and tag control information.
    tag: Option<(u16, u16)>,
}

impl Offload {
    /// What the virtio header says of a packet, and the tag that was taken off it. `None` when the
    /// packet is not one of the wire: merged segments, or an SCTP checksum left open.
    pub(super) fn new(virtio: &[u8; VIRTIO_HEADER_BYTES], tag: Option<(u16, u16)>) -> Option<Self> {
        let [flags, gso_type, ..] = *virtio;
        let field = |offset: usize| u16::from_ne_bytes([virtio[offset], virtio[offset + 1]]);
        let (start, offset) = (field(6), field(8));
        let open = flags & NEEDS_CHECKSUM != 0;
        if gso_type != 0 || (open && offset == SCTP_CHECKSUM_OFFSET) {
            return None;
        }
        let checksum = open.then_some((usize::from(start), usize::from(offset)));
        Some(Self { checksum, tag })
    }

    /// Puts checksum and tag where they belong. False when the packet is too short for that.
    pub(super) fn undo(self, memory: &mut PacketMemory, frame: &mut Frame) -> bool {
        // The checksum first: its place is counted without the tag.
        if let Some((start, offset)) = self.checksum
            && !complete(memory.packet_mut(frame), start, offset)
        {
            return false;
        }
        let Some((tpid, tci)) = self.tag else { return true };
        if frame.len() < ADDRESSES_BYTES || !memory.grow_front(frame, TAG_BYTES) {
            return false;
        }
        let packet = memory.packet_mut(frame);
        packet.copy_within(TAG_BYTES..TAG_BYTES + ADDRESSES_BYTES, 0);
        packet[12..14].copy_from_slice(&tpid.to_be_bytes());
        packet[14..16].copy_from_slice(&tci.to_be_bytes());
        true
    }
}

/// Sums from `start` to the end, where the sum of the pseudo-header already stands in the field.
fn complete(packet: &mut [u8], start: usize, offset: usize) -> bool {
    let at = start + offset;
    if at + 2 > packet.len() {
        return false;
    }
    let sum = linecard_wire::checksum::checksum(&packet[start..]);
    // UDP takes zero for "no checksum" (RFC 768); its other form is valid for all.
    let sum = if sum == 0 { 0xffff } else { sum };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;

    fn virtio(flags: u8, gso_type: u8, start: u16, offset: u16) -> [u8; VIRTIO_HEADER_BYTES] {
        let mut header = [0; VIRTIO_HEADER_BYTES];
        header[..2].copy_from_slice(&[flags, gso_type]);
        header[6..8].copy_from_slice(&start.to_ne_bytes());
        header[8..].copy_from_slice(&offset.to_ne_bytes());
        header
    }

    fn undo(offload: Offload, packet: &[u8]) -> Option<Vec<u8>> {
        let config = MemoryConfig { frames: 1, chunk_bytes: 2048 };
        let mut memory = PacketMemory::new(config).expect("memory");
        let mut frame = memory.allocate().expect("a frame");
        assert!(memory.set_packet(&mut frame, packet));
        let done = offload.undo(&mut memory, &mut frame);
        let packet = memory.packet(&frame).to_vec();
        memory.free(frame);
        done.then_some(packet)
    }

    #[test]
    fn merged_segments_and_open_sctp_checksums_are_not_taken() {
        assert_eq!(Offload::new(&virtio(0, 1, 0, 0), None), None);
        assert_eq!(Offload::new(&virtio(1, 0, 34, 8), None), None);
        let plain = Offload { checksum: None, tag: None };
        assert_eq!(Offload::new(&virtio(0, 0, 0, 0), None), Some(plain));
    }

    #[test]
    fn an_open_checksum_is_completed() {
        // 20 bytes that are not summed, then 8 of UDP; the field holds the pseudo-header's sum.
        let mut packet = [vec![9; 20], vec![0x12, 0x34, 0, 53, 0, 8, 0x40, 0x01]].concat();
        let offload = Offload::new(&virtio(1, 0, 20, 6), None).expect("of the wire");
        let done = undo(offload, &packet).expect("long enough");
        let sum = !(0x1234u16 + 53 + 8 + 0x4001);
        packet[26..].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(done, packet);
        let beyond = Offload::new(&virtio(1, 0, 22, 6), None).expect("of the wire");
        assert_eq!(undo(beyond, &packet), None, "the field lies behind the packet");
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_its_other_form() {
        let offload = Offload::new(&virtio(1, 0, 0, 6), None).expect("of the wire");
        let done = undo(offload, &[0xff, 0xff, 0, 0, 0, 0, 0, 0]).expect("long enough");
        assert_eq!(done[6..], [0xff, 0xff]);
    }

    #[test]
    fn a_tag_goes_behind_the_addresses() {
        let offload = Offload { checksum: None, tag: Some((0x88a8, 0x6005)) };
        let packet: Vec<u8> = (0..60).collect();
        let done = undo(offload, &packet).expect("long enough");
        assert_eq!(done[..12], packet[..12]);
        assert_eq!(done[12..16], [0x88, 0xa8, 0x60, 0x05]);
        assert_eq!(done[16..], packet[12..]);
        assert_eq!(undo(offload, &packet[..11]), None);
    }
}
