//! A port on an `AF_PACKET` socket, for interfaces whose driver has no XDP (packet(7)).
//!
//! Receiving is from a ring that the kernel fills (`TPACKET_V2`), sending is by `sendmmsg` straight
//! out of the frames. Measured on veth, 60-byte packets, batches of 64, everything on one core of
//! a busy machine (median of six runs): receiving costs the worker 50 ns a packet from the ring and
//! 810 ns by `recvmmsg`, so that forwarding takes 1.40 µs against 2.15 µs. Sending is the rest; a
//! ring for it gave nothing (1,550 ns against 1,560 ns in the same run). `TPACKET_V3` receives no
//! faster than V2 and holds packets back until a block is full or its timer ends, at the earliest
//! after a millisecond.
//!
//! The kernel sees each packet too. Who opens the port also keeps the kernel from forwarding what
//! Linecard takes: a classifier at the interface's ingress drops it, and the same one as the
//! socket's filter lets nothing else in ([`PacketPortOptions::filter`]).
//!
//! What the kernel took off a packet is put back: the outer VLAN tag, and a checksum that a local
//! sender left to the hardware. A packet that generic receive offload or a local sender merged out
//! of several is none of the wire, however short, and is never taken: it is counted as invalid
//! here, and the classifier must leave it to the kernel (`gso_size` in `struct __sk_buff` is not 0).

mod error;
mod offload;
mod ring;
mod socket;
mod transmit;

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub use error::PacketPortError;
use ring::{Next, ReceiveRing};
use transmit::TransmitQueue;

use crate::{Frame, KernelCounters, PacketMemory, PortQueue};

/// How to open one queue of a [`PacketPort`].
#[derive(Debug, Clone, Copy)]
pub struct PacketPortOptions<'a> {
    /// Name of the interface, in the calling thread's network namespace.
    pub interface: &'a str,
    /// The group of queues among which the kernel spreads the interface's flows by their hash
    /// (`PACKET_FANOUT_HASH`); all queues of a port name the same number, of their own in the
    /// namespace. `None` for a port of one queue.
    pub fanout_group: Option<u16>,
    /// A loaded program of type `BPF_PROG_TYPE_SOCKET_FILTER` (`SO_ATTACH_BPF`), in force before
    /// the first packet. `None` takes everything.
    pub filter: Option<BorrowedFd<'a>>,
    /// Received packets that may wait, each in a slot of 2 or 4 KiB; rounded up to fill blocks of
    /// 64 KiB.
    pub receive_packets_max: usize,
    /// Bytes of the longest packet to receive; [`PacketMemory::packet_bytes_max`] is what fits.
    pub packet_bytes_max: usize,
    /// Frames that may wait to be sent, at least 1.
    pub transmit_frames_max: usize,
}

impl<'a> PacketPortOptions<'a> {
    /// One queue without a filter, for frames of 2 KiB chunks: room for 4,096 received packets
    /// (8 MiB) and 512 to transmit.
    #[must_use]
    pub fn new(interface: &'a str) -> Self {
        Self {
            interface,
            fanout_group: None,
            filter: None,
            receive_packets_max: 4096,
            packet_bytes_max: 1792,
            transmit_frames_max: 512,
        }
    }
}

/// One receive and one transmit queue on an interface, each a packet socket.
#[derive(Debug)]
pub struct PacketPort {
    receiver: OwnedFd,
    sender: OwnedFd,
    ring: ReceiveRing,
    queue: TransmitQueue,
    /// Packets that came and cannot be forwarded.
    invalid: u64,
    /// Packets that the socket dropped; the kernel forgets its count at each reading.
    dropped: Cell<u64>,
}

impl PacketPort {
    /// Opens a queue.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, for an interface that is missing or not Ethernet, and when the kernel
    /// refuses an option; each names the interface and the remedy.
    pub fn open(options: &PacketPortOptions<'_>) -> Result<Self, PacketPortError> {
        let (receiver, ring) = socket::receiver(options)?;
        Ok(Self {
            receiver,
            sender: socket::sender(options)?,
            ring,
            queue: TransmitQueue::new(options.transmit_frames_max.max(1)),
            invalid: 0,
            dropped: Cell::new(0),
        })
    }
}

impl PortQueue for PacketPort {
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        let before = frames.len();
        // Invalid packets count too, so that a flood of them cannot hold the worker here.
        for _ in 0..frames_max {
            match self.ring.next(memory) {
                Next::Packet(frame) => frames.push(frame),
                Next::Invalid => self.invalid += 1,
                Next::Empty | Next::NoFrame => break,
            }
        }
        frames.len() - before
    }

    fn transmit(&mut self, _memory: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize {
        self.queue.push(frames)
    }

    fn flush(&mut self, memory: &mut PacketMemory) {
        self.queue.flush(self.sender.as_fd(), memory);
    }

    fn queued(&self) -> usize {
        self.queue.len()
    }

    fn sent(&self) -> u64 {
        self.queue.sent
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.receiver.as_fd())
    }

    fn clear_error(&self) {
        // Reading SO_ERROR is what clears it; what it was does not matter.
        let _ = rustix::net::sockopt::socket_error(&self.receiver);
    }

    fn kernel_counters(&self) -> KernelCounters {
        let dropped = self.dropped.get() + socket::take_drops(self.receiver.as_fd());
        self.dropped.set(dropped);
        KernelCounters {
            rx_ring_full: dropped,
            rx_invalid: self.invalid,
            tx_invalid: self.queue.lost,
        }
    }
}
