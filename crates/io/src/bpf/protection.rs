//! The part of the classifier that protects the kernel: the class of a frame that is left to it, and the
//! class's token bucket.
//!
//! It stands behind the decision that a frame is left to the kernel, and reads the headers once more from the
//! beginning: so frames that Linecard takes cost nothing more, and how a frame came to be left (its options, its
//! TTL) does not decide what it is.
//!
//! Cost: some 100 instructions, the clock (`bpf_ktime_get_ns`, 20 to 25 ns), and for TCP that is no connection
//! request the kernel's socket lookup.

mod class;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::assembler::{Alu, If, Label, Register::*, Width};
use super::classifier::{Generator, KEY_ON_STACK};
use super::counters::PerCpuCounters;
use super::outcome::Outcome;
use super::sys;
use super::uapi::{SKB_LEN, XDP_GET_BUFF_LEN};
use crate::protection::{ClassLimit, ClassTotals, ProtectionClass as Class, ProtectionLimits};
use class::Classes;

// Helper numbers: enum bpf_func_id, linux/bpf.h.
const KTIME_GET_NS: i32 = 5;

// The stack, from the frame pointer; what lies above is `classifier`'s and `redirect`'s.
const OUTCOME: i16 = -72;

/// Time is counted in sixteenths of a nanosecond: so ten million packets a second are kept to a thousandth.
const TIME_SHIFT: i32 = 4;
const SECOND: u64 = 1_000_000_000 << TIME_SHIFT;

// A bucket: when it is full again, what a packet takes, and how far in the future it may be full again.
const FULL_AT: i16 = 0;
const INTERVAL: i16 = 8;
const TOLERANCE: i16 = 16;
const BUCKET_BYTES: u32 = 24;
/// How often a packet tries to move the bucket on when others do so at the same time.
const ATTEMPTS: usize = 4;

// Counters of a class: packets and bytes that passed, and those that did not.
const COUNTERS: usize = 4;
const PASSED: i16 = 0;
const LIMITED: i16 = 16;

/// One port's buckets and counters.
#[derive(Debug)]
pub(crate) struct Protection {
    buckets: OwnedFd,
    counters: PerCpuCounters,
}

impl Protection {
    /// Full buckets.
    pub(crate) fn new(limits: &ProtectionLimits) -> io::Result<Self> {
        let classes = Class::ALL.len() as u32;
        let buckets = sys::map_create("lc_buckets", sys::MAP_ARRAY, 4, BUCKET_BYTES, classes, 0)?;
        let counters = PerCpuCounters::with_elements("lc_classes", classes, COUNTERS)?;
        let protection = Self { buckets, counters };
        protection.set_limits(limits)?;
        Ok(protection)
    }

    /// Other limits from now on, with full buckets.
    pub(crate) fn set_limits(&self, limits: &ProtectionLimits) -> io::Result<()> {
        for (class, limit) in (0_u32..).zip(limits) {
            sys::map_update(self.buckets.as_fd(), &class.to_ne_bytes(), &bucket(*limit))?;
        }
        Ok(())
    }

    /// What was counted in each class, in the order of [`Class::ALL`].
    pub(crate) fn totals(&self) -> io::Result<[ClassTotals; Class::ALL.len()]> {
        let mut totals = [ClassTotals::default(); Class::ALL.len()];
        for (class, total) in (0..).zip(&mut totals) {
            let counted = self.counters.totals_of(class)?;
            *total = ClassTotals {
                passed_packets: counted[0],
                passed_bytes: counted[1],
                limited_packets: counted[2],
                limited_bytes: counted[3],
            };
        }
        Ok(totals)
    }
}

/// A full bucket as the program reads it.
fn bucket(limit: ClassLimit) -> [u8; BUCKET_BYTES as usize] {
    let interval = SECOND.div_ceil(u64::from(limit.rate_packets_per_second.max(1)));
    let tolerance = interval.saturating_mul(u64::from(limit.burst_packets.max(1)));
    let mut bytes = [0; BUCKET_BYTES as usize];
    bytes[INTERVAL as usize..][..8].copy_from_slice(&interval.to_ne_bytes());
    bytes[TOLERANCE as usize..][..8].copy_from_slice(&tolerance.to_ne_bytes());
    bytes
}

/// Which outcomes have a class, and are the router filter's to judge: what the kernel gets because of what it is.
/// Not what it gets because no worker is there, nor other hosts' frames, which it drops or bridges, nor what a
/// worker has limited before.
pub(super) fn has_class(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Multicast
        | Outcome::NotIp
        | Outcome::TtlExpired
        | Outcome::Ipv4Options
        | Outcome::Ipv6HopByHop
        | Outcome::Local
        | Outcome::Oversized => true,
        Outcome::Taken
        | Outcome::Standby
        | Outcome::OtherHost
        | Outcome::Punted
        | Outcome::Limited
        | Outcome::Filtered => false,
    }
}

/// Register use: R6 context, R7 header, R8 end of the packet (XDP), R9 offset of the header (skb); from the
/// class on R9 class, R8 bucket, R7 bytes of the frame.
impl Generator<'_> {
    /// From the outcome in R9 to the same outcome, or to `limited`, in R9; goes on at `count`.
    pub(super) fn protect(&mut self, protection: &Protection, count: Label) {
        let classes =
            Classes { labels: Class::ALL.map(|_| self.asm.label()), unlimited: self.asm.label() };
        self.asm.store(Width::U64, R10, OUTCOME, R9);
        self.classify(&classes);
        let charge = self.asm.label();
        for class in Class::ALL {
            self.asm.place(classes.to(class));
            self.asm.alu_immediate(Alu::Move, R9, class as i32);
            self.asm.jump(charge);
        }
        self.asm.place(charge);
        self.charge(protection);
        self.asm.jump(count);
        self.asm.place(classes.unlimited);
        self.asm.load(Width::U64, R9, R10, OUTCOME);
        self.asm.jump(count);
    }

    /// Takes a token of class R9, counts, and leaves the outcome in R9.
    fn charge(&mut self, protection: &Protection) {
        let (limited, passed, counted) = (self.asm.label(), self.asm.label(), self.asm.label());
        if self.is_xdp() {
            self.asm.alu(Alu::Move, R1, R6);
            self.asm.call(XDP_GET_BUFF_LEN);
            self.asm.alu(Alu::Move, R7, R0);
        } else {
            self.asm.load(Width::U32, R7, R6, SKB_LEN);
        }
        self.asm.store(Width::U32, R10, KEY_ON_STACK, R9);
        self.look_up_by_stack_key(protection.buckets.as_fd());
        self.asm.jump_if_immediate(R0, If::Equal, 0, passed);
        self.asm.alu(Alu::Move, R8, R0);
        self.asm.call(KTIME_GET_NS);
        self.asm.alu_immediate(Alu::ShiftLeft, R0, TIME_SHIFT);
        self.asm.alu(Alu::Move, R5, R0);
        self.asm.load(Width::U64, R3, R8, INTERVAL);
        self.asm.load(Width::U64, R4, R8, TOLERANCE);
        for _ in 0..ATTEMPTS {
            self.take_token(limited, passed);
        }
        // Others were quicker each time: it is let through, and costs what it costs.
        self.asm.atomic_add(Width::U64, R8, FULL_AT, R3);
        self.asm.place(passed);
        self.count_class(protection, PASSED);
        self.asm.load(Width::U64, R9, R10, OUTCOME);
        self.asm.jump(counted);
        self.asm.place(limited);
        self.count_class(protection, LIMITED);
        self.asm.alu_immediate(Alu::Move, R9, Outcome::Limited as i32);
        self.asm.place(counted);
    }

    /// With R8 bucket, R5 now, R3 interval, R4 tolerance: takes a token and goes to `passed`, or to `limited`, or
    /// goes on if somebody else has taken one meanwhile.
    fn take_token(&mut self, limited: Label, passed: Label) {
        let later = self.asm.label();
        self.asm.load(Width::U64, R0, R8, FULL_AT);
        self.asm.alu(Alu::Move, R1, R0);
        self.asm.jump_if(R1, If::GreaterOrEqual, R5, later);
        self.asm.alu(Alu::Move, R1, R5);
        self.asm.place(later);
        self.asm.alu(Alu::Add, R1, R3);
        self.asm.alu(Alu::Move, R2, R1);
        self.asm.alu(Alu::Subtract, R2, R5);
        self.asm.jump_if(R2, If::Greater, R4, limited);
        self.asm.alu(Alu::Move, R2, R0);
        self.asm.compare_exchange(Width::U64, R8, FULL_AT, R1);
        self.asm.jump_if(R0, If::Equal, R2, passed);
    }

    /// Adds the frame of R7 bytes to two of the counters of class R9.
    fn count_class(&mut self, protection: &Protection, at: i16) {
        let skip = self.asm.label();
        self.asm.store(Width::U32, R10, KEY_ON_STACK, R9);
        self.look_up_by_stack_key(protection.counters.map());
        self.asm.jump_if_immediate(R0, If::Equal, 0, skip);
        // Per-CPU memory in softirq context: no other writer, so plain adds do.
        self.asm.load(Width::U64, R1, R0, at);
        self.asm.alu_immediate(Alu::Add, R1, 1);
        self.asm.store(Width::U64, R0, at, R1);
        self.asm.load(Width::U64, R1, R0, at + 8);
        self.asm.alu(Alu::Add, R1, R7);
        self.asm.store(Width::U64, R0, at + 8, R1);
        self.asm.place(skip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_exact_to_a_thousandth_at_any_rate() {
        for rate_packets_per_second in [1, 3, 7_777, 999_983, 9_999_991, 10_000_000] {
            let bytes = bucket(ClassLimit { rate_packets_per_second, burst_packets: 1_000_000 });
            let word = |at: i16| {
                let (word, _) = bytes[at as usize..].split_first_chunk().expect("eight bytes");
                u64::from_ne_bytes(*word)
            };
            let in_a_second = SECOND as f64 / word(INTERVAL) as f64;
            let rate = f64::from(rate_packets_per_second);
            assert!((0.999 * rate..=rate).contains(&in_a_second), "{in_a_second} for {rate}");
            assert_eq!(word(TOLERANCE), 1_000_000 * word(INTERVAL));
            assert_eq!(word(FULL_AT), 0, "full");
        }
    }
}
