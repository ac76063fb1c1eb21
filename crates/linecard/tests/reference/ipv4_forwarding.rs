//! IPv4 beyond the header: routes, fragments, options, what is inside, sizes, the router itself.
//! RFC 1812 5.2.4 to 5.2.7, 5.3.3, 5.3.6, 4.2.2 and 4.3.

use linecard_packet::{DropReason, PuntReason};
use linecard_wire::builder::{Icmpv4, Ipv4, PacketBuilder, Tcp, Udp};
use linecard_wire::ip::Protocol;
use linecard_wire::tcp::Flags;

use super::bed::Side;
use super::fixture::{
    Dropped, Fixture, Forwarded, Passed, Punted, answered, by_kernel, forwarded, silent,
};
use super::packets::*;

pub(crate) fn fixtures() -> Vec<Fixture> {
    [routes(), fragments(), options(), payloads(), sizes(), own()].concat()
}

/// RFC 1812 5.2.4, 5.2.7. The kernel answers each source a few times a second only where a route
/// says no (`ip_error`), so each of these packets has a source of its own.
fn routes() -> Vec<Fixture> {
    let rejects = Punted(PuntReason::RouteRejects);
    let (west, south) = ([1, 0, 0], [0, 0, 1]);
    vec![
        answered("no route", in4(v4("172.16.1.1", "64.0.0.1")), Punted(PuntReason::NoRoute)),
        answered("an unreachable route", in4(v4("172.16.1.2", "20.2.0.1")), rejects),
        answered("a prohibit route", in4(v4("172.16.1.3", "20.3.0.1")), rejects),
        silent(
            "no route, a later fragment",
            in4(Ipv4 { fragment_offset: 64, ..v4("172.16.1.4", "64.0.0.1") }),
            Punted(PuntReason::NoRoute),
        ),
        silent(
            "a blackhole route",
            in4(v4("172.16.1.5", "20.1.0.1")),
            Dropped(DropReason::Blackhole),
        ),
        silent(
            "to south, which is not Linecard's",
            in4(transit_to("10.9.0.1")),
            Punted(PuntReason::NotServed),
        )
        .out(south),
        silent(
            "to the host on south",
            in4(transit_to("203.0.113.2")),
            Punted(PuntReason::NotServed),
        )
        .out(south),
        forwarded("back out of the port it came in by", in4(transit_to("172.16.2.1")))
            .verdict(Forwarded(Side::West))
            .out(west),
        forwarded("back to its source", in4(transit_to("192.0.2.2")))
            .verdict(Forwarded(Side::West))
            .out(west),
        silent(
            "from south, by the kernel alone",
            udp(to_router(Side::South).ipv4(v4("203.0.113.2", "20.0.0.1"))).build(),
            super::fixture::Unseen,
        )
        .from(Side::South)
        .out([0, 1, 0]),
    ]
}

fn transit_to(destination: &str) -> Ipv4 {
    v4("192.0.2.2", destination)
}

/// RFC 791 3.2, RFC 1812 4.2.2.7: a router forwards fragments as they are.
fn fragments() -> Vec<Fixture> {
    let fragment = |fragment_offset, more_fragments, bytes: usize| {
        let protocol = Some(Protocol::UDP);
        let header = Ipv4 { fragment_offset, more_fragments, protocol, ..transit4() };
        to_router(Side::West).ipv4(header).payload(&vec![0x5a; bytes]).build()
    };
    let header = Ipv4 { more_fragments: true, dont_fragment: true, ..transit4() };
    vec![
        forwarded("a first fragment", fragment(0, true, 64)),
        forwarded("a middle fragment", fragment(64, true, 64)),
        forwarded("a last fragment", fragment(128, false, 20)),
        forwarded("a tiny first fragment (RFC 1858)", fragment(0, true, 8)),
        forwarded("a first fragment without a whole port", fragment(0, true, 1)),
        forwarded("a fragment at offset 8 (RFC 3128)", fragment(8, true, 64)),
        forwarded("a fragment over another one", fragment(56, true, 64)),
        forwarded("a fragment over another one, the same again", fragment(56, true, 64)),
        forwarded("a last fragment before the end of others", fragment(8, false, 8)),
        forwarded("the fragment at the highest offset", fragment(65_528, false, 7)),
        forwarded("a fragment that ends behind 65,535", fragment(65_528, false, 800)),
        forwarded("a middle fragment of no multiple of 8 bytes", fragment(64, true, 13)),
        forwarded("a fragment without a payload", fragment(64, true, 0)),
        forwarded("MF and DF", in4(header)),
        forwarded(
            "DF at an offset",
            in4(Ipv4 { dont_fragment: true, fragment_offset: 800, ..transit4() }),
        ),
    ]
}

/// RFC 1812 5.2.4.1, 5.3.13: options are the kernel's; it forwards, changes or refuses them.
fn options() -> Vec<Fixture> {
    let with_options = |options: &[u8]| in4(Ipv4 { options: options.to_vec(), ..transit4() });
    let kernel = Passed("ipv4_options");
    let forwards =
        |description, options: &[u8]| by_kernel(description, with_options(options), kernel);
    let refuses =
        |description, options: &[u8]| answered(description, with_options(options), kernel);
    // The kernel's default (RFC 7126 4.3, 4.4): accept_source_route is off.
    let drops = |description, options: &[u8]| silent(description, with_options(options), kernel);
    let source_route = |kind, pointer| [kind, 7, pointer, 198, 51, 100, 2, 0];
    vec![
        forwards("options: NOP", &[1, 1, 1, 1]),
        forwards("options: end of list", &[0, 0, 0, 0]),
        forwards("options: end of list, bytes behind", &[0, 5, 6, 7]),
        forwards("options: router alert", &[148, 4, 0, 0]),
        forwards("options: router alert of another value", &[148, 4, 0, 1]),
        forwards("options: record route with room", &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        forwards("options: record route, full", &[7, 7, 8, 1, 2, 3, 4, 0]),
        refuses("options: record route, pointer 3", &[7, 7, 3, 0, 0, 0, 0, 0]),
        refuses(
            "options: record route without half an address",
            &[7, 9, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        forwards("options: timestamp with room", &[68, 8, 5, 0, 0, 0, 0, 0]).clock(38..42),
        forwards("options: timestamp, full", &[68, 8, 9, 0, 1, 2, 3, 4]),
        forwards("options: timestamp and address", &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0])
            .clock(42..46),
        refuses("options: timestamp, overflow at 15", &[68, 8, 9, 0xf0, 1, 2, 3, 4]),
        refuses("options: timestamp too short", &[68, 3, 5, 0]),
        drops("options: LSRR that has been followed", &source_route(131, 8)),
        drops("options: LSRR", &source_route(131, 4)),
        drops("options: SSRR that has been followed", &source_route(137, 8)),
        drops("options: SSRR", &source_route(137, 4)),
        forwards("options: stream identifier", &[136, 4, 0, 9]),
        forwards("options: security (RFC 1108)", &[130, 3, 0xab, 0]),
        refuses("options: CIPSO without a tag it knows", &[134, 6, 0, 0, 0, 1, 0, 0]),
        forwards("options: an unknown one", &[0x5e, 4, 1, 2]),
        refuses("options: a length of 0", &[7, 0, 0, 0]),
        refuses("options: a length of 1", &[0x5e, 1, 0, 0]),
        refuses("options: a length behind the end", &[7, 40, 4, 0]),
        refuses("options: a kind without a length", &[1, 1, 1, 7]),
        forwards("options: 40 bytes of them", &[1; 40]),
        silent(
            "options: a wrong checksum",
            in4(Ipv4 { options: vec![1; 4], checksum: Some(3), ..transit4() }),
            kernel,
        ),
        answered("options: TTL 1", in4(Ipv4 { options: vec![1; 4], ttl: 1, ..transit4() }), kernel),
    ]
}

/// What is inside an IP packet is not a router's business.
fn payloads() -> Vec<Fixture> {
    let packet = || to_router(Side::West).ipv4(transit4());
    let protocol = |number| {
        let header = Ipv4 { protocol: Some(Protocol(number)), ..transit4() };
        to_router(Side::West).ipv4(header).payload(PAYLOAD).build()
    };
    let udp_with = |udp: Udp| packet().udp(udp).payload(PAYLOAD).build();
    let tcp = |flags| Tcp { flags, ..Tcp::new(4000, 80) };
    let all = Flags(0xff);
    vec![
        forwarded("UDP without a checksum", udp_with(Udp { checksum: Some(0), ..Udp::new(1, 2) })),
        forwarded(
            "UDP with a wrong checksum",
            udp_with(Udp { checksum: Some(7), ..Udp::new(1, 2) }),
        ),
        forwarded(
            "UDP that says it is longer",
            udp_with(Udp { length: Some(900), ..Udp::new(1, 2) }),
        ),
        forwarded("UDP that says it is empty", udp_with(Udp { length: Some(0), ..Udp::new(1, 2) })),
        forwarded("half a UDP header", packet().payload(&[1; 4]).build()),
        forwarded("TCP SYN", packet().tcp(tcp(Flags::SYN)).build()),
        forwarded("TCP with all flags", packet().tcp(tcp(all)).build()),
        forwarded(
            "TCP with a wrong checksum",
            packet().tcp(Tcp { checksum: Some(7), ..tcp(Flags::ACK) }).payload(PAYLOAD).build(),
        ),
        forwarded(
            "TCP with a data offset of 15",
            packet().tcp(Tcp { data_offset: Some(15), ..tcp(Flags::ACK) }).build(),
        ),
        forwarded(
            "ICMP echo request",
            packet().icmpv4(Icmpv4::echo_request(1, 2)).payload(PAYLOAD).build(),
        ),
        forwarded(
            "ICMP with a wrong checksum",
            packet().icmpv4(Icmpv4 { checksum: Some(7), ..Icmpv4::echo_reply(1, 2) }).build(),
        ),
        forwarded(
            "ICMP redirect",
            packet().icmpv4(Icmpv4::new(5, 1)).payload(&in4(transit4())[14..42]).build(),
        ),
        forwarded("ICMP of an unknown type", packet().icmpv4(Icmpv4::new(200, 9)).build()),
        forwarded("protocol 0", protocol(0)),
        forwarded("IGMP", protocol(2)),
        forwarded("IP in IP", packet().ipv4(transit4()).udp(Udp::new(1, 2)).build()),
        forwarded("IPv6 in IPv4", packet().ipv6(transit6()).udp(Udp::new(1, 2)).build()),
        forwarded("GRE", protocol(47)),
        forwarded("ESP", protocol(50)),
        forwarded("AH", protocol(51)),
        forwarded("OSPF, unicast", protocol(89)),
        forwarded("VRRP, unicast", protocol(112)),
        forwarded("SCTP", protocol(132)),
        forwarded("UDP-Lite", protocol(136)),
        forwarded("protocol 253", protocol(253)),
        forwarded("protocol 255", protocol(255)),
    ]
}

/// RFC 1812 5.2.6, RFC 1191: east takes 1,400 bytes, west sends 1,500.
fn sizes() -> Vec<Fixture> {
    let of = |length: usize, header: Ipv4| {
        let options = header.options.len().next_multiple_of(4);
        let packet = to_router(Side::West).ipv4(header).udp(Udp::new(1, 2));
        packet.payload(&vec![0x42; length - 28 - options]).build()
    };
    let df = || Ipv4 { dont_fragment: true, ..transit4() };
    let too_big = Punted(PuntReason::TooBig);
    let pieces = |description, frame, count| silent(description, frame, too_big).out([0, count, 0]);
    vec![
        forwarded("1,399 bytes", of(1399, transit4())),
        forwarded("1,400 bytes", of(1400, transit4())),
        forwarded("1,400 bytes, DF", of(1400, df())),
        forwarded("1,400 bytes and a padding", padded(of(1400, df()), &[0; 60])),
        pieces("1,401 bytes", of(1401, transit4()), 2),
        pieces("1,500 bytes", of(1500, transit4()), 2),
        pieces(
            "1,401 bytes, the first fragment of more",
            of(1401 + 7, Ipv4 { more_fragments: true, ..transit4() }),
            2,
        ),
        pieces(
            "1,401 bytes, a later fragment",
            of(1401, Ipv4 { fragment_offset: 800, ..transit4() }),
            2,
        ),
        answered("1,401 bytes, DF", of(1401, df()), too_big),
        answered("1,500 bytes, DF", of(1500, df()), too_big),
        silent(
            "1,401 bytes, DF, a later fragment",
            of(1401, Ipv4 { fragment_offset: 800, ..df() }),
            too_big,
        ),
        answered(
            "1,500 bytes, TTL 1",
            of(1500, Ipv4 { ttl: 1, ..transit4() }),
            Passed("ttl_expired"),
        ),
        by_kernel(
            "1,500 bytes with options",
            of(1500, Ipv4 { options: vec![1; 8], ..transit4() }),
            Passed("ipv4_options"),
        )
        .out([0, 2, 0]),
        silent(
            "1,500 bytes to south",
            of(1500, transit_to("10.9.0.1")),
            Punted(PuntReason::NotServed),
        )
        .out([0, 0, 1]),
        silent(
            "1,500 bytes, DF, no route",
            of(1500, Ipv4 { dont_fragment: true, ..v4("172.16.1.6", "64.0.0.1") }),
            Punted(PuntReason::NoRoute),
        )
        .out([1, 0, 0]),
    ]
}

/// RFC 1812 5.2.3: what is for the router itself.
fn own() -> Vec<Fixture> {
    let local = Passed("local");
    let to = |address| to_router(Side::West).ipv4(v4("192.0.2.2", address));
    let echo =
        |packet: PacketBuilder| packet.icmpv4(Icmpv4::echo_request(9, 9)).payload(PAYLOAD).build();
    let tcp = |flags| to("192.0.2.1").tcp(Tcp { flags, ..Tcp::new(4000, 9) }).build();
    let wrong = Icmpv4 { checksum: Some(7), ..Icmpv4::echo_request(9, 9) };
    vec![
        answered("echo to the router", echo(to("192.0.2.1")), local),
        answered("echo to its address on east", echo(to("198.51.100.1")), local),
        answered("echo to its address on south", echo(to("203.0.113.1")), local),
        silent("echo with a wrong ICMP checksum", to("192.0.2.1").icmpv4(wrong).build(), local),
        silent(
            "echo to the router with a wrong header checksum",
            echo(
                to_router(Side::West)
                    .ipv4(Ipv4 { checksum: Some(9), ..v4("192.0.2.2", "192.0.2.1") }),
            ),
            local,
        ),
        answered(
            "timestamp request",
            to("192.0.2.1").icmpv4(Icmpv4::new(13, 0)).payload(&[0; 12]).build(),
            local,
        ),
        answered("UDP to a closed port", udp(to("192.0.2.1")).build(), local),
        answered("TCP to a closed port", tcp(Flags::SYN), local),
        silent("TCP RST to a closed port", tcp(Flags::RST), local),
        answered(
            "a protocol that the router has not",
            to("192.0.2.1").payload(PAYLOAD).build(),
            local,
        ),
        silent("from its address to its address", in4(v4("192.0.2.1", "192.0.2.1")), local),
        silent(
            "a first fragment to the router",
            echo(
                to_router(Side::West)
                    .ipv4(Ipv4 { more_fragments: true, ..v4("192.0.2.2", "192.0.2.1") }),
            ),
            local,
        ),
        silent(
            "echo with options to the router",
            echo(
                to_router(Side::West)
                    .ipv4(Ipv4 { options: vec![1; 4], ..v4("192.0.2.2", "192.0.2.1") }),
            ),
            local,
        )
        .out([1, 0, 0]),
    ]
}
