//! A port whose packets lie ready before the worker asks, and which keeps what the worker sends.
//!
//! A worker's packet memory is the worker's own, and queues see it only while they are asked for
//! packets. So the generator and the checker work there too, in rounds of their own that nobody
//! times: [`Phase`] says what a queue does when the worker asks it for packets.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use linecard_io::{Frame, PacketMemory, PortQueue};
use linecard_packet::PortId;

/// What the queues of a [`Stage`] do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Hand over packets and take them back: the part that is timed.
    Carry,
    /// Give what was sent to [`Hands::collect`].
    Collect,
    /// Take what is to be received from [`Hands::deal`].
    Deal,
}

/// Who handles the packets between the timed parts.
pub(super) trait Hands: Send {
    /// Takes the frames that left by `port`; `frames` is empty afterwards.
    fn collect(&mut self, port: PortId, frames: &mut Vec<Frame>, memory: &PacketMemory);
    /// Puts the frames that are to come in by `port` into `frames`, the first one last.
    fn deal(&mut self, port: PortId, frames: &mut Vec<Frame>, memory: &mut PacketMemory);
}

/// What the queues of one worker share.
pub(super) struct Stage<H> {
    phase: AtomicU8,
    hands: Mutex<H>,
}

impl<H: Hands + 'static> Stage<H> {
    pub(super) fn new(hands: H) -> Arc<Self> {
        Arc::new(Self { phase: AtomicU8::new(Phase::Carry as u8), hands: Mutex::new(hands) })
    }

    /// The queue of `port`, which hands over `batch` packets at a time.
    ///
    /// It holds `frames` frames at the most, and has the room for them from the start.
    pub(super) fn queue(self: &Arc<Self>, port: PortId, batch: usize, frames: usize) -> Queue<H> {
        let room = || Vec::with_capacity(frames);
        Queue { port, batch, ready: room(), sent: room(), count: 0, stage: Arc::clone(self) }
    }

    /// Runs `ask`, which asks each queue for packets, in a phase that is not timed.
    pub(super) fn between(&self, phase: Phase, ask: impl FnOnce()) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        ask();
        self.phase.store(Phase::Carry as u8, Ordering::Relaxed);
    }

    /// Works with the hands while no queue does.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut H) -> R) -> R {
        work(&mut self.hands.lock().expect("no queue panics with the hands"))
    }
}

/// One port's queue.
pub(super) struct Queue<H> {
    port: PortId,
    batch: usize,
    /// What is received next stands last.
    ready: Vec<Frame>,
    sent: Vec<Frame>,
    count: u64,
    stage: Arc<Stage<H>>,
}

impl<H: Hands + 'static> Queue<H> {
    #[cold]
    fn serve(&mut self, phase: u8, memory: &mut PacketMemory) {
        self.stage.with(|hands| {
            if phase == Phase::Collect as u8 {
                hands.collect(self.port, &mut self.sent, memory);
            } else {
                hands.deal(self.port, &mut self.ready, memory);
            }
        });
    }
}

impl<H: Hands + 'static> PortQueue for Queue<H> {
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        let phase = self.stage.phase.load(Ordering::Relaxed);
        if phase != Phase::Carry as u8 {
            self.serve(phase, memory);
            return 0;
        }
        let count = self.batch.min(frames_max).min(self.ready.len());
        frames.extend(self.ready.drain(self.ready.len() - count..));
        count
    }

    fn transmit(&mut self, _memory: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize {
        let count = frames.len();
        self.sent.append(frames);
        self.count += count as u64;
        count
    }

    fn flush(&mut self, _memory: &mut PacketMemory) {}

    fn queued(&self) -> usize {
        0
    }

    fn sent(&self) -> u64 {
        self.count
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
