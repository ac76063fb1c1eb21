//! Rules as instructions: one behind the other, and in each rule one comparison behind the other, until one fails.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use crate::bpf::assembler::{Alu, Assembler, If, Label, Register::*, Width};
use crate::bpf::classifier::{HEADER_ON_STACK, KEY_ON_STACK};
use crate::bpf::uapi::MAP_LOOKUP;
use crate::router_filter::{
    Anchor, BytesTest, Condition, Field, FieldTest, RouterFilter, RouterFilterCounters, RouterRule,
    RouterVerdict,
};

use super::{ABSENT, DESTINATION, LAYER3, LAYER3_END, LAYER4, PAYLOAD, SOURCE, place_of};

/// Where a packet goes on when a rule has decided, with the rule's counter in R8.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) accept: Label,
    pub(super) drop: Label,
}

impl Ends {
    fn of(self, verdict: RouterVerdict) -> Label {
        match verdict {
            RouterVerdict::Accept => self.accept,
            RouterVerdict::Drop => self.drop,
        }
    }
}

/// Rules while they are being assembled.
pub(super) struct Rules<'a> {
    pub(super) asm: &'a mut Assembler,
    /// The helper that copies bytes of the packet.
    pub(super) load_bytes: i32,
    /// `None` where only the instructions are counted.
    pub(super) counters: Option<&'a RouterFilterCounters>,
    pub(super) ends: Ends,
}

impl Rules<'_> {
    /// The rules of a filter as packets of one family meet them.
    pub(super) fn family(&mut self, filter: &RouterFilter, is_ipv6: bool) {
        for rule in &filter.rules {
            if !is_meant(rule, is_ipv6) {
                continue;
            }
            let next = self.asm.label();
            for condition in &rule.conditions {
                self.condition(condition, is_ipv6, next);
            }
            self.asm.alu_immediate(Alu::Move, R8, rule.counter as i32);
            match rule.verdict {
                Some(verdict) => self.asm.jump(self.ends.of(verdict)),
                None => count_in(self.asm, self.counters.map(RouterFilterCounters::map)),
            }
            if self.asm.is_used(next) {
                self.asm.place(next);
            } else if rule.verdict.is_some() {
                // It matches everything: what is behind it the verifier would refuse as never reached.
                return;
            }
        }
        self.asm.alu_immediate(Alu::Move, R8, filter.default_counter as i32);
        self.asm.jump(self.ends.of(filter.default));
    }

    /// Goes to `otherwise` unless the condition holds.
    fn condition(&mut self, condition: &Condition, is_ipv6: bool, otherwise: Label) {
        match condition {
            Condition::Source(prefixes) => self.prefixes(prefixes, SOURCE, is_ipv6, otherwise),
            Condition::Destination(prefixes) => {
                self.prefixes(prefixes, DESTINATION, is_ipv6, otherwise);
            }
            Condition::Field(field, tests) => self.field(*field, tests, otherwise),
            Condition::Bytes(bytes) => self.bytes(bytes, otherwise),
        }
    }

    fn prefixes(&mut self, all: &[(IpAddr, u8)], at: i16, is_ipv6: bool, otherwise: Label) {
        let own = || all.iter().filter(|(address, _)| address.is_ipv6() == is_ipv6);
        if all.is_empty() || own().any(|(_, length)| *length == 0) {
            return;
        }
        let holds = self.asm.label();
        for (address, length) in own() {
            let fails = self.asm.label();
            for (offset, value, mask) in words(*address, *length) {
                self.asm.load(Width::U32, R1, R7, at + offset);
                if mask != u32::MAX {
                    self.asm.alu_immediate(Alu::And, R1, mask as i32);
                }
                self.asm.jump_if_immediate_u32(R1, If::NotEqual, value, fails);
            }
            self.asm.jump(holds);
            self.asm.place(fails);
        }
        self.asm.jump(otherwise);
        self.asm.place(holds);
    }

    fn field(&mut self, field: Field, tests: &[FieldTest], otherwise: Label) {
        let Some((last, others)) = tests.split_last() else { return };
        let holds = self.asm.label();
        // A masked test would hold for what is not there.
        if tests.iter().any(|test| test.mask != u32::MAX) {
            self.asm.load(Width::U32, R1, R7, place_of(field));
            self.asm.jump_if_immediate_u32(R1, If::Equal, ABSENT as u32, otherwise);
        }
        for test in others {
            let fails = self.asm.label();
            self.test(field, test, fails);
            self.asm.jump(holds);
            self.asm.place(fails);
        }
        self.test(field, last, otherwise);
        if self.asm.is_used(holds) {
            self.asm.place(holds);
        }
    }

    /// Reads the field anew: the verifier would go on with what the last test says of it, which makes as many states
    /// as there are tests.
    fn test(&mut self, field: Field, test: &FieldTest, otherwise: Label) {
        let &FieldTest { mask, first, last } = test;
        self.asm.load(Width::U32, R1, R7, place_of(field));
        if mask != u32::MAX {
            self.asm.alu_immediate(Alu::And, R1, mask as i32);
        }
        if first == last {
            return self.asm.jump_if_immediate_u32(R1, If::NotEqual, first, otherwise);
        }
        if first > 0 {
            self.asm.jump_if_immediate_u32(R1, If::Less, first, otherwise);
        }
        self.asm.jump_if_immediate_u32(R1, If::Greater, last, otherwise);
    }

    fn bytes(&mut self, test: &BytesTest, otherwise: Label) {
        let length = test.bytes.len() as i32;
        let anchor = match test.anchor {
            Anchor::Layer3 => LAYER3,
            Anchor::Layer4 => LAYER4,
            Anchor::Payload => PAYLOAD,
        };
        self.asm.load(Width::U32, R2, R7, anchor);
        self.asm.jump_if_immediate_u32(R2, If::Equal, ABSENT as u32, otherwise);
        self.asm.alu_immediate(Alu::Add, R2, i32::from(test.offset));
        self.asm.alu(Alu::Move, R1, R2);
        self.asm.alu_immediate(Alu::Add, R1, length);
        // Padding behind the packet is no part of it.
        self.asm.load(Width::U32, R3, R7, LAYER3_END);
        self.asm.jump_if(R1, If::Greater, R3, otherwise);
        copy(self.asm, self.load_bytes, length, otherwise);
        for (at, &(value, mask)) in (HEADER_ON_STACK as i16..).zip(&test.bytes) {
            if mask == 0 {
                continue;
            }
            self.asm.load(Width::U8, R1, R10, at);
            self.asm.alu_immediate(Alu::And, R1, i32::from(mask));
            self.asm.jump_if_immediate_u32(R1, If::NotEqual, u32::from(value), otherwise);
        }
    }
}

/// Whether packets of a family may match.
fn is_meant(rule: &RouterRule, is_ipv6: bool) -> bool {
    let may_hold = |condition: &Condition| match condition {
        Condition::Source(prefixes) | Condition::Destination(prefixes) => {
            prefixes.is_empty() || prefixes.iter().any(|(it, _)| it.is_ipv6() == is_ipv6)
        }
        Condition::Field(..) | Condition::Bytes(_) => true,
    };
    let is_asked = if is_ipv6 { rule.ipv6 } else { rule.ipv4 };
    is_asked && rule.conditions.iter().all(may_hold)
}

/// The words of a prefix of which bits count: offset, value and mask, as they are read from a packet.
fn words(address: IpAddr, length: u8) -> impl Iterator<Item = (i16, u32, u32)> {
    let (bits, width) = match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(length.min(width))).unwrap_or(0);
    (0..4).filter_map(move |word| {
        let of = |bits: u128| ((bits >> (96 - 32 * word)) as u32).to_be();
        (of(mask) != 0).then(|| (4 * word as i16, of(bits & mask), of(mask)))
    })
}

/// Copies bytes of the packet from offset R2 to the stack; goes to `short` if there are fewer.
pub(super) fn copy(asm: &mut Assembler, load_bytes: i32, bytes: i32, short: Label) {
    asm.alu(Alu::Move, R1, R6);
    asm.alu(Alu::Move, R3, R10);
    asm.alu_immediate(Alu::Add, R3, HEADER_ON_STACK);
    asm.alu_immediate(Alu::Move, R4, bytes);
    asm.call(load_bytes);
    asm.jump_if_immediate(R0, If::NotEqual, 0, short);
}

/// Counts the packet in counter R8.
pub(super) fn count(asm: &mut Assembler, counters: &RouterFilterCounters) {
    count_in(asm, Some(counters.map()));
}

fn count_in(asm: &mut Assembler, counters: Option<BorrowedFd<'_>>) {
    let skip = asm.label();
    asm.store(Width::U32, R10, KEY_ON_STACK, R8);
    asm.alu(Alu::Move, R2, R10);
    asm.alu_immediate(Alu::Add, R2, i32::from(KEY_ON_STACK));
    match counters {
        Some(counters) => asm.load_map(R1, counters),
        None => asm.load_immediate(R1, 0),
    }
    asm.call(MAP_LOOKUP);
    asm.jump_if_immediate(R0, If::Equal, 0, skip);
    // Per-CPU memory in softirq context: no other writer, so plain adds do.
    asm.load(Width::U64, R1, R0, 0);
    asm.alu_immediate(Alu::Add, R1, 1);
    asm.store(Width::U64, R0, 0, R1);
    asm.load(Width::U64, R1, R0, 8);
    asm.load(Width::U32, R2, R7, super::FRAME_BYTES);
    asm.alu(Alu::Add, R1, R2);
    asm.store(Width::U64, R0, 8, R1);
    asm.place(skip);
}
