//! The filters' control side: which stand where, publication, and what they have counted.

mod counters;
mod held;

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use anyhow::Context;
use linecard_control::config::{Config, ConfiguredFilter};
use linecard_control::filter::MatchText;
use linecard_observe::{FilterReport, FiltersReport, RuleReport};
use linecard_packet::PortId;
use linecard_services::filter::{
    Action, FilterCapacities, FilterStats, FilterStatsReader, FilterTables, FilterUpdate, Hook,
    NO_COUNTER, RuleCount, RuleHit,
};
use linecard_tables::publication::{Subscription, Writer};
use tracing::info;

pub(super) use self::counters::{Counted, Counters};
use self::held::Held;
use super::services::is_live;

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
        let stats = FilterStats::new(self.capacities.counters_max)
            // Not known to senders.
            .sample_seed(RandomState::new().hash_one(self.readers.len()));
        self.readers.push(stats.reader());
        (self.writer.subscription(), stats)
    }

    /// Makes the filters of a configuration ready, whose policers have these slots. Changes nothing. No worker may
    /// still have filters from before the last change: rules that are new get counters of rules that went with it.
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
            let rules = before.map(|held: &Held| (&held.configured.rules[..], &held.counted[..]));
            let counted = counters.of_rules(configured, rules, read);
            let next = Held::new(configured, policers, before, counted, &self.capacities);
            let next = next.with_context(|| format!("filter {}", configured.name))?;
            if before.is_none_or(|before| !Arc::ptr_eq(&before.program, &next.program)) {
                changes.changed.push(configured.name.clone());
            }
            held.push(next);
        }
        for gone in &self.held {
            let name = &gone.configured.name;
            if !held.iter().any(|held| held.configured.name == *name) {
                changes.removed.push(name.clone());
                counters.release(gone.counted.iter().copied());
            }
        }
        Ok(Prepared { held, counters, changes })
    }

    /// Puts in force what was prepared from the same configuration; to be published.
    pub(super) fn commit(&mut self, config: &Config, prepared: Prepared) -> Changes {
        self.counters = prepared.counters;
        self.attach(config, prepared.held);
        prepared.changes
    }

    /// Writes into the log which there are.
    pub(super) fn log(&self) {
        for ConfiguredFilter { name, rules, .. } in self.held.iter().map(|held| &held.configured) {
            info!(filter = name, rules = rules.len(), "filter is in force");
        }
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

    /// Hands what has changed to the workers; to be called until it returns true: when no worker has what was
    /// before.
    pub(super) fn publish(&mut self) -> bool {
        is_live(&mut self.writer)
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
        let asked = held.map(|held| (held, held.active()));
        let asked = asked.filter(|(_, active)| active.counters.get(number) == Some(&hit.counter));
        let Some((held, active)) = asked else {
            let unknown = || "changed since".to_owned();
            return (unknown(), format!("number {}", number + 1), unknown());
        };
        let (name, condition) = match active.rules().get(number) {
            Some(rule) => {
                let text = MatchText { condition: &rule.condition, ports: &self.ports };
                (rule.name.clone(), text.to_string())
            }
            None => ("default".to_owned(), "any".to_owned()),
        };
        (held.configured.name.clone(), name, condition)
    }

    /// The names of the filter and the rule that count here.
    pub(super) fn rule_of(&self, counter: u32) -> (&str, &str) {
        let place = |held: &Held| held.counted.iter().position(|rule| rule.counter == counter);
        let found = self.held.iter().find_map(|held| Some((held, place(held)?)));
        // A rule may have gone since, or have no counter.
        found.filter(|_| counter != NO_COUNTER).map_or(("?", "?"), |(held, number)| {
            let rule = held.configured.rules.get(number);
            let rule = rule.map_or("default", |configured| configured.rule.name.as_str());
            (held.configured.name.as_str(), rule)
        })
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
        let rules = held.configured.rules.iter().zip(&held.counted).map(|(configured, counted)| {
            let rule = &configured.rule;
            let condition = match &configured.idle {
                Some(why) => format!("nothing: {why}"),
                None => MatchText { condition: &rule.condition, ports: &self.ports }.to_string(),
            };
            self.rule(rule.name.clone(), condition, rule.action, counted)
        });
        let name = &held.configured.name;
        let default = held.counted.last().map(|counted| {
            self.rule("default".to_owned(), "any".to_owned(), held.configured.default, counted)
        });
        FilterReport {
            name: name.clone(),
            input_ports: ports(false),
            output_ports: ports(true),
            at_router: false,
            entries: held.program.entries(),
            memory_bytes: held.program.memory_bytes(),
            rules: rules.chain(default).collect(),
        }
    }

    fn rule(&self, name: String, condition: String, action: Action, of: &Counted) -> RuleReport {
        let now = sum(&self.readers, of.counter);
        let (packets, bytes) = (now.packets - of.before.packets, now.bytes - of.before.bytes);
        let action = match action {
            Action::Accept => "accept".to_owned(),
            Action::Drop => "drop".to_owned(),
            Action::Reject => "reject".to_owned(),
            Action::Continue => "continue".to_owned(),
            Action::Redirect(address) => format!("redirect {address}"),
        };
        RuleReport { name, condition, action, packets, bytes }
    }
}

/// What all workers have counted.
fn sum(readers: &[FilterStatsReader], counter: u32) -> RuleCount {
    let mut sum = RuleCount::default();
    for reader in readers {
        sum += reader.read(counter);
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use linecard_control::config;

    use super::*;

    /// A configuration of one filter with these rules, by name.
    fn config(names: &[&str]) -> Config {
        let rule =
            |name: &&str| format!("{{ name = \"{name}\", match = \"tcp\", action = \"drop\" }}");
        let rules: Vec<String> = names.iter().map(rule).collect();
        let text = format!(
            "[[port]]\nname = \"p\"\nfilter_in = \"f\"\n[[filter]]\nname = \"f\"\n\
             default = \"accept\"\nrules = [{}]\n",
            rules.join(", ")
        );
        config::parse(&text, Path::new("test.toml")).expect("it is right")
    }

    /// Counters by name, the default's last.
    fn counters(filters: &Filters) -> Vec<(String, u32)> {
        let held = &filters.held[0];
        let names = held.configured.rules.iter().map(|rule| rule.rule.name.clone());
        let counters = held.counted.iter().map(|counted| counted.counter);
        names.chain(["default".to_owned()]).zip(counters).collect()
    }

    #[test]
    fn a_rule_keeps_its_counter_wherever_it_goes() {
        let mut filters = Filters::new(&config(&[]));
        let mut apply = |names: &[&str]| {
            let config = config(names);
            let prepared = filters.prepare(&config, &[]).expect("it fits");
            filters.commit(&config, prepared);
            while !filters.publish() {}
            counters(&filters)
        };
        let first = apply(&["a", "b", "c", "d"]);
        for names in [
            &["d", "x", "b", "a", "c"][..],
            &["a", "y", "c", "d", "b"],
            &["b", "a"],
            &["z", "a", "w", "v", "b"],
        ] {
            let now = apply(names);
            for (name, counter) in &now {
                let was = first.iter().find(|(known, _)| known == name);
                // Those that were away may have another one.
                let stayed = ["a", "b", "default"].contains(&name.as_str());
                assert!(!stayed || was.is_some_and(|(_, was)| was == counter), "{name}: {now:?}");
            }
            let mut all: Vec<u32> = now.iter().map(|(_, counter)| *counter).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), names.len() + 1, "no two have the same: {now:?}");
        }
    }
}
