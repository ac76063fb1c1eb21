//! The part of the classifier that forwards by the route cache.
//!
//! It does to a frame what the pipeline would, or nothing: parse's checks, the entry's MTU, TTL or hop
//! limit less one, checksum, MAC addresses. Whatever it is not sure of is a miss and goes to a worker,
//! which decides, counts and drops with a reason. So it asks for no more than the plain case: no VLAN
//! tag, one buffer, an IPv4 header of 20 bytes with the right checksum, and a source that
//! may be forwarded. That the destination may be, the entry says.
//!
//! The frame is written to only when nothing can go wrong any more: `bpf_redirect_map` is called
//! first, and answers `XDP_REDIRECT` only when the outgoing port is in the map. What lies behind the packet
//! (Ethernet pads short frames, such as TCP acknowledgements) is cut off, so that short packets of a flow go
//! the same way as long ones; but only down to the 60 bytes that a frame has at the least, for not every
//! driver pads what was redirected to it (bnxt's `bnxt_xmit_bd` sends the length that it is given). What is
//! left of the padding stays as it was received: the sender's own bytes, and no others. There the frame differs
//! from the worker's, which ends with the packet.
//!
//! Cost of a miss: about 50 instructions and the two cache lines of a set.

use std::io;
use std::sync::Arc;

use super::assembler::{Alu, If, Label, Register::*, Width};
use super::classifier::{Generator, KEY_ON_STACK, LENGTH_ON_STACK, on_wire};
use super::counters::PerCpuCounters;
use super::uapi::{REDIRECT_MAP, XDP_ADJUST_TAIL, XDP_DATA, XDP_DATA_END, XDP_REDIRECT};
use crate::route_cache::entry::{
    EPOCH_OFFSET, Entry, IN_KEY_OFFSET, MACS_OFFSET, MACS_REST_OFFSET, MTU_OFFSET, OUT_PORT_OFFSET,
    STATE_MASK, STATE_OFFSET, USED_ALL, USED_OFFSET, VALID, destination_offset,
};
use crate::route_cache::key::{Family, MIX, in_key};
use crate::route_cache::{PORTS_MAX, RouteCache, WAYS};

/// Where the MAC addresses of a hit lie, twelve bytes from the frame pointer.
const MACS_ON_STACK: i16 = -32;
const MACS_REST_ON_STACK: i16 = -24;
/// Where the number of bytes to cut off lies, eight bytes from the frame pointer.
const TRIM_ON_STACK: i16 = -40;

/// Bytes of an Ethernet header without tags.
const LINK_HEADER: i16 = 14;
/// Bytes of the shortest frame that may be sent: `ETH_ZLEN`, uapi/linux/if_ether.h.
const FRAME_MIN: i32 = 60;
/// Counters for each outgoing port, and where they are.
const COUNTERS: usize = 3;
const PACKETS: i16 = 0;
const SENT_BYTES: i16 = 8;
const TRIMMED_BYTES: i16 = 16;

/// One port's side of the route cache: what its classifier forwards by, and counts in.
#[derive(Debug)]
pub struct Redirect {
    cache: Arc<RouteCache>,
    /// The port's number.
    port: u16,
    /// Packets and bytes for each outgoing port, by CPU.
    counters: PerCpuCounters,
}

/// What a classifier has forwarded to one outgoing port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redirected {
    /// Frames.
    pub packets: u64,
    /// Bytes of those frames as they came in.
    pub received_bytes: u64,
    /// Bytes of those frames as they left: without padding beyond 60 bytes.
    pub sent_bytes: u64,
}

impl Redirect {
    /// The side of port `port`.
    pub(crate) fn new(cache: Arc<RouteCache>, port: u16) -> io::Result<Self> {
        assert!(usize::from(port) < PORTS_MAX, "port {port} of {PORTS_MAX}");
        let counters = PerCpuCounters::new("lc_redirected", PORTS_MAX * COUNTERS)?;
        Ok(Self { cache, port, counters })
    }

    /// What was forwarded to each outgoing port so far, summed over the CPUs.
    pub(crate) fn totals(&self) -> io::Result<Vec<Redirected>> {
        let counted = self.counters.totals()?;
        let of_port = |&[packets, sent_bytes, trimmed_bytes]: &[u64; COUNTERS]| {
            // Both grow whenever this is read: a difference of counters might not.
            Redirected { packets, received_bytes: sent_bytes + trimmed_bytes, sent_bytes }
        };
        Ok(counted.as_chunks().0.iter().map(of_port).collect())
    }
}

/// What differs between the families: offsets in the header at R7.
struct Layout {
    family: Family,
    /// The 16-bit length field …
    length: i16,
    /// … and what it leaves out.
    header: i32,
    /// Bytes of the header.
    header_bytes: i32,
    /// The destination, as one or two words.
    destination: &'static [(Width, i16)],
    /// TTL or hop limit.
    hops: i16,
}

const IPV4: Layout = Layout {
    family: Family::Ipv4,
    length: 2,
    header: 0,
    header_bytes: 20,
    destination: &[(Width::U32, 16)],
    hops: 8,
};
const IPV6: Layout = Layout {
    family: Family::Ipv6,
    length: 4,
    header: 40,
    header_bytes: 40,
    destination: &[(Width::U64, 24), (Width::U64, 32)],
    hops: 7,
};

/// Register use: R6 context, R7 network-layer header, R8 end of the packet, R9 whether there are tags
/// at first, then the set, then the counters. On a miss it goes to `taken`.
impl Generator<'_> {
    /// Forwards an IPv4 packet by the cache, or goes on.
    pub(super) fn redirect_ipv4(&mut self) {
        let Some(redirect) = self.from.redirect else { return };
        let miss = self.begin();
        self.lengths(&IPV4, miss);
        self.ipv4_checksum(miss);
        // RFC 1812 5.3.7: 0.0.0.0, network 127, multicast and what lies above.
        self.asm.load(Width::U8, R1, R7, 12);
        self.asm.jump_if_immediate(R1, If::Equal, 127, miss);
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, 224, miss);
        self.asm.load(Width::U32, R1, R7, 12);
        self.asm.jump_if_immediate(R1, If::Equal, 0, miss);
        self.look_up(redirect, &IPV4, miss);
        self.trim(&IPV4, miss);
        let no_carry = self.asm.label();
        // The kernel's `ip_decrease_ttl`.
        self.asm.load(Width::U16, R1, R7, 10);
        self.asm.alu_immediate(Alu::Add, R1, on_wire(0x0100));
        self.asm.jump_if_immediate(R1, If::Less, 0xffff, no_carry);
        self.asm.alu_immediate(Alu::Add, R1, 1);
        self.asm.place(no_carry);
        self.asm.store(Width::U16, R7, 10, R1);
        self.send(&IPV4);
        self.asm.place(miss);
    }

    /// Forwards an IPv6 packet by the cache, or goes on.
    pub(super) fn redirect_ipv6(&mut self) {
        let Some(redirect) = self.from.redirect else { return };
        let miss = self.begin();
        self.lengths(&IPV6, miss);
        let (unicast, not_zero) = (self.asm.label(), self.asm.label());
        // RFC 4291 2.5.2, 2.5.3: :: and ::1, and all else that begins with 96 zeros.
        self.asm.load(Width::U64, R1, R7, 8);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0, not_zero);
        self.asm.load(Width::U32, R1, R7, 16);
        self.asm.jump_if_immediate(R1, If::Equal, 0, miss);
        self.asm.place(not_zero);
        // RFC 4291 2.7 and 2.5.6: multicast, link-local.
        self.asm.load(Width::U8, R1, R7, 8);
        self.asm.jump_if_immediate(R1, If::Equal, 0xff, miss);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0xfe, unicast);
        self.asm.load(Width::U8, R1, R7, 9);
        self.asm.alu_immediate(Alu::And, R1, 0xc0);
        self.asm.jump_if_immediate(R1, If::Equal, 0x80, miss);
        self.asm.place(unicast);
        self.look_up(redirect, &IPV6, miss);
        self.trim(&IPV6, miss);
        self.send(&IPV6);
        self.asm.place(miss);
    }

    /// Tagged frames are the workers'.
    fn begin(&mut self) -> Label {
        let miss = self.asm.label();
        self.asm.jump_if_immediate(R9, If::NotEqual, 0, miss);
        miss
    }

    /// The frame is all in one buffer and as long as the header says, at least. What is more is padding, to be
    /// cut off as far as [`FRAME_MIN`] bytes are left.
    fn lengths(&mut self, layout: &Layout, miss: Label) {
        self.asm.alu(Alu::Move, R3, R8);
        self.asm.alu(Alu::Subtract, R3, R7);
        self.asm.alu(Alu::Move, R1, R3);
        self.asm.alu_immediate(Alu::Add, R1, i32::from(LINK_HEADER));
        self.asm.load(Width::U64, R2, R10, LENGTH_ON_STACK);
        self.asm.jump_if(R1, If::NotEqual, R2, miss);
        self.packet_length(layout);
        self.asm.jump_if_immediate(R2, If::Less, layout.header_bytes, miss);
        self.asm.jump_if(R3, If::Less, R2, miss);
        self.asm.alu(Alu::Subtract, R3, R2);
        // The lesser of the padding and of what the frame has over the shortest: none if it is shorter yet.
        let (long, fits) = (self.asm.label(), self.asm.label());
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, FRAME_MIN, long);
        self.asm.alu_immediate(Alu::Move, R1, FRAME_MIN);
        self.asm.place(long);
        self.asm.alu_immediate(Alu::Subtract, R1, FRAME_MIN);
        self.asm.jump_if(R1, If::GreaterOrEqual, R3, fits);
        self.asm.alu(Alu::Move, R3, R1);
        self.asm.place(fits);
        self.asm.store(Width::U64, R10, TRIM_ON_STACK, R3);
    }

    /// `R2 =` the packet's length as its header says.
    fn packet_length(&mut self, layout: &Layout) {
        self.asm.load(Width::U16, R2, R7, layout.length);
        self.asm.from_network_order_u16(R2);
        self.asm.alu_immediate(Alu::Add, R2, layout.header);
    }

    /// RFC 1071: the sum of the header's words, carries added, is all ones.
    fn ipv4_checksum(&mut self, miss: Label) {
        self.asm.load(Width::U32, R1, R7, 0);
        for at in [4, 8, 12, 16] {
            self.asm.load(Width::U32, R2, R7, at);
            self.asm.alu(Alu::Add, R1, R2);
        }
        // Five words of 32 bits: 35 bits, then 20, then 17, then 16.
        for _ in 0..3 {
            self.asm.alu(Alu::Move, R2, R1);
            self.asm.alu_immediate(Alu::ShiftRight, R2, 16);
            self.asm.alu_immediate(Alu::And, R1, 0xffff);
            self.asm.alu(Alu::Add, R1, R2);
        }
        self.asm.jump_if_immediate(R1, If::NotEqual, 0xffff, miss);
    }

    /// From the destination to the entry, the port and its counters; the redirect is set up.
    fn look_up(&mut self, redirect: &Redirect, layout: &Layout, miss: Label) {
        let cache = &redirect.cache;
        let in_key = in_key(redirect.port, layout.family);
        self.set_number(cache, layout, in_key);
        self.asm.store(Width::U32, R10, KEY_ON_STACK, R1);
        self.look_up_by_stack_key(cache.sets_map());
        self.asm.jump_if_immediate(R0, If::Equal, 0, miss);
        self.asm.alu(Alu::Move, R9, R0);
        let hit = self.asm.label();
        for way in 0..WAYS {
            let next = self.asm.label();
            self.way(cache, layout, in_key, way, next);
            self.asm.jump(hit);
            self.asm.place(next);
        }
        self.asm.jump(miss);
        self.asm.place(hit);
        self.set_up(redirect, layout, miss);
    }

    /// `R1 =` the number of the set; the same as [`RouteCache`]'s own.
    fn set_number(&mut self, cache: &RouteCache, layout: &Layout, in_key: u32) {
        let [(width, at), rest @ ..] = layout.destination else { return };
        self.asm.load(*width, R1, R7, *at);
        self.asm.load_immediate(R2, cache.seed(in_key));
        self.asm.load_immediate(R4, MIX);
        self.asm.alu(Alu::Xor, R1, R2);
        self.asm.alu(Alu::Multiply, R1, R4);
        self.asm.alu(Alu::Move, R2, R1);
        self.asm.alu_immediate(Alu::ShiftRight, R2, 32);
        self.asm.alu(Alu::Xor, R1, R2);
        for &(width, at) in rest {
            self.asm.load(width, R2, R7, at);
            self.asm.alu(Alu::Xor, R1, R2);
        }
        self.asm.alu(Alu::Multiply, R1, R4);
        self.asm.alu_immediate(Alu::ShiftRight, R1, cache.shift() as i32);
    }

    /// Reads one entry of the set at R9; goes on with R4 the outgoing port and R5 the MTU if it is
    /// valid, current and the destination's, and was not written to meanwhile.
    fn way(&mut self, cache: &RouteCache, layout: &Layout, in_key: u32, way: usize, next: Label) {
        let base = (way * size_of::<Entry>()) as i16;
        let ordered = cfg!(not(target_arch = "x86_64"));
        // Loads must not pass each other. x86 never lets them (Intel SDM 3A 9.2.2); elsewhere each is
        // a load-acquire, which the last load of the state cannot pass.
        let load = |generator: &mut Self, width, to, at| match ordered {
            false => generator.asm.load(width, to, R9, base + at),
            true => generator.asm.load_acquire(width, to, R9, base + at),
        };
        load(self, Width::U64, R1, STATE_OFFSET);
        self.asm.alu(Alu::Move, R2, R1);
        self.asm.alu_immediate(Alu::And, R2, STATE_MASK as i32);
        self.asm.jump_if_immediate(R2, If::NotEqual, VALID as i32, next);
        load(self, Width::U32, R2, IN_KEY_OFFSET);
        self.asm.jump_if_immediate(R2, If::NotEqual, in_key as i32, next);
        for (word, &(width, at)) in layout.destination.iter().enumerate() {
            load(self, Width::U64, R2, destination_offset(word));
            self.asm.load(width, R3, R7, at);
            self.asm.jump_if(R2, If::NotEqual, R3, next);
        }
        load(self, Width::U64, R2, EPOCH_OFFSET);
        self.asm.load_map_value(R3, cache.control_map(), 0);
        self.asm.load(Width::U64, R3, R3, 0);
        self.asm.jump_if(R2, If::NotEqual, R3, next);
        load(self, Width::U64, R2, MACS_OFFSET);
        self.asm.store(Width::U64, R10, MACS_ON_STACK, R2);
        load(self, Width::U32, R2, MACS_REST_OFFSET);
        self.asm.store(Width::U32, R10, MACS_REST_ON_STACK, R2);
        load(self, Width::U32, R4, OUT_PORT_OFFSET);
        load(self, Width::U32, R5, MTU_OFFSET);
        load(self, Width::U64, R2, STATE_OFFSET);
        self.asm.jump_if(R1, If::NotEqual, R2, next);
        // Written once by the first hit after somebody has looked, so that the line stays shared.
        let seen = self.asm.label();
        self.asm.load(Width::U32, R2, R9, base + USED_OFFSET);
        self.asm.jump_if_immediate(R2, If::Equal, USED_ALL as i32, seen);
        self.asm.alu(Alu::Move, R2, R9);
        self.asm.store_immediate(R2, base + USED_OFFSET, USED_ALL as i32);
        self.asm.place(seen);
    }

    /// Checks the MTU, finds the counters (R9) and sets up the redirect to port R4.
    fn set_up(&mut self, redirect: &Redirect, layout: &Layout, miss: Label) {
        self.packet_length(layout);
        self.asm.jump_if(R2, If::Greater, R5, miss);
        self.asm.jump_if_immediate(R4, If::GreaterOrEqual, PORTS_MAX as i32, miss);
        self.asm.alu(Alu::Move, R9, R4);
        self.asm.store_immediate(R10, KEY_ON_STACK, 0);
        self.look_up_by_stack_key(redirect.counters.map());
        self.asm.jump_if_immediate(R0, If::Equal, 0, miss);
        self.asm.alu(Alu::Move, R2, R9);
        self.asm.alu_immediate(Alu::Multiply, R9, COUNTERS as i32 * 8);
        self.asm.alu(Alu::Add, R9, R0);
        self.asm.load_map(R1, redirect.cache.targets_map());
        // What to return when there is no such port: anything but XDP_REDIRECT.
        self.asm.alu_immediate(Alu::Move, R3, 0);
        self.asm.call(REDIRECT_MAP);
        self.asm.jump_if_immediate(R0, If::NotEqual, XDP_REDIRECT, miss);
    }

    /// Cuts off the padding that is too much, if there is any, and counts it.
    fn trim(&mut self, layout: &Layout, miss: Label) {
        let none = self.asm.label();
        self.asm.load(Width::U64, R1, R10, TRIM_ON_STACK);
        self.asm.jump_if_immediate(R1, If::Equal, 0, none);
        self.asm.alu_immediate(Alu::Move, R2, 0);
        self.asm.alu(Alu::Subtract, R2, R1);
        self.asm.alu(Alu::Move, R1, R6);
        self.asm.call(XDP_ADJUST_TAIL);
        self.asm.jump_if_immediate(R0, If::NotEqual, 0, miss);
        // Where the frame lies is to be asked anew.
        self.asm.load(Width::U32, R7, R6, XDP_DATA);
        self.asm.load(Width::U32, R8, R6, XDP_DATA_END);
        self.asm.alu_immediate(Alu::Add, R7, i32::from(LINK_HEADER));
        self.asm.alu(Alu::Move, R0, R7);
        self.asm.alu_immediate(Alu::Add, R0, layout.header_bytes);
        self.asm.jump_if(R0, If::Greater, R8, miss);
        self.asm.load(Width::U64, R1, R10, TRIM_ON_STACK);
        self.asm.load(Width::U64, R2, R9, TRIMMED_BYTES);
        self.asm.alu(Alu::Add, R2, R1);
        self.asm.store(Width::U64, R9, TRIMMED_BYTES, R2);
        self.asm.load(Width::U64, R2, R10, LENGTH_ON_STACK);
        self.asm.alu(Alu::Subtract, R2, R1);
        self.asm.store(Width::U64, R10, LENGTH_ON_STACK, R2);
        self.asm.place(none);
    }

    /// Counts, rewrites what both families have, and sends.
    fn send(&mut self, layout: &Layout) {
        // Per-CPU memory in softirq context: no other writer, so plain adds do.
        self.asm.load(Width::U64, R1, R9, PACKETS);
        self.asm.alu_immediate(Alu::Add, R1, 1);
        self.asm.store(Width::U64, R9, PACKETS, R1);
        self.asm.load(Width::U64, R1, R9, SENT_BYTES);
        self.asm.load(Width::U64, R2, R10, LENGTH_ON_STACK);
        self.asm.alu(Alu::Add, R1, R2);
        self.asm.store(Width::U64, R9, SENT_BYTES, R1);
        self.asm.load(Width::U8, R1, R7, layout.hops);
        self.asm.alu_immediate(Alu::Add, R1, -1);
        self.asm.store(Width::U8, R7, layout.hops, R1);
        self.asm.load(Width::U64, R1, R10, MACS_ON_STACK);
        self.asm.store(Width::U64, R7, -LINK_HEADER, R1);
        self.asm.load(Width::U32, R1, R10, MACS_REST_ON_STACK);
        self.asm.store(Width::U32, R7, 8 - LINK_HEADER, R1);
        self.asm.alu_immediate(Alu::Move, R0, XDP_REDIRECT);
        self.asm.exit();
    }
}
