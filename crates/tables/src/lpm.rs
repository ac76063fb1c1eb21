//! Longest-prefix match: of all prefixes that contain an address, the value of the longest.
//!
//! [`Lpm`] is the one type that others use. Which structure stands behind it is chosen at set-up:
//! [`LpmImplementation::Multibit`] is the fast one, [`LpmImplementation::Sorted`] its plain twin.
//! The choice is looked up once a call, so once a batch on the packet path.

mod arena;
mod multibit;
mod multibit_iter;
mod multibit_lookup;
mod multibit_routes;
mod multibit_update;
mod prefix;
mod sorted;

pub use prefix::{Address, Prefix};

use crate::TableFull;
use crate::memory::Instructions;
use multibit::Multibit;
use sorted::Sorted;

/// The value of an address that no prefix contains.
pub const NO_ROUTE: u32 = 0;

/// The largest value of a prefix: the table needs a bit for itself.
pub const VALUE_MAX: u32 = (1 << 31) - 1;

/// Which structure answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LpmImplementation {
    /// A tree of 64-way nodes with compressed leaves: a lookup is a node and a leaf for most of IPv4.
    #[default]
    Multibit,
    /// A sorted map, asked once for each length in use: plain, slow, for comparison.
    Sorted,
}

/// A longest-prefix match table over `A`: `u32` for IPv4 and `u128` for IPv6, in host order.
///
/// Values are 1 to [`VALUE_MAX`]; [`NO_ROUTE`] (0) stands for none.
#[derive(Debug, Clone)]
pub struct Lpm<A: Address> {
    structure: Structure<A>,
    routes_max: usize,
    instructions: Instructions,
}

/// One variant an implementation.
#[derive(Debug, Clone)]
enum Structure<A: Address> {
    Multibit(Box<Multibit<A>>),
    Sorted(Sorted<A>),
}

/// Runs one expression on whichever structure it is.
macro_rules! on {
    ($self:expr, $structure:ident => $body:expr) => {
        match $self {
            Structure::Multibit($structure) => $body,
            Structure::Sorted($structure) => $body,
        }
    };
}

impl<A: Address> Lpm<A> {
    /// An empty table for at most `routes_max` prefixes, looked up with the best instructions of this
    /// processor.
    ///
    /// Memory grows with the routes and stays: what removed routes held is used again.
    #[must_use]
    pub fn new(implementation: LpmImplementation, routes_max: usize) -> Self {
        let structure = match implementation {
            LpmImplementation::Multibit => Structure::Multibit(Box::default()),
            LpmImplementation::Sorted => Structure::Sorted(Sorted::new()),
        };
        Self { structure, routes_max, instructions: Instructions::detect() }
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

    /// Adds a prefix or changes its value, and returns the value it had.
    ///
    /// [`NO_ROUTE`] is no value: inserting it removes the prefix.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if the prefix is new and there are `routes_max` already, or if the value is larger
    /// than [`VALUE_MAX`]. Nothing is changed then.
    pub fn insert(&mut self, prefix: Prefix<A>, value: u32) -> Result<Option<u32>, TableFull> {
        if value > VALUE_MAX {
            return Err(TableFull { entries_max: VALUE_MAX as usize });
        }
        if value == NO_ROUTE {
            return Ok(self.remove(prefix));
        }
        if self.len() >= self.routes_max && self.get(prefix).is_none() {
            return Err(TableFull { entries_max: self.routes_max });
        }
        Ok(on!(&mut self.structure, s => s.insert(prefix, value)))
    }

    /// Removes a prefix and returns its value; `None` if it was not there.
    pub fn remove(&mut self, prefix: Prefix<A>) -> Option<u32> {
        on!(&mut self.structure, s => s.remove(prefix))
    }

    /// The value of exactly this prefix.
    #[must_use]
    pub fn get(&self, prefix: Prefix<A>) -> Option<u32> {
        on!(&self.structure, s => s.get(prefix))
    }

    /// The value of the longest prefix that contains `address`, or [`NO_ROUTE`].
    #[must_use]
    pub fn lookup(&self, address: A) -> u32 {
        let mut value = [NO_ROUTE];
        self.lookup_bulk(&[address], &mut value);
        value[0]
    }

    /// [`lookup`](Self::lookup) of each address, into `values` at the same place.
    ///
    /// The slices must be equally long; what one has more than the other is left alone.
    pub fn lookup_bulk(&self, addresses: &[A], values: &mut [u32]) {
        debug_assert_eq!(addresses.len(), values.len());
        let length = addresses.len().min(values.len());
        let (addresses, values) = (&addresses[..length], &mut values[..length]);
        match &self.structure {
            Structure::Multibit(multibit) => {
                self.instructions.run(multibit.bulk(addresses, values));
            }
            Structure::Sorted(sorted) => sorted.lookup_bulk(addresses, values),
        }
    }

    /// Prefetches what [`insert`](Self::insert) or [`remove`](Self::remove) of this prefix will read: for
    /// [`Absorb::prepare`](crate::publication::Absorb::prepare), which says what `step` is.
    pub fn prepare(&self, prefix: Prefix<A>, step: usize) {
        if let Structure::Multibit(multibit) = &self.structure {
            multibit.prepare(prefix, step);
        }
    }

    /// Prefixes in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        on!(&self.structure, s => s.len())
    }

    /// True while there is no prefix.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The capacity given at set-up, in prefixes.
    #[must_use]
    pub fn routes_max(&self) -> usize {
        self.routes_max
    }

    /// Bytes that the table has taken from the allocator (an estimate for the plain twin).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        on!(&self.structure, s => s.memory_bytes())
    }

    /// All prefixes with their values, by address, then shorter before longer.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (Prefix<A>, u32)> + '_> {
        match &self.structure {
            Structure::Multibit(multibit) => Box::new(multibit.iter()),
            Structure::Sorted(sorted) => Box::new(sorted.iter()),
        }
    }
}

impl<'a, A: Address> IntoIterator for &'a Lpm<A> {
    type Item = (Prefix<A>, u32);
    type IntoIter = Box<dyn Iterator<Item = Self::Item> + 'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
