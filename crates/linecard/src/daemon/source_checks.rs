//! The control side of the checks of where packets come from: reverse paths and special-purpose addresses.
//!
//! The routes that sources are looked up in are the workers' own, so what follows the kernel's routes, links and
//! addresses follows for these checks too; here is only which port asks for what.

use anyhow::ensure;
use linecard_control::config::{Config, PortServices};
use linecard_packet::PortId;
use linecard_services::source::{
    FeasibleList, MartianFilter, PortCheck, ReversePath, SourceCapacities, SourceStats,
    SourceStatsReader, SourceTables, SourceUpdate,
};
use linecard_tables::publication::{Subscription, Writer};

use super::services::is_live;

/// What a worker needs to check sources.
pub(super) type WorkerPart = (Subscription<SourceTables>, SourceStats);

/// The checks of all ports.
pub(super) struct SourceChecks {
    writer: Writer<SourceTables, SourceUpdate>,
    capacities: SourceCapacities,
    /// Lists in use: those beyond are empty.
    lists: usize,
    /// By port.
    checks: Vec<PortCheck>,
    readers: Vec<SourceStatsReader>,
    /// What is to be published when filters are.
    later: Vec<SourceUpdate>,
}

/// Checks that are ready to be put in force.
pub(super) struct Prepared {
    updates: Vec<SourceUpdate>,
    lists: usize,
    checks: Vec<PortCheck>,
}

impl SourceChecks {
    /// No checks.
    pub(super) fn new() -> Self {
        let capacities = SourceCapacities::default();
        let tables = || SourceTables::new(&capacities);
        let writer = Writer::new(tables(), tables());
        Self {
            writer,
            capacities,
            lists: 0,
            checks: Vec::new(),
            readers: Vec::new(),
            later: Vec::new(),
        }
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
        let check = |services: &PortServices| PortCheck {
            reverse_path: services.reverse_path,
            feasible: services.feasible_sources.map(|list| FeasibleList(list as u16)),
            martians: services.martians,
        };
        let checks: Vec<_> = config.ports.iter().map(|port| check(&port.services)).collect();
        if updates.is_empty() && checks == self.checks {
            return Ok(Prepared { updates, lists, checks });
        }
        let ports = (0..).map(PortId).zip(&checks);
        updates.extend(ports.map(|(port, check)| SourceUpdate::SetPort(port, *check)));
        Ok(Prepared { updates, lists, checks })
    }

    /// Puts in force what was prepared; to be published, and before the filters if no port loses a check. Else all of
    /// it waits for [`Self::remove`]: ports name lists by numbers that mean other lists then.
    pub(super) fn commit(&mut self, prepared: Prepared) {
        self.lists = prepared.lists;
        let before = std::mem::replace(&mut self.checks, prepared.checks);
        self.later = prepared.updates;
        if !before.iter().zip(&self.checks).any(|(before, now)| loses_a_check(before, now)) {
            self.remove();
        }
    }

    /// Puts in force what waited for the filters, which may have taken the place of a check; to be published.
    pub(super) fn remove(&mut self) {
        for update in self.later.drain(..) {
            self.writer.append(update);
        }
    }

    /// Hands what has changed to the workers; to be called until it returns true: when no worker has what was
    /// before.
    pub(super) fn publish(&mut self) -> bool {
        is_live(&mut self.writer)
    }

    /// Packets that passed a reverse-path check since the tables had no room for all routes.
    pub(super) fn unverified_packets(&self) -> u64 {
        self.readers.iter().map(SourceStatsReader::unverified).sum()
    }
}

/// Whether a check of a port is switched off.
fn loses_a_check(before: &PortCheck, now: &PortCheck) -> bool {
    let off = (ReversePath::Off, MartianFilter::Off);
    (before.reverse_path != off.0 && now.reverse_path == off.0)
        || (before.martians != off.1 && now.martians == off.1)
}
