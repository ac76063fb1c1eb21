//! IPv6 headers, addresses, routes and sizes: RFC 8200 3, 5 and 8, RFC 4291 2.5, RFC 4443.

use linecard_packet::{DropReason, PuntReason};
use linecard_wire::builder::{Icmpv6, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ip::{Ecn, Protocol};
use linecard_wire::tcp::Flags;

use super::bed::{LINK_LOCAL_NEIGHBOURS, Side};
use super::fixture::{
    Dropped, Fixture, Forwarded, Only, Passed, Punted, Verdict, answered, forwarded, silent,
};
use super::packets::*;

const MALFORMED: Verdict = Dropped(DropReason::Ipv6HeaderMalformed);
const MARTIAN_SOURCE: Verdict = Dropped(DropReason::MartianSource);
const MARTIAN_DESTINATION: Verdict = Dropped(DropReason::MartianDestination);
const NEIGHBOUR: &str = LINK_LOCAL_NEIGHBOURS[0];
const OTHER_NEIGHBOUR: &str = LINK_LOCAL_NEIGHBOURS[1];
const LINK_LOCAL: Verdict = Punted(PuntReason::LinkLocal);

const UNSPECIFIED_DESTINATION: &str = "RFC 4291 2.5.2: :: must not be a destination; the kernel \
    does not look and follows the route";
const REDIRECT: &str = "Linecard sends no redirects (RFC 4861 8.2: a router SHOULD, rate-limited); \
    the kernel has no switch for those of IPv6";

pub(crate) fn fixtures() -> Vec<Fixture> {
    [header(), sources(), destinations(), routes(), payloads(), sizes(), own()].concat()
}

fn header() -> Vec<Fixture> {
    let h = transit6;
    let limit = |hop_limit| in6(Ipv6 { hop_limit, ..h() });
    let length = |length| in6(Ipv6 { payload_length: Some(length), ..h() });
    let expired = Passed("ttl_expired");
    let good = in6(h());
    let last = (good.len() - 54) as u16;
    vec![
        forwarded("a good IPv6 packet", good.clone()),
        forwarded(
            "IPv6 the other way",
            udp(to_router(Side::East).ipv6(v6("2001:db8:20::1", "2001:db8:1::2"))).build(),
        )
        .from(Side::East)
        .verdict(Forwarded(Side::West))
        .out([1, 0, 0]),
        silent("IPv6 version 0", in6(Ipv6 { version: Some(0), ..h() }), MALFORMED),
        silent("IPv6 version 4", in6(Ipv6 { version: Some(4), ..h() }), MALFORMED),
        silent("IPv6 version 7", in6(Ipv6 { version: Some(7), ..h() }), MALFORMED),
        silent("IPv6 version 15", in6(Ipv6 { version: Some(15), ..h() }), MALFORMED),
        forwarded("payload length one less than the frame", length(last - 1)),
        silent("payload length one more than the frame", length(last + 1), MALFORMED),
        silent("payload length 65,535", length(65_535), MALFORMED),
        forwarded("payload length 0, the rest is padding", length(0)),
        forwarded("IPv6 with a padding of zeroes", padded(good.clone(), &[0; 9])),
        forwarded("IPv6 with a padding of other bytes", padded(good, &[0xa5; 100])),
        answered("hop limit 0", limit(0), expired),
        answered("hop limit 1", limit(1), expired),
        forwarded("hop limit 2", limit(2)),
        forwarded("hop limit 255", limit(255)),
        forwarded("IPv6 DSCP 46, ECN CE", in6(Ipv6 { dscp: 46, ecn: Ecn::Ce, ..h() })),
        forwarded("traffic class 0xff", in6(Ipv6 { dscp: 63, ecn: Ecn::Ce, ..h() })),
        forwarded("flow label 0", in6(Ipv6 { flow_label: 0, ..h() })),
        forwarded("flow label 0xfffff", in6(Ipv6 { flow_label: 0xf_ffff, ..h() })),
    ]
}

fn sources() -> Vec<Fixture> {
    let from = |source| in6(v6(source, "2001:db8:20::1"));
    vec![
        silent("from ::", from("::"), MARTIAN_SOURCE),
        silent("from ::1", from("::1"), MARTIAN_SOURCE),
        silent("from ff02::1", from("ff02::1"), MARTIAN_SOURCE),
        silent("from ff0e::1", from("ff0e::1"), MARTIAN_SOURCE),
        silent("from a link-local neighbour", from(NEIGHBOUR), LINK_LOCAL).out([1, 0, 0]),
        silent("from the router's link-local address", from("fe80::ff:fe00:101"), LINK_LOCAL),
        forwarded("from a site-local address", from("fec0::1")),
        forwarded("from a unique local address", from("fd00::1")),
        forwarded("from an IPv4-mapped address", from("::ffff:192.0.2.2")),
        forwarded("from an IPv4-compatible address", from("::192.0.2.2")),
        forwarded("from ::2", from("::2")),
        forwarded("from the router's address on west", from("2001:db8:1::1")),
        forwarded("from the router's address on east", from("2001:db8:a::1")),
        forwarded("from west's anycast address", from("2001:db8:1::")),
        forwarded("from where no IPv6 route leads", from("4000::1")),
        forwarded("from where it goes, IPv6", from("2001:db8:20::1")),
        forwarded("from 6to4", from("2002:c000:201::1")),
    ]
}

fn destinations() -> Vec<Fixture> {
    let to = |destination| in6(v6("2001:db8:1::2", destination));
    let group = Passed("multicast");
    vec![
        silent("to ::", to("::"), MARTIAN_DESTINATION)
            .out([0, 1, 0])
            .differs(Only::KernelForwards(Side::East), UNSPECIFIED_DESTINATION),
        silent("to ::1", to("::1"), Passed("local")),
        silent("to ff02::1", to("ff02::1"), group),
        silent("to ff01::1", to("ff01::1"), group),
        silent("to ff00::", to("ff00::"), group),
        silent("to ff0e::1", to("ff0e::1"), group),
        silent("from :: to ff02::1", in6(v6("::", "ff02::1")), group),
        silent("from :: to ::", in6(v6("::", "::")), MARTIAN_DESTINATION),
        silent("from ::1 to ::1", in6(v6("::1", "::1")), Passed("local")),
        silent("to a link-local neighbour", to(NEIGHBOUR), group).out([2, 0, 0]),
        silent("from link-local to link-local", in6(v6(NEIGHBOUR, OTHER_NEIGHBOUR)), group)
            .out([2, 0, 0]),
        forwarded("to a site-local address", to("fec0::1")),
        forwarded("to a unique local address", to("fd00::1")),
        forwarded("to an IPv4-mapped address", to("::ffff:192.0.2.2")),
        forwarded("to an IPv4-compatible address", to("::192.0.2.2")),
        forwarded("to ::2", to("::2")),
        forwarded("to the IPv6 host on east", to("2001:db8:a::2")),
        forwarded("to the last address on east", to("2001:db8:a::3")),
        silent("to east's anycast address", to("2001:db8:a::"), Passed("local")).out([1, 0, 0]),
        forwarded("to fe00::1", to("fe00::1")),
        forwarded("to feff::1", to("feff::1")),
    ]
}

/// RFC 4443 3.1. The kernel sends a source one redirect a second, so there is one fixture for it.
fn routes() -> Vec<Fixture> {
    let rejects = Punted(PuntReason::RouteRejects);

    let west = [1, 0, 0];
    vec![
        answered("no IPv6 route", in6(v6("2001:db8:1::2", "4000::1")), Punted(PuntReason::NoRoute)),
        answered("an unreachable IPv6 route", in6(v6("2001:db8:1::2", "2001:db8:b2::1")), rejects),
        answered("a prohibit IPv6 route", in6(v6("2001:db8:1::2", "2001:db8:b3::1")), rejects),
        silent(
            "a blackhole IPv6 route",
            in6(v6("2001:db8:1::2", "2001:db8:b1::1")),
            Dropped(DropReason::Blackhole),
        ),
        silent(
            "IPv6 to south",
            in6(v6("2001:db8:1::2", "2001:db8:9::1")),
            Punted(PuntReason::NotServed),
        )
        .out([0, 0, 1]),
        forwarded("IPv6 back out by a gateway", in6(v6("2001:db8:1::2", "2001:db8:99::2")))
            .verdict(Forwarded(Side::West))
            .out(west),
        forwarded("IPv6 back out to a neighbour", in6(v6("2001:db8:1::3", "2001:db8:1::2")))
            .verdict(Forwarded(Side::West))
            .out([2, 0, 0])
            .differs(Only::KernelRedirects(Side::West), REDIRECT),
    ]
}

fn payloads() -> Vec<Fixture> {
    let packet = || to_router(Side::West).ipv6(transit6());
    let next = |number| {
        let header = Ipv6 { next_header: Some(Protocol(number)), ..transit6() };
        to_router(Side::West).ipv6(header).payload(PAYLOAD).build()
    };
    let udp_with = |udp: Udp| packet().udp(udp).payload(PAYLOAD).build();
    vec![
        forwarded(
            "IPv6 UDP without a checksum (RFC 6935)",
            udp_with(Udp { checksum: Some(0), ..Udp::new(1, 2) }),
        ),
        forwarded(
            "IPv6 UDP with a wrong checksum",
            udp_with(Udp { checksum: Some(7), ..Udp::new(1, 2) }),
        ),
        forwarded(
            "IPv6 UDP that says it is longer",
            udp_with(Udp { length: Some(900), ..Udp::new(1, 2) }),
        ),
        forwarded("half a UDP header in IPv6", packet().payload(&[1; 4]).build()),
        forwarded(
            "TCP SYN in IPv6",
            packet().tcp(Tcp { flags: Flags::SYN, ..Tcp::new(4000, 80) }).build(),
        ),
        forwarded(
            "ICMPv6 echo request",
            packet().icmpv6(Icmpv6::echo_request(1, 2)).payload(PAYLOAD).build(),
        ),
        forwarded(
            "ICMPv6 with a wrong checksum",
            packet().icmpv6(Icmpv6 { checksum: Some(7), ..Icmpv6::echo_reply(1, 2) }).build(),
        ),
        forwarded(
            "a neighbour solicitation, unicast",
            packet()
                .neighbor_solicitation("2001:db8:20::1".parse().expect("an address"), None)
                .build(),
        ),
        forwarded("IPv6 in IPv6", packet().ipv6(transit6()).udp(Udp::new(1, 2)).build()),
        forwarded("IPv4 in IPv6", packet().ipv4(transit4()).udp(Udp::new(1, 2)).build()),
        forwarded("GRE in IPv6", next(47)),
        forwarded("SCTP in IPv6", next(132)),
        forwarded("no next header", next(59)),
        forwarded(
            "no next header, nothing behind",
            to_router(Side::West)
                .ipv6(Ipv6 { next_header: Some(Protocol(59)), ..transit6() })
                .build(),
        ),
        forwarded("next header 253", next(253)),
        forwarded("next header 255", next(255)),
        forwarded("next header ICMP of IPv4", next(1)),
    ]
}

/// RFC 8200 5, RFC 8201: a router does not fragment.
fn sizes() -> Vec<Fixture> {
    let of = |length: usize, header: Ipv6| {
        let packet = to_router(Side::West).ipv6(header).udp(Udp::new(1, 2));
        packet.payload(&vec![0x42; length - 48]).build()
    };
    let too_big = Punted(PuntReason::TooBig);
    let to = |destination| v6("2001:db8:1::2", destination);
    vec![
        forwarded("1,280 bytes of IPv6", of(1280, transit6())),
        forwarded("1,400 bytes of IPv6", of(1400, transit6())),
        forwarded("1,400 bytes of IPv6 and a padding", padded(of(1400, transit6()), &[0; 60])),
        answered("1,401 bytes of IPv6", of(1401, transit6()), too_big),
        answered("1,500 bytes of IPv6", of(1500, transit6()), too_big),
        answered(
            "1,500 bytes of IPv6, hop limit 1",
            of(1500, Ipv6 { hop_limit: 1, ..transit6() }),
            Passed("ttl_expired"),
        ),
        answered(
            "1,500 bytes of IPv6, no route",
            of(1500, to("4000::1")),
            Punted(PuntReason::NoRoute),
        ),
        answered("1,500 bytes of IPv6 to the host on east", of(1500, to("2001:db8:a::2")), too_big),
        silent(
            "1,500 bytes of IPv6 to south",
            of(1500, to("2001:db8:9::1")),
            Punted(PuntReason::NotServed),
        )
        .out([0, 0, 1]),
        silent("1,500 bytes from ::1", of(1500, v6("::1", "2001:db8:20::1")), MARTIAN_SOURCE),
    ]
}

fn own() -> Vec<Fixture> {
    let local = Passed("local");
    let to = |address| to_router(Side::West).ipv6(v6("2001:db8:1::2", address));
    let echo =
        |packet: PacketBuilder| packet.icmpv6(Icmpv6::echo_request(9, 9)).payload(PAYLOAD).build();
    let router = "2001:db8:1::1".parse().expect("an address");
    let solicit = |header: Ipv6| {
        let mac = Some(Side::West.host_mac());
        to_router(Side::West).ipv6(header).neighbor_solicitation(router, mac).build()
    };
    let nd =
        |destination| Ipv6 { hop_limit: 255, flow_label: 0, ..v6("2001:db8:1::2", destination) };
    vec![
        answered("IPv6 echo to the router", echo(to("2001:db8:1::1")), local),
        answered("IPv6 echo to its address on east", echo(to("2001:db8:a::1")), local),
        answered(
            "IPv6 echo to its link-local address",
            echo(to_router(Side::West).ipv6(v6("2001:db8:1::2", "fe80::ff:fe00:101"))),
            Passed("multicast"),
        ),
        answered("IPv6 echo to all nodes", echo(to("ff02::1")), Passed("multicast")),
        answered("IPv6 UDP to a closed port", udp(to("2001:db8:1::1")).build(), local),
        answered(
            "IPv6 TCP to a closed port",
            to("2001:db8:1::1").tcp(Tcp { flags: Flags::SYN, ..Tcp::new(4000, 9) }).build(),
            local,
        ),
        answered(
            "IPv6, a protocol that the router has not",
            to("2001:db8:1::1").payload(PAYLOAD).build(),
            local,
        ),
        silent(
            "IPv6 echo with a wrong checksum",
            to("2001:db8:1::1")
                .icmpv6(Icmpv6 { checksum: Some(7), ..Icmpv6::echo_request(9, 9) })
                .build(),
            local,
        ),
        answered("a neighbour solicitation", solicit(nd("2001:db8:1::1")), local),
        answered(
            "a neighbour solicitation to the group",
            solicit(nd("ff02::1:ff00:1")),
            Passed("multicast"),
        ),
        silent(
            "a neighbour solicitation from afar",
            solicit(Ipv6 { hop_limit: 254, ..nd("2001:db8:1::1") }),
            local,
        ),
    ]
}
