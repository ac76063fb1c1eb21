//! The receive ring that the kernel fills and this process empties
//! (Documentation/networking/packet_mmap.rst, `TPACKET_V2`).
//!
//! A slot holds a `tpacket2_hdr`, the virtio header and the packet. Its status word says whose it
//! is: the kernel's while `TP_STATUS_KERNEL`, ours from `TP_STATUS_USER` until we write the former
//! back. Slots are used in order, by both.
#![allow(unsafe_code, reason = "maps a ring that is shared with the kernel")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::offload::{Offload, VIRTIO_HEADER_BYTES};
use super::socket;
use crate::{Frame, PacketMemory};

/// Slots are allocated in blocks; a multiple of the page size and of each slot size.
const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of a slot before the packet, at most: `tpacket2_hdr` (32), `sockaddr_ll` (20), room to
/// align the network header, and the virtio header.
const SLOT_HEADER_BYTES_MAX: usize = 128;

/// A slot is no longer than a block, nor shorter than the smallest that makes sense.
const SLOT_BYTES_MIN: usize = 2048;

/// What one look at the ring's next slot found.
pub(super) enum Next {
    /// Nothing was received since.
    Empty,
    /// The memory has no free frame; the packet waits.
    NoFrame,
    /// A packet that cannot be forwarded was passed over.
    Invalid,
    /// A packet, in a frame.
    Packet(Frame),
}

/// The mapped ring of one socket.
#[derive(Debug)]
pub(super) struct ReceiveRing {
    base: NonNull<u8>,
    slot_bytes: usize,
    slots: usize,
    /// The slot to look at next.
    next: usize,
}

// SAFETY: the mapping is owned by this value alone, and shared with the kernel only; it may move to
// another thread with it.
unsafe impl Send for ReceiveRing {}

impl ReceiveRing {
    /// Gives `socket` a ring of at least `packets_max` slots for packets of up to
    /// `packet_bytes_max` bytes. To be called before the socket is bound.
    pub(super) fn new(
        socket: BorrowedFd<'_>,
        packets_max: usize,
        packet_bytes_max: usize,
    ) -> io::Result<Self> {
        let slot_bytes = (packet_bytes_max + SLOT_HEADER_BYTES_MAX)
            .next_power_of_two()
            .clamp(SLOT_BYTES_MIN, BLOCK_BYTES);
        let slots_per_block = BLOCK_BYTES / slot_bytes;
        let blocks = packets_max.max(1).div_ceil(slots_per_block);
        let slots = blocks * slots_per_block;
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let request = libc::tpacket_req {
            tp_block_size: BLOCK_BYTES as u32,
            tp_block_nr: u32::try_from(blocks).map_err(invalid)?,
            tp_frame_size: slot_bytes as u32,
            tp_frame_nr: u32::try_from(slots).map_err(invalid)?,
        };
        let version = libc::tpacket_versions::TPACKET_V2 as i32;
        socket::set(socket, libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        socket::set(socket, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        // SAFETY: a new mapping, at an address of the kernel's choice, overlaps nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                blocks * BLOCK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("mmap without MAP_FIXED never maps page 0");
        Ok(Self { base, slot_bytes, slots, next: 0 })
    }

    /// Moves the next packet into a frame, as it was on the wire. One copy.
    pub(super) fn next(&mut self, memory: &mut PacketMemory) -> Next {
        // SAFETY: `next` is less than `slots`, so that the slot lies in the mapping; slots are
        // aligned to their size.
        let slot = unsafe { self.base.as_ptr().add(self.next * self.slot_bytes) };
        // SAFETY: a slot begins with its status word, aligned, which kernel and process access as
        // a whole only.
        let status = unsafe { AtomicU32::from_ptr(slot.cast()) };
        // Acquire: what the kernel wrote before the status is seen after it.
        let flags = status.load(Ordering::Acquire);
        if flags & libc::TP_STATUS_USER == 0 {
            return Next::Empty;
        }
        let Some(mut frame) = memory.allocate() else { return Next::NoFrame };
        // SAFETY: the slot is ours until the status is written below, and the slice ends before.
        let bytes = unsafe { std::slice::from_raw_parts(slot, self.slot_bytes) };
        let taken = take(bytes, flags, memory, &mut frame);
        // Release: the slot was read before the kernel gets it back.
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = if self.next + 1 == self.slots { 0 } else { self.next + 1 };
        if taken {
            return Next::Packet(frame);
        }
        memory.free(frame);
        Next::Invalid
    }
}

impl Drop for ReceiveRing {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no slice of it is left.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.slots * self.slot_bytes) };
    }
}

/// Copies the packet of a slot into `frame`; false when it cannot be had as it was on the wire.
fn take(slot: &[u8], flags: u32, memory: &mut PacketMemory, frame: &mut Frame) -> bool {
    let u16_at = |offset: usize| u16::from_ne_bytes([slot[offset], slot[offset + 1]]);
    let u32_at = |offset: usize| {
        u32::from_ne_bytes([slot[offset], slot[offset + 1], slot[offset + 2], slot[offset + 3]])
    };
    // `tp_len`, `tp_snaplen`, `tp_mac`, `tp_vlan_tci`, `tp_vlan_tpid` of `struct tpacket2_hdr`.
    let (length, captured, start) = (u32_at(4), u32_at(8) as usize, usize::from(u16_at(12)));
    let tag = (flags & libc::TP_STATUS_VLAN_VALID != 0).then(|| {
        let tpid_valid = flags & libc::TP_STATUS_VLAN_TPID_VALID != 0;
        (if tpid_valid { u16_at(26) } else { libc::ETH_P_8021Q as u16 }, u16_at(24))
    });
    let packet = slot.get(start..).and_then(|rest| rest.get(..captured));
    let virtio = start.checked_sub(VIRTIO_HEADER_BYTES).and_then(|at| slot[at..].first_chunk());
    let (Some(packet), Some(virtio)) = (packet, virtio) else { return false };
    let whole = captured == length as usize && captured > 0;
    let Some(offload) = Offload::new(virtio, tag) else { return false };
    whole && memory.set_packet(frame, packet) && offload.undo(memory, frame)
}
