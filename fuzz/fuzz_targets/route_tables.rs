//! The route tables and the stage against their plain twin: any list of updates, with packets in
//! between, and for each packet a way that the twin allows.

#![no_main]

use std::cell::RefCell;
use std::net::IpAddr;

use ipnet::IpNet;
use libfuzzer_sys::fuzz_target;
use linecard_fuzz::input::Input;
use linecard_fuzz::path::PacketPath;
use linecard_packet::{AdjacencyId, InterfaceId, PortId, PuntReason, Verdict};
use linecard_services::route::twin::RouteTwin;
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities, RouteTables,
    RouteUpdate, Special,
};
use linecard_tables::next_hop::MEMBERS_MAX;
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};

/// Small enough for updates to run into them.
const CAPACITIES: RouteCapacities = RouteCapacities {
    routes_ipv4_max: 10,
    routes_ipv6_max: 6,
    groups_max: 7,
    next_hops_max: 9,
    adjacencies_max: 9,
    interfaces_max: 5,
};
const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const SENDER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
/// The port that packets come in by, and its interface; updates leave it alone.
const INCOMING: (PortId, InterfaceId) = (PortId(0), InterfaceId(0));
const OPERATIONS_MAX: usize = 256;

thread_local!(static PATH: RefCell<PacketPath> = RefCell::default());

/// Few addresses, close to each other, so that prefixes nest and neighbours are hit.
fn address(input: &mut Input<'_>) -> IpAddr {
    let byte = input.u8();
    match (byte >> 6, byte >> 3 & 7, byte & 7) {
        (0 | 1, a, b) => IpAddr::from([10, 0, a, b]),
        (2, a, b) => IpAddr::from([0x2001, 0xdb8, a.into(), 0, 0, 0, 0, b.into()]),
        _ if byte & 1 == 0 => input.address::<u32>().to_be_bytes().into(),
        _ => input.address::<u128>().to_be_bytes().into(),
    }
}

/// Not always in canonical form: the bits behind the length may be anything.
fn prefix(input: &mut Input<'_>) -> IpNet {
    let address = address(input);
    let length = match address {
        IpAddr::V4(_) => input.choose(&[0, 1, 8, 16, 22, 24, 29, 30, 31, 32]),
        IpAddr::V6(_) => input.choose(&[0, 1, 32, 45, 48, 64, 125, 126, 127, 128]),
    };
    IpNet::new(address, length).expect("a length of the family")
}

fn interface(input: &mut Input<'_>) -> Interface {
    let flags = input.u8();
    let vlan = |_| (input.choose(&[0x8100, 0x88a8]), input.u16());
    Interface {
        port: PortId(1 + u16::from(flags & 3)),
        vlans: (0..flags >> 2 & 3).map(vlan).collect(),
        mac_address: ROUTER,
        mtu_bytes: if flags & 0x10 == 0 { 1500 } else { 1280 },
        up: flags & 0x20 == 0,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        own_ipv4: None,
        own_ipv6: None,
    }
}

fn next_hop(input: &mut Input<'_>) -> NextHop {
    match input.u8() {
        0..=99 => NextHop::Gateway(AdjacencyId(input.below(10))),
        100..=199 => NextHop::Connected(interface_id(input)),
        kind => NextHop::Special(match kind & 3 {
            0 => Special::Local,
            1 => Special::Blackhole,
            2 => Special::Reject,
            _ => Special::NotServed,
        }),
    }
}

/// None in the table but some beyond it.
fn interface_id(input: &mut Input<'_>) -> InterfaceId {
    InterfaceId(1 + input.below(6) as u16)
}

fn members(input: &mut Input<'_>) -> Vec<Member> {
    let member = |next_hop, weight| Member { next_hop: NextHopId(next_hop), weight };
    match input.u8() {
        // More than a group can have, or as many by name but fewer distinct ones.
        0xff => {
            let (count, distinct) =
                (MEMBERS_MAX as u32 - 2 + input.below(5), 1 + u32::from(input.u16()));
            (0..count).map(|at| member(at % distinct, 1)).collect()
        }
        0xfe => vec![member(u32::MAX, 1), member(1, 1)],
        count => (0..count % 6).map(|_| member(input.below(11), input.below(8))).collect(),
    }
}

fn update(input: &mut Input<'_>) -> RouteUpdate {
    match input.below(16) {
        0 | 1 => RouteUpdate::SetInterface(interface_id(input), interface(input)),
        2 => RouteUpdate::RemoveInterface(interface_id(input)),
        3 | 4 => {
            let id = AdjacencyId(input.below(11));
            let (interface, address) = (interface_id(input), address(input));
            let mac_address = (input.u8() & 7 != 0).then_some(SENDER);
            RouteUpdate::SetAdjacency(id, Adjacency { interface, address, mac_address })
        }
        5 => RouteUpdate::RemoveAdjacency(AdjacencyId(input.below(11))),
        6 | 7 => RouteUpdate::SetNextHop(NextHopId(input.below(11)), next_hop(input)),
        8 => RouteUpdate::RemoveNextHop(NextHopId(input.below(11))),
        9 | 10 => RouteUpdate::SetGroup(NextHopGroupId(input.below(9)), members(input)),
        11 => RouteUpdate::RemoveGroup(NextHopGroupId(input.below(9))),
        12..=14 => RouteUpdate::SetRoute(prefix(input), NextHopGroupId(input.below(9))),
        _ => RouteUpdate::RemoveRoute(prefix(input)),
    }
}

/// A packet to `destination`; the source port changes the flow's hash.
fn packet(destination: IpAddr, source_port: u16) -> Vec<u8> {
    let builder = PacketBuilder::new().ethernet(ROUTER, SENDER);
    let builder = match destination {
        IpAddr::V4(address) => builder.ipv4(Ipv4::new([192, 0, 2, 1].into(), address)),
        IpAddr::V6(address) => {
            builder.ipv6(Ipv6::new([0x2001, 0xdb8, 9, 0, 0, 0, 0, 1].into(), address))
        }
    };
    let payload = if source_port & 1 == 0 { 10 } else { 1300 };
    builder.udp(Udp::new(source_port, 7)).payload(&vec![0; payload]).build()
}

/// What the twin allows for a packet that parse left to the route stage.
fn allowed(twin: &RouteTwin, destination: IpAddr, length: u32) -> Vec<Verdict> {
    if twin.left_to_kernel(destination) {
        return vec![Verdict::Punt(PuntReason::NotServed)];
    }
    let candidates = twin.candidates(destination).into_iter();
    let mut allowed: Vec<_> =
        candidates.map(|next_hop| twin.verdict(next_hop, destination, length)).collect();
    if allowed.is_empty() {
        allowed.push(Verdict::Punt(PuntReason::NoRoute));
    }
    allowed
}

fn compare(tables: &RouteTables, twin: &RouteTwin, path: &mut PacketPath, ways: &[(IpAddr, u16)]) {
    let packets: Vec<_> = ways.iter().map(|&(to, port)| packet(to, port)).collect();
    let parsed = path.parse(INCOMING.0, &packets);
    let decided = path.run(tables, INCOMING.0, &packets);
    for (((decided, parsed), packet), (destination, _)) in
        decided.iter().zip(&parsed).zip(&packets).zip(ways)
    {
        let length = packet.len() as u32 - 14;
        let allowed = match parsed.verdict {
            Verdict::Undecided => allowed(twin, *destination, length),
            verdict => vec![verdict],
        };
        let verdict = decided.verdict;
        assert!(allowed.contains(&verdict), "{destination}: {verdict:?} is none of {allowed:?}");
        let alone = path.run(tables, INCOMING.0, std::slice::from_ref(packet));
        assert_eq!(alone, [decided.clone()], "a packet fares the same in a batch of its own");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let (mut tables, mut twin) = (RouteTables::new(&CAPACITIES), RouteTwin::new(&CAPACITIES));
    let own = Interface { port: INCOMING.0, ..interface(&mut Input(&[])) };
    let first = RouteUpdate::SetInterface(INCOMING.1, own);
    tables.absorb(&first);
    twin.apply(&first);
    PATH.with_borrow_mut(|path| {
        for _ in 0..OPERATIONS_MAX {
            if input.is_empty() {
                break;
            }
            if input.u8() & 3 == 0 {
                let count = input.below(6);
                let ways = (0..count).map(|_| (address(&mut input), input.u16()));
                compare(&tables, &twin, path, &ways.collect::<Vec<_>>());
                continue;
            }
            let update = update(&mut input);
            tables.absorb(&update);
            twin.apply(&update);
            assert_eq!(tables.refused_updates(), twin.refused_updates(), "{update:?}");
        }
        // Every address of the small space, whatever the input asked for.
        let ipv4 = (0..64).map(|at| IpAddr::from([10, 0, at >> 3, at & 7]));
        let ipv6 = (0..64).map(|at| IpAddr::from([0x2001, 0xdb8, at >> 3, 0, 0, 0, 0, at & 7]));
        let port = u16::from(bytes.last().copied().unwrap_or_default());
        let ways: Vec<_> = ipv4.chain(ipv6).map(|address| (address, port)).collect();
        compare(&tables, &twin, path, &ways);
    });
});
