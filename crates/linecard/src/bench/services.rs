//! What packets meet besides routes: the services of a case, attached to each worker, and their counters held
//! against its packets at the end.

use linecard_forwarder::Worker;
use linecard_packet::PortTotals;
use linecard_services::filter::{Action, FilterStatsReader};

use super::connections::{self, Connections, Expected};
use super::filters::{self, Filters};
use super::policers::{Policers, PolicersReader};
use super::recipe::{Recipe, Service};
use super::rules::{Asked, Drawn};
use super::sources::{Sources, SourcesReader};

/// The services of a case; none of them where it is about routes alone.
#[derive(Default)]
pub(super) struct Services {
    filters: Option<Filters>,
    policers: Option<Policers>,
    sources: Option<Sources>,
    connections: Option<Connections>,
}

/// The counters of one worker's services.
pub(super) struct Readers {
    filters: Option<FilterStatsReader>,
    policers: Option<PolicersReader>,
    sources: Option<SourcesReader>,
    connections: Option<connections::Reader>,
}

impl Services {
    /// What the recipe asks for. `flows` are those of each worker that are to be established.
    ///
    /// # Errors
    /// When tables cannot take it.
    pub(super) fn new(
        recipe: &Recipe,
        rules: Option<&Drawn>,
        flows: u32,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut services = Self::default();
        let policed = recipe.service == Service::Policers;
        if let Some((filtering, set)) = recipe.filtering.zip(rules)
            && filtering.asked != Asked::Nothing
        {
            let rules = set.asked(filtering.asked, policed);
            if policed {
                services.policers = Some(Policers::new(rules.len() as u32, recipe.workers)?);
            }
            services.filters = Some(Filters::new(rules, Action::Accept)?);
        }
        match recipe.service {
            Service::ReversePath { checked: true } => services.sources = Some(Sources::new()?),
            Service::Connections { tracked: true } => {
                services.filters = Some(Filters::new(filters::by_states(), Action::Drop)?);
                let flows = flows * recipe.workers as u32;
                services.connections = Some(Connections::new(flows, seed));
            }
            _ => (),
        }
        Ok(services)
    }

    pub(super) fn size(&self) -> filters::Size {
        self.filters.as_ref().map_or_else(filters::Size::default, Filters::size)
    }

    /// Lets the worker of this place serve all of them.
    pub(super) fn attach(&self, worker: &mut Worker, place: usize) -> Readers {
        let filters = self.filters.as_ref().map(|filters| {
            let stats = filters.stats();
            let reader = stats.reader();
            worker.filter(&filters.subscription(), stats);
            reader
        });
        Readers {
            filters,
            policers: self.policers.as_ref().map(|policers| policers.attach(worker, place)),
            sources: self.sources.as_ref().map(|sources| sources.attach(worker)),
            connections: self.connections.as_ref().map(|it| it.attach(worker, place)),
        }
    }

    /// Holds a worker's counters against what its ports have received.
    ///
    /// # Errors
    /// When a service has not seen every packet, or not as what it is.
    pub(super) fn balance(
        &self,
        readers: &Readers,
        received: &PortTotals,
        expected: &Expected,
    ) -> anyhow::Result<()> {
        let rules = self.filters.as_ref().zip(readers.filters.as_ref());
        if let Some((filters, stats)) = rules {
            filters.balance(stats, received)?;
        }
        if let (Some((_, rules)), Some(policers)) = (rules, &readers.policers) {
            policers.balance(rules)?;
        }
        if let Some(sources) = &readers.sources {
            sources.balance()?;
        }
        if let (Some((_, rules)), Some(connections)) = (rules, &readers.connections) {
            connections.balance(rules, expected)?;
        }
        Ok(())
    }
}
