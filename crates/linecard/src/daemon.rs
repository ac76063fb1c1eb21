//! `linecard run`: ports are opened, workers started, and the control loop keeps the workers'
//! tables in step with the kernel until a signal ends it.
//!
//! The order is what makes attaching and stopping cost no packet:
//!
//! 1. the classifiers are attached while no worker is armed, so they pass everything;
//! 2. sockets are bound, tables are filled, workers run;
//! 3. each worker arms its dead-man switch: from that instant transit is Linecard's;
//! 4. to stop, all switches stand down first, then the workers drain their queues, and only then
//!    is anything closed.

mod advice;
mod claim;
mod connections;
mod control_loop;
mod explain;
mod filter_log;
mod filters;
mod link_watch;
mod live_ports;
mod neighbours;
mod policers;
mod ports;
mod publisher;
mod redirects;
mod reload;
mod router;
mod services;
mod source;
mod source_checks;
mod taps;
mod words;
mod workers;

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Context;
use linecard_api::{Reserved, Server, ServerConfig};
use linecard_control::config::{Config, Document};
use linecard_control::mirror::Mirror;
use linecard_control::rib::{LocalUpdate, Rib};
use linecard_forwarder::Explainer;
use linecard_io::{DeadManSwitch, LocalAddresses, PuntDevice, RouteCache};
use linecard_packet::PortId;
use linecard_services::route::RouteTables;
use linecard_tables::publication::Writer;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tracing::info;

use self::control_loop::ControlLoop;
use self::live_ports::LivePorts;
use self::ports::{Plan, ServedPort};
use self::publisher::Publisher;
use self::redirects::Redirects;
pub(crate) use self::redirects::{is_veth, takes_frames};
use self::reload::Origin;
use self::router::{AtRouter, Slot};
use self::services::Services;
use self::source::{DaemonSource, Shared};
use self::taps::Taps;
use self::workers::Workers;

/// Runs until SIGINT, SIGTERM or SIGHUP.
///
/// `document` is what the configuration is from, if it is from a file: what a reload reads again.
///
/// # Errors
/// What keeps the router from starting: a missing interface, privilege or kernel feature, each
/// with its remedy; or a thread that cannot go on.
pub(crate) fn run(config: Config, document: Option<Document>) -> anyhow::Result<()> {
    let signals = signals()?;
    prefer();
    let started = Instant::now();
    let plan = Plan::new(&config)?;
    // Before a packet is taken: a start that fails has changed nothing.
    let api = reserve_api(&config)?;
    let local = LocalAddresses::new().map_err(|error| ports::explain("create a BPF map", error))?;
    let switch = DeadManSwitch::new(plan.workers)
        .map_err(|error| ports::explain("map a BPF array", error))?;

    let mut services = Services::new(&config, plan.workers)?;
    let redirects = Redirects::open(&config);
    let cache = redirects.as_ref().ok().map(|redirects| Arc::clone(&redirects.cache));
    let mut served = plan.attach(&local, &switch, cache.as_ref())?;
    let mut router = AtRouter::new();
    let at_router = router.prepare(&config, &Slot::of(&served))?;
    router.commit(at_router, &mut served)?;
    let punt = punt_device(&served)?;
    let live = LivePorts::open(&config, &plan, &served, &punt);

    let Filled { rib, mirror, publisher } = fill(&config, &served, &local, cache.clone())?;
    let bypassed = advice::give(&served, &rib);
    let tables = (publisher.writer(), cache.as_ref());
    let ways = (&punt, live.as_ref());
    let mut taps = Taps::new(cache.clone());
    let told = (&mut services, &mut taps);
    let mut workers = Workers::start(&config, &plan, &mut served, ways, tables, told, &switch)?;
    let explainer = explainer(&config, &publisher, workers.flow_hash_seed(), &services)?;
    if let Ok(redirects) = &redirects {
        redirects.serve(&served);
    }
    let shared = Arc::new(Shared {
        rib: Mutex::new(rib),
        ports: Mutex::new(served),
        status: Mutex::default(),
        workers: workers.readers(),
        started,
        bypassed,
        redirects,
        live,
        services: Mutex::new(services),
        router: Mutex::new(router),
        origin: Origin::new(config, document),
        taps: Mutex::new(taps),
        explainer: Mutex::new(explainer),
    });
    let control = ControlLoop {
        shared: &shared,
        mirror,
        publisher,
        local,
        workers: &workers,
        punt: &punt,
        resync_due: started,
    };
    // Before anybody can ask: the first answer must not be that there are no routes.
    control.report();
    let server = api.serve(Arc::new(DaemonSource::new(Arc::clone(&shared))))?;
    info!(workers = plan.workers, socket = %server.socket().display(), "forwarding");
    let outcome = control.run(&signals);

    info!("stopping: the kernel takes over");
    workers.stop();
    shared.live.iter().for_each(LivePorts::log);
    server.stop();
    shared.ports().iter_mut().for_each(ServedPort::close);
    outcome
}

/// Takes the API's socket, which another daemon may have.
fn reserve_api(config: &Config) -> anyhow::Result<Reserved> {
    let (socket, group) = (config.api.socket.clone(), config.api.group.clone());
    Server::reserve(&ServerConfig { socket, group }).context(
        "run as root, or with the capabilities in the README and an [api] socket of your own",
    )
}

/// What says what would happen to a packet, by the tables of the workers.
fn explainer(
    config: &Config,
    publisher: &Publisher,
    flow_hash_seed: u64,
    services: &Services,
) -> anyhow::Result<Explainer> {
    let tables = publisher.writer().subscription();
    let mut explainer = Explainer::new(&tables, flow_hash_seed, config.memory.frame_bytes)
        .context("map a frame of packet memory")?;
    services.explain_by(&mut explainer);
    Ok(explainer)
}

/// What is in step with the kernel, and is kept so by the control loop.
struct Filled {
    rib: Rib,
    mirror: Mirror,
    publisher: Publisher,
}

/// Reads the kernel's links, addresses, neighbours and routes, and fills the workers' tables and the
/// classifiers' addresses with them.
fn fill(
    config: &Config,
    served: &[ServedPort],
    local: &LocalAddresses,
    cache: Option<Arc<RouteCache>>,
) -> anyhow::Result<Filled> {
    let mut rib = Rib::new();
    for port in served {
        rib.serve(port.interface.index, port.id);
    }
    let mut mirror = Mirror::open().context("open the netlink mirror")?;
    mirror.sync(&mut rib).context("read the kernel's links, addresses, neighbours and routes")?;
    let capacities = config.tables.route_capacities();
    let writer = Writer::new(RouteTables::new(&capacities), RouteTables::new(&capacities));
    let mut publisher = Publisher::new(writer, cache);
    publisher.publish(&mut rib);
    // What they are follows from the routes that were just drained.
    let mut updates = Vec::new();
    rib.drain_local(&mut updates);
    for update in updates {
        apply_local(local, update).context("tell the classifiers the router's own addresses")?;
    }
    info!(routes = rib.prefixes(), groups = rib.groups(), "tables are filled");
    Ok(Filled { rib, mirror, publisher })
}

/// Nice value of the daemon: about nine times the weight of an ordinary thread (sched(7)).
const NICE: i32 = -10;

/// Lets this thread, and those that it will start, run before ordinary ones.
///
/// A packet waits for the worker, a route for the control loop, and after a SIGKILL the kernel takes
/// over as soon as the dying worker has run: on a machine that is busy otherwise each takes a time
/// slice of somebody else's. Not a real-time policy, under which a flood could keep the routing
/// daemon from running at all.
fn prefer() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::warn!(%error, "runs at ordinary priority: needs CAP_SYS_NICE");
    }
}

/// A socket that becomes readable on SIGINT, SIGTERM or SIGHUP (a lost terminal is no reason to leave
/// the ports as no stop would).
fn signals() -> anyhow::Result<UnixStream> {
    let (read, write) = UnixStream::pair().context("make a pipe for signals")?;
    read.set_nonblocking(true).context("make a pipe for signals")?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let write = write.try_clone().context("make a pipe for signals")?;
        signal_hook::low_level::pipe::register(signal, write).context("register for signals")?;
    }
    Ok(read)
}

fn punt_device(served: &[ServedPort]) -> anyhow::Result<PuntDevice> {
    let device = PuntDevice::create().map_err(|error| {
        ports::explain(
            "create the punt device (TAP with a tcx program, needs /dev/net/tun and Linux 6.6)",
            error,
        )
    })?;
    for port in served {
        let PortId(number) = port.id;
        device
            .set_port(number, port.interface.index)
            .with_context(|| format!("let the punt device reach {}", port.interface.name))?;
    }
    Ok(device)
}

/// Carries one change of the router's own addresses to the classifiers.
fn apply_local(local: &LocalAddresses, update: LocalUpdate) -> std::io::Result<()> {
    match update {
        LocalUpdate::Set(address) => local.insert(address),
        LocalUpdate::Remove(address) => local.remove(address).map(drop),
    }
}
