//! The policers' control side: slots, buckets' pools, counters, and publication.
//!
//! A policer is known by its name, one by port by its name and the port's. Buckets and counters go on as long as
//! there is such a policer of the same algorithm and unit, whatever else a reload changes about it.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use anyhow::Context;
use linecard_control::config::{self, Config, Marker, PolicePer, PoliceUnit, Port};
use linecard_observe::{PoliceSourcesReport, PolicerReport, PolicersReport};
use linecard_packet::PortId;
use linecard_services::police::{
    ColourAction, Enrolment, PoliceCapacities, PoliceStats, PoliceStatsReader, PoliceTables,
    PoliceUpdate, Policer, PolicerId, PolicerMeters, PolicerTotals, Roster, SourcePrefixes,
};
use linecard_tables::meter::{self, ColourMode, ProfileOptions, Unit};
use linecard_tables::publication::{Subscription, Writer};

use super::services::is_live;

/// What a worker needs to police.
pub(super) type WorkerPart = (Subscription<PoliceTables>, PolicerMeters, PoliceStats);

/// All policers of the daemon.
pub(super) struct Policers {
    writer: Writer<PoliceTables, PoliceUpdate>,
    capacities: PoliceCapacities,
    roster: Roster,
    /// As configured, in the order of the file.
    held: Vec<config::Policer>,
    ports: Vec<Port>,
    readers: Vec<PoliceStatsReader>,
    /// What is to be published when rules bring packets nowhere else any more.
    removals: Vec<PoliceUpdate>,
}

/// Names of the policers that an application of a configuration has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) changed: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// Policers that are ready to be put in force.
pub(super) struct Prepared {
    roster: Roster,
    updates: Enrolment,
    slots: Vec<u32>,
}

impl Prepared {
    /// The slot of each policer of the configuration: where rules bring packets.
    pub(super) fn slots(&self) -> &[u32] {
        &self.slots
    }
}

impl Policers {
    /// No policers, for so many workers that share their rates.
    pub(super) fn new(workers: usize) -> Self {
        let capacities = PoliceCapacities::default();
        let tables = || PoliceTables::new(&capacities, workers as u32);
        Self {
            writer: Writer::new(tables(), tables()),
            capacities,
            roster: Roster::new(capacities.policers_max),
            held: Vec::new(),
            ports: Vec::new(),
            readers: Vec::new(),
            removals: Vec::new(),
        }
    }

    pub(super) fn for_worker(&mut self) -> WorkerPart {
        let stats = PoliceStats::new(self.capacities.policers_max);
        self.readers.push(stats.reader());
        // Not known to senders, who choose the sources.
        let seed = RandomState::new().hash_one(std::process::id());
        (self.writer.subscription(), PolicerMeters::new(&self.capacities, seed), stats)
    }

    /// Makes the policers of a configuration ready. Changes nothing.
    ///
    /// # Errors
    /// More policers, those by port counted for each port, than there is room for.
    pub(super) fn prepare(&self, config: &Config) -> anyhow::Result<Prepared> {
        let mut wanted = BTreeMap::new();
        for policer in &config.policers {
            let names = instances(policer, &config.ports).into_iter();
            wanted.extend(names.map(|name| (name, converted(policer))));
        }
        let mut roster = self.roster.clone();
        let mut updates = roster.enrol(&wanted).context("policers, by port one for each port")?;
        let id = |name: &String| roster.get(name).expect("it was enrolled").id;
        let mut slots = Vec::with_capacity(config.policers.len());
        for policer in &config.policers {
            let of_ports: Vec<PolicerId> =
                instances(policer, &config.ports).iter().map(id).collect();
            slots.push(of_ports[0].0);
            let of_ports = if policer.per == PolicePer::Port { of_ports } else { Vec::new() };
            let of_ports = PoliceUpdate::SetByPort(PolicerId(slots[slots.len() - 1]), of_ports);
            updates.additions.push(of_ports);
        }
        for (number, port) in (0..).zip(&config.ports) {
            let policer = port.services.police_in.map(|at| PolicerId(slots[at]));
            let had_one = self
                .ports
                .get(usize::from(number))
                .is_some_and(|before| before.services.police_in.is_some());
            let update = PoliceUpdate::SetPort(PortId(number), policer);
            match policer {
                Some(_) => updates.additions.push(update),
                // A rule may take the port's place: its packets meet both for a moment, and not none.
                None if had_one => updates.removals.push(update),
                None => {}
            }
        }
        Ok(Prepared { roster, updates, slots })
    }

    /// Puts in force what was prepared from the same configuration; to be published, and before the filters
    /// that name them. What goes follows by [`Self::remove`].
    pub(super) fn commit(&mut self, config: &Config, prepared: Prepared) -> Changes {
        let changes = self.changes(&config.policers);
        self.roster = prepared.roster;
        self.held.clone_from(&config.policers);
        self.ports.clone_from(&config.ports);
        for update in prepared.updates.additions {
            self.writer.append(update);
        }
        self.removals = prepared.updates.removals;
        changes
    }

    /// Takes away what the last configuration has no more, now that no rule brings packets there; to be published.
    pub(super) fn remove(&mut self) {
        for update in self.removals.drain(..) {
            self.writer.append(update);
        }
    }

    /// In what the policers that are wanted differ from those that there are.
    fn changes(&self, wanted: &[config::Policer]) -> Changes {
        let is_wanted = |name: &str| wanted.iter().any(|policer| policer.name == name);
        let changed = wanted.iter().filter(|policer| !self.held.contains(policer));
        let removed = self.held.iter().filter(|policer| !is_wanted(&policer.name));
        Changes {
            changed: changed.map(|policer| policer.name.clone()).collect(),
            removed: removed.map(|policer| policer.name.clone()).collect(),
        }
    }

    /// What makes readers of the tables.
    pub(super) fn subscription(&self) -> Subscription<PoliceTables> {
        self.writer.subscription()
    }

    /// The name of the policer that has a slot; of one by port, a slash and the port's name behind it.
    pub(super) fn name(&self, id: PolicerId) -> Option<&str> {
        self.roster.iter().find(|(_, enrolled)| enrolled.id == id).map(|(name, _)| name)
    }

    /// Hands what has changed to the workers; to be called until it returns true: when no worker has what was
    /// before.
    pub(super) fn publish(&mut self) -> bool {
        is_live(&mut self.writer)
    }

    /// All policers with what they have counted.
    pub(super) fn report(&self) -> PolicersReport {
        let sum = |read: fn(&PoliceStatsReader) -> u64| self.readers.iter().map(read).sum();
        let places = u64::from(self.capacities.sources_max.next_power_of_two());
        PolicersReport {
            policers: self.held.iter().flat_map(|policer| self.report_of(policer)).collect(),
            sources: PoliceSourcesReport {
                places: places * self.readers.len() as u64,
                places_taken: sum(PoliceStatsReader::sources_taken),
            },
            unmetered_packets: sum(PoliceStatsReader::unmetered),
        }
    }

    /// One for each port of a policer by port.
    fn report_of(&self, policer: &config::Policer) -> Vec<PolicerReport> {
        let names = instances(policer, &self.ports);
        let one = |(at, name): (usize, &String)| {
            let port = self.ports.get(at).filter(|_| policer.per == PolicePer::Port);
            let port = port.map(|port| port.name.clone());
            report(policer, port, self.input_ports(policer, at), self.totals(name))
        };
        names.iter().enumerate().map(one).collect()
    }

    /// The ports whose packets all meet a policer: of one by port, its own.
    fn input_ports(&self, policer: &config::Policer, at: usize) -> Vec<String> {
        let is_at = |(_, port): &(usize, &Port)| {
            let named = port.services.police_in.and_then(|index| self.held.get(index));
            named.is_some_and(|it| it.name == policer.name)
        };
        let all = self.ports.iter().enumerate().filter(is_at);
        let own = all.filter(|(number, _)| policer.per != PolicePer::Port || *number == at);
        own.map(|(_, port)| port.name.clone()).collect()
    }

    fn totals(&self, name: &str) -> PolicerTotals {
        let mut sum = PolicerTotals::default();
        if let Some(enrolled) = self.roster.get(name) {
            for reader in &self.readers {
                sum += reader.totals(enrolled.id, enrolled.incarnation.get());
            }
        }
        sum
    }
}

/// The names under which a policer is enrolled: one for each port if it is by port. No name has a slash.
fn instances(policer: &config::Policer, ports: &[Port]) -> Vec<String> {
    match policer.per {
        PolicePer::Port => {
            ports.iter().map(|port| format!("{}/{}", policer.name, port.name)).collect()
        }
        PolicePer::Rule | PolicePer::SourcePrefix { .. } => vec![policer.name.clone()],
    }
}

/// A policer as the service takes it: bursts are bytes in the file, and bits to a meter.
fn converted(policer: &config::Policer) -> Policer {
    let (unit, burst_units) = match policer.unit {
        PoliceUnit::Bits => (Unit::Bits, 8),
        PoliceUnit::Packets => (Unit::Packets, 1),
    };
    let units = |burst: u64| burst.saturating_mul(burst_units);
    let marker = match policer.marker {
        Marker::SingleRate { committed_rate, committed_burst, excess_burst } => {
            let (committed_burst, excess_burst) = (units(committed_burst), units(excess_burst));
            meter::Marker::SingleRate { committed_rate, committed_burst, excess_burst }
        }
        Marker::TwoRate { committed_rate, committed_burst, peak_rate, peak_burst } => {
            let (committed_burst, peak_burst) = (units(committed_burst), units(peak_burst));
            meter::Marker::TwoRate { committed_rate, committed_burst, peak_rate, peak_burst }
        }
        Marker::TwoRateExcess { committed_rate, committed_burst, excess_rate, excess_burst } => {
            let (committed_burst, excess_burst) = (units(committed_burst), units(excess_burst));
            meter::Marker::TwoRateExcess {
                committed_rate,
                committed_burst,
                excess_rate,
                excess_burst,
            }
        }
    };
    let colour_mode = if policer.colour_aware { ColourMode::Aware } else { ColourMode::Blind };
    let yellow = policer.yellow_dscp.map_or(ColourAction::Pass, ColourAction::Mark);
    Policer {
        marker,
        options: ProfileOptions { unit, colour_mode, overhead_bytes: policer.overhead_bytes },
        actions: [ColourAction::Pass, yellow, ColourAction::Drop],
        sources: match policer.per {
            PolicePer::SourcePrefix { ipv4_length, ipv6_length } => {
                Some(SourcePrefixes { ipv4_length, ipv6_length })
            }
            PolicePer::Rule | PolicePer::Port => None,
        },
    }
}

fn report(
    policer: &config::Policer,
    port: Option<String>,
    input_ports: Vec<String>,
    totals: PolicerTotals,
) -> PolicerReport {
    let per = match policer.per {
        PolicePer::Rule => "rule".to_owned(),
        PolicePer::Port => "port".to_owned(),
        PolicePer::SourcePrefix { ipv4_length, ipv6_length } => {
            format!("source-prefix/{ipv4_length}/{ipv6_length}")
        }
    };
    let [green_packets, yellow_packets, red_packets] = totals.packets;
    let [green_bytes, yellow_bytes, red_bytes] = totals.bytes;
    let marks = policer.yellow_dscp.is_some();
    PolicerReport {
        name: policer.name.clone(),
        port,
        algorithm: algorithm(&policer.marker).to_owned(),
        rate: rate(policer),
        per,
        input_ports,
        green_packets,
        green_bytes,
        yellow_packets,
        yellow_bytes,
        red_packets,
        red_bytes,
        dropped_packets: red_packets,
        marked_packets: if marks { yellow_packets } else { 0 },
        sources_refused_packets: totals.sources_refused,
    }
}

/// As the file writes it.
fn algorithm(marker: &Marker) -> &'static str {
    match marker {
        Marker::SingleRate { .. } => "srtcm",
        Marker::TwoRate { .. } => "trtcm",
        Marker::TwoRateExcess { .. } => "trtcm-4115",
    }
}

/// The rates, as people write them.
fn rate(policer: &config::Policer) -> String {
    let unit = match policer.unit {
        PoliceUnit::Bits => "b/s",
        PoliceUnit::Packets => "packets/s",
    };
    match policer.marker {
        Marker::SingleRate { committed_rate, .. } => format!("{committed_rate} {unit}"),
        Marker::TwoRate { committed_rate, peak_rate, .. } => {
            format!("{committed_rate} {unit}, peak {peak_rate} {unit}")
        }
        Marker::TwoRateExcess { committed_rate, excess_rate, .. } => {
            format!("{committed_rate} {unit}, excess {excess_rate} {unit}")
        }
    }
}
