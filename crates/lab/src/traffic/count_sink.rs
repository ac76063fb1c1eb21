//! The cheapest sink: a program on an interface's ingress that counts frames and drops them, before the
//! kernel has done anything else with them.
//!
//! A veth hands over what its peer sent in one of two forms, and each has its cheaper hook: what was a
//! socket buffer would be copied for XDP; what XDP redirected would be made a socket buffer for tcx.

use linecard_io::bpf::assembler::{Alu, Assembler, If, Register::*, Width};
use linecard_io::bpf::uapi::{
    MAP_LOOKUP, SKB_LEN, TCX_DROP, XDP_DROP, XDP_FLAGS_NATIVE, XDP_GET_BUFF_LEN,
};
use linecard_io::bpf::{Link, PerCpuCounters, Program};

use crate::error::{LabError, Result};
use crate::namespace::Namespace;

/// Where a sink counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkHook {
    /// On the ingress; cheaper for socket buffers.
    Tcx,
    /// In the driver; cheaper for what XDP has redirected.
    Xdp,
}

/// Takes all that comes in by an interface; dropping it gives the interface back.
#[derive(Debug)]
pub struct CountSink {
    counters: PerCpuCounters,
    _program: Program,
    _link: Link,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountSinkReport {
    /// Frames.
    pub frames: u64,
    /// Their bytes, from the destination address on, without the check sequence.
    pub bytes: u64,
}

impl CountSink {
    /// Begins to count what comes in by `interface`, and lets it take frames that XDP redirects to its
    /// peer, for which a veth needs `rx-gro` where it has no XDP program.
    ///
    /// # Errors
    /// When there is no such interface, without `CAP_BPF` and `CAP_NET_ADMIN`, or before Linux 6.6.
    pub fn attach(namespace: &Namespace, interface: &str, hook: SinkHook) -> Result<Self> {
        let failed =
            |error| LabError::new(format!("count frames on {interface} of {namespace}"), error);
        let index = namespace.interface(interface)?.index;
        namespace.set_features(interface, &[("rx-gro", true)])?;
        let counters = PerCpuCounters::new("lab_sink", 2).map_err(failed)?;
        let instructions = assemble(hook, &counters);
        let program = match hook {
            SinkHook::Tcx => Program::load_tcx("lab_sink", &instructions),
            SinkHook::Xdp => Program::load_xdp("lab_sink", &instructions),
        };
        let program = program.map_err(failed)?;
        let attach = || match hook {
            SinkHook::Tcx => program.attach_tcx(index),
            SinkHook::Xdp => program.attach_xdp(index, XDP_FLAGS_NATIVE),
        };
        let link = namespace.run(attach).map_err(failed)?;
        Ok(Self { counters, _program: program, _link: link })
    }

    /// What came so far, on all cores.
    ///
    /// # Errors
    /// The kernel's.
    pub fn report(&self) -> Result<CountSinkReport> {
        let totals = self.counters.totals();
        let totals = totals.map_err(|error| LabError::new("count the frames of a sink", error))?;
        Ok(CountSinkReport { frames: totals[0], bytes: totals[1] })
    }
}

fn assemble(hook: SinkHook, counters: &PerCpuCounters) -> Vec<u64> {
    let mut asm = Assembler::default();
    let end = asm.label();
    let drop = match hook {
        SinkHook::Tcx => {
            asm.load(Width::U32, R6, R1, SKB_LEN);
            TCX_DROP
        }
        SinkHook::Xdp => {
            asm.call(XDP_GET_BUFF_LEN);
            asm.alu(Alu::Move, R6, R0);
            XDP_DROP
        }
    };
    asm.store_immediate(R10, -4, 0);
    asm.alu(Alu::Move, R2, R10);
    asm.alu_immediate(Alu::Add, R2, -4);
    asm.load_map(R1, counters.map());
    asm.call(MAP_LOOKUP);
    asm.jump_if_immediate(R0, If::Equal, 0, end);
    // A core counts for itself and is not interrupted by itself, so no atomic is needed.
    asm.load(Width::U64, R1, R0, 0);
    asm.alu_immediate(Alu::Add, R1, 1);
    asm.store(Width::U64, R0, 0, R1);
    asm.load(Width::U64, R1, R0, 8);
    asm.alu(Alu::Add, R1, R6);
    asm.store(Width::U64, R0, 8, R1);
    asm.place(end);
    asm.alu_immediate(Alu::Move, R0, drop);
    asm.exit();
    asm.finish()
}
