//! Changes of a [`Multibit`].
//!
//! A change of a route repaints the slots that it is the longest prefix of: those that it covers,
//! without those that a longer prefix of the same node covers. Where such a slot leads to a node, the
//! change goes on to the slots of that node which none of its prefixes covers.

use super::arena::Arena;
use super::multibit::{
    IS_NODE, Multibit, Node, ROOT_BITS, ROOTS, SHORT_BITS, SLOTS, STRIDE_BITS, TOPS,
};
use super::multibit_routes::{Detail, ones};
use super::{Address, NO_ROUTE, Prefix};
use crate::memory::prefetch_index;

/// Levels of nodes on the longest way down (IPv6), the one above the roots included.
const DEPTH_MAX: usize = (128 - SHORT_BITS as usize).div_ceil(STRIDE_BITS as usize);

/// Where a prefix belongs: into the heap of short ones, or into the node at a depth.
enum Place {
    Short(usize),
    Node { depth: u8, heap: u32 },
}

impl Place {
    fn of<A: Address>(prefix: Prefix<A>) -> Self {
        let length = prefix.length();
        if length <= SHORT_BITS {
            let top = TOPS + prefix.bits().bits_at(0, SHORT_BITS);
            return Self::Short(top >> (SHORT_BITS - length));
        }
        // A node at depth `d` has the lengths `d + 1` to `d + 6`.
        let depth = length - 1 - (length - 1 - SHORT_BITS) % STRIDE_BITS;
        let slot = prefix.bits().bits_at(depth, STRIDE_BITS);
        Self::Node { depth, heap: (SLOTS + slot) as u32 >> (STRIDE_BITS - (length - depth)) }
    }
}

/// A place in the tree: a number above the roots, or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Top(u32),
    Node(u32),
}

/// The way down to a node: each place above it with the slot taken, in fixed room.
struct Path {
    steps: [(At, u8); DEPTH_MAX],
    len: usize,
}

impl Path {
    fn push(&mut self, at: At, slot: usize) {
        self.steps[self.len] = (at, slot as u8);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<(At, usize)> {
        self.len = self.len.checked_sub(1)?;
        let (at, slot) = self.steps[self.len];
        Some((at, usize::from(slot)))
    }
}

impl<A: Address> Multibit<A> {
    pub(super) fn get(&self, prefix: Prefix<A>) -> Option<u32> {
        if self.nodes.items().is_empty() {
            return None;
        }
        match Place::of(prefix) {
            Place::Short(heap) => Some(self.short.values[heap]).filter(|value| *value != NO_ROUTE),
            Place::Node { depth, heap } => self.value_of(self.walk(prefix, depth)?.0, heap),
        }
    }

    /// Prefetches for a change of a prefix: at step 0 its root, and at each further step what hangs on the
    /// node that the one before has asked for.
    pub(super) fn prepare(&self, prefix: Prefix<A>, step: usize) {
        let (nodes, leaves) = (self.nodes.items(), self.leaves.items());
        let Place::Node { depth, .. } = Place::of(prefix) else { return };
        let mut at = prefix.bits().bits_at(0, ROOT_BITS);
        if step == 0 {
            return prefetch_index(nodes, at);
        }
        let mut level = ROOT_BITS;
        for _ in 1..step {
            let Some(node) = nodes.get(at).filter(|_| level < depth) else { break };
            match leaves[node.leaf(prefix.bits().bits_at(level, STRIDE_BITS)) as usize] {
                leaf if leaf & IS_NODE != 0 => at = (leaf & !IS_NODE) as usize,
                _ => break,
            }
            level += STRIDE_BITS;
        }
        let Some(node) = nodes.get(at) else { return };
        prefetch_index(leaves, node.leaf_base as usize);
        let details = self.routes.details.items();
        if step == 1 || level < depth {
            prefetch_index(details, node.detail as usize);
        } else if let Some(detail) = details.get(node.detail as usize) {
            prefetch_index(self.routes.values.items(), detail.value_base as usize);
        }
    }

    /// The value of a prefix of this node.
    pub(super) fn value_of(&self, at: At, heap: u32) -> Option<u32> {
        let detail = self.detail(at);
        detail.has(heap).then(|| self.routes.values.items()[detail.value(heap) as usize])
    }

    fn detail_number(&self, at: At) -> Option<u32> {
        match at {
            At::Top(number) => Some(number),
            At::Node(node) => {
                Some(self.nodes.items()[node as usize].detail).filter(|detail| *detail != 0)
            }
        }
    }

    /// The prefixes of a node; the roots may have none.
    pub(super) fn detail(&self, at: At) -> Detail {
        let number = self.detail_number(at);
        number.map_or_else(Detail::default, |detail| self.routes.details.items()[detail as usize])
    }

    /// The node that a slot leads to.
    pub(super) fn child(&self, at: At, slot: usize) -> Option<At> {
        match at {
            At::Top(number) => Some(At::Node(number * SLOTS as u32 + slot as u32)),
            At::Node(node) => {
                let leaf_at = self.nodes.items()[node as usize].leaf(slot);
                let leaf = self.leaves.items()[leaf_at as usize];
                (leaf & IS_NODE != 0).then_some(At::Node(leaf & !IS_NODE))
            }
        }
    }

    /// Goes down to the node at `depth` on the way of `prefix`. `None` if the tree ends before.
    fn walk(&self, prefix: Prefix<A>, depth: u8) -> Option<(At, Path)> {
        let mut at = At::Top(prefix.bits().bits_at(0, SHORT_BITS) as u32);
        let mut path = Path { steps: [(at, 0); DEPTH_MAX], len: 0 };
        for level in (SHORT_BITS..depth).step_by(usize::from(STRIDE_BITS)) {
            let slot = prefix.bits().bits_at(level, STRIDE_BITS);
            path.push(at, slot);
            at = self.child(at, slot)?;
        }
        Some((at, path))
    }

    /// As [`Self::walk`], but adds the nodes that are missing.
    fn walk_or_grow(&mut self, prefix: Prefix<A>, depth: u8) -> At {
        let mut at = At::Top(prefix.bits().bits_at(0, SHORT_BITS) as u32);
        for level in (SHORT_BITS..depth).step_by(usize::from(STRIDE_BITS)) {
            let slot = prefix.bits().bits_at(level, STRIDE_BITS);
            at = self.child(at, slot).unwrap_or_else(|| self.grow(at, slot));
        }
        at
    }

    /// Adds a node below a slot, with the slot's value everywhere.
    fn grow(&mut self, at: At, slot: usize) -> At {
        let At::Node(parent) = at else { unreachable!("all roots are there from the start") };
        let leaf_at = self.nodes.items()[parent as usize].leaf(slot);
        let value = self.leaves.items()[leaf_at as usize];
        let child = self.nodes.replace(0, 0, &[Node::default()]);
        self.write_leaves(child, &[value; SLOTS]);
        self.set_leaf(parent, slot, child | IS_NODE);
        let detail = self.detail_or_new(at);
        self.routes.details.item_mut(detail).children += 1;
        At::Node(child)
    }

    fn detail_or_new(&mut self, at: At) -> u32 {
        match (self.detail_number(at), at) {
            (Some(number), _) => number,
            (None, At::Top(number)) => number,
            (None, At::Node(node)) => {
                let detail = self.routes.details.replace(0, 0, &[Detail::default()]);
                self.nodes.item_mut(node).detail = detail;
                detail
            }
        }
    }

    pub(super) fn insert(&mut self, prefix: Prefix<A>, value: u32) -> Option<u32> {
        if self.nodes.items().is_empty() {
            self.nodes = Arena::new(ROOTS);
        }
        let old = match Place::of(prefix) {
            Place::Short(heap) => self.short.set(heap, value),
            Place::Node { depth, heap } => {
                let at = self.walk_or_grow(prefix, depth);
                let detail = self.detail_or_new(at);
                let old = self.routes.set(detail, heap, value);
                if old != Some(value) {
                    let slots = self.routes.details.items()[detail as usize].own_slots(heap);
                    self.paint(at, slots, value);
                }
                old
            }
        };
        self.len += usize::from(old.is_none());
        old
    }

    pub(super) fn remove(&mut self, prefix: Prefix<A>) -> Option<u32> {
        if self.nodes.items().is_empty() {
            return None;
        }
        let old = match Place::of(prefix) {
            Place::Short(heap) => self.short.set(heap, NO_ROUTE),
            Place::Node { depth, heap } => {
                let (at, path) = self.walk(prefix, depth)?;
                let detail = self.detail_number(at)?;
                let old = self.routes.remove(detail, heap)?;
                let shorter = self.shorter(at, heap, &path);
                let slots = self.routes.details.items()[detail as usize].own_slots(heap);
                self.paint(at, slots, shorter);
                self.prune(at, path);
                Some(old)
            }
        };
        self.len -= usize::from(old.is_some());
        old
    }

    /// The value of the longest prefix that contains prefix `heap` of a node, not counting the short
    /// ones.
    fn shorter(&self, at: At, heap: u32, path: &Path) -> u32 {
        let above = path.steps[..path.len].iter().rev();
        let mut places = std::iter::once((at, heap))
            .chain(above.map(|(at, slot)| (*at, (SLOTS + usize::from(*slot)) as u32)));
        let found = places.find_map(|(place, heap)| {
            let detail = self.detail(place);
            let is_own = place != at && detail.has(heap);
            let shorter = if is_own { Some(heap) } else { detail.above(heap) };
            shorter.map(|heap| detail.value(heap))
        });
        found.map_or(NO_ROUTE, |value| self.routes.values.items()[value as usize])
    }

    /// Removes the nodes that have become empty, from `at` upwards; roots stay.
    fn prune(&mut self, mut at: At, mut path: Path) {
        while let At::Node(node) = at {
            let Some(detail) = self.detail_number(at) else { return };
            if !self.routes.details.items()[detail as usize].is_empty() {
                return;
            }
            self.routes.details.replace(detail, 1, &[]);
            self.nodes.item_mut(node).detail = 0;
            let Some((At::Node(parent), slot)) = path.pop() else { return };
            // An empty node has the value from above in all slots.
            let value = self.leaves.items()[self.nodes.items()[node as usize].leaf(0) as usize];
            self.write_leaves(node, &[NO_ROUTE; SLOTS]);
            self.nodes.replace(node, 1, &[]);
            self.set_leaf(parent, slot, value);
            at = At::Node(parent);
            let detail = self.detail_or_new(at);
            self.routes.details.item_mut(detail).children -= 1;
        }
    }

    /// Gives `slots` of a node a value, and below those that lead on, the slots without a longer prefix.
    fn paint(&mut self, at: At, slots: u64, value: u32) {
        let node = match at {
            At::Top(number) => {
                for slot in ones(slots) {
                    self.paint_free(number * SLOTS as u32 + slot as u32, value);
                }
                return;
            }
            At::Node(node) => node,
        };
        let mut leaves = self.read_leaves(node);
        for slot in ones(slots) {
            match leaves[slot] {
                child if child & IS_NODE != 0 => self.paint_free(child & !IS_NODE, value),
                _ => leaves[slot] = value,
            }
        }
        self.write_leaves(node, &leaves);
    }

    fn paint_free(&mut self, node: u32, value: u32) {
        let at = At::Node(node);
        self.paint(at, self.detail(at).free_slots(), value);
    }

    fn set_leaf(&mut self, node: u32, slot: usize, leaf: u32) {
        let mut leaves = self.read_leaves(node);
        leaves[slot] = leaf;
        self.write_leaves(node, &leaves);
    }

    /// The leaf of each slot.
    fn read_leaves(&self, node: u32) -> [u32; SLOTS] {
        let node = &self.nodes.items()[node as usize];
        let mut leaves = [NO_ROUTE; SLOTS];
        let run_leaves = &self.leaves.items()[node.leaf_base as usize..];
        let mut start = 0;
        for (run_end, leaf) in ones(node.runs).map(|last| last + 1).chain([SLOTS]).zip(run_leaves) {
            leaves[start..run_end].fill(*leaf);
            start = run_end;
        }
        leaves
    }

    fn write_leaves(&mut self, node: u32, leaves: &[u32; SLOTS]) {
        let mut runs = 0;
        for (slot, [leaf, next]) in leaves.array_windows().enumerate() {
            runs |= u64::from(leaf != next) << slot;
        }
        let mut run_leaves = [leaves[0]; SLOTS];
        for (leaf, last) in run_leaves[1..].iter_mut().zip(ones(runs)) {
            *leaf = leaves[last + 1];
        }
        let old = self.nodes.items()[node as usize];
        // The leaf of empty nodes, number 0, is nobody's own.
        let old_length = if old.leaf_base == 0 { 0 } else { 1 + old.runs.count_ones() as usize };
        let is_empty = runs == 0 && leaves[0] == NO_ROUTE;
        let length = if is_empty { 0 } else { 1 + runs.count_ones() as usize };
        let leaf_base = self.leaves.replace(old.leaf_base, old_length, &run_leaves[..length]);
        let node = self.nodes.item_mut(node);
        (node.runs, node.leaf_base) = (runs, leaf_base);
    }
}

/// The roots begin where the level above them ends.
const _: () = assert!(TOPS * SLOTS == ROOTS && ROOT_BITS == SHORT_BITS + STRIDE_BITS);
