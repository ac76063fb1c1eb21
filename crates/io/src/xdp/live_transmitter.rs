//! Transmission by XDP, for drivers that take redirected frames and have no zero-copy. The benchmark
//! on veth (`linecard/benches/veth`) is its only user so far: ports transmit by AF_XDP and AF_PACKET.
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
//! frames on. A call then costs some 12 µs, and a frame 0.2 µs.
//!
//! What it does not do: the driver may drop frames of a bulk, and nobody counts them (the frames come from
//! the loopback, which is no port of `bpf::redirect_losses`); a veth whose peer neither has an XDP program
//! nor `gro on` drops all. Each call has a page pool of its own,
//! which lives on until the receiver has freed the last of its pages.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::bpf::assembler::{Alu, Assembler, If, Register::*, Width};
use crate::bpf::mapped::MappedArray;
use crate::bpf::uapi::{
    MAP_LOOKUP, REDIRECT_MAP, XDP_DROP, XDP_FLAGS_NATIVE, XDP_GET_BUFF_LEN, XDP_PASS,
};
use crate::bpf::{Link, Program, sys};
use crate::{Frame, PacketMemory};

/// Frames of one call.
pub const LIVE_FRAMES_MAX: usize = 256;
/// Bytes of the largest frame.
pub const LIVE_FRAME_BYTES_MAX: usize = 8 * WORDS;
const WORDS: usize = 224;
/// Bytes with which a frame begins its life, before it has its own length: any that the kernel takes.
const TEMPLATE: [u8; 64] = [0; 64];

/// A frame on its way to the program.
#[derive(Debug)]
#[repr(C)]
struct Slot {
    length: AtomicU32,
    /// Place of the interface among the targets.
    target: AtomicU32,
    bytes: [AtomicU64; WORDS],
}

/// What the program keeps: the slot that is next.
#[derive(Debug)]
#[repr(C)]
struct Control {
    next: AtomicU64,
}

mod shared {
    #![allow(unsafe_code, reason = "promises about memory that is shared with the kernel")]
    use super::{Control, Slot};
    use crate::bpf::mapped::Shared;

    // SAFETY: atomic integers only, in a multiple of eight bytes.
    unsafe impl Shared for Slot {}
    // SAFETY: one atomic integer of 64 bits.
    unsafe impl Shared for Control {}
}

/// A flush that failed.
#[derive(Debug)]
pub struct FlushError {
    /// Frames, the first that were pushed, that the program redirected all the same.
    pub sent: usize,
    /// Why not more.
    pub error: io::Error,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only {} frames were sent: {}", self.sent, self.error)
    }
}

impl std::error::Error for FlushError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Sends frames of one worker to several interfaces. Dropping it detaches its program.
#[derive(Debug)]
pub struct LiveTransmitter {
    slots: MappedArray<Slot>,
    control: MappedArray<Control>,
    _targets: OwnedFd,
    program: Program,
    _anchor: Link,
    pending: usize,
}

impl LiveTransmitter {
    /// A transmitter to the interfaces with these indexes, whose program is anchored at another one,
    /// with a driver that has XDP and without a program.
    ///
    /// # Errors
    /// The kernel's: `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`, `EBUSY` when the anchor has a
    /// program, `EOPNOTSUPP` when its driver has no XDP.
    pub fn new(targets: &[u32], anchor: u32) -> io::Result<Self> {
        let slots = MappedArray::new("lc_live_frames", LIVE_FRAMES_MAX)?;
        let control = MappedArray::new("lc_live_control", 1)?;
        let entries = targets.len().max(1) as u32;
        let map = sys::map_create("lc_live_targets", sys::MAP_DEVMAP, 4, 4, entries, 0)?;
        for (place, index) in (0_u32..).zip(targets) {
            sys::map_update(map.as_fd(), &place.to_ne_bytes(), &index.to_ne_bytes())?;
        }
        let code = assemble(slots.map(), control.map(), map.as_fd());
        let program = Program::load_xdp("lc_live_tx", &code)?;
        let anchor = program.attach_xdp(anchor, XDP_FLAGS_NATIVE)?;
        Ok(Self { slots, control, _targets: map, program, _anchor: anchor, pending: 0 })
    }

    /// Copies a frame, which leaves by the interface at place `target` with the next
    /// [`Self::flush`]. False when there is no room, or the frame is larger than
    /// [`LIVE_FRAME_BYTES_MAX`].
    #[must_use]
    pub fn push(&mut self, memory: &PacketMemory, frame: &Frame, target: usize) -> bool {
        let packet = memory.packet(frame);
        if packet.len() > LIVE_FRAME_BYTES_MAX || self.pending == LIVE_FRAMES_MAX {
            return false;
        }
        let slot = &self.slots.values()[self.pending];
        slot.length.store(packet.len() as u32, Ordering::Relaxed);
        slot.target.store(target as u32, Ordering::Relaxed);
        let (words, rest) = packet.as_chunks::<8>();
        for (to, word) in slot.bytes.iter().zip(words) {
            to.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        }
        if !rest.is_empty() {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            slot.bytes[words.len()].store(u64::from_ne_bytes(word), Ordering::Relaxed);
        }
        self.pending += 1;
        true
    }

    /// Sends what was pushed, in its order, and returns how many frames that were. One system call.
    ///
    /// # Errors
    /// The kernel's, with the number of frames that were sent by then; the others are lost.
    pub fn flush(&mut self) -> Result<usize, FlushError> {
        let frames = std::mem::take(&mut self.pending);
        if frames > 0 {
            let next = &self.control.values()[0].next;
            next.store(0, Ordering::Relaxed);
            self.program.run_live(&TEMPLATE, frames as u32).map_err(|error| {
                // The program counts the slots up as it redirects them.
                FlushError { sent: next.load(Ordering::Relaxed) as usize, error }
            })?;
        }
        Ok(frames)
    }
}

// Helper numbers: enum bpf_func_id, linux/bpf.h.
const XDP_ADJUST_TAIL: i32 = 65;
const XDP_STORE_BYTES: i32 = 190;

/// `ingress_ifindex` in `struct xdp_md`.
const XDP_INGRESS_INDEX: i16 = 12;
/// Live frames seem to come from the loopback, whose index is 1 in each namespace.
const LOOPBACK: i32 = 1;
/// Where a four-byte map key lies, from the frame pointer.
const KEY: i16 = -4;

/// Register use: R6 context, R7 slot, R8 length.
fn assemble(slots: BorrowedFd<'_>, control: BorrowedFd<'_>, targets: BorrowedFd<'_>) -> Vec<u64> {
    let mut asm = Assembler::default();
    let (drop, pass, fits) = (asm.label(), asm.label(), asm.label());
    asm.alu(Alu::Move, R6, R1);
    asm.load(Width::U32, R1, R6, XDP_INGRESS_INDEX);
    asm.jump_if_immediate(R1, If::NotEqual, LOOPBACK, pass);
    asm.store_immediate(R10, KEY, 0);
    look_up(&mut asm, control);
    asm.jump_if_immediate(R0, If::Equal, 0, drop);
    asm.load(Width::U64, R1, R0, 0);
    asm.store(Width::U32, R10, KEY, R1);
    asm.alu_immediate(Alu::Add, R1, 1);
    asm.store(Width::U64, R0, 0, R1);
    look_up(&mut asm, slots);
    asm.jump_if_immediate(R0, If::Equal, 0, drop);
    asm.alu(Alu::Move, R7, R0);
    asm.load(Width::U32, R8, R7, 0);
    asm.jump_if_immediate(R8, If::Less, 14, drop);
    asm.jump_if_immediate(R8, If::Greater, LIVE_FRAME_BYTES_MAX as i32, drop);
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
    asm.jump_if_immediate(R0, If::NotEqual, 0, drop);
    asm.place(fits);
    asm.alu(Alu::Move, R1, R6);
    asm.alu_immediate(Alu::Move, R2, 0);
    asm.alu(Alu::Move, R3, R7);
    asm.alu_immediate(Alu::Add, R3, std::mem::offset_of!(Slot, bytes) as i32);
    asm.alu(Alu::Move, R4, R8);
    asm.call(XDP_STORE_BYTES);
    asm.jump_if_immediate(R0, If::NotEqual, 0, drop);
    asm.load_map(R1, targets);
    asm.load(Width::U32, R2, R7, std::mem::offset_of!(Slot, target) as i16);
    asm.alu_immediate(Alu::Move, R3, XDP_DROP);
    asm.call(REDIRECT_MAP);
    asm.exit();
    for (label, answer) in [(pass, XDP_PASS), (drop, XDP_DROP)] {
        asm.place(label);
        asm.alu_immediate(Alu::Move, R0, answer);
        asm.exit();
    }
    asm.finish()
}

/// `R0 = &map[key on the stack]`, 0 when there is none.
fn look_up(asm: &mut Assembler, map: BorrowedFd<'_>) {
    asm.alu(Alu::Move, R2, R10);
    asm.alu_immediate(Alu::Add, R2, i32::from(KEY));
    asm.load_map(R1, map);
    asm.call(MAP_LOOKUP);
}
