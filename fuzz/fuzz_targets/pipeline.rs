//! Any frames through parse, the route stage and the rewrite, over fixed tables: each gets a
//! verdict, and what is forwarded is the packet that came, one hop further.
//!
//! The input is a list of frames. Before each stand a byte of flags (the port in the lower two
//! bits; 0x80: write the router's address in front; 0x40: make the IPv4 checksum right) and two
//! bytes of length.

#![no_main]

use std::cell::RefCell;
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use linecard_fuzz::input::Input;
use linecard_fuzz::path::{Decided, PacketPath};
use linecard_packet::{AdjacencyId, InterfaceId, Layer3, PortId, PuntReason, Verdict};
use linecard_services::route::twin::RouteTwin;
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities, RouteTables,
    RouteUpdate, Special,
};
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::vlan::Tags;
use linecard_wire::{ipv4, ipv6};

const CAPACITIES: RouteCapacities = RouteCapacities {
    routes_ipv4_max: 16,
    routes_ipv6_max: 16,
    groups_max: 16,
    next_hops_max: 16,
    adjacencies_max: 16,
    interfaces_max: 16,
};
const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const FRAMES_MAX: usize = 64;

struct Rig {
    path: PacketPath,
    tables: RouteTables,
    twin: RouteTwin,
}

thread_local!(static RIG: RefCell<Rig> = Rig::new().into());

impl Rig {
    fn new() -> Self {
        let (mut tables, mut twin) = (RouteTables::new(&CAPACITIES), RouteTwin::new(&CAPACITIES));
        for update in interfaces().into_iter().chain(neighbours()).chain(routes()) {
            tables.absorb(&update);
            twin.apply(&update);
        }
        assert_eq!(tables.refused_updates(), 0);
        Self { path: PacketPath::default(), tables, twin }
    }
}

/// Port 0 and 1 untagged, VLANs on 1, two tags on 2, and on 3 a link that is down and one that
/// forwards IPv6 only.
fn interfaces() -> Vec<RouteUpdate> {
    let single = |id| vec![(0x8100, id)];
    let double = vec![(0x88a8, 200), (0x8100, 300)];
    let all = [
        (0, vec![], 1500, true, true),
        (1, vec![], 1500, true, true),
        (1, single(100), 1500, true, true),
        (2, double, 1496, true, true),
        (3, vec![], 1500, false, true),
        (3, single(7), 1280, true, false),
    ];
    let all =
        all.into_iter().zip(0..).map(|((port, vlans, mtu_bytes, up, forwarding_ipv4), id)| {
            let interface = Interface {
                port: PortId(port),
                vlans,
                mac_address: ROUTER,
                mtu_bytes,
                up,
                forwarding_ipv4,
                forwarding_ipv6: true,
                own_ipv4: None,
                own_ipv6: None,
            };
            RouteUpdate::SetInterface(InterfaceId(id), interface)
        });
    all.collect()
}

/// On each interface host 2, in both families; adjacency 12 is not resolved.
fn neighbours() -> Vec<RouteUpdate> {
    let adjacency = |id: u16| {
        let interface = id % 6;
        let address = match id {
            0..6 => IpAddr::from([10, 0, interface as u8, 2]),
            6..12 => IpAddr::from([0x2001, 0xdb8, interface, 0, 0, 0, 0, 2]),
            _ => IpAddr::from([10, 0, 0, 3]),
        };
        let mac_address = (id < 12).then(|| MacAddress::new([2, 0, 0, 0, 1, id as u8]));
        let adjacency = Adjacency { interface: InterfaceId(interface), address, mac_address };
        RouteUpdate::SetAdjacency(AdjacencyId(id.into()), adjacency)
    };
    (0..13).map(adjacency).collect()
}

/// Next hops 0 to 5 are the links themselves, 6 to 9 gateways, then the special ones.
fn routes() -> Vec<RouteUpdate> {
    let gateway = |id| NextHop::Gateway(AdjacencyId(id));
    let links = (0..6).map(|id| NextHop::Connected(InterfaceId(id)));
    let others = [gateway(2), gateway(3), gateway(8), gateway(9), gateway(12)]
        .into_iter()
        .chain([Special::Local, Special::Blackhole].map(NextHop::Special));
    let next_hops = links.chain(others).zip(0..);
    let mut updates: Vec<_> =
        next_hops.map(|(hop, id)| RouteUpdate::SetNextHop(NextHopId(id), hop)).collect();
    let groups: [&[(u32, u32)]; 14] = [
        &[(0, 1)],
        &[(1, 1)],
        &[(2, 1)],
        &[(3, 1)],
        &[(4, 1)],
        &[(5, 1)],
        &[(6, 1), (7, 3)],
        &[(8, 1), (9, 1)],
        &[(11, 1)],
        &[(12, 1)],
        &[(10, 1), (6, 1)],
        &[(6, 1)],
        &[(9, 1)],
        &[(7, 1)],
    ];
    for (members, id) in groups.into_iter().zip(1..) {
        let member = |&(id, weight): &_| Member { next_hop: NextHopId(id), weight };
        let members = members.iter().map(member).collect();
        updates.push(RouteUpdate::SetGroup(NextHopGroupId(id), members));
    }
    for (prefix, group) in [
        ("10.0.0.0/24", 1),
        ("10.0.1.0/24", 2),
        ("10.0.2.0/24", 3),
        ("10.0.3.0/24", 4),
        ("10.0.4.0/24", 5),
        ("10.0.5.0/24", 6),
        ("20.0.0.0/8", 7),
        ("10.0.0.1/32", 9),
        ("30.0.0.0/8", 10),
        ("40.0.0.0/8", 11),
        ("20.1.0.0/16", 14),
        ("0.0.0.0/1", 12),
        ("2001:db8::/48", 1),
        ("2001:db8:1::/48", 2),
        ("2001:db8:2::/48", 3),
        ("2001:db8:3::/48", 4),
        ("2001:db8:5::/48", 6),
        ("::/0", 8),
        ("2001:db8::1/128", 9),
        ("fc00::/7", 13),
    ] {
        let prefix = prefix.parse().expect("a prefix");
        updates.push(RouteUpdate::SetRoute(prefix, NextHopGroupId(group)));
    }
    updates
}

/// The next frame of the input with its port; none that is empty.
fn frame(input: &mut Input<'_>, length_max: usize) -> Option<(PortId, Vec<u8>)> {
    let (flags, length) = (input.u8(), usize::from(input.u16()));
    let mut bytes = input.take(length.min(length_max)).to_vec();
    if flags & 0x80 != 0 && bytes.len() >= 6 {
        bytes[..6].copy_from_slice(&ROUTER.octets());
    }
    let offset = Tags::new(&bytes).map(|tags| tags.payload_offset());
    if let (true, Ok(offset)) = (flags & 0x40 != 0, offset) {
        // Where there is no IPv4 header there is no checksum to make right.
        let _ = ipv4::fill_checksum(&mut bytes[offset..]);
    }
    (!bytes.is_empty()).then_some((PortId((flags & 3).into()), bytes))
}

/// The packet within a frame, its hop limit and checksum cleared, and its destination.
fn plain(decided: &Decided, frame: &[u8], offset: usize) -> (Vec<u8>, u8, IpAddr) {
    let length = usize::from(decided.metadata.layer3_length);
    let mut packet = frame[offset..][..length].to_vec();
    match decided.metadata.layer3 {
        Layer3::Ipv4 => {
            let view = ipv4::Packet::new(&packet).expect("what is forwarded is valid");
            assert!(view.verify_checksum());
            let (ttl, destination) = (view.ttl(), view.destination().into());
            ipv4::set_ttl(&mut packet, 0).expect("a whole header");
            ipv4::set_checksum(&mut packet, 0).expect("a whole header");
            (packet, ttl, destination)
        }
        Layer3::Ipv6 => {
            let view = ipv6::Packet::new(&packet).expect("what is forwarded is valid");
            let (hop_limit, destination) = (view.hop_limit(), view.destination().into());
            ipv6::set_hop_limit(&mut packet, 0).expect("a whole header");
            (packet, hop_limit, destination)
        }
        Layer3::Other => panic!("only IP is forwarded"),
    }
}

/// Checks a frame that is forwarded against what came in; returns its destination.
fn check_forwarded(rig: &Rig, decided: &Decided, came: &[u8], to: (PortId, AdjacencyId)) -> IpAddr {
    let neighbours = neighbours();
    let RouteUpdate::SetAdjacency(id, adjacency) = neighbours[to.1.index()] else {
        panic!("the list has adjacencies only");
    };
    assert_eq!(id, to.1);
    let interface = rig.twin.interface(adjacency.interface).expect("the interface is there");
    assert!(interface.up && interface.port == to.0);
    let tags =
        interface.vlans.iter().flat_map(|&(tpid, id)| [tpid.to_be_bytes(), id.to_be_bytes()]);
    let ethertype: u16 = if decided.metadata.layer3 == Layer3::Ipv4 { 0x0800 } else { 0x86dd };
    let mut header = adjacency.mac_address.expect("it is resolved").octets().to_vec();
    header.extend(ROUTER.octets());
    header.extend(tags.flatten());
    header.extend(ethertype.to_be_bytes());

    let length = usize::from(decided.metadata.layer3_length);
    assert!(length <= interface.mtu_bytes as usize);
    assert_eq!(decided.bytes.len(), header.len() + length);
    assert_eq!(decided.bytes[..header.len()], header);
    let offset = usize::from(decided.metadata.layer3_offset);
    let (before, hops_before, destination) = plain(decided, came, offset);
    let (after, hops_after, _) = plain(decided, &decided.bytes, header.len());
    assert_eq!(before, after, "all but hop limit and checksum is as it was");
    assert_eq!(hops_before, hops_after + 1);
    destination
}

/// The next router sees the same flow, unless this was the last hop.
fn check_next_hop(rig: &mut Rig, decided: &Decided) {
    let again = &rig.path.parse(PortId(0), std::slice::from_ref(&decided.bytes))[0];
    match again.verdict {
        Verdict::Punt(reason) => assert_eq!(reason, PuntReason::TtlExpired),
        verdict => {
            assert_eq!(verdict, Verdict::Undecided);
            assert_eq!(again.flow_hash, decided.flow_hash);
            assert_eq!(again.metadata.protocol, decided.metadata.protocol);
        }
    }
}

fn check(rig: &mut Rig, came: &[u8], decided: &Decided) {
    let Verdict::Forward { port, adjacency } = decided.verdict else {
        assert_eq!(decided.bytes, came, "what is not forwarded is left alone");
        return;
    };
    let destination = check_forwarded(rig, decided, came, (port, adjacency));
    let length = u32::from(decided.metadata.layer3_length);
    let mut next_hops = rig.twin.candidates(destination).into_iter();
    let allowed = |next_hop| rig.twin.verdict(next_hop, destination, length) == decided.verdict;
    assert!(next_hops.any(allowed), "{:?} to {destination}", decided.verdict);
    check_next_hop(rig, decided);
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    RIG.with_borrow_mut(|rig| {
        let mut batches: [Vec<Vec<u8>>; 4] = Default::default();
        let length_max = rig.path.packet_bytes_max();
        for _ in 0..FRAMES_MAX {
            let Some((port, bytes)) = frame(&mut input, length_max) else { break };
            batches[usize::from(port.0)].push(bytes);
        }
        for (packets, port) in batches.iter().zip(0..) {
            let decided = rig.path.run(&rig.tables, PortId(port), packets);
            for (came, decided) in packets.iter().zip(&decided) {
                check(rig, came, decided);
                let alone = rig.path.run(&rig.tables, PortId(port), std::slice::from_ref(came));
                assert_eq!(alone[0], *decided, "a packet fares the same in a batch of its own");
            }
        }
    });
});
