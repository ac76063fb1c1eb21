//! How a tree is built from its entries.

use std::collections::HashMap;

use super::cut::{self, Cut};
use super::entry::{WORDS, kind_word};
use super::telling;
use super::tree::{Block, CONDITIONAL, LANES, Link, Trees};
use crate::lpm::Address;

/// The bits of each word that the cuts above have decided.
pub(super) type Known = [u32; WORDS];

impl<A: Address> Trees<A> {
    /// The tree of these slots, which are by order.
    pub(super) fn build(&mut self, slots: &[u32], known: Known) -> Link {
        if slots.len() <= LANES {
            return self.write_leaf(slots);
        }
        let entries = slots.iter().map(|slot| &self.entries[*slot as usize]);
        match cut::best(entries, LANES, &known) {
            None => self.write_leaf(slots),
            Some(cut) => self.build_node(slots, cut, known),
        }
    }

    fn build_node(&mut self, slots: &[u32], cut: Cut, mut known: Known) -> Link {
        known[usize::from(cut.word)] |= cut.mask();
        let mut ways: Vec<Vec<u32>> = vec![Vec::new(); cut.ways()];
        for slot in slots {
            let spread = cut.spread(self.entry(*slot));
            cut.for_each_way(spread, |way| ways[way].push(*slot));
        }
        let base = self.take_links(cut);
        self.link_ways(
            base,
            &ways.iter().enumerate().map(|(at, way)| (at, way.as_slice())).collect::<Vec<_>>(),
            known,
        );
        Link::node(base, cut)
    }

    /// Builds what is below these ways, each with its slots: a tree each for the large ones, leaves for
    /// the small ones, as many together as fit.
    pub(super) fn link_ways(&mut self, base: u32, ways: &[(usize, &[u32])], known: Known) {
        let mut alike: HashMap<&[u32], Link> = HashMap::new();
        let mut open: (Vec<u32>, Vec<usize>) = Default::default();
        for (way, slots) in ways {
            if slots.len() > LANES {
                let link = match alike.get(slots) {
                    Some(link) => *link,
                    None => {
                        let link = self.build(slots, known);
                        alike.insert(slots, link);
                        link
                    }
                };
                self.links[base as usize + way] = link;
                continue;
            }
            let union = self.union(&open.0, slots);
            if union.len() <= LANES {
                open.0 = union;
            } else {
                self.close_leaf(base, &open);
                open = (slots.to_vec(), Vec::new());
            }
            open.1.push(*way);
        }
        self.close_leaf(base, &open);
    }

    fn close_leaf(&mut self, base: u32, (slots, ways): &(Vec<u32>, Vec<usize>)) {
        let leaf = self.write_leaf(slots);
        for way in ways {
            self.links[base as usize + way] = leaf;
        }
    }

    /// The slots of both, by order.
    fn union(&self, some: &[u32], others: &[u32]) -> Vec<u32> {
        let mut all = some.to_vec();
        all.extend(others.iter().filter(|slot| !some.contains(slot)));
        all.sort_unstable_by_key(|slot| self.entry(*slot).order);
        all
    }

    fn take_links(&mut self, cut: Cut) -> u32 {
        self.free_links[usize::from(cut.bits)].pop().unwrap_or_else(|| {
            let base = self.links.len();
            self.links.resize(base + cut.ways(), Link::EMPTY);
            base as u32
        })
    }

    fn take_block(&mut self) -> u32 {
        self.free_blocks.pop().unwrap_or_else(|| {
            self.blocks.push(Block::EMPTY);
            self.blocks.len() as u32 - 1
        })
    }

    /// A leaf of these slots, which are by order.
    pub(super) fn write_leaf(&mut self, slots: &[u32]) -> Link {
        if slots.is_empty() {
            return Link::EMPTY;
        }
        let words = telling::words(slots.iter().map(|slot| self.entry(*slot)));
        let mut next = 0;
        for chunk in slots.chunks(LANES).rev() {
            let at = self.take_block();
            self.blocks[at as usize] = self.make_block(chunk, words, next);
            next = at;
        }
        Link::leaf(next, words.map(|word| word as u8), slots.len() > LANES)
    }

    fn make_block(&self, slots: &[u32], [first, second]: [usize; 2], next: u32) -> Block {
        let first_order = slots.first().map_or(u32::MAX, |slot| self.entry(*slot).order);
        let mut block = Block { first_order, next, ..Block::EMPTY };
        for (lane, slot) in slots.iter().enumerate() {
            let entry = self.entry(*slot);
            let free = |(_, mask): (u32, u32)| mask.count_zeros() as u8;
            let (first, second) = (entry.word(first), entry.word(second));
            (block.first[lane], block.first_free[lane]) = (first.0, free(first));
            (block.second[lane], block.second_free[lane]) = (second.0, free(second));
            (block.kind[lane], block.kind_mask[lane]) = entry.word(kind_word::<A>());
            let (from, to) = (entry.source_ports, entry.destination_ports);
            (block.source_port[lane], block.source_ports_more[lane]) =
                (from.first, from.last - from.first);
            (block.destination_port[lane], block.destination_ports_more[lane]) =
                (to.first, to.last - to.first);
            block.slots[lane] = slot | if entry.conditional { CONDITIONAL } else { 0 };
        }
        block
    }
}
