//! How the trees are changed.

use std::collections::HashMap;

use super::entry::WORDS;
use super::tree::{Block, CONDITIONAL, LANES, Link, NO_SLOT, Outcome, TREES, Trees};
use super::tree_build::Known;
use super::{Entry, NO_MATCH};
use crate::lpm::Address;

/// Entries are built anew when they are this many times as many as when they last were, or as few.
const GROWTH: usize = 2;
/// Tables smaller than this are never worth building anew.
const REBUILD_MIN: usize = 256;
/// A prefix up to this length is wide, in IPv4 and in IPv6.
const WIDE_BITS: [u8; 2] = [8, 20];

/// The tree of an entry: by its destination if that is narrow, else by its source, or the last if both
/// are wide.
pub(super) fn tree_of<A: Address>(entry: &Entry<A>) -> usize {
    let wide = WIDE_BITS[usize::from(A::BITS > 32)];
    match (entry.destination.length() > wide, entry.source.length() > wide) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 2,
    }
}

impl<A: Address> Trees<A> {
    pub(super) fn new() -> Self {
        let mut trees = Self {
            roots: [Link::EMPTY; TREES],
            first_orders: [u32::MAX; TREES],
            links: vec![Link::EMPTY],
            blocks: vec![Block::EMPTY],
            entries: Vec::new(),
            outcomes: Vec::new(),
            addresses: Vec::new(),
            free_slots: Vec::new(),
            free_blocks: Vec::new(),
            free_links: Default::default(),
            by_order: Default::default(),
            built_len: 0,
        };
        let none = trees.take_slot(Entry { value: NO_MATCH, ..Entry::any(u32::MAX, NO_MATCH) });
        debug_assert_eq!(none, NO_SLOT);
        trees
    }

    pub(super) fn len(&self) -> usize {
        self.by_order.len()
    }

    pub(super) fn get(&self, order: u32) -> Option<&Entry<A>> {
        self.by_order.get(&order).map(|slot| &self.entries[*slot as usize])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<A>> {
        self.by_order.values().map(|slot| &self.entries[*slot as usize])
    }

    pub(super) fn insert(&mut self, entry: Entry<A>) -> Option<Entry<A>> {
        let old = self.remove(entry.order);
        let slot = self.take_slot(entry);
        self.by_order.insert(entry.order, slot);
        if self.len() > GROWTH * self.built_len.max(REBUILD_MIN) {
            self.rebuild();
        } else {
            let tree = tree_of(&entry);
            self.first_orders[tree] = self.first_orders[tree].min(entry.order);
            self.roots[tree] = self.insert_below(self.roots[tree], slot, [0; WORDS]);
        }
        old
    }

    /// Adds many entries, whose orders are new, and builds everything anew.
    pub(super) fn extend(&mut self, entries: impl IntoIterator<Item = Entry<A>>) {
        for entry in entries {
            let slot = self.take_slot(entry);
            self.by_order.insert(entry.order, slot);
        }
        self.rebuild();
    }

    pub(super) fn remove(&mut self, order: u32) -> Option<Entry<A>> {
        let slot = self.by_order.remove(&order)?;
        let entry = self.entries[slot as usize];
        let tree = tree_of(&entry);
        self.roots[tree] = self.remove_below(self.roots[tree], slot);
        self.free_slots.push(slot);
        if self.len() * GROWTH < self.built_len && self.built_len > REBUILD_MIN {
            self.rebuild();
        }
        Some(entry)
    }

    /// Builds all trees anew, as if the entries had come at once.
    pub(super) fn rebuild(&mut self) {
        self.links.truncate(1);
        self.blocks.truncate(1);
        self.free_blocks.clear();
        self.free_links.iter_mut().for_each(Vec::clear);
        let mut of_tree: [Vec<u32>; TREES] = Default::default();
        for slot in self.by_order.values() {
            of_tree[tree_of(&self.entries[*slot as usize])].push(*slot);
        }
        self.first_orders = of_tree
            .each_ref()
            .map(|slots| slots.first().map_or(u32::MAX, |slot| self.entry(*slot).order));
        self.roots = of_tree.map(|slots| self.build(&slots, [0; WORDS]));
        self.built_len = self.len();
    }

    fn take_slot(&mut self, entry: Entry<A>) -> u32 {
        let masks = |prefix: crate::lpm::Prefix<A>| [prefix.bits(), A::mask(prefix.length())];
        let ([s, sm], [d, dm]) = (masks(entry.source), masks(entry.destination));
        let addresses = [s, d, sm, dm];
        let outcome = Outcome { order: entry.order, value: entry.value };
        if let Some(slot) = self.free_slots.pop() {
            let at = slot as usize;
            self.entries[at] = entry;
            self.outcomes[at] = outcome;
            if A::BITS > 32 {
                self.addresses[at] = addresses;
            }
            return slot;
        }
        self.entries.push(entry);
        self.outcomes.push(outcome);
        if A::BITS > 32 {
            self.addresses.push(addresses);
        }
        self.entries.len() as u32 - 1
    }

    pub(super) fn entry(&self, slot: u32) -> &Entry<A> {
        &self.entries[slot as usize]
    }

    /// The slots of a leaf, by order.
    fn leaf_slots(&self, leaf: Link) -> Vec<u32> {
        let mut slots = Vec::with_capacity(LANES + 1);
        let mut at = leaf.base();
        while at != 0 {
            let block = &self.blocks[at as usize];
            let used = block.slots.iter().take_while(|slot| **slot != NO_SLOT);
            slots.extend(used.map(|slot| slot & !CONDITIONAL));
            at = block.next;
        }
        slots
    }

    fn free_leaf(&mut self, leaf: Link) {
        let mut at = leaf.base();
        while at != 0 {
            self.free_blocks.push(at);
            at = self.blocks[at as usize].next;
        }
    }

    /// The slots below a link, by order.
    fn slots_below(&self, link: Link) -> Vec<u32> {
        if !link.is_node() {
            return self.leaf_slots(link);
        }
        let ways = &self.links[link.base() as usize..][..link.cut().ways()];
        let mut below = ways.to_vec();
        below.sort_unstable_by_key(|link| link.0);
        below.dedup();
        let mut slots: Vec<u32> =
            below.into_iter().flat_map(|link| self.slots_below(link)).collect();
        slots.sort_unstable_by_key(|slot| self.entry(*slot).order);
        slots.dedup();
        slots
    }

    fn insert_below(&mut self, link: Link, slot: u32, mut known: Known) -> Link {
        if !link.is_node() {
            let mut slots = self.leaf_slots(link);
            self.put_in(&mut slots, slot);
            self.free_leaf(link);
            return self.build(&slots, known);
        }
        let cut = link.cut();
        known[usize::from(cut.word)] |= cut.mask();
        for (old, ways) in self.ways_by_link(link, slot) {
            self.insert_in_ways(link, old, &ways, slot, known);
        }
        link
    }

    /// Puts a slot into some ways of a node, which all lead to `old`, as others may too.
    fn insert_in_ways(&mut self, node: Link, old: Link, ways: &[usize], slot: u32, known: Known) {
        let (base, cut) = (node.base(), node.cut());
        let sharing: Vec<usize> =
            (0..cut.ways()).filter(|way| self.links[base as usize + way] == old).collect();
        let is_leaf = !old.is_node() && old != Link::EMPTY;
        if is_leaf && self.leaf_slots(old).len() < LANES
            || old != Link::EMPTY
                && sharing.len() == ways.len()
                && (old.is_node() || ways.len() == 1)
        {
            let new = self.insert_below(old, slot, known);
            for way in sharing {
                self.links[base as usize + way] = new;
            }
            return;
        }
        let mut slots = self.slots_below(old);
        self.put_in(&mut slots, slot);
        if !is_leaf {
            let new = self.build(&slots, known);
            for way in ways {
                self.links[base as usize + way] = new;
            }
            return;
        }
        // A full leaf that several ways share: each gets what is its own.
        self.free_leaf(old);
        let of_way: Vec<Vec<u32>> = sharing
            .iter()
            .map(|way| {
                let belongs = |slot: &u32| {
                    let mut belongs = false;
                    cut.for_each_way(cut.spread(self.entry(*slot)), |other| {
                        belongs |= other == *way;
                    });
                    belongs
                };
                slots.iter().copied().filter(belongs).collect()
            })
            .collect();
        let ways: Vec<_> = sharing.into_iter().zip(of_way.iter().map(Vec::as_slice)).collect();
        self.link_ways(base, &ways, known);
    }

    fn put_in(&self, slots: &mut Vec<u32>, slot: u32) {
        let order = self.entry(slot).order;
        let at = slots.partition_point(|other| self.entry(*other).order < order);
        slots.insert(at, slot);
    }

    /// The ways of a node that a slot belongs to, those that lead to the same place together.
    fn ways_by_link(&self, link: Link, slot: u32) -> Vec<(Link, Vec<usize>)> {
        let cut = link.cut();
        let mut ways: HashMap<Link, Vec<usize>> = HashMap::new();
        cut.for_each_way(cut.spread(self.entry(slot)), |way| {
            ways.entry(self.links[link.base() as usize + way]).or_default().push(way);
        });
        let mut ways: Vec<_> = ways.into_iter().collect();
        ways.sort_unstable_by_key(|(_, ways)| ways[0]);
        ways
    }

    fn remove_below(&mut self, link: Link, slot: u32) -> Link {
        if !link.is_node() {
            let mut slots = self.leaf_slots(link);
            slots.retain(|other| *other != slot);
            self.free_leaf(link);
            return self.write_leaf(&slots);
        }
        let base = link.base() as usize;
        let ways = link.cut().ways();
        for (old, _) in self.ways_by_link(link, slot) {
            let new = self.remove_below(old, slot);
            for way in self.links[base..][..ways].iter_mut().filter(|way| **way == old) {
                *way = new;
            }
        }
        let cut = link.cut();
        if self.links[base..][..cut.ways()].iter().all(|link| *link == Link::EMPTY) {
            self.free_links[usize::from(cut.bits)].push(link.base());
            return Link::EMPTY;
        }
        link
    }
}
