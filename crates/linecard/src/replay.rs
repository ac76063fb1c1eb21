//! The replay: one worker on capture files, and a clock made of their timestamps.
//!
//! Packets of all inputs go through the pipeline in the order of their timestamps, those with the
//! same one in the order of the ports. What depends on time (the punt limit) sees the captured
//! time, so the same files give the same result on any machine.

use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use linecard_control::config::{
    self, Config, InterfaceRef, PortKind, RouteAction, StaticFacts, StaticInterface,
    StaticNeighbour, StaticNextHop, StaticPort, StaticRoute,
};
use linecard_control::rib::Rib;
use linecard_forwarder::{IdlePolicy, PuntLimit, PuntSink, Worker, WorkerConfig, WorkerPort};
use linecard_io::{Frame, KernelCounters, MemoryConfig, PacketMemory, PcapPort, PortQueue};
use linecard_observe::{PortReport, PortState, PortsReport};
use linecard_packet::{PortId, WorkerCounters};
use linecard_services::route::{RouteStats, RouteTables, RouteUpdate};
use linecard_tables::publication::{Publish, Writer};
use linecard_wire::MacAddress;

/// Equal for all replays, so that equal flows take equal paths.
const FLOW_HASH_SEED: u64 = 0;
/// The gateway behind the output when no configuration names one.
const GATEWAY: (&str, MacAddress) = ("fe80::2", MacAddress::new([0x02, 0, 0x5e, 0x10, 0, 0x02]));
const OUTPUT_MAC_ADDRESS: MacAddress = MacAddress::new([0x02, 0, 0x5e, 0x10, 0, 0x01]);

/// What became of the packets.
pub(crate) struct Outcome {
    /// The ports with their counters.
    pub(crate) ports: PortsReport,
    /// What was wrong with the files on the way.
    pub(crate) errors: Vec<String>,
}

/// Replays the captures of `config` to their end.
pub(crate) fn run(config: &Config) -> anyhow::Result<Outcome> {
    refuse_to_overwrite(config)?;
    let clock = Arc::new(Clock::default());
    let mut ports = Vec::new();
    for (number, port) in config.ports.iter().enumerate() {
        let PortKind::Pcap { input, output, .. } = &port.kind else {
            let kind = port.kind.label();
            anyhow::bail!("port {} is of kind {kind}: a replay takes pcap ports only", port.name);
        };
        let pcap = PcapPort::open(input.as_deref(), output.as_deref())
            .with_context(|| format!("port {}", port.name))?;
        let id = PortId(u16::try_from(number).expect("1024 ports at the most"));
        let queue = ReplayQueue { pcap, name: port.name.clone(), clock: Arc::clone(&clock) };
        ports.push(WorkerPort { id, queues: vec![Box::new(queue)] });
    }
    let counters = WorkerCounters::new(ports.len());
    let reader = counters.reader();
    let mut worker = Worker::new(WorkerConfig {
        ports,
        memory: memory(config)?,
        tables: tables(config)?.subscription(),
        counters,
        route_stats: RouteStats::new(0),
        punt: Box::new(Nowhere),
        punt_limit: PuntLimit {
            rate_packets_per_second: config.punt.rate_packets_per_second,
            burst_packets: config.punt.burst_packets,
        },
        flow_hash_seed: FLOW_HASH_SEED,
        idle: IdlePolicy::default(),
    })
    .context("cannot build a worker")?;

    let mut now_nanoseconds = 0;
    while !worker.finished() {
        clock.begin_round(now_nanoseconds);
        worker.run_once(now_nanoseconds);
        now_nanoseconds = now_nanoseconds.max(clock.next_nanoseconds());
    }
    // The queues write out their last packets when they go.
    drop(worker);
    let totals = reader.read();
    let report = |(port, totals): (&config::Port, _)| PortReport {
        name: port.name.clone(),
        kind: port.kind.label().to_owned(),
        mode: String::new(),
        state: PortState::Up,
        queues: 1,
        route_cache: None,
        totals,
        passed: Vec::new(),
    };
    let ports = PortsReport::new(config.ports.iter().zip(totals).map(report).collect());
    let errors = std::mem::take(&mut *clock.errors.lock().expect("no queue panics with it"));
    Ok(Outcome { ports, errors })
}

/// An output empties its file at once: none may be the input of any port, by whatever name.
fn refuse_to_overwrite(config: &Config) -> anyhow::Result<()> {
    let files = config.ports.iter().filter_map(|port| match &port.kind {
        PortKind::Pcap { input, output, .. } => Some((input.as_deref(), output.as_deref())),
        _ => None,
    });
    let (inputs, outputs): (Vec<_>, Vec<_>) = files.unzip();
    for output in outputs.into_iter().flatten() {
        if inputs.iter().flatten().any(|input| is_same_file(input, output)) {
            let output = output.display();
            anyhow::bail!("{output} is an input of this replay: name another file to write to");
        }
    }
    Ok(())
}

/// True for two names of one regular file; what is no file, `/dev/null` say, cannot be overwritten.
fn is_same_file(a: &Path, b: &Path) -> bool {
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => a.is_file() && (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => a == b,
    }
}

fn memory(config: &Config) -> anyhow::Result<PacketMemory> {
    let chunks = config.memory;
    let memory = MemoryConfig { frames: chunks.frames_per_worker, chunk_bytes: chunks.frame_bytes };
    PacketMemory::new(memory).context("cannot map packet memory")
}

/// The route tables that the configuration describes.
pub(crate) fn tables(config: &Config) -> anyhow::Result<Writer<RouteTables, RouteUpdate>> {
    let mut rib = Rib::new();
    StaticFacts::of(config).tell(&mut rib);
    let mut updates = Vec::new();
    rib.drain(&mut updates);
    let capacities = config.tables.route_capacities();
    let mut writer = Writer::new(RouteTables::new(&capacities), RouteTables::new(&capacities));
    updates.into_iter().for_each(|update| writer.append(update));
    match writer.publish() {
        Publish::Published => Ok(writer),
        Publish::Busy => anyhow::bail!("the tables have a reader before they are filled"),
    }
}

/// What the queues of a replay share: the time, and what went wrong.
#[derive(Debug, Default)]
struct Clock {
    now_nanoseconds: AtomicU64,
    next_nanoseconds: AtomicU64,
    errors: Mutex<Vec<String>>,
}

impl Clock {
    fn begin_round(&self, now_nanoseconds: u64) {
        self.now_nanoseconds.store(now_nanoseconds, Ordering::Relaxed);
        self.next_nanoseconds.store(u64::MAX, Ordering::Relaxed);
    }

    /// The earliest packet that any queue still has; after a round.
    fn next_nanoseconds(&self) -> u64 {
        match self.next_nanoseconds.load(Ordering::Relaxed) {
            // Nothing is left to receive: the time stays.
            u64::MAX => 0,
            next => next,
        }
    }
}

/// A capture port that gives out a packet only when its time has come.
struct ReplayQueue {
    pcap: PcapPort,
    name: String,
    clock: Arc<Clock>,
}

impl PortQueue for ReplayQueue {
    fn receive(
        &mut self,
        memory: &mut PacketMemory,
        frames: &mut Vec<Frame>,
        frames_max: usize,
    ) -> usize {
        let now = self.clock.now_nanoseconds.load(Ordering::Relaxed);
        let before = frames.len();
        let due = |pcap: &PcapPort| pcap.next_timestamp_nanoseconds().is_some_and(|at| at <= now);
        while frames.len() - before < frames_max && due(&self.pcap) {
            let asked = frames.len();
            self.pcap.receive(memory, frames, 1);
            if frames.len() == asked {
                // No frame of memory is free; the next round has some.
                break;
            }
        }
        if let Some(next) = self.pcap.next_timestamp_nanoseconds() {
            self.clock.next_nanoseconds.fetch_min(next, Ordering::Relaxed);
        }
        frames.len() - before
    }

    fn transmit(&mut self, memory: &mut PacketMemory, frames: &mut Vec<Frame>) -> usize {
        self.pcap.transmit(memory, frames)
    }

    fn flush(&mut self, memory: &mut PacketMemory) {
        self.pcap.flush(memory);
    }

    fn queued(&self) -> usize {
        self.pcap.queued()
    }

    fn sent(&self) -> u64 {
        self.pcap.sent()
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.pcap.readable()
    }

    fn finished(&self) -> bool {
        self.pcap.finished()
    }

    fn kernel_counters(&self) -> KernelCounters {
        self.pcap.kernel_counters()
    }
}

impl Drop for ReplayQueue {
    fn drop(&mut self) {
        if let Err(error) = self.pcap.finish() {
            let error = format!("port {}: {error}", self.name);
            self.clock.errors.lock().expect("no queue panics with it").push(error);
        }
    }
}

/// There is no kernel behind a replay: punted packets are counted and gone.
struct Nowhere;

impl PuntSink for Nowhere {
    fn punt(&mut self, _port: PortId, _packet: &[u8]) -> bool {
        true
    }
}

/// A router with one way through it: from `input` to one gateway behind `output`.
///
/// The router's MAC address is the destination of the capture's first frame.
pub(crate) fn one_way(input: PathBuf, output: Option<PathBuf>) -> anyhow::Result<Config> {
    let mut config = config::of_kernel_ports(&["in".to_owned(), "out".to_owned()])
        .context("the built-in configuration")?;
    let station = |mac_address| StaticPort {
        mac_address,
        interfaces: vec![StaticInterface {
            vlans: Vec::new(),
            addresses: Vec::new(),
            mtu_bytes: 1500,
        }],
    };
    let router = first_destination(&input)?;
    config.ports[0].kind =
        PortKind::Pcap { input: Some(input), output: None, station: station(router) };
    config.ports[1].kind =
        PortKind::Pcap { input: None, output, station: station(OUTPUT_MAC_ADDRESS) };
    let interface = InterfaceRef { port: 1, interface: 0 };
    let address = GATEWAY.0.parse().context("the built-in gateway")?;
    config.neighbours = vec![StaticNeighbour { interface, address, mac_address: GATEWAY.1 }];
    let next_hop = StaticNextHop { interface, gateway: Some(address), weight: 1 };
    let route = |prefix| StaticRoute { prefix, action: RouteAction::NextHops(vec![next_hop]) };
    let all = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    config.routes = all.map(route).into();
    Ok(config)
}

/// Who the first frame is for.
fn first_destination(input: &Path) -> anyhow::Result<MacAddress> {
    let mut port = PcapPort::open(Some(input), None)?;
    let mut memory = PacketMemory::new(MemoryConfig { frames: 1, ..MemoryConfig::default() })?;
    let mut frames = Vec::with_capacity(1);
    while !port.finished() && port.receive(&mut memory, &mut frames, 1) == 0 {}
    let octets = frames.pop().and_then(|frame| memory.packet(&frame).first_chunk().copied());
    let octets: [u8; 6] =
        octets.with_context(|| format!("{} has no frame to forward", input.display()))?;
    Ok(MacAddress::new(octets))
}
