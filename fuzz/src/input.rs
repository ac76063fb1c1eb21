//! Reads values off an input, front to back, so that a seed can be written by hand.

use linecard_tables::lpm::Address;

/// The bytes that are left. Behind the end everything reads as zero.
#[derive(Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `length` bytes, or as many as there are.
    pub fn take(&mut self, length: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        front
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let front = self.take(N);
        bytes[..front.len()].copy_from_slice(front);
        bytes
    }

    pub fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.array())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// A number below `end`, which is at most 256; takes one byte.
    pub fn below(&mut self, end: u32) -> u32 {
        u32::from(self.u8()) % end
    }

    /// One of `choices`; takes one byte.
    pub fn choose<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.u8()) % choices.len()]
    }

    /// An address of whichever length.
    pub fn address<A: Address>(&mut self) -> A {
        (0..A::BITS).step_by(8).fold(A::default(), |address, offset| {
            address | A::from_bits_at(usize::from(self.u8()), offset, 8)
        })
    }
}
