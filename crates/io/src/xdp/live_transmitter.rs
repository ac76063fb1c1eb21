//! Transmission by XDP, for drivers that take redirected frames and have no zero-copy.
//!
//! In copy mode an AF_XDP socket makes a socket buffer of each frame and walks it through the transmit
//! path alone: on veth that is a microsecond a frame, whatever the batch. XDP frames go to the same
//! driver in bulks of 16, by `ndo_xdp_xmit`. A program that runs on *live frames*
//! (`BPF_PROG_TEST_RUN` with `BPF_F_TEST_XDP_LIVE_FRAMES`) is a way to make such frames from user space:
//! the worker writes a batch into an array that the program shares, and one system call runs the
//! program once for each frame, which copies it from the array and redirects it to its port.
//!
//! The call's price depends on one thing. The kernel calls XDP programs through a dispatcher that it
//! rewrites when a program comes or goes, and waits for two RCU grace periods each time: 25 ms. A test run
//! is a coming and a going, unless the program is there already, because it is attached natively to
//! some interface (`bpf_dispatcher_add_prog`). So it is attached to one, the *anchor*, where it passes all
//! frames on. A call then costs some 12 µs, and a frame 0.2 µs. But each takes the dispatcher's lock all the
//! same, so it waits as long as the kernel attaches or detaches an XDP program, whosever it is: 15 to 30 ms.
//!
//! **Nothing is lost in silence.** Frames are redirected, and may be lost, before the call returns: what
//! the driver does not take is counted by `bpf::redirect_losses` (the frames come in by the loopback, for
//! which it has a number), what does not come that far by the program, and what the kernel did not run
//! the program for by this side. [`LiveTransmitter::losses`] is the sum.
//!
//! Each call has a page pool of its own, which lives on until the receiver has freed the last of its
//! pages. A frame takes a page until then, however short it is.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::bpf::assembler::{Alu, Assembler, If, Label, Register::*, Width};
use crate::bpf::mapped::MappedArray;
use crate::bpf::redirect_losses::LOOPBACK_NUMBER;
use crate::bpf::uapi::{
    MAP_LOOKUP, REDIRECT_MAP, XDP_DROP, XDP_FLAGS_NATIVE, XDP_GET_BUFF_LEN, XDP_PASS, XDP_REDIRECT,
};
use crate::bpf::{Link, LossCounter, Program, sys};
use crate::route_cache::PORTS_MAX;
use crate::{Frame, PacketMemory};

/// Frames of one call.
pub const LIVE_FRAMES_MAX: usize = 256;
/// Bytes of the largest frame.
pub const LIVE_FRAME_BYTES_MAX: usize = 8 * WORDS;
const WORDS: usize = 224;
/// Bytes with which a frame begins its life, before it has its own length: any that the kernel takes.
const TEMPLATE: [u8; 64] = [0; 64];
/// Calls in one flush: a signal ends a call early.
const CALLS_PER_FLUSH_MAX: usize = 8;
/// Index of the loopback, in each network namespace.
const LOOPBACK: u32 = 1;

/// A frame on its way to the program.
#[derive(Debug)]
#[repr(C)]
struct Slot {
    length: AtomicU32,
    /// Number of the port that it leaves by.
    port: AtomicU32,
    bytes: [AtomicU64; WORDS],
}

/// What the program keeps.
#[derive(Debug)]
#[repr(C)]
struct Control {
    /// The slot that is next.
    next: AtomicU64,
    /// Frames that did not come as far as the driver, by port: its interface is gone.
    lost: [AtomicU64; PORTS_MAX],
}

mod shared {
    #![allow(unsafe_code, reason = "promises about memory that is shared with the kernel")]
    use super::{Control, Slot};
    use crate::bpf::mapped::Shared;

    // SAFETY: atomic integers only, in a multiple of eight bytes.
    unsafe impl Shared for Slot {}
    // SAFETY: atomic integers of 64 bits.
    unsafe impl Shared for Control {}
}

/// Frames that a port did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LiveLosses {
    /// Its driver had no room.
    pub full: u64,
    /// It is down or gone, or its driver did not take them for another reason.
    pub refused: u64,
}

/// Sends frames of one worker by several ports. Dropping it detaches its program.
///
/// [`Self::push`] and [`Self::flush`] are that worker's; anybody may ask the rest.
#[derive(Debug)]
pub struct LiveTransmitter {
    slots: MappedArray<Slot>,
    control: MappedArray<Control>,
    targets: OwnedFd,
    losses: LossCounter,
    program: Program,
    _anchor: Link,
    /// Slots that wait for the next flush. An atomic so that the queues of a worker can share it; no
    /// other thread touches it.
    pending: AtomicUsize,
    /// Bit n: port n may be sent by.
    ports_open: AtomicU64,
    frames: AtomicU64,
}

impl LiveTransmitter {
    /// A transmitter without ports, whose program is anchored at the interface with this index: one with
    /// a driver that has XDP and without a program. The anchor, the ports and the threads that flush are
    /// in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's: `EPERM` without `CAP_BPF`, `CAP_NET_ADMIN` and `CAP_PERFMON`, `EBUSY` when the anchor
    /// has a program, `EOPNOTSUPP` when its driver has no XDP.
    pub fn new(anchor: u32) -> io::Result<Arc<Self>> {
        let slots = MappedArray::new("lc_live_frames", LIVE_FRAMES_MAX)?;
        let control = MappedArray::new("lc_live_control", 1)?;
        let targets =
            sys::map_create("lc_live_targets", sys::MAP_DEVMAP, 4, 4, PORTS_MAX as u32, 0)?;
        let losses = LossCounter::attach_to(targets.as_fd())?;
        losses.set_port(LOOPBACK_NUMBER, LOOPBACK)?;
        let code = assemble(slots.map(), control.map(), targets.as_fd());
        let program = Program::load_xdp("lc_live_tx", &code)?;
        let _anchor = program.attach_xdp(anchor, XDP_FLAGS_NATIVE)?;
        let (pending, ports_open) = (AtomicUsize::new(0), AtomicU64::new(0));
        Ok(Arc::new(Self {
            slots,
            control,
            targets,
            losses,
            program,
            _anchor,
            pending,
            ports_open,
            frames: AtomicU64::new(0),
        }))
    }

    /// Tells which interface a port is. It stays closed.
    ///
    /// # Errors
    /// The kernel's; `E2BIG` for a number from [`PORTS_MAX`] on.
    pub fn set_port(&self, port: u16, interface_index: u32) -> io::Result<()> {
        let (key, index) = (u32::from(port).to_ne_bytes(), interface_index.to_ne_bytes());
        sys::map_update(self.targets.as_fd(), &key, &index)?;
        self.losses.set_port(port, interface_index)
    }

    /// Says whether the worker's queues may send by a port: whether its driver takes redirected frames.
    pub fn open_port(&self, port: u16, open: bool) {
        let bit = 1_u64.checked_shl(u32::from(port)).unwrap_or(0);
        if open {
            self.ports_open.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.ports_open.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether a port may be sent by.
    #[inline]
    #[must_use]
    pub fn is_open(&self, port: u16) -> bool {
        self.ports_open.load(Ordering::Relaxed) & 1_u64.checked_shl(u32::from(port)).unwrap_or(0)
            != 0
    }

    /// What each port, by number, did not take so far. A system call.
    ///
    /// # Errors
    /// The kernel's.
    pub fn losses(&self) -> io::Result<Vec<LiveLosses>> {
        let behind = self.losses.of_port(LOOPBACK_NUMBER)?;
        let before = &self.control.values()[0].lost;
        let sum = behind.iter().zip(before).map(|(behind, before)| LiveLosses {
            full: behind.full,
            refused: behind.refused + before.load(Ordering::Relaxed),
        });
        Ok(sum.collect())
    }

    /// Frames that were handed to it and flushed so far, lost ones included.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Frames that wait for the next flush.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// Copies a frame, which leaves by a port with the next [`Self::flush`]. False when there is no
    /// room, or the frame is larger than [`LIVE_FRAME_BYTES_MAX`].
    #[must_use]
    pub fn push(&self, memory: &PacketMemory, frame: &Frame, port: u16) -> bool {
        let packet = memory.packet(frame);
        let pending = self.pending();
        if packet.len() > LIVE_FRAME_BYTES_MAX || pending == LIVE_FRAMES_MAX {
            return false;
        }
        let slot = &self.slots.values()[pending];
        slot.length.store(packet.len() as u32, Ordering::Relaxed);
        slot.port.store(u32::from(port), Ordering::Relaxed);
        let (words, rest) = packet.as_chunks::<8>();
        for (to, word) in slot.bytes.iter().zip(words) {
            to.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            slot.bytes[words.len()].store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        self.pending.store(pending + 1, Ordering::Relaxed);
        true
    }

    /// Sends what was pushed, in its order. One system call; none when nothing was. What is lost on the
    /// way is among [`Self::losses`] when it returns.
    pub fn flush(&self) {
        let frames = self.pending.swap(0, Ordering::Relaxed);
        if frames == 0 {
            return;
        }
        // One thread writes it.
        self.frames.store(self.frames() + frames as u64, Ordering::Relaxed);
        let Control { next, lost } = &self.control.values()[0];
        next.store(0, Ordering::Relaxed);
        let mut done = 0;
        for _ in 0..CALLS_PER_FLUSH_MAX {
            let outcome = self.program.run_live(&TEMPLATE, (frames - done) as u32);
            // The program counts the slots up as it takes them.
            done = (next.load(Ordering::Relaxed) as usize).min(frames);
            let again = outcome.is_err_and(|it| it.raw_os_error() == Some(libc::EINTR));
            if done == frames || !again {
                break;
            }
        }
        for slot in &self.slots.values()[done..frames] {
            let port = slot.port.load(Ordering::Relaxed) as usize;
            lost[port].fetch_add(1, Ordering::Relaxed);
        }
    }
}

// Helper numbers: enum bpf_func_id, linux/bpf.h.
const XDP_ADJUST_TAIL: i32 = 65;
const XDP_STORE_BYTES: i32 = 190;

/// `ingress_ifindex` in `struct xdp_md`.
const XDP_INGRESS_INDEX: i16 = 12;
/// Where a four-byte map key lies, from the frame pointer.
const KEY: i16 = -4;

/// Register use: R6 context, R7 slot, R8 length, R9 control.
fn assemble(slots: BorrowedFd<'_>, control: BorrowedFd<'_>, targets: BorrowedFd<'_>) -> Vec<u64> {
    let mut asm = Assembler::default();
    let (drop, pass, lost) = (asm.label(), asm.label(), asm.label());
    asm.alu(Alu::Move, R6, R1);
    asm.load(Width::U32, R1, R6, XDP_INGRESS_INDEX);
    asm.jump_if_immediate(R1, If::NotEqual, LOOPBACK as i32, pass);
    asm.store_immediate(R10, KEY, 0);
    look_up(&mut asm, control);
    asm.jump_if_immediate(R0, If::Equal, 0, drop);
    asm.alu(Alu::Move, R9, R0);
    asm.load(Width::U64, R1, R9, 0);
    asm.store(Width::U32, R10, KEY, R1);
    asm.alu_immediate(Alu::Add, R1, 1);
    asm.store(Width::U64, R9, 0, R1);
    look_up(&mut asm, slots);
    asm.jump_if_immediate(R0, If::Equal, 0, drop);
    asm.alu(Alu::Move, R7, R0);
    write_frame(&mut asm, lost);
    asm.load_map(R1, targets);
    asm.load(Width::U32, R2, R7, std::mem::offset_of!(Slot, port) as i16);
    asm.alu_immediate(Alu::Move, R3, XDP_DROP);
    asm.call(REDIRECT_MAP);
    asm.jump_if_immediate(R0, If::NotEqual, XDP_REDIRECT, lost);
    asm.exit();
    asm.place(lost);
    asm.load(Width::U32, R1, R7, std::mem::offset_of!(Slot, port) as i16);
    asm.jump_if_immediate(R1, If::GreaterOrEqual, PORTS_MAX as i32, drop);
    asm.alu_immediate(Alu::ShiftLeft, R1, 3);
    asm.alu(Alu::Add, R9, R1);
    let counter = std::mem::offset_of!(Control, lost) as i16;
    asm.load(Width::U64, R1, R9, counter);
    asm.alu_immediate(Alu::Add, R1, 1);
    asm.store(Width::U64, R9, counter, R1);
    for (label, answer) in [(drop, XDP_DROP), (pass, XDP_PASS)] {
        asm.place(label);
        asm.alu_immediate(Alu::Move, R0, answer);
        asm.exit();
    }
    asm.finish()
}

/// Makes the frame as long as the slot at R7 says, and fills it.
fn write_frame(asm: &mut Assembler, lost: Label) {
    let fits = asm.label();
    asm.load(Width::U32, R8, R7, 0);
    asm.jump_if_immediate(R8, If::Less, 14, lost);
    asm.jump_if_immediate(R8, If::Greater, LIVE_FRAME_BYTES_MAX as i32, lost);
    asm.alu(Alu::Move, R1, R6);
    asm.call(XDP_GET_BUFF_LEN);
    asm.jump_if(R0, If::Equal, R8, fits);
    // R2 = R8 - R0
    asm.alu(Alu::Move, R2, R0);
    asm.alu_immediate(Alu::Xor, R2, -1);
    asm.alu_immediate(Alu::Add, R2, 1);
    asm.alu(Alu::Add, R2, R8);
    asm.alu(Alu::Move, R1, R6);
    asm.call(XDP_ADJUST_TAIL);
    asm.jump_if_immediate(R0, If::NotEqual, 0, lost);
    asm.place(fits);
    asm.alu(Alu::Move, R1, R6);
    asm.alu_immediate(Alu::Move, R2, 0);
    asm.alu(Alu::Move, R3, R7);
    asm.alu_immediate(Alu::Add, R3, std::mem::offset_of!(Slot, bytes) as i32);
    asm.alu(Alu::Move, R4, R8);
    asm.call(XDP_STORE_BYTES);
    asm.jump_if_immediate(R0, If::NotEqual, 0, lost);
}

/// `R0 = &map[key on the stack]`, 0 when there is none.
fn look_up(asm: &mut Assembler, map: BorrowedFd<'_>) {
    asm.alu(Alu::Move, R2, R10);
    asm.alu_immediate(Alu::Add, R2, i32::from(KEY));
    asm.load_map(R1, map);
    asm.call(MAP_LOOKUP);
}
