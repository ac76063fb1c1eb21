//! The control side of the checks of where packets come from: reverse paths and special-purpose addresses.
//!
//! The routes that sources are looked up in are the workers' own, so what follows the kernel's routes, links and
//! addresses follows for these checks too; here is only which port asks for what.

use anyhow::ensure;
use linecard_control::config::Config;
use linecard_packet::PortId;
use linecard_services::source::{
    FeasibleList, PortCheck, SourceCapacities, SourceStats, SourceStatsReader, SourceTables,
    SourceUpdate,
};
use linecard_tables::publication::{Publish, Subscription, Writer};

/// What a worker needs to check sources.
pub(super) type WorkerPart = (Subscription<SourceTables>, SourceStats);

/// The checks of all ports.
pub(super) struct SourceChecks {
    writer: Writer<SourceTables, SourceUpdate>,
    capacities: SourceCapacities,
    /// Lists in use: those beyond are empty.
    lists: usize,
    readers: Vec<SourceStatsReader>,
}

/// Checks that are ready to be put in force.
pub(super) struct Prepared {
    updates: Vec<SourceUpdate>,
    lists: usize,
}

impl SourceChecks {
    /// No checks.
    pub(super) fn new() -> Self {
        let capacities = SourceCapacities::default();
        let tables = || SourceTables::new(&capacities);
        let writer = Writer::new(tables(), tables());
        Self { writer, capacities, lists: 0, readers: Vec::new() }
    }

    pub(super) fn for_worker(&mut self) -> WorkerPart {
        let stats = SourceStats::new();
        self.readers.push(stats.reader());
        (self.writer.subscription(), stats)
    }

    /// What makes readers of the tables.
    pub(super) fn subscription(&self) -> Subscription<SourceTables> {
        self.writer.subscription()
    }

    /// Makes the checks of a configuration ready. Changes nothing.
    ///
    /// # Errors
    /// More lists of sources, or more prefixes in one, than there is room for.
    pub(super) fn prepare(&self, config: &Config) -> anyhow::Result<Prepared> {
        let SourceCapacities { lists_max, prefixes_max } = self.capacities;
        let sets = config.filters.feasible_sources();
        let lists = sets.len();
        ensure!(
            lists <= usize::from(lists_max),
            "feasible_sources name {lists} sets: {lists_max} at the most"
        );
        let mut updates = Vec::new();
        for (number, set) in (0..).zip(sets) {
            let prefixes = config.filters.prefixes_of(set).unwrap_or_default();
            let count = prefixes.len();
            ensure!(
                count <= prefixes_max as usize,
                "feasible_sources {set}: the set has {count} prefixes, {prefixes_max} at the most"
            );
            updates.push(SourceUpdate::SetFeasible(FeasibleList(number), prefixes));
        }
        for number in lists..self.lists {
            updates.push(SourceUpdate::SetFeasible(FeasibleList(number as u16), Vec::new()));
        }
        for (number, port) in (0..).zip(&config.ports) {
            let services = &port.services;
            let check = PortCheck {
                reverse_path: services.reverse_path,
                feasible: services.feasible_sources.map(|list| FeasibleList(list as u16)),
                martians: services.martians,
            };
            updates.push(SourceUpdate::SetPort(PortId(number), check));
        }
        Ok(Prepared { updates, lists })
    }

    /// Puts in force what was prepared; to be published.
    pub(super) fn commit(&mut self, prepared: Prepared) {
        self.lists = prepared.lists;
        for update in prepared.updates {
            self.writer.append(update);
        }
    }

    /// Hands what has changed to the workers; to be called until it returns true, as long as a worker holds
    /// the copy that is to be changed.
    pub(super) fn publish(&mut self) -> bool {
        if self.writer.pending() == 0 {
            return self.writer.settle() == Publish::Published;
        }
        self.writer.publish() == Publish::Published
    }

    /// Packets that passed a reverse-path check since the tables had no room for all routes.
    pub(super) fn unverified_packets(&self) -> u64 {
        self.readers.iter().map(SourceStatsReader::unverified).sum()
    }
}
