//! A port in memory: what one side transmits, the other receives.
//!
//! Tests, the demo without privileges and benchmarks hold the [`MemoryPeer`], the other end of the
//! wire. Each direction is a pair of single-producer single-consumer rings over a fixed set of
//! buffers: full ones travel to the reader, empty ones back. So the port neither allocates nor
//! locks, and a ring that nobody reads is full, as a card's is.

use std::os::fd::BorrowedFd;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::{Frame, KernelCounters, PacketMemory, PortQueue};

/// Holds the packet of any [`Frame`], so that a buffer never grows on the port's side.
const BUFFER_BYTES: usize = 4096;

/// Makes a port queue and the far end of its wire, with room for `capacity` packets in each
/// direction. Takes 8 KiB for each of them.
///
/// # Panics
/// When `capacity` is 0: nothing could ever pass.
#[must_use]
pub fn pair(capacity: usize) -> (MemoryPort, MemoryPeer) {
    assert!(capacity > 0, "a memory port of capacity 0 passes nothing");
    let (to_port, from_peer) = wire(capacity);
    let (to_peer, from_port) = wire(capacity);
    let port = MemoryPort { rx: from_peer, tx: to_peer, oversized: 0, queued: 0, sent: 0 };
    (port, MemoryPeer { tx: to_port, rx: from_port })
}

/// The port's end: one receive and one transmit queue. Made by [`pair`].
#[derive(Debug)]
pub struct MemoryPort {
    rx: WireReader,
    tx: WireWriter,
    /// Packets received that no frame can hold.
    oversized: u64,
    /// Frames taken that the peer had not read at the last `flush`.
    queued: usize,
    /// Frames that the peer had read by the last `flush`.
    sent: u64,
}

impl PortQueue for MemoryPort {
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        let mut received = 0;
        while received < frames_max && !self.rx.is_empty() {
            // Without a free frame the packet waits in the ring, which then fills up.
            let Some(mut frame) = memory.allocate() else { break };
            let fits = self.rx.read(|packet| memory.set_packet(&mut frame, packet));
            if fits == Some(true) {
                frames.push(frame);
                received += 1;
            } else {
                self.oversized += 1;
                memory.free(frame);
            }
        }
        received
    }

    fn transmit(&mut self, memory: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize {
        let taken = self.tx.room().min(frames.len());
        for frame in frames.drain(..taken) {
            let written = self.tx.write(memory.packet(&frame));
            debug_assert!(written, "only the port takes room away");
            memory.free(frame);
        }
        self.queued += taken;
        taken
    }

    fn flush(&mut self, _memory: &mut PacketMemory) {
        // Read here only, so that `queued` and `sent` agree however fast the peer reads.
        let unread = self.tx.unread();
        self.sent += (self.queued - unread) as u64;
        self.queued = unread;
    }

    fn queued(&self) -> usize {
        self.queued
    }

    fn sent(&self) -> u64 {
        self.sent
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// True when the peer was dropped and all that it sent was received.
    fn finished(&self) -> bool {
        // In this order: after its end the peer adds nothing, so that empty stays empty.
        self.rx.is_closed() && self.rx.is_empty()
    }

    fn kernel_counters(&self) -> KernelCounters {
        KernelCounters { rx_invalid: self.oversized, ..KernelCounters::default() }
    }
}

/// The other end of a memory port's wire. Dropping it ends the port's receiving.
#[derive(Debug)]
pub struct MemoryPeer {
    tx: WireWriter,
    rx: WireReader,
}

impl MemoryPeer {
    /// Sends `packet` to the port; false, and nothing sent, when the port's receive ring is full.
    /// Allocates only for packets of more than 4096 bytes.
    #[must_use = "a packet is refused when the ring is full"]
    pub fn send(&mut self, packet: &[u8]) -> bool {
        self.tx.write(packet)
    }

    /// The next packet that the port transmitted, or `None` when there is none.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        self.rx.read(<[u8]>::to_vec)
    }

    /// Calls `each` with the next packet that the port transmitted; `None` when there is none.
    /// Does not allocate, for sinks in benchmarks.
    pub fn receive_with<R>(&mut self, each: impl FnOnce(&[u8]) -> R) -> Option<R> {
        self.rx.read(each)
    }

    /// Packets that the port transmitted and that wait to be received.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.rx.full.slots()
    }
}

/// The writing end of one direction.
#[derive(Debug)]
struct WireWriter {
    capacity: usize,
    full: Producer<Vec<u8>>,
    empty: Consumer<Vec<u8>>,
}

/// The reading end of one direction.
#[derive(Debug)]
struct WireReader {
    full: Consumer<Vec<u8>>,
    empty: Producer<Vec<u8>>,
}

/// Makes one direction with `capacity` buffers, all empty.
fn wire(capacity: usize) -> (WireWriter, WireReader) {
    let (full_in, full_out) = RingBuffer::new(capacity);
    let (mut empty_in, empty_out) = RingBuffer::new(capacity);
    for _ in 0..capacity {
        let pushed = empty_in.push(Vec::with_capacity(BUFFER_BYTES));
        debug_assert!(pushed.is_ok(), "the ring has room for each buffer");
    }
    (
        WireWriter { capacity, full: full_in, empty: empty_out },
        WireReader { full: full_out, empty: empty_in },
    )
}

impl WireWriter {
    /// Packets that can be written now.
    fn room(&self) -> usize {
        self.empty.slots()
    }

    /// Packets written and not yet read.
    fn unread(&self) -> usize {
        self.capacity - self.room()
    }

    fn write(&mut self, packet: &[u8]) -> bool {
        let Ok(mut buffer) = self.empty.pop() else { return false };
        buffer.clear();
        buffer.extend_from_slice(packet);
        self.full.push(buffer).expect("there are no more buffers than the ring has room for");
        true
    }
}

impl WireReader {
    fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    fn is_closed(&self) -> bool {
        self.full.is_abandoned()
    }

    fn read<R>(&mut self, each: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let buffer = self.full.pop().ok()?;
        let result = each(&buffer);
        self.empty.push(buffer).expect("there are no more buffers than the ring has room for");
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryConfig;

    fn memory(frames: u32) -> PacketMemory {
        PacketMemory::new(MemoryConfig { frames, chunk_bytes: 2048 }).expect("memory")
    }

    fn frame(memory: &mut PacketMemory, packet: &[u8]) -> Frame {
        let mut frame = memory.allocate().expect("a free frame");
        assert!(memory.set_packet(&mut frame, packet));
        frame
    }

    #[test]
    fn packets_cross_the_wire_in_order_and_frames_come_back() {
        let mut memory = memory(8);
        let (mut port, mut peer) = pair(4);
        assert!(peer.send(b"one") && peer.send(b"two"));
        let mut frames = Vec::with_capacity(4);
        assert_eq!(port.receive(&mut memory, &mut frames, 4), 2);
        assert_eq!(memory.packet(&frames[0]), b"one");
        assert_eq!(memory.packet(&frames[1]), b"two");
        assert_eq!(port.transmit(&mut memory, &mut frames), 2);
        assert_eq!(memory.free_frames(), 8);
        assert_eq!((peer.receive(), peer.receive()), (Some(b"one".into()), Some(b"two".into())));
        assert_eq!(peer.receive(), None);
    }

    #[test]
    fn a_port_that_nobody_reads_refuses_what_does_not_fit() {
        let mut memory = memory(8);
        let (mut port, mut peer) = pair(2);
        let mut frames: Vec<_> = (0..3u8).map(|n| frame(&mut memory, &[n; 60])).collect();
        assert_eq!(port.transmit(&mut memory, &mut frames), 2);
        assert_eq!(memory.packet(&frames[0]), &[2; 60], "the last is left to the caller");
        port.flush(&mut memory);
        assert_eq!((port.queued(), port.sent()), (2, 0));
        assert_eq!(port.transmit(&mut memory, &mut frames), 0);

        assert_eq!(peer.pending(), 2);
        assert_eq!(peer.receive_with(<[u8]>::len), Some(60));
        port.flush(&mut memory);
        assert_eq!((port.queued(), port.sent()), (1, 1));
        assert_eq!(port.transmit(&mut memory, &mut frames), 1);
        assert_eq!((port.queued(), port.sent()), (2, 1));
    }

    #[test]
    fn a_full_receive_ring_refuses_the_peer_and_a_full_memory_waits() {
        let mut memory = memory(1);
        let (mut port, mut peer) = pair(2);
        assert!(peer.send(&[1; 60]) && peer.send(&[2; 60]));
        assert!(!peer.send(&[3; 60]), "two fill the ring");
        let mut frames = Vec::with_capacity(2);
        assert_eq!(port.receive(&mut memory, &mut frames, 2), 1, "there is but one frame");
        memory.free(frames.pop().expect("received"));
        assert_eq!(port.receive(&mut memory, &mut frames, 2), 1);
        assert_eq!(memory.packet(&frames[0]), &[2; 60], "nothing was lost");
    }

    #[test]
    fn a_packet_larger_than_a_frame_is_counted() {
        let mut memory = memory(2);
        let (mut port, mut peer) = pair(2);
        assert!(peer.send(&[0; 1793]) && peer.send(&[1; 1792]));
        let mut frames = Vec::with_capacity(2);
        assert_eq!(port.receive(&mut memory, &mut frames, 2), 1);
        assert_eq!(memory.packet(&frames[0]).len(), 1792);
        assert_eq!(port.kernel_counters().rx_invalid, 1);
        assert_eq!(memory.free_frames(), 1);
    }

    #[test]
    fn the_port_finishes_when_the_peer_is_gone_and_the_ring_empty() {
        let mut memory = memory(2);
        let (mut port, mut peer) = pair(2);
        assert!(peer.send(b"last"));
        assert!(!port.finished());
        drop(peer);
        assert!(!port.finished(), "a packet is left");
        let mut frames = Vec::with_capacity(2);
        assert_eq!(port.receive(&mut memory, &mut frames, 2), 1);
        assert!(port.finished());
    }

    #[test]
    fn another_thread_sends_and_receives_every_packet() {
        const PACKETS: u32 = 20_000;
        let mut memory = memory(64);
        let (mut port, mut peer) = pair(16);
        let far = std::thread::spawn(move || {
            let (mut sent, mut received) = (0, 0);
            while received < PACKETS {
                if sent < PACKETS && peer.send(&sent.to_be_bytes()) {
                    sent += 1;
                }
                while let Some(packet) = peer.receive() {
                    assert_eq!(packet, received.to_be_bytes());
                    received += 1;
                }
                std::thread::yield_now();
            }
        });
        let mut frames = Vec::with_capacity(32);
        while port.sent() < u64::from(PACKETS) && !far.is_finished() {
            let room = 32 - frames.len();
            port.receive(&mut memory, &mut frames, room);
            port.transmit(&mut memory, &mut frames);
            port.flush(&mut memory);
            std::thread::yield_now();
        }
        far.join().expect("all packets came back in order");
        port.flush(&mut memory);
        assert_eq!((port.sent(), port.queued()), (u64::from(PACKETS), 0));
        assert_eq!(memory.free_frames(), 64);
    }
}
