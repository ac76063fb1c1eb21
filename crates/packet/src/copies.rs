//! Copies of a batch's packets, on their way to the ports that rules mirror to.

use linecard_io::{Frame, PacketMemory};

use crate::{BATCH_PACKETS_MAX, Metadata, PortId};

/// Copies of one batch at the most: one of each packet where it comes in, and one where it leaves.
pub const COPIES_MAX: usize = 2 * BATCH_PACKETS_MAX;

/// Ports that one worker can have: it waits for no more queues.
const PORTS_MAX: usize = 64;

/// Frames that copies leave free: what is received comes first.
const FRAMES_KEPT: usize = BATCH_PACKETS_MAX;

/// A copy.
#[derive(Debug)]
pub struct MirrorCopy {
    /// The port that the packet came in on.
    pub in_port: PortId,
    /// The port that gets the copy.
    pub out_port: PortId,
    /// Bytes of the network-layer packet.
    pub layer3_length: u16,
    /// A frame of its own.
    pub frame: Frame,
}

/// The copies that were made of a batch's packets. All memory is allocated at the start.
#[derive(Debug)]
pub struct Copies {
    made: Vec<MirrorCopy>,
    /// Copies that could not be made, by the port that the packet came in on.
    missed: Vec<(PortId, u64)>,
}

impl Copies {
    pub(crate) fn new() -> Self {
        Self { made: Vec::with_capacity(COPIES_MAX), missed: Vec::with_capacity(PORTS_MAX) }
    }

    /// Copies the packet in `frame` as it stands. When there is no room in the list or in packet memory the copy
    /// is missed.
    ///
    /// Cost: that of copying the bytes.
    pub fn make(
        &mut self,
        memory: &mut PacketMemory,
        frame: &Frame,
        metadata: &Metadata,
        out_port: PortId,
    ) {
        let &Metadata { in_port, layer3_length, .. } = metadata;
        let has_room = self.made.len() < COPIES_MAX && memory.free_frames() > FRAMES_KEPT;
        let copy = if has_room { memory.copy_of(frame) } else { None };
        match copy {
            Some(frame) => self.made.push(MirrorCopy { in_port, out_port, layer3_length, frame }),
            None => self.miss(in_port),
        }
    }

    fn miss(&mut self, in_port: PortId) {
        if let Some((_, count)) = self.missed.iter_mut().find(|(port, _)| *port == in_port) {
            *count += 1;
        } else if self.missed.len() < PORTS_MAX {
            self.missed.push((in_port, 1));
        } else {
            debug_assert!(false, "a batch comes from fewer ports");
        }
    }

    /// True when no rule asked for a copy.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.missed.is_empty()
    }

    /// Takes the copies out, in the order in which they were made.
    pub fn drain(&mut self) -> std::vec::Drain<'_, MirrorCopy> {
        self.made.drain(..)
    }

    /// Takes the numbers of missed copies out.
    pub fn drain_missed(&mut self) -> std::vec::Drain<'_, (PortId, u64)> {
        self.missed.drain(..)
    }
}
