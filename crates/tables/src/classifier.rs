//! Classification: of all entries that match a packet, the first in order.
//!
//! [`Classifier`] is the one type that others use. Which structure stands behind it is chosen at set-up:
//! [`ClassifierImplementation::Trees`] is the fast one, [`ClassifierImplementation::Linear`] its plain twin.
//!
//! ```
//! use linecard_tables::classifier::{Classifier, ClassifierImplementation, Entry, Key, NO_MATCH, Ports};
//! use linecard_tables::lpm::Prefix;
//!
//! let mut table = Classifier::<u32>::new(ClassifierImplementation::Trees, 100);
//! let servers = Prefix::new(0xc000_0200, 24).expect("24 is not beyond 32");
//! let web = Entry { destination: servers, destination_ports: Ports::exactly(443), ..Entry::any(10, 1) };
//! table.insert(web).expect("it is valid, and there is room");
//! table.insert(Entry { conditional: true, destination: servers, ..Entry::any(20, 2) }).expect("as above");
//!
//! let key = Key { destination: 0xc000_0207, destination_port: 22, ..Key::default() };
//! assert_eq!(table.lookup(&key, |_| true), 2);
//! assert_eq!(table.lookup(&key, |_| false), NO_MATCH);
//! ```
//!
//! An entry asks for prefixes, ranges of ports and the bits of two fields, whose meaning is the caller's. What
//! else there is to ask (a length, a TTL, a byte of the payload) the table does not know: such an entry
//! is *conditional*, and the lookup asks the caller, goes on with the next entry if the answer is no,
//! and is compiled with the question in place.
//!
//! A change is made in place; two copies under [`crate::publication`] take it one after the other.

mod cut;
mod entry;
pub mod generator;
mod linear;
mod lookup;
mod telling;
mod tree;
mod tree_build;
mod tree_update;

pub use entry::{Entry, InsertError, InvalidEntry, Key, KeyColumns, Keys, Masked, Ports};

use crate::TableFull;
use crate::lpm::Address;
use crate::memory::Instructions;
use linear::Linear;
use tree::Trees;

/// The value of a key that no entry matches.
pub const NO_MATCH: u32 = u32::MAX;

/// The largest order of an entry.
pub const ORDER_MAX: u32 = u32::MAX - 1;

/// Which structure answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClassifierImplementation {
    /// Cutting trees with leaves of 16 entries that are compared at once.
    #[default]
    Trees,
    /// Every entry in turn: plain, slow, for comparison.
    Linear,
}

/// A table of entries over `A`: `u32` for IPv4 and `u128` for IPv6, in host order.
#[derive(Debug, Clone)]
pub struct Classifier<A: Address> {
    structure: Structure<A>,
    entries_max: usize,
    instructions: Instructions,
}

/// One variant an implementation.
#[derive(Debug, Clone)]
enum Structure<A: Address> {
    Trees(Box<Trees<A>>),
    Linear(Linear<A>),
}

/// Runs one expression on whichever structure it is.
macro_rules! on {
    ($self:expr, $structure:ident => $body:expr) => {
        match $self {
            Structure::Trees($structure) => $body,
            Structure::Linear($structure) => $body,
        }
    };
}

impl<A: Address> Classifier<A> {
    /// An empty table for at most `entries_max` entries, looked up with the best instructions of this processor.
    #[must_use]
    pub fn new(implementation: ClassifierImplementation, entries_max: usize) -> Self {
        let structure = match implementation {
            ClassifierImplementation::Trees => Structure::Trees(Box::new(Trees::new())),
            ClassifierImplementation::Linear => Structure::Linear(Linear::new()),
        };
        Self { structure, entries_max, instructions: Instructions::detect() }
    }

    /// Looks up with these instructions from now on: for tests and benchmarks. The answers are the
    /// same with all; the plain twin uses none.
    pub fn set_instructions(&mut self, instructions: Instructions) {
        self.instructions = instructions;
    }

    /// The instructions that lookups use.
    #[must_use]
    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Adds an entry, in place of the one of the same order if there is one, which is returned.
    ///
    /// Cost: microseconds, and up to milliseconds for an entry so wide that it belongs to thousands of leaves.
    /// Once the table has doubled since it was last built, as much as [`Self::replace_all`].
    ///
    /// # Errors
    ///
    /// [`InsertError`] if the entry is none or if there are `entries_max` already. Nothing is changed
    /// then.
    pub fn insert(&mut self, entry: Entry<A>) -> Result<Option<Entry<A>>, InsertError> {
        entry.check()?;
        if self.len() >= self.entries_max && self.get(entry.order).is_none() {
            return Err(TableFull { entries_max: self.entries_max }.into());
        }
        Ok(on!(&mut self.structure, s => s.insert(entry)))
    }

    /// Puts these entries in place of all that were there, at the cost of building everything anew: much
    /// less than inserting them one by one. Of several with the same order the last one counts.
    ///
    /// # Errors
    ///
    /// [`InsertError`] if one of the entries is none or if they are more than `entries_max`. Nothing is
    /// changed then.
    pub fn replace_all(&mut self, entries: &[Entry<A>]) -> Result<(), InsertError> {
        entries.iter().try_for_each(Entry::check)?;
        let by_order: std::collections::BTreeMap<u32, Entry<A>> =
            entries.iter().map(|entry| (entry.order, *entry)).collect();
        if by_order.len() > self.entries_max {
            return Err(TableFull { entries_max: self.entries_max }.into());
        }
        match &mut self.structure {
            Structure::Trees(trees) => {
                **trees = Trees::new();
                trees.extend(by_order.into_values());
            }
            Structure::Linear(linear) => {
                *linear = Linear::new();
                for entry in by_order.into_values() {
                    linear.insert(entry);
                }
            }
        }
        Ok(())
    }

    /// Removes the entry of this order and returns it; `None` if there is none.
    pub fn remove(&mut self, order: u32) -> Option<Entry<A>> {
        on!(&mut self.structure, s => s.remove(order))
    }

    /// The entry of this order.
    #[must_use]
    pub fn get(&self, order: u32) -> Option<&Entry<A>> {
        on!(&self.structure, s => s.get(order))
    }

    /// The value of the first entry that matches the key, or [`NO_MATCH`].
    ///
    /// `holds` is asked whether the conditions of a conditional entry hold, by its value.
    #[must_use]
    pub fn lookup(&self, key: &Key<A>, mut holds: impl FnMut(u32) -> bool) -> u32 {
        let mut value = [NO_MATCH];
        let keys = Keys {
            sources: &[key.source],
            destinations: &[key.destination],
            source_ports: &[key.source_port],
            destination_ports: &[key.destination_port],
            kinds: &[key.kind],
            marks: &[key.marks],
        };
        self.lookup_bulk(keys, &mut value, |_, value| holds(value));
        value[0]
    }

    /// [`lookup`](Self::lookup) of each key, into `values` at the same place.
    ///
    /// `holds` is asked, by the place of a key and the value of a conditional entry that it matches, whether
    /// that entry's conditions hold. It may be asked about entries that come to nothing, since an earlier
    /// one matches; never about one that the key does not match.
    ///
    /// Columns and values must be equally long; what one has more than the others is left alone.
    pub fn lookup_bulk(
        &self,
        keys: Keys<'_, A>,
        values: &mut [u32],
        mut holds: impl FnMut(usize, u32) -> bool,
    ) {
        debug_assert_eq!(keys.len(), values.len());
        let length = keys.len().min(values.len());
        let (keys, values) = (keys.part(0, length), &mut values[..length]);
        match &self.structure {
            Structure::Trees(trees) => self.instructions.run(trees.bulk(keys, values, holds)),
            Structure::Linear(linear) => {
                for (place, value) in values.iter_mut().enumerate() {
                    *value = linear.lookup(&keys.key(place), |entry| holds(place, entry));
                }
            }
        }
    }

    /// Entries in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        on!(&self.structure, s => s.len())
    }

    /// True while there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The capacity given at set-up, in entries.
    #[must_use]
    pub fn entries_max(&self) -> usize {
        self.entries_max
    }

    /// Bytes that the table has taken from the allocator (an estimate for what is kept by order).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        on!(&self.structure, s => s.memory_bytes())
    }

    /// All entries, by order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = &Entry<A>> + '_> {
        match &self.structure {
            Structure::Trees(trees) => Box::new(trees.iter()),
            Structure::Linear(linear) => Box::new(linear.iter()),
        }
    }
}
