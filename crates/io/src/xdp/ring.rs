//! A ring shared with the kernel: a single producer and a single consumer, speaking in batches.
//!
//! Memory order follows net/xdp/xsk_queue.h: the producer's index is written with release and read
//! with acquire, and so is the consumer's. Each side caches the other's index and reads it anew
//! only when it looks full or empty.
#![allow(unsafe_code, reason = "reads and writes memory that the kernel maps")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the parts of a ring lie in its mapping (`struct xdp_ring_offset`).
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RingOffsets {
    producer: u64,
    consumer: u64,
    entries: u64,
    flags: u64,
}

/// `XDP_RING_NEED_WAKEUP`.
const NEED_WAKEUP: u32 = 1;

/// A mapped ring of `T` (a descriptor or an address).
#[derive(Debug)]
pub(super) struct Ring<T> {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    offsets: RingOffsets,
    capacity: u32,
    /// The next index that this side produces or consumes.
    own: u32,
    /// The other side's index as last read.
    other: u32,
    _entries: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value; what the kernel does to it is ordered by the indexes.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// Maps the ring at `page_offset` of the socket.
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: i64,
        offsets: RingOffsets,
        capacity: u32,
    ) -> io::Result<Self> {
        assert!(capacity.is_power_of_two(), "the kernel takes powers of two only");
        let mapping_bytes = offsets.entries as usize + capacity as usize * size_of::<T>();
        // SAFETY: a new shared mapping of the socket's ring.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapping_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                socket.as_raw_fd(),
                page_offset,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(address.cast()).expect("mmap never maps page 0");
        let entries = PhantomData;
        Ok(Self { mapping, mapping_bytes, offsets, capacity, own: 0, other: 0, _entries: entries })
    }

    fn index(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: the kernel told the offset of an aligned u32 inside the mapping, which lives as
        // long as `self`; both sides access it atomically.
        unsafe { self.mapping.add(offset as usize).cast().as_ref() }
    }

    fn entry(&self, index: u32) -> NonNull<T> {
        let slot = (index & (self.capacity - 1)) as usize;
        // SAFETY: `slot` is below the capacity with which the mapping was sized.
        unsafe { self.mapping.add(self.offsets.entries as usize).cast::<T>().add(slot) }
    }

    /// True when the kernel sleeps until it is woken by a system call.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.index(self.offsets.flags).load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    /// Producing side: slots that can be written now, at least `wanted` if there are as many.
    pub(super) fn room(&mut self, wanted: usize) -> usize {
        let room = |ring: &Self| ring.capacity - ring.own.wrapping_sub(ring.other);
        if (room(self) as usize) < wanted {
            self.other = self.index(self.offsets.consumer).load(Ordering::Acquire);
        }
        room(self) as usize
    }

    /// Producing side: writes the next entry. At most [`Self::room`] may be written.
    pub(super) fn push(&mut self, value: T) {
        debug_assert!(self.own.wrapping_sub(self.other) < self.capacity, "ring overrun");
        // SAFETY: the slot is inside the mapping, and the kernel does not read it before
        // `publish` says that it is written.
        unsafe { self.entry(self.own).write(value) };
        self.own = self.own.wrapping_add(1);
    }

    /// Producing side: lets the kernel see what was pushed.
    pub(super) fn publish(&mut self) {
        self.index(self.offsets.producer).store(self.own, Ordering::Release);
    }

    /// Producing side, when the kernel consumes no more: takes back the entry that was pushed last.
    pub(super) fn retract(&mut self) -> Option<T> {
        if self.unconsumed() == 0 {
            return None;
        }
        self.own = self.own.wrapping_sub(1);
        // SAFETY: the slot is inside the mapping; this side wrote it, and nobody consumed it.
        let value = unsafe { self.entry(self.own).read() };
        self.publish();
        Some(value)
    }

    /// Producing side: entries that the kernel has not consumed yet.
    pub(super) fn unconsumed(&mut self) -> u32 {
        self.other = self.index(self.offsets.consumer).load(Ordering::Acquire);
        self.own.wrapping_sub(self.other)
    }

    /// Consuming side: entries that can be read now, at least `wanted` if there are as many.
    pub(super) fn available(&mut self, wanted: usize) -> usize {
        let available = |ring: &Self| ring.other.wrapping_sub(ring.own);
        if (available(self) as usize) < wanted {
            self.other = self.index(self.offsets.producer).load(Ordering::Acquire);
        }
        available(self) as usize
    }

    /// Consuming side: reads the next entry. At most [`Self::available`] may be read.
    pub(super) fn pop(&mut self) -> T {
        debug_assert!(self.own != self.other, "ring underrun");
        // SAFETY: the slot is inside the mapping, the kernel wrote it before it advanced the
        // producer's index, and does not write it again before `release`.
        let value = unsafe { self.entry(self.own).read() };
        self.own = self.own.wrapping_add(1);
        value
    }

    /// Consuming side: lets the kernel use the entries that were popped.
    pub(super) fn release(&mut self) {
        self.index(self.offsets.consumer).store(self.own, Ordering::Release);
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map`; entries are copied out, so nothing points into it.
        unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
    }
}
