//! Receives a batch of packets straight into frames, with one system call.
#![allow(unsafe_code, reason = "hands chunks of packet memory to recvmmsg")]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::offload::{Offload, VIRTIO_HEADER_BYTES};
use crate::memory::HEADROOM_BYTES;
use crate::{Frame, PacketMemory};

/// Packets that one call takes at most.
pub(super) const BATCH_MAX: usize = 64;

/// Room for one control message, `struct tpacket_auxdata` behind its header.
const CONTROL_BYTES: usize = 48;

/// What stands beside a packet while the kernel fills it in.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
struct Slot {
    control: [u8; CONTROL_BYTES],
    virtio: [u8; VIRTIO_HEADER_BYTES],
}

/// The arguments of `recvmmsg`, kept so that receiving allocates nothing.
pub(super) struct ReceiveBatch {
    messages: Box<[libc::mmsghdr]>,
    vectors: Box<[[libc::iovec; 2]]>,
    slots: Box<[Slot]>,
    /// The chunk behind each message that is lent to the kernel.
    chunks: Vec<u64>,
}

// SAFETY: the pointers in `messages` and `vectors` are written anew before each system call and not
// followed after it, so they may lie about in another thread.
unsafe impl Send for ReceiveBatch {}

impl std::fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveBatch").finish_non_exhaustive()
    }
}

impl ReceiveBatch {
    pub(super) fn new() -> Self {
        // SAFETY: all-zero is a value of these plain structs of integers and raw pointers.
        let (message, vector) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            messages: vec![message; BATCH_MAX].into(),
            vectors: vec![[vector; 2]; BATCH_MAX].into(),
            slots: vec![Slot { control: [0; CONTROL_BYTES], virtio: [0; 10] }; BATCH_MAX].into(),
            chunks: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// Receives up to `packets_max` packets into free chunks of `memory`; returns how many.
    /// [`Self::take`] must follow.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        memory: &mut PacketMemory,
        packets_max: usize,
    ) -> usize {
        let (base, _) = memory.mapping();
        let room = memory.packet_bytes_max();
        for index in 0..packets_max.min(BATCH_MAX) {
            let Some(chunk) = memory.lend() else { break };
            self.chunks.push(chunk);
            // SAFETY: a lent chunk lies within the mapping, and the headroom within the chunk.
            let packet = unsafe { base.as_ptr().add(chunk as usize + HEADROOM_BYTES) };
            let slot = &mut self.slots[index];
            self.vectors[index] = [
                libc::iovec {
                    iov_base: slot.virtio.as_mut_ptr().cast(),
                    iov_len: VIRTIO_HEADER_BYTES,
                },
                libc::iovec { iov_base: packet.cast(), iov_len: room },
            ];
            let message = &mut self.messages[index].msg_hdr;
            message.msg_iov = self.vectors[index].as_mut_ptr();
            message.msg_iovlen = 2;
            message.msg_control = slot.control.as_mut_ptr().cast();
            message.msg_controllen = CONTROL_BYTES;
            message.msg_flags = 0;
        }
        if self.chunks.is_empty() {
            return 0;
        }
        // SAFETY: the first `chunks.len()` messages point to slots of this batch and to chunks that
        // are lent, so that nobody else reads or writes them; each length is that of its memory.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                self.chunks.len() as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        // An error means no packet: nothing there, or the interface is down and may come up again.
        usize::try_from(received).unwrap_or(0)
    }

    /// Appends the first `received` packets to `frames` and gives the other chunks back. Returns
    /// how many of them were invalid.
    pub(super) fn take(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        received: usize,
    ) -> u64 {
        let mut invalid = 0;
        for (index, &chunk) in self.chunks.iter().enumerate().take(received) {
            let frame = self.frame(memory, index, chunk);
            match frame {
                Some(frame) => frames.push(frame),
                None => {
                    memory.give_back(chunk);
                    invalid += 1;
                }
            }
        }
        // In reverse, so that the memory's stack is as before.
        for &chunk in self.chunks[received..].iter().rev() {
            memory.give_back(chunk);
        }
        self.chunks.clear();
        invalid
    }

    /// The packet of one message as it was on the wire; `None` when that cannot be had.
    fn frame(&self, memory: &mut PacketMemory, index: usize, chunk: u64) -> Option<Frame> {
        let (message, slot) = (&self.messages[index], &self.slots[index]);
        let length = (message.msg_len as usize).checked_sub(VIRTIO_HEADER_BYTES)?;
        if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 || length == 0 {
            return None;
        }
        let control_bytes = message.msg_hdr.msg_controllen.min(CONTROL_BYTES);
        let offload = Offload::new(slot.virtio, &slot.control[..control_bytes])?;
        let mut frame = memory.received(chunk + HEADROOM_BYTES as u64, length as u32)?;
        if offload.undo(memory, &mut frame) { Some(frame) } else { None }
    }
}
