//! Loaded programs and the links that attach them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::classifier::Hook;
use super::sys;

// enum bpf_prog_type and enum bpf_attach_type, linux/bpf.h.
const PROGRAM_SOCKET_FILTER: u32 = 1;
const PROGRAM_SCHED_CLS: u32 = 3;
const PROGRAM_XDP: u32 = 6;
const PROGRAM_RAW_TRACEPOINT: u32 = 17;
const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;
/// `BPF_F_XDP_HAS_FRAGS`: the program copes with packets in several buffers (jumbo frames).
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// `BPF_F_BEFORE`, relative to nothing: in front of all others (kernel/bpf/mprog.c).
const TCX_FIRST: u32 = 1 << 3;

/// Frames that [`Program::run_live`] makes before it lets them go; the kernel's own default.
const LIVE_BATCH: u32 = 64;

/// A program that the verifier has accepted.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    attach_type: u32,
}

/// An attached program; dropping it detaches.
#[derive(Debug)]
pub struct Link {
    _fd: OwnedFd,
}

impl Program {
    pub(super) fn load(hook: Hook, instructions: &[u64]) -> io::Result<Self> {
        Self::load_named("lc_classify", hook, instructions)
    }

    /// The same under another name.
    pub(super) fn load_named(name: &str, hook: Hook, instructions: &[u64]) -> io::Result<Self> {
        let (program_type, attach_type, flags) = match hook {
            Hook::Xdp(_) => (PROGRAM_XDP, ATTACH_XDP, XDP_HAS_FRAGS),
            Hook::Tcx => (PROGRAM_SCHED_CLS, ATTACH_TCX_INGRESS, 0),
            Hook::SocketFilter => (PROGRAM_SOCKET_FILTER, 0, 0),
        };
        let fd = sys::program_load(name, program_type, attach_type, flags, instructions)?;
        Ok(Self { fd, attach_type })
    }

    /// Loads a tcx ingress program, which the kernel knows by the first 15 bytes of `name`.
    ///
    /// # Errors
    /// The kernel's, with the verifier's last words.
    pub fn load_tcx(name: &str, instructions: &[u64]) -> io::Result<Self> {
        let fd = sys::program_load(name, PROGRAM_SCHED_CLS, ATTACH_TCX_INGRESS, 0, instructions)?;
        Ok(Self { fd, attach_type: ATTACH_TCX_INGRESS })
    }

    /// Loads an XDP program that takes packets in one buffer only.
    ///
    /// # Errors
    /// The kernel's, with the verifier's last words.
    pub fn load_xdp(name: &str, instructions: &[u64]) -> io::Result<Self> {
        let fd = sys::program_load(name, PROGRAM_XDP, ATTACH_XDP, 0, instructions)?;
        Ok(Self { fd, attach_type: ATTACH_XDP })
    }

    /// Loads a program for a raw tracepoint.
    pub(super) fn load_tracing(name: &str, instructions: &[u64]) -> io::Result<Self> {
        let fd = sys::program_load(name, PROGRAM_RAW_TRACEPOINT, 0, 0, instructions)?;
        Ok(Self { fd, attach_type: 0 })
    }

    /// Attaches to a raw tracepoint, on all CPUs and in all network namespaces.
    pub(super) fn attach_tracing(&self, tracepoint: &CStr) -> io::Result<Link> {
        sys::raw_tracepoint_open(self.fd.as_fd(), tracepoint).map(|fd| Link { _fd: fd })
    }

    /// Attaches to the interface with the kernel's index `interface_index`. `flags` are the
    /// `XDP_FLAGS_*` of linux/if_link.h.
    ///
    /// # Errors
    /// The kernel's: `EBUSY` when another XDP program is attached.
    pub fn attach_xdp(&self, interface_index: u32, flags: u32) -> io::Result<Link> {
        self.attach(interface_index, flags)
    }

    /// Attaches to the ingress of an interface, in front of the programs that are there: one of
    /// them could end the chain, or redirect what Linecard takes.
    ///
    /// # Errors
    /// The kernel's: tcx needs Linux 6.6.
    pub fn attach_tcx(&self, interface_index: u32) -> io::Result<Link> {
        self.attach(interface_index, TCX_FIRST)
    }

    fn attach(&self, interface_index: u32, flags: u32) -> io::Result<Link> {
        sys::link_create(self.fd.as_fd(), interface_index, self.attach_type, flags)
            .map(|fd| Link { _fd: fd })
    }

    /// Runs the program once on a frame: its answer, and what it made of the frame. For tests.
    pub(crate) fn test_run(&self, frame: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        let report = sys::program_test_run(self.fd.as_fd(), frame, 1)?;
        Ok((report.answer, report.frame))
    }

    /// The same so many times, each on what the run before made of the frame: nanoseconds of one run, on average.
    pub(crate) fn test_run_repeatedly(&self, frame: &[u8], runs: u32) -> io::Result<u32> {
        sys::program_test_run(self.fd.as_fd(), frame, runs).map(|report| report.nanoseconds)
    }

    /// Makes `frames` frames out of nothing, each a copy of `frame` or of what the program made of an
    /// earlier one, runs this XDP program on them and lets its answers come true
    /// (`BPF_F_TEST_XDP_LIVE_FRAMES`): the fastest source of traffic that the kernel has. They seem to
    /// come in by the loopback of the calling thread's network namespace.
    ///
    /// Blocks until all are made, some 0.2 µs each; a call as such costs 25 ms.
    ///
    /// # Errors
    /// The kernel's: `EINVAL` for a program that is not XDP or a frame of more than some 3,500 bytes,
    /// `EINTR` when a signal came first.
    pub fn run_live(&self, frame: &[u8], frames: u32) -> io::Result<()> {
        sys::program_run_live(self.fd.as_fd(), frame, frames, LIVE_BATCH)
    }

    /// The program's descriptor, for `SO_ATTACH_BPF`.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
