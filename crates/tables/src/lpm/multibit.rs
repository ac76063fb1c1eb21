//! A tree of 64-way nodes whose leaves are what a lookup answers, kept once for each run of equal ones.
//!
//! # Layout
//!
//! The first 18 bits of an address index an array of root nodes; after that each node decides 6 bits,
//! its *slots*. A node is 16 bytes: a bitmap of the slots after which another leaf begins, and where in
//! one large array the leaves of its runs stand side by side. The leaf of slot `s` is number
//! popcount(bitmap below `s`). A leaf is a value, or the number of a node that decides 6 bits more.
//!
//! Prefixes are *pushed to the leaves*: a leaf holds the longest prefix that covers its slot, whichever
//! node that prefix came from. Two things keep that cheap to change:
//!
//! - Prefixes of up to 12 bits are not pushed. A leaf without a longer prefix is 0, and the answer is
//!   then in an array of 4,096 ([`Short`]). So a change of the default route writes 16 KiB at the
//!   most and not the whole tree.
//! - The exact routes are kept beside (`multibit_routes`), so that what covers a slot is known without
//!   a search, and a change repaints only the slots that the prefix is the longest of.
//!
//! Levels begin at 18, 24, 30, … so that a node ends with length 24, and one with length 48, where half
//! and more of the Internet's routes are.
//!
//! # Lookup
//!
//! IPv4: one node (the roots are 4 MiB), one leaf; a third and fourth load for the few prefixes longer
//! than 24. IPv6: five nodes and as many leaves for a /48. In bulk 256 addresses go down level by
//! level, and those that have their value leave (`multibit_lookup`). So the processor overlaps their misses.
//! The whole is a [`Kernel`], compiled for the instructions that are there: a bit count is one of
//! them, or a dozen in the portable set.
//!
//! # Cost
//!
//! Cycles of a 2.6 GHz time stamp counter, median of 9 rounds on one core of an AMD EPYC (Zen 5), a virtual
//! machine shared with others; 901,899 IPv4 and 160,147 IPv6 routes of the Internet, each with a value of
//! its own; batches of 8, 32 and 256 (`cargo bench -p linecard-tables -- lpm prefixes.txt`).
//!
//! | lookup | IPv4 | IPv6 |
//! |---|---|---|
//! | addresses drawn from all routes | 14, 5.9, 6.1 | 46, 27, 29 |
//! | any address | 23, 6.0, 5.8 | 18, 7.4, 8.5 |
//! | 1,000 addresses over and over | 9.2, 4.9, 5.7 | 33, 26, 29 |
//! | drawn from all, 2,048 lines of packets written before the batch | 85, 57, 16 | 424, 140, 39 |
//! | the same, three groups of 32 in lockstep (e85c23a^) | 78, 51, 21 | 423, 163, 87 |
//! | drawn from all, every cache emptied before the batch | 276, 207, 77 | 1,073, 334, 93 |
//! | the same, three groups of 32 in lockstep (e85c23a^) | 299, 250, 103 | 1,362, 583, 253 |
//!
//! What is marked e85c23a^ was here before that commit: the command gives it with this file as it was then (the
//! row with packets between is newer than the file).
//!
//! Where routes come in no order, adding one is 1,313 to 1,594 cycles and deleting one 1,345 to 2,144: the
//! range over both families, of the Internet and generated (docs/performance.md, beside DPDK's tables). A
//! change of the default route is 12,000, for all short prefixes are below it. 18.9 and 64.4 bytes a route,
//! 4 MiB of them for the roots.
//!
//! # What was compared
//!
//! Prototypes side by side, in the same bulk of 256, with 16 lanes, one group at a time, and the same
//! prefetching and instructions; cycles a lookup, the range over several runs; 1,000,000 generated IPv4
//! routes, then 160,147 real IPv6 ones. Addresses within the routes, and any address.
//!
//! | | IPv4 memory | within | any | IPv6 memory | within | any |
//! |---|---|---|---|---|---|---|
//! | tree bitmap, 13-bit root, portable (what was here) | 12 MB | 55 | 37–55 | 4.3 MB | 74–90 | 14 |
//! | DIR-24-8, 32-bit values | 67 MB | 11 | 18 | – | – | – |
//! | DIR-24-8, 16-bit values | 34 MB | 4.5–6.8 | 16 | – | – | – |
//! | Poptrie, 18-bit direct index | 8.1 MB | 8.4–10 | 12–17 | 3.8 MB | 32–34 | 10 |
//! | this tree, without what updates need | 9.8 MB | 5.1–5.4 | 5.5–8 | 3.6 MB | 31 | 8 |
//! | the same, portable instructions | | 7.1 | 11–15 | | 44 | 8 |
//! | the same, nodes of 24 bytes with a bitmap of children | 12 MB | 6.7 | 10–20 | | | |
//! | PlanB's B+-tree over ranges, static, 8 keys a node | – | – | – | 2.9 MB | 22 | 20 |
//!
//! - **DIR-24-8** reads once, but from a table that fits in no cache, and for 16-bit values only half
//!   of it; its worst case is this tree's typical one several times over, and two published copies of it
//!   would take 128 MiB. (SAIL is the same trade with more levels.)
//! - **Poptrie** is closest. Its direct index is one load more for the most frequent case, and its
//!   second bitmap and base (24 bytes a node) make a quarter of the nodes straddle two lines. Without
//!   them a child costs one load more, of a leaf; with the loads overlapped that is no slower, also
//!   where IPv6 goes through five levels.
//! - **PlanB** compares 64-bit keys instead of counting bits, and wins by a quarter in IPv6 within the
//!   routes. It is built at once: a change in the middle moves what is behind it, and a short prefix
//!   changes as many ranges as it has longer ones. CRAM's BSIC is a hash on the first bits with a
//!   binary search behind, so it has the same difficulty, and more steps.
//! - An IPv6 root of 24 bits saves 4 of 30 cycles and costs 64 MiB; a root of 12 bits costs 7 more.
//! - Lanes: between two batches a worker's packets take the caches, and then the number of loads under way
//!   decides. Three groups of 32, each in lockstep down to its last address (e85c23a^), took 71 to 100 cycles in
//!   IPv6 where 256 level by level take 39 to 46; in the cache the two are equal, for as many instructions are
//!   spared by addresses that leave as are spent on it. With 8 addresses lockstep is better by a fifth, since
//!   loops that end when the tree says so are guessed wrong. IPv4 in batches of 32 lost a tenth behind packets
//!   (57 for 51) and won a sixth with every cache empty (207 for 250).
//! - Leaves right behind their node, in the same line, in place of a run of their own: 322 to 430 instead of 450 to
//!   520 cycles for 8 IPv6 addresses, 125 to 145 for 148 to 158 with 32, nothing with 256 (45 to 49 for 45 to 53):
//!   a route is most likely in a node that has many, whose leaves go on in further lines. Nodes move then
//!   when their leaves change. With nodes of half lines out of whole ones (no flat array) it lost
//!   a third in the cache to instructions alone.
//! - One pass a level, which reads a node, its leaf, and who goes on: 200 cycles with empty caches where two passes
//!   take 100 to 120. The place of a store that depends on a missing load holds up the loads behind it.
//! - Huge pages (2 MiB, [`crate::memory::advise_huge_pages`]) save lookups little, for what they read of one
//!   copy is within reach of the second-level TLB; updates go over both copies and more, and were a
//!   quarter faster with them. Mappings of their own that begin with a huge page, so that no part
//!   stays small, gave nothing more: 0.33 to 0.36 s to load for 0.33 to 0.38, lookups the same.
//! - Gathers and vector bit counts are the compiler's choice here: what it makes of the same source for
//!   x86-64-v4 is as fast as x86-64-v3, within the noise.
//!
//! # What was tried before
//!
//! Branches in place of `select_unpredictable` are faster for addresses that repeat and half as fast for
//! those that do not. The worst case decides.

use std::marker::PhantomData;
use std::mem::size_of;

use super::arena::Arena;
use super::multibit_lookup::Lookup;
use super::multibit_routes::Routes;
use super::{Address, NO_ROUTE};
use crate::memory::Kernel;

/// Bits of an address that [`Short`] decides; the prefixes of so many bits and fewer are its own.
pub(super) const SHORT_BITS: u8 = 12;
/// Bits that a node decides.
pub(super) const STRIDE_BITS: u8 = 6;
/// Bits that index the root nodes; between the two lies one level that is kept for updates only.
pub(super) const ROOT_BITS: u8 = SHORT_BITS + STRIDE_BITS;
/// Slots of a node.
pub(super) const SLOTS: usize = 1 << STRIDE_BITS;
/// Root nodes; they are the first nodes of the arena.
pub(super) const ROOTS: usize = 1 << ROOT_BITS;
/// Nodes of the level above the roots.
pub(super) const TOPS: usize = 1 << SHORT_BITS;
/// Set in a leaf that is the number of a node and not a value.
pub(super) const IS_NODE: u32 = 1 << 31;
const _: () = assert!(super::VALUE_MAX == IS_NODE - 1);

/// One node: what a lookup reads of 64 slots.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(16))]
pub(super) struct Node {
    /// Bit `s` is set if slot `s + 1` has another leaf than slot `s`: the runs' ends.
    pub(super) runs: u64,
    /// The leaf of the first run; those of the others follow. 0 is the leaf of all empty nodes.
    pub(super) leaf_base: u32,
    /// The node's [`Detail`](super::multibit_routes::Detail), which lookups do not read; 0 for none.
    pub(super) detail: u32,
}

impl Node {
    /// The number of the leaf of these 6 bits.
    #[inline(always)]
    pub(super) fn leaf(&self, slot: usize) -> u32 {
        self.leaf_base + (self.runs & ((1u64 << slot) - 1)).count_ones()
    }
}

/// The table.
#[derive(Debug, Clone)]
pub(super) struct Multibit<A> {
    /// No nodes at all until the first route: an empty table costs next to nothing.
    pub(super) nodes: Arena<Node>,
    pub(super) leaves: Arena<u32>,
    pub(super) routes: Routes,
    pub(super) short: Short,
    pub(super) len: usize,
    address: PhantomData<A>,
}

/// The prefixes above the levels of nodes, as a binary heap: a prefix of `k` bits (`b`) is number
/// `2^k + b`, so that its halves are twice that number and the next.
#[derive(Debug, Clone)]
pub(super) struct Short {
    /// The value of each prefix; 0 for none.
    pub(super) values: Vec<u32>,
    /// The value of the longest prefix that contains each; the second half is for lookups.
    best: Vec<u32>,
}

impl Short {
    fn new() -> Self {
        Self { values: vec![NO_ROUTE; 2 * TOPS], best: vec![NO_ROUTE; 2 * TOPS] }
    }

    /// Sets the value of a prefix, passes it down the heap, level by level, and returns the old one.
    pub(super) fn set(&mut self, heap: usize, value: u32) -> Option<u32> {
        let old = std::mem::replace(&mut self.values[heap], value);
        for level in 0..=u32::from(SHORT_BITS) - heap.ilog2() {
            for below in heap << level..(heap + 1) << level {
                // Above the default route, number 1, there is none: number 0 stays without value.
                let own = self.values[below];
                self.best[below] = if own == NO_ROUTE { self.best[below >> 1] } else { own };
            }
        }
        (old != NO_ROUTE).then_some(old)
    }

    fn memory_bytes(&self) -> usize {
        (self.values.capacity() + self.best.capacity()) * size_of::<u32>()
    }
}

impl<A: Address> Default for Multibit<A> {
    fn default() -> Self {
        Self {
            nodes: Arena::new(0),
            leaves: Arena::new(1),
            routes: Routes::new(),
            short: Short::new(),
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
        let read = self.nodes.memory_bytes() + self.leaves.memory_bytes();
        read + self.routes.memory_bytes() + self.short.memory_bytes()
    }

    /// The lookup of each address into the value at the same place, as a kernel.
    #[inline]
    pub(super) fn bulk<'a>(&'a self, addresses: &'a [A], values: &'a mut [u32]) -> impl Kernel {
        let (nodes, leaves) = (self.nodes.items(), self.leaves.items());
        Lookup { nodes, leaves, short: &self.short.best[TOPS..], addresses, values }
    }
}
