//! Loaded programs and the links that attach them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::classifier::Hook;
use super::sys;

// enum bpf_prog_type and enum bpf_attach_type, linux/bpf.h.
const PROGRAM_SOCKET_FILTER: u32 = 1;
const PROGRAM_SCHED_CLS: u32 = 3;
const PROGRAM_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;
/// `BPF_F_XDP_HAS_FRAGS`: the program copes with packets in several buffers (jumbo frames).
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// `BPF_F_BEFORE`, relative to nothing: in front of all others (kernel/bpf/mprog.c).
const TCX_FIRST: u32 = 1 << 3;

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
        let (name, program_type, attach_type, flags) = match hook {
            Hook::Xdp(_) => ("lc_classify_xdp", PROGRAM_XDP, ATTACH_XDP, XDP_HAS_FRAGS),
            Hook::Tcx => ("lc_classify_tcx", PROGRAM_SCHED_CLS, ATTACH_TCX_INGRESS, 0),
            Hook::SocketFilter => ("lc_classify_sk", PROGRAM_SOCKET_FILTER, 0, 0),
        };
        let fd = sys::program_load(name, program_type, attach_type, flags, instructions)?;
        Ok(Self { fd, attach_type })
    }

    /// Loads a tcx ingress program.
    pub(super) fn load_tcx(name: &str, instructions: &[u64]) -> io::Result<Self> {
        let fd = sys::program_load(name, PROGRAM_SCHED_CLS, ATTACH_TCX_INGRESS, 0, instructions)?;
        Ok(Self { fd, attach_type: ATTACH_TCX_INGRESS })
    }

    /// Attaches to the interface with the kernel's index `interface_index`. `flags` are the
    /// `XDP_FLAGS_*` of linux/if_link.h.
    pub(crate) fn attach_xdp(&self, interface_index: u32, flags: u32) -> io::Result<Link> {
        self.attach(interface_index, flags)
    }

    /// Attaches to the ingress of an interface, in front of the programs that are there: one of
    /// them could end the chain, or redirect what Linecard takes.
    pub(crate) fn attach_tcx(&self, interface_index: u32) -> io::Result<Link> {
        self.attach(interface_index, TCX_FIRST)
    }

    fn attach(&self, interface_index: u32, flags: u32) -> io::Result<Link> {
        sys::link_create(self.fd.as_fd(), interface_index, self.attach_type, flags)
            .map(|fd| Link { _fd: fd })
    }

    /// Runs the program once on a frame; for tests.
    pub(crate) fn test_run(&self, frame: &[u8]) -> io::Result<u32> {
        sys::program_test_run(self.fd.as_fd(), frame)
    }

    /// The program's descriptor, for `SO_ATTACH_BPF`.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
