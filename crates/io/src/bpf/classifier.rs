//! The classifier: which frames Linecard takes, and which stay the kernel's.
//!
//! It stands at the door of a port and passes on to the kernel what the router itself must answer:
//! its own addresses, ARP and all that is not IP, group addresses, expiring TTLs, IPv4 options and
//! hop-by-hop headers. All else is transit and is taken. Those with options and hop-by-hop headers the kernel
//! forwards, so while services are to judge what is forwarded, they are taken, too, and a worker punts
//! them. It also passes everything while no worker
//! is alive (see [`crate::xdp::DeadManSwitch`]), which is what makes the kernel take over within
//! microseconds of a crash. What it leaves to a kernel whose worker lives it filters
//! ([`crate::router_filter`]) and limits by class ([`crate::protection`]).
//!
//! The same logic is generated for three hooks. On AF_XDP ports it is the XDP program. On
//! AF_PACKET ports the kernel receives its own copy of each packet, so two programs agree: the
//! socket's filter takes what the tcx program on the port's ingress then drops.
//!
//! A frame that was punted comes by again where the hook lies behind the port's ingress (generic
//! mode, AF_PACKET), and passes. It is known by its source address, which only this process knows
//! ([`crate::punt_mark()`]). In native mode it does not come by, and nothing is known by its source.
//!
//! Cost, XDP: each instruction once at the most, and four map look-ups that the verifier inlines or that
//! are one hash; with a route cache those of `bpf::redirect` besides.

mod verdict;

use std::io;
use std::os::fd::BorrowedFd;

use super::assembler::{Alu, Assembler, If, Label, Register::*, Width};
use super::map::Maps;
use super::outcome::Outcome;
use super::program::Program;
use super::protection::Protection;
use super::redirect::Redirect;
use super::uapi::{MAP_LOOKUP, SKB_LEN, XDP_DATA, XDP_DATA_END, XDP_GET_BUFF_LEN};
use crate::AttachMode;
use crate::punt_mark;

/// Where the classifier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    /// In the driver or the generic XDP hook; redirects what it takes to the XSKMAP.
    Xdp(AttachMode),
    /// On the port's ingress, behind the packet socket; drops what the socket took.
    Tcx,
    /// The packet socket's filter; accepts what it takes.
    SocketFilter,
}

impl Hook {
    fn is_xdp(self) -> bool {
        matches!(self, Self::Xdp(_))
    }

    /// True where frames that the punt device hands to the port's ingress come by.
    fn sees_punted(self) -> bool {
        self != Self::Xdp(AttachMode::Native)
    }
}

/// The thread id in a futex word (`FUTEX_TID_MASK`, linux/futex.h): 0 when its owner has died.
const FUTEX_TID_MASK: i32 = 0x3fff_ffff;

// Helper numbers: enum bpf_func_id, linux/bpf.h.
pub(super) const SKB_LOAD_BYTES: i32 = 26;

const TCX_NEXT: i32 = -1;

// Offsets in `struct xdp_md` and `struct __sk_buff`.
const XDP_RX_QUEUE_INDEX: i16 = 16;
const SKB_GSO_SIZE: i16 = 176;

/// Where a header copied out of an skb lies, from the frame pointer.
pub(super) const HEADER_ON_STACK: i32 = -64;
/// Where a four-byte map key lies, from the frame pointer.
pub(super) const KEY_ON_STACK: i16 = -4;
/// Where the frame's length lies, eight bytes from the frame pointer; only with a route cache.
pub(super) const LENGTH_ON_STACK: i16 = -16;

/// What the classifier of one port is generated from.
pub(crate) struct Classifier<'a> {
    pub(crate) hook: Hook,
    pub(crate) maps: &'a Maps,
    /// Sockets by receive queue; only for [`Hook::Xdp`].
    pub(crate) sockets: Option<BorrowedFd<'a>>,
    /// Receive queues that have a socket, the first ones; only for [`Hook::Xdp`].
    pub(crate) queues: u32,
    /// Receive queue q belongs to worker q modulo this.
    pub(crate) workers: u32,
    /// Largest frame that packet memory holds.
    pub(crate) packet_bytes_max: u32,
    /// The route cache that it forwards by; only for [`Hook::Xdp`] in native mode.
    pub(crate) redirect: Option<&'a Redirect>,
    /// Limits on what it leaves to the kernel; not for [`Hook::SocketFilter`], which only says what it takes.
    pub(crate) protection: Option<&'a Protection>,
}

/// A classifier while it is being assembled. Register use: R6 context, R7 header (in the packet
/// or copied to the stack), R8 end of the packet (XDP), R9 offset of the header (skb) and, at the
/// end, the outcome.
pub(super) struct Generator<'a> {
    pub(super) from: &'a Classifier<'a>,
    pub(super) asm: Assembler,
    outcomes: [Label; Outcome::ALL.len()],
}

impl Classifier<'_> {
    /// Generates and loads the program.
    pub(crate) fn load(&self) -> io::Result<Program> {
        Program::load(self.hook, &self.assemble())
    }

    fn assemble(&self) -> Vec<u64> {
        let mut generator = Generator::new(self);
        generator.prologue();
        generator.link_layer();
        generator.epilogue();
        generator.asm.finish()
    }
}

impl<'a> Generator<'a> {
    pub(super) fn new(from: &'a Classifier<'a>) -> Self {
        let mut asm = Assembler::default();
        let outcomes = Outcome::ALL.map(|_| asm.label());
        Self { from, asm, outcomes }
    }
}

impl Generator<'_> {
    pub(super) fn outcome(&self, outcome: Outcome) -> Label {
        self.outcomes[outcome as usize]
    }

    pub(super) fn is_xdp(&self) -> bool {
        self.from.hook.is_xdp()
    }

    /// `R0 = &map[R_key]`, the key being four bytes at `KEY_ON_STACK`; 0 when there is none.
    pub(super) fn look_up_by_stack_key(&mut self, map: BorrowedFd<'_>) {
        self.asm.alu(Alu::Move, R2, R10);
        self.asm.alu_immediate(Alu::Add, R2, i32::from(KEY_ON_STACK));
        self.asm.load_map(R1, map);
        self.asm.call(MAP_LOOKUP);
    }

    /// Dead workers and frames that are too large.
    fn prologue(&mut self) {
        let standby = self.outcome(Outcome::Standby);
        let oversized = self.outcome(Outcome::Oversized);
        self.asm.alu(Alu::Move, R6, R1);
        if self.is_xdp() {
            self.asm.load(Width::U32, R7, R6, XDP_DATA);
            self.asm.load(Width::U32, R8, R6, XDP_DATA_END);
            self.asm.load(Width::U32, R1, R6, XDP_RX_QUEUE_INDEX);
            let queues = self.from.queues as i32;
            self.asm.jump_if_immediate(R1, If::GreaterOrEqual, queues, standby);
            self.asm.alu_immediate(Alu::Mod, R1, self.from.workers as i32);
            self.asm.store(Width::U32, R10, KEY_ON_STACK, R1);
        } else {
            self.asm.store_immediate(R10, KEY_ON_STACK, 0);
        }
        self.look_up_by_stack_key(self.from.maps.workers());
        self.asm.jump_if_immediate(R0, If::Equal, 0, standby);
        self.asm.load(Width::U32, R1, R0, crate::xdp::dead_man::WORD_OFFSET as i16);
        self.asm.alu_immediate(Alu::And, R1, FUTEX_TID_MASK);
        self.asm.jump_if_immediate(R1, If::Equal, 0, standby);
        if self.is_xdp() {
            self.asm.alu(Alu::Move, R1, R6);
            self.asm.call(XDP_GET_BUFF_LEN);
        } else {
            // Several packets that receive offload merged into one fit no link.
            self.asm.load(Width::U32, R0, R6, SKB_GSO_SIZE);
            self.asm.jump_if_immediate(R0, If::NotEqual, 0, oversized);
            self.asm.load(Width::U32, R0, R6, SKB_LEN);
        }
        let max = self.from.packet_bytes_max as i32;
        self.asm.jump_if_immediate(R0, If::Greater, max, oversized);
        if self.from.redirect.is_some() {
            self.asm.store(Width::U64, R10, LENGTH_ON_STACK, R0);
            self.asm.alu_immediate(Alu::Move, R9, 0);
        }
    }

    /// Makes `bytes` of header readable at R7; a shorter packet is taken, so that the pipeline
    /// drops it with a reason.
    fn need(&mut self, bytes: i32) {
        self.need_or(bytes, self.outcome(Outcome::Taken));
    }

    /// Makes `bytes` of header readable at R7; goes to `short` if there are fewer.
    pub(super) fn need_or(&mut self, bytes: i32, short: Label) {
        if self.is_xdp() {
            self.asm.alu(Alu::Move, R0, R7);
            self.asm.alu_immediate(Alu::Add, R0, bytes);
            self.asm.jump_if(R0, If::Greater, R8, short);
        } else {
            self.asm.alu(Alu::Move, R1, R6);
            self.asm.alu(Alu::Move, R2, R9);
            self.asm.alu(Alu::Move, R3, R10);
            self.asm.alu_immediate(Alu::Add, R3, HEADER_ON_STACK);
            self.asm.alu(Alu::Move, R7, R3);
            self.asm.alu_immediate(Alu::Move, R4, bytes);
            self.asm.call(SKB_LOAD_BYTES);
            self.asm.jump_if_immediate(R0, If::NotEqual, 0, short);
        }
    }

    /// Goes on behind a header of `bytes`.
    pub(super) fn advance(&mut self, bytes: i32) {
        let header = if self.is_xdp() { R7 } else { R9 };
        self.asm.alu_immediate(Alu::Add, header, bytes);
    }

    /// Destination MAC address, up to two VLAN tags, EtherType.
    fn link_layer(&mut self) {
        if !self.is_xdp() {
            self.asm.alu_immediate(Alu::Move, R9, 0);
        }
        self.need(14);
        let other_host = self.outcome(Outcome::OtherHost);
        let (not_ours, ours) = (self.asm.label(), self.asm.label());
        self.asm.store_immediate(R10, KEY_ON_STACK, 0);
        self.look_up_by_stack_key(self.from.maps.mac_address());
        self.asm.jump_if_immediate(R0, If::Equal, 0, other_host);
        for (width, at) in [(Width::U32, 0), (Width::U16, 4)] {
            self.asm.load(width, R1, R0, at);
            self.asm.load(width, R2, R7, at);
            self.asm.jump_if(R1, If::NotEqual, R2, not_ours);
        }
        if self.from.hook.sees_punted() {
            self.punted(ours);
        } else {
            self.asm.jump(ours);
        }
        self.asm.place(not_ours);
        self.asm.load(Width::U8, R1, R7, 0);
        self.asm.alu_immediate(Alu::And, R1, 1);
        self.asm.jump_if_immediate(R1, If::Equal, 0, other_host);
        self.asm.jump(self.outcomes[Outcome::Multicast as usize]);
        self.asm.place(ours);
        self.ether_type();
    }

    /// Goes to `fresh` unless the frame carries the mark of punted ones.
    fn punted(&mut self, fresh: Label) {
        // The source address is not aligned to four bytes, which the stack has to be read by.
        for (at, mark) in (6..).step_by(2).zip(punt_mark().chunks_exact(2)) {
            self.asm.load(Width::U16, R1, R7, at);
            let mark = i32::from(u16::from_ne_bytes([mark[0], mark[1]]));
            self.asm.jump_if_immediate(R1, If::NotEqual, mark, fresh);
        }
        self.asm.jump(self.outcomes[Outcome::Punted as usize]);
    }

    fn ether_type(&mut self) {
        let (ipv4, ipv6) = (self.asm.label(), self.asm.label());
        self.tags(self.outcome(Outcome::Taken));
        self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x0800), ipv4);
        self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x86dd), ipv6);
        self.asm.jump(self.outcomes[Outcome::NotIp as usize]);
        self.asm.place(ipv4);
        self.ipv4();
        self.asm.place(ipv6);
        self.ipv6();
    }

    /// From the Ethernet header at R7 to what is behind it and up to two tags: `R3 =` the EtherType. Goes to
    /// `short` if the frame ends before.
    pub(super) fn tags(&mut self, short: Label) {
        self.asm.load(Width::U16, R3, R7, 12);
        self.advance(14);
        for _ in 0..2 {
            let (tagged, untagged) = (self.asm.label(), self.asm.label());
            self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x8100), tagged);
            self.asm.jump_if_immediate(R3, If::NotEqual, on_wire(0x88a8), untagged);
            self.asm.place(tagged);
            self.need_or(4, short);
            self.asm.load(Width::U16, R3, R7, 2);
            self.advance(4);
            if self.from.redirect.is_some() {
                self.asm.alu_immediate(Alu::Move, R9, 1);
            }
            self.asm.place(untagged);
        }
    }

    /// RFC 791 offsets. A malformed header is taken: the pipeline counts why it drops it.
    fn ipv4(&mut self) {
        let taken = self.outcome(Outcome::Taken);
        self.need(20);
        let (plain, expired) = (self.asm.label(), self.asm.label());
        self.asm.load(Width::U8, R1, R7, 0);
        self.asm.jump_if_immediate(R1, If::Equal, 0x45, plain);
        self.asm.jump_if_immediate(R1, If::Less, 0x46, taken);
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, 0x50, taken);
        self.unless_taken(plain);
        self.local_or(16, self.from.maps.local_ipv4(), Outcome::Ipv4Options);
        self.asm.place(expired);
        self.local_or(16, self.from.maps.local_ipv4(), Outcome::TtlExpired);
        self.asm.place(plain);
        self.asm.load(Width::U8, R1, R7, 8);
        self.asm.jump_if_immediate(R1, If::Less, 2, expired);
        self.asm.load(Width::U8, R1, R7, 16);
        let group = self.outcomes[Outcome::Multicast as usize];
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, 224, group);
        self.without_addresses();
        self.local(16, self.from.maps.local_ipv4());
        self.redirect_ipv4();
        self.asm.jump(taken);
    }

    /// From 0.0.0.0 to 0.0.0.0 is a broadcast to the kernel (`ip_route_input_slow`); any other source makes it martian,
    /// which the pipeline says.
    fn without_addresses(&mut self) {
        let with = self.asm.label();
        for address in [16, 12] {
            self.asm.load(Width::U32, R1, R7, address);
            self.asm.jump_if_immediate(R1, If::NotEqual, 0, with);
        }
        self.asm.jump(self.outcome(Outcome::Local));
        self.asm.place(with);
    }

    /// RFC 8200 offsets.
    fn ipv6(&mut self) {
        let group = self.outcomes[Outcome::Multicast as usize];
        self.need(40);
        self.asm.load(Width::U8, R1, R7, 0);
        self.asm.alu_immediate(Alu::And, R1, 0xf0);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0x60, self.outcomes[0]);
        let (expired, hop_by_hop) = (self.asm.label(), self.asm.label());
        let plain = self.asm.label();
        self.asm.load(Width::U8, R1, R7, 7);
        self.asm.jump_if_immediate(R1, If::Less, 2, expired);
        self.asm.load(Width::U8, R1, R7, 6);
        self.asm.jump_if_immediate(R1, If::Equal, 0, hop_by_hop);
        self.asm.place(plain);
        self.asm.load(Width::U8, R1, R7, 24);
        self.asm.jump_if_immediate(R1, If::Equal, 0xff, group);
        let global = self.asm.label();
        self.asm.jump_if_immediate(R1, If::NotEqual, 0xfe, global);
        self.asm.load(Width::U8, R1, R7, 25);
        self.asm.alu_immediate(Alu::And, R1, 0xc0);
        self.asm.jump_if_immediate(R1, If::Equal, 0x80, group);
        self.asm.place(global);
        self.local(24, self.from.maps.local_ipv6());
        self.redirect_ipv6();
        self.asm.jump(self.outcomes[Outcome::Taken as usize]);
        self.asm.place(expired);
        self.local_or(24, self.from.maps.local_ipv6(), Outcome::TtlExpired);
        self.asm.place(hop_by_hop);
        self.unless_taken(plain);
        self.local_or(24, self.from.maps.local_ipv6(), Outcome::Ipv6HopByHop);
    }

    /// Goes on unless the destination at `offset` is the router's own.
    fn local(&mut self, offset: i32, addresses: BorrowedFd<'_>) {
        self.asm.alu(Alu::Move, R2, R7);
        self.asm.alu_immediate(Alu::Add, R2, offset);
        self.asm.load_map(R1, addresses);
        self.asm.call(MAP_LOOKUP);
        self.asm.jump_if_immediate(R0, If::NotEqual, 0, self.outcomes[Outcome::Local as usize]);
    }

    /// Goes to `plain` if packets with options and hop-by-hop headers are taken as those without.
    fn unless_taken(&mut self, plain: Label) {
        let left = self.asm.label();
        self.asm.store_immediate(R10, KEY_ON_STACK, 0);
        self.look_up_by_stack_key(self.from.maps.options());
        self.asm.jump_if_immediate(R0, If::Equal, 0, left);
        self.asm.load(Width::U32, R1, R0, 0);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0, plain);
        self.asm.place(left);
    }

    /// `outcome`, unless the destination at `offset` is the router's own, which goes before what else is the
    /// matter with a packet: BGP comes with a TTL of 1.
    fn local_or(&mut self, offset: i32, addresses: BorrowedFd<'_>, outcome: Outcome) {
        self.local(offset, addresses);
        self.asm.jump(self.outcome(outcome));
    }
}

/// A 16-bit constant as a load from the packet yields it.
pub(super) fn on_wire(value: u16) -> i32 {
    i32::from(value.to_be())
}
