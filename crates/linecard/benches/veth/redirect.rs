//! The upper bound: an XDP program that gives each frame other MAC addresses and redirects it, whatever
//! it is.

use anyhow::Context;
use linecard_io::bpf::assembler::{Alu, Assembler, If, Register::*, Width};
use linecard_io::bpf::uapi::{REDIRECT, XDP_DROP, XDP_FLAGS_NATIVE};
use linecard_io::bpf::{Link, Program};

use crate::bed::Bed;

/// Attaches the program to the router's first interface, towards the second.
pub(crate) fn attach(bed: &Bed) -> anyhow::Result<(Program, Link)> {
    let router = &bed.topology.router;
    let [from, to] = bed.interfaces().map(|name| router.interface(name).map(|it| it.index));
    let path = &bed.topology.path_a;
    let addresses = [path.far.mac, path.near.mac].concat();
    let program = Program::load_xdp("bench_redirect", &assemble(&addresses, to?))?;
    let from = from?;
    let link = router.run(|| program.attach_xdp(from, XDP_FLAGS_NATIVE)).context("attach XDP")?;
    Ok((program, link))
}

fn assemble(addresses: &[u8], index: u32) -> Vec<u64> {
    let mut asm = Assembler::default();
    let drop = asm.label();
    asm.load(Width::U32, R7, R1, 0);
    asm.load(Width::U32, R8, R1, 4);
    asm.alu(Alu::Move, R0, R7);
    asm.alu_immediate(Alu::Add, R0, 14);
    asm.jump_if(R0, If::Greater, R8, drop);
    for (place, word) in (0..).step_by(4).zip(addresses.chunks_exact(4)) {
        let word: [u8; 4] = word.try_into().expect("four bytes");
        asm.load_immediate(R2, u64::from(u32::from_ne_bytes(word)));
        asm.store(Width::U32, R7, place, R2);
    }
    asm.load_immediate(R1, u64::from(index));
    asm.alu_immediate(Alu::Move, R2, 0);
    asm.call(REDIRECT);
    asm.exit();
    asm.place(drop);
    asm.alu_immediate(Alu::Move, R0, XDP_DROP);
    asm.exit();
    asm.finish()
}
