//! The part of the classifier that is the router's own filter: which of the frames that are left to the kernel are
//! IP packets for the router, what there is in their headers, and the rules.
//!
//! It stands where the outcome is known and in front of the protection's buckets: what a rule drops must not take
//! the place of what it lets through. Transit, which is decided on before, pays nothing.
//!
//! It is a program of its own, in which the classifier goes on by a tail call, and which ends as the classifier would
//! have. So a change is one write to a map, and nothing is attached anew, for which some drivers stop the port; and
//! what goes through the route cache need not be verified again.
//!
//! All that rules ask for is read once and written down in a map of the processor's own, not on the stack. For the
//! kernel's verifier forgets what it knew of a number as soon as that is in a map: so wherever a rule begins there is
//! one state to look at, and thousands of rules are verified in the time of their number. On the stack it would
//! remember each comparison, and look at each rule once for every way to come there.
//!
//! Cost: three or four calls of the kernel to copy headers, some 150 instructions, and two or three for each
//! comparison until a rule matches. docs/performance.md has figures.

mod headers;
mod rules;

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::assembler::{Alu, Assembler, If, Label, Register::*, Width};
use super::classifier::{Classifier, Generator, Hook, KEY_ON_STACK};
use super::map::Maps;
use super::outcome::Outcome;
use super::program::Program;
use super::protection::Protection;
use super::sys;
use super::uapi::TAIL_CALL;
use crate::router_filter::{Field, RouterFilter, RouterFilterCounters};

// What a processor writes down of a packet, by offset in its element of the map.
/// Source address, 16 bytes, in network order.
const SOURCE: i16 = 0;
/// Destination address.
const DESTINATION: i16 = 16;
/// The fields, four bytes each.
const FIELDS: i16 = 32;
/// Bytes from the frame's beginning to the network-layer header, and to its end.
const LAYER3: i16 = field_end(0);
const LAYER3_END: i16 = field_end(1);
/// To the upper-layer header, and to what is behind that.
const LAYER4: i16 = field_end(2);
const PAYLOAD: i16 = field_end(3);
/// What the classifier has decided before.
const OUTCOME: i16 = field_end(4);
/// Bytes of the frame.
const FRAME_BYTES: i16 = field_end(5);
/// Which header stands behind the fixed one of IPv6.
const FIRST_HEADER: i16 = field_end(6);
/// Bytes of all of it, a multiple of eight.
pub(crate) const SCRATCH_BYTES: u32 = (field_end(7) as u32).next_multiple_of(8);

/// A field that the packet has not: more than any test's last number.
const ABSENT: i32 = -1;

const fn field_end(more: i16) -> i16 {
    FIELDS + 4 * (Field::COUNT as i16 + more)
}

fn place_of(field: Field) -> i16 {
    FIELDS + 4 * field as i16
}

/// Where a port's classifier goes on with what is for the router, and what it brings there.
#[derive(Debug)]
pub(crate) struct RouterSlot {
    /// One program, or none: the classifier then goes on by itself.
    programs: OwnedFd,
    scratch: OwnedFd,
}

impl RouterSlot {
    pub(crate) fn new() -> io::Result<Self> {
        let per_cpu = sys::MAP_PERCPU_ARRAY;
        Ok(Self {
            programs: sys::map_create("lc_router", sys::MAP_PROG_ARRAY, 4, 4, 1, 0)?,
            scratch: sys::map_create("lc_router_head", per_cpu, 4, SCRATCH_BYTES, 1, 0)?,
        })
    }

    /// Another program from now on, or none: each packet meets the one or the other.
    pub(crate) fn put(&self, program: Option<&Program>) -> io::Result<()> {
        let (programs, key) = (self.programs.as_fd(), 0_u32.to_ne_bytes());
        match program {
            Some(program) => {
                let program = program.fd().as_raw_fd() as u32;
                sys::map_update(programs, &key, &program.to_ne_bytes())
            }
            None => sys::map_delete(programs, &key).map(drop),
        }
    }
}

/// Makes the program for the slot of a port.
pub(crate) fn load(
    hook: Hook,
    maps: &Maps,
    protection: Option<&Protection>,
    filter: &RouterFilter,
    counters: &RouterFilterCounters,
) -> io::Result<Program> {
    let (sockets, queues, workers, packet_bytes_max, redirect) = (None, 0, 1, 0, None);
    let from =
        Classifier { hook, maps, sockets, queues, workers, packet_bytes_max, redirect, protection };
    let mut generator = Generator::new(&from);
    generator.router_filter(filter, counters);
    Program::load_named("lc_router", hook, &generator.asm.finish())
}

/// How many instructions the rules take, wherever they stand.
pub(crate) fn instructions(filter: &RouterFilter) -> usize {
    let mut asm = Assembler::default();
    let (accept, drop) = (asm.label(), asm.label());
    let ends = rules::Ends { accept, drop };
    let mut rules = rules::Rules { asm: &mut asm, load_bytes: 0, counters: None, ends };
    for is_ipv6 in [false, true] {
        rules.family(filter, is_ipv6);
    }
    asm.len()
}

/// Register use: R6 context, R7 what is written down of the packet, R8 a rule's counter, R9 outcome.
impl Generator<'_> {
    /// Goes on in the program of the router's filter with the outcome in R9; or here, if there is none.
    pub(super) fn call_router_filter(&mut self) {
        let here = self.asm.label();
        self.scratch(here);
        self.asm.store(Width::U32, R0, OUTCOME, R9);
        self.asm.alu(Alu::Move, R1, R6);
        self.asm.load_map(R2, self.from.maps.router().programs.as_fd());
        self.asm.alu_immediate(Alu::Move, R3, 0);
        self.asm.call(TAIL_CALL);
        self.asm.place(here);
    }

    /// `R0 =` where this processor writes down what it reads of a packet.
    fn scratch(&mut self, absent: Label) {
        self.asm.store_immediate(R10, KEY_ON_STACK, 0);
        self.look_up_by_stack_key(self.from.maps.router().scratch.as_fd());
        // There is element 0.
        self.asm.jump_if_immediate(R0, If::Equal, 0, absent);
    }

    /// The whole program: reads the packet, asks the rules, and ends as the classifier would have.
    fn router_filter(&mut self, filter: &RouterFilter, counters: &RouterFilterCounters) {
        let (leave, accept, drop) = (self.asm.label(), self.asm.label(), self.asm.label());
        let (is_ipv6, dropped, absent) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.alu(Alu::Move, R6, R1);
        self.scratch(absent);
        self.asm.alu(Alu::Move, R7, R0);
        self.read_headers(leave, is_ipv6);
        let load_bytes = self.load_bytes_helper();
        let ends = rules::Ends { accept, drop };
        let mut rules =
            rules::Rules { asm: &mut self.asm, load_bytes, counters: Some(counters), ends };
        rules.family(filter, false);
        rules.asm.place(is_ipv6);
        rules.family(filter, true);
        // A filter that accepts all, or nothing, has no such end, and the verifier refuses what nothing jumps to.
        if self.asm.is_used(drop) {
            self.asm.place(drop);
            rules::count(&mut self.asm, counters);
            self.asm.alu_immediate(Alu::Move, R9, Outcome::Filtered as i32);
            self.asm.jump(dropped);
        }
        if self.asm.is_used(accept) {
            self.asm.place(accept);
            rules::count(&mut self.asm, counters);
        }
        self.asm.place(leave);
        self.asm.load(Width::U32, R9, R7, OUTCOME);
        self.epilogue_of_router_filter(dropped);
        self.asm.place(absent);
        self.pass();
    }
}
