//! Packet memory: one mapping cut into chunks, shared by all ports of a worker.
//!
//! The mapping doubles as the UMEM of the worker's AF_XDP sockets
//! (Documentation/networking/af_xdp.rst), so its chunks are a power of two and no larger than a
//! page. Free chunks are a stack, so that the chunk used last, which is still in cache, is used
//! next. A chunk begins with headroom: there a router puts VLAN tags and other headers without
//! moving the packet.
#![allow(unsafe_code, reason = "reads and writes memory that is shared with the kernel")]

mod mapping;

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use self::mapping::Mapping;
use crate::Frame;

/// Smallest chunk that AF_XDP accepts (`XDP_UMEM_MIN_CHUNK_SIZE`).
const CHUNK_BYTES_MIN: usize = 2048;
/// An aligned chunk may not exceed a page (net/xdp/xdp_umem.c).
const CHUNK_BYTES_MAX: usize = 4096;
/// `XDP_PACKET_HEADROOM`: what the kernel keeps free in front of each packet it writes.
pub(crate) const HEADROOM_BYTES: usize = 256;

/// The number of the next memory; four thousand million of them are never made.
static NEXT_ID: AtomicU32 = AtomicU32::new(0);

/// How much packet memory a worker gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Number of chunks, and so of frames; at least 1.
    pub frames: u32,
    /// Bytes of a chunk: 2048 or 4096.
    pub chunk_bytes: u32,
}

impl Default for MemoryConfig {
    /// 16,384 chunks of 2 KiB, 32 MiB: a full receive and transmit ring for a few ports.
    fn default() -> Self {
        Self { frames: 16_384, chunk_bytes: 2048 }
    }
}

/// One mapping of packet memory and its free chunks. Belongs to one worker.
#[derive(Debug)]
pub struct PacketMemory {
    /// Tells its frames from those of other memories.
    id: u32,
    mapping: Mapping,
    chunk_bytes: usize,
    chunks: u32,
    free: Vec<u32>,
    /// When each chunk's packet was captured, 0 for unknown. Empty unless a port knows such times.
    timestamps: Vec<u64>,
}

impl PacketMemory {
    /// Maps the memory. Pages are populated now, so that the packet path never faults.
    ///
    /// # Errors
    /// `InvalidInput` for a chunk size or number out of range; the kernel's error when the memory
    /// cannot be mapped.
    pub fn new(config: MemoryConfig) -> io::Result<Self> {
        let chunk_bytes = config.chunk_bytes as usize;
        if !chunk_bytes.is_power_of_two()
            || !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes)
            || config.frames == 0
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "packet memory of {} chunks of {chunk_bytes} bytes: chunks are 2048 or 4096 bytes, and at least one",
                    config.frames
                ),
            ));
        }
        let mapping = Mapping::new(chunk_bytes * config.frames as usize)?;
        let free = (0..config.frames).rev().collect();
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Self { id, mapping, chunk_bytes, chunks: config.frames, free, timestamps: Vec::new() })
    }

    /// Takes a free frame, empty, with full headroom; `None` when all are in use.
    #[inline]
    pub fn allocate(&mut self) -> Option<Frame> {
        let chunk = self.free.pop()?;
        if let Some(timestamp) = self.timestamps.get_mut(chunk as usize) {
            *timestamp = 0;
        }
        Some(Frame { memory: self.id, chunk, offset: HEADROOM_BYTES as u16, length: 0 })
    }

    /// Gives a frame back.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        self.check_own(&frame);
        self.free.push(frame.chunk);
    }

    /// Frames that can be allocated now.
    #[must_use]
    pub fn free_frames(&self) -> usize {
        self.free.len()
    }

    /// Frames in all.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.chunks as usize
    }

    /// Bytes of the longest packet that a frame holds with full headroom.
    #[must_use]
    pub fn packet_bytes_max(&self) -> usize {
        self.chunk_bytes - HEADROOM_BYTES
    }

    /// Bytes of a chunk.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// The packet in `frame`.
    #[inline]
    #[must_use]
    pub fn packet(&self, frame: &Frame) -> &[u8] {
        let start = self.start(frame);
        // SAFETY: `start` keeps the range inside the mapping; the frame token says that neither
        // the kernel nor another frame writes to this chunk, and `&self` keeps `packet_mut` away.
        unsafe { std::slice::from_raw_parts(self.mapping.base().as_ptr().add(start), frame.len()) }
    }

    /// The packet in `frame`, to change.
    #[inline]
    pub fn packet_mut(&mut self, frame: &mut Frame) -> &mut [u8] {
        let start = self.start(frame);
        // SAFETY: as in `packet`; `&mut self` makes the slice the only one.
        unsafe {
            std::slice::from_raw_parts_mut(self.mapping.base().as_ptr().add(start), frame.len())
        }
    }

    /// Puts `bytes` into the frame, behind full headroom. False, and nothing changed, when they do
    /// not fit.
    #[must_use]
    pub fn set_packet(&mut self, frame: &mut Frame, bytes: &[u8]) -> bool {
        if bytes.len() > self.packet_bytes_max() {
            return false;
        }
        // Before the frame changes: of another memory, it may be one of smaller chunks.
        self.check_own(frame);
        frame.offset = HEADROOM_BYTES as u16;
        frame.length = bytes.len() as u16;
        self.packet_mut(frame).copy_from_slice(bytes);
        true
    }

    /// A frame of its own with the same packet, behind full headroom; `None` when no frame is free or the packet
    /// does not fit.
    #[must_use]
    pub fn copy_of(&mut self, frame: &Frame) -> Option<Frame> {
        if frame.len() > self.packet_bytes_max() {
            return None;
        }
        let mut copy = self.allocate()?;
        copy.length = frame.length;
        let (from, to) = (self.start(frame), self.start(&copy));
        let base = self.mapping.base().as_ptr();
        // SAFETY: `start` keeps both ranges inside the mapping, and each frame owns its chunk, so they are apart;
        // `&mut self` keeps all slices of packets away.
        unsafe { std::ptr::copy_nonoverlapping(base.add(from), base.add(to), frame.len()) };
        if let Some(timestamp) = self.timestamp(frame) {
            self.set_timestamp(&copy, timestamp);
        }
        Some(copy)
    }

    // The next three keep a frame inside the range that it had or the headroom before it, so inside
    // its chunk, whichever memory it is of.

    /// Moves the front of the packet `bytes` into the headroom; the new bytes are whatever lay
    /// there. False, and nothing changed, when there is not as much headroom.
    #[inline]
    #[must_use]
    pub fn grow_front(&self, frame: &mut Frame, bytes: usize) -> bool {
        let fits = bytes <= usize::from(frame.offset);
        if fits {
            frame.offset -= bytes as u16;
            frame.length += bytes as u16;
        }
        fits
    }

    /// Cuts `bytes` off the front of the packet. False, and nothing changed, when it is not longer.
    #[inline]
    #[must_use]
    pub fn shrink_front(&self, frame: &mut Frame, bytes: usize) -> bool {
        let fits = bytes < frame.len();
        if fits {
            frame.offset += bytes as u16;
            frame.length -= bytes as u16;
        }
        fits
    }

    /// Cuts the packet to `bytes`; does nothing when it is not longer.
    #[inline]
    pub fn truncate(&self, frame: &mut Frame, bytes: usize) {
        frame.length = frame.length.min(u16::try_from(bytes).unwrap_or(u16::MAX));
    }

    /// When the packet in `frame` was captured, in nanoseconds since 1970; `None` when no capture
    /// file said so.
    #[must_use]
    pub fn timestamp(&self, frame: &Frame) -> Option<u64> {
        self.timestamps.get(frame.chunk as usize).copied().filter(|&timestamp| timestamp != 0)
    }

    /// Notes when the packet in `frame` was captured, until the frame is free again. Allocates room
    /// for all frames at the first call.
    pub fn set_timestamp(&mut self, frame: &Frame, nanoseconds: u64) {
        self.check_own(frame);
        if self.timestamps.is_empty() {
            self.timestamps = vec![0; self.chunks as usize];
        }
        self.timestamps[frame.chunk as usize] = nanoseconds;
    }

    /// Panics for a frame of another memory, which no worker has: it would name a chunk that
    /// somebody else, perhaps the kernel, owns here.
    #[inline]
    fn check_own(&self, frame: &Frame) {
        assert!(frame.memory == self.id, "a frame of another packet memory");
    }

    /// Asks for the first cache line of the packet, which is read soon. Reads nothing.
    #[inline]
    pub fn prefetch(&self, frame: &Frame) {
        let start = frame.chunk as usize * self.chunk_bytes + usize::from(frame.offset);
        mapping::prefetch(self.mapping.base().as_ptr().wrapping_add(start));
    }

    /// The same of the cache line that holds the byte at `offset` of the packet.
    #[inline]
    pub fn prefetch_at(&self, frame: &Frame, offset: usize) {
        let start = frame.chunk as usize * self.chunk_bytes + usize::from(frame.offset);
        mapping::prefetch(self.mapping.base().as_ptr().wrapping_add(start + offset));
    }

    /// Offset of the packet in the mapping, after checking that it lies inside its chunk.
    #[inline]
    fn start(&self, frame: &Frame) -> usize {
        let end = usize::from(frame.offset) + usize::from(frame.length);
        self.check_own(frame);
        // Holds by construction: all that makes or changes a frame of this memory keeps it inside its
        // chunk, and nothing outside this crate can make or change one otherwise.
        debug_assert!(end <= self.chunk_bytes && frame.chunk < self.chunks, "outside its chunk");
        frame.chunk as usize * self.chunk_bytes + usize::from(frame.offset)
    }

    /// Tells this memory from others of the process.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// First byte of the mapping and its length, to register it as a UMEM.
    pub(crate) fn mapping(&self) -> (NonNull<u8>, usize) {
        (self.mapping.base(), self.chunk_bytes * self.chunks as usize)
    }

    /// Takes a chunk for the kernel to fill; it comes back through [`Self::received`].
    #[inline]
    pub(crate) fn lend(&mut self) -> Option<u64> {
        let chunk = self.free.pop()?;
        Some(u64::from(chunk) * self.chunk_bytes as u64)
    }

    /// The frame that the kernel filled at `address` (bytes from the start of the mapping).
    ///
    /// `None` when the descriptor points outside a chunk, which no kernel does.
    #[inline]
    pub(crate) fn received(&self, address: u64, length: u32) -> Option<Frame> {
        let chunk = u32::try_from(address / self.chunk_bytes as u64).ok()?;
        let offset = address as usize % self.chunk_bytes;
        let length = length as usize;
        (chunk < self.chunks && offset + length <= self.chunk_bytes).then_some(Frame {
            memory: self.id,
            chunk,
            offset: offset as u16,
            length: length as u16,
        })
    }

    /// Hands the frame to the kernel to send; its chunk comes back through [`Self::give_back`].
    #[inline]
    pub(crate) fn surrender(&self, frame: Frame) -> (u64, u32) {
        self.check_own(&frame);
        let address = u64::from(frame.chunk) * self.chunk_bytes as u64 + u64::from(frame.offset);
        (address, u32::from(frame.length))
    }

    /// Takes back the chunk at `address` that the kernel has done with.
    #[inline]
    pub(crate) fn give_back(&mut self, address: u64) {
        let chunk = address / self.chunk_bytes as u64;
        debug_assert!(chunk < u64::from(self.chunks), "completion outside the packet memory");
        if chunk < u64::from(self.chunks) && self.free.len() < self.chunks as usize {
            self.free.push(chunk as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(frames: u32) -> PacketMemory {
        PacketMemory::new(MemoryConfig { frames, chunk_bytes: 2048 }).expect("memory")
    }

    #[test]
    fn frames_run_out_and_come_back() {
        let mut memory = memory(2);
        let first = memory.allocate().expect("first");
        let second = memory.allocate().expect("second");
        assert_eq!(memory.allocate(), None);
        memory.free(first);
        memory.free(second);
        assert_eq!(memory.free_frames(), 2);
    }

    #[test]
    fn packets_keep_apart_and_grow_into_the_headroom() {
        let mut memory = memory(2);
        let (mut a, mut b) = (memory.allocate().expect("a"), memory.allocate().expect("b"));
        assert!(memory.set_packet(&mut a, &[1; 60]));
        assert!(memory.set_packet(&mut b, &[2; 1500]));
        assert!(memory.grow_front(&mut a, 4));
        assert_eq!(memory.packet(&a).len(), 64);
        assert_eq!(&memory.packet(&a)[4..], &[1; 60]);
        assert!(!memory.grow_front(&mut a, 253), "252 bytes of headroom are left");
        assert!(memory.shrink_front(&mut a, 4));
        assert!(!memory.shrink_front(&mut a, 60), "an empty packet is no packet");
        assert_eq!(memory.packet(&b), &[2; 1500]);
        assert!(!memory.set_packet(&mut b, &[0; 1793]), "larger than a frame");
        assert_eq!(memory.copy_of(&a), None, "no frame is free");
        memory.free(b);
        let copy = memory.copy_of(&a).expect("one is free");
        assert_eq!(memory.packet(&copy), &[1; 60]);
        memory.packet_mut(&mut a).fill(3);
        assert_eq!(memory.packet(&copy), &[1; 60], "bytes of its own");
        memory.free(a);
        memory.free(copy);
    }

    #[test]
    #[should_panic(expected = "a frame of another packet memory")]
    fn a_frame_of_another_memory_is_refused() {
        let (mut one, mut other) = (memory(1), memory(1));
        other.free(one.allocate().expect("a frame"));
    }

    #[test]
    fn a_frame_of_another_memory_is_refused_before_it_changes() {
        let config = MemoryConfig { frames: 1, chunk_bytes: 4096 };
        let mut large = PacketMemory::new(config).expect("memory");
        let mut small = memory(1);
        let mut frame = small.allocate().expect("a frame");
        assert!(small.set_packet(&mut frame, &[7; 60]));
        let put = std::panic::AssertUnwindSafe(|| large.set_packet(&mut frame, &[1; 3000]));
        std::panic::catch_unwind(put).expect_err("a packet that no chunk of its memory holds");
        assert_eq!((frame.offset, small.packet(&frame)), (HEADROOM_BYTES as u16, &[7; 60][..]));
    }

    #[test]
    fn a_chunk_size_that_af_xdp_refuses_is_refused() {
        for chunk_bytes in [0, 1024, 3000, 8192] {
            assert!(PacketMemory::new(MemoryConfig { frames: 1, chunk_bytes }).is_err());
        }
    }
}
