//! The way back into the kernel: a tcx program on the punt device that hands each frame to the
//! ingress of the port it came from.
//!
//! The punt device is one TAP for all ports. A frame says where it belongs by an outer 802.1Q tag
//! whose VLAN identifier is the port's number plus one; the kernel takes the tag off the frame
//! before tcx runs, and the program removes it and redirects.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::assembler::{Alu, Assembler, If, Register::*, Width};
use super::program::{Link, Program};
use super::sys;
use super::uapi::{MAP_LOOKUP, REDIRECT, TCX_DROP};

/// Ports that one punt device serves: VLAN identifiers 1 to 4094.
pub const PUNT_PORTS_MAX: u16 = 4094;

const SKB_VLAN_POP: i32 = 19;
/// `BPF_F_INGRESS`.
const TO_INGRESS: i32 = 1;

// Offsets in `struct __sk_buff`.
const SKB_VLAN_TCI: i16 = 24;

/// The attached program and its map of ports.
#[derive(Debug)]
pub struct Redirector {
    ports: OwnedFd,
    _program: Program,
    _link: Link,
}

impl Redirector {
    /// Loads the program and attaches it to the punt device.
    ///
    /// # Errors
    /// The kernel's: tcx needs Linux 6.6 and `CAP_NET_ADMIN`.
    pub(crate) fn attach(punt_device_index: u32) -> io::Result<Self> {
        let entries = u32::from(PUNT_PORTS_MAX) + 1;
        let ports = sys::map_create("lc_punt_ports", sys::MAP_ARRAY, 4, 4, entries, 0)?;
        let program = Program::load_tcx("lc_punt", &assemble(&ports))?;
        let link = program.attach_tcx(punt_device_index)?;
        Ok(Self { ports, _program: program, _link: link })
    }

    /// Frames of `vlan_id` go to the ingress of this interface from now on; index 0 drops them.
    pub(crate) fn set_port(&self, vlan_id: u16, interface_index: u32) -> io::Result<()> {
        let key = u32::from(vlan_id).to_ne_bytes();
        sys::map_update(self.ports.as_fd(), &key, &interface_index.to_ne_bytes())
    }
}

fn assemble(ports: &OwnedFd) -> Vec<u64> {
    let mut asm = Assembler::default();
    let drop = asm.label();
    asm.alu(Alu::Move, R6, R1);
    asm.load(Width::U32, R1, R6, SKB_VLAN_TCI);
    asm.alu_immediate(Alu::And, R1, 0x0fff);
    asm.store(Width::U32, R10, -4, R1);
    asm.alu(Alu::Move, R2, R10);
    asm.alu_immediate(Alu::Add, R2, -4);
    asm.load_map(R1, ports.as_fd());
    asm.call(MAP_LOOKUP);
    asm.jump_if_immediate(R0, If::Equal, 0, drop);
    asm.load(Width::U32, R7, R0, 0);
    asm.jump_if_immediate(R7, If::Equal, 0, drop);
    asm.alu(Alu::Move, R1, R6);
    asm.call(SKB_VLAN_POP);
    asm.jump_if_immediate(R0, If::NotEqual, 0, drop);
    asm.alu(Alu::Move, R1, R7);
    asm.alu_immediate(Alu::Move, R2, TO_INGRESS);
    asm.call(REDIRECT);
    asm.exit();
    asm.place(drop);
    asm.alu_immediate(Alu::Move, R0, TCX_DROP);
    asm.exit();
    asm.finish()
}
