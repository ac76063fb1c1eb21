//! What there is in the headers of a packet for the router, written down for the rules.
//!
//! It must be what [`RouterFilter`](crate::router_filter::RouterFilter)'s fields say, which is what the filters of
//! ports see: so a rule means the same here and there. What cannot be read goes on to the kernel, which drops it.

mod ipv6;

use std::os::fd::BorrowedFd;

use super::{
    ABSENT, DESTINATION, FRAME_BYTES, LAYER3, LAYER3_END, LAYER4, OUTCOME, PAYLOAD, SOURCE,
    place_of, rules,
};
use crate::bpf::assembler::{Alu, If, Label, Register, Register::*, Width};
use crate::bpf::classifier::{Generator, HEADER_ON_STACK, SKB_LOAD_BYTES, on_wire};
use crate::bpf::outcome::Outcome;
use crate::bpf::uapi::{MAP_LOOKUP, SKB_LEN, XDP_GET_BUFF_LEN};
use crate::router_filter::Field;

// Helper numbers: enum bpf_func_id, linux/bpf.h.
const XDP_LOAD_BYTES: i32 = 189;

// Offsets in `struct xdp_md` and `struct __sk_buff`, linux/bpf.h.
const XDP_INGRESS_IFINDEX: i16 = 12;
const SKB_VLAN_PRESENT: i16 = 20;
const SKB_VLAN_TCI: i16 = 24;
const SKB_IFINDEX: i16 = 40;

// Protocol numbers (IANA).
const ICMP: i32 = 1;
const TCP: i32 = 6;
const UDP: i32 = 17;
const ICMPV6: i32 = 58;
const SCTP: i32 = 132;

// Values of `Field::Fragment`.
const FRAGMENT_NONE: i32 = 1;
const FRAGMENT_FIRST: i32 = 2;
const FRAGMENT_LATER: i32 = 4;

/// Register use: R6 context, R7 what is written down, R8 offset of the network layer until that is written down.
impl Generator<'_> {
    /// Goes to `leave` if the frame is no IP packet for the router, to `is_ipv6` with all that rules ask for, or
    /// goes on with that of an IPv4 packet.
    pub(super) fn read_headers(&mut self, leave: Label, is_ipv6: Label) {
        let ipv6 = self.asm.label();
        for at in (place_of(Field::Protocol)..=place_of(Field::FlowLabel)).step_by(4) {
            self.asm.store_immediate(R7, at, ABSENT);
        }
        self.asm.store_immediate(R7, place_of(Field::Vlan), 0);
        self.asm.store_immediate(R7, place_of(Field::Fragment), FRAGMENT_NONE);
        self.asm.store_immediate(R7, LAYER4, ABSENT);
        self.asm.store_immediate(R7, PAYLOAD, ABSENT);
        self.context();
        self.link_layer_for_rules(leave, ipv6);
        self.ipv4_for_rules(leave, is_ipv6, ipv6);
    }

    pub(super) fn load_bytes_helper(&self) -> i32 {
        if self.is_xdp() { XDP_LOAD_BYTES } else { SKB_LOAD_BYTES }
    }

    /// Copies bytes of the packet from offset R2 to the stack; goes to `short` if there are fewer.
    fn copy(&mut self, bytes: i32, short: Label) {
        let load_bytes = self.load_bytes_helper();
        rules::copy(&mut self.asm, load_bytes, bytes, short);
    }

    /// `to =` what was copied, at an offset.
    fn header(&mut self, width: Width, to: Register, at: i16) {
        self.asm.load(width, to, R10, HEADER_ON_STACK as i16 + at);
    }

    fn write(&mut self, at: i16, from: Register) {
        self.asm.store(Width::U32, R7, at, from);
    }

    /// The interface and the frame's length.
    fn context(&mut self) {
        if self.is_xdp() {
            self.asm.alu(Alu::Move, R1, R6);
            self.asm.call(XDP_GET_BUFF_LEN);
            self.write(FRAME_BYTES, R0);
            self.asm.load(Width::U32, R1, R6, XDP_INGRESS_IFINDEX);
        } else {
            self.asm.load(Width::U32, R1, R6, SKB_LEN);
            self.write(FRAME_BYTES, R1);
            self.asm.load(Width::U32, R1, R6, SKB_IFINDEX);
        }
        self.write(place_of(Field::InInterface), R1);
    }

    /// Up to two tags, and where the network layer begins; goes to `ipv6`, or goes on for IPv4.
    fn link_layer_for_rules(&mut self, leave: Label, ipv6: Label) {
        self.asm.alu_immediate(Alu::Move, R2, 0);
        self.copy(14, leave);
        self.header(Width::U16, R3, 12);
        self.asm.alu_immediate(Alu::Move, R8, 14);
        if !self.is_xdp() {
            // The kernel has taken the outer tag off before.
            let untagged = self.asm.label();
            self.asm.load(Width::U32, R1, R6, SKB_VLAN_PRESENT);
            self.asm.jump_if_immediate(R1, If::Equal, 0, untagged);
            self.asm.load(Width::U32, R1, R6, SKB_VLAN_TCI);
            self.asm.alu_immediate(Alu::And, R1, 0xfff);
            self.write(place_of(Field::Vlan), R1);
            self.asm.place(untagged);
        }
        for is_outer in [true, false] {
            self.tag_for_rules(is_outer, leave);
        }
        self.write(LAYER3, R8);
        let ipv4 = self.asm.label();
        self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x0800), ipv4);
        self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x86dd), ipv6);
        self.asm.jump(leave);
        self.asm.place(ipv4);
    }

    /// If R3 is a tag's EtherType, goes on behind it, with the next one in R3.
    fn tag_for_rules(&mut self, is_outer: bool, leave: Label) {
        let (tagged, untagged, known) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.jump_if_immediate(R3, If::Equal, on_wire(0x8100), tagged);
        self.asm.jump_if_immediate(R3, If::NotEqual, on_wire(0x88a8), untagged);
        self.asm.place(tagged);
        self.asm.alu(Alu::Move, R2, R8);
        self.copy(4, leave);
        self.header(Width::U16, R3, 2);
        if is_outer {
            if !self.is_xdp() {
                self.asm.load(Width::U32, R1, R6, SKB_VLAN_PRESENT);
                self.asm.jump_if_immediate(R1, If::NotEqual, 0, known);
            }
            self.header(Width::U16, R1, 0);
            self.asm.from_network_order_u16(R1);
            self.asm.alu_immediate(Alu::And, R1, 0xfff);
            self.write(place_of(Field::Vlan), R1);
            self.asm.place(known);
        }
        self.asm.alu_immediate(Alu::Add, R8, 4);
        self.asm.place(untagged);
    }

    /// RFC 791 offsets. The code for IPv6 stands in front of the end.
    fn ipv4_for_rules(&mut self, leave: Label, is_ipv6: Label, ipv6: Label) {
        let (ours, upper, read) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.load(Width::U32, R2, R7, LAYER3);
        self.copy(20, leave);
        self.header(Width::U8, R1, 0);
        self.asm.jump_if_immediate(R1, If::Less, 0x45, leave);
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, 0x50, leave);
        self.asm.alu_immediate(Alu::And, R1, 0x0f);
        self.asm.alu_immediate(Alu::ShiftLeft, R1, 2);
        self.behind(LAYER3, LAYER4);
        self.for_router_ipv4(leave, ours);
        self.asm.place(ours);
        for (from, to) in [(12, SOURCE), (16, DESTINATION)] {
            self.header(Width::U32, R1, from);
            self.write(to, R1);
        }
        for (from, to) in [(8, Field::Ttl), (9, Field::Protocol)] {
            self.header(Width::U8, R1, from);
            self.write(place_of(to), R1);
        }
        self.header(Width::U8, R1, 1);
        self.asm.alu_immediate(Alu::ShiftRight, R1, 2);
        self.write(place_of(Field::Dscp), R1);
        self.header(Width::U16, R1, 2);
        self.length();
        self.header(Width::U16, R1, 6);
        self.asm.from_network_order_u16(R1);
        self.asm.alu_immediate(Alu::And, R1, 0x3fff);
        self.asm.jump_if_immediate(R1, If::Equal, 0, upper);
        self.asm.alu_immediate(Alu::And, R1, 0x1fff);
        self.asm.store_immediate(R7, place_of(Field::Fragment), FRAGMENT_FIRST);
        self.asm.jump_if_immediate(R1, If::Equal, 0, upper);
        self.asm.store_immediate(R7, place_of(Field::Fragment), FRAGMENT_LATER);
        self.asm.store_immediate(R7, LAYER4, ABSENT);
        self.asm.jump(read);
        self.asm.place(ipv6);
        self.ipv6_for_rules(leave, is_ipv6);
        self.asm.place(upper);
        self.upper_layer(read);
        self.asm.place(read);
    }

    /// Goes to `leave` unless the destination is the router's own, or everybody's on the link. Groups beyond it the
    /// kernel forwards.
    fn for_router_ipv4(&mut self, leave: Label, ours: Label) {
        let host = self.asm.label();
        self.asm.load(Width::U32, R1, R7, OUTCOME);
        self.asm.jump_if_immediate(R1, If::Equal, Outcome::Local as i32, ours);
        self.header(Width::U8, R1, 16);
        self.asm.jump_if_immediate(R1, If::Less, 224, host);
        // 0.0.0.0 is a broadcast for who has no address yet (RFC 1122 3.2.1.3).
        // RFC 5771 4: 224.0.0.0/24 is the link's; class E is nobody's, and the limited broadcast.
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, 240, ours);
        self.header(Width::U16, R1, 16);
        self.asm.jump_if_immediate(R1, If::NotEqual, on_wire(0xe000), leave);
        self.header(Width::U8, R1, 18);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0, leave);
        self.asm.jump(ours);
        self.asm.place(host);
        self.header(Width::U32, R1, 16);
        self.asm.jump_if_immediate(R1, If::Equal, 0, ours);
        self.own(16, self.from.maps.local_ipv4(), leave);
    }

    /// Goes to `leave` unless the address at an offset is the router's own.
    fn own(&mut self, at: i32, addresses: BorrowedFd<'_>, leave: Label) {
        self.asm.alu(Alu::Move, R2, R10);
        self.asm.alu_immediate(Alu::Add, R2, HEADER_ON_STACK + at);
        self.asm.load_map(R1, addresses);
        self.asm.call(MAP_LOOKUP);
        self.asm.jump_if_immediate(R0, If::Equal, 0, leave);
    }

    /// From a length in R1, in network order, to the packet's, and its end.
    fn length(&mut self) {
        self.asm.from_network_order_u16(R1);
        self.write(place_of(Field::Length), R1);
        self.behind(LAYER3, LAYER3_END);
    }

    /// Writes down at `to` what is at `from`, and R1 more.
    fn behind(&mut self, from: i16, to: i16) {
        self.asm.load(Width::U32, R2, R7, from);
        self.asm.alu(Alu::Add, R2, R1);
        self.write(to, R2);
    }

    /// `R2 =` the upper-layer header; goes to `short` unless the packet has so many bytes from there on.
    fn within(&mut self, bytes: i32, short: Label) {
        self.asm.load(Width::U32, R2, R7, LAYER4);
        self.asm.alu(Alu::Move, R1, R2);
        self.asm.alu_immediate(Alu::Add, R1, bytes);
        self.asm.load(Width::U32, R3, R7, LAYER3_END);
        self.asm.jump_if(R1, If::Greater, R3, short);
    }

    /// Ports, or type and code, and what is behind them; goes to `read`, or goes on there.
    fn upper_layer(&mut self, read: Label) {
        let (ports, icmp, eight) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.within(4, read);
        self.copy(4, read);
        self.asm.load(Width::U32, R1, R7, place_of(Field::Protocol));
        for (protocol, to) in
            [(TCP, ports), (UDP, ports), (SCTP, ports), (ICMP, icmp), (ICMPV6, icmp)]
        {
            self.asm.jump_if_immediate(R1, If::Equal, protocol, to);
        }
        self.asm.jump(read);
        self.asm.place(icmp);
        for (from, to) in [(0, Field::IcmpType), (1, Field::IcmpCode)] {
            self.header(Width::U8, R1, from);
            self.write(place_of(to), R1);
        }
        self.asm.place(eight);
        self.asm.alu_immediate(Alu::Move, R1, 8);
        self.behind(LAYER4, PAYLOAD);
        self.asm.jump(read);
        self.asm.place(ports);
        for (from, to) in [(0, Field::SourcePort), (2, Field::DestinationPort)] {
            self.header(Width::U16, R2, from);
            self.asm.from_network_order_u16(R2);
            self.write(place_of(to), R2);
        }
        self.asm.jump_if_immediate(R1, If::Equal, UDP, eight);
        self.asm.jump_if_immediate(R1, If::NotEqual, TCP, read);
        self.within(14, read);
        self.copy(14, read);
        self.header(Width::U8, R1, 13);
        self.write(place_of(Field::TcpFlags), R1);
        self.header(Width::U8, R1, 12);
        self.asm.alu_immediate(Alu::ShiftRight, R1, 4);
        self.asm.alu_immediate(Alu::ShiftLeft, R1, 2);
        self.asm.jump_if_immediate(R1, If::Less, 20, read);
        self.behind(LAYER4, PAYLOAD);
    }
}
