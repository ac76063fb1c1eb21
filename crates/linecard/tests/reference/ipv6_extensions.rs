//! IPv6 extension headers: RFC 8200 4. A router looks at hop-by-hop options only, and those are the
//! kernel's; all other headers are for the destination.

use linecard_packet::PuntReason;
use linecard_wire::builder::{Extension, Icmpv6, Ipv6, PacketBuilder, Udp};
use linecard_wire::ip::Protocol;

use super::bed::Side;
use super::fixture::{Fixture, Passed, Punted, answered, by_kernel, forwarded, silent};
use super::packets::*;

pub(crate) fn fixtures() -> Vec<Fixture> {
    [hop_by_hop(), destination_options(), routing(), fragments(), others(), combined()].concat()
}

fn packet() -> PacketBuilder {
    to_router(Side::West).ipv6(transit6())
}

fn extended(extensions: &[Extension]) -> Vec<u8> {
    let packet = extensions.iter().fold(packet(), |packet, it| packet.extension(it.clone()));
    udp(packet).build()
}

fn hop_by_hop() -> Vec<Fixture> {
    let kernel = Passed("ipv6_hop_by_hop");
    let options = |options: &[u8]| extended(&[Extension::hop_by_hop(options)]);
    let forwards = |description, bytes: &[u8]| by_kernel(description, options(bytes), kernel);
    let drops = |description, bytes: &[u8]| silent(description, options(bytes), kernel);
    let refuses = |description, bytes: &[u8]| answered(description, options(bytes), kernel);
    let group = |bytes: &[u8]| {
        let packet = to_router(Side::West).ipv6(v6("2001:db8:1::2", "ff0e::1"));
        udp(packet.extension(Extension::hop_by_hop(bytes))).build()
    };
    let long = Extension { length: Some(200), ..Extension::hop_by_hop(&[]) };
    vec![
        forwards("hop-by-hop: Pad1", &[0, 0, 0, 0, 0, 0]),
        forwards("hop-by-hop: PadN", &[1, 4, 0, 0, 0, 0]),
        drops("hop-by-hop: PadN that is not zero", &[1, 4, 0, 0, 0, 7]),
        drops(
            "hop-by-hop: more than 7 bytes of padding",
            &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        forwards("hop-by-hop: router alert", &[5, 2, 0, 0]),
        forwards("hop-by-hop: router alert of another value", &[5, 2, 0, 1]),
        forwards("hop-by-hop: unknown option, skip", &[0x1e, 4, 1, 2, 3, 4]),
        forwards("hop-by-hop: unknown option, skip, may change", &[0x3e, 4, 1, 2, 3, 4]),
        drops("hop-by-hop: unknown option, discard", &[0x5e, 4, 1, 2, 3, 4]),
        refuses("hop-by-hop: unknown option, report", &[0x9e, 4, 1, 2, 3, 4]),
        refuses("hop-by-hop: unknown option, report if unicast", &[0xde, 4, 1, 2, 3, 4]),
        silent(
            "hop-by-hop: unknown option, report if unicast, to a group",
            group(&[0xde, 4, 1, 2, 3, 4]),
            kernel,
        ),
        drops("hop-by-hop: an option behind the end", &[0x1e, 200, 1, 2, 3, 4]),
        drops("hop-by-hop: router alert of a wrong length", &[5, 3, 0, 0, 0, 0]),
        refuses("hop-by-hop: jumbogram of 100 bytes", &[0xc2, 4, 0, 0, 0, 100]),
        refuses("hop-by-hop: jumbogram in a packet with a length", &[0xc2, 4, 0, 1, 0, 0]),
        silent(
            "hop-by-hop: jumbogram longer than the frame",
            {
                let header = Ipv6 { payload_length: Some(0), ..transit6() };
                let jumbo = Extension::hop_by_hop(&[0xc2, 4, 0, 1, 0, 0]);
                udp(to_router(Side::West).ipv6(header).extension(jumbo)).build()
            },
            kernel,
        ),
        drops("hop-by-hop: IOAM trace that is not aligned (RFC 9486)", &[0x31, 4, 0, 0, 0, 0]),
        silent("hop-by-hop: longer than the packet", extended(&[long]), kernel),
        by_kernel(
            "hop-by-hop twice",
            extended(&[Extension::hop_by_hop(&[]), Extension::hop_by_hop(&[])]),
            kernel,
        ),
        answered(
            "hop-by-hop, hop limit 1",
            {
                let header = Ipv6 { hop_limit: 1, ..transit6() };
                udp(to_router(Side::West).ipv6(header).extension(Extension::hop_by_hop(&[])))
                    .build()
            },
            Passed("ttl_expired"),
        ),
        silent(
            "next header hop-by-hop and nothing behind",
            to_router(Side::West)
                .ipv6(Ipv6 { next_header: Some(Protocol::HOP_BY_HOP), ..transit6() })
                .build(),
            kernel,
        ),
    ]
}

fn destination_options() -> Vec<Fixture> {
    let options = |options: &[u8]| extended(&[Extension::destination_options(options)]);
    let longer = Extension { length: Some(255), ..Extension::destination_options(&[]) };
    vec![
        forwarded("destination options: padding", options(&[])),
        forwarded("destination options: unknown, skip", options(&[0x1e, 4, 1, 2, 3, 4])),
        forwarded("destination options: unknown, discard", options(&[0x5e, 4, 1, 2, 3, 4])),
        forwarded("destination options: unknown, report", options(&[0x9e, 4, 1, 2, 3, 4])),
        forwarded(
            "destination options: unknown, report if unicast",
            options(&[0xde, 4, 1, 2, 3, 4]),
        ),
        forwarded("destination options: one behind the end", options(&[0x1e, 200, 1, 2, 3, 4])),
        forwarded(
            "destination options: home address (RFC 6275)",
            options(&[[0xc9, 16].as_slice(), &[0x20; 16]].concat()),
        ),
        forwarded("destination options longer than the packet", extended(&[longer])),
    ]
}

fn routing() -> Vec<Fixture> {
    let address = [0x20; 20];
    let via = |kind, left| extended(&[Extension::routing(kind, left, &address)]);
    vec![
        forwarded("routing header of type 0 (RFC 5095)", via(0, 1)),
        forwarded("routing header of type 0, no segments left", via(0, 0)),
        forwarded("routing header of type 2", via(2, 1)),
        forwarded("routing header of type 3", via(3, 1)),
        forwarded("segment routing, segments left", via(4, 1)),
        forwarded("segment routing, no segments left", via(4, 0)),
        forwarded("routing header of an unknown type", via(77, 3)),
        answered(
            "routing header of type 0 to the router",
            to_own(Extension::routing(0, 1, &address)),
            Passed("local"),
        ),
        silent(
            "routing header of type 0 to the router, no segments left",
            to_own(Extension::routing(0, 0, &address)),
            Passed("local"),
        )
        .out([1, 0, 0]),
        answered(
            "routing header of an unknown type to the router",
            to_own(Extension::routing(77, 3, &address)),
            Passed("local"),
        ),
        silent(
            "segment routing to the router, which does not do it",
            to_own(Extension::routing(4, 1, &address)),
            Passed("local"),
        ),
    ]
}

/// To the router itself.
fn to_own(extension: Extension) -> Vec<u8> {
    let packet = to_router(Side::West).ipv6(v6("2001:db8:1::2", "2001:db8:1::1"));
    udp(packet.extension(extension)).build()
}

fn fragments() -> Vec<Fixture> {
    let fragment = |offset, more, bytes: usize| {
        let header =
            Extension { next_header: Some(Protocol::UDP), ..Extension::fragment(offset, more, 77) };
        packet().extension(header).payload(&vec![0x5a; bytes]).build()
    };
    let big = {
        let header =
            Extension { next_header: Some(Protocol::UDP), ..Extension::fragment(0, true, 77) };
        packet().extension(header).payload(&[0x5a; 1400]).build()
    };
    vec![
        forwarded("IPv6 first fragment", fragment(0, true, 64)),
        forwarded("IPv6 middle fragment", fragment(64, true, 64)),
        forwarded("IPv6 last fragment", fragment(128, false, 20)),
        forwarded("IPv6 atomic fragment", fragment(0, false, 64)),
        forwarded(
            "IPv6 first fragment without an upper-layer header (RFC 7112)",
            fragment(0, true, 0),
        ),
        forwarded("IPv6 fragment of no multiple of 8 bytes", fragment(64, true, 13)),
        forwarded("IPv6 fragment over another one", fragment(56, true, 64)),
        forwarded("IPv6 fragment that ends behind 65,535", fragment(65_528, false, 800)),
        forwarded(
            "IPv6 fragment header cut short",
            with(packet().payload(&[17, 0, 0]).build(), 20, &[44]),
        ),
        answered("IPv6 fragment of 1,448 bytes", big, Punted(PuntReason::TooBig)),
    ]
}

fn others() -> Vec<Fixture> {
    let next = |number, bytes: &[u8]| {
        let header = Ipv6 { next_header: Some(Protocol(number)), ..transit6() };
        to_router(Side::West).ipv6(header).payload(bytes).build()
    };
    vec![
        forwarded("authentication header", extended(&[Extension::authentication(1, 2)])),
        forwarded("ESP in IPv6", next(50, &[0x77; 40])),
        forwarded("mobility header", next(135, &[59, 0, 1, 0, 0, 0, 0, 0])),
        forwarded("HIP", next(139, &[59, 4, 1, 0x11, 0, 0, 0, 0])),
        forwarded("shim6", next(140, &[59, 0, 0, 0, 0, 0, 0, 0])),
        forwarded("an unknown extension header", next(253, &[59, 0, 0, 0, 0, 0, 0, 0])),
        forwarded("a header that its kind makes longer than the packet", next(60, &[17])),
        forwarded("an authentication header of length 0", next(51, &[59, 0, 0, 0, 0, 0, 0, 0])),
    ]
}

fn combined() -> Vec<Fixture> {
    let options = || Extension::destination_options(&[]);
    let routed = || Extension::routing(4, 0, &[0x20; 20]);
    let fragment = || Extension::fragment(0, false, 9);
    let ah = || Extension::authentication(1, 2);
    let many = vec![options(); 40];
    let hop_later = [options(), Extension::hop_by_hop(&[5, 2, 0, 0])];
    let too_big = {
        let packet = packet().extension(options()).extension(fragment());
        packet.udp(Udp::new(1, 2)).payload(&[0; 1400]).build()
    };
    let echo = packet().extension(options()).icmpv6(Icmpv6::echo_request(1, 1)).payload(PAYLOAD);
    let all =
        [Extension::hop_by_hop(&[5, 2, 0, 0]), options(), routed(), fragment(), ah(), options()];
    vec![
        forwarded("all headers in their order", extended(&all[1..])),
        by_kernel("all headers with hop-by-hop options", extended(&all), Passed("ipv6_hop_by_hop")),
        forwarded("40 headers", extended(&many)),
        forwarded("hop-by-hop options out of their place", extended(&hop_later)),
        forwarded("a fragment in a fragment", extended(&[fragment(), fragment()])),
        forwarded("an echo request behind destination options", echo.build()),
        answered("too big behind headers", too_big, Punted(PuntReason::TooBig)),
    ]
}
