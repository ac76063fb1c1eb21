//! Walks a [`Multibit`] in the order of its prefixes.
//!
//! At each slot of a node come first the node's prefixes that begin there, shorter before longer,
//! then the child. The places above the nodes are the slots of the heap of short prefixes, by the same
//! rule.

use super::multibit::{Multibit, SHORT_BITS, SLOTS, STRIDE_BITS, TOPS};
use super::multibit_routes::Detail;
use super::multibit_update::At;
use super::{Address, NO_ROUTE, Prefix};

/// Where the walk stands in one node: what comes next is the prefix `length` bits longer than the
/// node's path at `slot`.
struct Frame<A> {
    at: At,
    detail: Detail,
    bits: A,
    depth: u8,
    slot: usize,
    length: u8,
}

/// The walk.
struct Iter<'a, A: Address> {
    table: &'a Multibit<A>,
    top: usize,
    short_length: u8,
    stack: Vec<Frame<A>>,
}

impl<A: Address> Multibit<A> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Prefix<A>, u32)> {
        // A table that never had a route has no nodes to walk.
        let top = if self.nodes.items().is_empty() { TOPS } else { 0 };
        Iter { table: self, top, short_length: 0, stack: Vec::new() }
    }
}

/// True if a prefix of `length` out of `width` bits begins at `slot`.
fn begins_at(slot: usize, length: u8, width: u8) -> bool {
    slot.trailing_zeros() >= u32::from(width - length)
}

impl<A: Address> Iter<'_, A> {
    /// The next short prefix, or `None` when the walk has come to the next place below them, which
    /// is then on the stack.
    fn next_short(&mut self) -> Option<(Prefix<A>, u32)> {
        let bits = A::from_bits_at(self.top, 0, SHORT_BITS);
        while self.short_length <= SHORT_BITS {
            let length = self.short_length;
            self.short_length += 1;
            let value = self.table.short.values[(TOPS + self.top) >> (SHORT_BITS - length)];
            if begins_at(self.top, length, SHORT_BITS) && value != NO_ROUTE {
                return Some((Prefix::new(bits, length)?, value));
            }
        }
        self.push(At::Top(self.top as u32), bits, SHORT_BITS);
        self.top += 1;
        self.short_length = 0;
        None
    }

    fn push(&mut self, at: At, bits: A, depth: u8) {
        let detail = self.table.detail(at);
        // Nodes have a detail unless they are empty; those above the roots count no children.
        if !detail.is_empty() || matches!(at, At::Top(_)) {
            self.stack.push(Frame { at, detail, bits, depth, slot: 0, length: 1 });
        }
    }

    /// The next prefix of the node on top of the stack; `None` when the top has changed.
    fn next_in_node(&mut self) -> Option<(Prefix<A>, u32)> {
        let frame = self.stack.last_mut()?;
        while frame.slot < SLOTS {
            let slot = frame.slot;
            let bits = || frame.bits | A::from_bits_at(slot, frame.depth, STRIDE_BITS);
            while frame.length <= STRIDE_BITS {
                let length = frame.length;
                frame.length += 1;
                let heap = (SLOTS + slot) as u32 >> (STRIDE_BITS - length);
                if begins_at(slot, length, STRIDE_BITS) && frame.detail.has(heap) {
                    let value = self.table.value_of(frame.at, heap)?;
                    return Some((Prefix::new(bits(), frame.depth + length)?, value));
                }
            }
            frame.slot += 1;
            frame.length = 1;
            if let Some(child) = self.table.child(frame.at, slot) {
                let (bits, depth) = (bits(), frame.depth + STRIDE_BITS);
                self.push(child, bits, depth);
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
                true if self.top == TOPS => return None,
                true => self.next_short(),
                false => self.next_in_node(),
            };
            if next.is_some() {
                return next;
            }
        }
    }
}
