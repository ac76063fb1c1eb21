//! The control side of the services that users switch on: filters, and what stands beside them.
//!
//! Each service has the same rooms: `new` from the configuration; `for_worker`, what a worker's thread takes
//! along; `prepare`, which judges another configuration and changes nothing; `commit`, which cannot fail;
//! `publish`, until the workers have it; `remove`, what goes last; and a report. A configuration is put in force when
//! all services have prepared it, so all of it is or nothing.
//!
//! **In which order.** Each service has tables of its own, which a worker takes up one by one, so for a moment it
//! may have new ones of this and old ones of that. Rules name policers by their slots, and a packet that is brought to
//! a policer that is not there passes: if the slot went before the rule, or came after it, packets would pass
//! unpoliced. And what one service has done before, another may do from now on. So a change has three phases, and
//! each begins when no worker has tables from before the last one ([`Phase`]):
//!
//! 1. what is used by others, and what refuses more than before: policers that are new or told something else,
//!    also at ports, and checks of sources;
//! 2. the filters of all ports and directions, in one publication, with their rules' policers and counters;
//! 3. what nothing uses any more: policers that are gone, ports without one, checks that are switched off.
//!
//! So a packet meets what was before or what is now, and for an instant perhaps both, but never neither. Connections
//! are no part of it: their table stays, and limits and timeouts are single words. Nor is protection, whose limits the
//! classifiers read; packets that workers must see from now on are led there before the first phase. Nor is the
//! filter of what is for the router ([`super::router`]), which is put in force then, too, and uses none of the rest.
//!
//! A further change begins when the last one has come to its end. Else a slot or a counter that was given back could
//! have its next owner while a worker still has the rule of the one before, and would meter or count there for both. A
//! worker that is late so refuses the reload, not a packet.
//!
//! The lock around this is held by the control loop and the API's thread, never by a worker.

use anyhow::ensure;
use ipnet::IpNet;
use linecard_control::config::{Config, MartianFilter, PortServices, ReversePath};
use linecard_forwarder::{Explainer, Worker};
use linecard_services::filter::{FilterStats, FilterTables};
use linecard_tables::publication::{Absorb, Publish, Subscription, Writer};

use super::connections::{Connections, WorkerConnections};
use super::filters::{self, Filters};
use super::policers::{self, Policers};
use super::source_checks::{self, SourceChecks};

/// All of them.
pub(super) struct Services {
    pub(super) filters: Filters,
    pub(super) connections: Connections,
    pub(super) policers: Policers,
    pub(super) source_checks: SourceChecks,
    /// What stands at each port.
    ports: Vec<AtPort>,
    phase: Phase,
    /// The last change has left no service.
    idle_due: bool,
}

/// What the workers are being given of a change. See above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Additions,
    Filters,
    Removals,
    /// They have all of it, and nothing else.
    Live,
}

/// What a configuration that was put in force has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) filters: filters::Changes,
    pub(super) policers: policers::Changes,
    /// Names of ports at which something else stands.
    pub(super) ports: Vec<String>,
}

/// The services of a port, by names: numbers may be others after a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct AtPort {
    filters: [Option<String>; 2],
    policer: Option<String>,
    reverse_path: ReversePath,
    feasible_sources: Option<(String, Vec<IpNet>)>,
    martians: MartianFilter,
}

impl AtPort {
    fn new(config: &Config, services: &PortServices) -> Self {
        let filter = |at: Option<usize>| at.map(|at| config.filters.filters()[at].name.clone());
        Self {
            filters: [filter(services.filter_in), filter(services.filter_out)],
            policer: services.police_in.map(|at| config.policers[at].name.clone()),
            reverse_path: services.reverse_path,
            feasible_sources: services.feasible_sources.map(|at| {
                let set = &config.filters.feasible_sources()[at];
                (set.clone(), config.filters.prefixes_of(set).unwrap_or_default())
            }),
            martians: services.martians,
        }
    }
}

impl Services {
    /// Those of a configuration, for so many workers; nobody reads their tables yet.
    ///
    /// # Errors
    /// What the tables cannot take.
    pub(super) fn new(config: &Config, workers: usize) -> anyhow::Result<Self> {
        let mut services = Self {
            filters: Filters::new(config),
            connections: Connections::new(config),
            policers: Policers::new(workers),
            source_checks: SourceChecks::new(),
            ports: vec![AtPort::default(); config.ports.len()],
            phase: Phase::Live,
            idle_due: false,
        };
        services.apply(config, || Ok(()))?;
        services.filters.log();
        Ok(services)
    }

    /// What the next worker needs, and what its thread owns; to be asked once for each, in their order.
    pub(super) fn for_worker(&mut self) -> WorkerServices {
        WorkerServices {
            filters: self.filters.for_worker(),
            connections: self.connections.for_worker(),
            policers: self.policers.for_worker(),
            source_checks: self.source_checks.for_worker(),
        }
    }

    /// Lets imagined packets pass the services that packets pass.
    pub(super) fn explain_by(&self, explainer: &mut Explainer) {
        explainer.filter(&self.filters.subscription());
        explainer.police(&self.policers.subscription());
        explainer.source(&self.source_checks.subscription());
        if let Some(tables) = self.connections.tables() {
            explainer.connections(tables);
        }
    }

    /// Puts a configuration in force, all of it or nothing. `begin` is called when nothing but it can fail.
    ///
    /// # Errors
    /// What the tables cannot take, or a worker that is late to take up the change before; everything is as it was.
    pub(super) fn apply(
        &mut self,
        config: &Config,
        begin: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Changes> {
        ensure!(
            self.publish(),
            "a worker has not taken up yet what was put in force last: try again, and if that does not help see \
             `linecard show health`"
        );
        let policers = self.policers.prepare(config)?;
        let filters = self.filters.prepare(config, policers.slots())?;
        let source_checks = self.source_checks.prepare(config)?;
        begin()?;
        let changes = Changes {
            policers: self.policers.commit(config, policers),
            filters: self.filters.commit(config, filters),
            ports: self.replace_ports(config),
        };
        self.source_checks.commit(source_checks);
        self.connections.commit(config);
        self.phase = Phase::Additions;
        // Connections that were ever tracked go on being tracked.
        self.idle_due = !config.has_services() && self.connections.tables().is_none();
        self.publish();
        Ok(changes)
    }

    /// Notes what stands at the ports from now on; returns the names of those that have changed.
    fn replace_ports(&mut self, config: &Config) -> Vec<String> {
        let ports = config.ports.iter().map(|port| AtPort::new(config, &port.services)).collect();
        let before: Vec<AtPort> = std::mem::replace(&mut self.ports, ports);
        let both = config.ports.iter().zip(self.ports.iter().zip(&before));
        let changed = both.filter(|(_, (now, before))| now != before);
        changed.map(|(port, _)| port.name.clone()).collect()
    }

    /// Hands what has changed to the workers, phase by phase; to be called until it returns true: when they all have
    /// it, and none has anything of before.
    pub(super) fn publish(&mut self) -> bool {
        loop {
            let (is_done, next) = match self.phase {
                Phase::Additions => {
                    (self.policers.publish() & self.source_checks.publish(), Phase::Filters)
                }
                Phase::Filters => (self.filters.publish(), Phase::Removals),
                Phase::Removals => {
                    (self.policers.publish() & self.source_checks.publish(), Phase::Live)
                }
                Phase::Live => return true,
            };
            if !is_done {
                return false;
            }
            self.phase = next;
            if next == Phase::Removals {
                self.policers.remove();
                self.source_checks.remove();
            }
        }
    }
}

impl Services {
    /// True once when a change has come to its end that has left no service: no worker asks one about packets any
    /// more.
    pub(super) fn take_idle(&mut self) -> bool {
        self.phase == Phase::Live && std::mem::take(&mut self.idle_due)
    }
}

/// Publishes what waits, if anything does; true when no reader has what was before.
pub(super) fn is_live<T: Absorb<Op>, Op>(writer: &mut Writer<T, Op>) -> bool {
    writer.publish() == Publish::Published && writer.settle() == Publish::Published
}

/// One worker's part of the services; goes to its thread.
pub(super) struct WorkerServices {
    filters: (Subscription<FilterTables>, FilterStats),
    connections: Option<WorkerConnections>,
    policers: policers::WorkerPart,
    source_checks: source_checks::WorkerPart,
}

impl WorkerServices {
    /// Switches them on, before the worker's first round.
    pub(super) fn attach(self, worker: &mut Worker) {
        let (tables, stats) = self.filters;
        worker.filter(&tables, stats);
        if let Some(connections) = self.connections {
            connections.attach(worker);
        }
        let (tables, meters, stats) = self.policers;
        worker.police(&tables, meters, stats);
        let (tables, stats) = self.source_checks;
        worker.source(&tables, stats);
    }
}

#[cfg(test)]
mod tests;
