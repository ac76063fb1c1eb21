//! The filter of what is for the router itself: what the ports' classifiers ask, and what its rules have counted.
//!
//! It has the rooms of the services ([`super::services`]), but no worker: what is for the router is judged in the
//! driver. To prepare it is to have the kernel verify a program for each port, which takes long and changes nothing;
//! so it is done without the lock on the ports. To commit it is one system call for each port, and should one fail,
//! those before it are undone: all ports ask the same filter, or the change is none.
//!
//! A filter may stand at the router and at ports. Here it has counters of its own, and they are shown as one.

use std::sync::Arc;

use anyhow::{anyhow, bail, ensure};
use linecard_control::config::{Config, ConfiguredFilter, ConfiguredRule};
use linecard_io::{LoadedRouterFilter, RouterFilter, RouterFilterCounters, RouterFilterLoader};
use linecard_observe::{FilterReport, FiltersReport};
use linecard_packet::{Metadata, PortId};
use linecard_services::filter::{Action, Filter, RuleCount, filter_for_router, twin};
use tracing::{error, info};

use super::filters::{Counted, Counters};
use super::ports::{ServedPort, explain};

/// Rules that can be counted; the largest filter has well below half of them, and a change may bring as many again.
const COUNTERS_MAX: u32 = 16_384;

/// The router's own filter.
pub(super) struct AtRouter {
    numbers: Counters,
    /// Made with the first filter: they take memory of the kernel's.
    counters: Option<RouterFilterCounters>,
    /// Those that stand here or have stood here, as long as there are such filters.
    held: Vec<Held>,
    in_force: Option<InForce>,
}

/// A filter that has counted here.
#[derive(Clone)]
struct Held {
    configured: ConfiguredFilter,
    /// Of each rule, and of the default.
    counted: Vec<Counted>,
}

/// The filter that all ports ask.
struct InForce {
    name: String,
    filter: RouterFilter,
}

/// A filter, or none, that is ready to be put in force.
pub(super) struct Prepared {
    numbers: Counters,
    counters: Option<RouterFilterCounters>,
    held: Vec<Held>,
    in_force: Option<InForce>,
    /// For each port, in their order; `None` when they ask what they asked before.
    loaded: Option<Vec<Option<LoadedRouterFilter>>>,
}

/// What is needed of a port to make a filter for it.
pub(super) struct Slot {
    name: String,
    /// The classifier leaves all frames of some receive queues to the kernel.
    has_unserved_queues: bool,
    port: PortId,
    interface_index: u32,
    loader: RouterFilterLoader,
}

impl Slot {
    /// Those of all ports.
    pub(super) fn of(ports: &[ServedPort]) -> Vec<Self> {
        let slot = |port: &ServedPort| Self {
            name: port.interface.name.clone(),
            has_unserved_queues: port.has_unserved_queues(),
            port: port.id,
            interface_index: port.interface.index,
            loader: port.router_filter_loader(),
        };
        ports.iter().map(slot).collect()
    }
}

impl AtRouter {
    /// No filter.
    pub(super) fn new() -> Self {
        Self {
            numbers: Counters::new(COUNTERS_MAX as usize),
            counters: None,
            held: Vec::new(),
            in_force: None,
        }
    }

    /// Makes the filter of a configuration ready, for the ports. Changes nothing. The kernel verifies a program for
    /// each port.
    ///
    /// # Errors
    /// What the kernel refuses, or what cannot stand at the router.
    pub(super) fn prepare(&self, config: &Config, slots: &[Slot]) -> anyhow::Result<Prepared> {
        let wanted = config.router.filter.map(|at| &config.filters.filters()[at]);
        let open = slots.iter().find(|slot| slot.has_unserved_queues && wanted.is_some());
        if let Some(Slot { name, .. }) = open {
            bail!(
                "port {name}: by its queues beyond `queues_max` packets reach the router past the filter of [router]: \
                 take `queues_max` out, or give the interface fewer queues (`ethtool -L {name} combined N`)"
            );
        }
        let counters = match (&self.counters, wanted) {
            (None, Some(_)) => {
                let counters = RouterFilterCounters::new(COUNTERS_MAX);
                Some(counters.map_err(|error| explain("create a BPF map", error))?)
            }
            (counters, _) => counters.clone(),
        };
        let mut numbers = self.numbers.clone();
        let held = self.held(config, wanted, &mut numbers);
        let in_force = wanted.zip(held.last());
        let in_force = in_force.map(|(filter, held)| InForce::new(filter, &held.counted, slots));
        let in_force = in_force.transpose()?;
        let asks = |in_force: &Option<InForce>| in_force.as_ref().map(|it| it.filter.clone());
        let loaded = if asks(&in_force) == asks(&self.in_force) {
            None
        } else {
            Some(load(in_force.as_ref().zip(counters.as_ref()), slots)?)
        };
        Ok(Prepared { numbers, counters, held, in_force, loaded })
    }

    /// The filters of a configuration that have counted here, and last that which is wanted.
    fn held(
        &self,
        config: &Config,
        wanted: Option<&ConfiguredFilter>,
        numbers: &mut Counters,
    ) -> Vec<Held> {
        numbers.begin();
        let mut held = Vec::new();
        for before in &self.held {
            let name = &before.configured.name;
            let same = config.filters.filters().iter().find(|filter| filter.name == *name);
            match same {
                None => numbers.release(before.counted.iter().copied()),
                Some(same) if wanted.is_none_or(|wanted| wanted.name != *name) => {
                    held.push(self.hold(same, Some(before), numbers));
                }
                Some(_) => (),
            }
        }
        held.extend(wanted.map(|wanted| {
            let before = self.held.iter().find(|held| held.configured.name == wanted.name);
            self.hold(wanted, before, numbers)
        }));
        held
    }

    fn hold(
        &self,
        configured: &ConfiguredFilter,
        before: Option<&Held>,
        numbers: &mut Counters,
    ) -> Held {
        let before = before.map(|held| (&held.configured.rules[..], &held.counted[..]));
        let counted = numbers.of_rules(configured, before, |counter| self.read(counter));
        Held { configured: configured.clone(), counted }
    }

    /// Puts in force what was prepared for the same ports; true if they ask something else now.
    ///
    /// # Errors
    /// The kernel's; everything is as it was.
    pub(super) fn commit(
        &mut self,
        prepared: Prepared,
        ports: &mut [ServedPort],
    ) -> anyhow::Result<bool> {
        let Prepared { numbers, counters, held, in_force, loaded } = prepared;
        let changes = loaded.is_some();
        if let Some(loaded) = loaded {
            put(loaded, ports)?;
        }
        *self = Self { numbers, counters, held, in_force };
        if let Some(InForce { name, filter }) = self.in_force.as_ref().filter(|_| changes) {
            let instructions = filter.instructions().unwrap_or_default();
            info!(filter = name, instructions, "filters what is for the router itself");
        }
        Ok(changes)
    }

    /// What a counter has counted on all ports; nothing where there is none.
    fn read(&self, counter: u32) -> RuleCount {
        // A rule may have no counter.
        let counted = self.counters.as_ref().and_then(|counters| counters.count(counter).ok());
        let [packets, bytes] = counted.unwrap_or_default();
        RuleCount { packets, bytes }
    }

    /// Says in a report which filter stands here, and adds what filters have counted here.
    pub(super) fn add_to(&self, report: &mut FiltersReport) {
        for held in &self.held {
            let name = &held.configured.name;
            let Some(filter) = report.filters.iter_mut().find(|filter| filter.name == *name) else {
                continue;
            };
            filter.at_router = self.in_force.as_ref().is_some_and(|it| it.name == *name);
            self.add_counts(filter, held);
        }
    }

    fn add_counts(&self, filter: &mut FilterReport, held: &Held) {
        for (rule, counted) in filter.rules.iter_mut().zip(&held.counted) {
            let now = self.read(counted.counter);
            rule.packets += now.packets - counted.before.packets;
            rule.bytes += now.bytes - counted.before.bytes;
        }
    }

    /// What the filter says of a packet for the router: its own name, and those rules that apply, the one that
    /// decides last, with whether it lets the packet through. `None` without a filter.
    pub(super) fn judge(&self, frame: &[u8], metadata: &Metadata) -> Option<Judgement> {
        let InForce { name, .. } = self.in_force.as_ref()?;
        let held = self.held.iter().find(|held| held.configured.name == *name)?;
        let ConfiguredFilter { rules, default, .. } = &held.configured;
        let rules = active(rules).map(|(_, rule)| rule.rule.clone()).collect();
        let filter = Filter { name: name.clone(), rules, default: *default };
        let applied = twin::rules_of(&filter, frame, metadata, None);
        let rule = *applied.last()?;
        let decides = filter.rules.get(rule);
        let action = decides.map_or(filter.default, |rule| rule.action);
        Some(Judgement {
            filter: filter.name,
            rule: decides.map_or_else(|| "default".to_owned(), |rule| rule.name.clone()),
            is_dropped: action == Action::Drop,
        })
    }
}

/// What becomes of a packet for the router.
pub(super) struct Judgement {
    pub(super) filter: String,
    pub(super) rule: String,
    pub(super) is_dropped: bool,
}

impl InForce {
    fn new(
        configured: &ConfiguredFilter,
        counted: &[Counted],
        slots: &[Slot],
    ) -> anyhow::Result<Self> {
        let name = configured.name.clone();
        let interface_of =
            |port| slots.iter().find(|slot| slot.port == port).map(|slot| slot.interface_index);
        let rules = active(&configured.rules).map(|(at, rule)| (&rule.rule, counted[at].counter));
        let default = (configured.default, counted[configured.rules.len()].counter);
        let filter = filter_for_router(rules, default, interface_of)
            .map_err(|what| anyhow!("filter {name}: the router has no {what}"))?;
        Ok(Self { name, filter })
    }
}

/// The rules that packets can match, with their numbers. One whose set is empty matches nothing, and without the set
/// it would match what it was not meant to.
fn active(rules: &[Arc<ConfiguredRule>]) -> impl Iterator<Item = (usize, &ConfiguredRule)> {
    let rules = rules.iter().map(|rule| &**rule).enumerate();
    rules.filter(|(_, rule)| rule.idle.is_none())
}

/// Makes the filter for each port.
fn load(
    wanted: Option<(&InForce, &RouterFilterCounters)>,
    slots: &[Slot],
) -> anyhow::Result<Vec<Option<LoadedRouterFilter>>> {
    let load = |slot: &Slot| {
        let load = |(InForce { name, filter }, counters): (&InForce, &RouterFilterCounters)| {
            slot.loader.load(filter, counters).map_err(|error| {
                explain(&format!("load filter {name} for what is for the router"), error)
            })
        };
        wanted.map(load).transpose()
    };
    slots.iter().map(load).collect()
}

/// Gives each port its filter, or none of them.
fn put(loaded: Vec<Option<LoadedRouterFilter>>, ports: &mut [ServedPort]) -> anyhow::Result<()> {
    ensure!(loaded.len() == ports.len(), "the ports have changed meanwhile: try again");
    let mut before = Vec::with_capacity(ports.len());
    for (at, filter) in loaded.into_iter().enumerate() {
        match ports[at].put_router_filter(filter) {
            Ok(filter) => before.push(filter),
            Err(refusal) => {
                for (port, filter) in ports.iter_mut().zip(before) {
                    let name = port.interface.name.clone();
                    if let Err(error) = port.put_router_filter(filter) {
                        error!(port = name, %error, "has the new filter of [router] all alone");
                    }
                }
                return Err(explain("put the filter of [router] in force", refusal));
            }
        }
    }
    Ok(())
}
