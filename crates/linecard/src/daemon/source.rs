//! What the API answers from.

mod reports;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use linecard_api::{Feed, Source};
use linecard_control::facts::NeighbourState as NeighbourFact;
use linecard_control::mirror;
use linecard_control::rib::Rib;
use linecard_forwarder::Explainer;
use linecard_observe::{
    ConnectionQuery, ConnectionsReport, ExplainQuery, FiltersReport, HealthReport, HealthState,
    NeighbourReport, NeighbourState, NeighboursReport, PacketReport, PolicersReport, PortReport,
    PortRouteCacheReport, PortsReport, ProtectionReport, ReloadReport, RouteCacheObstacle,
    RouteCacheReport, RouteQuery, RoutesReport, TapQuery,
};
use linecard_packet::{AdjacencyId, PortId, PortTotals};

use self::reports::{add_dropped, first_prefixes, name, passed, protection};
pub(super) use self::reports::{covering, route_report};
use super::link_watch::state;
use super::live_ports::LivePorts;
use super::ports::ServedPort;
use super::redirects::Redirects;
use super::reload::Origin;
use super::router::AtRouter;
use super::services::Services;
use super::taps::{TapFeed, Taps};
use super::workers::WorkerReaders;
use super::{advice, explain};

/// What the control loop shares with the API's thread. No worker ever takes one of these locks.
/// Who needs several takes `services`, `router`, `ports` and `rib` in this order: the other way round the two threads could
/// wait for each other.
pub(super) struct Shared {
    pub(super) rib: Mutex<Rib>,
    pub(super) ports: Mutex<Vec<ServedPort>>,
    pub(super) status: Mutex<Status>,
    pub(super) workers: Vec<WorkerReaders>,
    pub(super) started: Instant,
    /// A sentence for each thing of the kernel's that transit bypasses, as found at the start.
    pub(super) bypassed: Vec<String>,
    /// The route cache, or why there is none.
    pub(super) redirects: Result<Redirects, RouteCacheObstacle>,
    /// The ports by which the worker sends live frames, if any.
    pub(super) live: Option<LivePorts>,
    /// The services besides the route.
    pub(super) services: Mutex<Services>,
    /// The filter of what is for the router itself.
    pub(super) router: Mutex<AtRouter>,
    pub(super) taps: Mutex<Taps>,
    pub(super) explainer: Mutex<Explainer>,
    /// What the daemon was started from.
    pub(super) origin: Origin,
}

/// How the control side is doing.
#[derive(Default)]
pub(super) struct Status {
    pub(super) snapshot_version: u64,
    pub(super) routes: usize,
    pub(super) table_overflows: u64,
    pub(super) workers_ended: usize,
    pub(super) punt_device_gone: bool,
    pub(super) mirror: mirror::Counters,
}

impl Shared {
    // A thread that panicked with a lock held has not left these half-changed in a way that a
    // reader could trip over, and the router goes on forwarding: so the data is used all the same.

    pub(super) fn rib(&self) -> MutexGuard<'_, Rib> {
        self.rib.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ports(&self) -> MutexGuard<'_, Vec<ServedPort>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The services, unless the API's thread has them just now: a reload compiles its filters with them in hand, and
    /// routes must not wait for that.
    pub(super) fn services_if_free(&self) -> Option<MutexGuard<'_, Services>> {
        match self.services.try_lock() {
            Ok(services) => Some(services),
            Err(TryLockError::Poisoned(services)) => Some(services.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(super) fn router(&self) -> MutexGuard<'_, AtRouter> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn taps(&self) -> MutexGuard<'_, Taps> {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn explainer(&self) -> MutexGuard<'_, Explainer> {
        self.explainer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packets that all workers gave this adjacency.
    pub(super) fn adjacency_packets(&self, id: AdjacencyId) -> u64 {
        self.workers.iter().map(|worker| worker.route_stats.packets(id)).sum()
    }

    fn route_cache(&self, ports: &[ServedPort]) -> Vec<RouteCacheReport> {
        match &self.redirects {
            Ok(redirects) => redirects.report(ports),
            Err(obstacle) => RouteCacheReport::of_ports(&vec![vec![obstacle.clone()]; ports.len()]),
        }
    }

    fn totals(&self, ports: &[ServedPort]) -> Vec<PortTotals> {
        let mut totals = vec![PortTotals::default(); ports.len()];
        for worker in &self.workers {
            for (total, counted) in totals.iter_mut().zip(worker.counters.read()) {
                *total += &counted;
            }
        }
        if let Ok(redirects) = &self.redirects {
            redirects.add_to(&mut totals, ports);
        }
        for (total, port) in totals.iter_mut().zip(ports) {
            add_dropped(total, port);
        }
        totals
    }
}

/// The daemon as the API sees it.
pub(super) struct DaemonSource {
    shared: Arc<Shared>,
}

impl DaemonSource {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl DaemonSource {
    /// A sentence for each port whose interface was removed.
    fn gone(&self) -> Vec<String> {
        let ports = self.shared.ports();
        let rib = self.shared.rib();
        let gone = ports.iter().filter(|port| rib.link(port.interface.index).is_none());
        gone.map(|port| {
            format!("port {} is gone: restart Linecard when it is back", port.interface.name)
        })
        .collect()
    }

    fn route_cache(&self) -> Vec<PortRouteCacheReport> {
        let ports = self.shared.ports();
        let report = |(port, report): (&ServedPort, RouteCacheReport)| PortRouteCacheReport {
            port: port.interface.name.clone(),
            report,
        };
        ports.iter().zip(self.shared.route_cache(&ports)).map(report).collect()
    }

    /// Where and how its frames are taken and sent.
    fn mode(&self, port: &ServedPort) -> String {
        let live = self.shared.live.as_ref().is_some_and(|live| live.is_open(port.id));
        port.mode() + if live { ", live frames" } else { "" }
    }

    fn not_forwarding(&self) -> Vec<String> {
        let ports = self.shared.ports();
        advice::not_forwarding(&ports, &self.shared.rib())
    }
}

impl Source for DaemonSource {
    fn tap(&self, query: &TapQuery) -> Result<Box<dyn Feed>, String> {
        Ok(Box::new(TapFeed::new(&self.shared, query)?))
    }

    fn explain(&self, query: &ExplainQuery) -> Result<PacketReport, String> {
        explain::explain(&self.shared, query)
    }

    fn ports(&self) -> PortsReport {
        let ports = self.shared.ports();
        let totals = self.shared.totals(&ports);
        let rib = self.shared.rib();
        let route_cache = self.shared.route_cache(&ports);
        let report = |(port, route_cache): (&ServedPort, RouteCacheReport)| {
            let PortId(number) = port.id;
            PortReport {
                name: port.interface.name.clone(),
                kind: port.kind().to_owned(),
                mode: self.mode(port),
                state: state(&rib, port.interface.index),
                queues: port.queues,
                route_cache: Some(route_cache),
                totals: totals[usize::from(number)].clone(),
                passed: passed(port),
            }
        };
        PortsReport::new(ports.iter().zip(route_cache).map(report).collect())
    }

    fn routes(&self, query: &RouteQuery) -> RoutesReport {
        let rib = self.shared.rib();
        let prefixes = match query.covers {
            Some(address) => covering(address),
            None => first_prefixes(&rib, query),
        };
        let held = prefixes.into_iter().flat_map(|prefix| rib.routes_of(prefix));
        let used = held.filter(|route| route.selected);
        query.page(used.map(|route| route_report(&rib, &route)))
    }

    fn neighbours(&self) -> NeighboursReport {
        let rib = self.shared.rib();
        let mut neighbours: Vec<_> = rib
            .neighbours()
            .map(|neighbour| NeighbourReport {
                interface: name(&rib, neighbour.ifindex),
                address: neighbour.address,
                mac_address: neighbour.mac_address.map(|address| address.to_string()),
                state: match neighbour.state {
                    NeighbourFact::Usable => NeighbourState::Usable,
                    NeighbourFact::Unresolved => NeighbourState::Unresolved,
                },
            })
            .collect();
        neighbours.sort();
        NeighboursReport { neighbours }
    }

    fn filters(&self) -> FiltersReport {
        let mut report = self.shared.services().filters.report();
        self.shared.router().add_to(&mut report);
        report
    }

    fn protection(&self) -> ProtectionReport {
        ProtectionReport { ports: self.shared.ports().iter().filter_map(protection).collect() }
    }

    fn policers(&self) -> PolicersReport {
        self.shared.services().policers.report()
    }

    fn connections(&self, query: &ConnectionQuery) -> ConnectionsReport {
        // A statement of its own: what holds the lock ends with it.
        let view = self.shared.services().connections.view();
        view.map_or_else(ConnectionsReport::default, |view| view.report(query))
    }

    fn reload(&self, set: Option<&str>) -> Result<ReloadReport, String> {
        self.shared.origin.reload(set, &self.shared)
    }

    fn health(&self) -> HealthReport {
        let mut troubles = self.gone();
        troubles.extend(self.not_forwarding());
        troubles.extend_from_slice(&self.shared.bypassed);
        let route_cache = self.route_cache();
        let status = self.shared.status();
        if status.workers_ended > 0 {
            troubles.push(format!(
                "{} workers have ended; the kernel forwards their packets: see the log",
                status.workers_ended
            ));
        }
        if status.punt_device_gone {
            troubles.push(
                "the punt device is gone, so the kernel forwards: restart Linecard".to_owned(),
            );
        }
        if status.table_overflows > 0 {
            troubles.push(format!(
                "{} updates did not fit the tables: raise the capacities in [tables]",
                status.table_overflows
            ));
        }
        if status.mirror.policy_rules > 0 {
            troubles.push(format!(
                "{} policy rules (`ip rule`) are not followed: Linecard routes by the table main",
                status.mirror.policy_rules
            ));
        }
        let unverified = self.shared.services().source_checks.unverified_packets();
        if unverified > 0 {
            troubles.push(format!(
                "{unverified} packets passed the reverse-path check unverified, as the tables do not \
                 hold all routes: raise the capacities in [tables]"
            ));
        }
        HealthReport {
            state: if troubles.is_empty() { HealthState::Well } else { HealthState::Degraded },
            troubles,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.shared.started.elapsed().as_secs(),
            workers: (self.shared.workers.len() - status.workers_ended) as u32,
            snapshot_version: status.snapshot_version,
            routes: status.routes as u64,
            route_cache,
            netlink_overruns: status.mirror.overruns,
            netlink_resyncs: status.mirror.syncs.saturating_sub(1),
            table_overflows: status.table_overflows,
        }
    }
}
