//! Who wants to know about single packets: orders for the workers' taps, and what the taps tell.
//!
//! A client's order stands for as long as its connection does: its [`TapFeed`] takes the order back when it is
//! dropped. The API's thread reads the taps when it asks for a client's packets, and what is others' it puts
//! into their queues; so memory is bounded, and a slow reader loses packets, which are counted, and holds nobody up.
//!
//! While an order stands the workers offer no routes to the route cache, and what was in it is void once all of
//! them know of the order: so all transit comes by a worker, and is seen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use linecard_api::Feed;
use linecard_control::config::Config;
use linecard_control::filter::parse_match;
use linecard_forwarder::{
    Kind, Order, OrderId, Tap, TapCapacities, TapOrders, TapReader, TapTaken, TapUpdate,
    clock_nanoseconds,
};
use linecard_io::RouteCache;
use linecard_observe::{PacketReport, TapEvent, TapKind, TapQuery};
use linecard_packet::PortId;
use linecard_services::filter::Match;
use linecard_tables::publication::{Publish, Writer};

use super::source::Shared;
use super::words::Words;

/// Traces and captures at once.
const CLIENTS_MAX: usize = 8;
/// Records that wait for one client.
const WAITING_MAX: usize = 4096;
/// Records that are read from the rings in one go.
const DRAIN_MAX: usize = 1024;
/// Packets in one answer.
const PACKETS_MAX: usize = 256;
/// A client that is told nothing new hears from the daemon this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// All taps.
pub(super) struct Taps {
    orders: Writer<TapOrders, TapUpdate>,
    readers: Vec<TapReader>,
    clients: BTreeMap<u32, Client>,
    /// What rules log, until the control loop has written it.
    logged: VecDeque<TapTaken>,
    /// Such packets for which there was no room here.
    unlogged: u64,
    next: u32,
    cache: Option<Arc<RouteCache>>,
    /// Not all workers know of the last order yet, and may still write to the route cache.
    erase_due: bool,
}

#[derive(Default)]
struct Client {
    order: Option<Arc<Order>>,
    waiting: VecDeque<TapTaken>,
    /// Records that came while the queue was full.
    lost: u64,
    /// What the workers had lost before.
    lost_before: u64,
    /// It wants what rules sample, and has no order.
    wants_samples: bool,
}

impl Client {
    fn give(&mut self, taken: TapTaken) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(taken);
        } else {
            self.lost += 1;
            self.order.iter().for_each(|order| order.give_back());
        }
    }
}

impl Taps {
    /// Nobody wants to know anything. What is in the cache is erased for those who do.
    pub(super) fn new(cache: Option<Arc<RouteCache>>) -> Self {
        Self {
            orders: Writer::new(TapOrders::new(), TapOrders::new()),
            readers: Vec::new(),
            clients: BTreeMap::new(),
            logged: VecDeque::new(),
            unlogged: 0,
            next: 0,
            cache,
            erase_due: false,
        }
    }

    /// What the next worker needs.
    pub(super) fn for_worker(&mut self) -> Tap {
        let (tap, reader) = Tap::new(&self.orders.subscription(), &TapCapacities::default());
        self.readers.push(reader);
        tap
    }

    /// Tells the workers what is ordered; to be called until it returns true.
    pub(super) fn publish(&mut self) -> bool {
        let published = match self.orders.pending() {
            0 => self.orders.settle(),
            _ => self.orders.publish(),
        };
        // Settled: no worker holds what was before.
        if published == Publish::Published && self.orders.settle() == Publish::Published {
            if std::mem::take(&mut self.erase_due)
                && let Some(cache) = &self.cache
            {
                cache.erase_all();
            }
            return true;
        }
        false
    }

    /// Enters a client.
    fn enter(&mut self, wants_samples: bool) -> Result<u32, String> {
        if self.clients.len() >= CLIENTS_MAX {
            return Err(format!("{CLIENTS_MAX} traces and captures run already: end one of them"));
        }
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let lost_before = self.lost();
        self.clients.insert(id, Client { lost_before, wants_samples, ..Client::default() });
        Ok(id)
    }

    /// Stands an order.
    fn arm(&mut self, order: impl FnOnce(OrderId) -> Order) -> Result<u32, String> {
        let id = self.enter(false)?;
        let order = Arc::new(order(OrderId(id)));
        if let Some(client) = self.clients.get_mut(&id) {
            client.order = Some(Arc::clone(&order));
        }
        self.orders.append(TapUpdate::Arm(order));
        self.erase_due = true;
        self.publish();
        Ok(id)
    }

    fn disarm(&mut self, id: u32) {
        let client = self.clients.remove(&id);
        if client.is_none_or(|client| client.wants_samples) {
            return;
        }
        self.orders.append(TapUpdate::Disarm(OrderId(id)));
        self.publish();
    }

    fn lost(&self) -> u64 {
        self.readers.iter().map(TapReader::lost).sum()
    }

    /// Reads what the taps tell, and gives each client its own.
    fn drain(&mut self) {
        let Self { readers, clients, logged, unlogged, .. } = self;
        for reader in readers {
            for _ in 0..DRAIN_MAX {
                let Some(taken) = reader.take() else { break };
                match taken.record.kind {
                    Kind::Trace | Kind::Capture => {
                        if let Some(client) = clients.get_mut(&taken.record.by) {
                            client.give(taken);
                        }
                    }
                    Kind::Sample => {
                        let clients = clients.values_mut().filter(|client| client.wants_samples);
                        clients.for_each(|client| client.give(taken.clone()));
                    }
                    // Workers limit them, and the control loop comes by several times a second.
                    Kind::Log if logged.len() < WAITING_MAX => logged.push_back(taken),
                    Kind::Log => *unlogged += 1,
                }
            }
        }
    }

    /// What rules have logged since the last call, and how many packets workers have not told for want of lines since
    /// they began.
    pub(super) fn take_logged(&mut self) -> (VecDeque<TapTaken>, u64) {
        self.drain();
        let suppressed: u64 = self.readers.iter().map(TapReader::suppressed).sum();
        (std::mem::take(&mut self.logged), suppressed + self.unlogged)
    }

    /// What waits for a client, and what it has lost so far.
    fn take(&mut self, id: u32, packets_max: usize) -> (Vec<TapTaken>, u64) {
        self.publish();
        self.drain();
        let lost = self.lost();
        let Some(client) = self.clients.get_mut(&id) else { return (Vec::new(), 0) };
        let count = client.waiting.len().min(packets_max);
        (client.waiting.drain(..count).collect(), client.lost + lost - client.lost_before)
    }
}

/// What one client is told.
pub(super) struct TapFeed {
    shared: Arc<Shared>,
    id: u32,
    begun: Option<TapEvent>,
    told: u64,
    count: u64,
    status_due: Instant,
    is_done: bool,
    is_capture: bool,
}

impl TapFeed {
    /// Orders what is asked for.
    ///
    /// # Errors
    /// What is wrong with the query, or too many clients.
    pub(super) fn new(shared: &Arc<Shared>, query: &TapQuery) -> Result<Self, String> {
        if query.kind == TapKind::Samples {
            return Self::of_samples(shared, query);
        }
        let condition = condition(shared, &query.condition)?;
        let in_port = query.port.as_ref().map(|name| port(shared, name)).transpose()?;
        let kind = match query.kind {
            TapKind::Trace => Kind::Trace,
            TapKind::Capture | TapKind::Samples => Kind::Capture,
        };
        let count = query.count.unwrap_or(u64::MAX);
        let order = |id| {
            let order = Order::new(id, kind, condition, count);
            let order = order.snap(query.snap_bytes.unwrap_or(u16::MAX));
            let order = if query.dropped { order.only_dropped() } else { order };
            match in_port {
                Some(port) => order.of_port(port),
                None => order,
            }
        };
        let id = shared.taps().arm(order)?;
        Ok(Self::begin(shared, query, id, notes(shared)))
    }

    /// What rules sample, whoever else gets it.
    fn of_samples(shared: &Arc<Shared>, query: &TapQuery) -> Result<Self, String> {
        if !query.condition.is_empty() || query.port.is_some() || query.dropped {
            return Err(
                "rules of filters choose the samples: ask for no packets besides".to_owned()
            );
        }
        let id = shared.taps().enter(true)?;
        let notes = vec!["samples are what rules with `sample` choose".to_owned()];
        Ok(Self::begin(shared, query, id, notes))
    }

    fn begin(shared: &Arc<Shared>, query: &TapQuery, id: u32, notes: Vec<String>) -> Self {
        let ports = port_names(shared).map(str::to_owned).collect();
        Self {
            shared: Arc::clone(shared),
            id,
            begun: Some(TapEvent::Begun { ports, notes }),
            told: 0,
            count: query.count.unwrap_or(u64::MAX),
            status_due: Instant::now() + STATUS_INTERVAL,
            is_done: false,
            is_capture: query.kind != TapKind::Trace,
        }
    }

    fn reports(&self, taken: &[TapTaken]) -> Vec<PacketReport> {
        let (services, rib) = (self.shared.services(), self.shared.rib());
        let ports: Vec<&str> = port_names(&self.shared).collect();
        let words = Words { services: &services, rib: &rib, ports: &ports };
        let clock = unix_nanoseconds_of_clock();
        taken
            .iter()
            .map(|taken| {
                let time = clock.saturating_add(taken.record.at_nanoseconds);
                let mut report = words.packet(taken, time, self.is_capture);
                if taken.record.kind == Kind::Sample {
                    let (filter, rule) = services.filters.rule_of(taken.record.by);
                    report.summary += &format!(", sample of rule {rule} of filter {filter}");
                }
                report
            })
            .collect()
    }
}

impl Feed for TapFeed {
    fn next(&mut self) -> Vec<TapEvent> {
        let mut events: Vec<TapEvent> = self.begun.take().into_iter().collect();
        if self.is_done {
            return events;
        }
        let room = usize::try_from(self.count - self.told).unwrap_or(usize::MAX);
        let (taken, lost) = self.shared.taps().take(self.id, room.min(PACKETS_MAX));
        self.told += taken.len() as u64;
        if !taken.is_empty() {
            let reports = self.reports(&taken).into_iter();
            events.extend(reports.map(|report| TapEvent::Packet(Box::new(report))));
        }
        self.is_done = self.told >= self.count;
        let now = Instant::now();
        if self.is_done || now >= self.status_due {
            events.push(TapEvent::Waiting { packets: self.told, lost, done: self.is_done });
        }
        if !events.is_empty() {
            self.status_due = now + STATUS_INTERVAL;
        }
        events
    }

    fn is_done(&self) -> bool {
        self.is_done
    }
}

impl Drop for TapFeed {
    fn drop(&mut self) {
        self.shared.taps().disarm(self.id);
    }
}

/// Names of the ports, in the order of their numbers.
pub(super) fn port_names(shared: &Shared) -> impl Iterator<Item = &str> {
    shared.origin.started().ports.iter().map(|port| port.name.as_str())
}

/// The number of a port.
///
/// # Errors
/// When there is none of the name.
pub(super) fn port(shared: &Shared, name: &str) -> Result<PortId, String> {
    match port_names(shared).position(|port| port == name) {
        Some(number) => Ok(PortId(number as u16)),
        None => {
            let names: Vec<&str> = port_names(shared).collect();
            Err(format!("there is no port {name}: Linecard serves {}", names.join(", ")))
        }
    }
}

/// What a line of the match language asks for.
fn condition(shared: &Shared, text: &str) -> Result<Match, String> {
    // Sets are what they were when they were read last.
    let judge = |config: &Config| parse_match(text, config.filters.names());
    let judged = shared.origin.in_force(judge).map_err(|errors| errors.to_string())?;
    match judged.idle {
        Some(why) => Err(format!("no packet matches: {why}")),
        None => Ok(judged.condition),
    }
}

/// What a reader of traces should know.
fn notes(shared: &Shared) -> Vec<String> {
    let mut notes = vec![
        "packets that the classifier leaves to the kernel, such as those to the router itself, ARP and multicast, \
         pass no worker and are not seen here: `linecard explain` tells of them"
            .to_owned(),
    ];
    if shared.redirects.as_ref().is_ok_and(|redirects| !redirects.is_stopped()) {
        notes.push("the route cache stands aside while this runs".to_owned());
    }
    notes
}

/// Zero of the workers' clock, in nanoseconds since 1970.
fn unix_nanoseconds_of_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).saturating_sub(clock_nanoseconds())
}
