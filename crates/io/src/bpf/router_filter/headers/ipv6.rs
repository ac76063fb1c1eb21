//! The header of IPv6 and what extends it.

use super::{FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE};
use crate::bpf::assembler::{Alu, If, Label, Register::*, Width};
use crate::bpf::classifier::Generator;
use crate::bpf::outcome::Outcome;
use crate::bpf::router_filter::{
    ABSENT, FIRST_HEADER, LAYER3, LAYER3_END, LAYER4, OUTCOME, SOURCE, place_of,
};
use crate::router_filter::Field;

/// Extension headers that are walked over, as by `linecard_wire::ipv6_extension`.
const EXTENSIONS_MAX: usize = linecard_wire::ipv6_extension::HEADERS_MAX;

// Protocol numbers (IANA).
const HOP_BY_HOP: i32 = 0;
const ROUTING: i32 = 43;
const FRAGMENT: i32 = 44;
const AUTHENTICATION: i32 = 51;
const DESTINATION_OPTIONS: i32 = 60;

impl Generator<'_> {
    /// RFC 8200 offsets; ends at `read`.
    pub(super) fn ipv6_for_rules(&mut self, leave: Label, read: Label) {
        let (ours, upper) = (self.asm.label(), self.asm.label());
        self.asm.load(Width::U32, R2, R7, LAYER3);
        self.copy(40, leave);
        self.header(Width::U8, R1, 0);
        self.asm.alu_immediate(Alu::And, R1, 0xf0);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0x60, leave);
        self.for_router_ipv6(leave, ours);
        self.asm.place(ours);
        for word in 0..4 {
            self.header(Width::U64, R1, 8 + 8 * word);
            self.asm.store(Width::U64, R7, SOURCE + 8 * word, R1);
        }
        self.header(Width::U32, R1, 0);
        self.asm.from_network_order_u32(R1);
        self.asm.alu(Alu::Move, R2, R1);
        self.asm.alu_immediate(Alu::And, R2, 0xf_ffff);
        self.write(place_of(Field::FlowLabel), R2);
        self.asm.alu_immediate(Alu::ShiftRight, R1, 22);
        self.asm.alu_immediate(Alu::And, R1, 0x3f);
        self.write(place_of(Field::Dscp), R1);
        self.header(Width::U8, R1, 7);
        self.write(place_of(Field::Ttl), R1);
        self.header(Width::U8, R1, 6);
        self.write(place_of(Field::Protocol), R1);
        self.write(FIRST_HEADER, R1);
        self.header(Width::U16, R1, 4);
        self.asm.from_network_order_u16(R1);
        self.asm.alu_immediate(Alu::Add, R1, 40);
        self.write(place_of(Field::Length), R1);
        self.behind(LAYER3, LAYER3_END);
        self.asm.alu_immediate(Alu::Move, R1, 40);
        self.behind(LAYER3, LAYER4);
        self.extensions(upper, read);
        self.asm.place(upper);
        self.upper_layer(read);
        self.asm.jump(read);
    }

    /// As of IPv4; RFC 4291 2.7: scopes 1 and 2 are the interface's and the link's.
    fn for_router_ipv6(&mut self, leave: Label, ours: Label) {
        let (unicast, host) = (self.asm.label(), self.asm.label());
        self.asm.load(Width::U32, R1, R7, OUTCOME);
        self.asm.jump_if_immediate(R1, If::Equal, Outcome::Local as i32, ours);
        self.header(Width::U8, R1, 24);
        self.header(Width::U8, R2, 25);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0xff, unicast);
        self.asm.alu_immediate(Alu::And, R2, 0x0f);
        self.asm.jump_if_immediate(R2, If::Greater, 2, leave);
        self.asm.jump(ours);
        self.asm.place(unicast);
        self.asm.jump_if_immediate(R1, If::NotEqual, 0xfe, host);
        self.asm.alu_immediate(Alu::And, R2, 0xc0);
        self.asm.jump_if_immediate(R2, If::Equal, 0x80, ours);
        self.asm.place(host);
        self.own(24, self.from.maps.local_ipv6(), leave);
    }

    /// Walks over extension headers: to `upper` at the upper layer's header, or to `read` where there is none.
    fn extensions(&mut self, upper: Label, read: Label) {
        let unreadable = self.asm.label();
        for number in 0..=EXTENSIONS_MAX {
            let extension = self.asm.label();
            self.asm.load(Width::U32, R1, R7, place_of(Field::Protocol));
            // RFC 8200 4.1: hop-by-hop options stand first.
            let hop_by_hop = if number == 0 { extension } else { unreadable };
            let other = if number < EXTENSIONS_MAX { extension } else { unreadable };
            self.asm.jump_if_immediate(R1, If::Equal, HOP_BY_HOP, hop_by_hop);
            for protocol in [ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS] {
                self.asm.jump_if_immediate(R1, If::Equal, protocol, other);
            }
            self.asm.jump(upper);
            if number < EXTENSIONS_MAX {
                self.asm.place(extension);
                self.extension(unreadable, read);
            }
        }
        self.asm.place(unreadable);
        self.asm.load(Width::U32, R1, R7, FIRST_HEADER);
        self.write(place_of(Field::Protocol), R1);
        self.asm.store_immediate(R7, place_of(Field::Fragment), FRAGMENT_NONE);
        self.asm.store_immediate(R7, LAYER4, ABSENT);
        self.asm.jump(read);
    }

    /// Goes on behind the extension header at `LAYER4`, whose kind is the protocol.
    fn extension(&mut self, unreadable: Label, read: Label) {
        let (fragment, authentication, next) =
            (self.asm.label(), self.asm.label(), self.asm.label());
        self.within(8, unreadable);
        self.copy(8, unreadable);
        self.asm.load(Width::U32, R1, R7, place_of(Field::Protocol));
        self.header(Width::U8, R3, 1);
        self.asm.jump_if_immediate(R1, If::Equal, FRAGMENT, fragment);
        self.asm.jump_if_immediate(R1, If::Equal, AUTHENTICATION, authentication);
        self.asm.alu_immediate(Alu::Add, R3, 1);
        self.asm.alu_immediate(Alu::ShiftLeft, R3, 3);
        self.asm.jump(next);
        self.asm.place(authentication);
        // RFC 4302 2.2: in units of 4 bytes, less 2; the fixed part has 12 bytes.
        self.asm.jump_if_immediate(R3, If::Equal, 0, unreadable);
        self.asm.alu_immediate(Alu::Add, R3, 2);
        self.asm.alu_immediate(Alu::ShiftLeft, R3, 2);
        self.asm.jump(next);
        self.asm.place(fragment);
        self.fragment_header(read);
        self.asm.place(next);
        self.asm.load(Width::U32, R2, R7, LAYER4);
        self.asm.alu(Alu::Add, R2, R3);
        self.asm.load(Width::U32, R1, R7, LAYER3_END);
        self.asm.jump_if(R2, If::Greater, R1, unreadable);
        self.write(LAYER4, R2);
        self.header(Width::U8, R1, 0);
        self.write(place_of(Field::Protocol), R1);
    }

    /// Of the fragment header that was copied: `R3 =` its length, unless there is no upper layer behind it.
    fn fragment_header(&mut self, read: Label) {
        let (later, whole) = (self.asm.label(), self.asm.label());
        self.asm.alu_immediate(Alu::Move, R3, 8);
        self.header(Width::U16, R1, 2);
        self.asm.from_network_order_u16(R1);
        self.asm.jump_if_immediate(R1, If::GreaterOrEqual, 8, later);
        self.asm.alu_immediate(Alu::And, R1, 1);
        self.asm.store_immediate(R7, place_of(Field::Fragment), FRAGMENT_NONE);
        self.asm.jump_if_immediate(R1, If::Equal, 0, whole);
        self.asm.store_immediate(R7, place_of(Field::Fragment), FRAGMENT_FIRST);
        self.asm.jump(whole);
        self.asm.place(later);
        self.asm.store_immediate(R7, place_of(Field::Fragment), FRAGMENT_LATER);
        self.header(Width::U8, R1, 0);
        self.write(place_of(Field::Protocol), R1);
        self.asm.store_immediate(R7, LAYER4, ABSENT);
        self.asm.jump(read);
        self.asm.place(whole);
    }
}
