//! What is lost behind a redirect, counted exactly.
//!
//! When a program answers `XDP_REDIRECT` the frame is out of its hands and not sent yet: the kernel
//! collects up to 16 for a port and gives them to its driver, which may take fewer than it was given.
//! No counter of the program's can know. The kernel tells two tracepoints, with how many and why:
//!
//! * `xdp_devmap_xmit`, once for each bulk: frames that the driver took and frames that were dropped;
//! * `xdp_redirect_err`, once for each frame that did not come that far: the interface is down, cannot
//!   take redirected frames, or the frame is too large for it.
//!
//! Two programs listen to them. A bulk without a loss, the usual one, costs them four instructions.
//! Tracepoints tell of all network namespaces and all programs: interfaces are told apart by namespace
//! and index, and errors by the map that the redirect went through.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::assembler::{Alu, Assembler, If, Label, Register::*, Width};
use super::btf::Btf;
use super::counters::PerCpuCounters;
use super::program::{Link, Program};
use super::sys;
use super::uapi::MAP_LOOKUP;
use crate::route_cache::{PORTS_MAX, RouteCache};
use crate::socket_option::namespace_cookie;

// Helper numbers: enum bpf_func_id, linux/bpf.h.
const PROBE_READ_KERNEL: i32 = 113;

// Arguments of the tracepoints (include/trace/events/xdp.h), eight bytes each.
const XMIT_FROM: i16 = 0;
const XMIT_TO: i16 = 8;
const XMIT_DROPS: i16 = 24;
const XMIT_ERROR: i16 = 32;
const ERROR_FROM: i16 = 0;
const ERROR_MAP_ID: i16 = 40;
const ERROR_INDEX: i16 = 48;

/// The number by which live frames are counted, which come in by the loopback (`xdp::live_transmitter`).
pub(crate) const LOOPBACK_NUMBER: u16 = PORTS_MAX as u16;
/// Numbers that frames may come in by: the ports', and [`LOOPBACK_NUMBER`].
const NUMBERS: u32 = PORTS_MAX as u32 + 1;

/// Counters for each pair of ports, and where they are.
const COUNTERS: usize = 2;
const FULL: i16 = 0;
const REFUSED: i16 = 8;

/// Where things lie, from the frame pointer: the namespace's number and the interface's, which are a
/// key together, and a pointer that was read.
const NAMESPACE_ON_STACK: i16 = -16;
const INDEX_ON_STACK: i16 = -8;
const POINTER_ON_STACK: i16 = -24;
const KEY_ON_STACK: i16 = -28;
const KEY_BYTES: u32 = 16;

/// Frames that came in by one port, were redirected to another and lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RedirectLosses {
    /// The outgoing port had no room.
    pub full: u64,
    /// The outgoing port did not take them, for any other reason.
    pub refused: u64,
}

/// The two programs and their maps. Dropping it ends the counting.
#[derive(Debug)]
pub struct LossCounter {
    /// (namespace, interface) → number of the port.
    ports: OwnedFd,
    /// By incoming port: for each outgoing port, both counters.
    losses: PerCpuCounters,
    namespace: u64,
    _links: [Link; 2],
}

/// Offsets in the kernel's structures.
struct Offsets {
    index: i32,
    namespace: i32,
    cookie: i32,
}

impl Offsets {
    fn of_kernel() -> io::Result<Self> {
        let btf = Btf::of_kernel()?;
        let offset = |structure: &str, member: &str| {
            btf.offset_of(structure, member).map(|offset| offset as i32).ok_or_else(|| {
                io::Error::other(format!("the kernel's BTF has no {structure}.{member}"))
            })
        };
        Ok(Self {
            index: offset("net_device", "ifindex")?,
            namespace: offset("net_device", "nd_net")?,
            cookie: offset("net", "net_cookie")?,
        })
    }
}

impl LossCounter {
    /// Whether the kernel tells how its tracepoints' arguments lie, without which nothing is counted. Takes no
    /// privileges and attaches nothing.
    ///
    /// # Errors
    /// It does not, and why.
    pub fn check_kernel() -> io::Result<()> {
        Offsets::of_kernel().map(drop)
    }

    /// Begins to count what is lost behind the redirects of `cache`, whose targets are interfaces of
    /// the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's: it needs `CAP_PERFMON` beside `CAP_BPF`, and a kernel with BTF.
    pub fn attach(cache: &RouteCache) -> io::Result<Self> {
        Self::attach_to(cache.targets_map())
    }

    /// The same for redirects through the map `targets`, from port number to interface.
    pub(crate) fn attach_to(targets: BorrowedFd<'_>) -> io::Result<Self> {
        let offsets = Offsets::of_kernel()?;
        let ports = sys::map_create("lc_port_numbers", sys::MAP_HASH, KEY_BYTES, 4, NUMBERS, 0)?;
        let losses = PerCpuCounters::with_elements("lc_losses", NUMBERS, PORTS_MAX * COUNTERS)?;
        let maps = Maps { ports: ports.as_fd(), losses: losses.map() };
        let map_id = sys::map_id(targets)?;
        let transmit = Program::load_tracing("lc_lost_bulk", &assemble_transmit(&maps, &offsets))?;
        let error =
            Program::load_tracing("lc_lost_frame", &assemble_error(&maps, &offsets, map_id))?;
        let links = [
            transmit.attach_tracing(c"xdp_devmap_xmit")?,
            error.attach_tracing(c"xdp_redirect_err")?,
        ];
        let namespace = namespace_cookie()?;
        Ok(Self { ports, losses, namespace, _links: links })
    }

    /// Tells which port an interface is; from now on its losses are counted.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_port(&self, port: u16, interface_index: u32) -> io::Result<()> {
        let mut key = [0; KEY_BYTES as usize];
        key[..8].copy_from_slice(&self.namespace.to_ne_bytes());
        key[8..12].copy_from_slice(&interface_index.to_ne_bytes());
        sys::map_update(self.ports.as_fd(), &key, &u32::from(port).to_ne_bytes())
    }

    /// What came in by `port` and was lost so far, for each outgoing port by number.
    ///
    /// # Errors
    /// The kernel's.
    pub fn of_port(&self, port: u16) -> io::Result<Vec<RedirectLosses>> {
        let counted = self.losses.totals_of(u32::from(port))?;
        let of_pair = |&[full, refused]: &[u64; COUNTERS]| RedirectLosses { full, refused };
        Ok(counted.as_chunks().0.iter().map(of_pair).collect())
    }
}

struct Maps<'a> {
    ports: BorrowedFd<'a>,
    losses: BorrowedFd<'a>,
}

/// Register use: R6 the arguments, R7 the incoming port, R8 the outgoing one, R9 frames.
fn assemble_transmit(maps: &Maps<'_>, offsets: &Offsets) -> Vec<u64> {
    let mut asm = Assembler::default();
    let (end, full) = (asm.label(), asm.label());
    asm.load(Width::U32, R9, R1, XMIT_DROPS);
    asm.jump_if_immediate(R9, If::Equal, 0, end);
    asm.alu(Alu::Move, R6, R1);
    port_of(&mut asm, maps, offsets, XMIT_TO, end);
    asm.alu(Alu::Move, R8, R0);
    port_of(&mut asm, maps, offsets, XMIT_FROM, end);
    asm.alu(Alu::Move, R7, R0);
    counters(&mut asm, maps, end);
    asm.load(Width::U32, R1, R6, XMIT_ERROR);
    asm.jump_if_immediate(R1, If::Equal, 0, full);
    count(&mut asm, REFUSED);
    asm.jump(end);
    asm.place(full);
    count(&mut asm, FULL);
    finish(asm, end)
}

fn assemble_error(maps: &Maps<'_>, offsets: &Offsets, map_id: u32) -> Vec<u64> {
    let mut asm = Assembler::default();
    let end = asm.label();
    asm.load(Width::U32, R2, R1, ERROR_MAP_ID);
    asm.jump_if_immediate(R2, If::NotEqual, map_id as i32, end);
    asm.alu(Alu::Move, R6, R1);
    asm.alu_immediate(Alu::Move, R9, 1);
    port_of(&mut asm, maps, offsets, ERROR_FROM, end);
    asm.alu(Alu::Move, R7, R0);
    asm.load(Width::U32, R8, R6, ERROR_INDEX);
    counters(&mut asm, maps, end);
    count(&mut asm, REFUSED);
    finish(asm, end)
}

/// `R0 =` the number of the port whose `struct net_device` an argument points to.
fn port_of(asm: &mut Assembler, maps: &Maps<'_>, offsets: &Offsets, argument: i16, none: Label) {
    let mut read = |from: Option<i16>, offset: i32, bytes: i32, to: i16| {
        match from {
            Some(argument) => asm.load(Width::U64, R3, R6, argument),
            None => asm.load(Width::U64, R3, R10, POINTER_ON_STACK),
        }
        asm.alu_immediate(Alu::Add, R3, offset);
        asm.alu_immediate(Alu::Move, R2, bytes);
        asm.alu(Alu::Move, R1, R10);
        asm.alu_immediate(Alu::Add, R1, i32::from(to));
        asm.call(PROBE_READ_KERNEL);
    };
    read(Some(argument), offsets.namespace, 8, POINTER_ON_STACK);
    read(None, offsets.cookie, 8, NAMESPACE_ON_STACK);
    read(Some(argument), offsets.index, 4, INDEX_ON_STACK);
    asm.store_immediate(R10, INDEX_ON_STACK + 4, 0);
    asm.alu(Alu::Move, R2, R10);
    asm.alu_immediate(Alu::Add, R2, i32::from(NAMESPACE_ON_STACK));
    asm.load_map(R1, maps.ports);
    asm.call(MAP_LOOKUP);
    asm.jump_if_immediate(R0, If::Equal, 0, none);
    asm.load(Width::U32, R0, R0, 0);
}

/// `R0 =` the counters of ports R7 and R8.
fn counters(asm: &mut Assembler, maps: &Maps<'_>, none: Label) {
    asm.jump_if_immediate(R8, If::GreaterOrEqual, PORTS_MAX as i32, none);
    asm.store(Width::U32, R10, KEY_ON_STACK, R7);
    asm.alu(Alu::Move, R2, R10);
    asm.alu_immediate(Alu::Add, R2, i32::from(KEY_ON_STACK));
    asm.load_map(R1, maps.losses);
    asm.call(MAP_LOOKUP);
    asm.jump_if_immediate(R0, If::Equal, 0, none);
    asm.alu_immediate(Alu::ShiftLeft, R8, (COUNTERS * 8).ilog2() as i32);
    asm.alu(Alu::Add, R0, R8);
}

/// Adds R9 frames to one of the counters at R0.
fn count(asm: &mut Assembler, counter: i16) {
    // The kernel calls it with preemption off, in softirq context: no other writer on this CPU.
    asm.load(Width::U64, R1, R0, counter);
    asm.alu(Alu::Add, R1, R9);
    asm.store(Width::U64, R0, counter, R1);
}

fn finish(mut asm: Assembler, end: Label) -> Vec<u64> {
    asm.place(end);
    asm.alu_immediate(Alu::Move, R0, 0);
    asm.exit();
    asm.finish()
}
