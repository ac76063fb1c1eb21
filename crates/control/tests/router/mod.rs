//! A router made of a configuration's text: one worker on memory ports, with every service that the text asks for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use linecard_control::config::{self, Config, PoliceUnit, StaticFacts};
use linecard_control::rib::Rib;
use linecard_forwarder::{
    IdlePolicy, PuntLimit, PuntSink, Tap, TapCapacities, TapOrders, TapReader, TapUpdate, Worker,
    WorkerConfig, WorkerPort,
};
use linecard_io::{MemoryConfig, MemoryPeer, PacketMemory, memory_port};
use linecard_packet::{CountersReader, PortId, WorkerCounters};
use linecard_services::connection::{ConnectionScratch, ConnectionStats, ConnectionTables};
use linecard_services::filter::{
    FilterCapacities, FilterStats, FilterStatsReader, FilterTables, FilterUpdate, Hook, Program,
};
use linecard_services::police::{
    ColourAction, PoliceCapacities, PoliceStats, PoliceStatsReader, PoliceTables, PoliceUpdate,
    Policer, PolicerMeters, Roster,
};
use linecard_services::route::{RouteStats, RouteTables};
use linecard_services::source::{
    FeasibleList, PortCheck, SourceCapacities, SourceStats, SourceTables, SourceUpdate,
};
use linecard_tables::meter::{self, ColourMode, ProfileOptions, Unit};
use linecard_tables::publication::{Absorb, Publish, Subscription, Writer};

const COUNTERS_MAX: usize = 64;

/// What was handed to the kernel, in order.
type Punted = Arc<Mutex<Vec<(PortId, Vec<u8>)>>>;

struct Kernel(Punted);

impl PuntSink for Kernel {
    fn punt(&mut self, port: PortId, packet: &[u8]) -> bool {
        self.0.lock().expect("nobody panics with it").push((port, packet.to_vec()));
        true
    }
}

/// The worker, the far ends of its wires, and all that it counts.
pub(crate) struct Router {
    pub(crate) worker: Worker,
    pub(crate) peers: Vec<MemoryPeer>,
    pub(crate) counters: CountersReader,
    pub(crate) tap: TapReader,
    punted: Punted,
    /// Names of the rules' counters, `FILTER/RULE`.
    rules: Vec<String>,
    filter_stats: FilterStatsReader,
    roster: Roster,
    police_stats: PoliceStatsReader,
}

fn publish<T: Absorb<U>, U>(empty: impl Fn() -> T, updates: Vec<U>) -> Subscription<T> {
    let mut writer = Writer::new(empty(), empty());
    updates.into_iter().for_each(|update| writer.append(update));
    assert_eq!(writer.publish(), Publish::Published);
    writer.subscription()
}

impl Router {
    /// Panics with what is wrong with the text.
    pub(crate) fn new(text: &str) -> Self {
        let config = config::parse(text, Path::new("story.toml"));
        let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let (queues, peers): (Vec<_>, Vec<_>) =
            config.ports.iter().map(|_| memory_port::pair(16)).unzip();
        let port = |(queue, id): (linecard_io::MemoryPort, u16)| WorkerPort {
            id: PortId(id),
            queues: vec![Box::new(queue)],
        };
        let worker_counters = WorkerCounters::new(config.ports.len());
        let (counters, punted) = (worker_counters.reader(), Punted::default());
        let memory = MemoryConfig { frames: 2048, chunk_bytes: 2048 };
        let worker = Worker::new(WorkerConfig {
            ports: queues.into_iter().zip(0..).map(port).collect(),
            memory: PacketMemory::new(memory).expect("4 MiB"),
            tables: routes(&config),
            counters: worker_counters,
            route_stats: RouteStats::new(0),
            punt: Box::new(Kernel(Arc::clone(&punted))),
            punt_limit: PuntLimit { rate_packets_per_second: 0, burst_packets: 1_000 },
            flow_hash_seed: 1,
            idle: IdlePolicy::default(),
        });
        let mut worker = worker.expect("few ports");
        let (roster, police_stats) = police(&config, &mut worker);
        let (rules, filter_stats) = filters(&config, &roster, &mut worker);
        worker.source(&sources(&config), SourceStats::new());
        if config.tracks_connections() {
            let tables = Arc::new(ConnectionTables::new(&config.connections.table, 7));
            worker.connections(tables, ConnectionScratch::new(0, 3), ConnectionStats::default());
        }
        let orders: Writer<TapOrders, TapUpdate> = Writer::new(TapOrders::new(), TapOrders::new());
        let (sender, tap) = Tap::new(&orders.subscription(), &TapCapacities::default());
        worker.tap(sender);
        Self { worker, peers, counters, tap, punted, rules, filter_stats, roster, police_stats }
    }

    /// What was punted since the last time.
    pub(crate) fn take_punted(&mut self) -> Vec<(PortId, Vec<u8>)> {
        std::mem::take(&mut self.punted.lock().expect("nobody panics with it"))
    }

    /// The name of a rule's counter.
    pub(crate) fn rule(&self, counter: u32) -> &str {
        &self.rules[counter as usize]
    }

    /// Packets and bytes by `FILTER/RULE` and by `POLICER/COLOUR`; those without any are left out.
    pub(crate) fn counted(&self) -> BTreeMap<String, (u64, u64)> {
        let mut counted = BTreeMap::new();
        for (name, counter) in self.rules.iter().zip(0..) {
            let count = self.filter_stats.read(counter);
            counted.insert(name.clone(), (count.packets, count.bytes));
        }
        for (name, enrolled) in self.roster.iter() {
            let totals = self.police_stats.totals(enrolled.id, enrolled.incarnation.get());
            let colours = ["green", "yellow", "red"].into_iter().zip(totals.packets);
            for ((colour, packets), bytes) in colours.zip(totals.bytes) {
                counted.insert(format!("{name}/{colour}"), (packets, bytes));
            }
        }
        counted.retain(|_, (packets, _)| *packets > 0);
        counted
    }
}

fn routes(config: &Config) -> Subscription<RouteTables> {
    let mut rib = Rib::new();
    StaticFacts::of(config).tell(&mut rib);
    let mut updates = Vec::new();
    rib.drain(&mut updates);
    let capacities = config.tables.route_capacities();
    publish(|| RouteTables::new(&capacities), updates)
}

fn filters(
    config: &Config,
    roster: &Roster,
    worker: &mut Worker,
) -> (Vec<String>, FilterStatsReader) {
    let capacities = FilterCapacities { entries_max: 1 << 10, counters_max: COUNTERS_MAX };
    let (mut names, mut programs) = (Vec::new(), Vec::new());
    for configured in config.filters.filters() {
        let mut filter = configured.resolved();
        for rule in &mut filter.rules {
            // From the place in the file to the slot.
            let name = |place: u32| &config.policers[place as usize].name;
            let slot = |place| roster.get(name(place)).expect("it was enrolled").id.0;
            rule.policer = rule.policer.map(slot);
        }
        let first = names.len() as u32;
        let rules = filter.rules.iter().map(|rule| rule.name.as_str()).chain(["default"]);
        names.extend(rules.map(|rule| format!("{}/{rule}", filter.name)));
        let counters: Vec<u32> = (first..names.len() as u32).collect();
        programs.push(Arc::new(Program::new(&filter, &counters, &capacities).expect("it fits")));
    }
    let mut updates = Vec::new();
    for (port, id) in config.ports.iter().zip(0..) {
        let hooks = [
            (Hook::Input(PortId(id)), port.services.filter_in),
            (Hook::Output(PortId(id)), port.services.filter_out),
        ];
        for (hook, filter) in hooks {
            let program = filter.map(|filter| Arc::clone(&programs[filter]));
            updates.push(FilterUpdate { hook, program });
        }
    }
    let stats = FilterStats::new(COUNTERS_MAX);
    let reader = stats.reader();
    worker.filter(&publish(|| FilterTables::new(config.ports.len()), updates), stats);
    (names, reader)
}

fn police(config: &Config, worker: &mut Worker) -> (Roster, PoliceStatsReader) {
    let capacities = PoliceCapacities { policers_max: 8, sources_max: 64 };
    let mut roster = Roster::new(capacities.policers_max);
    let wanted = config.policers.iter().map(|policer| (policer.name.clone(), policer_of(policer)));
    let mut updates = roster.enrol(&wanted.collect()).expect("few policers").all();
    for (port, id) in config.ports.iter().zip(0..) {
        let name = port.services.police_in.map(|place| &config.policers[place].name);
        let slot = name.map(|name| roster.get(name).expect("it was enrolled").id);
        updates.push(PoliceUpdate::SetPort(PortId(id), slot));
    }
    let stats = PoliceStats::new(capacities.policers_max);
    let reader = stats.reader();
    let tables = publish(|| PoliceTables::new(&capacities, 1), updates);
    worker.police(&tables, PolicerMeters::new(&capacities, 1), stats);
    (roster, reader)
}

/// A policer for all that is brought to it; bursts are bytes in the file, and bits to a meter.
fn policer_of(policer: &config::Policer) -> Policer {
    assert_eq!(policer.per, config::PolicePer::Rule, "stories have one meter a policer");
    let (unit, burst) = match policer.unit {
        PoliceUnit::Bits => (Unit::Bits, 8),
        PoliceUnit::Packets => (Unit::Packets, 1),
    };
    let marker = match policer.marker {
        config::Marker::SingleRate { committed_rate, committed_burst, excess_burst } => {
            let (committed_burst, excess_burst) = (committed_burst * burst, excess_burst * burst);
            meter::Marker::SingleRate { committed_rate, committed_burst, excess_burst }
        }
        config::Marker::TwoRate { committed_rate, committed_burst, peak_rate, peak_burst } => {
            let (committed_burst, peak_burst) = (committed_burst * burst, peak_burst * burst);
            meter::Marker::TwoRate { committed_rate, committed_burst, peak_rate, peak_burst }
        }
        config::Marker::TwoRateExcess {
            committed_rate,
            committed_burst,
            excess_rate,
            excess_burst,
        } => meter::Marker::TwoRateExcess {
            committed_rate,
            committed_burst: committed_burst * burst,
            excess_rate,
            excess_burst: excess_burst * burst,
        },
    };
    let colour_mode = if policer.colour_aware { ColourMode::Aware } else { ColourMode::Blind };
    let yellow = policer.yellow_dscp.map_or(ColourAction::Pass, ColourAction::Mark);
    Policer {
        marker,
        options: ProfileOptions { unit, colour_mode, overhead_bytes: policer.overhead_bytes },
        actions: [ColourAction::Pass, yellow, ColourAction::Drop],
        sources: None,
    }
}

fn sources(config: &Config) -> Subscription<SourceTables> {
    let mut updates = Vec::new();
    for (name, list) in config.filters.feasible_sources().iter().zip(0..) {
        let prefixes = config.filters.prefixes_of(name).expect("a set of prefixes");
        updates.push(SourceUpdate::SetFeasible(FeasibleList(list), prefixes));
    }
    for (port, id) in config.ports.iter().zip(0..) {
        let services = port.services;
        let check = PortCheck {
            reverse_path: services.reverse_path,
            feasible: services.feasible_sources.map(|list| FeasibleList(list as u16)),
            martians: services.martians,
        };
        updates.push(SourceUpdate::SetPort(PortId(id), check));
    }
    publish(|| SourceTables::new(&SourceCapacities::default()), updates)
}
