//! The route cache as the daemon runs it: which ports take part, and what was counted.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use linecard_control::config::{Config, RouteCacheMode};
use linecard_control::mirror::xdp_features::XdpFeatures;
use linecard_control::rib::Rib;
use linecard_io::bpf::{LossCounter, RedirectLosses, Redirected};
use linecard_io::route_cache::PORTS_MAX;
use linecard_io::{AttachMode, Interface, RouteCache};
use linecard_observe::{PortService, RedirectTarget, RouteCacheObstacle, RouteCacheReport};
use linecard_packet::{AdjacencyId, DropReason, PortId, PortTotals};
use tracing::{info, warn};

use super::ports::{KernelSide, ServedPort};
use super::source::Shared;

/// Entries of the cache: 8 MiB.
const ENTRIES: usize = 131_072;
/// How often the daemon looks which ports take redirected frames.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a port that has refused frames gets no more of them.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// The cache and the counters of what is lost behind it.
pub(super) struct Redirects {
    pub(super) cache: Arc<RouteCache>,
    losses: LossCounter,
    books: Mutex<Books>,
    /// What keeps redirected frames from leaving by each port, by number, as of the last look.
    closed: Mutex<Vec<Option<RouteCacheObstacle>>>,
    /// No port is opened any more. Changed with `closed` locked.
    stopped: AtomicBool,
}

/// What was last read from the kernel.
struct Books {
    /// By port number; `None` where losses are not counted, so that nothing may be redirected to or from.
    ports: Vec<Option<PortBooks>>,
    /// A read has failed, and was said to have.
    failed: bool,
}

/// What came in by one port, for each outgoing port by number. Both of one time: losses that are newer
/// than what they are losses of would make counters run backwards.
#[derive(Default)]
struct PortBooks {
    losses: Vec<RedirectLosses>,
    redirected: Vec<Redirected>,
}

impl PortBooks {
    /// Losses first: they are counted after the redirect, so there are never more of them.
    fn read(losses: &LossCounter, port: &ServedPort) -> io::Result<Self> {
        let losses = losses.of_port(port.id.0)?;
        let KernelSide::Xdp(xdp, _) = &port.side else { return Ok(Self::default()) };
        Ok(Self { losses, redirected: xdp.redirected()? })
    }
}

impl Books {
    fn new() -> Self {
        Self { ports: (0..PORTS_MAX).map(|_| None).collect(), failed: false }
    }

    /// Takes what was read, or stays at what was read before.
    fn update(&mut self, port: PortId, name: &str, read: impl FnOnce() -> io::Result<PortBooks>) {
        let Some(books) = &mut self.ports[port.index()] else { return };
        match read() {
            Ok(read) => *books = read,
            Err(error) if !std::mem::replace(&mut self.failed, true) => {
                warn!(port = name, %error, "counters of redirected frames stand still");
            }
            Err(_) => {}
        }
    }
}

impl Redirects {
    /// Makes a cache, if it is wanted and the kernel can count what is lost behind it.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn open(config: &Config) -> Result<Self, RouteCacheObstacle> {
        if config.route_cache == RouteCacheMode::Off {
            return Err(RouteCacheObstacle::Mode);
        }
        if config.has_services() {
            return Err(RouteCacheObstacle::Services);
        }
        let open = || {
            let cache = RouteCache::new(ENTRIES)?;
            let losses = LossCounter::attach(&cache)?;
            let closed = Mutex::new(vec![Some(RouteCacheObstacle::NotKnownYet); PORTS_MAX]);
            let (books, stopped) = (Mutex::new(Books::new()), AtomicBool::new(false));
            io::Result::Ok(Self { cache, losses, books, closed, stopped })
        };
        open().map_err(|error| {
            info!("no route cache, workers forward everything: {error}");
            RouteCacheObstacle::Unavailable(error.to_string())
        })
    }

    /// Lets the classifiers forward nothing by themselves any more, for good: packets must pass services that
    /// only workers have. When it returns, each frame that a classifier begins to look at goes to a worker.
    ///
    /// # Errors
    /// The kernel's; some ports may be open still, and those that are not are opened again.
    pub(super) fn stop(&self) -> io::Result<()> {
        let mut closed = self.closed();
        if self.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        (0..PORTS_MAX as u16).try_for_each(|number| self.cache.remove_target(number))?;
        // Workers need not look for anything to offer any more.
        (0..PORTS_MAX as u16).for_each(|number| self.cache.set_source(number, false));
        self.cache.erase_all();
        closed.fill(Some(RouteCacheObstacle::Services));
        self.stopped.store(true, Ordering::Relaxed);
        info!("route cache: off, as packets pass filters now");
        Ok(())
    }

    /// Whether [`Self::stop`] was called.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The ports' parts in it.
    pub(super) fn report(&self, ports: &[ServedPort]) -> Vec<RouteCacheReport> {
        let of_port = |port: &ServedPort| {
            let mut obstacles: Vec<_> = no_part(port).into_iter().collect();
            if obstacles.is_empty() {
                let refused = RouteCacheObstacle::ProgramRefused;
                obstacles.extend((!has_route_cache(port)).then_some(refused));
                obstacles.extend(self.closed()[port.id.index()].clone());
            }
            obstacles
        };
        RouteCacheReport::of_ports(&ports.iter().map(of_port).collect::<Vec<_>>())
    }

    /// Ports whose classifier asks the cache: those in native mode that copy. (Without copies the way
    /// through the worker is the shorter one, and a redirect would copy.)
    pub(super) fn serve(&self, ports: &[ServedPort]) {
        for port in ports.iter().filter(|port| takes_part(port)) {
            let PortId(number) = port.id;
            match self.losses.set_port(number, port.interface.index) {
                Ok(()) => {
                    self.books().ports[usize::from(number)] = Some(PortBooks::default());
                    self.cache.set_source(number, has_route_cache(port));
                }
                Err(error) => warn!(port = port.interface.name, %error, "not in the route cache"),
            }
        }
    }

    fn closed(&self) -> MutexGuard<'_, Vec<Option<RouteCacheObstacle>>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The books, as new as can be.
    fn read(&self, ports: &[ServedPort]) -> MutexGuard<'_, Books> {
        let mut books = self.books();
        for port in ports.iter().filter(|port| takes_part(port)) {
            let read = || PortBooks::read(&self.losses, port);
            books.update(port.id, &port.interface.name, read);
        }
        books
    }

    /// Adds what the classifiers have forwarded by themselves, which no worker has seen: received and
    /// forwarded where it came in, sent where it left.
    pub(super) fn add_to(&self, totals: &mut [PortTotals], ports: &[ServedPort]) {
        for (from, books) in self.read(ports).ports.iter().enumerate().take(totals.len()) {
            let Some(PortBooks { losses, redirected }) = books else { continue };
            for (to, (redirected, lost)) in redirected.iter().zip(losses).enumerate() {
                if redirected.packets == 0 || to >= totals.len() {
                    continue;
                }
                let forwarded = redirected.packets.saturating_sub(lost.full + lost.refused);
                // How long the lost frames were nobody tells: the bytes hold them, too.
                let incoming = &mut totals[from];
                incoming.received_packets += redirected.packets;
                incoming.received_bytes += redirected.received_bytes;
                incoming.forwarded_packets += forwarded;
                incoming.forwarded_bytes += redirected.received_bytes;
                incoming.redirected_packets += forwarded;
                incoming.dropped_packets[DropReason::TransmitQueueFull] += lost.full;
                incoming.dropped_packets[DropReason::RedirectRefused] += lost.refused;
                totals[to].sent_packets += forwarded;
                totals[to].transmitted_bytes += redirected.sent_bytes;
            }
        }
    }

    /// The adjacencies that the classifiers have used since the last call.
    pub(super) fn take_used(&self) -> HashSet<AdjacencyId> {
        let mut used = HashSet::new();
        self.cache.take_used(|adjacency| {
            used.insert(AdjacencyId(adjacency));
        });
        used
    }

    /// Frames that each port has refused so far.
    fn refused(&self, ports: &[ServedPort]) -> Vec<u64> {
        let mut refused = vec![0; PORTS_MAX];
        for books in self.read(ports).ports.iter().flatten() {
            refused.iter_mut().zip(&books.losses).for_each(|(sum, lost)| *sum += lost.refused);
        }
        refused
    }

    /// Whether what is lost on the way to a port is counted.
    fn is_counted(&self, port: PortId) -> bool {
        self.books().ports.get(port.index()).is_some_and(Option::is_some)
    }
}

/// Whether a port forwards by the cache, and may be forwarded to.
fn takes_part(port: &ServedPort) -> bool {
    no_part(port).is_none()
}

/// Why it has no part in the cache, as long as it is served as it is.
fn no_part(port: &ServedPort) -> Option<RouteCacheObstacle> {
    let service = match port.side {
        KernelSide::Packet(_) => PortService::Packet,
        KernelSide::Xdp(_, AttachMode::Generic) => PortService::Generic,
        KernelSide::Xdp(..) => PortService::Native { zero_copy: port.zero_copy },
    };
    RouteCacheObstacle::of_service(service, port.id.index(), PORTS_MAX)
}

/// Whether its classifier asks the cache: not when the kernel has refused the program that does.
fn has_route_cache(port: &ServedPort) -> bool {
    matches!(&port.side, KernelSide::Xdp(xdp, _) if xdp.has_route_cache())
}

/// Opens and closes ports to redirected frames, as the kernel says and as it turns out.
pub(super) struct TargetWatch {
    /// `None` where the kernel does not tell: then no port is ever opened.
    features: Option<XdpFeatures>,
    look_due: Instant,
    refused: Vec<u64>,
    /// Until when each port is left alone.
    paused: Vec<Option<Instant>>,
}

impl TargetWatch {
    pub(super) fn new(now: Instant, redirects: Option<&Redirects>) -> Self {
        let open = |redirects: &Redirects| {
            let failed = |error: &io::Error| {
                info!("no route cache: {error}");
                let why = RouteCacheObstacle::Unavailable(error.to_string());
                redirects.closed().fill(Some(why));
            };
            XdpFeatures::open().inspect_err(failed).ok()
        };
        let features = redirects.and_then(open);
        let paused = vec![None; PORTS_MAX];
        Self { features, look_due: now, refused: vec![0; PORTS_MAX], paused }
    }

    /// Looks, if it is time: a port is a target while its driver says that it takes redirected frames and
    /// its link is up, and not for a while after it has refused some.
    pub(super) fn look(&mut self, now: Instant, shared: &Shared) {
        let (Ok(redirects), Some(features)) = (&shared.redirects, &mut self.features) else {
            return;
        };
        if now < self.look_due {
            return;
        }
        self.look_due = now + LOOK_INTERVAL;
        let able = features.targets().map_err(|error| error.to_string());
        let ports = shared.ports();
        let rib = shared.rib();
        let refused = redirects.refused(&ports);
        for port in ports.iter().filter(|port| takes_part(port)) {
            let at = port.id.index();
            if refused[at] > self.refused[at] && is_up(&rib, port) {
                let frames = refused[at] - self.refused[at];
                warn!(port = port.interface.name, frames, "refused redirected frames");
                self.paused[at] = Some(now + REFUSED_PAUSE);
            }
            self.paused[at] = self.paused[at].filter(|&until| now < until);
            let takes_frames = takes_frames(&able, &port.interface);
            let obstacle = RouteCacheObstacle::of_target(&RedirectTarget {
                losses_counted: redirects.is_counted(port.id),
                up: is_up(&rib, port),
                is_veth: takes_frames == Ok(false) && is_veth(&port.interface),
                takes_frames,
                refused: self.paused[at].is_some(),
            });
            let mut closed = redirects.closed();
            if redirects.stopped.load(Ordering::Relaxed) {
                return;
            }
            set(redirects, port, obstacle.as_ref());
            closed[at] = obstacle;
        }
        self.refused = refused;
    }
}

/// Whether an interface is one of those that take redirected frames, if the kernel has said which do.
pub(crate) fn takes_frames(
    able: &Result<HashSet<u32>, String>,
    interface: &Interface,
) -> Result<bool, String> {
    able.as_ref().map(|able| able.contains(&interface.index)).map_err(Clone::clone)
}

/// Whether its driver is veth's, as far as that can be told.
pub(crate) fn is_veth(interface: &Interface) -> bool {
    interface.driver().is_ok_and(|driver| driver == "veth")
}

fn is_up(rib: &Rib, port: &ServedPort) -> bool {
    rib.link(port.interface.index).is_some_and(|link| link.up && link.carrier)
}

fn set(redirects: &Redirects, port: &ServedPort, obstacle: Option<&RouteCacheObstacle>) {
    let (PortId(number), name, open) = (port.id, &port.interface.name, obstacle.is_none());
    if redirects.cache.is_target(number) == open {
        return;
    }
    let outcome = match open {
        true => redirects.cache.set_target(number, port.interface.index),
        false => redirects.cache.remove_target(number),
    };
    match outcome {
        Ok(()) if open => info!(port = name, "route cache: classifiers forward to it"),
        Ok(()) => {
            let why = obstacle.map(RouteCacheObstacle::description);
            info!(port = name, why, "route cache: classifiers do not forward to it any more");
        }
        Err(error) => warn!(port = name, %error, "cannot change where redirected frames leave"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_fails_leaves_what_was_read_before() {
        let of = |packets, full| PortBooks {
            losses: vec![RedirectLosses { full, refused: 0 }],
            redirected: vec![Redirected { packets, ..Redirected::default() }],
        };
        let failure = || Err(io::Error::from_raw_os_error(libc::ENOMEM));
        let mut books = Books::new();
        books.ports[3] = Some(PortBooks::default());
        books.update(PortId(3), "p", || Ok(of(10, 1)));
        books.update(PortId(3), "p", failure);
        let kept = books.ports[3].as_ref().expect("it is counted");
        assert_eq!((kept.redirected[0].packets, kept.losses[0].full), (10, 1));
        assert!(books.failed);
        books.update(PortId(3), "p", || Ok(of(20, 2)));
        let new = books.ports[3].as_ref().expect("it is counted");
        assert_eq!((new.redirected[0].packets, new.losses[0].full), (20, 2));
    }

    #[test]
    fn a_port_whose_losses_are_not_counted_stays_out_of_the_books() {
        let mut books = Books::new();
        books.update(PortId(3), "p", || panic!("nobody asks"));
        assert!(books.ports[3].is_none());
    }
}
