//! Lookups in a [`Multibit`](super::multibit::Multibit).
//!
//! A batch of up to 256 addresses goes down the tree level by level. What a level reads was asked for
//! when the addresses passed the level before, so the processor fetches for those behind while it works on
//! those in front; an address that has its value leaves.
//!
//! Eight addresses and fewer go down in lockstep without branches instead: with so few, a loop that ends
//! sooner than the processor had guessed costs more than what it saves.

use std::hint::select_unpredictable;

use super::multibit::{IS_NODE, Node, ROOT_BITS, ROOTS, SHORT_BITS, STRIDE_BITS, TOPS};
use super::{Address, NO_ROUTE};
use crate::memory::{Kernel, prefetch_index};

/// Addresses that go down the tree level by level.
const LANES: usize = 256;
/// Addresses that go down in lockstep.
const LANES_FEW: usize = 8;

/// A bulk lookup.
pub(super) struct Lookup<'a, A> {
    pub(super) nodes: &'a [Node],
    pub(super) leaves: &'a [u32],
    /// The value of the longest short prefix, by the first bits of an address.
    pub(super) short: &'a [u32],
    pub(super) addresses: &'a [A],
    pub(super) values: &'a mut [u32],
}

impl<A: Address> Kernel for Lookup<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // A table that never had a route has no nodes.
        let Some(roots) = self.nodes.first_chunk() else { return self.values.fill(NO_ROUTE) };
        let tree = Tree {
            roots,
            nodes: self.nodes,
            leaves: self.leaves,
            short: self.short.first_chunk().expect("its size is fixed"),
        };
        let parts = self.addresses.chunks(LANES).zip(self.values.chunks_mut(LANES));
        for (addresses, values) in parts {
            // The same thrice: where the number is known, loops need no checks and are unrolled.
            if let Some((addresses, values)) = exactly::<A, LANES>(addresses, values) {
                tree.lookup_many(addresses, values);
            } else if let Some((addresses, values)) = exactly::<A, 32>(addresses, values) {
                tree.lookup_many(addresses, values);
            } else if addresses.len() > LANES_FEW {
                tree.lookup_many(addresses, values);
            } else {
                tree.lookup_few(addresses, values);
            }
        }
    }
}

/// Both as arrays if there are `N`.
#[inline(always)]
fn exactly<'a, A, const N: usize>(
    addresses: &'a [A],
    values: &'a mut [u32],
) -> Option<(&'a [A; N], &'a mut [u32; N])> {
    addresses.as_array().zip(values.as_mut_array())
}

/// What a lookup reads, with the sizes that are fixed.
#[derive(Clone, Copy)]
struct Tree<'a> {
    roots: &'a [Node; ROOTS],
    nodes: &'a [Node],
    leaves: &'a [u32],
    short: &'a [u32; TOPS],
}

impl Tree<'_> {
    #[inline(always)]
    fn lookup_many<A: Address>(&self, addresses: &[A], values: &mut [u32]) {
        for address in addresses {
            prefetch_index(self.roots, address.bits_at(0, ROOT_BITS));
        }
        for (address, leaf) in addresses.iter().zip(&mut *values) {
            let root = &self.roots[address.bits_at(0, ROOT_BITS)];
            *leaf = root.leaf(address.bits_at(ROOT_BITS, STRIDE_BITS));
            prefetch_index(self.leaves, *leaf as usize);
        }
        let mut any = 0;
        for leaf in &mut *values {
            *leaf = self.leaves[*leaf as usize];
            any |= *leaf;
        }
        if any & IS_NODE != 0 {
            self.descend(addresses, values);
        }
        self.fill_short(addresses, values);
    }

    /// Goes on from the leaves that are nodes, until all are values.
    #[inline(always)]
    fn descend<A: Address>(&self, addresses: &[A], leaves: &mut [u32]) {
        // Numbers of the addresses that are under way.
        let mut lanes = [0u8; LANES];
        let mut count = 0;
        for (lane, leaf) in leaves.iter().enumerate() {
            lanes[count % LANES] = lane as u8;
            count += self.leads_on(*leaf);
        }
        let mut depth = ROOT_BITS;
        while count > 0 {
            depth += STRIDE_BITS;
            for lane in &lanes[..count] {
                let lane = usize::from(*lane);
                let node = &self.nodes[(leaves[lane] & !IS_NODE) as usize];
                let leaf_at = node.leaf(addresses[lane].bits_at(depth, STRIDE_BITS));
                leaves[lane] = leaf_at;
                prefetch_index(self.leaves, leaf_at as usize);
            }
            let mut left = 0;
            for number in 0..count {
                let lane = lanes[number];
                let leaf = self.leaves[leaves[usize::from(lane)] as usize];
                leaves[usize::from(lane)] = leaf;
                lanes[left] = lane;
                left += self.leads_on(leaf);
            }
            count = left;
        }
    }

    /// 1 if the leaf is a node, which is then asked for; 0 for a value.
    #[inline(always)]
    fn leads_on(&self, leaf: u32) -> usize {
        let leads_on = leaf & IS_NODE != 0;
        let node = select_unpredictable(leads_on, leaf & !IS_NODE, 0);
        prefetch_index(self.nodes, node as usize);
        usize::from(leads_on)
    }

    /// Gives addresses without a longer prefix the value of their longest short one.
    #[inline(always)]
    fn fill_short<A: Address>(&self, addresses: &[A], values: &mut [u32]) {
        for (address, value) in addresses.iter().zip(values) {
            let short = self.short[address.bits_at(0, SHORT_BITS)];
            *value = select_unpredictable(*value == NO_ROUTE, short, *value);
        }
    }

    #[inline(always)]
    fn lookup_few<A: Address>(&self, addresses: &[A], values: &mut [u32]) {
        // Lanes without an address look up 0.
        let mut lanes = [A::default(); LANES_FEW];
        lanes[..addresses.len()].copy_from_slice(addresses);
        let mut leaf = [0; LANES_FEW];
        for (address, leaf) in lanes.iter().zip(&mut leaf) {
            let root = &self.roots[address.bits_at(0, ROOT_BITS)];
            *leaf = root.leaf(address.bits_at(ROOT_BITS, STRIDE_BITS));
        }
        for leaf in &mut leaf {
            *leaf = self.leaves[*leaf as usize];
        }
        let mut depth = ROOT_BITS;
        while leaf.iter().fold(0, |any, leaf| any | leaf) & IS_NODE != 0 {
            depth += STRIDE_BITS;
            self.step(&lanes, depth, &mut leaf);
        }
        self.fill_short(&lanes, &mut leaf);
        values.copy_from_slice(&leaf[..values.len()]);
    }

    /// Goes on from each leaf that is a node; the others stay.
    #[inline(always)]
    fn step<A: Address>(&self, lanes: &[A; LANES_FEW], depth: u8, leaf: &mut [u32; LANES_FEW]) {
        let mut leaf_at = [0; LANES_FEW];
        for lane in 0..LANES_FEW {
            // A lane that has its value reads the first root, and what comes of it is not used.
            let leads_on = leaf[lane] & IS_NODE != 0;
            let node = select_unpredictable(leads_on, leaf[lane] & !IS_NODE, 0);
            leaf_at[lane] = self.nodes[node as usize].leaf(lanes[lane].bits_at(depth, STRIDE_BITS));
        }
        for lane in 0..LANES_FEW {
            let next = self.leaves[leaf_at[lane] as usize];
            let leads_on = leaf[lane] & IS_NODE != 0;
            leaf[lane] = select_unpredictable(leads_on, next, leaf[lane]);
        }
    }
}
