//! The filters' control side: programs, the counters of their rules, and publication.
//!
//! A rule is known by its filter's name and its own. Its counter goes on as long as there is such a rule,
//! whatever else a reload changes; a counter that became free begins anew for its next rule: what it had
//! counted before is taken off.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

use anyhow::Context;
use linecard_control::config::{Config, ConfiguredFilter, ConfiguredRule};
use linecard_control::filter::MatchText;
use linecard_observe::{FilterReport, FiltersReport, RuleReport};
use linecard_packet::PortId;
use linecard_services::filter::{
    Action, FilterCapacities, FilterStats, FilterStatsReader, FilterTables, FilterUpdate, Hook,
    NO_COUNTER, Program, Rule, RuleCount, RuleHit,
};
use linecard_tables::publication::{Subscription, Writer};
use tracing::info;

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

/// A filter in force.
struct Held {
    configured: ConfiguredFilter,
    program: Arc<Program>,
    /// Of each rule, and of the default.
    counted: Vec<Counted>,
    /// The slots of the policers that its rules name by number.
    policers: Vec<u32>,
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
            let next = counters.hold(configured, policers, before, &self.capacities, read);
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

/// A rule's counter, and what it had counted before it was the rule's.
#[derive(Debug, Clone, Copy)]
struct Counted {
    counter: u32,
    before: RuleCount,
}

/// Which counters are taken.
#[derive(Debug, Clone)]
struct Counters {
    max: usize,
    used: u32,
    free: Vec<u32>,
    /// Those of rules that the last change took away: until it is everywhere, packets are counted there.
    freed: Vec<u32>,
}

impl Counters {
    fn new(max: usize) -> Self {
        Self { max, used: 0, free: Vec::new(), freed: Vec::new() }
    }

    /// A change begins. No worker has the filters from before the last one, so what that has freed can be used.
    fn begin(&mut self) {
        self.free.append(&mut self.freed);
    }

    /// A counter that nobody has. Without one a rule is not counted.
    fn take(&mut self, read: impl Fn(u32) -> RuleCount) -> Counted {
        let counter = match self.free.pop() {
            Some(counter) => counter,
            None if (self.used as usize) < self.max => {
                self.used += 1;
                self.used - 1
            }
            None => NO_COUNTER,
        };
        Counted { counter, before: read(counter) }
    }

    /// Takes back the counters of rules that are there no more.
    fn release(&mut self, counted: impl IntoIterator<Item = Counted>) {
        let counters = counted.into_iter().map(|counted| counted.counter);
        self.freed.extend(counters.filter(|counter| *counter != NO_COUNTER));
    }

    /// The counters of a filter's rules, and of its default behind them: rules keep theirs by name.
    fn of_rules(
        &mut self,
        configured: &ConfiguredFilter,
        before: Option<&Held>,
        read: impl Fn(u32) -> RuleCount,
    ) -> Vec<Counted> {
        let rules = &configured.rules;
        let (old, old_counted) =
            before.map_or((&[][..], &[][..]), |held| (&held.configured.rules, &held.counted));
        let same = |(old, new): &(&Arc<ConfiguredRule>, &Arc<ConfiguredRule>)| {
            Arc::ptr_eq(old, new) || old.rule.name == new.rule.name
        };
        let head = old.iter().zip(rules).take_while(same).count();
        let rest = old.len().min(rules.len()) - head;
        let tail = old.iter().rev().zip(rules.iter().rev()).take(rest).take_while(same).count();
        let goes = head..old.len() - tail;
        // Names are unique, so those between are not among the rest.
        let names = old[goes.clone()].iter().map(|rule| rule.rule.name.as_str());
        let mut between: HashMap<&str, Counted> =
            names.zip(old_counted[goes.clone()].iter().copied()).collect();
        let mut counted = old_counted[..head].to_vec();
        for rule in &rules[head..rules.len() - tail] {
            let kept = between.remove(rule.rule.name.as_str());
            counted.push(kept.unwrap_or_else(|| self.take(&read)));
        }
        counted.extend_from_slice(&old_counted[goes.end..]);
        if before.is_none() {
            counted.push(self.take(&read));
        }
        self.release(between.into_values());
        counted
    }

    /// Makes a filter ready; `before` is what it was. Costs a copy of the classifiers and what the rules that
    /// have changed cost.
    fn hold(
        &mut self,
        configured: &ConfiguredFilter,
        policers: &[u32],
        before: Option<&Held>,
        capacities: &FilterCapacities,
        read: impl Fn(u32) -> RuleCount,
    ) -> anyhow::Result<Held> {
        let counted = self.of_rules(configured, before, read);
        let active = Active::of(configured, &counted, policers);
        let (rules, counters) = (active.rules(), &active.counters);
        let default = configured.default;
        let program = match before {
            Some(before) => {
                let was = before.active();
                let old = was.rules();
                let same = |(old, new): (&&Rule, &&Rule)| std::ptr::eq(*old, *new) || old == new;
                let are_same = old.len() == rules.len() && old.iter().zip(&rules).all(same);
                if are_same && before.configured.default == default && was.counters == *counters {
                    Arc::clone(&before.program)
                } else {
                    Arc::new(before.program.changed(&old, &rules, default, counters)?)
                }
            }
            None => Arc::new(Program::of_rules(&rules, default, counters, capacities)?),
        };
        let policers = policers.to_vec();
        Ok(Held { configured: configured.clone(), program, counted, policers })
    }
}

impl Held {
    /// What is asked of it: see [`Active`].
    fn active(&self) -> Active<'_> {
        Active::of(&self.configured, &self.counted, &self.policers)
    }
}

/// The rules of a filter that packets can match, in order, as the service takes them: they name policers by their
/// slots.
struct Active<'a> {
    rules: Vec<&'a ConfiguredRule>,
    /// By number, those whose policer has another slot than number.
    policed: HashMap<usize, Rule>,
    /// Of each, and of the default.
    counters: Vec<u32>,
}

impl<'a> Active<'a> {
    fn of(configured: &'a ConfiguredFilter, counted: &[Counted], policers: &[u32]) -> Self {
        let mut rules = Vec::with_capacity(configured.rules.len());
        let mut counters = Vec::with_capacity(counted.len());
        let mut policed = HashMap::new();
        for (configured, counted) in configured.rules.iter().zip(counted) {
            if configured.idle.is_some() {
                continue;
            }
            let rule = &configured.rule;
            let policer = rule.policer.and_then(|at| policers.get(at as usize).copied());
            if policer != rule.policer {
                policed.insert(rules.len(), Rule { policer, ..rule.clone() });
            }
            rules.push(&**configured);
            counters.push(counted.counter);
        }
        counters.extend(counted.last().map(|default| default.counter));
        Self { rules, policed, counters }
    }

    /// The rules. Those that two filters share are the same in memory, but for those with a policer.
    fn rules(&self) -> Vec<&Rule> {
        if self.policed.is_empty() {
            return self.rules.iter().map(|configured| &configured.rule).collect();
        }
        let rule = |(at, configured): (usize, &&'a ConfiguredRule)| {
            self.policed.get(&at).unwrap_or(&configured.rule)
        };
        self.rules.iter().enumerate().map(rule).collect()
    }
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
