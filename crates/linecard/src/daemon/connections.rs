//! Connection tracking's control side: the tables that all workers share, what may change while they run, and
//! what readers are shown.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linecard_control::config::Config;
use linecard_forwarder::{Worker, clock_nanoseconds};
use linecard_observe::{
    ConnectionQuery, ConnectionReport, ConnectionStateReport, ConnectionSummary, ConnectionsReport,
};
use linecard_services::connection::{
    Connection, ConnectionConfig, ConnectionCount, ConnectionScratch, ConnectionStats,
    ConnectionStatsReader, ConnectionTables,
};
use tracing::info;

/// How often the clock hand moves here …
const SWEEP_INTERVAL: Duration = Duration::from_millis(200);
/// … and after how many steps it has been everywhere, which is 10 s. Workers move theirs with each batch, but a
/// source that has reached its limit must not wait for packets of others.
const SWEEP_STEPS: usize = 50;

/// The connections of the daemon.
pub(super) struct Connections {
    config: ConnectionConfig,
    /// `None`: nothing is tracked, and nothing is taken of memory.
    tracked: Option<Tracked>,
}

struct Tracked {
    tables: Arc<ConnectionTables>,
    readers: Vec<ConnectionStatsReader>,
    scratch_seed: u64,
    hand: usize,
    swept: Instant,
    expired: u64,
}

/// A worker's part.
pub(super) struct WorkerConnections {
    tables: Arc<ConnectionTables>,
    scratch: ConnectionScratch,
    stats: ConnectionStats,
}

impl WorkerConnections {
    pub(super) fn attach(self, worker: &mut Worker) {
        worker.connections(self.tables, self.scratch, self.stats);
    }
}

impl Connections {
    /// Takes the memory of the tables, if connections are to be tracked.
    pub(super) fn new(config: &Config) -> Self {
        let table = config.connections.table;
        let tracked = config.tracks_connections().then(|| {
            // Not known to senders, who choose the keys.
            let seed = |number: u8| RandomState::new().hash_one(number);
            let tables = ConnectionTables::new(&table, seed(0));
            let (ipv4, ipv6) = (table.connections_ipv4_max, table.connections_ipv6_max);
            let memory_mib = tables.memory_bytes() >> 20;
            info!(ipv4, ipv6, memory_mib, "connections are tracked");
            Tracked {
                tables: Arc::new(tables),
                readers: Vec::new(),
                scratch_seed: seed(1),
                hand: 0,
                swept: Instant::now(),
                expired: 0,
            }
        });
        Self { config: table, tracked }
    }

    pub(super) fn for_worker(&mut self) -> Option<WorkerConnections> {
        let tracked = self.tracked.as_mut()?;
        let stats = ConnectionStats::default();
        let number = tracked.readers.len();
        tracked.readers.push(stats.reader());
        Some(WorkerConnections {
            tables: Arc::clone(&tracked.tables),
            scratch: ConnectionScratch::new(number, tracked.scratch_seed),
            stats,
        })
    }

    /// The tables, where connections are tracked.
    pub(super) fn tables(&self) -> Option<Arc<ConnectionTables>> {
        self.tracked.as_ref().map(|tracked| Arc::clone(&tracked.tables))
    }

    /// Why another configuration takes a restart, if it does: for tables that are there are not made larger, and
    /// workers that run are not given any.
    pub(super) fn needs_restart(&self, config: &Config) -> Option<&'static str> {
        match &self.tracked {
            Some(_) if !self.config.fits(&config.connections.table) => {
                Some("the sizes in [connections], or its first limit per source")
            }
            None if config.tracks_connections() => Some(
                "[connections]: none are tracked, and a rule asks for `state` or mode is \"on\"",
            ),
            _ => None,
        }
    }

    /// Takes on another configuration that needs no restart. What is tracked stays tracked.
    pub(super) fn commit(&mut self, config: &Config) {
        self.config = config.connections.table;
        if let Some(tracked) = &self.tracked {
            tracked.tables.set(&self.config);
        }
    }

    /// Moves the clock hand, when it is time to.
    pub(super) fn sweep(&mut self, now: Instant) {
        let Some(tracked) = &mut self.tracked else { return };
        if now.saturating_duration_since(tracked.swept) < SWEEP_INTERVAL {
            return;
        }
        tracked.swept = now;
        let buckets = tracked.tables.buckets().div_ceil(SWEEP_STEPS);
        let expired = tracked.tables.sweep(&mut tracked.hand, buckets, clock_nanoseconds());
        tracked.expired += expired as u64;
    }

    /// What readers are shown, to be asked without this and whatever lock it is behind; `None` where nothing is tracked.
    pub(super) fn view(&self) -> Option<View> {
        let tracked = self.tracked.as_ref()?;
        Some(View {
            config: self.config,
            tables: Arc::clone(&tracked.tables),
            readers: tracked.readers.clone(),
            expired: tracked.expired,
        })
    }
}

/// The connections as readers see them: the tables are the workers' own. To read them takes milliseconds when there are
/// millions, for which neither a reload nor the control loop has to wait.
pub(super) struct View {
    config: ConnectionConfig,
    tables: Arc<ConnectionTables>,
    readers: Vec<ConnectionStatsReader>,
    /// What the control side has forgotten.
    expired: u64,
}

impl View {
    /// A page of them.
    pub(super) fn report(&self, query: &ConnectionQuery) -> ConnectionsReport {
        let now = clock_nanoseconds();
        let summary = (query.from == 0).then(|| self.summary(now));
        let limit = query.limit.min(ConnectionQuery::LIMIT_MAX);
        if limit == 0 {
            return ConnectionsReport { summary, ..ConnectionsReport::default() };
        }
        let wanted = |it: &Connection| query.matches(it.source, it.destination, it.state);
        let (found, next) = self.tables.page(query.from, limit, now, wanted);
        ConnectionsReport { summary, connections: found.iter().map(report).collect(), next }
    }

    fn summary(&self, now: u64) -> ConnectionSummary {
        let census = self.tables.census(now);
        let sum = |family: usize| census.iter().map(|state| state.connections[family]).sum();
        let counted = |(what, label): (ConnectionCount, &str)| {
            let of_workers: u64 = self.readers.iter().map(|reader| reader.get(what)).sum();
            let here = if what == ConnectionCount::Expired { self.expired } else { 0 };
            (label.to_owned(), of_workers + here)
        };
        ConnectionSummary {
            ipv4: sum(0),
            ipv4_max: self.config.connections_ipv4_max as usize,
            ipv6: sum(1),
            ipv6_max: self.config.connections_ipv6_max as usize,
            per_source_max: self.config.connections_per_source_max as usize,
            memory_bytes: self.tables.memory_bytes(),
            counters: ConnectionCount::ALL.into_iter().map(counted).collect(),
            states: census
                .iter()
                .map(|state| ConnectionStateReport {
                    protocol: state.group.to_owned(),
                    state: state.state.to_owned(),
                    ipv4: state.connections[0],
                    ipv6: state.connections[1],
                })
                .collect(),
        }
    }
}

fn report(connection: &Connection) -> ConnectionReport {
    let protocol = match connection.protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        number => number.to_string(),
    };
    ConnectionReport {
        protocol,
        source: connection.source,
        source_port: connection.ports.map(|(source, _)| source),
        destination: connection.destination,
        destination_port: connection.ports.map(|(_, destination)| destination),
        icmp_type: connection.query.map(|(kind, _)| kind),
        icmp_identifier: connection.query.map(|(_, identifier)| identifier),
        state: connection.state.to_owned(),
        idle_seconds: connection.idle_nanoseconds / 1_000_000_000,
        timeout_seconds: connection.left_nanoseconds / 1_000_000_000,
    }
}
