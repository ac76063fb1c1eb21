//! Packets that go on, and how they look then.

use linecard_wire::builder::{Extension, Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::ip::Protocol;
use linecard_wire::vlan::Tag;

use crate::case::*;
use crate::common::{neighbour_mac, router_mac, to_router};

#[test]
fn packets_go_on() {
    let vlan_out = |adjacency, tags: &[Tag], header: Ipv4| {
        let frame = tags.iter().fold(leaving(adjacency), |frame, tag| frame.vlan(*tag));
        Sent(1, udp(frame.ipv4(Ipv4 { ttl: header.ttl - 1, ..header })).build())
    };
    let to_vlan = ipv4("10.0.0.2", "20.1.0.1");
    let to_qinq = ipv4("10.0.0.2", "20.2.0.1");
    let (c_tag, s_tag) = (EtherType::VLAN, EtherType::SERVICE_VLAN);
    let back = ipv4("10.0.0.2", "20.9.0.1");
    let back_out = PacketBuilder::new().ethernet(neighbour_mac(6), router_mac(0));
    let fragment =
        Ipv4 { more_fragments: true, fragment_offset: 1480, dont_fragment: false, ..transit() };
    check_all(&[
        case("IPv4 to a gateway", in4(transit()), out4(transit())),
        case(
            "IPv4 to a neighbour on a connected network",
            in4(ipv4("10.0.0.2", "10.1.0.2")),
            out4(ipv4("10.0.0.2", "10.1.0.2")),
        ),
        case("IPv6 to a gateway", in6(transit6()), out6(transit6())),
        case(
            "IPv6 to a neighbour on a connected network",
            in6(ipv6("2001:db8::2", "2001:db8:1::2")),
            out6(ipv6("2001:db8::2", "2001:db8:1::2")),
        ),
        case(
            "the TTL may reach 1",
            in4(Ipv4 { ttl: 2, ..transit() }),
            out4(Ipv4 { ttl: 2, ..transit() }),
        ),
        case(
            "as large as the MTU",
            to_router().ipv4(transit()).udp(Udp::new(1, 2)).payload(&[7; 1472]),
            Sent(
                1,
                leaving(0)
                    .ipv4(Ipv4 { ttl: 63, ..transit() })
                    .udp(Udp::new(1, 2))
                    .payload(&[7; 1472])
                    .build(),
            ),
        ),
        case("padding is cut off", in4(transit()).pad_to(120), out4(transit())),
        case("padding is cut off IPv6", in6(transit6()).pad_to(150), out6(transit6())),
        case("a fragment is a packet like others", in4(fragment.clone()), out4(fragment)),
        case(
            "the back of a UDP checksum is not a router's business",
            to_router().ipv4(transit()).udp(Udp { checksum: Some(1), ..Udp::new(1, 2) }),
            Sent(
                1,
                leaving(0)
                    .ipv4(Ipv4 { ttl: 63, ..transit() })
                    .udp(Udp { checksum: Some(1), ..Udp::new(1, 2) })
                    .build(),
            ),
        ),
        case("a tag is put on", in4(to_vlan.clone()), vlan_out(3, &[tag(c_tag, 0, 100)], to_vlan)),
        case(
            "two tags are put on",
            in4(to_qinq.clone()),
            vlan_out(4, &[tag(s_tag, 0, 200), tag(c_tag, 0, 300)], to_qinq.clone()),
        ),
        case(
            "a tag is taken off, with its priority",
            udp(to_router().vlan(tag(c_tag, 5, 100)).ipv4(transit())),
            out4(transit()),
        ),
        case(
            "a tag is replaced by two",
            udp(to_router().vlan(tag(c_tag, 5, 100)).ipv4(to_qinq.clone())),
            vlan_out(4, &[tag(s_tag, 0, 200), tag(c_tag, 0, 300)], to_qinq),
        ),
        case(
            "VLAN 0 says a priority only",
            udp(to_router().vlan(tag(c_tag, 7, 0)).ipv4(transit())),
            out4(transit()),
        ),
        case(
            "out by the port it came in on",
            in4(back.clone()),
            Sent(0, udp(back_out.ipv4(Ipv4 { ttl: 63, ..back })).build()),
        ),
        case(
            "240/4 has no special meaning to the kernel",
            in4(ipv4("240.0.0.1", "241.0.0.1")),
            out4(ipv4("240.0.0.1", "241.0.0.1")),
        ),
        case(
            "nor has network 0 but for its first address",
            in4(ipv4("0.255.255.255", "0.0.0.1")),
            out4(ipv4("0.255.255.255", "0.0.0.1")),
        ),
        case(
            "nor has IPv4 link-local",
            in4(ipv4("169.254.0.1", "169.254.1.1")),
            out4(ipv4("169.254.0.1", "169.254.1.1")),
        ),
    ]);
}

#[test]
fn ipv6_extension_headers_pass() {
    let with = |extension: Extension, protocol: Option<Protocol>| {
        let mut extension = extension;
        extension.next_header = protocol;
        let build =
            |link: PacketBuilder, header: Ipv6| udp(link.ipv6(header).extension(extension.clone()));
        let hop_limit = transit6().hop_limit - 1;
        let out = build(leaving(2), Ipv6 { hop_limit, ..transit6() }).build();
        (build(to_router(), transit6()), Sent(1, out))
    };
    let cases = [
        ("destination options", with(Extension::destination_options(&[]), None)),
        ("a routing header for the destination", with(Extension::routing(4, 1, &[0; 20]), None)),
        ("a fragment", with(Extension::fragment(1480, true, 9), None)),
        ("an authentication header", with(Extension::authentication(1, 2), None)),
        (
            "a chain that leads nowhere",
            with(Extension::destination_options(&[]), Some(Protocol::ROUTING)),
        ),
    ];
    for (description, (packet, outcome)) in cases {
        check(&case(description, packet, outcome));
    }
}
