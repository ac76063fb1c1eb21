//! Frames whose story is told by the link layer.

use linecard_packet::{DropReason, PuntReason};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Arp, Ethernet, Layer, PacketBuilder};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};

use super::bed::Side;
use super::fixture::{
    Dropped, Fixture, Passed, Punted, Unseen, answered, by_kernel, forwarded, silent,
};
use super::packets::*;

const GROUP4: MacAddress = MacAddress::new([1, 0, 0x5e, 0, 0, 5]);
const GROUP6: MacAddress = MacAddress::new([0x33, 0x33, 0, 0, 0, 5]);
const STRANGER: MacAddress = MacAddress::new([2, 0, 0, 0, 9, 9]);

pub(crate) fn fixtures() -> Vec<Fixture> {
    [addresses(), types(), tags(), runts()].concat()
}

fn frame(destination: MacAddress, source: MacAddress) -> PacketBuilder {
    PacketBuilder::new().ethernet(destination, source)
}

fn addresses() -> Vec<Fixture> {
    let router = Side::West.router_mac();
    let host = Side::West.host_mac();
    let to = |mac| udp(frame(mac, host).ipv4(transit4())).build();
    let to6 = |mac| udp(frame(mac, host).ipv6(transit6())).build();
    let from = |mac| udp(frame(router, mac).ipv4(transit4())).build();
    vec![
        silent("IPv4 to another station", to(STRANGER), Passed("other_host")),
        silent("IPv6 to another station", to6(STRANGER), Passed("other_host")),
        silent(
            "to the router's MAC address on east",
            to(Side::East.router_mac()),
            Passed("other_host"),
        ),
        silent("to MAC address zero", to(MacAddress::ZERO), Passed("other_host")),
        silent("unicast IPv4 to all stations", to(MacAddress::BROADCAST), Passed("multicast")),
        silent("unicast IPv4 to a group of stations", to(GROUP4), Passed("multicast")),
        silent("unicast IPv6 to all stations", to6(MacAddress::BROADCAST), Passed("multicast")),
        silent("unicast IPv6 to a group of stations", to6(GROUP6), Passed("multicast")),
        forwarded("from a group MAC address", from(GROUP4)),
        forwarded("from the broadcast MAC address", from(MacAddress::BROADCAST)),
        forwarded("from MAC address zero", from(MacAddress::ZERO)),
        forwarded("from the router's own MAC address", from(router)),
        forwarded("from a stranger", from(STRANGER)),
    ]
}

fn types() -> Vec<Fixture> {
    let west = Side::West;
    let typed = |ethertype, payload: &[u8]| {
        let header = Ethernet {
            destination: west.router_mac(),
            source: west.host_mac(),
            ethertype: Some(EtherType(ethertype)),
        };
        PacketBuilder::new().layer(Layer::Ethernet(header)).payload(payload).build()
    };
    let ip = &in4(transit4())[14..];
    let address = |text: &str| text.parse().expect("an address");
    let arp = |mac, target| {
        let arp = Arp::request(west.host_mac(), address("192.0.2.2"), address(target));
        frame(mac, west.host_mac()).arp(arp).pad_to(60).build()
    };
    vec![
        answered(
            "ARP: who has the router's address",
            arp(MacAddress::BROADCAST, "192.0.2.1"),
            Passed("multicast"),
        ),
        answered("ARP: the same by unicast", arp(west.router_mac(), "192.0.2.1"), Passed("not_ip")),
        answered(
            "ARP: who has its address on east",
            arp(MacAddress::BROADCAST, "198.51.100.1"),
            Passed("multicast"),
        ),
        silent(
            "ARP: who has another address",
            arp(MacAddress::BROADCAST, "192.0.2.3"),
            Passed("multicast"),
        ),
        silent("ARP cut short", cut(arp(west.router_mac(), "192.0.2.1"), 40), Passed("not_ip")),
        silent("LLDP", typed(0x88cc, &[0; 46]), Passed("not_ip")),
        silent("MPLS", typed(0x8847, ip), Passed("not_ip")),
        silent("PPPoE", typed(0x8864, ip), Passed("not_ip")),
        silent("an experimental type", typed(0x88b5, &[0; 46]), Passed("not_ip")),
        silent("a length in place of a type", typed(46, &[0; 46]), Passed("not_ip")),
        silent("type 0", typed(0, &[0; 46]), Passed("not_ip")),
        silent("type 0xffff", typed(0xffff, &[0; 46]), Passed("not_ip")),
        silent(
            "IPv6 under IPv4's type",
            with(in6(transit6()), 12, &[8, 0]),
            Dropped(DropReason::Ipv4HeaderMalformed),
        ),
        silent(
            "IPv4 under IPv6's type",
            with(in4(transit4()), 12, &[0x86, 0xdd]),
            Dropped(DropReason::Ipv6HeaderMalformed),
        ),
    ]
}

fn tags() -> Vec<Fixture> {
    let tag = |tpid, priority, id| Tag { tpid, tci: Tci::new(priority, false, id) };
    let (c, s) = (EtherType::VLAN, EtherType::SERVICE_VLAN);
    let tagged = |tags: &[Tag]| {
        let frame = tags.iter().fold(to_router(Side::West), |frame, tag| frame.vlan(*tag));
        udp(frame.ipv4(transit4())).build()
    };
    let tagged6 = |tag| udp(to_router(Side::West).vlan(tag).ipv6(transit6())).build();
    let unknown = Punted(PuntReason::VlanUnknown);
    vec![
        silent("a VLAN that the port has not", tagged(&[tag(c, 0, 7)]), unknown),
        silent("the same with IPv6", tagged6(tag(c, 0, 7)), unknown),
        silent("VLAN 4095", tagged(&[tag(c, 7, 4095)]), unknown),
        silent("a service VLAN", tagged(&[tag(s, 0, 7)]), unknown),
        silent("two VLANs", tagged(&[tag(s, 0, 7), tag(c, 0, 8)]), unknown),
        forwarded("a priority tag", tagged(&[tag(c, 5, 0)])),
        forwarded("a priority tag, IPv6", tagged6(tag(c, 5, 0))),
        forwarded("a service priority tag", tagged(&[tag(s, 5, 0)])),
        forwarded("two priority tags", tagged(&[tag(s, 5, 0), tag(c, 1, 0)])),
        silent("a VLAN inside a priority tag", tagged(&[tag(c, 5, 0), tag(c, 0, 7)]), unknown),
        // The kernel takes one tag off before it calls the programs of an AF_PACKET port, and drops
        // what is behind it in silence when that is less than an Ethernet header.
        silent("three tags", tagged(&[tag(c, 0, 7), tag(c, 0, 8), tag(c, 0, 9)]), Passed("not_ip"))
            .on_packet_ports(unknown),
        by_kernel(
            "three priority tags",
            tagged(&[tag(c, 0, 0), tag(c, 0, 0), tag(c, 0, 0)]),
            Passed("not_ip"),
        )
        .on_packet_ports(unknown),
        silent(
            "a tag cut short",
            cut(tagged(&[tag(c, 0, 7)]), 16),
            Dropped(DropReason::VlanMalformed),
        )
        .on_packet_ports(Unseen),
        silent(
            "nothing behind a tag",
            cut(tagged(&[tag(c, 0, 7)]), 18),
            Dropped(DropReason::Ipv4HeaderMalformed),
        )
        .on_packet_ports(Unseen),
    ]
}

fn runts() -> Vec<Fixture> {
    let (frame4, frame6) = (in4(transit4()), in6(transit6()));
    let bare4 = to_router(Side::West).ipv4(transit4());
    let bare6 = to_router(Side::West).ipv6(transit6());
    let malformed4 = Dropped(DropReason::Ipv4HeaderMalformed);
    let malformed6 = Dropped(DropReason::Ipv6HeaderMalformed);
    vec![
        silent("14 bytes of IPv4", cut(frame4.clone(), 14), malformed4),
        silent("15 bytes of IPv4", cut(frame4.clone(), 15), malformed4),
        silent("33 bytes of IPv4", cut(frame4.clone(), 33), malformed4),
        silent("34 bytes of IPv4 that should be more", cut(frame4.clone(), 34), malformed4),
        silent("59 bytes of IPv4 that should be more", cut(frame4, 59), malformed4),
        silent("14 bytes of IPv6", cut(frame6.clone(), 14), malformed6),
        silent("53 bytes of IPv6", cut(frame6.clone(), 53), malformed6),
        silent("54 bytes of IPv6 that should be more", cut(frame6, 54), malformed6),
        forwarded("IPv4 without a payload, 34 bytes", bare4.clone().build()),
        forwarded("IPv4 without a payload, padded", bare4.pad_to(60).build()),
        forwarded("IPv6 without a payload, 54 bytes", bare6.clone().build()),
        forwarded("IPv6 without a payload, padded", bare6.pad_to(60).build()),
        forwarded(
            "IPv4 of 42 bytes",
            to_router(Side::West).ipv4(transit4()).payload(&[7; 8]).build(),
        ),
        forwarded(
            "one byte of payload",
            to_router(Side::West).ipv4(transit4()).payload(&[7]).build(),
        ),
    ]
}
