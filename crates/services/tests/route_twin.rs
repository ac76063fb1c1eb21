//! The route tables and the stage against their plain twin: the same updates, then the same
//! decision for packets to each address that matters.

use std::net::IpAddr;

use ipnet::IpNet;
use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{AdjacencyId, Batch, InterfaceId, PortId, PuntReason, Verdict, parse};
use linecard_services::route::twin::RouteTwin;
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities,
    RouteScratch, RouteStats, RouteTables, RouteUpdate, Special, process,
};
use linecard_tables::hash::FlowHash;
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Small enough for updates to run into them.
const CAPACITIES: RouteCapacities = RouteCapacities {
    routes_ipv4_max: 6,
    routes_ipv6_max: 3,
    groups_max: 7,
    next_hops_max: 9,
    adjacencies_max: 9,
    interfaces_max: 5,
};

const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const SENDER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
/// The interface that packets come in by; updates leave it alone.
const INCOMING: InterfaceId = InterfaceId(0);

/// Few addresses, close to each other, so that prefixes nest and neighbours are hit.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..4u8, 0..4u8).prop_map(|(a, b)| IpAddr::from([10, 0, a, b])),
        (0..3u16, 0..3u16).prop_map(|(a, b)| IpAddr::from([0x2001, 0xdb8, a, 0, 0, 0, 0, b])),
    ]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (address(), 0..7usize).prop_map(|(address, length)| {
        let length = match address {
            IpAddr::V4(_) => [0, 8, 16, 24, 30, 31, 32][length],
            IpAddr::V6(_) => [0, 32, 48, 64, 126, 127, 128][length],
        };
        IpNet::new(address, length).expect("a length of the family").trunc()
    })
}

fn interface() -> impl Strategy<Value = Interface> {
    let vlans = prop::collection::vec((Just(0x8100), 1..3u16), 0..4);
    let mtu = prop::sample::select(vec![1280, 1500]);
    (1..4u16, vlans, mtu, prop::bool::weighted(0.8)).prop_map(|(port, vlans, mtu_bytes, up)| {
        Interface {
            port: PortId(port),
            vlans,
            mac_address: ROUTER,
            mtu_bytes,
            up,
            forwarding_ipv4: true,
            forwarding_ipv6: true,
            own_ipv4: None,
            own_ipv6: None,
        }
    })
}

fn next_hop() -> impl Strategy<Value = NextHop> {
    let special = prop::sample::select(vec![
        Special::Local,
        Special::Blackhole,
        Special::Reject,
        Special::NotServed,
    ]);
    prop_oneof![
        3 => (0..10u32).prop_map(|id| NextHop::Gateway(AdjacencyId(id))),
        2 => (1..5u16).prop_map(|id| NextHop::Connected(InterfaceId(id))),
        1 => special.prop_map(NextHop::Special),
    ]
}

fn update() -> impl Strategy<Value = RouteUpdate> {
    let interface_id = || (1..7u16).prop_map(InterfaceId);
    let adjacency_id = || (0..11u32).prop_map(AdjacencyId);
    let next_hop_id = || (0..11u32).prop_map(NextHopId);
    let group_id = || (0..9u32).prop_map(NextHopGroupId);
    let mac = prop::option::weighted(0.7, Just(SENDER));
    let adjacency = ((1..6u16).prop_map(InterfaceId), address(), mac).prop_map(
        |(interface, address, mac_address)| Adjacency { interface, address, mac_address },
    );
    let member = (next_hop_id(), prop::sample::select(vec![0, 1, 1, 1, 2, 3, 3, 5]))
        .prop_map(|(next_hop, weight)| Member { next_hop, weight });
    prop_oneof![
        4 => (interface_id(), interface()).prop_map(|(id, i)| RouteUpdate::SetInterface(id, i)),
        1 => interface_id().prop_map(RouteUpdate::RemoveInterface),
        5 => (adjacency_id(), adjacency).prop_map(|(id, a)| RouteUpdate::SetAdjacency(id, a)),
        1 => adjacency_id().prop_map(RouteUpdate::RemoveAdjacency),
        5 => (next_hop_id(), next_hop()).prop_map(|(id, n)| RouteUpdate::SetNextHop(id, n)),
        1 => next_hop_id().prop_map(RouteUpdate::RemoveNextHop),
        6 => (group_id(), prop::collection::vec(member, 0..5))
            .prop_map(|(id, members)| RouteUpdate::SetGroup(id, members)),
        1 => group_id().prop_map(RouteUpdate::RemoveGroup),
        8 => (prefix(), group_id()).prop_map(|(prefix, id)| RouteUpdate::SetRoute(prefix, id)),
        2 => prefix().prop_map(RouteUpdate::RemoveRoute),
    ]
}

/// Tables in which most packets find a way, for random updates to change.
fn base() -> Vec<RouteUpdate> {
    let mut updates = vec![RouteUpdate::SetInterface(INCOMING, plain_interface(0))];
    for id in 1..5 {
        updates.push(RouteUpdate::SetInterface(InterfaceId(id), plain_interface(id)));
    }
    for id in 0..9u8 {
        let adjacency = Adjacency {
            interface: InterfaceId(1 + u16::from(id % 4)),
            address: IpAddr::from([10, 0, id / 4, id % 4]),
            mac_address: Some(SENDER),
        };
        updates.push(RouteUpdate::SetAdjacency(AdjacencyId(u32::from(id)), adjacency));
        let next_hop = match id {
            0..4 => NextHop::Connected(InterfaceId(1 + u16::from(id))),
            _ => NextHop::Gateway(AdjacencyId(u32::from(id))),
        };
        updates.push(RouteUpdate::SetNextHop(NextHopId(u32::from(id)), next_hop));
    }
    for id in 1..7 {
        let member = |next_hop| Member { next_hop: NextHopId(next_hop), weight: 1 };
        updates.push(RouteUpdate::SetGroup(NextHopGroupId(id), vec![member(id), member(id + 2)]));
    }
    for (prefix, group) in [("0.0.0.0/0", 4), ("::/0", 5), ("10.0.0.0/24", 1), ("10.0.1.0/24", 2)] {
        let prefix = prefix.parse().expect("a prefix");
        updates.push(RouteUpdate::SetRoute(prefix, NextHopGroupId(group)));
    }
    updates
}

/// The untagged side of a port.
fn plain_interface(port: u16) -> Interface {
    Interface {
        port: PortId(port),
        vlans: Vec::new(),
        mac_address: ROUTER,
        mtu_bytes: 1500,
        up: true,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        own_ipv4: None,
        own_ipv6: None,
    }
}

/// Where a packet goes: destination, source port (which changes the hash), payload in bytes.
fn packet() -> impl Strategy<Value = (IpAddr, u16, usize)> {
    let payload = prop::sample::select(vec![10, 1300]);
    (address(), any::<u16>(), payload)
}

fn bytes(destination: IpAddr, source_port: u16, payload: usize) -> Vec<u8> {
    let builder = PacketBuilder::new().ethernet(ROUTER, SENDER);
    let builder = match destination {
        IpAddr::V4(address) => builder.ipv4(Ipv4::new([192, 0, 2, 1].into(), address)),
        IpAddr::V6(address) => {
            builder.ipv6(Ipv6::new([0x2001, 0xdb8, 9, 0, 0, 0, 0, 1].into(), address))
        }
    };
    builder.udp(Udp::new(source_port, 7)).payload(&vec![0; payload]).build()
}

/// What the packet path needs besides the tables.
struct Path {
    memory: PacketMemory,
    batch: Batch,
    scratch: RouteScratch,
    stats: RouteStats,
    hash: FlowHash,
}

impl Path {
    fn new() -> Self {
        let memory = PacketMemory::new(MemoryConfig { frames: 256, chunk_bytes: 2048 });
        Self {
            memory: memory.expect("512 KiB of memory"),
            batch: Batch::new(),
            scratch: RouteScratch::new(),
            stats: RouteStats::new(CAPACITIES.adjacencies_max),
            hash: FlowHash::new(7),
        }
    }

    /// The stage's decisions on these packets, in one batch.
    fn decide(&mut self, tables: &RouteTables, packets: &[Vec<u8>]) -> Vec<Verdict> {
        for packet in packets {
            let mut frame = self.memory.allocate().expect("a batch fits");
            assert!(self.memory.set_packet(&mut frame, packet));
            self.batch.frames.push(frame);
        }
        self.batch.end_segment(PortId(0), 0);
        parse(&mut self.batch, &self.memory, |port| tables.station(port));
        let (scratch, stats) = (&mut self.scratch, &mut self.stats);
        process(&mut self.batch, &self.memory, tables, &self.hash, scratch, stats);
        for frame in self.batch.drain() {
            self.memory.free(frame);
        }
        self.batch.verdicts.clone()
    }
}

#[test]
fn the_stage_decides_as_its_twin() {
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let steps = prop::collection::vec(
        (prop::collection::vec(update(), 1..15), prop::collection::vec(packet(), 1..40)),
        1..8,
    );
    let forwarded = std::cell::Cell::new(0);
    let left_to_kernel = std::cell::Cell::new(0);
    let outcome = runner.run(&steps, |steps| {
        let mut path = Path::new();
        let mut tables = RouteTables::new(&CAPACITIES);
        let mut twin = RouteTwin::new(&CAPACITIES);
        for update in base() {
            tables.absorb(&update);
            twin.apply(&update);
        }
        for (updates, packets) in steps {
            for update in &updates {
                tables.absorb(update);
                twin.apply(update);
                prop_assert_eq!(tables.refused_updates(), twin.refused_updates(), "{:?}", update);
            }
            let frames: Vec<_> = packets.iter().map(|&(d, port, n)| bytes(d, port, n)).collect();
            let verdicts = path.decide(&tables, &frames);
            for ((verdict, frame), (destination, ..)) in verdicts.iter().zip(&frames).zip(&packets)
            {
                if twin.left_to_kernel(*destination) {
                    prop_assert_eq!(*verdict, Verdict::Punt(PuntReason::NotServed));
                    left_to_kernel.set(left_to_kernel.get() + 1);
                    continue;
                }
                let length = frame.len() as u32 - 14;
                let mut possible: Vec<_> = twin
                    .candidates(*destination)
                    .into_iter()
                    .map(|next_hop| twin.verdict(next_hop, *destination, length))
                    .collect();
                if possible.is_empty() {
                    possible.push(Verdict::Punt(PuntReason::NoRoute));
                }
                prop_assert!(
                    possible.contains(verdict),
                    "{} bytes to {}: {:?} is none of {:?}",
                    length,
                    destination,
                    verdict,
                    possible
                );
                let forward = matches!(verdict, Verdict::Forward { .. });
                forwarded.set(forwarded.get() + u32::from(forward));
            }
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(forwarded.get() > 5_000, "only {} packets were forwarded", forwarded.get());
    let left = left_to_kernel.get();
    assert!(left > 1_000, "only {left} packets met a route that did not fit");
}

/// The limit is on next hops: one that is listed twice counts once, and the reserved one never.
#[test]
fn groups_at_the_limit_are_refused_by_both_or_by_none() {
    let mut tables = RouteTables::new(&CAPACITIES);
    let mut twin = RouteTwin::new(&CAPACITIES);
    let group = |next_hops: &mut dyn Iterator<Item = u32>| {
        let member = |next_hop| Member { next_hop: NextHopId(next_hop), weight: 1 };
        RouteUpdate::SetGroup(NextHopGroupId(1), next_hops.map(member).collect())
    };
    let mut refused = 0;
    for (update, is_refused) in [
        (group(&mut (0..256)), false),
        (group(&mut (0..300).map(|at| at / 2)), false),
        (group(&mut (0..257)), true),
        (group(&mut [1, u32::MAX].into_iter()), true),
    ] {
        refused += u64::from(is_refused);
        tables.absorb(&update);
        twin.apply(&update);
        assert_eq!((tables.refused_updates(), twin.refused_updates()), (refused, refused));
    }
}

/// 4,000 flows over members of weight 1 and 3, bulk or one by one, always the same way.
#[test]
fn flows_spread_by_weight_and_stay_where_they_are() {
    let mut tables = RouteTables::new(&CAPACITIES);
    for id in 0..3u16 {
        tables.absorb(&RouteUpdate::SetInterface(InterfaceId(id), plain_interface(id)));
        let adjacency = Adjacency {
            interface: InterfaceId(id),
            address: IpAddr::from([10, 0, id as u8, 2]),
            mac_address: Some(SENDER),
        };
        tables.absorb(&RouteUpdate::SetAdjacency(AdjacencyId(u32::from(id)), adjacency));
        let next_hop = NextHop::Gateway(AdjacencyId(u32::from(id)));
        tables.absorb(&RouteUpdate::SetNextHop(NextHopId(u32::from(id)), next_hop));
    }
    let member = |next_hop, weight| Member { next_hop: NextHopId(next_hop), weight };
    let group = NextHopGroupId(1);
    tables.absorb(&RouteUpdate::SetGroup(group, vec![member(1, 1), member(2, 3)]));
    for prefix in ["20.0.0.0/8", "2001:db8::/32"] {
        tables.absorb(&RouteUpdate::SetRoute(prefix.parse().expect("a prefix"), group));
    }
    assert_eq!(tables.refused_updates(), 0);

    let mut path = Path::new();
    for destination in
        [IpAddr::from([20, 0, 0, 1]), IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1])]
    {
        let flows: Vec<_> = (0..4_000).map(|port| bytes(destination, port, 10)).collect();
        let verdicts: Vec<_> =
            flows.chunks(250).flat_map(|batch| path.decide(&tables, batch)).collect();
        let to_2 = Verdict::Forward { port: PortId(2), adjacency: AdjacencyId(2) };
        let share = verdicts.iter().filter(|verdict| **verdict == to_2).count();
        assert!((2_850..3_150).contains(&share), "3,000 expected, {share} went to weight 3");
        for (flow, verdict) in flows.iter().zip(&verdicts).step_by(50) {
            assert_eq!(path.decide(&tables, std::slice::from_ref(flow)), [*verdict]);
        }
    }
}

/// A table that is full does not send packets the way of a shorter prefix.
#[test]
fn a_route_that_does_not_fit_is_the_kernels_until_there_is_room() {
    let capacities = RouteCapacities { routes_ipv4_max: 2, ..CAPACITIES };
    let mut tables = RouteTables::new(&capacities);
    for update in base().into_iter().filter(|it| !matches!(it, RouteUpdate::SetRoute(..))) {
        tables.absorb(&update);
    }
    let single = |id: u32| {
        let member = Member { next_hop: NextHopId(4 + id), weight: 1 };
        RouteUpdate::SetGroup(NextHopGroupId(id), vec![member])
    };
    let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
    let routes = [("0.0.0.0/0", 1), ("30.0.0.0/8", 2), ("20.0.0.0/8", 3)];
    for (prefix, group) in routes {
        tables.absorb(&single(group));
        tables.absorb(&RouteUpdate::SetRoute(net(prefix), NextHopGroupId(group)));
    }
    assert_eq!((tables.refused_updates(), tables.routes()), (1, (2, 0)));

    let mut path = Path::new();
    let mut verdict = |tables: &RouteTables, destination: [u8; 4]| {
        path.decide(tables, &[bytes(IpAddr::from(destination), 1, 10)])[0]
    };
    let forward = |group: u16| Verdict::Forward {
        port: PortId(1 + group % 4),
        adjacency: AdjacencyId(4 + u32::from(group)),
    };
    let not_served = Verdict::Punt(PuntReason::NotServed);
    assert_eq!(verdict(&tables, [20, 0, 0, 1]), not_served, "not the default route's");
    assert_eq!(verdict(&tables, [30, 0, 0, 1]), forward(2), "others are not held up");
    assert_eq!(verdict(&tables, [40, 0, 0, 1]), forward(1));

    tables.absorb(&RouteUpdate::RemoveRoute(net("30.0.0.0/8")));
    assert_eq!(verdict(&tables, [20, 0, 0, 1]), forward(3), "it has taken the place");
    assert_eq!((tables.refused_updates(), tables.routes()), (1, (2, 0)));
}

/// What was there before is not what the routing daemon wants any more.
#[test]
fn a_refused_change_of_a_group_or_an_interface_leaves_its_packets_to_the_kernel() {
    let mut path = Path::new();
    let mut tables = RouteTables::new(&CAPACITIES);
    base().iter().for_each(|update| tables.absorb(update));
    let packet = bytes(IpAddr::from([10, 0, 0, 0]), 1, 10);
    let verdict = |path: &mut Path, tables: &RouteTables| {
        path.decide(tables, std::slice::from_ref(&packet))[0]
    };
    let group = |next_hops: std::ops::Range<u32>| {
        let member = |next_hop| Member { next_hop: NextHopId(next_hop), weight: 1 };
        RouteUpdate::SetGroup(NextHopGroupId(1), next_hops.map(member).collect())
    };
    tables.absorb(&group(0..1));
    assert!(matches!(verdict(&mut path, &tables), Verdict::Forward { .. }));
    tables.absorb(&group(0..257));
    assert_eq!(verdict(&mut path, &tables), Verdict::Punt(PuntReason::NoRoute));
    tables.absorb(&group(0..1));
    assert!(matches!(verdict(&mut path, &tables), Verdict::Forward { .. }));

    let three_tags = Interface { vlans: vec![(0x8100, 1); 3], ..plain_interface(1) };
    tables.absorb(&RouteUpdate::SetInterface(InterfaceId(1), three_tags));
    assert_eq!(verdict(&mut path, &tables), Verdict::Punt(PuntReason::NotServed));
    assert_eq!(tables.refused_updates(), 2);
}
