//! How keys go through the trees.

use std::hint::select_unpredictable;

use super::NO_MATCH;
use super::entry::{
    Keys, SOURCE_WORD, address_length, address_words, destination_word, kind_word, pack, ports_word,
};
use super::tree::{Block, CONDITIONAL, LANES, Link, NO_SLOT, Outcome, Trees};
use crate::lpm::Address;
use crate::memory::{Kernel, prefetch_read};

/// Keys that go down the trees together.
const GROUP: usize = 256;

impl<A: Address> Trees<A> {
    pub(super) fn bulk<'a, F: FnMut(usize, u32) -> bool>(
        &'a self,
        keys: Keys<'a, A>,
        values: &'a mut [u32],
        holds: F,
    ) -> impl Kernel<Output = ()> {
        Lookup { trees: self, keys, values, holds }
    }
}

/// Words of an IPv4 key.
const ROW_IPV4: usize = 4;
/// An IPv6 key and six words that are not used, which make it a cache line.
const ROW_IPV6: usize = 16;

/// The keys of a group, their words one behind the other.
#[repr(align(64))]
struct Rows<const ROW: usize>([[u32; ROW]; GROUP]);

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
        match A::BITS {
            32 => self.in_rows::<ROW_IPV4>(),
            _ => self.in_rows::<ROW_IPV6>(),
        }
    }
}

impl<A: Address, F: FnMut(usize, u32) -> bool> Lookup<'_, A, F> {
    #[inline(always)]
    fn in_rows<const ROW: usize>(self) {
        let Lookup { trees, keys, values, mut holds } = self;
        let mut rows = Rows([[0; ROW]; GROUP]);
        let mut start = 0;
        while start < values.len() {
            let end = values.len().min(start + GROUP);
            rows.fill(keys.part(start, end));
            trees.group(&rows, start, &mut values[start..end], &mut holds);
            start = end;
        }
    }
}

impl<const ROW: usize> Rows<ROW> {
    #[inline(always)]
    fn fill<A: Address>(&mut self, keys: Keys<'_, A>) {
        let length = address_length::<A>();
        for at in 0..keys.sources.len().min(GROUP) {
            let row = &mut self.0[at];
            let addresses = [keys.sources[at], keys.destinations[at]].map(address_words);
            row[SOURCE_WORD..][..length].copy_from_slice(&addresses[0][..length]);
            row[destination_word::<A>()..][..length].copy_from_slice(&addresses[1][..length]);
            row[ports_word::<A>()] = pack(keys.source_ports[at], keys.destination_ports[at]);
            row[kind_word::<A>()] = pack(keys.kinds[at], keys.marks[at]);
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
    fn take_better<A: Address>(&mut self, trees: &Trees<A>, leaf: Link, matching: u16) {
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
    /// All lanes below `end`.
    #[inline(always)]
    fn all(end: usize) -> Self {
        Self { lanes: std::array::from_fn(|lane| lane as u8), count: end }
    }

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
    fn group<const ROW: usize>(
        &self,
        rows: &Rows<ROW>,
        start: usize,
        values: &mut [u32],
        holds: &mut impl FnMut(usize, u32) -> bool,
    ) {
        let mut best = [Best { order: u32::MAX, slot: NO_SLOT }; GROUP];
        let (mut links, mut matching) = ([Link::EMPTY; GROUP], [0u16; GROUP]);
        let mut is_first = true;
        for (root, first_order) in self.roots.into_iter().zip(self.first_orders) {
            if root == Link::EMPTY {
                continue;
            }
            let mut lanes = match is_first {
                true => Lanes::all(values.len()),
                false => Lanes::of(values.len(), |lane| first_order < best[lane].order),
            };
            self.descend(rows, &lanes, root, &mut links);
            loop {
                if !is_first {
                    lanes.retain(|lane| self.block(links[lane]).first_order < best[lane].order);
                }
                is_first = false;
                // In two loops, so that more of the first are under way at once.
                lanes.for_each(|lane| matching[lane] = self.matching(&rows.0[lane], links[lane]));
                let mut is_more = false;
                lanes.for_each(|lane| {
                    best[lane].take_better(self, links[lane], matching[lane]);
                    is_more |= links[lane].is_chained() & (matching[lane] == 0);
                });
                if !is_more {
                    break;
                }
                lanes.retain(|lane| links[lane].is_chained() & (matching[lane] == 0));
                lanes.for_each(|lane| {
                    links[lane] = links[lane].with_block(self.block(links[lane]).next);
                });
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
    fn descend<const ROW: usize>(
        &self,
        rows: &Rows<ROW>,
        lanes: &Lanes,
        root: Link,
        links: &mut [Link; GROUP],
    ) {
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
    fn next<const ROW: usize>(&self, row: &[u32; ROW], node: Link) -> Link {
        let way = row[node.word() & (ROW - 1)] >> node.shift() & node.way_mask();
        self.links[(node.base() + way) as usize]
    }

    #[inline(always)]
    fn block(&self, leaf: Link) -> &Block {
        &self.blocks[leaf.base() as usize]
    }

    /// Compares one key with the first block of a leaf.
    #[inline(always)]
    fn matching<const ROW: usize>(&self, row: &[u32; ROW], leaf: Link) -> u16 {
        self.block(leaf).matching::<A, ROW>(row, leaf.leaf_words()) as u16
    }

    /// True if the addresses of an IPv6 key are within those of the entry.
    #[inline(always)]
    fn verify<const ROW: usize>(&self, row: &[u32; ROW], slot: u32) -> bool {
        let [source, destination, source_mask, destination_mask] =
            self.addresses[(slot & !CONDITIONAL) as usize].map(address_words);
        let mut differs = 0;
        for at in 0..4 {
            differs |= row[at] & source_mask[at] ^ source[at];
            differs |= row[4 + at] & destination_mask[at] ^ destination[at];
        }
        differs == 0
    }

    /// The value of one key where it takes more than a look: conditions, and entries that match in the
    /// compared words only.
    #[inline(never)]
    fn classify<const ROW: usize>(
        &self,
        row: &[u32; ROW],
        place: usize,
        holds: &mut impl FnMut(usize, u32) -> bool,
    ) -> u32 {
        let mut best = Outcome { order: u32::MAX, value: NO_MATCH };
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
    fn compare_all<const ROW: usize>(
        &self,
        row: &[u32; ROW],
        place: usize,
        leaf: Link,
        best: Outcome,
        holds: &mut impl FnMut(usize, u32) -> bool,
    ) -> Outcome {
        let mut at = leaf.base();
        loop {
            let block = &self.blocks[at as usize];
            let mut matching = block.matching::<A, ROW>(row, leaf.leaf_words());
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

impl Block {
    /// A bit for each entry that matches as far as the compared words go.
    #[inline(always)]
    fn matching<A: Address, const ROW: usize>(&self, row: &[u32; ROW], words: [usize; 2]) -> u32 {
        let [first, second] = match A::BITS {
            32 => [SOURCE_WORD, destination_word::<A>()],
            _ => words,
        };
        let [first, second] = [row[first & (ROW - 1)], row[second & (ROW - 1)]];
        let (ports, kind) = (row[ports_word::<A>()], row[kind_word::<A>()]);
        let (source_port, destination_port) = ((ports >> 16) as u16, ports as u16);
        let mut matching = 0;
        for lane in 0..LANES {
            let first_free = u32::from(self.first_free[lane]);
            let second_free = u32::from(self.second_free[lane]);
            let differs = (first ^ self.first[lane]).unbounded_shr(first_free)
                | (second ^ self.second[lane]).unbounded_shr(second_free)
                | ((kind & self.kind_mask[lane]) ^ self.kind[lane]);
            let from = source_port.wrapping_sub(self.source_port[lane]);
            let to = destination_port.wrapping_sub(self.destination_port[lane]);
            let matches = (differs == 0)
                & (from <= self.source_ports_more[lane])
                & (to <= self.destination_ports_more[lane]);
            matching |= u32::from(matches) << lane;
        }
        matching
    }
}
