//! Ports by which the worker sends live frames (`io::xdp::live_transmitter`): which they are, and when
//! they are open to them. Only where the configuration asks for it: a call waits while any XDP program on
//! the machine is attached or detached, and a worker that waits can neither receive nor die.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use linecard_control::config::{Config, TransmitMode};
use linecard_control::mirror::xdp_features::XdpFeatures;
use linecard_io::route_cache::PORTS_MAX;
use linecard_io::xdp::live_transmitter::{LIVE_FRAME_BYTES_MAX, LiveLosses};
use linecard_io::xdp::{LiveTransmitter, XdpQueue};
use linecard_io::{PacketMemory, PortQueue, PuntDevice};
use linecard_observe::PortState;
use linecard_packet::PortId;
use tracing::{debug, info, warn};

use super::link_watch::state;
use super::ports::{KernelSide, Plan, ServedPort};
use super::source::Shared;

/// The driver whose ports keep frames in order (`io::xdp::live_side`).
const DRIVER: &str = "veth";
/// How often the daemon looks which ports take redirected frames.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a port that has refused frames gets no more of them.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// The transmitter of the one worker, and the ports that it sends by.
pub(super) struct LivePorts {
    transmitter: Arc<LiveTransmitter>,
    watch: Mutex<Watch>,
}

/// What the control loop remembers from look to look.
struct Watch {
    /// Those whose queue has the transmitter.
    ports: Vec<PortId>,
    features: XdpFeatures,
    look_due: Instant,
    losses: Vec<LiveLosses>,
    /// Until when each port is left alone.
    paused: Vec<Option<Instant>>,
}

impl LivePorts {
    /// Makes a transmitter, if it is wanted, there is a port for it, and the kernel has what it takes. Its
    /// program stands on the punt device, which is there as long as Linecard is.
    pub(super) fn open(
        config: &Config,
        plan: &Plan,
        ports: &[ServedPort],
        punt: &PuntDevice,
    ) -> Option<Self> {
        // A transmitter has one user, and a port with one transmit queue has one worker.
        let wanted = config.transmit == TransmitMode::Live && plan.workers == 1;
        if !wanted || !ports.iter().any(is_fit) {
            return None;
        }
        let open = || {
            let transmitter = LiveTransmitter::new(punt.interface_index())?;
            let watch = Watch {
                ports: Vec::new(),
                features: XdpFeatures::open()?,
                look_due: Instant::now(),
                losses: vec![LiveLosses::default(); PORTS_MAX],
                paused: vec![None; PORTS_MAX],
            };
            io::Result::Ok(Self { transmitter, watch: Mutex::new(watch) })
        };
        let failed = |error: &io::Error| info!("no live frames, workers send by rings: {error}");
        open().inspect_err(failed).ok()
    }

    /// Lets a queue of a port send by the transmitter, once the port is open, if it may.
    pub(super) fn lend(&self, port: &ServedPort, queue: &mut XdpQueue, memory: &PacketMemory) {
        let fits = memory.packet_bytes_max() <= LIVE_FRAME_BYTES_MAX && !queue.is_zero_copy();
        if !fits || !is_fit(port) || !queue.transmits() {
            return;
        }
        let PortId(number) = port.id;
        match self.transmitter.set_port(number, port.interface.index) {
            Ok(()) => {
                queue.send_live(memory, Arc::clone(&self.transmitter), number);
                self.watch().ports.push(port.id);
            }
            Err(error) => warn!(port = port.interface.name, %error, "sends no live frames"),
        }
    }

    /// Whether a port is open to live frames.
    pub(super) fn is_open(&self, port: PortId) -> bool {
        self.transmitter.is_open(port.0)
    }

    /// Says how much use it was; when the worker has ended.
    pub(super) fn log(&self) {
        info!(frames = self.transmitter.frames(), "live frames sent");
    }

    /// Looks, if it is time: a port is open while its driver takes redirected frames and its link is up,
    /// and not for a while after it has refused some.
    pub(super) fn look(&self, now: Instant, shared: &Shared) {
        let watch = &mut *self.watch();
        if now < watch.look_due {
            return;
        }
        watch.look_due = now + LOOK_INTERVAL;
        let able = match watch.features.targets() {
            Ok(able) => able,
            Err(error) => return debug!(%error, "cannot ask which ports take redirected frames"),
        };
        let losses = match self.transmitter.losses() {
            Ok(losses) => losses,
            Err(error) => return debug!(%error, "cannot read the losses of live frames"),
        };
        let ports = shared.ports();
        let rib = shared.rib();
        for port in ports.iter().filter(|port| watch.ports.contains(&port.id)) {
            let (at, index) = (port.id.index(), port.interface.index);
            let is_up = state(&rib, index) == PortState::Up;
            let refused = losses[at].refused - watch.losses[at].refused;
            if refused > 0 && is_up {
                warn!(port = port.interface.name, refused, "refused live frames");
                watch.paused[at] = Some(now + REFUSED_PAUSE);
            }
            watch.paused[at] = watch.paused[at].filter(|&until| now < until);
            self.set(port, is_up && able.contains(&index) && watch.paused[at].is_none());
        }
        watch.losses = losses;
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, port: &ServedPort, open: bool) {
        if self.is_open(port.id) != open {
            self.transmitter.open_port(port.id.0, open);
            info!(port = port.interface.name, open, "live frames");
        }
    }
}

/// Whether a port may be sent live frames by, as far as is known before its sockets are open.
fn is_fit(port: &ServedPort) -> bool {
    matches!(port.side, KernelSide::Xdp(..))
        && port.interface.transmit_queues == 1
        && port.id.index() < PORTS_MAX
        && port.interface.driver().is_ok_and(|driver| driver == DRIVER)
}
