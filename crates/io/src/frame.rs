//! A frame: the right to one chunk of packet memory, and the packet that lies in it.

/// One packet in a [`crate::PacketMemory`].
///
/// A frame is a token of ownership: it cannot be copied, so that whoever holds it is alone in
/// reading and writing its chunk, and the kernel does not own it. It comes from the memory's
/// `allocate` or from a port's `receive`, and ends in the memory's `free` or a port's `transmit`.
/// Dropping one loses the chunk until the worker ends, which tests detect by
/// `PacketMemory::free_frames`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped is lost to its memory: free or transmit it"]
pub struct Frame {
    /// Which memory: a frame is refused by any other, for there its chunk may be somebody else's.
    pub(crate) memory: u32,
    /// Which chunk of the memory, from 0.
    pub(crate) chunk: u32,
    /// First byte of the packet, in bytes from the start of the chunk.
    pub(crate) offset: u16,
    /// Bytes of the packet.
    pub(crate) length: u16,
}

impl Frame {
    /// Length of the packet in bytes, link-layer header included, frame check sequence excluded.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an empty frame is never made")]
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }
}
