//! The tables that the packet path reads, each with its plain twin.
//!
//! | module | answers |
//! |---|---|
//! | [`lpm`] | which route covers this address? (longest-prefix match, IPv4 and IPv6) |
//! | [`next_hop`] | which member of the group carries this flow? (weighted, resilient) |
//! | [`hash`] | which flow is this? (5-tuple and IPv6 flow label to 32 bits) |
//! | [`classifier`] | which rule is the first that this packet matches? |
//! | [`exact`] | which neighbour has this address on this interface? |
//! | [`meter`] | is this packet within its rate? (three-colour markers, exact; shared rates) |
//! | [`connections`] | which connection is this packet of, and how does it stand? (shared by workers) |
//! | [`publication`] | how do readers get changes without waiting, and writers memory back? |
//! | [`memory`] | what can this processor do? (prefetch, instructions chosen at set-up) |
//! | [`generator`] | routes and addresses drawn like the Internet's, for tests and benchmarks |
//!
//! Nothing here does I/O, reads a clock or knows configuration: capacities and seeds are arguments.
//! A table takes slices of keys and fills slices of answers; the single forms give the same
//! answers. Beside each fast table stands a twin so plain that it is evidently right, public so
//! that others can replay their operations against it.

pub mod classifier;
pub mod connections;
pub mod exact;
pub mod generator;
pub mod hash;
pub mod lpm;
pub mod memory;
pub mod meter;
pub mod next_hop;
pub mod publication;

use std::fmt;

/// What [`publication`], [`meter`] and [`connections`] share between threads; their model tests have loom's in this place.
mod sync {
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard, atomic};
    pub(crate) use std::thread;
}

/// A table holds as many entries as its set-up allows; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFull {
    /// The capacity given at set-up, in entries.
    pub entries_max: usize,
}

impl fmt::Display for TableFull {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the table holds {} entries and is full", self.entries_max)
    }
}

impl std::error::Error for TableFull {}
