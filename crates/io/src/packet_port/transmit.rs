//! Sends frames from where they lie, many with one system call.
#![allow(unsafe_code, reason = "hands chunks of packet memory to sendmmsg")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{Frame, PacketMemory};

/// Packets that one call sends at most.
const BATCH_MAX: usize = 64;
/// Past the queueing discipline the kernel gives one answer (`ENOBUFS`, `packet_xmit` in
/// net/packet/af_packet.c) for a device that is full, which passes, and for a frame that it will
/// never take, such as one above the MTU of a veth's other end. After so many flushes that ended with
/// a refusal of the frame at the head those behind it are tried: where they pass, it is the frame.
const REFUSALS_BEFORE_OTHERS: u32 = 16;
/// Frames behind the head that are tried.
const OTHERS_MAX: usize = 32;
/// Flushes that a frame waits at the head at the most.
const REFUSALS_MAX: u32 = 1024;

/// Frames that wait to be sent, and the arguments of `sendmmsg`.
pub(super) struct TransmitQueue {
    frames: Vec<Frame>,
    frames_max: usize,
    /// Flushes that ended with a refusal of the frame at the head.
    refusals: u32,
    messages: Box<[libc::mmsghdr]>,
    vectors: Box<[libc::iovec]>,
    /// Frames that the interface took.
    pub(super) sent: u64,
    /// Frames that it refused for good.
    pub(super) lost: u64,
}

// SAFETY: the pointers in `messages` and `vectors` are written anew before each system call and not
// followed after it, so they may lie about in another thread.
unsafe impl Send for TransmitQueue {}

impl std::fmt::Debug for TransmitQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransmitQueue").field("frames", &self.frames.len()).finish_non_exhaustive()
    }
}

impl TransmitQueue {
    pub(super) fn new(frames_max: usize) -> Self {
        // SAFETY: all-zero is a value of these plain structs of integers and raw pointers.
        let (message, vector) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        Self {
            frames: Vec::with_capacity(frames_max),
            frames_max,
            refusals: 0,
            messages: vec![message; BATCH_MAX].into(),
            vectors: vec![vector; BATCH_MAX].into(),
            sent: 0,
            lost: 0,
        }
    }

    /// Takes frames from the front of `frames` while there is room; returns how many.
    pub(super) fn push(&mut self, frames: &mut Vec<Frame>) -> usize {
        let taken = frames.len().min(self.frames_max - self.frames.len());
        self.frames.extend(frames.drain(..taken));
        taken
    }

    /// Frames that wait.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Sends what waits, as far as the interface takes it.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>, memory: &mut PacketMemory) {
        let (mut done, mut down) = (0, false);
        while done < self.frames.len() {
            match self.send(socket, memory, done, BATCH_MAX) {
                Ok(sent) => {
                    self.sent += sent as u64;
                    done += sent;
                    self.refusals = 0;
                }
                Err(error) => match error.raw_os_error() {
                    // The socket is full: the rest waits for the next call.
                    Some(libc::EAGAIN | libc::EINTR) => break,
                    Some(libc::ENOBUFS) if self.refusals < REFUSALS_MAX => {
                        self.refusals += 1;
                        if !self.refusals.is_multiple_of(REFUSALS_BEFORE_OTHERS) {
                            break;
                        }
                        let Some((refused, passed)) = self.send_past(socket, memory, done) else {
                            break;
                        };
                        self.lost += refused as u64;
                        self.sent += passed as u64;
                        done += refused + passed;
                        self.refusals = 0;
                    }
                    // Perhaps the memory of a link that was down: the socket tells it once.
                    Some(libc::ENETDOWN) if !down => down = true,
                    // Down or gone: like a card's, its queue is lost.
                    Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
                        self.lost += (self.frames.len() - done) as u64;
                        done = self.frames.len();
                    }
                    // This frame alone, for its length: over the MTU and the link-layer header, with
                    // 4 bytes more for an 802.1Q tag alone (packet_snd in net/packet/af_packet.c).
                    // Or it was refused too often.
                    _ => {
                        self.lost += 1;
                        done += 1;
                        self.refusals = 0;
                    }
                },
            }
        }
        for frame in self.frames.drain(..done) {
            memory.free(frame);
        }
    }

    /// Tries the frames behind the one at `head`, which the interface refuses: how many it refuses
    /// for good, and how many it took. `None` where it takes none: it is full.
    ///
    /// It may have been full until just now, so those that were refused before the first that passed
    /// are tried once more, behind it.
    fn send_past(
        &mut self,
        socket: BorrowedFd<'_>,
        memory: &PacketMemory,
        head: usize,
    ) -> Option<(usize, usize)> {
        let last = self.frames.len().min(head + OTHERS_MAX);
        let passes = (head + 1..last).find(|&it| self.send(socket, memory, it, 1).is_ok())?;
        let again = (head..passes).filter(|&it| self.send(socket, memory, it, 1).is_ok()).count();
        Some((passes - head - again, again + 1))
    }

    /// One system call for up to `count_max` frames from `first`; how many were sent, at least one.
    fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        memory: &PacketMemory,
        first: usize,
        count_max: usize,
    ) -> io::Result<usize> {
        let batch = self.frames[first..].iter().take(count_max.min(BATCH_MAX));
        let count = batch.len();
        for (index, frame) in batch.enumerate() {
            let packet = memory.packet(frame);
            self.vectors[index] =
                libc::iovec { iov_base: packet.as_ptr().cast_mut().cast(), iov_len: packet.len() };
            let message = &mut self.messages[index].msg_hdr;
            message.msg_iov = &raw mut self.vectors[index];
            message.msg_iovlen = 1;
        }
        // SAFETY: the first `count` messages point to vectors of this queue, and these to packets
        // whose frames it owns; the kernel only reads them, and is done with them on return.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count as u32,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
