//! How much room the filters' tables get; given at set-up, never exceeded.

/// Capacities of the filters' tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterCapacities {
    /// Entries of one filter and family at the most. A rule takes one for each combination of the members of
    /// its lists.
    pub entries_max: usize,
    /// Rules of all filters that are counted at the most, the defaults of the filters included.
    pub counters_max: usize,
}

impl Default for FilterCapacities {
    /// A million entries a filter, 65,536 rules in all: 1 MiB of counters a worker.
    fn default() -> Self {
        Self { entries_max: 1 << 20, counters_max: 1 << 16 }
    }
}
