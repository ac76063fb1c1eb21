//! The stage in memory: one worker on three memory ports, in this thread, and the demo plays
//! client and server. There is no kernel beside it.

mod acts;
mod hosts;

use std::time::Instant;

use anyhow::Context;
use linecard_control::config;
use linecard_forwarder::{IdlePolicy, PuntLimit, PuntSink, Worker, WorkerConfig, WorkerPort};
use linecard_io::{MemoryConfig, MemoryPeer, PacketMemory, memory_port};
use linecard_observe::{PortReport, PortState, PortsReport};
use linecard_packet::counters::CountersReader;
use linecard_packet::{PortId, WorkerCounters};
use linecard_services::route::RouteStats;
use linecard_wire::MacAddress;

pub(super) use self::acts::acts;

use crate::replay;

/// Packets that one direction of a port holds: some batches.
const PORT_CAPACITY: usize = 1_024;
const FRAMES: u32 = 4_096;
/// Any value; the figures of two demos are comparable because it stays.
const FLOW_HASH_SEED: u64 = 0x11ec_a4d5;

/// The first octets of the demo's MAC addresses: locally administered (RFC 7042 2.1).
const fn mac(last: u8) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 0, last])
}

/// The router's MAC addresses, by port.
const ROUTER_MACS: [MacAddress; 3] = [mac(1), mac(2), mac(3)];
/// The neighbours': the client, and the server on either path.
const HOST_MACS: [MacAddress; 3] = [mac(0x11), mac(0x12), mac(0x13)];

/// The router of the demo, as a file would describe it; the addresses are the lab's.
const CONFIGURATION: &str = r#"
[[port]]
name = "to-client"
kind = "memory"
mac_address = "02:00:00:00:00:01"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
[[port]]
name = "to-server-a"
kind = "memory"
mac_address = "02:00:00:00:00:02"
mtu_bytes = 1400
addresses = ["198.51.100.1/25", "2001:db8:a::1/64"]
[[port]]
name = "to-server-b"
kind = "memory"
mac_address = "02:00:00:00:00:03"
mtu_bytes = 1400
addresses = ["198.51.100.129/25", "2001:db8:b::1/64"]

[[neighbour]]
address = "192.0.2.2"
mac_address = "02:00:00:00:00:11"
[[neighbour]]
address = "2001:db8:1::2"
mac_address = "02:00:00:00:00:11"
[[neighbour]]
address = "198.51.100.2"
mac_address = "02:00:00:00:00:12"
[[neighbour]]
address = "2001:db8:a::2"
mac_address = "02:00:00:00:00:12"
[[neighbour]]
address = "198.51.100.130"
mac_address = "02:00:00:00:00:13"
[[neighbour]]
address = "2001:db8:b::2"
mac_address = "02:00:00:00:00:13"

[[route]]
prefix = "203.0.113.0/24"
next_hops = [{ via = "198.51.100.2" }, { via = "198.51.100.130" }]
[[route]]
prefix = "2001:db8:5::/64"
next_hops = [{ via = "2001:db8:a::2" }, { via = "2001:db8:b::2" }]
"#;

/// The worker and the far ends of its ports.
pub(super) struct Stage {
    worker: Worker,
    counters: CountersReader,
    names: Vec<String>,
    /// The client, and the server on path a and on path b.
    peers: [MemoryPeer; 3],
    started: Instant,
}

impl Stage {
    /// Builds the worker and fills its tables.
    ///
    /// # Errors
    /// When memory runs out.
    pub(super) fn new() -> anyhow::Result<Self> {
        let config = config::parse(CONFIGURATION, "demo.toml".as_ref())
            .context("the demo's own configuration")?;
        let [client, path_a, path_b] = [(); 3].map(|()| memory_port::pair(PORT_CAPACITY));
        let mut peers = Vec::new();
        let mut ports = Vec::new();
        for (number, (port, peer)) in (0..).zip([client, path_a, path_b]) {
            ports.push(WorkerPort { id: PortId(number), queues: vec![Box::new(port)] });
            peers.push(peer);
        }
        let peers = <[MemoryPeer; 3]>::try_from(peers).expect("three pairs were made");
        let counters = WorkerCounters::new(ports.len());
        let reader = counters.reader();
        let memory = MemoryConfig { frames: FRAMES, ..MemoryConfig::default() };
        let worker = Worker::new(WorkerConfig {
            ports,
            memory: PacketMemory::new(memory).context("map packet memory")?,
            tables: replay::tables(&config)?.subscription(),
            counters,
            route_stats: RouteStats::new(0),
            punt: Box::new(Nowhere),
            punt_limit: PuntLimit::default(),
            flow_hash_seed: FLOW_HASH_SEED,
            idle: IdlePolicy::default(),
        })
        .context("build a worker")?;
        let names = config.ports.into_iter().map(|port| port.name).collect();
        Ok(Self { worker, counters: reader, names, peers, started: Instant::now() })
    }

    /// One round of the worker; returns the packets it received.
    fn round(&mut self) -> usize {
        let now = self.started.elapsed().as_nanos();
        self.worker.run_once(u64::try_from(now).unwrap_or(u64::MAX))
    }

    /// Rounds until nothing is received or queued any more.
    fn settle(&mut self) {
        while self.round() > 0 {}
    }

    /// What the worker counted.
    fn ports(&self) -> PortsReport {
        let report = |(name, totals): (&String, _)| PortReport {
            name: name.clone(),
            kind: "memory".to_owned(),
            mode: String::new(),
            state: PortState::Up,
            queues: 1,
            route_cache: None,
            totals,
            passed: Vec::new(),
        };
        PortsReport::new(self.names.iter().zip(self.counters.read()).map(report).collect())
    }
}

/// Where the kernel would be: punted packets are counted and gone.
struct Nowhere;

impl PuntSink for Nowhere {
    fn punt(&mut self, _port: PortId, _packet: &[u8]) -> bool {
        true
    }
}
