use std::hint::select_unpredictable;
use std::mem::size_of;

use super::Entry;
use super::cut::Cut;
use super::entry::{
    DESTINATION_WORD, KIND_WORD, Keys, PORTS_WORD, SOURCE_WORD, address_words, pack,
};
use crate::lpm::Address;
use crate::memory::{Kernel, prefetch_read};

/// Entries that are compared at once.
pub(super) const LANES: usize = 16;
/// Keys that go down the trees together.
const GROUP: usize = 256;
/// Trees.
pub(super) const TREES: usize = 3;
/// The slot that no entry has: its order is after all others, its value is [`NO_MATCH`].
pub(super) const NO_SLOT: u32 = 0;
/// In the slots of a block: the entry is conditional.
pub(super) const CONDITIONAL: u32 = 1 << 31;

/// Where a way leads: to a node, which is a cut and the links of its ways, or to a leaf, the first of
/// its blocks.
///
/// Bits 0 to 31: the first link of the node, or the block. 32 to 47: the cut's mask, 0 for a leaf. 48 to
/// 52 the shift of the cut, 56 to 59 its word; for a leaf the words of source and destination that
/// its blocks compare. 63: the leaf has more than one block.
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
        let [source, destination] = words;
        let words = (source as u64) << 48 | (destination as u64) << 56;
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
    fn is_chained(self) -> bool {
        self.0 >> 63 != 0
    }

    /// The same leaf from another of its blocks on.
    #[inline(always)]
    fn with_block(self, block: u32) -> Self {
        Self(self.0 >> 32 << 32 | u64::from(block))
    }

    #[inline(always)]
    fn shift(self) -> u32 {
        (self.0 >> 48) as u32 & 31
    }

    #[inline(always)]
    fn word(self) -> usize {
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
    pub(super) source: [u32; LANES],
    pub(super) destination: [u32; LANES],
    pub(super) kind: [u32; LANES],
    pub(super) kind_mask: [u32; LANES],
    /// The first port in the low half, how many follow it in the high one.
    pub(super) source_ports: [u32; LANES],
    pub(super) destination_ports: [u32; LANES],
    /// With [`CONDITIONAL`].
    pub(super) slots: [u32; LANES],
    /// How many low bits of the source's word do not count.
    pub(super) source_free: [u8; LANES],
    pub(super) destination_free: [u8; LANES],
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
        source_free: [32; LANES],
        destination_free: [32; LANES],
        source: [0; LANES],
        destination: [0; LANES],
        kind: [1; LANES],
        kind_mask: [0; LANES],
        source_ports: [0; LANES],
        destination_ports: [0; LANES],
        slots: [NO_SLOT; LANES],
    };

    /// A bit for each entry that matches as far as the compared words go.
    #[inline(always)]
    fn matching(&self, row: &Row, [source, destination]: [usize; 2]) -> u32 {
        let (source, destination, kind) = (row[source], row[destination], row[KIND_WORD]);
        let (source_port, destination_port) = (row[SOURCE_PORT_WORD], row[DESTINATION_PORT_WORD]);
        let mut matching = 0;
        for lane in 0..LANES {
            let source_free = u32::from(self.source_free[lane]);
            let destination_free = u32::from(self.destination_free[lane]);
            let differs = (source ^ self.source[lane]).unbounded_shr(source_free)
                | (destination ^ self.destination[lane]).unbounded_shr(destination_free)
                | ((kind & self.kind_mask[lane]) ^ self.kind[lane]);
            let (from, to) = (self.source_ports[lane], self.destination_ports[lane]);
            let matches = (differs == 0)
                & (source_port.wrapping_sub(from & 0xffff) <= from >> 16)
                & (destination_port.wrapping_sub(to & 0xffff) <= to >> 16);
            matching |= u32::from(matches) << lane;
        }
        matching
    }

    #[inline(always)]
    fn prefetch(&self) {
        prefetch_read(&self.first_order);
        prefetch_read(&self.source);
        prefetch_read(&self.destination);
        prefetch_read(&self.kind);
        prefetch_read(&self.kind_mask);
        prefetch_read(&self.source_ports);
        prefetch_read(&self.destination_ports);
        prefetch_read(&self.slots);
    }
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
    /// Addresses and masks of IPv6 entries.
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
    pub(super) fn bulk<'a, F: FnMut(usize, u32) -> bool>(
        &'a self,
        keys: Keys<'a, A>,
        values: &'a mut [u32],
        holds: F,
    ) -> impl Kernel<Output = ()> {
        Lookup { trees: self, keys, values, holds }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
            + self.blocks.capacity() * size_of::<Block>()
            + self.entries.capacity() * size_of::<Entry<A>>()
            + self.outcomes.capacity() * size_of::<Outcome>()
            + self.addresses.capacity() * size_of::<[A; 4]>()
            + self.by_order.len() * 2 * size_of::<u64>()
    }
}

/// The words of a key, and its ports once more, each in a word of its own: a cache line.
type Row = [u32; 16];
const SOURCE_PORT_WORD: usize = 10;
const DESTINATION_PORT_WORD: usize = 11;

#[repr(align(64))]
struct Rows([Row; GROUP]);

struct Lookup<'a, A: Address, F> {
    trees: &'a Trees<A>,
    keys: Keys<'a, A>,
    values: &'a mut [u32],
    holds: F,
}

impl<A: Address, F: FnMut(usize, u32) -> bool> Kernel for Lookup<'_, A, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Lookup { trees, keys, values, mut holds } = self;
        let mut rows = Rows([[0; 16]; GROUP]);
        let mut start = 0;
        while start < values.len() {
            let end = values.len().min(start + GROUP);
            rows.fill(keys.part(start, end));
            trees.group(&rows, start, &mut values[start..end], &mut holds);
            start = end;
        }
    }
}

impl Rows {
    #[inline(always)]
    fn fill<A: Address>(&mut self, keys: Keys<'_, A>) {
        for at in 0..keys.sources.len().min(GROUP) {
            let row = &mut self.0[at];
            row[SOURCE_WORD..][..4].copy_from_slice(&address_words(keys.sources[at]));
            row[DESTINATION_WORD..][..4].copy_from_slice(&address_words(keys.destinations[at]));
            row[PORTS_WORD] = pack(keys.source_ports[at], keys.destination_ports[at]);
            row[KIND_WORD] = pack(keys.kinds[at], keys.marks[at]);
            row[SOURCE_PORT_WORD] = u32::from(keys.source_ports[at]);
            row[DESTINATION_PORT_WORD] = u32::from(keys.destination_ports[at]);
            // Also keeps the compiler from scattering the fields of 16 keys at once, which is slower.
            prefetch_read(row);
        }
    }
}

/// The best that is known for a key.
#[derive(Clone, Copy)]
struct Best {
    order: u32,
    slot: u32,
}

impl Best {
    /// Takes the first of those that match in a leaf, if it is better.
    #[inline(always)]
    fn better<A: Address>(&mut self, trees: &Trees<A>, leaf: Link, matching: u16) {
        let first = u32::from(matching).trailing_zeros() as usize & (LANES - 1);
        let slot = trees.block(leaf).slots[first];
        let outcome = trees.outcomes[(slot & !CONDITIONAL) as usize];
        let is_better = matching != 0 && outcome.order < self.order;
        self.order = select_unpredictable(is_better, outcome.order, self.order);
        self.slot = select_unpredictable(is_better, slot, self.slot);
    }
}

/// Lanes of a group, in order.
#[derive(Clone, Copy)]
struct Lanes {
    lanes: [u8; GROUP],
    count: usize,
}

impl Lanes {
    /// Those lanes below `end` that are `wanted`.
    #[inline(always)]
    fn of(end: usize, wanted: impl Fn(usize) -> bool) -> Self {
        let mut of = Self { lanes: [0; GROUP], count: 0 };
        for lane in 0..end.min(GROUP) {
            of.lanes[of.count & (GROUP - 1)] = lane as u8;
            of.count += usize::from(wanted(lane));
        }
        of
    }

    #[inline(always)]
    fn for_each(&self, mut each: impl FnMut(usize)) {
        for lane in &self.lanes[..self.count.min(GROUP)] {
            each(usize::from(*lane) & (GROUP - 1));
        }
    }

    /// Keeps the lanes that `keep` wants.
    #[inline(always)]
    fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut kept = 0;
        for at in 0..self.count.min(GROUP) {
            let lane = self.lanes[at];
            self.lanes[kept & (GROUP - 1)] = lane;
            kept += usize::from(keep(usize::from(lane) & (GROUP - 1)));
        }
        self.count = kept;
    }
}

impl<A: Address> Trees<A> {
    #[inline(always)]
    fn group(
        &self,
        rows: &Rows,
        start: usize,
        values: &mut [u32],
        holds: &mut impl FnMut(usize, u32) -> bool,
    ) {
        let mut best = [Best { order: u32::MAX, slot: NO_SLOT }; GROUP];
        let (mut links, mut matching) = ([Link::EMPTY; GROUP], [0u16; GROUP]);
        for (root, first_order) in self.roots.into_iter().zip(self.first_orders) {
            if root == Link::EMPTY {
                continue;
            }
            let mut lanes = Lanes::of(values.len(), |lane| first_order < best[lane].order);
            self.descend(rows, &lanes, root, &mut links);
            loop {
                lanes.retain(|lane| self.block(links[lane]).first_order < best[lane].order);
                // In two loops, so that more of the first are under way at once.
                lanes.for_each(|lane| matching[lane] = self.matching(&rows.0[lane], links[lane]));
                let mut is_more = false;
                lanes.for_each(|lane| {
                    best[lane].better(self, links[lane], matching[lane]);
                    is_more |= links[lane].is_chained() & (matching[lane] == 0);
                });
                if !is_more {
                    break;
                }
                lanes.retain(|lane| links[lane].is_chained() & (matching[lane] == 0));
                lanes.for_each(|lane| links[lane] = links[lane].with_block(self.block(links[lane]).next));
            }
        }
        for (lane, value) in values.iter_mut().enumerate() {
            let slot = best[lane & (GROUP - 1)].slot;
            let row = &rows.0[lane & (GROUP - 1)];
            let outcome = self.outcomes[(slot & !CONDITIONAL) as usize];
            let settled = slot & CONDITIONAL == 0 && (A::BITS == 32 || self.verify(row, slot));
            *value = match settled {
                true => outcome.value,
                false => self.classify(row, start + lane, holds),
            };
        }
    }

    /// Takes these lanes from the root down to their leaves.
    #[inline(always)]
    fn descend(&self, rows: &Rows, lanes: &Lanes, root: Link, links: &mut [Link; GROUP]) {
        if !root.is_node() {
            return lanes.for_each(|lane| links[lane] = root);
        }
        let mut below = *lanes;
        below.retain(|lane| {
            links[lane] = self.next(&rows.0[lane], root);
            links[lane].is_node()
        });
        while below.count > 0 {
            below.retain(|lane| {
                let next = self.next(&rows.0[lane], links[lane]);
                links[lane] = next;
                next.is_node()
            });
        }
    }

    #[inline(always)]
    fn next(&self, row: &Row, node: Link) -> Link {
        let way = row[node.word()] >> node.shift() & node.way_mask();
        self.links[(node.base() + way) as usize]
    }

    #[inline(always)]
    fn block(&self, leaf: Link) -> &Block {
        &self.blocks[leaf.base() as usize]
    }

    /// Compares one key with the first block of a leaf.
    #[inline(always)]
    fn matching(&self, row: &Row, leaf: Link) -> u16 {
        let words = if A::BITS == 32 { [SOURCE_WORD, DESTINATION_WORD] } else { leaf.leaf_words() };
        self.block(leaf).matching(row, words) as u16
    }

    /// True if the addresses of an IPv6 key are within those of the entry.
    #[inline(always)]
    fn verify(&self, row: &Row, slot: u32) -> bool {
        let [source, source_mask, destination, destination_mask] =
            self.addresses[(slot & !CONDITIONAL) as usize].map(address_words);
        let mut differs = 0;
        for at in 0..4 {
            differs |= row[SOURCE_WORD + at] & source_mask[at] ^ source[at];
            differs |= row[DESTINATION_WORD + at] & destination_mask[at] ^ destination[at];
        }
        differs == 0
    }

    /// The value of one key where it takes more than a look: conditions, leaves of several blocks, and entries that
    /// match in the compared words only.
    #[inline(never)]
    fn classify(&self, row: &Row, place: usize, holds: &mut impl FnMut(usize, u32) -> bool) -> u32 {
        let mut best = Outcome { order: u32::MAX, value: super::NO_MATCH };
        for (root, first_order) in self.roots.into_iter().zip(self.first_orders) {
            if first_order >= best.order {
                continue;
            }
            let mut link = root;
            while link.is_node() {
                link = self.next(row, link);
            }
            best = self.compare_all(row, place, link, best, holds);
        }
        best.value
    }

    /// The first entry of a leaf that matches and holds, if it is better.
    #[inline(always)]
    fn compare_all(
        &self,
        row: &Row,
        place: usize,
        leaf: Link,
        best: Outcome,
        holds: &mut impl FnMut(usize, u32) -> bool,
    ) -> Outcome {
        let mut at = leaf.base();
        loop {
            let block = &self.blocks[at as usize];
            let mut matching = block.matching(row, leaf.leaf_words());
            while matching != 0 {
                let slot = block.slots[matching.trailing_zeros() as usize & (LANES - 1)];
                matching &= matching - 1;
                let outcome = self.outcomes[(slot & !CONDITIONAL) as usize];
                if outcome.order >= best.order {
                    return best;
                }
                let applies = (A::BITS == 32 || self.verify(row, slot))
                    && (slot & CONDITIONAL == 0 || holds(place, outcome.value));
                if applies {
                    return outcome;
                }
            }
            at = block.next;
            if at == 0 || self.blocks[at as usize].first_order >= best.order {
                return best;
            }
        }
    }
}
