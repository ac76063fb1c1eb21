//! One AF_XDP socket as a port's queue.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::LiveTransmitter;
use super::live_side::LiveSide;
use super::live_transmitter::LIVE_FRAME_BYTES_MAX;
use super::socket::{
    BIND_COPY, BIND_NEED_WAKEUP, BIND_SHARED_UMEM, BIND_ZERO_COPY, Descriptor, Rings, Socket,
};
use crate::{Frame, KernelCounters, PacketMemory, PortQueue};

/// After a queue's last owner died the kernel needs 0.1–0.2 s before it can be bound again.
const REBIND_PATIENCE: Duration = Duration::from_secs(3);
/// Packets that one transmit system call takes: a batch.
const TRANSMIT_BUDGET_PACKETS: u32 = 256;
/// Transmit system calls in one flush, so that a stuck device cannot hold the worker.
const WAKEUPS_PER_FLUSH_MAX: usize = 16;

/// Whether the driver writes straight into packet memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZeroCopy {
    /// Where the driver can.
    #[default]
    Auto,
    /// Or not at all.
    On,
    /// Never.
    Off,
}

/// How a queue is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueOptions {
    /// The kernel's index of the interface.
    pub interface_index: u32,
    /// Receive queue of the NIC, from 0; and its transmit queue of that number, if it has one.
    pub queue: u32,
    /// Transmit queues of the NIC. The kernel sends nothing from a socket on a queue above
    /// (`__xsk_generic_xmit` in net/xdp/xsk.c).
    pub transmit_queues: u32,
    /// Entries of each ring, a power of two.
    pub ring_entries: u32,
    /// Zero-copy or not.
    pub zero_copy: ZeroCopy,
}

/// The UMEM that the queues of one worker share: known by its first socket.
///
/// Zero-copy is a property of the UMEM: the first queue decides it for all.
#[derive(Debug, Default)]
pub struct SharedUmem {
    /// The socket, and the number of the memory that it was registered with.
    first: Option<(OwnedFd, u32)>,
}

/// A socket with its rings. Works with the packet memory it was opened with, and panics on another:
/// the kernel would write into chunks that somebody owns there.
#[derive(Debug)]
pub struct XdpQueue {
    // Before `socket`: the rings are unmapped, then the socket is closed.
    rings: Rings,
    socket: Socket,
    transmits: bool,
    zero_copy: bool,
    /// The number of the memory whose chunks the rings carry.
    memory: u32,
    outstanding: u32,
    sent: u64,
    /// Frames that were to leave by an interface that is gone.
    lost: u64,
    /// The other way out, where there is one.
    live: Option<LiveSide>,
}

impl XdpQueue {
    /// Opens a socket on a queue of an interface, with `memory` as its UMEM.
    ///
    /// Waits up to three seconds for a queue whose last owner has just died.
    ///
    /// # Errors
    /// The kernel's: `EPERM` without `CAP_NET_RAW`, `EBUSY` while another program has the queue,
    /// `EOPNOTSUPP` when zero-copy is asked for and the driver has none.
    ///
    /// # Panics
    /// When `umem` was begun with another memory.
    pub fn open(
        memory: &mut PacketMemory,
        umem: &mut SharedUmem,
        options: QueueOptions,
    ) -> io::Result<Self> {
        if let Some((_, first)) = umem.first {
            assert!(first == memory.id(), "a UMEM of another packet memory");
        }
        let deadline = Instant::now() + REBIND_PATIENCE;
        let (socket, rings) = loop {
            match bind(memory, umem, options) {
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                result => break result?,
            }
        };
        socket.set_transmit_budget(TRANSMIT_BUDGET_PACKETS);
        if umem.first.is_none() {
            umem.first = Some((socket.fd().try_clone_to_owned()?, memory.id()));
        }
        let transmits = options.queue < options.transmit_queues;
        let mut queue = Self {
            rings,
            transmits,
            zero_copy: socket.is_zero_copy(),
            socket,
            memory: memory.id(),
            outstanding: 0,
            sent: 0,
            lost: 0,
            live: None,
        };
        queue.fill(memory, options.ring_entries as usize);
        Ok(queue)
    }

    /// True when the driver reads and writes packet memory itself.
    #[must_use]
    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Lets it send by live frames, as port number `port` of `transmitter`, when a batch has enough of
    /// them and the port is open there. What it sends so leaves packet memory at once.
    ///
    /// Only for the one transmit queue of a veth; all queues that share `transmitter` must be of one worker.
    ///
    /// # Panics
    /// When the queue copies nothing, or frames of `memory` can be larger than live frames.
    pub fn send_live(
        &mut self,
        memory: &PacketMemory,
        transmitter: Arc<LiveTransmitter>,
        port: u16,
    ) {
        assert!(!self.zero_copy && memory.packet_bytes_max() <= LIVE_FRAME_BYTES_MAX);
        self.live = Some(LiveSide::new(transmitter, port));
    }

    /// The socket, to be put into the port's map.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd()
    }

    /// Once a call: an address of one memory means nothing in another.
    fn check_own(&self, memory: &PacketMemory) {
        assert!(memory.id() == self.memory, "an AF_XDP queue of another packet memory");
    }

    /// Gives the kernel up to `frames_max` frames to receive into.
    fn fill(&mut self, memory: &mut PacketMemory, frames_max: usize) {
        let room = self.rings.fill.room(frames_max).min(frames_max);
        let mut pushed = false;
        for _ in 0..room {
            let Some(address) = memory.lend() else { break };
            self.rings.fill.push(address);
            pushed = true;
        }
        // An index that is written takes the cache line from the kernel, also with the same value.
        if pushed {
            self.rings.fill.publish();
        }
    }

    /// Takes back what the kernel will not take: the interface is gone, and the socket is bound to
    /// nothing for good. Only in copy mode, where the kernel takes frames in this thread's system
    /// calls alone; some drivers say the same while they have no XDP program and still send.
    fn lose(&mut self, memory: &mut PacketMemory) {
        while let Some(descriptor) = self.rings.tx.retract() {
            memory.give_back(descriptor.address);
            self.outstanding -= 1;
            self.lost += 1;
        }
    }

    /// Whether a batch of `frames` leaves as live frames. When it does not any more, those before it
    /// have left.
    fn sends_live(&mut self, memory: &mut PacketMemory, frames: usize) -> bool {
        if self.live.is_none() {
            return false;
        }
        self.complete(memory);
        let Some(live) = &mut self.live else { return false };
        let takes = live.takes(frames, self.outstanding == 0);
        if !takes {
            self.sent += live.flush() as u64;
        }
        takes
    }

    /// Takes back frames that were sent.
    fn complete(&mut self, memory: &mut PacketMemory) {
        if self.outstanding == 0 {
            return;
        }
        let completed = self.rings.completion.available(self.outstanding as usize);
        if completed == 0 {
            return;
        }
        for _ in 0..completed {
            memory.give_back(self.rings.completion.pop());
        }
        self.rings.completion.release();
        self.outstanding -= completed as u32;
        self.sent += completed as u64;
    }
}

fn bind(
    memory: &PacketMemory,
    umem: &SharedUmem,
    options: QueueOptions,
) -> io::Result<(Socket, Rings)> {
    let socket = Socket::new()?;
    if umem.first.is_none() {
        socket.register(memory)?;
    }
    let rings = socket.make_rings(options.ring_entries)?;
    let (index, queue) = (options.interface_index, options.queue);
    if let Some((first, _)) = &umem.first {
        socket.bind(index, queue, BIND_SHARED_UMEM, Some(first.as_fd()))?;
    } else {
        // Without either flag the kernel takes zero-copy where the driver has it.
        let mode = match options.zero_copy {
            ZeroCopy::Auto => 0,
            ZeroCopy::On => BIND_ZERO_COPY,
            ZeroCopy::Off => BIND_COPY,
        };
        socket.bind(index, queue, BIND_NEED_WAKEUP | mode, None)?;
    }
    Ok((socket, rings))
}

impl PortQueue for XdpQueue {
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        self.check_own(memory);
        let count = self.rings.rx.available(frames_max).min(frames_max);
        let mut received = 0;
        for _ in 0..count {
            let descriptor = self.rings.rx.pop();
            // No kernel hands out a descriptor outside the UMEM; if one did, the chunk is lost.
            if let Some(frame) = memory.received(descriptor.address, descriptor.length) {
                frames.push(frame);
                received += 1;
            }
        }
        if count > 0 {
            self.rings.rx.release();
        }
        // Refill also when nothing came: frames may have been short the last time.
        self.fill(memory, frames_max);
        if self.rings.fill.needs_wakeup() {
            self.socket.wake_receive();
        }
        received
    }

    fn transmit(&mut self, memory: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize {
        self.check_own(memory);
        if self.sends_live(memory, frames.len()) {
            let count = frames.len();
            if let Some(live) = &mut self.live {
                live.transmit(memory, frames);
            }
            return count;
        }
        if self.rings.tx.room(frames.len()) < frames.len() {
            self.flush(memory);
        }
        // More than a ring's length may be outstanding: what the kernel has taken off this ring and
        // not completed yet. It takes no frame for whose completion it has no room
        // (`xskq_prod_reserve_addr` in net/xdp/xsk_queue.h).
        let count = self.rings.tx.room(frames.len()).min(frames.len());
        for frame in frames.drain(..count) {
            let (address, length) = memory.surrender(frame);
            self.rings.tx.push(Descriptor { address, length, options: 0 });
        }
        if count > 0 {
            self.rings.tx.publish();
        }
        self.outstanding += count as u32;
        count
    }

    fn transmits(&self) -> bool {
        self.transmits
    }

    fn flush(&mut self, memory: &mut PacketMemory) {
        self.check_own(memory);
        if let Some(live) = &mut self.live {
            self.sent += live.flush() as u64;
        }
        let mut before = self.rings.tx.unconsumed();
        for _ in 0..WAKEUPS_PER_FLUSH_MAX {
            if before == 0 || !self.rings.tx.needs_wakeup() {
                break;
            }
            // EAGAIN, ENOBUFS, EBUSY: try again when something has moved; ENETDOWN: the frames stay
            // queued until the interface is up again, and leave then, however old.
            let result = self.socket.wake_transmit().map_err(|error| error.raw_os_error());
            if let Err(Some(libc::ENXIO | libc::ENODEV)) = result
                && !self.zero_copy
            {
                self.lose(memory);
                break;
            }
            self.complete(memory);
            let after = self.rings.tx.unconsumed();
            if after == before {
                break;
            }
            before = after;
        }
        self.complete(memory);
    }

    fn queued(&self) -> usize {
        self.outstanding as usize + self.live.as_ref().map_or(0, LiveSide::pending)
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.fd())
    }

    fn clear_error(&self) {
        // Reading SO_ERROR is what clears it; what it was does not matter.
        let _ = rustix::net::sockopt::socket_error(self.socket.fd());
    }

    fn kernel_counters(&self) -> KernelCounters {
        let counters = self.socket.kernel_counters();
        let lost = self.lost + self.live.as_ref().map_or(0, LiveSide::lost);
        KernelCounters { tx_invalid: counters.tx_invalid + lost, ..counters }
    }
}
