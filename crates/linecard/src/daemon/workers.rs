//! Starting and stopping workers: memory, queues, threads.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use linecard_control::config::{Config, Punt, ZeroCopy};
use linecard_forwarder::{
    IdlePolicy, PuntLimit, REPLY_LIMIT, Tap, Worker, WorkerConfig, WorkerPort,
};
use linecard_io::packet_port::{PacketPort, PacketPortOptions};
use linecard_io::xdp::{QueueOptions, SharedUmem, XdpQueue};
use linecard_io::{
    DeadManSwitch, MemoryConfig, PacketMemory, PortQueue, PuntDevice, RouteCache, XdpPort,
};
use linecard_packet::counters::CountersReader;
use linecard_packet::{BATCH_PACKETS_MAX, WorkerCounters};
use linecard_services::route::{
    RouteOffers, RouteStats, RouteStatsReader, RouteTables, RouteUpdate,
};
use linecard_tables::publication::Writer;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tracing::{error, info, warn};

use super::live_ports::LivePorts;
use super::ports::{KernelSide, Plan, ServedPort};
use super::services::{Services, WorkerServices};
use super::taps::Taps;

/// What a worker's thread builds it from.
type Parts = (WorkerConfig, Option<RouteOffers>, WorkerServices, Tap);

/// What others may read of a worker.
#[derive(Clone)]
pub(super) struct WorkerReaders {
    pub(super) counters: CountersReader,
    pub(super) route_stats: RouteStatsReader,
}

/// The running workers.
pub(super) struct Workers {
    threads: Vec<JoinHandle<()>>,
    readers: Vec<WorkerReaders>,
    stop: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
    switch: Arc<DeadManSwitch>,
    /// Not known to senders, and the same on all workers, so that a flow has one path.
    flow_hash_seed: u64,
}

impl Workers {
    /// Opens all queues and starts the threads; returns when every worker is armed and polls.
    ///
    /// # Errors
    /// The kernel's, when memory, a socket or a thread cannot be had.
    pub(super) fn start(
        config: &Config,
        plan: &Plan,
        ports: &mut [ServedPort],
        (punt, live): (&PuntDevice, Option<&LivePorts>),
        (tables, cache): (&Writer<RouteTables, RouteUpdate>, Option<&Arc<RouteCache>>),
        (services, taps): (&mut Services, &mut Taps),
        switch: &Arc<DeadManSwitch>,
    ) -> anyhow::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let mut workers = Self {
            threads: Vec::new(),
            readers: Vec::new(),
            stop: Arc::new(AtomicBool::new(false)),
            wake: Arc::new(wake),
            switch: Arc::clone(switch),
            flow_hash_seed: RandomState::new().hash_one(std::process::id()),
        };
        // All queues are open before the first worker is armed: from then on packets are taken.
        let mut configs = Vec::with_capacity(plan.workers);
        for number in 0..plan.workers {
            let (memory, queues) = open_queues(config, plan.workers, number, ports, live)?;
            let counters = WorkerCounters::new(ports.len());
            let route_stats = RouteStats::new(config.tables.adjacencies_max);
            workers.readers.push(WorkerReaders {
                counters: counters.reader(),
                route_stats: route_stats.reader(),
            });
            configs.push(WorkerConfig {
                ports: queues,
                memory,
                tables: tables.subscription(),
                counters,
                route_stats,
                punt: Box::new(punt.queue().context("open another queue of the punt device")?),
                punt_limit: punt_limit(config, plan.workers),
                flow_hash_seed: workers.flow_hash_seed,
                idle: IdlePolicy::default(),
            });
        }
        let (armed, is_armed) = mpsc::channel();
        let cores = cores(config, plan.workers);
        for (number, worker) in configs.into_iter().enumerate() {
            let offers = cache.map(|cache| RouteOffers::new(Arc::clone(cache)));
            let parts = (worker, offers, services.for_worker(), taps.for_worker());
            workers.spawn(number, cores.get(number).copied(), parts, armed.clone())?;
        }
        drop(armed);
        for _ in 0..plan.workers {
            if is_armed.recv().is_err() {
                bail!("a worker did not start: see the log above");
            }
        }
        Ok(workers)
    }

    fn spawn(
        &mut self,
        number: usize,
        core: Option<usize>,
        (config, offers, services, tap): Parts,
        armed: mpsc::Sender<()>,
    ) -> anyhow::Result<()> {
        let (stop, wake) = (Arc::clone(&self.stop), Arc::clone(&self.wake));
        let replies = share(REPLY_LIMIT, self.readers.len());
        let switch = Arc::clone(&self.switch);
        let body = move || {
            if let Some(core) = core {
                pin(number, core);
            }
            let outcome = Worker::new(config).and_then(|mut worker| {
                if let Some(offers) = offers {
                    worker.offer_routes(offers);
                }
                services.attach(&mut worker);
                worker.limit_replies(replies);
                worker.tap(tap);
                let _armed = switch.arm(number)?;
                // The receiver is gone only when another worker has failed.
                let _ = armed.send(());
                drop(armed);
                worker.run(&stop, &*wake)
            });
            if let Err(error) = outcome {
                error!(worker = number, %error, "worker has ended; the kernel forwards its packets");
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(body)
            .context("start a worker's thread")?;
        self.threads.push(thread);
        Ok(())
    }

    /// The seed by which they hash flows.
    pub(super) fn flow_hash_seed(&self) -> u64 {
        self.flow_hash_seed
    }

    /// What can be read of the workers.
    pub(super) fn readers(&self) -> Vec<WorkerReaders> {
        self.readers.clone()
    }

    /// Workers that have ended by themselves.
    pub(super) fn ended(&self) -> usize {
        self.threads.iter().filter(|thread| thread.is_finished()).count()
    }

    /// Gives all packets to the kernel; the workers run on, without any.
    pub(super) fn stand_down(&self) {
        self.switch.stand_down();
    }

    /// Gives all packets to the kernel, tells the workers to drain and end, and waits for them.
    pub(super) fn stop(&mut self) {
        self.stand_down();
        self.stop.store(true, Ordering::Release);
        if let Err(error) = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()) {
            warn!(%error, "workers will notice the stop a little later");
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a worker had panicked: see the log above");
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The configured limit is for the machine; each worker gets its share of it on each port.
fn punt_limit(config: &Config, workers: usize) -> PuntLimit {
    let &Punt { rate_packets_per_second, burst_packets, .. } = &config.punt;
    share(PuntLimit { rate_packets_per_second, burst_packets }, workers)
}

/// A worker's share of a limit.
fn share(limit: PuntLimit, workers: usize) -> PuntLimit {
    let share = |all: u32| (all / workers as u32).max(1);
    PuntLimit {
        rate_packets_per_second: share(limit.rate_packets_per_second),
        burst_packets: share(limit.burst_packets),
    }
}

/// Packet memory and queues of worker `number` of `workers`.
fn open_queues(
    config: &Config,
    workers: usize,
    number: usize,
    ports: &mut [ServedPort],
    live: Option<&LivePorts>,
) -> anyhow::Result<(PacketMemory, Vec<WorkerPort>)> {
    let mut zero_copy = zero_copy_of(ports);
    loop {
        let mut memory = PacketMemory::new(MemoryConfig {
            frames: frames_needed(config, workers, number, ports),
            chunk_bytes: config.memory.frame_bytes,
        })
        .context("map packet memory: lower memory.frames_per_worker or the number of ports")?;
        match open_all((workers, number), ports, &mut memory, zero_copy, live) {
            Ok(queues) => return Ok((memory, queues)),
            // One memory for all ports: where one driver has no zero-copy, all of them copy.
            Err(error) if zero_copy == ZeroCopy::Auto => {
                info!("no zero-copy on all ports, copying: {error:#}");
                zero_copy = ZeroCopy::Off;
            }
            Err(error) => return Err(error),
        }
    }
}

fn open_all(
    (workers, number): (usize, usize),
    ports: &mut [ServedPort],
    memory: &mut PacketMemory,
    zero_copy: ZeroCopy,
    live: Option<&LivePorts>,
) -> anyhow::Result<Vec<WorkerPort>> {
    let mut umem = SharedUmem::default();
    ports
        .iter_mut()
        .map(|port| {
            let queues = match &port.side {
                KernelSide::Xdp(xdp, _) => {
                    let mine = (number as u32..port.queues).step_by(workers);
                    let mut sockets = mine
                        .map(|queue| open_xdp(queue, port, xdp, memory, &mut umem, zero_copy))
                        .collect::<anyhow::Result<Vec<_>>>()?;
                    port.zero_copy = sockets.iter().all(XdpQueue::is_zero_copy);
                    if let Some(live) = live {
                        sockets.iter_mut().for_each(|queue| live.lend(port, queue, memory));
                    }
                    sockets.into_iter().map(|queue| Box::new(queue) as Box<dyn PortQueue>).collect()
                }
                KernelSide::Packet(gate) => {
                    let fanout_group = (workers > 1).then_some(port.interface.index as u16);
                    let queue = PacketPort::open(&PacketPortOptions {
                        fanout_group,
                        filter: Some(gate.filter()),
                        packet_bytes_max: memory.packet_bytes_max(),
                        ..PacketPortOptions::new(&port.interface.name)
                    })?;
                    vec![Box::new(queue) as Box<dyn PortQueue>]
                }
            };
            Ok(WorkerPort { id: port.id, queues })
        })
        .collect()
}

fn open_xdp(
    queue: u32,
    port: &ServedPort,
    xdp: &XdpPort,
    memory: &mut PacketMemory,
    umem: &mut SharedUmem,
    zero_copy: ZeroCopy,
) -> anyhow::Result<XdpQueue> {
    let options = QueueOptions {
        interface_index: port.interface.index,
        queue,
        transmit_queues: port.interface.transmit_queues,
        ring_entries: port.options.ring_entries,
        zero_copy: match zero_copy {
            ZeroCopy::Auto => linecard_io::xdp::ZeroCopy::Auto,
            ZeroCopy::On => linecard_io::xdp::ZeroCopy::On,
            ZeroCopy::Off => linecard_io::xdp::ZeroCopy::Off,
        },
    };
    let what = || format!("bind an AF_XDP socket to queue {queue} of {}", port.interface.name);
    let socket = XdpQueue::open(memory, umem, options)
        .map_err(|error| super::ports::explain(&what(), error))?;
    xdp.register(queue, &socket).with_context(what)?;
    Ok(socket)
}

/// Zero-copy is a property of a worker's memory, so of all its ports: "off" on one is off for
/// all, "on" demands it.
fn zero_copy_of(ports: &[ServedPort]) -> ZeroCopy {
    let wants = |wanted| ports.iter().any(|port| port.options.zero_copy == wanted);
    if wants(ZeroCopy::On) {
        ZeroCopy::On
    } else if wants(ZeroCopy::Off) {
        ZeroCopy::Off
    } else {
        ZeroCopy::Auto
    }
}

/// Frames of a worker: as configured, but no less than what its rings can hold at once.
fn frames_needed(config: &Config, workers: usize, number: usize, ports: &[ServedPort]) -> u32 {
    let rings: u32 = ports
        .iter()
        .map(|port| {
            let queues = (number as u32..port.queues).step_by(workers).len() as u32;
            // Full fill, receive and transmit rings.
            3 * queues * port.options.ring_entries
        })
        .sum();
    config.memory.frames_per_worker.max(rings + 2 * BATCH_PACKETS_MAX as u32)
}

/// The cores to pin workers to: those of the configuration; else, with several workers, those that the
/// process may use, one each. A single worker is left to the scheduler, which moves it away from a core
/// that the NIC's interrupts keep busy.
fn cores(config: &Config, workers: usize) -> Vec<usize> {
    if !config.workers.cores.is_empty() {
        return config.workers.cores.iter().map(|&core| usize::from(core)).collect();
    }
    match sched_getaffinity(None) {
        Ok(allowed) if workers > 1 => {
            (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect()
        }
        _ => Vec::new(),
    }
}

fn pin(number: usize, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    if let Err(error) = sched_setaffinity(None, &cores) {
        warn!(worker = number, core, %error, "not pinned: is the core there? (nproc)");
    }
}
