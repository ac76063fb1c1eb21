//! The control side of the services that users switch on: filters, and what stands beside them.
//!
//! Each service has the same rooms: `new` from the configuration; `for_worker`, what a worker's thread takes
//! along; `prepare`, which judges another configuration and changes nothing; `commit`, which cannot fail;
//! `publish`, until the workers have it; and a report. A configuration is put in force when all services have
//! prepared it, so all of it is or nothing.
//!
//! The lock around this is held by the control loop and the API's thread, never by a worker.

use ipnet::IpNet;
use linecard_control::config::{Config, MartianFilter, PortServices, ReversePath};
use linecard_forwarder::{Explainer, Worker};
use linecard_services::filter::{FilterStats, FilterTables};
use linecard_tables::publication::Subscription;

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
        };
        services.apply(config, || Ok(()))?;
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
    /// What the tables cannot take; everything is as it was.
    pub(super) fn apply(
        &mut self,
        config: &Config,
        begin: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Changes> {
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

    /// Hands what has changed to the workers; to be called until it returns true, as long as a worker holds
    /// a copy that is to be changed.
    pub(super) fn publish(&mut self) -> bool {
        let policers = self.policers.publish();
        // A rule names the slot of a policer, which must be there before the rule is.
        let filters = !self.policers.is_pending() && self.filters.publish();
        let source_checks = self.source_checks.publish();
        policers && filters && source_checks
    }
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
