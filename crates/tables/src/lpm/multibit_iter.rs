//! Walks a [`Multibit`] in the order of its prefixes.
//!
//! At each slot of a node come first the node's prefixes that begin there, shorter before longer,
//! then the child. The roots are the slots of the heap of short prefixes, by the same rule.

use super::multibit::{Multibit, ROOT_BITS, ROOTS, STRIDE_BITS};
use super::{Address, NO_ROUTE, Prefix};

/// Where the walk stands in one node: what comes next is prefix `length` at `slot`.
struct Frame<A> {
    node: u32,
    bits: A,
    depth: u8,
    slot: usize,
    length: u8,
}

/// The walk.
struct Iter<'a, A: Address> {
    table: &'a Multibit<A>,
    root: usize,
    short_length: u8,
    stack: Vec<Frame<A>>,
}

impl<A: Address> Multibit<A> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix<A>, u32)> {
        Iter { table: self, root: 0, short_length: 0, stack: Vec::new() }
    }
}

/// True if a prefix of `length` out of `width` bits begins at `slot`.
fn begins_at(slot: usize, length: u8, width: u8) -> bool {
    slot.trailing_zeros() >= u32::from(width - length)
}

impl<A: Address> Iter<'_, A> {
    /// The next prefix above the roots, or `None` when the walk has come to the next root, whose
    /// node is on the stack unless it is empty: in a small table nearly all 8,192 are.
    fn next_short(&mut self) -> Option<(Prefix<A>, u32)> {
        let bits = A::from_bits_at(self.root, 0, ROOT_BITS);
        while self.short_length < ROOT_BITS {
            let length = self.short_length;
            self.short_length += 1;
            let value = self.table.short[(ROOTS + self.root) >> (ROOT_BITS - length)];
            if begins_at(self.root, length, ROOT_BITS) && value != NO_ROUTE {
                return Some((Prefix::new(bits, length)?, value));
            }
        }
        let node = &self.table.nodes.items()[self.root];
        if node.prefixes != 0 || node.children != 0 {
            let node = self.root as u32;
            self.stack.push(Frame { node, bits, depth: ROOT_BITS, slot: 0, length: 0 });
        }
        self.root += 1;
        self.short_length = 0;
        None
    }

    /// The next prefix of the node on top of the stack; `None` when the top has changed.
    fn next_in_node(&mut self) -> Option<(Prefix<A>, u32)> {
        let frame = self.stack.last_mut()?;
        let node = self.table.nodes.items()[frame.node as usize];
        while frame.slot < 64 {
            let slot = frame.slot;
            while frame.length < STRIDE_BITS {
                let length = frame.length;
                frame.length += 1;
                let heap = (64 + slot as u32) >> (STRIDE_BITS - length);
                if begins_at(slot, length, STRIDE_BITS) && node.prefixes >> heap & 1 != 0 {
                    let value = self.table.values.items()[node.value(heap) as usize];
                    let bits = frame.bits | A::from_bits_at(slot, frame.depth, STRIDE_BITS);
                    return Some((Prefix::new(bits, frame.depth + length)?, value));
                }
            }
            frame.slot += 1;
            frame.length = 0;
            if node.children >> slot & 1 != 0 {
                let bits = frame.bits | A::from_bits_at(slot, frame.depth, STRIDE_BITS);
                let depth = frame.depth + STRIDE_BITS;
                self.stack.push(Frame { node: node.child(slot), bits, depth, slot: 0, length: 0 });
                return None;
            }
        }
        self.stack.pop();
        None
    }
}

impl<A: Address> Iterator for Iter<'_, A> {
    type Item = (Prefix<A>, u32);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let next = match self.stack.is_empty() {
                true if self.root == ROOTS => return None,
                true => self.next_short(),
                false => self.next_in_node(),
            };
            if next.is_some() {
                return next;
            }
        }
    }
}
