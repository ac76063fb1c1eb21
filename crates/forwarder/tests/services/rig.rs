//! A worker with services, and a story: packets one after the other, and then each counter.

use std::collections::BTreeMap;
use std::sync::Arc;

use linecard_packet::{PortId, PortTotals};
use linecard_services::connection::{
    ConnectionConfig, ConnectionScratch, ConnectionStats, ConnectionTables,
};
use linecard_services::filter::{
    Action, Filter, FilterCapacities, FilterStats, FilterStatsReader, FilterTables, FilterUpdate,
    Hook, Match, Program, Rule,
};
use linecard_services::police::{
    Enrolled, PoliceCapacities, PoliceStats, PoliceStatsReader, PoliceTables, PoliceUpdate,
    Policer, PolicerMeters, Roster,
};
use linecard_services::source::{
    PortCheck, SourceCapacities, SourceStats, SourceTables, SourceUpdate,
};
use linecard_tables::publication::{Absorb, Publish, Subscription, Writer};

use crate::case::{Case, pass};
use crate::common::{PORTS, Rig, RigConfig};

const SECOND: u64 = 1_000_000_000;
const COUNTERS_MAX: usize = 64;

/// What the services are told.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) filters: Vec<(Hook, Filter)>,
    pub(crate) policers: Vec<(&'static str, Policer)>,
    /// Policers by port.
    pub(crate) police_ports: Vec<(u16, &'static str)>,
    pub(crate) checks: Vec<(u16, PortCheck)>,
    pub(crate) without_connections: bool,
    /// 0 for no limit.
    pub(crate) connections_per_source_max: u32,
}

/// Seconds to wait before, the port it comes in on, and the packet.
pub(crate) struct Line(pub(crate) u64, pub(crate) usize, pub(crate) Case);

/// What is counted in the end: packets by "filter/rule", and by policer and colour. All others are still.
pub(crate) type Counts<'a> = (&'a [(&'a str, u64)], &'a [(&'a str, [u64; 3])]);

pub(crate) fn rule(name: &str, condition: Match, action: Action) -> Rule {
    Rule {
        name: name.to_owned(),
        condition,
        action,
        policer: None,
        set_dscp: None,
        set_class: None,
        mirror_to: None,
        sample_one_in: 0,
        log: false,
    }
}

/// A filter of this name, which accepts what no rule decides on.
pub(crate) fn filter(name: &str, rules: Vec<Rule>) -> Filter {
    Filter { name: name.to_owned(), rules, default: Action::Accept }
}

pub(crate) fn input(port: u16, rules: Vec<Rule>) -> (Hook, Filter) {
    (Hook::Input(PortId(port)), filter("in", rules))
}

pub(crate) fn output(port: u16, rules: Vec<Rule>) -> (Hook, Filter) {
    (Hook::Output(PortId(port)), filter("out", rules))
}

/// Publishes updates on empty tables.
fn publish<T: Absorb<U>, U>(empty: impl Fn() -> T, updates: Vec<U>) -> Subscription<T> {
    let mut writer = Writer::new(empty(), empty());
    updates.into_iter().for_each(|update| writer.append(update));
    assert_eq!(writer.publish(), Publish::Published);
    writer.subscription()
}

/// The worker, and what its services count.
pub(crate) struct Services {
    pub(crate) rig: Rig,
    /// Names of the counters, "filter/rule".
    pub(crate) counters: Vec<String>,
    pub(crate) filter_stats: FilterStatsReader,
    pub(crate) roster: Roster,
    pub(crate) police_stats: PoliceStatsReader,
}

impl Services {
    pub(crate) fn new(setup: &Setup, traced: bool) -> Self {
        let mut rig = Rig::new(&RigConfig { traced, ..RigConfig::default() });
        let (counters, filter_stats) = switch_filters_on(&mut rig, setup);
        let (roster, police_stats) = switch_police_on(&mut rig, setup);
        let checks =
            setup.checks.iter().map(|(port, it)| SourceUpdate::SetPort(PortId(*port), *it));
        let tables = publish(|| SourceTables::new(&SourceCapacities::default()), checks.collect());
        rig.worker.source(&tables, SourceStats::new());
        if let Some(tracer) = &mut rig.tracer {
            tracer.explainer.source(&tables);
        }
        if !setup.without_connections {
            let config = ConnectionConfig {
                connections_ipv4_max: 64,
                connections_ipv6_max: 64,
                connections_per_source_max: setup.connections_per_source_max,
                ..ConnectionConfig::default()
            };
            let tables = Arc::new(ConnectionTables::new(&config, 7));
            let scratch = ConnectionScratch::new(0, 3);
            if let Some(tracer) = &mut rig.tracer {
                tracer.explainer.connections(Arc::clone(&tables));
            }
            rig.worker.connections(tables, scratch, ConnectionStats::default());
        }
        Self { rig, counters, filter_stats, roster, police_stats }
    }

    fn check_counts(&self, description: &str, (rules, policers): Counts<'_>) {
        let count = |(number, name)| (name, self.filter_stats.read(number).packets);
        let names = (0..).zip(self.counters.iter().map(String::as_str));
        let counted: BTreeMap<&str, u64> =
            names.map(count).filter(|(_, packets)| *packets > 0).collect();
        assert_eq!(counted, rules.iter().copied().collect(), "{description}");

        let colours = |(name, it): (_, &Enrolled)| {
            (name, self.police_stats.totals(it.id, it.incarnation.get()).packets)
        };
        let counted: BTreeMap<&str, [u64; 3]> =
            self.roster.iter().map(colours).filter(|(_, packets)| *packets != [0; 3]).collect();
        assert_eq!(counted, policers.iter().copied().collect(), "{description}");
    }
}

fn switch_filters_on(rig: &mut Rig, setup: &Setup) -> (Vec<String>, FilterStatsReader) {
    let capacities = FilterCapacities { entries_max: 1 << 10, counters_max: COUNTERS_MAX };
    let (mut names, mut updates) = (Vec::new(), Vec::new());
    for (hook, filter) in &setup.filters {
        let first = names.len() as u32;
        let rules = filter.rules.iter().map(|rule| rule.name.as_str()).chain(["default"]);
        names.extend(rules.map(|rule| format!("{}/{rule}", filter.name)));
        let counters: Vec<u32> = (first..names.len() as u32).collect();
        let program = Program::new(filter, &counters, &capacities).expect("it fits");
        updates.push(FilterUpdate { hook: *hook, program: Some(Arc::new(program)) });
    }
    let stats = FilterStats::new(COUNTERS_MAX);
    let reader = stats.reader();
    let tables = publish(|| FilterTables::new(PORTS), updates);
    rig.worker.filter(&tables, stats);
    if let Some(tracer) = &mut rig.tracer {
        tracer.explainer.filter(&tables);
    }
    (names, reader)
}

fn switch_police_on(rig: &mut Rig, setup: &Setup) -> (Roster, PoliceStatsReader) {
    let capacities = PoliceCapacities { policers_max: 4, sources_max: 64 };
    let mut roster = Roster::new(capacities.policers_max);
    let wanted = setup.policers.iter().map(|(name, policer)| ((*name).to_owned(), *policer));
    let mut updates = roster.enrol(&wanted.collect()).expect("few policers").all();
    for (port, name) in &setup.police_ports {
        let id = roster.get(name).expect("it was enrolled").id;
        updates.push(PoliceUpdate::SetPort(PortId(*port), Some(id)));
    }
    let stats = PoliceStats::new(capacities.policers_max);
    let reader = stats.reader();
    let tables = publish(|| PoliceTables::new(&capacities, 1), updates);
    rig.worker.police(&tables, PolicerMeters::new(&capacities, 1), stats);
    if let Some(tracer) = &mut rig.tracer {
        tracer.explainer.police(&tables);
    }
    (roster, reader)
}

/// Sends the packets one after the other, and checks what becomes of each, the books, and all counts; once with
/// nobody who looks, and once with every packet traced.
pub(crate) fn story(description: &str, setup: &Setup, lines: &[Line], counts: Counts<'_>) {
    for traced in [false, true] {
        let mut services = Services::new(setup, traced);
        let mut totals = vec![PortTotals::default(); PORTS];
        let mut now = 1000 * SECOND;
        for Line(wait_seconds, in_port, case) in lines {
            now += wait_seconds * SECOND + 1000;
            pass(&mut services.rig, &mut totals, now, *in_port, case);
        }
        services.check_counts(description, counts);
    }
}

/// Switches the filters on, for tests that send what a story does not tell.
pub(crate) fn attach(rig: &mut Rig, setup: &Setup) {
    switch_filters_on(rig, setup);
}
