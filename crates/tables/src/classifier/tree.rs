//! Cutting trees whose leaves are blocks of 16 entries that are compared at once.
//!
//! # Layout
//!
//! A key is words of 32 bits: one of each IPv4 address or four of each IPv6 address, the ports, and `kind` with
//! `marks`. A node is a *cut*: up to 12 neighbouring bits of one word, and a [`Link`] for each value that they
//! can have. The link says all that the next step needs, so that a step is one load. An entry that does not
//! ask for the bits of a cut belongs to each of its ways. Which cut is best is tried out (`cut`): on up to 512
//! of the node's entries, each word, position and width, by how many entries a key is left with and how
//! many copies that takes.
//!
//! A leaf is a [`Block`] of 16 entries by order, a column a field: seven cache lines of fields and one of what
//! goes with them. Comparing all 16 is some 40 instructions with 512-bit vectors, and as many for one as
//! for 16; so small ways of a node share a leaf, which makes a table of 10,000 rules 2 MiB. What no cut tells
//! apart stands in a chain of blocks.
//!
//! One tree for all would copy entries with a wide prefix to half of its leaves. So there are three
//! ([`TREES`]): of entries with a narrow destination; of the others with a narrow source; and of the rest. A tree, and
//! a leaf, is passed over by keys that have a match from before its first order. In lists that go from
//! the specific to the general, as the generated ones do, 7 to 9 keys in 10 pass over the third tree. Orders
//! that mix them cost up to two more comparisons.
//!
//! # Lookup
//!
//! Up to 256 keys at a time, level by level: each pass goes over the keys that are not at a leaf yet, and keeps
//! them in a list without a branch a key. So the processor has the misses of many keys under way
//! and mispredicts once a pass. The comparison makes a bit an entry that matches; the lowest bit is
//! the answer of this leaf. Of IPv6 addresses a leaf compares two words, those that tell its entries apart
//! best (`telling`); the whole addresses are compared once, for the entry that came out first. Where they
//! differ (3 to 23 in 1,000 keys), and for conditional entries whose condition does not hold, the key is looked up
//! again by itself, entry by entry.
//!
//! # Changes
//!
//! An entry is put into, or taken out of, the leaves that it belongs to. A leaf that overflows is cut. The
//! upper cuts stay until the table has doubled or halved since it was last built, when it is built anew.
//!
//! # Cost
//!
//! Cycles of a 2.6 GHz time stamp counter, median of 9 rounds on one core of an AMD EPYC (Zen 5), a virtual
//! machine shared with others; batches of 256, 131,072 packets, of which nine in ten lie within a rule and meet
//! others; no cache of flows (`cargo bench -p linecard-tables -- classifier`). A change is one removal or one
//! insertion, the median and the most of 400. Each figure is the median of three runs, whose cycles were within
//! 9 % of each other, those of 100,000 rules within 30 %.
//!
//! | rules | IPv4 | memory | build | a change | IPv6 | memory | build | a change |
//! |---|---|---|---|---|---|---|---|---|
//! | acl 1,000 | 26 | 0.1 MiB | 1 ms | 1, 8 µs | 41 | 0.3 MiB | 4 ms | 4, 64 µs |
//! | acl 10,000 | 34 | 2.1 MiB | 15 ms | 2, 70 µs | 51 | 3.9 MiB | 29 ms | 6, 34 µs |
//! | acl 100,000 | 49 | 25 MiB | 149 ms | 3, 392 µs | 130 | 40 MiB | 322 ms | 6, 4,330 µs |
//! | fw 1,000 | 38 | 0.1 MiB | 1 ms | 1, 6 µs | 53 | 0.2 MiB | 3 ms | 3, 31 µs |
//! | fw 10,000 | 54 | 2.1 MiB | 20 ms | 2, 176 µs | 83 | 3.9 MiB | 46 ms | 5, 300 µs |
//! | fw 100,000 | 155 | 25 MiB | 250 ms | 3, 1,424 µs | 255 | 40 MiB | 670 ms | 7, 5,328 µs |
//! | ipc 1,000 | 32 | 0.1 MiB | 1 ms | 1, 6 µs | 46 | 0.2 MiB | 3 ms | 4, 46 µs |
//! | ipc 10,000 | 45 | 2.1 MiB | 15 ms | 2, 55 µs | 69 | 3.9 MiB | 44 ms | 6, 119 µs |
//! | ipc 100,000 | 76 | 25 MiB | 188 ms | 3, 482 µs | 228 | 40 MiB | 531 ms | 6, 1,098 µs |
//!
//! With x86-64-v3 10,000 rules are 45, 70 and 58 (IPv4), with portable instructions 127, 258 and 192: without
//! vectors a comparison is 16. Beside DPDK's ACL library with its widest vectors, on the same IPv4 files in one run
//! (`cargo xtask compare acl`): 28, 41 and 35 for 1,000 rules (DPDK 49, 57 and 44) and 37, 59 and 49 for 10,000
//! (DPDK 58, 418 and 353), with 2.1 MiB against 151 to 388.
//!
//! # What was compared
//!
//! Prototypes on the same IPv4 rules and packets, answers checked; cycles a packet, the trees as they were then.
//!
//! | | acl 1,000 | fw | ipc | acl 10,000 | fw | ipc |
//! |---|---|---|---|---|---|---|
//! | these trees, by the longer prefix | 46 | 60 | 58 | 64 | 80 | 75 |
//! | bit vectors: a class a field, a summary bit for 512 entries | 89 | 103 | 110 | 142 | 217 | 199 |
//! | tuple space: lengths rounded down to 0, 16, 24, 32, and exact ports | 130 | 298 | 340 | 192 | 510 | 464 |
//! | linear, from a sorted map | 1,933 | 2,090 | 1,960 | – | – | – |
//!
//! - **Bit vectors** need no search and cost the same wherever the match is, but read six vectors for each block
//!   of entries that the summaries leave, and take 2 MiB for 1,000 and 7 to 11 MiB for 10,000; a new prefix is a
//!   new vector. For IPv6 come two longest-prefix matches of up to 30 each (`lpm::multibit`).
//! - **Tuple space** (after TupleMerge) has 19 to 32 tables, each a hash and a miss; lists behind one hash
//!   are up to 108 long. One change is cheap. It was looked up key by key.
//! - **An entry in the tree of its longer prefix**, not of its destination first, leaves both trees to be compared
//!   for most keys: no slower for fw, 13 to 34 % for acl and ipc in IPv4, half as much again with 10,000 rules
//!   in IPv6.
//! - **A leaf for each way** instead of shared leaves: acl with 10,000 rules has 13,217 blocks and not 3,665.
//! - **Whole IPv6 addresses compared in every leaf** for its first match, in place of once for the best: 85 in place
//!   of 63 for fw 1,000, 116 for 101 with 10,000, 6 to 17 more for acl and ipc with 10,000; 7 less for ipc 1,000 only.
//! - **One word of the source and one of the destination**, the one with the most values each, in place of any two:
//!   66 (65 to 69) for ipc 1,000 instead of 46 (46 to 47), three runs each, alternating; the others the same or a
//!   little less. Entries that ask nothing of either word match every key there, and two leaves of them sent 7 keys in
//!   100 through the trees by themselves, at some 300 cycles each. A change took 2 to 5 µs, not 3 to 7, for choosing
//!   costs about 1 µs a leaf; building is the same within 8 %.
//! - **Words that also tell keys apart that have one address of an entry**, the other being random: by the weight of these
//!   9 to 23 such keys in 1,000 for acl and 6 to 18 for ipc, instead of 3 to 10 and 6 to 7; for fw the same.
//! - Groups of 128 keys cost up to an eighth more than 256; port columns of 32 bits up to 2 cycles more than of 16.

use std::mem::size_of;

use super::Entry;
use super::cut::Cut;
use crate::lpm::Address;

/// Entries that are compared at once.
pub(super) const LANES: usize = 16;
/// Trees.
pub(super) const TREES: usize = 3;
/// The slot that no entry has: its order is after all others, its value is [`super::NO_MATCH`].
pub(super) const NO_SLOT: u32 = 0;
/// In the slots of a block: the entry is conditional.
pub(super) const CONDITIONAL: u32 = 1 << 31;

/// Where a way leads: to a node, which is a cut and the links of its ways, or to a leaf, the first of
/// its blocks.
///
/// Bits 0 to 31: the first link of the node, or the block. 32 to 47: the cut's mask, 0 for a leaf. 48 to
/// 52 the shift of the cut, 56 to 59 its word; for a leaf the two words of addresses that its
/// blocks compare. 63: the leaf has more than one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Link(pub(super) u64);

impl Link {
    /// The leaf without entries.
    pub(super) const EMPTY: Self = Self::leaf(0, [0, 4], false);

    pub(super) const fn node(base: u32, cut: Cut) -> Self {
        let mask = (1u64 << cut.bits) - 1;
        Self(base as u64 | mask << 32 | (cut.shift as u64) << 48 | (cut.word as u64) << 56)
    }

    pub(super) const fn leaf(block: u32, words: [u8; 2], is_chained: bool) -> Self {
        let [first, second] = words;
        let words = (first as u64) << 48 | (second as u64) << 56;
        Self(block as u64 | words | (is_chained as u64) << 63)
    }

    #[inline(always)]
    pub(super) fn base(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(super) fn way_mask(self) -> u32 {
        (self.0 >> 32) as u32 & 0xffff
    }

    #[inline(always)]
    pub(super) fn is_node(self) -> bool {
        self.way_mask() != 0
    }

    #[inline(always)]
    pub(super) fn is_chained(self) -> bool {
        self.0 >> 63 != 0
    }

    /// The same leaf from another of its blocks on.
    #[inline(always)]
    pub(super) fn with_block(self, block: u32) -> Self {
        Self(self.0 >> 32 << 32 | u64::from(block))
    }

    #[inline(always)]
    pub(super) fn shift(self) -> u32 {
        (self.0 >> 48) as u32 & 31
    }

    #[inline(always)]
    pub(super) fn word(self) -> usize {
        (self.0 >> 56) as usize & 15
    }

    /// The words that a leaf compares.
    #[inline(always)]
    pub(super) fn leaf_words(self) -> [usize; 2] {
        [self.shift() as usize & 15, self.word()]
    }

    /// The cut of a node.
    pub(super) fn cut(self) -> Cut {
        let bits = self.way_mask().count_ones() as u8;
        Cut { word: self.word() as u8, shift: self.shift() as u8, bits }
    }
}

/// Up to 16 entries by order, a column a field: eight cache lines. A lane without an entry asks for a
/// bit outside its mask, so that no key matches.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block {
    /// The words of addresses that are compared: source and destination of IPv4, any two of IPv6.
    pub(super) first: [u32; LANES],
    pub(super) second: [u32; LANES],
    pub(super) kind: [u32; LANES],
    pub(super) kind_mask: [u32; LANES],
    pub(super) source_port: [u16; LANES],
    /// How many ports follow the first.
    pub(super) source_ports_more: [u16; LANES],
    pub(super) destination_port: [u16; LANES],
    pub(super) destination_ports_more: [u16; LANES],
    /// With [`CONDITIONAL`].
    pub(super) slots: [u32; LANES],
    /// How many low bits of the first word do not count.
    pub(super) first_free: [u8; LANES],
    pub(super) second_free: [u8; LANES],
    /// The order of the first entry.
    pub(super) first_order: u32,
    /// The next block of the leaf; 0 for none.
    pub(super) next: u32,
}

const _: () = assert!(size_of::<Block>() == 512);

impl Block {
    pub(super) const EMPTY: Self = Self {
        first_order: u32::MAX,
        next: 0,
        first_free: [32; LANES],
        second_free: [32; LANES],
        first: [0; LANES],
        second: [0; LANES],
        kind: [1; LANES],
        kind_mask: [0; LANES],
        source_port: [0; LANES],
        source_ports_more: [0; LANES],
        destination_port: [0; LANES],
        destination_ports_more: [0; LANES],
        slots: [NO_SLOT; LANES],
    };
}

/// What a lookup needs to know of an entry, by its slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    pub(super) order: u32,
    pub(super) value: u32,
}

/// The trees and what they lead to.
#[derive(Debug, Clone)]
pub(super) struct Trees<A: Address> {
    pub(super) roots: [Link; TREES],
    /// The lowest order that each tree has ever had since it was built.
    pub(super) first_orders: [u32; TREES],
    pub(super) links: Vec<Link>,
    pub(super) blocks: Vec<Block>,
    /// Entries by slot; the first stands for none.
    pub(super) entries: Vec<Entry<A>>,
    pub(super) outcomes: Vec<Outcome>,
    /// Source, destination and the masks of both, of IPv6 entries.
    pub(super) addresses: Vec<[A; 4]>,
    pub(super) free_slots: Vec<u32>,
    pub(super) free_blocks: Vec<u32>,
    /// Runs of links by the bits of their cut.
    pub(super) free_links: [Vec<u32>; 1 + super::cut::CUT_BITS_MAX as usize],
    pub(super) by_order: std::collections::BTreeMap<u32, u32>,
    /// Entries when all was last built anew.
    pub(super) built_len: usize,
}

impl<A: Address> Trees<A> {
    pub(super) fn memory_bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
            + self.blocks.capacity() * size_of::<Block>()
            + self.entries.capacity() * size_of::<Entry<A>>()
            + self.outcomes.capacity() * size_of::<Outcome>()
            + self.addresses.capacity() * size_of::<[A; 4]>()
            + self.by_order.len() * 2 * size_of::<u64>()
    }
}
