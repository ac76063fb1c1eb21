//! Packets that the kernel gets, as they were received.

use std::net::Ipv4Addr;

use linecard_packet::PuntReason;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Arp, Extension, Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::Tag;

use crate::case::*;
use crate::common::{neighbour_mac, to_router};

#[test]
fn link_layer_business_is_the_kernels() {
    let unspecified = Ipv4Addr::UNSPECIFIED;
    let arp = Arp::request(neighbour_mac(6), unspecified, unspecified);
    let group =
        |mac: [u8; 6]| PacketBuilder::new().ethernet(MacAddress::new(mac), neighbour_mac(6));
    let (c_tag, s_tag) = (EtherType::VLAN, EtherType::SERVICE_VLAN);
    let vlan = |tags: &[Tag]| {
        udp(tags.iter().fold(to_router(), |frame, tag| frame.vlan(*tag)).ipv4(transit()))
    };
    check_all(&[
        case("an ARP request", group([0xff; 6]).arp(arp), Punted(PuntReason::NotIp)),
        case("an ARP reply", to_router().arp(arp), Punted(PuntReason::NotIp)),
        case("any other type", to_router().payload(&[0; 46]), Punted(PuntReason::NotIp)),
        case(
            "unicast IPv4 in a broadcast frame",
            udp(group([0xff; 6]).ipv4(transit())),
            Punted(PuntReason::Multicast),
        ),
        case(
            "IPv4 multicast",
            udp(group([1, 0, 0x5e, 0, 0, 5]).ipv4(ipv4("10.0.0.2", "224.0.0.5"))),
            Punted(PuntReason::Multicast),
        ),
        case(
            "IPv4 multicast in a unicast frame",
            in4(ipv4("10.0.0.2", "239.1.1.1")),
            Punted(PuntReason::Multicast),
        ),
        case(
            "a membership report from a host without an address",
            udp(group([1, 0, 0x5e, 0, 0, 22]).ipv4(ipv4("0.0.0.0", "224.0.0.22"))),
            Punted(PuntReason::Multicast),
        ),
        case(
            "duplicate address detection",
            udp(group([0x33, 0x33, 0xff, 0, 0, 1]).ipv6(ipv6("::", "ff02::1:ff00:1"))),
            Punted(PuntReason::Multicast),
        ),
        case(
            "a VLAN without an interface",
            vlan(&[tag(c_tag, 0, 7)]),
            Punted(PuntReason::VlanUnknown),
        ),
        case(
            "the same VLAN of another kind",
            vlan(&[tag(s_tag, 0, 100)]),
            Punted(PuntReason::VlanUnknown),
        ),
        case(
            "three tags",
            vlan(&[tag(c_tag, 0, 100), tag(c_tag, 0, 1), tag(c_tag, 0, 2)]),
            Punted(PuntReason::VlanUnknown),
        ),
        case("forwarding is off", vlan(&[tag(c_tag, 0, 50)]), Punted(PuntReason::ForwardingOff)),
    ]);
}

#[test]
fn what_a_router_answers_is_the_kernels() {
    use PuntReason as P;
    let large = to_router().ipv4(transit()).udp(Udp::new(1, 2)).payload(&[0; 1473]);
    let fragmentable = Ipv4 { dont_fragment: false, ..transit() };
    let fragmentable = to_router().ipv4(fragmentable).udp(Udp::new(1, 2)).payload(&[0; 1473]);
    let large6 = to_router().ipv6(transit6()).udp(Udp::new(1, 2)).payload(&[0; 1453]);
    check_all(&[
        case("TTL 1", in4(Ipv4 { ttl: 1, ..transit() }), Punted(P::TtlExpired)),
        case("TTL 0", in4(Ipv4 { ttl: 0, ..transit() }), Punted(P::TtlExpired)),
        case("hop limit 1", in6(Ipv6 { hop_limit: 1, ..transit6() }), Punted(P::TtlExpired)),
        case("the router's own address", in4(ipv4("10.0.0.2", "10.1.0.1")), Punted(P::Local)),
        case(
            "the router's own IPv6 address",
            in6(ipv6("2001:db8::2", "2001:db8:1::1")),
            Punted(P::Local),
        ),
        case("the limited broadcast", in4(ipv4("0.0.0.0", "255.255.255.255")), Punted(P::Local)),
        case("its old form", in4(ipv4("0.0.0.0", "0.0.0.0")), Punted(P::Local)),
        case(
            "IPv4 options",
            in4(Ipv4 { options: vec![148, 4, 0, 0], ..transit() }),
            Punted(P::Ipv4Options),
        ),
        case(
            "a hop-by-hop header",
            udp(to_router().ipv6(transit6()).extension(Extension::hop_by_hop(&[5, 2, 0, 0]))),
            Punted(P::Ipv6HopByHop),
        ),
        case("from link-local", in6(ipv6("fe80::1", "2001:db8:20::1")), Punted(P::LinkLocal)),
        case("to link-local", in6(ipv6("2001:db8::2", "fe80::1")), Punted(P::LinkLocal)),
        case("no route", in4(ipv4("10.0.0.2", "99.0.0.1")), Punted(P::NoRoute)),
        case("no IPv6 route", in6(ipv6("2001:db8::2", "2001:db8:99::1")), Punted(P::NoRoute)),
        case("a reject route", in4(ipv4("10.0.0.2", "20.6.0.1")), Punted(P::RouteRejects)),
        case("not served", in4(ipv4("10.0.0.2", "20.7.0.1")), Punted(P::NotServed)),
        case(
            "a gateway that is not resolved",
            in4(ipv4("10.0.0.2", "20.8.0.1")),
            Punted(P::NeighbourUnresolved),
        ),
        case(
            "a connected neighbour that is not resolved",
            in4(ipv4("10.0.0.2", "10.1.0.3")),
            Punted(P::NeighbourUnresolved),
        ),
        case(
            "a connected neighbour that nobody asked for yet",
            in4(ipv4("10.0.0.2", "10.1.0.77")),
            Punted(P::NeighbourUnresolved),
        ),
        case("1501 bytes, DF", large, Punted(P::TooBig)),
        case("1501 bytes, to be fragmented", fragmentable, Punted(P::TooBig)),
        case("1501 bytes of IPv6", large6, Punted(P::TooBig)),
    ]);
}
