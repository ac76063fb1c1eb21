//! A small assembler for eBPF: the instructions that the programs here and in the lab need, and labels.
//!
//! Encoding: RFC 9669 (BPF Instruction Set Architecture). Each instruction is eight bytes: opcode,
//! registers, a 16-bit offset and a 32-bit immediate; loading a 64-bit immediate takes two.

use std::os::fd::{AsRawFd, BorrowedFd};

/// A register. `R0` returns, `R1`–`R5` are arguments and are lost in a call, `R6`–`R9` are kept,
/// `R10` is the frame pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "they are told above")]
pub enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// Width of a load or store.
#[derive(Debug, Clone, Copy)]
pub enum Width {
    /// One byte.
    U8,
    /// Two bytes.
    U16,
    /// Four bytes.
    U32,
    /// Eight bytes.
    U64,
}

/// Condition of a jump; comparisons are unsigned and 64 bits wide.
#[derive(Debug, Clone, Copy)]
pub enum If {
    /// `left == right`
    Equal,
    /// `left != right`
    NotEqual,
    /// `left > right`
    Greater,
    /// `left >= right`
    GreaterOrEqual,
    /// `left < right`
    Less,
}

/// Arithmetic on 64 bits.
#[derive(Debug, Clone, Copy)]
pub enum Alu {
    /// `to += from`
    Add,
    /// `to -= from`
    Subtract,
    /// `to *= from`
    Multiply,
    /// `to |= from`
    Or,
    /// `to &= from`
    And,
    /// `to <<= from`
    ShiftLeft,
    /// `to >>= from`, filled with zeros
    ShiftRight,
    /// `to %= from`
    Mod,
    /// `to ^= from`
    Xor,
    /// `to = from`
    Move,
}

/// A place in the program that can be jumped to, before or after it is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label(usize);

/// A program under construction.
#[derive(Debug, Default)]
pub struct Assembler {
    instructions: Vec<u64>,
    labels: Vec<Option<usize>>,
    // (instruction, label) pairs whose jump offset is filled in at the end.
    jumps: Vec<(usize, Label)>,
}

impl Width {
    fn bits(self) -> u8 {
        match self {
            Self::U32 => 0x00,
            Self::U16 => 0x08,
            Self::U8 => 0x10,
            Self::U64 => 0x18,
        }
    }
}

impl If {
    fn code(self) -> u8 {
        match self {
            Self::Equal => 0x10,
            Self::Greater => 0x20,
            Self::GreaterOrEqual => 0x30,
            Self::NotEqual => 0x50,
            Self::Less => 0xa0,
        }
    }
}

impl Alu {
    fn code(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::Subtract => 0x10,
            Self::Multiply => 0x20,
            Self::Or => 0x40,
            Self::And => 0x50,
            Self::ShiftLeft => 0x60,
            Self::ShiftRight => 0x70,
            Self::Mod => 0x90,
            Self::Xor => 0xa0,
            Self::Move => 0xb0,
        }
    }
}

impl Assembler {
    fn push(&mut self, opcode: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        let bytes =
            [[opcode, from << 4 | to].as_slice(), &offset.to_le_bytes(), &immediate.to_le_bytes()]
                .concat();
        let mut word = [0; 8];
        word.copy_from_slice(&bytes);
        self.instructions.push(u64::from_le_bytes(word));
    }

    /// `to = *(width *)(from + offset)`
    pub fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.push(0x61 | width.bits(), to as u8, from as u8, offset, 0);
    }

    /// `*(width *)(to + offset) = from`
    pub fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(0x63 | width.bits(), to as u8, from as u8, offset, 0);
    }

    /// `*(u32 *)(to + offset) = value`
    pub fn store_immediate(&mut self, to: Register, offset: i16, value: i32) {
        self.push(0x62, to as u8, 0, offset, value);
    }

    /// `to = to <alu> from`
    pub fn alu(&mut self, alu: Alu, to: Register, from: Register) {
        self.push(0x0f | alu.code(), to as u8, from as u8, 0, 0);
    }

    /// `to = to <alu> value`
    pub fn alu_immediate(&mut self, alu: Alu, to: Register, value: i32) {
        self.push(0x07 | alu.code(), to as u8, 0, 0, value);
    }

    /// `to = value`, of 64 bits.
    pub fn load_immediate(&mut self, to: Register, value: u64) {
        self.push(0x18, to as u8, 0, 0, value as u32 as i32);
        self.push(0, 0, 0, 0, (value >> 32) as i32);
    }

    /// `to = the map behind fd` (`BPF_PSEUDO_MAP_FD`).
    pub fn load_map(&mut self, to: Register, map: BorrowedFd<'_>) {
        self.push(0x18, to as u8, 1, 0, map.as_raw_fd());
        self.push(0, 0, 0, 0, 0);
    }

    /// `to = &map[0] + offset`, of an array map with one element (`BPF_PSEUDO_MAP_VALUE`).
    pub fn load_map_value(&mut self, to: Register, map: BorrowedFd<'_>, offset: i32) {
        self.push(0x18, to as u8, 2, 0, map.as_raw_fd());
        self.push(0, 0, 0, 0, offset);
    }

    /// `to = *(width *)(from + offset)`, before all loads that follow (`BPF_LOAD_ACQ`, Linux 6.15).
    pub fn load_acquire(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.push(0xc3 | width.bits(), to as u8, from as u8, offset, 0x100);
    }

    /// `if *(width *)(to + offset) == R0 { it = from }`, and `R0 =` what it was before, all at once
    /// (`BPF_CMPXCHG`, Linux 5.12). Of 32 or 64 bits.
    pub fn compare_exchange(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(0xc3 | width.bits(), to as u8, from as u8, offset, 0xf1);
    }

    /// `*(width *)(to + offset) += from`, all at once. Of 32 or 64 bits.
    pub fn atomic_add(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.push(0xc3 | width.bits(), to as u8, from as u8, offset, 0);
    }

    /// Turns the low 32 bits from network order into the machine's; the others become zero.
    pub fn from_network_order_u32(&mut self, to: Register) {
        self.push(0xdc, to as u8, 0, 0, 32);
    }

    /// Turns the low 16 bits from network order into the machine's; the others become zero.
    pub fn from_network_order_u16(&mut self, to: Register) {
        self.push(0xdc, to as u8, 0, 0, 16);
    }

    /// Calls a kernel helper (numbers: `enum bpf_func_id`).
    pub fn call(&mut self, helper: i32) {
        self.push(0x85, 0, 0, 0, helper);
    }

    /// Returns `R0`.
    pub fn exit(&mut self) {
        self.push(0x95, 0, 0, 0, 0);
    }

    /// A label that is placed later.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label here.
    pub fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.instructions.len());
    }

    /// `if left <condition> right goto label`
    pub fn jump_if(&mut self, left: Register, condition: If, right: Register, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(0x0d | condition.code(), left as u8, right as u8, 0, 0);
    }

    /// `if (u32) left <condition> (u32) value goto label`
    pub fn jump_if_immediate_u32(&mut self, left: Register, c: If, value: u32, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(0x06 | c.code(), left as u8, 0, 0, value as i32);
    }

    /// `if left <condition> value goto label`
    pub fn jump_if_immediate(&mut self, left: Register, c: If, value: i32, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(0x05 | c.code(), left as u8, 0, 0, value);
    }

    /// `goto label`
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(0x05, 0, 0, 0, 0);
    }

    /// Instructions so far.
    pub(crate) fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether something jumps to a label.
    pub(crate) fn is_used(&self, label: Label) -> bool {
        self.jumps.iter().any(|(_, to)| *to == label)
    }

    /// The finished program.
    ///
    /// # Panics
    /// When a label was jumped to and never placed.
    #[must_use]
    pub fn finish(mut self) -> Vec<u64> {
        for (at, label) in self.jumps {
            let target = self.labels[label.0].expect("every label that is used is placed");
            let offset = i16::try_from(target as isize - at as isize - 1)
                .expect("programs are far shorter than a jump reaches");
            let mut bytes = self.instructions[at].to_le_bytes();
            bytes[2..4].copy_from_slice(&offset.to_le_bytes());
            self.instructions[at] = u64::from_le_bytes(bytes);
        }
        self.instructions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_reach_their_labels_and_fields_stand_where_rfc_9669_puts_them() {
        let mut asm = Assembler::default();
        let end = asm.label();
        asm.alu_immediate(Alu::Move, Register::R0, 2);
        asm.jump_if_immediate(Register::R1, If::Equal, 7, end);
        asm.load(Width::U16, Register::R3, Register::R7, 12);
        asm.place(end);
        asm.exit();
        let code = asm.finish();
        assert_eq!(code[0].to_le_bytes(), [0xb7, 0x00, 0, 0, 2, 0, 0, 0]);
        assert_eq!(code[1].to_le_bytes(), [0x15, 0x01, 1, 0, 7, 0, 0, 0]);
        assert_eq!(code[2].to_le_bytes(), [0x69, 0x73, 12, 0, 0, 0, 0, 0]);
        assert_eq!(code[3].to_le_bytes(), [0x95, 0, 0, 0, 0, 0, 0, 0]);
    }
}
