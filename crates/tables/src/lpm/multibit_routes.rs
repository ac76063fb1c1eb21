//! The exact routes that the leaves of a [`Multibit`](super::multibit::Multibit) are computed from.
//!
//! Leaves say what a lookup answers, not which routes there are. Those are kept aside, where no lookup
//! comes by: each node has a [`Detail`], a bitmap of its prefixes as a binary heap (a prefix that is
//! `k` bits (`b`) longer than the node's path, 1 to 6, is number `2^k + b`) with their values in one
//! run, in the order of the bits.

use super::arena::Arena;
use super::multibit::{SLOTS, STRIDE_BITS, TOPS};

/// Slots that the prefixes of a heap number cover, as a bitmap.
fn covered(heap: u32) -> u64 {
    let below = u32::from(STRIDE_BITS) - heap.ilog2();
    let first = (heap << below) - SLOTS as u32;
    (u64::MAX >> (SLOTS - (1 << below))) << first
}

/// The numbers of set bits, in order.
pub(super) fn ones(mut bitmap: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (bitmap != 0).then(|| bitmap.trailing_zeros() as usize)?;
        bitmap &= bitmap - 1;
        Some(bit)
    })
}

/// The prefixes of one node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Detail {
    /// Bit `h` of the two words is set if there is a prefix of heap number `h` (2 to 127).
    bitmap: [u64; 2],
    pub(super) value_base: u32,
    /// Nodes that slots lead to.
    pub(super) children: u32,
}

impl Detail {
    fn bits(&self) -> u128 {
        u128::from(self.bitmap[1]) << 64 | u128::from(self.bitmap[0])
    }

    pub(super) fn has(&self, heap: u32) -> bool {
        self.bitmap[heap as usize >> 6] >> (heap & 63) & 1 != 0
    }

    fn toggle(&mut self, heap: u32) {
        self.bitmap[heap as usize >> 6] ^= 1 << (heap & 63);
    }

    fn prefixes(&self) -> usize {
        self.bits().count_ones() as usize
    }

    /// Prefixes before this one.
    fn rank(&self, heap: u32) -> usize {
        (self.bits() & ((1 << heap) - 1)).count_ones() as usize
    }

    /// The number of the value of this prefix, which must exist.
    pub(super) fn value(&self, heap: u32) -> u32 {
        self.value_base + self.rank(heap) as u32
    }

    /// The longest prefix of the node that contains `heap` and is shorter.
    pub(super) fn above(&self, heap: u32) -> Option<u32> {
        (1..heap.ilog2()).map(|up| heap >> up).find(|shorter| self.has(*shorter))
    }

    /// Slots that `heap` is the longest prefix of.
    pub(super) fn own_slots(&self, heap: u32) -> u64 {
        let longer = (1..=u32::from(STRIDE_BITS) - heap.ilog2()).flat_map(|level| {
            let row = (self.bits() >> (heap << level)) as u64 & (u64::MAX >> (64 - (1 << level)));
            ones(row).map(move |number| (heap << level) + number as u32)
        });
        longer.fold(covered(heap), |slots, longer| slots & !covered(longer))
    }

    /// Slots that no prefix of the node covers.
    pub(super) fn free_slots(&self) -> u64 {
        let [low, high] = self.bitmap;
        // The numbers from 64 on are the slots themselves.
        ones(low).fold(!high, |slots, heap| slots & !covered(heap as u32))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bitmap == [0, 0] && self.children == 0
    }
}

/// The exact routes.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    /// First the level above the roots, which has nothing but details.
    pub(super) details: Arena<Detail>,
    pub(super) values: Arena<u32>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { details: Arena::new(TOPS), values: Arena::new(0) }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.details.memory_bytes() + self.values.memory_bytes()
    }

    pub(super) fn set(&mut self, detail: u32, heap: u32, value: u32) -> Option<u32> {
        let mut node = self.details.items()[detail as usize];
        if node.has(heap) {
            return Some(std::mem::replace(self.values.item_mut(node.value(heap)), value));
        }
        let (position, length) = (node.rank(heap), node.prefixes());
        node.value_base = self.values.insert(node.value_base, length, position, value);
        node.toggle(heap);
        *self.details.item_mut(detail) = node;
        None
    }

    pub(super) fn remove(&mut self, detail: u32, heap: u32) -> Option<u32> {
        let mut node = self.details.items()[detail as usize];
        if !node.has(heap) {
            return None;
        }
        let old = self.values.items()[node.value(heap) as usize];
        let (position, length) = (node.rank(heap), node.prefixes());
        node.value_base = self.values.remove(node.value_base, length, position);
        node.toggle(heap);
        *self.details.item_mut(detail) = node;
        Some(old)
    }
}
