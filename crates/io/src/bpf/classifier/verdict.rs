//! How a classifier ends: it counts the outcome, and takes, drops or passes the frame.

use super::{Generator, Hook, KEY_ON_STACK, TCX_NEXT, XDP_RX_QUEUE_INDEX};
use crate::bpf::assembler::{Alu, If, Label, Register::*, Width};
use crate::bpf::outcome::Outcome;
use crate::bpf::protection;
use crate::bpf::uapi::{REDIRECT_MAP, SKB_LEN, TCX_DROP, XDP_DROP, XDP_GET_BUFF_LEN, XDP_PASS};

impl Generator<'_> {
    /// Asks the router's filter and the buckets about what has a class, counts the outcome, then takes, drops or
    /// passes.
    pub(super) fn epilogue(&mut self) {
        let (count, judge) = (self.asm.label(), self.asm.label());
        // The two programs of an AF_PACKET port see the same packets: one of them judges and counts.
        let judges = self.from.hook != Hook::SocketFilter;
        // The verifier refuses code that nothing jumps to.
        let dead = |outcome| match outcome {
            Outcome::Punted => !self.from.hook.sees_punted(),
            Outcome::Limited | Outcome::Filtered => true,
            _ => false,
        };
        for outcome in Outcome::ALL.into_iter().filter(|&outcome| !dead(outcome)) {
            self.asm.place(self.outcomes[outcome as usize]);
            self.asm.alu_immediate(Alu::Move, R9, outcome as i32);
            let has_class = judges && protection::has_class(outcome);
            self.asm.jump(if has_class { judge } else { count });
        }
        if judges {
            self.asm.place(judge);
            self.call_router_filter();
            self.protect_if_wanted(count);
        }
        self.asm.place(count);
        if judges {
            self.count();
        }
        let pass = self.asm.label();
        self.asm.jump_if_immediate(R9, If::NotEqual, Outcome::Taken as i32, pass);
        self.take();
        self.asm.place(pass);
        self.leave();
    }

    /// The same for a packet that the router's filter has let through to here, or has dropped: then it came to
    /// `dropped` with its outcome in R9.
    pub(in crate::bpf) fn epilogue_of_router_filter(&mut self, dropped: Label) {
        self.protect_if_wanted(dropped);
        self.asm.place(dropped);
        self.count();
        self.drop_if(Outcome::Filtered);
        self.leave();
    }

    fn protect_if_wanted(&mut self, count: Label) {
        if let Some(protection) = self.from.protection {
            self.protect(protection, count);
        }
    }

    /// Drops what is limited, and passes all else.
    fn leave(&mut self) {
        if self.from.protection.is_some() {
            self.drop_if(Outcome::Limited);
        }
        self.pass();
    }

    fn count(&mut self) {
        let skip = self.asm.label();
        self.asm.store(Width::U32, R10, KEY_ON_STACK, R9);
        self.look_up_by_stack_key(self.from.maps.outcomes());
        self.asm.jump_if_immediate(R0, If::Equal, 0, skip);
        // Per-CPU memory in softirq context: no other writer, so plain adds do.
        self.asm.load(Width::U64, R1, R0, 0);
        self.asm.alu_immediate(Alu::Add, R1, 1);
        self.asm.store(Width::U64, R0, 0, R1);
        if self.is_xdp() {
            self.asm.alu(Alu::Move, R7, R0);
            self.asm.alu(Alu::Move, R1, R6);
            self.asm.call(XDP_GET_BUFF_LEN);
            self.asm.load(Width::U64, R1, R7, 8);
            self.asm.alu(Alu::Add, R1, R0);
            self.asm.store(Width::U64, R7, 8, R1);
        } else {
            self.asm.load(Width::U32, R2, R6, SKB_LEN);
            self.asm.load(Width::U64, R1, R0, 8);
            self.asm.alu(Alu::Add, R1, R2);
            self.asm.store(Width::U64, R0, 8, R1);
        }
        self.asm.place(skip);
    }

    fn take(&mut self) {
        match (self.from.hook, self.from.sockets) {
            (Hook::Xdp(_), Some(sockets)) => {
                self.asm.load_map(R1, sockets);
                self.asm.load(Width::U32, R2, R6, XDP_RX_QUEUE_INDEX);
                // The low bits of the flags are what to return when the queue has no socket.
                self.asm.alu_immediate(Alu::Move, R3, XDP_PASS);
                self.asm.call(REDIRECT_MAP);
            }
            (Hook::Xdp(_), None) => self.asm.alu_immediate(Alu::Move, R0, XDP_PASS),
            (Hook::Tcx, _) => self.asm.alu_immediate(Alu::Move, R0, TCX_DROP),
            (Hook::SocketFilter, _) => self.asm.alu_immediate(Alu::Move, R0, -1),
        }
        self.asm.exit();
    }

    fn drop_if(&mut self, outcome: Outcome) {
        let pass = self.asm.label();
        self.asm.jump_if_immediate(R9, If::NotEqual, outcome as i32, pass);
        let value = if self.is_xdp() { XDP_DROP } else { TCX_DROP };
        self.asm.alu_immediate(Alu::Move, R0, value);
        self.asm.exit();
        self.asm.place(pass);
    }

    pub(in crate::bpf) fn pass(&mut self) {
        let value = match self.from.hook {
            Hook::Xdp(_) => XDP_PASS,
            Hook::Tcx => TCX_NEXT,
            Hook::SocketFilter => 0,
        };
        self.asm.alu_immediate(Alu::Move, R0, value);
        self.asm.exit();
    }
}
