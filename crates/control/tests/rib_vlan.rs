//! VLAN subinterfaces of served ports as interfaces of the packet path, and facts of the
//! configuration beside those of the kernel.

mod tables;

use std::net::IpAddr;

use linecard_control::facts::{
    Fact, IFINDEX_STATIC_FIRST, Link, LinkKind, Neighbour, NeighbourState, Path, Route, RouteMode,
};
use linecard_control::rib::Rib;
use linecard_packet::PortId;
use linecard_wire::MacAddress;
use tables::{Tables, Way};

fn link(ifindex: u32, kind: LinkKind) -> Link {
    Link {
        ifindex,
        name: format!("eth{ifindex}"),
        mac_address: MacAddress::from([2, 0, 0, 0, 0, 1]),
        mtu_bytes: 1500,
        up: true,
        carrier: true,
        kind,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        ignore_linkdown_ipv4: false,
        ignore_linkdown_ipv6: false,
    }
}

fn vlan(lower: u32, tag_protocol: u16, id: u16) -> LinkKind {
    LinkKind::Vlan { lower, tag_protocol, id }
}

fn drain(rib: &mut Rib, tables: &mut Tables) -> usize {
    let mut updates = Vec::new();
    rib.drain(&mut updates);
    let count = updates.len();
    for update in updates {
        tables.apply(update);
    }
    count
}

fn tags(rib: &Rib, ifindex: u32) -> Option<Vec<(u16, u16)>> {
    let mut interfaces = rib.interfaces();
    interfaces.find(|(held, ..)| *held == ifindex).map(|(_, _, held)| held.vlans.clone())
}

#[test]
fn tags_are_listed_outermost_first() {
    let (mut rib, mut tables) = (Rib::new(), Tables::default());
    rib.serve(1, PortId(0));
    // The upper link comes first: order of arrival does not matter.
    rib.apply(Fact::SetLink(link(3, vlan(2, 0x8100, 30))));
    rib.apply(Fact::SetLink(link(2, vlan(1, 0x88a8, 20))));
    rib.apply(Fact::SetLink(link(1, LinkKind::Other)));
    rib.apply(Fact::SetLink(link(4, vlan(9, 0x8100, 40))));
    rib.apply(Fact::SetLink(link(5, vlan(3, 0x8100, 50))));
    drain(&mut rib, &mut tables);
    assert_eq!(tags(&rib, 1), Some(vec![]));
    assert_eq!(tags(&rib, 2), Some(vec![(0x88a8, 20)]));
    assert_eq!(tags(&rib, 3), Some(vec![(0x88a8, 20), (0x8100, 30)]));
    assert_eq!(tags(&rib, 4), None, "its lower link is not served");
    assert_eq!(tags(&rib, 5), None, "three tags are more than the packet path parses");
    rib.unserve(1);
    drain(&mut rib, &mut tables);
    assert!(tables.interfaces.is_empty());
}

#[test]
fn links_in_a_circle_are_no_interface() {
    let (mut rib, mut tables) = (Rib::new(), Tables::default());
    rib.serve(1, PortId(0));
    rib.apply(Fact::SetLink(link(2, vlan(3, 0x8100, 2))));
    rib.apply(Fact::SetLink(link(3, vlan(2, 0x8100, 3))));
    assert_eq!(drain(&mut rib, &mut tables), 0);
}

#[test]
fn facts_of_the_configuration_survive_a_resync() {
    let (mut rib, mut tables) = (Rib::new(), Tables::default());
    let ifindex = IFINDEX_STATIC_FIRST;
    let gateway = IpAddr::from([192, 0, 2, 1]);
    rib.serve(ifindex, PortId(0));
    rib.apply_static(Fact::SetLink(link(ifindex, LinkKind::Other)));
    rib.apply_static(Fact::SetNeighbour(Neighbour {
        ifindex,
        address: gateway,
        mac_address: Some(MacAddress::from([2, 0, 0, 0, 0, 9])),
        state: NeighbourState::Usable,
        permanent: false,
    }));
    let path = Path { ifindex, via: Some(gateway), weight: 1, dead: false };
    let route = Route::unicast("10.0.0.0/8".parse().unwrap(), vec![path]);
    rib.apply_static(Fact::SetRoute(route, RouteMode::Append));
    rib.apply(Fact::SetLink(link(1, LinkKind::Other)));
    assert!(drain(&mut rib, &mut tables) > 0);
    rib.begin_resync();
    rib.end_dump();
    rib.end_resync();
    assert!(rib.link(1).is_none() && rib.link(ifindex).is_some());
    assert_eq!(drain(&mut rib, &mut tables), 0);
    let (_, ways) = tables.lookup([10, 1, 2, 3].into()).expect("a route");
    assert!(ways.contains_key(&Way::Out { interface: 0, via: Some(gateway) }));
    let mac = tables.neighbour(0, gateway).flatten();
    assert_eq!(mac, Some(MacAddress::from([2, 0, 0, 0, 0, 9])));
}
