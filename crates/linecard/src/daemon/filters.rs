//! The filters' control side: programs, the counters of their rules, and publication.
//!
//! A rule is known by its filter's name and its own. Its counter goes on as long as there is such a rule,
//! whatever else a reload changes; a counter that became free begins anew for its next rule: what it had
//! counted before is taken off.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context;
use linecard_control::config::{Config, ConfiguredFilter};
use linecard_control::filter::MatchText;
use linecard_observe::{FilterReport, FiltersReport, RuleReport};
use linecard_packet::PortId;
use linecard_services::filter::{
    Action, Filter, FilterCapacities, FilterStats, FilterStatsReader, FilterTables, FilterUpdate,
    Hook, NO_COUNTER, Program, RuleCount, RuleHit,
};
use linecard_tables::publication::{Publish, Subscription, Writer};
use tracing::info;

/// The name under which a filter's default is counted; no rule may have it, since names have no blanks.
const DEFAULT: &str = " default";

/// All filters of the daemon.
pub(super) struct Filters {
    writer: Writer<FilterTables, FilterUpdate>,
    capacities: FilterCapacities,
    counters: Counters,
    ports: Vec<String>,
    held: Vec<Held>,
    /// By hook, the index of the filter.
    attached: BTreeMap<(bool, u16), usize>,
    readers: Vec<FilterStatsReader>,
}

/// A filter in force.
struct Held {
    configured: ConfiguredFilter,
    filter: Filter,
    program: Arc<Program>,
    /// Of each rule of the program, and of the default.
    counters: Vec<u32>,
}

/// Names of the filters that an application of a configuration has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) changed: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// Filters that are ready to be put in force.
pub(super) struct Prepared {
    held: Vec<Held>,
    counters: Counters,
    changes: Changes,
}

impl Filters {
    /// No filters, for the ports of a configuration; nobody reads them yet.
    pub(super) fn new(config: &Config) -> Self {
        let ports: Vec<String> = config.ports.iter().map(|port| port.name.clone()).collect();
        let tables = || FilterTables::new(ports.len());
        let capacities = FilterCapacities::default();
        Self {
            writer: Writer::new(tables(), tables()),
            capacities,
            counters: Counters::new(capacities.counters_max),
            ports,
            held: Vec::new(),
            attached: BTreeMap::new(),
            readers: Vec::new(),
        }
    }

    /// What a worker needs to ask the filters.
    pub(super) fn for_worker(&mut self) -> (Subscription<FilterTables>, FilterStats) {
        let stats = FilterStats::new(self.capacities.counters_max);
        self.readers.push(stats.reader());
        (self.writer.subscription(), stats)
    }

    /// Makes the filters of a configuration ready, whose policers have these slots. Changes nothing.
    ///
    /// # Errors
    /// A filter that the tables cannot take.
    pub(super) fn prepare(&self, config: &Config, policers: &[u32]) -> anyhow::Result<Prepared> {
        let mut changes = Changes::default();
        let mut counters = self.counters.clone();
        counters.begin();
        let read = |counter| sum(&self.readers, counter);
        let mut held = Vec::new();
        for configured in config.filters.filters() {
            let before = self.held.iter().find(|held| held.configured.name == configured.name);
            let filter = resolved(configured, policers);
            let next = counters.hold(configured, filter, before, &self.capacities, read);
            let next = next.with_context(|| format!("filter {}", configured.name))?;
            if before.is_none_or(|before| before.filter != next.filter) {
                changes.changed.push(configured.name.clone());
            }
            held.push(next);
        }
        let is_there = |name: &str| held.iter().any(|held| held.configured.name == name);
        let names = self.held.iter().map(|held| &held.configured.name);
        changes.removed = names.filter(|name| !is_there(name)).cloned().collect();
        counters.release(|filter| is_there(filter));
        Ok(Prepared { held, counters, changes })
    }

    /// Puts in force what was prepared from the same configuration; to be published.
    pub(super) fn commit(&mut self, config: &Config, prepared: Prepared) -> Changes {
        self.counters = prepared.counters;
        self.attach(config, prepared.held);
        prepared.changes
    }

    /// Tells the workers what stands where from now on.
    fn attach(&mut self, config: &Config, held: Vec<Held>) {
        self.held = held;
        let mut attached = BTreeMap::new();
        for (number, port) in (0..).zip(&config.ports) {
            let places = [(false, port.services.filter_in), (true, port.services.filter_out)];
            for (is_output, filter) in places {
                let hook = if is_output { Hook::Output } else { Hook::Input }(PortId(number));
                let program = filter.map(|filter| Arc::clone(&self.held[filter].program));
                self.writer.append(FilterUpdate { hook, program });
                attached.extend(filter.map(|filter| ((is_output, number), filter)));
            }
        }
        self.attached = attached;
    }

    /// Hands what has changed to the workers; to be called until it returns true, as long as a worker holds
    /// the copy that is to be changed.
    pub(super) fn publish(&mut self) -> bool {
        if self.writer.pending() == 0 {
            return self.writer.settle() == Publish::Published;
        }
        self.writer.publish() == Publish::Published
    }

    /// What makes readers of what stands where.
    pub(super) fn subscription(&self) -> Subscription<FilterTables> {
        self.writer.subscription()
    }

    /// The names of the filter and of the rule that has matched a packet at `hook`, and what the rule asks for.
    pub(super) fn name_of(&self, hook: Hook, hit: &RuleHit) -> (String, String, String) {
        let place = match hook {
            Hook::Input(PortId(port)) => (false, port),
            Hook::Output(PortId(port)) => (true, port),
        };
        let number = hit.rule as usize;
        // The rules may have changed since the packet was asked about.
        let held = self.attached.get(&place).map(|filter| &self.held[*filter]);
        let held = held.filter(|held| held.counters.get(number) == Some(&hit.counter));
        let Some(held) = held else {
            let unknown = || "changed since".to_owned();
            return (unknown(), format!("number {}", number + 1), unknown());
        };
        let (name, condition) = match held.filter.rules.get(number) {
            Some(rule) => {
                let text = MatchText { condition: &rule.condition, ports: &self.ports };
                (rule.name.clone(), text.to_string())
            }
            None => (DEFAULT.trim_start().to_owned(), "any".to_owned()),
        };
        (held.configured.name.clone(), name, condition)
    }

    /// All filters with what their rules have counted.
    pub(super) fn report(&self) -> FiltersReport {
        let filters = self.held.iter().enumerate();
        FiltersReport {
            filters: filters.map(|(index, held)| self.report_one(index, held)).collect(),
        }
    }

    fn report_one(&self, index: usize, held: &Held) -> FilterReport {
        let ports = |is_output: bool| {
            let here = self
                .attached
                .iter()
                .filter(move |((output, _), filter)| *output == is_output && **filter == index);
            here.map(|((_, port), _)| self.ports[usize::from(*port)].clone()).collect()
        };
        let rules = held.configured.rules.iter().map(|configured| {
            let rule = &configured.rule;
            let condition = match &configured.idle {
                Some(why) => format!("nothing: {why}"),
                None => MatchText { condition: &rule.condition, ports: &self.ports }.to_string(),
            };
            self.rule(&held.configured.name, &rule.name, condition, rule.action)
        });
        let (name, default) = (&held.configured.name, held.configured.default);
        let default = self.rule(name, DEFAULT, "any".to_owned(), default);
        FilterReport {
            name: name.clone(),
            input_ports: ports(false),
            output_ports: ports(true),
            entries: held.program.entries(),
            memory_bytes: held.program.memory_bytes(),
            rules: rules.chain([default]).collect(),
        }
    }

    fn rule(&self, filter: &str, name: &str, condition: String, action: Action) -> RuleReport {
        let counted = self.counters.of(filter, name).map(|(counter, base)| {
            let now = sum(&self.readers, counter);
            RuleCount { packets: now.packets - base.packets, bytes: now.bytes - base.bytes }
        });
        let RuleCount { packets, bytes } = counted.unwrap_or_default();
        let action = match action {
            Action::Accept => "accept".to_owned(),
            Action::Drop => "drop".to_owned(),
            Action::Reject => "reject".to_owned(),
            Action::Continue => "continue".to_owned(),
            Action::Redirect(address) => format!("redirect {address}"),
        };
        RuleReport { name: name.trim_start().to_owned(), condition, action, packets, bytes }
    }
}

/// What the filter service takes: its rules name policers by their slots.
fn resolved(configured: &ConfiguredFilter, policers: &[u32]) -> Filter {
    let mut filter = configured.resolved();
    for rule in &mut filter.rules {
        rule.policer = rule.policer.and_then(|at| policers.get(at as usize).copied());
    }
    filter
}

/// What all workers have counted.
fn sum(readers: &[FilterStatsReader], counter: u32) -> RuleCount {
    let mut sum = RuleCount::default();
    for reader in readers {
        sum += reader.read(counter);
    }
    sum
}

/// Which counter each rule has.
#[derive(Debug, Clone)]
struct Counters {
    max: usize,
    used: u32,
    free: Vec<u32>,
    /// Those of rules that the last change took away: until it is everywhere, packets are counted there.
    freed: Vec<u32>,
    /// By filter and rule: the counter, and what it had counted before.
    rules: HashMap<(String, String), (u32, RuleCount)>,
}

impl Counters {
    fn new(max: usize) -> Self {
        Self { max, used: 0, free: Vec::new(), freed: Vec::new(), rules: HashMap::new() }
    }

    /// A change begins: what the last one freed can be used.
    fn begin(&mut self) {
        self.free.append(&mut self.freed);
    }

    fn of(&self, filter: &str, rule: &str) -> Option<(u32, RuleCount)> {
        self.rules.get(&(filter.to_owned(), rule.to_owned())).copied()
    }

    /// The counter of a rule; a new one if it had none. Without one it is not counted.
    fn take(&mut self, filter: &str, rule: &str, read: impl Fn(u32) -> RuleCount) -> u32 {
        if let Some((counter, _)) = self.of(filter, rule) {
            return counter;
        }
        let counter = match self.free.pop() {
            Some(counter) => counter,
            None if (self.used as usize) < self.max => {
                self.used += 1;
                self.used - 1
            }
            None => return NO_COUNTER,
        };
        self.rules.insert((filter.to_owned(), rule.to_owned()), (counter, read(counter)));
        counter
    }

    /// Takes back the counters of filters that are not there any more.
    fn release(&mut self, is_there: impl Fn(&str) -> bool) {
        let freed = &mut self.freed;
        self.rules.retain(|(filter, _), (counter, _)| {
            let stays = is_there(filter);
            freed.extend((!stays).then_some(*counter));
            stays
        });
    }

    /// Takes back the counters of rules that a filter has no more.
    fn release_rules(&mut self, configured: &ConfiguredFilter) {
        let names: std::collections::HashSet<&str> =
            configured.rules.iter().map(|rule| rule.rule.name.as_str()).chain([DEFAULT]).collect();
        let freed = &mut self.freed;
        self.rules.retain(|(filter, rule), (counter, _)| {
            let stays = *filter != configured.name || names.contains(rule.as_str());
            freed.extend((!stays).then_some(*counter));
            stays
        });
    }

    /// Makes a filter ready; `filter` is what it comes to, `before` what it was.
    fn hold(
        &mut self,
        configured: &ConfiguredFilter,
        filter: Filter,
        before: Option<&Held>,
        capacities: &FilterCapacities,
        read: impl Fn(u32) -> RuleCount,
    ) -> anyhow::Result<Held> {
        self.release_rules(configured);
        for rule in &configured.rules {
            self.take(&configured.name, &rule.rule.name, &read);
        }
        let names = filter.rules.iter().map(|rule| rule.name.as_str()).chain([DEFAULT]);
        let counters: Vec<u32> =
            names.map(|name| self.take(&configured.name, name, &read)).collect();
        let program = match before {
            Some(before) if before.filter == filter && before.counters == counters => {
                Arc::clone(&before.program)
            }
            Some(before) => Arc::new(before.program.changed(&before.filter, &filter, &counters)?),
            None => Arc::new(Program::new(&filter, &counters, capacities)?),
        };
        info!(filter = configured.name, rules = filter.rules.len(), "filter is ready");
        Ok(Held { configured: configured.clone(), filter, program, counters })
    }
}
