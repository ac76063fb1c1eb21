//! A tree of 64-way nodes with bitmaps, in one arena.
//!
//! # Layout
//!
//! The first 13 bits of an address index an array of root nodes; after that each node decides 6
//! bits. A node at depth `d` holds the prefixes of lengths `d` to `d + 5` that lie in it and
//! leads to the nodes at depth `d + 6`. It is two bitmaps and two numbers, 24 bytes:
//!
//! - `children`: bit `s` is set if the 6 bits `s` lead on. The children stand side by side in the
//!   arena from `child_base`, in the order of their bits, so the child of `s` is number
//!   popcount(`children` below `s`).
//! - `prefixes`: a prefix of the node that is `k` bits (`b`) longer than the node's own path is
//!   bit `2^k + b`: the numbering of a binary heap, as in Knuth's and Hariguchi's ART. The
//!   prefixes that contain an address are the heap's path to it, which is a constant of its 6
//!   bits ([`PATHS`]); the longest is the highest bit of `prefixes & path`. Their values stand side by
//!   side from `value_base`, found by popcount again.
//!
//! This is the tree bitmap of Eatherton, Varghese and Dittia (2004) with a path mask in place of its
//! internal search. Prefixes are not pushed to leaves, so an update touches one node, and
//! perhaps one run of siblings that moves to other room; a bulk change of one prefix never
//! rewrites a region.
//!
//! Root array: 13 bits put depths at 13, 19, 25 for IPv4 and 13 … 43, 49 for IPv6. A node then ends
//! with length 24, and one with length 48, where half and more of the Internet's routes are; a
//! root of 12 bits would begin a node with each of them, and make six in ten routes a node of their
//! own. Prefixes shorter than 13 bits would sit above the roots: they are a heap of their own
//! (`short`), and the best one of each place in it is written out in `short_best`. Changing the
//! default route rewrites all 16,384 of those; there are few such prefixes and they change rarely.
//!
//! # Lookup
//!
//! On the way down only the last node with a match is remembered; its value is fetched once, at the
//! end. In bulk, 16 addresses go down in lockstep without branches: an address that has reached
//! its end waits at the null node, which has no bits. The loads of a level do not depend on
//! each other, so the processor overlaps their misses.
//!
//! # Cost
//!
//! IPv4: one root (the array is 192 KiB), one node for lengths up to 24, one value. IPv6: six
//! nodes and a value for a /48. With a real table of 901,899 IPv4 and 160,147 IPv6 routes on one
//! core of an AMD EPYC at 2.6 GHz, other work running (`cargo bench -p linecard-tables`):
//!
//! | | IPv4 | IPv6 |
//! |---|---|---|
//! | bulk lookup, addresses drawn from all routes | 13 ns | 25 ns |
//! | bulk lookup, 1,000 addresses over and over | 8.5 ns | 21 ns |
//! | insert in random order | 0.1 µs | 0.1 µs |
//! | change of the default route | 8.5 µs | 8.5 µs |
//! | memory a route | 11.8 B | 26.8 B |
//!
//! # What was tried
//!
//! - Branches in place of `select_unpredictable`: with addresses that repeat, 6 and 18 ns; with those
//!   of all routes 15 and 43 ns. The worst case decides.
//! - Nodes aligned to 32 bytes: a fifth more memory and no faster. Groups of 8 or 32 lanes: no
//!   difference beyond the noise.
//! - Shifting each address as it goes down, and not from its start at each level: IPv6 in cache
//!   27 → 20 ns.
//! - Built for `x86-64-v3` (a popcount instruction): with branches 4.4 and 13 ns in cache. The
//!   baseline build counts bits in a dozen instructions; that, wider roots and prefetching are where
//!   more speed is.

use std::hint::select_unpredictable;
use std::marker::PhantomData;
use std::mem::size_of;

use super::arena::Arena;
use super::{Address, NO_ROUTE, Prefix};

/// Bits that index the root array.
pub(super) const ROOT_BITS: u8 = 13;
/// Bits that a node decides.
pub(super) const STRIDE_BITS: u8 = 6;
// No node begins where an address ends, so that each has bits to look at.
const _: () = assert!(!(32 - ROOT_BITS).is_multiple_of(STRIDE_BITS));
const _: () = assert!(!(128 - ROOT_BITS).is_multiple_of(STRIDE_BITS));
/// Root nodes; they are the first nodes of the arena.
pub(super) const ROOTS: usize = 1 << ROOT_BITS;
/// The node without bits, right behind the roots.
const NULL_NODE: u32 = ROOTS as u32;
/// Addresses that go down the tree together.
const LANES: usize = 16;
/// Nodes on the longest way down (IPv6): one root and the rest of the bits.
const DEPTH_MAX: usize = 1 + (128 - ROOT_BITS as usize).div_ceil(STRIDE_BITS as usize);

/// For 6 bits of an address, the heap numbers of the prefixes of 0 to 5 bits that contain them.
const PATHS: [u64; 64] = paths();

const fn paths() -> [u64; 64] {
    let mut paths = [0; 64];
    let mut slot = 0;
    while slot < 64 {
        let mut length = 0;
        while length < STRIDE_BITS {
            paths[slot] |= 1 << ((1 << length) | (slot >> (STRIDE_BITS - length)));
            length += 1;
        }
        slot += 1;
    }
    paths
}

/// One node of the tree.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Node {
    pub(super) children: u64,
    pub(super) prefixes: u64,
    child_base: u32,
    value_base: u32,
}

impl Node {
    /// The number of the child for these 6 bits, which must exist.
    #[inline]
    pub(super) fn child(&self, slot: usize) -> u32 {
        self.child_base + rank(self.children, slot as u32)
    }

    /// The number of the value of this prefix, which must exist.
    #[inline]
    pub(super) fn value(&self, heap: u32) -> u32 {
        self.value_base + rank(self.prefixes, heap)
    }

    fn is_empty(&self) -> bool {
        self.children == 0 && self.prefixes == 0
    }
}

/// Set bits below `bit`.
#[inline]
fn rank(bitmap: u64, bit: u32) -> u32 {
    (bitmap & ((1 << bit) - 1)).count_ones()
}

/// The highest set bit of a bitmap that is not empty.
#[inline]
fn highest(bitmap: u64) -> u32 {
    63 - bitmap.leading_zeros()
}

/// Where a prefix belongs: above the roots, or in the node at the end of a path of slots.
enum Place {
    Short(usize),
    Node { root: u32, depth: u8, heap: u32 },
}

/// The table.
#[derive(Debug, Clone)]
pub(super) struct Multibit<A> {
    pub(super) nodes: Arena<Node>,
    pub(super) values: Arena<u32>,
    /// Values of the prefixes shorter than the root index, in heap order; 0 for none.
    pub(super) short: Vec<u32>,
    /// The value of the longest short prefix that contains each number of the heap; the second
    /// half is the roots.
    short_best: Vec<u32>,
    len: usize,
    address: PhantomData<A>,
}

impl<A: Address> Default for Multibit<A> {
    fn default() -> Self {
        Self {
            nodes: Arena::new(ROOTS + 1),
            values: Arena::new(0),
            short: vec![NO_ROUTE; ROOTS],
            short_best: vec![NO_ROUTE; 2 * ROOTS],
            len: 0,
            address: PhantomData,
        }
    }
}

impl<A: Address> Multibit<A> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let above = (self.short.capacity() + self.short_best.capacity()) * size_of::<u32>();
        self.nodes.memory_bytes() + self.values.memory_bytes() + above
    }

    pub(super) fn lookup(&self, address: A) -> u32 {
        let mut value = [NO_ROUTE];
        self.lookup_lanes(&[address], &mut value);
        value[0]
    }

    pub(super) fn lookup_bulk(&self, addresses: &[A], values: &mut [u32]) {
        let (addresses, addresses_rest) = addresses.as_chunks::<LANES>();
        let (values, values_rest) = values.as_chunks_mut::<LANES>();
        for (addresses, values) in addresses.iter().zip(values) {
            self.lookup_lanes(addresses, values);
        }
        for (address, value) in addresses_rest.iter().zip(values_rest) {
            *value = self.lookup(*address);
        }
    }

    /// Takes `N` addresses down the tree in lockstep.
    #[inline]
    fn lookup_lanes<const N: usize>(&self, addresses: &[A; N], values: &mut [u32; N]) {
        let nodes = self.nodes.items();
        let mut node = addresses.map(|address| address.bits_at(0, ROOT_BITS) as u32);
        let mut matched_node = node;
        let mut matched = [0u64; N];
        // What is left of each address, the next bits in front.
        let mut rest = addresses.map(|address| address << ROOT_BITS);
        loop {
            let mut alive = 0;
            for lane in 0..N {
                let here = &nodes[node[lane] as usize];
                let slot = rest[lane].bits_at(0, STRIDE_BITS);
                rest[lane] = rest[lane] << STRIDE_BITS;
                let found = here.prefixes & PATHS[slot];
                let is_match = found != 0;
                matched_node[lane] = select_unpredictable(is_match, node[lane], matched_node[lane]);
                matched[lane] = select_unpredictable(is_match, found, matched[lane]);
                let leads_on = here.children >> slot & 1 != 0;
                node[lane] = select_unpredictable(leads_on, here.child(slot), NULL_NODE);
                alive |= node[lane] ^ NULL_NODE;
            }
            // The last nodes of an address have no children, so this comes at the end at the latest.
            if alive == 0 {
                break;
            }
        }
        for lane in 0..N {
            values[lane] = match matched[lane] {
                0 => self.short_best[ROOTS + addresses[lane].bits_at(0, ROOT_BITS)],
                found => {
                    let at = nodes[matched_node[lane] as usize].value(highest(found));
                    self.values.items()[at as usize]
                }
            };
        }
    }

    pub(super) fn get(&self, prefix: Prefix<A>) -> Option<u32> {
        match place(prefix) {
            Place::Short(heap) => (self.short[heap] != NO_ROUTE).then_some(self.short[heap]),
            Place::Node { root, depth, heap } => {
                let (path, _) = self.walk(prefix, root, depth)?;
                let node = &self.nodes.items()[path as usize];
                let value = || self.values.items()[node.value(heap) as usize];
                (node.prefixes >> heap & 1 != 0).then(value)
            }
        }
    }

    /// Goes from a root to the node at `depth` on the way of `prefix`; returns it and the nodes
    /// above it. `None` if the tree ends before.
    fn walk(&self, prefix: Prefix<A>, root: u32, depth: u8) -> Option<(u32, Path)> {
        let mut path = Path::default();
        let mut at = root;
        for level in (ROOT_BITS..depth).step_by(usize::from(STRIDE_BITS)) {
            let slot = prefix.bits().bits_at(level, STRIDE_BITS);
            let node = &self.nodes.items()[at as usize];
            if node.children >> slot & 1 == 0 {
                return None;
            }
            path.push(at, slot);
            at = node.child(slot);
        }
        Some((at, path))
    }

    pub(super) fn insert(&mut self, prefix: Prefix<A>, value: u32) -> Option<u32> {
        let old = match place(prefix) {
            Place::Short(heap) => self.set_short(heap, value),
            Place::Node { root, depth, heap } => {
                let at = self.walk_or_grow(prefix, root, depth);
                self.set_value(at, heap, value)
            }
        };
        self.len += usize::from(old.is_none());
        old
    }

    /// As [`Self::walk`], but adds the nodes that are missing.
    fn walk_or_grow(&mut self, prefix: Prefix<A>, root: u32, depth: u8) -> u32 {
        let mut at = root;
        for level in (ROOT_BITS..depth).step_by(usize::from(STRIDE_BITS)) {
            let slot = prefix.bits().bits_at(level, STRIDE_BITS);
            let mut node = self.nodes.items()[at as usize];
            if node.children >> slot & 1 == 0 {
                let position = rank(node.children, slot as u32) as usize;
                let length = node.children.count_ones() as usize;
                node.child_base =
                    self.nodes.insert(node.child_base, length, position, Node::default());
                node.children |= 1 << slot;
                *self.nodes.item_mut(at) = node;
            }
            at = node.child(slot);
        }
        at
    }

    fn set_value(&mut self, at: u32, heap: u32, value: u32) -> Option<u32> {
        let mut node = self.nodes.items()[at as usize];
        if node.prefixes >> heap & 1 != 0 {
            let value_at = self.values.item_mut(node.value(heap));
            return Some(std::mem::replace(value_at, value));
        }
        let position = rank(node.prefixes, heap) as usize;
        let length = node.prefixes.count_ones() as usize;
        node.value_base = self.values.insert(node.value_base, length, position, value);
        node.prefixes |= 1 << heap;
        *self.nodes.item_mut(at) = node;
        None
    }

    pub(super) fn remove(&mut self, prefix: Prefix<A>) -> Option<u32> {
        let old = match place(prefix) {
            Place::Short(heap) => self.set_short(heap, NO_ROUTE),
            Place::Node { root, depth, heap } => {
                let (at, path) = self.walk(prefix, root, depth)?;
                let old = self.remove_value(at, heap)?;
                self.prune(at, path);
                Some(old)
            }
        };
        self.len -= usize::from(old.is_some());
        old
    }

    fn remove_value(&mut self, at: u32, heap: u32) -> Option<u32> {
        let mut node = self.nodes.items()[at as usize];
        if node.prefixes >> heap & 1 == 0 {
            return None;
        }
        let old = self.values.items()[node.value(heap) as usize];
        let position = rank(node.prefixes, heap) as usize;
        let length = node.prefixes.count_ones() as usize;
        node.value_base = self.values.remove(node.value_base, length, position);
        node.prefixes &= !(1 << heap);
        *self.nodes.item_mut(at) = node;
        Some(old)
    }

    /// Removes the nodes that have become empty, from `at` upwards; roots stay.
    fn prune(&mut self, mut at: u32, mut path: Path) {
        while self.nodes.items()[at as usize].is_empty() {
            let Some((parent, slot)) = path.pop() else { return };
            let mut node = self.nodes.items()[parent as usize];
            let position = rank(node.children, slot as u32) as usize;
            let length = node.children.count_ones() as usize;
            node.child_base = self.nodes.remove(node.child_base, length, position);
            node.children &= !(1 << slot);
            *self.nodes.item_mut(parent) = node;
            at = parent;
        }
    }

    /// Sets the value of a short prefix and passes it down the heap, level by level.
    fn set_short(&mut self, heap: usize, value: u32) -> Option<u32> {
        let old = std::mem::replace(&mut self.short[heap], value);
        let length = heap.ilog2();
        for level in 0..=u32::from(ROOT_BITS) - length {
            for below in heap << level..(heap + 1) << level {
                // Above the default route, number 1, there is none: number 0 stays without value.
                let own = self.short.get(below).copied().unwrap_or(NO_ROUTE);
                self.short_best[below] =
                    if own == NO_ROUTE { self.short_best[below >> 1] } else { own };
            }
        }
        (old != NO_ROUTE).then_some(old)
    }
}

/// Where a prefix belongs.
fn place<A: Address>(prefix: Prefix<A>) -> Place {
    let length = prefix.length();
    if length < ROOT_BITS {
        let root = prefix.bits().bits_at(0, ROOT_BITS);
        return Place::Short((ROOTS + root) >> (ROOT_BITS - length));
    }
    let in_node = (length - ROOT_BITS) % STRIDE_BITS;
    let depth = length - in_node;
    let slot = prefix.bits().bits_at(depth, STRIDE_BITS);
    let heap = (64 + slot as u32) >> (STRIDE_BITS - in_node);
    Place::Node { root: prefix.bits().bits_at(0, ROOT_BITS) as u32, depth, heap }
}

/// The nodes above a node, with the slots taken; in fixed room.
#[derive(Default)]
struct Path {
    steps: [(u32, u8); DEPTH_MAX],
    len: usize,
}

impl Path {
    fn push(&mut self, at: u32, slot: usize) {
        self.steps[self.len] = (at, slot as u8);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<(u32, usize)> {
        self.len = self.len.checked_sub(1)?;
        let (at, slot) = self.steps[self.len];
        Some((at, usize::from(slot)))
    }
}
