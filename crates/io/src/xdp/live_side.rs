//! The other way out of an AF_XDP queue: live frames, when there are enough of them.
//!
//! A call of [`LiveTransmitter`] costs what the socket takes for a dozen frames, so a queue changes over to
//! it when a batch has [`LIVE_FROM_FRAMES`], and back when its rounds have stayed below that for
//! [`SMALL_ROUNDS_MAX`].
//!
//! **No flow is reordered.** A queue sends by one way at a time. It changes over when the kernel
//! has completed all that it took by the socket: the last of those socket buffers has gone through the
//! far end's backlog by then. Back it changes after many small rounds. Each runs the far end's receiving
//! side, for 64 frames at the least, so that what is left in its ring of 256 has been taken out. That
//! is so for a veth with one queue each way, and why there are live frames for no other driver.

use std::cell::Cell;
use std::sync::Arc;

use super::LiveTransmitter;
use crate::{Frame, PacketMemory};

/// Frames of a batch from which on live frames are the cheaper way.
const LIVE_FROM_FRAMES: usize = 16;
/// Rounds with fewer frames after which a queue goes back to its socket.
const SMALL_ROUNDS_MAX: u32 = 64;

/// What a queue needs for it.
#[derive(Debug)]
pub(super) struct LiveSide {
    transmitter: Arc<LiveTransmitter>,
    port: u16,
    choice: Choice,
    /// Frames that were pushed since the last flush.
    round_frames: usize,
    /// What was last read.
    lost: Cell<u64>,
}

/// Which way it is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Choice {
    is_live: bool,
    small_rounds: u32,
}

impl Choice {
    /// Before a batch: by live frames, or not.
    fn of_batch(&mut self, frames: usize, is_open: bool, socket_is_empty: bool) -> bool {
        if !is_open {
            self.is_live = false;
        } else if !self.is_live && frames >= LIVE_FROM_FRAMES && socket_is_empty {
            *self = Self { is_live: true, small_rounds: 0 };
        }
        self.is_live
    }

    /// After a round in which so many frames left as live frames.
    fn after_round(&mut self, frames: usize) {
        self.small_rounds = if frames < LIVE_FROM_FRAMES { self.small_rounds + 1 } else { 0 };
        self.is_live &= self.small_rounds < SMALL_ROUNDS_MAX;
    }
}

impl LiveSide {
    pub(super) fn new(transmitter: Arc<LiveTransmitter>, port: u16) -> Self {
        Self { transmitter, port, choice: Choice::default(), round_frames: 0, lost: Cell::new(0) }
    }

    /// Whether a batch of `frames` leaves as live frames; `socket_is_empty` when the kernel has
    /// completed all that it was given by the socket.
    pub(super) fn takes(&mut self, frames: usize, socket_is_empty: bool) -> bool {
        let is_open = self.transmitter.is_open(self.port);
        self.choice.of_batch(frames, is_open, socket_is_empty)
    }

    /// Takes all of `frames`, whose chunks are free at once.
    pub(super) fn transmit(&mut self, memory: &mut PacketMemory, frames: &mut Vec<Frame>) {
        self.round_frames += frames.len();
        for frame in frames.drain(..) {
            if !self.transmitter.push(memory, &frame, self.port) {
                self.transmitter.flush();
                let pushed = self.transmitter.push(memory, &frame, self.port);
                debug_assert!(pushed, "the memory's frames are not larger than live frames");
            }
            memory.free(frame);
        }
    }

    /// Frames that have not been handed to the kernel yet, at the most.
    pub(super) fn pending(&self) -> usize {
        self.round_frames
    }

    /// Sends what waits, of this queue and all others; returns how many frames of this queue have left
    /// since the last time.
    pub(super) fn flush(&mut self) -> usize {
        let frames = std::mem::take(&mut self.round_frames);
        if frames > 0 {
            self.transmitter.flush();
            self.choice.after_round(frames);
        }
        frames
    }

    /// Frames that this queue's port did not take.
    pub(super) fn lost(&self) -> u64 {
        // A reading that fails must not make a counter run backwards.
        if let Ok(losses) = self.transmitter.losses()
            && let Some(lost) = losses.get(usize::from(self.port))
        {
            self.lost.set(lost.full + lost.refused);
        }
        self.lost.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_changes_over_when_the_socket_is_empty_and_back_after_small_rounds() {
        let mut choice = Choice::default();
        assert!(!choice.of_batch(LIVE_FROM_FRAMES - 1, true, true), "too few");
        assert!(!choice.of_batch(LIVE_FROM_FRAMES, true, false), "it would overtake");
        assert!(!choice.of_batch(LIVE_FROM_FRAMES, false, true), "not open");
        assert!(choice.of_batch(LIVE_FROM_FRAMES, true, true));
        for _ in 1..SMALL_ROUNDS_MAX {
            choice.after_round(1);
            assert!(choice.of_batch(1, true, false), "it stays");
        }
        choice.after_round(LIVE_FROM_FRAMES);
        for _ in 0..SMALL_ROUNDS_MAX {
            assert!(choice.of_batch(1, true, true));
            choice.after_round(1);
        }
        assert!(!choice.of_batch(1, true, true), "back");
        assert!(choice.of_batch(LIVE_FROM_FRAMES, true, true), "and forth");
    }

    #[test]
    fn a_closed_port_is_left_at_once() {
        let mut choice = Choice::default();
        assert!(choice.of_batch(LIVE_FROM_FRAMES, true, true));
        assert!(!choice.of_batch(LIVE_FROM_FRAMES, false, true));
        assert!(!choice.of_batch(1, true, true));
    }
}
