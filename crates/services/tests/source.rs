//! The source stage against its plain twin, and each mode against a table of what it does.

use std::net::IpAddr;

use ipnet::IpNet;
use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{
    AdjacencyId, Batch, DropReason, InterfaceId, PortId, PuntReason, Verdict, parse,
};
use linecard_services::route::twin::RouteTwin;
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities, RouteTables,
    RouteUpdate, Special,
};
use linecard_services::source::twin::refusal;
use linecard_services::source::{
    FeasibleList, IPV4, IPV6, MartianFilter, PortCheck, ReversePath, SourceCapacities,
    SourceScratch, SourceStats, SourceTables, SourceUpdate, process,
};
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};
use proptest::prelude::*;

const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const NEIGHBOUR: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
/// Ports with an untagged interface each of the same number; interface 3 is VLAN 7 of port 0.
const PORTS: u16 = 3;
const VLAN: InterfaceId = InterfaceId(PORTS);

/// Group of each kind of next hop: by interface 0 to 2 and the VLAN, then the special ones, then interfaces
/// 0 and 1 together, then blackhole and interface 2.
const GROUPS: u32 = 10;

fn routes() -> Vec<RouteUpdate> {
    let interface = |port, vlans| Interface {
        port: PortId(port),
        vlans,
        mac_address: ROUTER,
        mtu_bytes: 1500,
        up: true,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        own_ipv4: None,
        own_ipv6: None,
    };
    let mut updates: Vec<_> = (0..PORTS)
        .map(|id| RouteUpdate::SetInterface(InterfaceId(id), interface(id, vec![])))
        .collect();
    updates.push(RouteUpdate::SetInterface(VLAN, interface(0, vec![(0x8100, 7)])));
    let adjacency = Adjacency {
        interface: InterfaceId(1),
        address: [10, 1, 0, 9].into(),
        mac_address: Some(NEIGHBOUR),
    };
    updates.push(RouteUpdate::SetAdjacency(AdjacencyId(0), adjacency));
    let next_hops = [
        NextHop::Connected(InterfaceId(0)),
        NextHop::Gateway(AdjacencyId(0)),
        NextHop::Connected(InterfaceId(2)),
        NextHop::Connected(VLAN),
        NextHop::Special(Special::Local),
        NextHop::Special(Special::Blackhole),
        NextHop::Special(Special::Reject),
        NextHop::Special(Special::NotServed),
    ];
    let member = |id| Member { next_hop: NextHopId(id), weight: 1 };
    for (id, next_hop) in (0..).zip(next_hops) {
        updates.push(RouteUpdate::SetNextHop(NextHopId(id), next_hop));
        updates.push(RouteUpdate::SetGroup(NextHopGroupId(id + 1), vec![member(id)]));
    }
    updates.push(RouteUpdate::SetGroup(NextHopGroupId(9), vec![member(0), member(1)]));
    updates.push(RouteUpdate::SetGroup(NextHopGroupId(10), vec![member(5), member(2)]));
    updates
}

fn route(prefix: &str, group: u32) -> RouteUpdate {
    RouteUpdate::SetRoute(prefix.parse().expect("a prefix"), NextHopGroupId(group))
}

/// A packet that comes in by a port, tagged or not.
#[derive(Debug, Clone, Copy)]
struct Offer {
    port: u16,
    tagged: bool,
    source: IpAddr,
    destination: IpAddr,
}

impl Offer {
    fn interface(&self) -> InterfaceId {
        if self.tagged { VLAN } else { InterfaceId(self.port) }
    }

    fn packet(&self) -> Vec<u8> {
        let link = PacketBuilder::new().ethernet(ROUTER, NEIGHBOUR);
        let link = if self.tagged {
            link.vlan(Tag { tpid: EtherType::VLAN, tci: Tci::new(0, false, 7) })
        } else {
            link
        };
        let network = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                link.ipv4(Ipv4::new(source, destination))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                link.ipv6(Ipv6::new(source, destination))
            }
            families => panic!("{families:?}"),
        };
        network.udp(Udp::new(1, 2)).build()
    }
}

/// A worker's part of the service; returns the verdicts before and after the stage.
struct Rig {
    routes: RouteTables,
    tables: SourceTables,
    stats: SourceStats,
    scratch: SourceScratch,
}

impl Rig {
    fn new(capacities: &RouteCapacities) -> Self {
        Self {
            routes: RouteTables::new(capacities),
            tables: SourceTables::new(&SourceCapacities::default()),
            stats: SourceStats::new(),
            scratch: SourceScratch::new(),
        }
    }

    fn check(&mut self, offers: &[Offer]) -> (Vec<Verdict>, Vec<Verdict>) {
        let config = MemoryConfig { frames: 256, chunk_bytes: 2048 };
        let mut memory = PacketMemory::new(config).expect("room for 256 frames");
        let mut batch = Batch::new();
        for offer in offers {
            let mut frame = memory.allocate().expect("a batch fits");
            assert!(memory.set_packet(&mut frame, &offer.packet()));
            batch.frames.push(frame);
            batch.end_segment(PortId(offer.port), 0);
        }
        parse(&mut batch, &memory, |port| self.routes.station(port));
        let before = batch.verdicts.clone();
        let Self { routes, tables, stats, scratch } = self;
        process(&mut batch, &memory, tables, routes, scratch, stats);
        let after = batch.verdicts.clone();
        batch.drain().for_each(|frame| memory.free(frame));
        (before, after)
    }
}

fn one(rig: &mut Rig, port: u16, source: &str, destination: &str) -> Verdict {
    let address = |text: &str| text.parse().expect("an address");
    let offer =
        Offer { port, tagged: false, source: address(source), destination: address(destination) };
    rig.check(&[offer]).1[0]
}

/// Source, and what becomes of it on port 0 when strict, feasible with 20.0.0.0/8 listed, and loose.
#[test]
fn each_mode_does_what_its_rfc_says() {
    const REVERSE_PATH: Verdict = Verdict::Drop(DropReason::ReversePath);
    const PASS: Verdict = Verdict::Undecided;
    const OWN: Verdict = Verdict::Drop(DropReason::MartianSource);
    let mut rig = Rig::new(&RouteCapacities::default());
    for update in routes() {
        rig.routes.absorb(&update);
    }
    let prefixes = [
        ("10.0.0.0/24", 1),
        ("10.1.0.0/24", 2),
        ("20.0.0.0/16", 3),
        ("10.3.0.0/24", 4),
        ("10.0.0.1/32", 5),
        ("30.0.0.0/8", 6),
        ("31.0.0.0/8", 7),
        ("32.0.0.0/8", 8),
        ("40.0.0.0/8", 9),
        ("41.0.0.0/8", 10),
        ("2001:678::/32", 1),
        ("2001:67c::/32", 2),
    ];
    for (prefix, group) in prefixes {
        rig.routes.absorb(&route(prefix, group));
    }
    let list = vec!["20.0.0.0/8".parse().expect("a prefix")];
    rig.tables.absorb(&SourceUpdate::SetFeasible(FeasibleList(0), list));
    let cases = [
        ("its own network", "10.0.0.7", [PASS, PASS, PASS]),
        ("behind another port", "10.1.0.7", [REVERSE_PATH, REVERSE_PATH, PASS]),
        ("listed, behind another port", "20.0.0.7", [REVERSE_PATH, PASS, PASS]),
        ("listed, without a route", "20.1.0.7", [REVERSE_PATH, PASS, REVERSE_PATH]),
        ("a VLAN of the port", "10.3.0.7", [REVERSE_PATH, REVERSE_PATH, PASS]),
        ("the router itself", "10.0.0.1", [OWN, OWN, OWN]),
        ("a blackhole", "30.0.0.1", [REVERSE_PATH; 3]),
        ("unreachable", "31.0.0.1", [REVERSE_PATH; 3]),
        ("behind a port not served", "32.0.0.1", [REVERSE_PATH, REVERSE_PATH, PASS]),
        ("by this port or another", "40.0.0.1", [PASS, PASS, PASS]),
        ("without a route", "50.0.0.1", [REVERSE_PATH; 3]),
        ("its own network", "2001:678::1", [PASS, PASS, PASS]),
        ("behind another port", "2001:67c::1", [REVERSE_PATH, REVERSE_PATH, PASS]),
        ("without a route", "2001:680::1", [REVERSE_PATH; 3]),
    ];
    let modes = [ReversePath::Strict, ReversePath::Feasible, ReversePath::Loose];
    for (mode, at) in modes.into_iter().zip(0..) {
        let check = PortCheck {
            reverse_path: mode,
            feasible: Some(FeasibleList(0)),
            martians: MartianFilter::Off,
        };
        rig.tables.absorb(&SourceUpdate::SetPort(PortId(0), check));
        for (what, source, expected) in cases {
            let destination = if source.contains(':') { "2a00::1" } else { "99.0.0.1" };
            let verdict = one(&mut rig, 0, source, destination);
            assert_eq!(verdict, expected[at], "{what} ({source}), {mode:?}");
            assert_eq!(one(&mut rig, 1, source, destination), PASS, "port 1 has no check");
        }
    }
    rig.tables.absorb(&SourceUpdate::SetPort(PortId(0), PortCheck::default()));
    assert!(rig.tables.is_off());
    assert_eq!(rig.stats.reader().unverified(), 0);
}

#[test]
fn special_purpose_addresses_are_refused_where_a_port_says_so() {
    let mut rig = Rig::new(&RouteCapacities::default());
    for update in routes() {
        rig.routes.absorb(&update);
    }
    for (port, martians) in [(0, MartianFilter::Special), (1, MartianFilter::NotGlobal)] {
        let check = PortCheck { martians, ..PortCheck::default() };
        rig.tables.absorb(&SourceUpdate::SetPort(PortId(port), check));
    }
    // Which of the ports 0 and 1 refuse it.
    let cases = [
        ("9.9.9.9", [false, false]),
        ("192.0.2.1", [true, true]),
        ("10.0.0.1", [false, true]),
        ("100.64.0.1", [false, true]),
        ("100.128.0.1", [false, false]),
        ("169.254.0.1", [true, true]),
        ("192.0.0.9", [false, false]),
        ("192.0.0.1", [false, true]),
        ("192.0.0.100", [true, true]),
        ("192.0.3.1", [false, false]),
        ("198.19.255.255", [false, true]),
        ("240.0.0.1", [true, true]),
        ("172.31.0.1", [false, true]),
        ("172.32.0.1", [false, false]),
        ("2001:db8::1", [true, true]),
        ("2001:4860::1", [false, false]),
        ("2001:2::1", [false, true]),
        ("2001:100::1", [true, true]),
        ("2001::1", [false, false]),
        ("fd00::1", [false, true]),
        ("3fff::1", [true, true]),
        ("3fff:1000::1", [false, false]),
        ("100::1", [false, true]),
    ];
    for (address, refused) in cases {
        let other = if address.contains(':') { "2a00::1" } else { "99.0.0.1" };
        for (port, refused) in (0..).zip(refused) {
            let verdict =
                |is: bool, reason| if is { Verdict::Drop(reason) } else { Verdict::Undecided };
            let as_source = one(&mut rig, port, address, other);
            assert_eq!(as_source, verdict(refused, DropReason::MartianSource), "{address}, {port}");
            let as_destination = one(&mut rig, port, other, address);
            let expected = verdict(refused, DropReason::MartianDestination);
            assert_eq!(as_destination, expected, "{address}, {port}");
        }
        assert_eq!(one(&mut rig, 2, address, other), Verdict::Undecided, "port 2 has no filter");
    }
}

#[test]
fn a_route_that_did_not_fit_leaves_its_sources_unverified() {
    let mut rig = Rig::new(&RouteCapacities { routes_ipv4_max: 1, ..Default::default() });
    for update in routes() {
        rig.routes.absorb(&update);
    }
    rig.routes.absorb(&route("0.0.0.0/0", 3));
    rig.routes.absorb(&route("10.0.0.0/8", 1));
    let check = PortCheck { reverse_path: ReversePath::Strict, ..PortCheck::default() };
    rig.tables.absorb(&SourceUpdate::SetPort(PortId(0), check));
    assert_eq!(one(&mut rig, 0, "10.0.0.1", "99.0.0.1"), Verdict::Undecided);
    assert_eq!(rig.stats.reader().unverified(), 1);
}

/// Addresses near the registries' and the routes' edges.
fn address() -> impl Strategy<Value = u128> {
    let special = (any::<prop::sample::Index>(), any::<bool>(), 0..3u32);
    prop_oneof![
        special.prop_map(|(index, last, beyond)| {
            let (address, length, ..) = IPV6[index.index(IPV6.len())];
            let end = if last { u128::MAX.checked_shr(length.into()).unwrap_or(0) } else { 0 };
            (address | end).wrapping_add(u128::from(beyond)).wrapping_sub(1)
        }),
        (0..3u128, 0..3u128).prop_map(|(a, b)| 0x2001_0678 << 96 | a << 80 | b),
    ]
}

fn address_ipv4() -> impl Strategy<Value = u32> {
    let special = (any::<prop::sample::Index>(), any::<bool>(), 0..3u32);
    prop_oneof![
        special.prop_map(|(index, last, beyond)| {
            let (address, length, ..) = IPV4[index.index(IPV4.len())];
            let end = if last { u32::MAX.checked_shr(length.into()).unwrap_or(0) } else { 0 };
            (address | end).wrapping_add(beyond).wrapping_sub(1)
        }),
        (0..3u32, 0..3u32).prop_map(|(a, b)| 0x0a00_0000 | a << 8 | b),
    ]
}

fn offer() -> impl Strategy<Value = Offer> {
    let ipv4 = (address_ipv4(), address_ipv4()).prop_map(|(source, destination)| {
        (IpAddr::V4(source.into()), IpAddr::V4(destination.into()))
    });
    let ipv6 = (address(), address()).prop_map(|(source, destination)| {
        (IpAddr::V6(source.into()), IpAddr::V6(destination.into()))
    });
    (0..PORTS, prop::bool::weighted(0.2), prop_oneof![ipv4, ipv6]).prop_map(
        |(port, tagged, (source, destination))| Offer { port, tagged, source, destination },
    )
}

fn prefix() -> impl Strategy<Value = IpNet> {
    let ipv4 = (address_ipv4(), 0..33u8)
        .prop_map(|(address, length)| (IpAddr::V4(address.into()), length));
    let ipv6 =
        (address(), 0..129u8).prop_map(|(address, length)| (IpAddr::V6(address.into()), length));
    prop_oneof![ipv4, ipv6]
        .prop_map(|(address, length)| IpNet::new(address, length).expect("of the family").trunc())
}

fn check() -> impl Strategy<Value = PortCheck> {
    let modes =
        vec![ReversePath::Off, ReversePath::Strict, ReversePath::Feasible, ReversePath::Loose];
    let martians = vec![MartianFilter::Off, MartianFilter::Special, MartianFilter::NotGlobal];
    let feasible = prop::option::weighted(0.7, Just(FeasibleList(0)));
    (prop::sample::select(modes), feasible, prop::sample::select(martians)).prop_map(
        |(reverse_path, feasible, martians)| PortCheck { reverse_path, feasible, martians },
    )
}

proptest! {
    #[test]
    fn stage_and_twin_agree(
        prefixes in prop::collection::vec((prefix(), 1..=GROUPS), 0..12),
        feasible in prop::collection::vec(prefix(), 0..4),
        checks in [check(), check(), check()],
        offers in prop::collection::vec(offer(), 1..200),
    ) {
        let capacities = RouteCapacities { routes_ipv4_max: 5, ..RouteCapacities::default() };
        let (mut rig, mut twin) = (Rig::new(&capacities), RouteTwin::new(&capacities));
        let prefixes = prefixes.iter().map(|(prefix, group)| RouteUpdate::SetRoute(*prefix, NextHopGroupId(*group)));
        for update in routes().into_iter().chain(prefixes) {
            rig.routes.absorb(&update);
            twin.apply(&update);
        }
        rig.tables.absorb(&SourceUpdate::SetFeasible(FeasibleList(0), feasible.clone()));
        for (port, check) in (0..).zip(checks) {
            rig.tables.absorb(&SourceUpdate::SetPort(PortId(port), check));
        }
        let (before, after) = rig.check(&offers);
        for ((offer, before), after) in offers.iter().zip(before).zip(after) {
            let check = &checks[usize::from(offer.port)];
            let expected = match before {
                Verdict::Undecided if rig.tables.is_off() => Verdict::Undecided,
                // Only port 0 has the VLAN.
                Verdict::Undecided if offer.tagged && offer.port != 0 => Verdict::Punt(PuntReason::VlanUnknown),
                Verdict::Undecided => {
                    let (source, destination) = (offer.source, offer.destination);
                    refusal(&twin, check, &feasible, offer.interface(), source, destination)
                        .map_or(Verdict::Undecided, Verdict::Drop)
                }
                decided => decided,
            };
            prop_assert_eq!(after, expected, "{:?} with {:?}", offer, check);
        }
    }
}
