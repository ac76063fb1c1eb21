//! The AF_XDP socket: its options, its rings and its system calls. Layouts: linux/if_xdp.h.
#![allow(unsafe_code, reason = "system calls with pointers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::ring::{Ring, RingOffsets};
use crate::{KernelCounters, PacketMemory};

// Socket options of SOL_XDP.
const MMAP_OFFSETS: i32 = 1;
const RX_RING: i32 = 2;
const TX_RING: i32 = 3;
const UMEM_REG: i32 = 4;
const UMEM_FILL_RING: i32 = 5;
const UMEM_COMPLETION_RING: i32 = 6;
const STATISTICS: i32 = 7;
const OPTIONS: i32 = 8;
const MAX_TX_SKB_BUDGET: i32 = 9;

// Page offsets of the rings.
const PAGE_RX: i64 = 0;
const PAGE_TX: i64 = 0x8000_0000;
const PAGE_FILL: i64 = 0x1_0000_0000;
const PAGE_COMPLETION: i64 = 0x1_8000_0000;

/// Bind flags (`sxdp_flags`).
pub(super) const BIND_SHARED_UMEM: u16 = 1;
pub(super) const BIND_COPY: u16 = 2;
pub(super) const BIND_ZERO_COPY: u16 = 4;
pub(super) const BIND_NEED_WAKEUP: u16 = 8;

/// `struct xdp_desc`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) options: u32,
}

/// `struct xdp_umem_reg`.
#[repr(C)]
struct UmemRegistration {
    address: u64,
    bytes: u64,
    chunk_bytes: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_bytes: u32,
}

/// `struct xdp_mmap_offsets`.
#[repr(C)]
#[derive(Default)]
struct MmapOffsets {
    rx: RingOffsets,
    tx: RingOffsets,
    fill: RingOffsets,
    completion: RingOffsets,
}

/// `struct xdp_statistics`.
#[repr(C)]
#[derive(Default)]
struct Statistics {
    rx_dropped: u64,
    rx_invalid_descriptors: u64,
    tx_invalid_descriptors: u64,
    rx_ring_full: u64,
    rx_fill_ring_empty: u64,
    tx_ring_empty: u64,
}

/// The four rings of a bound socket.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) rx: Ring<Descriptor>,
    pub(super) tx: Ring<Descriptor>,
    pub(super) fill: Ring<u64>,
    pub(super) completion: Ring<u64>,
}

/// An AF_XDP socket.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn set<T>(&self, option: i32, value: &T) -> io::Result<()> {
        // SAFETY: `value` is valid for reading for the size passed.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_XDP,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn get<T: Default>(&self, option: i32) -> io::Result<T> {
        let mut value = T::default();
        let mut bytes = size_of::<T>() as libc::socklen_t;
        // SAFETY: `value` is a plain `repr(C)` struct of integers, valid for writing for `bytes`.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_XDP,
                option,
                std::ptr::from_mut(&mut value).cast(),
                &raw mut bytes,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(value)
    }

    /// Registers the packet memory with this socket as the UMEM's first.
    pub(super) fn register(&self, memory: &PacketMemory) -> io::Result<()> {
        let (base, bytes) = memory.mapping();
        self.set(
            UMEM_REG,
            &UmemRegistration {
                address: base.as_ptr() as u64,
                bytes: bytes as u64,
                chunk_bytes: memory.chunk_bytes() as u32,
                headroom: 0,
                flags: 0,
                tx_metadata_bytes: 0,
            },
        )
    }

    /// Creates and maps the four rings, each of `entries`.
    pub(super) fn make_rings(&self, entries: u32) -> io::Result<Rings> {
        for option in [UMEM_FILL_RING, UMEM_COMPLETION_RING, RX_RING, TX_RING] {
            self.set(option, &entries)?;
        }
        let at: MmapOffsets = self.get(MMAP_OFFSETS)?;
        let fd = self.fd();
        Ok(Rings {
            rx: Ring::map(fd, PAGE_RX, at.rx, entries)?,
            tx: Ring::map(fd, PAGE_TX, at.tx, entries)?,
            fill: Ring::map(fd, PAGE_FILL, at.fill, entries)?,
            completion: Ring::map(fd, PAGE_COMPLETION, at.completion, entries)?,
        })
    }

    /// Packets that one transmit system call may take in copy mode. Older kernels have a fixed
    /// 32 and no such option, which costs system calls only.
    pub(super) fn set_transmit_budget(&self, packets: u32) {
        let _ = self.set(MAX_TX_SKB_BUDGET, &packets);
    }

    /// Binds to a queue of an interface; `shared` names the UMEM's first socket.
    pub(super) fn bind(
        &self,
        interface_index: u32,
        queue: u32,
        flags: u16,
        shared: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: interface_index,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: shared.map_or(0, |fd| fd.as_raw_fd() as u32),
        };
        // SAFETY: the address is valid for reading for its size.
        let result = unsafe {
            libc::bind(
                self.0.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_xdp>() as libc::socklen_t,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes the kernel look at the transmit ring.
    pub(super) fn wake_transmit(&self) -> io::Result<()> {
        // SAFETY: an empty message: no memory is passed.
        let result = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes the kernel look at the fill ring.
    pub(super) fn wake_receive(&self) {
        // The answer does not matter: there is nothing to receive by this call.
        // SAFETY: an empty buffer: no memory is passed.
        unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    /// True when the driver reads and writes packet memory itself (`XDP_OPTIONS_ZEROCOPY`).
    pub(super) fn is_zero_copy(&self) -> bool {
        self.get::<u32>(OPTIONS).unwrap_or_default() & 1 != 0
    }

    /// What the kernel dropped on this socket. A packet for which there was no frame in the fill
    /// ring is in `rx_dropped` as well, and is counted once here, as the ring's.
    pub(super) fn kernel_counters(&self) -> KernelCounters {
        let statistics: Statistics = self.get(STATISTICS).unwrap_or_default();
        let without_frame = statistics.rx_fill_ring_empty.min(statistics.rx_dropped);
        KernelCounters {
            rx_ring_full: statistics.rx_ring_full + without_frame,
            rx_invalid: statistics.rx_dropped - without_frame,
            tx_invalid: statistics.tx_invalid_descriptors,
        }
    }
}
