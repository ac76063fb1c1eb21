//! The control side of the services that users switch on: filters, and what stands beside them.
//!
//! Each service has the same rooms: `new` from the configuration; `for_worker`, what a worker's thread takes
//! along; `prepare`, which judges another configuration and changes nothing; `commit`, which cannot fail;
//! `publish`, until the workers have it; and a report. A configuration is put in force when all services have
//! prepared it, so all of it is or nothing.
//!
//! The lock around this is held by the control loop and the API's thread, never by a worker.

use linecard_control::config::Config;
use linecard_forwarder::{Explainer, Worker};
use linecard_services::filter::{FilterStats, FilterTables};
use linecard_tables::publication::Subscription;

use super::connections::{Connections, WorkerConnections};
use super::filters::{Changes, Filters};

/// All of them.
pub(super) struct Services {
    pub(super) filters: Filters,
    pub(super) connections: Connections,
}

impl Services {
    /// Those of a configuration; nobody reads their tables yet.
    ///
    /// # Errors
    /// What the tables cannot take.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let mut services =
            Self { filters: Filters::new(config), connections: Connections::new(config) };
        services.apply(config)?;
        Ok(services)
    }

    /// What the next worker needs, and what its thread owns; to be asked once for each, in their order.
    pub(super) fn for_worker(&mut self) -> WorkerServices {
        WorkerServices {
            filters: self.filters.for_worker(),
            connections: self.connections.for_worker(),
        }
    }

    /// Lets imagined packets pass the services that packets pass.
    pub(super) fn explain_by(&self, explainer: &mut Explainer) {
        explainer.filter(&self.filters.subscription());
        if let Some(tables) = self.connections.tables() {
            explainer.connections(tables);
        }
    }

    /// Puts a configuration in force, all of it or nothing.
    ///
    /// # Errors
    /// What the tables cannot take; everything is as it was.
    pub(super) fn apply(&mut self, config: &Config) -> anyhow::Result<Changes> {
        let filters = self.filters.prepare(config)?;
        let changes = self.filters.commit(config, filters);
        self.connections.commit(config);
        self.publish();
        Ok(changes)
    }

    /// Hands what has changed to the workers; to be called until it returns true, as long as a worker holds
    /// a copy that is to be changed.
    pub(super) fn publish(&mut self) -> bool {
        self.filters.publish()
    }
}

/// One worker's part of the services; goes to its thread.
pub(super) struct WorkerServices {
    filters: (Subscription<FilterTables>, FilterStats),
    connections: Option<WorkerConnections>,
}

impl WorkerServices {
    /// Switches them on, before the worker's first round.
    pub(super) fn attach(self, worker: &mut Worker) {
        let (tables, stats) = self.filters;
        worker.filter(&tables, stats);
        if let Some(connections) = self.connections {
            connections.attach(worker);
        }
    }
}
