//! The small interface behind which every kind of port stands.

use std::os::fd::BorrowedFd;

use crate::{Frame, PacketMemory};

/// What the kernel dropped on a queue's behalf before Linecard saw it, since the queue was opened.
///
/// Source: `XDP_STATISTICS` (`struct xdp_statistics`, linux/if_xdp.h), `PACKET_STATISTICS`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct KernelCounters {
    /// Packets dropped because the receive ring was full, or had no free frame to fill.
    pub rx_ring_full: u64,
    /// Packets dropped for another reason (too large for a frame, invalid descriptor).
    pub rx_invalid: u64,
    /// Transmit descriptors that the kernel refused.
    pub tx_invalid: u64,
}

/// One receive and one transmit queue of a port, owned by one worker.
///
/// All calls speak batches; none blocks. The cost of the dynamic dispatch is paid once a batch.
pub trait PortQueue: Send {
    /// Appends up to `frames_max` received frames to `frames`; returns how many.
    ///
    /// Takes buffers for later packets out of `memory`; `frames` must have the capacity (nothing
    /// is allocated here).
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize;

    /// Takes frames from the front of `frames` for sending, as many as there is room for, and
    /// returns how many. What remains in `frames`, in its order, was not taken; the caller decides. The
    /// vector keeps its capacity.
    ///
    /// A taken frame comes back to `memory` by itself when it has been sent.
    fn transmit(&mut self, memory: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize;

    /// False for a queue that only receives, because the device has fewer transmit queues: what
    /// [`Self::transmit`] took would never leave.
    fn transmits(&self) -> bool {
        true
    }

    /// Makes the kernel send what `transmit` queued, and takes back frames that were sent.
    /// Once a batch; cheap when there is nothing to do.
    fn flush(&mut self, memory: &mut PacketMemory);

    /// Frames that were taken by `transmit` and have not left yet.
    fn queued(&self) -> usize;

    /// Frames that have left since the queue was opened.
    fn sent(&self) -> u64;

    /// A descriptor that becomes readable when there is something to receive; `None` for ports
    /// that are always ready (files, memory).
    fn readable(&self) -> Option<BorrowedFd<'_>>;

    /// Clears what makes poll(2) report an error on [`Self::readable`], such as that the interface
    /// went down: until then poll returns at once. A system call, for when poll has said so.
    fn clear_error(&self) {}

    /// True when this queue can never receive again (end of file).
    fn finished(&self) -> bool {
        false
    }

    /// When the next packet that `receive` would return was captured, in nanoseconds since 1970;
    /// `None` for ports that receive live. A replay takes its clock from here.
    fn next_timestamp_nanoseconds(&self) -> Option<u64> {
        None
    }

    /// Completes what the port writes, such as the end of a capture file. Not for the packet path.
    ///
    /// # Errors
    /// What went wrong on the port since it was opened and made it end early: a malformed input, a
    /// full disk.
    fn finish(&mut self) -> std::io::Result<()> {
        Ok(())
    }

    /// What the kernel dropped on this queue; a system call, not for the packet path.
    fn kernel_counters(&self) -> KernelCounters {
        KernelCounters::default()
    }
}
