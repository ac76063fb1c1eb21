//! A router of three ports on memory wires, with a few routes of each kind.
//!
//! | interface | port | tags | |
//! |---|---|---|---|
//! | 0 | 0 | | neighbour 10.0.0.2 |
//! | 1 | 1 | | neighbours 10.1.0.2, 2001:db8:1::2, and 10.1.0.3 without a MAC address |
//! | 2 | 1 | 100 | neighbour 10.2.0.2 |
//! | 3 | 1 | 200 (service), 300 | neighbour 10.3.0.2 |
//! | 4 | 2 | | down; neighbour 10.4.0.2 |
//! | 5 | 0 | 50 | does not forward |
//! | 6 | 0 | 100 | |
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex};

use linecard_forwarder::{
    Explainer, IdlePolicy, Kind, Order, OrderId, PuntLimit, PuntSink, Tap, TapCapacities,
    TapOrders, TapReader, TapUpdate, Worker, WorkerConfig, WorkerPort,
};
use linecard_io::{MemoryConfig, MemoryPeer, PacketMemory, memory_port};
use linecard_packet::{
    AdjacencyId, CountersReader, InterfaceId, PortId, PortTotals, WorkerCounters,
};
use linecard_services::filter::Match;
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities, RouteStats,
    RouteStatsReader, RouteTables, RouteUpdate, Special,
};
use linecard_tables::publication::{Publish, Writer};
use linecard_wire::MacAddress;
use linecard_wire::builder::PacketBuilder;

pub const PORTS: usize = 3;
pub const FRAMES: u32 = 2048;
/// Packets that a wire holds in each direction.
pub const WIRE_PACKETS: usize = 512;
const FLOW_HASH_SEED: u64 = 1;

/// The router's MAC address on a port.
pub fn router_mac(port: u8) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 0x10, port])
}

/// The MAC address of a neighbour, by the number of its adjacency.
pub fn neighbour_mac(adjacency: u8) -> MacAddress {
    MacAddress::new([2, 0, 0, 0, 0x20, adjacency])
}

/// A frame from a neighbour on port 0 to the router.
pub fn to_router() -> PacketBuilder {
    PacketBuilder::new().ethernet(router_mac(0), neighbour_mac(6))
}

/// What was punted, in order.
pub type Punted = Arc<Mutex<Vec<(PortId, Vec<u8>)>>>;

struct Recorder {
    punted: Punted,
    packets_max: usize,
}

impl PuntSink for Recorder {
    fn punt(&mut self, port: PortId, packet: &[u8]) -> bool {
        let mut punted = self.punted.lock().expect("no test panics while it holds this");
        let room = punted.len() < self.packets_max;
        if room {
            punted.push((port, packet.to_vec()));
        }
        room
    }
}

/// The worker and everything around it.
pub struct Rig {
    pub worker: Worker,
    pub peers: Vec<MemoryPeer>,
    pub punted: Punted,
    pub writer: Writer<RouteTables, RouteUpdate>,
    pub counters: CountersReader,
    pub stats: RouteStatsReader,
    /// Somebody who traces every packet, if there is one.
    pub tracer: Option<Tracer>,
}

/// What somebody orders, and reads.
pub struct Tracer {
    pub orders: Writer<TapOrders, TapUpdate>,
    pub reader: TapReader,
    pub explainer: Explainer,
}

impl Tracer {
    /// Orders a trace of every packet.
    fn new(worker: &mut Worker, tables: &Writer<RouteTables, RouteUpdate>) -> Self {
        let mut orders = Writer::new(TapOrders::new(), TapOrders::new());
        let everything = Order::new(OrderId(7), Kind::Trace, Match::default(), u64::MAX);
        orders.append(TapUpdate::Arm(Arc::new(everything)));
        assert_eq!(orders.publish(), Publish::Published);
        let (tap, reader) = Tap::new(&orders.subscription(), &TapCapacities::default());
        worker.tap(tap);
        let explainer = Explainer::new(&tables.subscription(), FLOW_HASH_SEED, 2048);
        Self { orders, reader, explainer: explainer.expect("memory for a packet") }
    }
}

/// What differs between tests.
pub struct RigConfig {
    pub wire_packets: usize,
    pub punt_limit: PuntLimit,
    pub punt_packets_max: usize,
    pub queues_of_port_0: usize,
    /// Every packet is traced.
    pub traced: bool,
}

impl Default for RigConfig {
    fn default() -> Self {
        Self {
            wire_packets: WIRE_PACKETS,
            punt_limit: PuntLimit { rate_packets_per_second: 0, burst_packets: 100_000 },
            punt_packets_max: usize::MAX,
            queues_of_port_0: 1,
            traced: false,
        }
    }
}

impl Rig {
    pub fn new(config: &RigConfig) -> Self {
        let capacities = RouteCapacities {
            groups_max: 64,
            adjacencies_max: 64,
            interfaces_max: 16,
            ..RouteCapacities::default()
        };
        let mut writer = Writer::new(RouteTables::new(&capacities), RouteTables::new(&capacities));
        for update in updates() {
            writer.append(update);
        }
        assert_eq!(writer.publish(), Publish::Published);
        assert_eq!(writer.published().refused_updates(), 0);

        let mut peers = Vec::new();
        let mut ports = Vec::new();
        for number in 0..PORTS {
            let queues = if number == 0 { config.queues_of_port_0 } else { 1 };
            let mut port =
                WorkerPort { id: PortId(number as u16), queues: Vec::with_capacity(queues) };
            for _ in 0..queues {
                let (queue, peer) = memory_port::pair(config.wire_packets);
                port.queues.push(Box::new(queue));
                peers.push(peer);
            }
            ports.push(port);
        }
        let punted = Punted::default();
        let counters = WorkerCounters::new(PORTS);
        let counters_reader = counters.reader();
        let route_stats = RouteStats::new(capacities.adjacencies_max);
        let stats = route_stats.reader();
        let memory = PacketMemory::new(MemoryConfig { frames: FRAMES, chunk_bytes: 2048 });
        let worker = Worker::new(WorkerConfig {
            ports,
            memory: memory.expect("4 MiB of memory"),
            tables: writer.subscription(),
            counters,
            route_stats,
            punt: Box::new(Recorder {
                punted: Arc::clone(&punted),
                packets_max: config.punt_packets_max,
            }),
            punt_limit: config.punt_limit,
            flow_hash_seed: FLOW_HASH_SEED,
            idle: IdlePolicy::default(),
        });
        let mut worker = worker.expect("three ports are few");
        let tracer = config.traced.then(|| Tracer::new(&mut worker, &writer));
        Self { worker, tracer, peers, punted, writer, counters: counters_reader, stats }
    }

    /// The totals by port; panics when any packet is in no account.
    pub fn totals(&self) -> Vec<PortTotals> {
        let totals = self.counters.read();
        for (number, port) in totals.iter().enumerate() {
            let balances = (port.balance(), port.byte_balance());
            assert_eq!(balances, (0, 0), "port {number}: {port:?}");
        }
        let all: PortTotals = totals.iter().cloned().sum();
        assert_eq!(all.total_balance(), 0, "{all:?}");
        totals
    }
}

fn interface(port: u16, vlans: &[(u16, u16)]) -> Interface {
    Interface {
        port: PortId(port),
        vlans: vlans.to_vec(),
        mac_address: router_mac(port as u8),
        mtu_bytes: 1500,
        up: true,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        own_ipv4: Some([10, port as u8, 0, 1].into()),
        own_ipv6: Some(Ipv6Addr::new(0x2001, 0xdb8, port, 0, 0, 0, 0, 1)),
    }
}

fn updates() -> Vec<RouteUpdate> {
    let mut updates = Vec::new();
    let interfaces = [
        interface(0, &[]),
        interface(1, &[]),
        interface(1, &[(0x8100, 100)]),
        interface(1, &[(0x88a8, 200), (0x8100, 300)]),
        Interface { up: false, ..interface(2, &[]) },
        Interface {
            forwarding_ipv4: false,
            forwarding_ipv6: false,
            ..interface(0, &[(0x8100, 50)])
        },
        interface(0, &[(0x8100, 100)]),
    ];
    for (id, interface) in interfaces.into_iter().enumerate() {
        updates.push(RouteUpdate::SetInterface(InterfaceId(id as u16), interface));
    }
    let neighbours = [
        (1, "10.1.0.2", true),
        (1, "10.1.0.3", false),
        (1, "2001:db8:1::2", true),
        (2, "10.2.0.2", true),
        (3, "10.3.0.2", true),
        (4, "10.4.0.2", true),
        (0, "10.0.0.2", true),
    ];
    for (id, (interface, address, resolved)) in neighbours.into_iter().enumerate() {
        let adjacency = Adjacency {
            interface: InterfaceId(interface),
            address: address.parse().expect("an address"),
            mac_address: resolved.then(|| neighbour_mac(id as u8)),
        };
        updates.push(RouteUpdate::SetAdjacency(AdjacencyId(id as u32), adjacency));
    }
    let gateway = |adjacency| NextHop::Gateway(AdjacencyId(adjacency));
    let connected = |interface| NextHop::Connected(InterfaceId(interface));
    let routes: &[(&str, NextHop)] = &[
        ("10.1.0.0/24", connected(1)),
        ("10.1.0.1/32", NextHop::Special(Special::Local)),
        ("10.2.0.0/24", connected(2)),
        ("10.4.0.0/24", connected(4)),
        ("20.0.0.0/16", gateway(0)),
        ("20.1.0.0/16", gateway(3)),
        ("20.2.0.0/16", gateway(4)),
        ("20.4.0.0/16", gateway(5)),
        ("20.5.0.0/16", NextHop::Special(Special::Blackhole)),
        ("20.6.0.0/16", NextHop::Special(Special::Reject)),
        ("20.7.0.0/16", NextHop::Special(Special::NotServed)),
        ("20.8.0.0/16", gateway(1)),
        ("20.9.0.0/16", gateway(6)),
        ("169.254.0.0/16", gateway(0)),
        ("240.0.0.0/4", gateway(0)),
        ("0.0.0.0/8", gateway(0)),
        ("2001:db8:1::/64", connected(1)),
        ("2001:db8:1::1/128", NextHop::Special(Special::Local)),
        ("2001:db8:20::/48", gateway(2)),
        ("2001:db8:25::/48", NextHop::Special(Special::Blackhole)),
        // A broadcast address of the router's network.
        ("10.1.0.255/32", NextHop::Special(Special::Local)),
    ];
    for (number, (prefix, next_hop)) in routes.iter().enumerate() {
        let id = number as u32;
        let group = NextHopGroupId(id + 1);
        updates.push(RouteUpdate::SetNextHop(NextHopId(id), *next_hop));
        let member = Member { next_hop: NextHopId(id), weight: 1 };
        updates.push(RouteUpdate::SetGroup(group, vec![member]));
        updates.push(RouteUpdate::SetRoute(prefix.parse().expect("a prefix"), group));
    }
    updates
}
