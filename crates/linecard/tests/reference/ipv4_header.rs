//! IPv4 headers and addresses: RFC 1812 5.2.2, 5.3.1, 5.3.2, 5.3.4, 5.3.5 and 5.3.7.

use linecard_packet::DropReason;
use linecard_wire::builder::{Icmpv4, Ipv4};
use linecard_wire::ip::Ecn;

use super::bed::Side;
use super::fixture::{
    Dropped, Fixture, Forwarded, Only, Passed, Verdict, answered, forwarded, silent,
};
use super::packets::*;

const MALFORMED: Verdict = Dropped(DropReason::Ipv4HeaderMalformed);
const MARTIAN_SOURCE: Verdict = Dropped(DropReason::MartianSource);
const MARTIAN_DESTINATION: Verdict = Dropped(DropReason::MartianDestination);

const OWN_SOURCE: &str = "Linecard does not look sources up: a source address that is one of the \
    router's own passes, which a filter at the border must stop (RFC 2827)";

pub(crate) fn fixtures() -> Vec<Fixture> {
    [header(), hops_and_bits(), sources(), destinations()].concat()
}

/// RFC 1812 5.2.2: what a header must be for the packet to be looked at.
fn header() -> Vec<Fixture> {
    let h = transit4;
    let sum = |checksum| in4(Ipv4 { checksum: Some(checksum), ..h() });
    let total = |length| in4(Ipv4 { total_length: Some(length), ..h() });
    let options = || Ipv4 { options: vec![1; 4], ..h() };
    let good = in4(h());
    let right = u16::from_be_bytes([good[24], good[25]]);
    let wrong = Dropped(DropReason::Ipv4ChecksumWrong);
    vec![
        forwarded("a good packet", good.clone()),
        forwarded(
            "the other way",
            udp(to_router(Side::East).ipv4(v4("20.0.0.1", "192.0.2.2"))).build(),
        )
        .from(Side::East)
        .verdict(Forwarded(Side::West))
        .out([1, 0, 0]),
        silent("checksum off by one", sum(right ^ 1), wrong),
        silent("checksum zero", sum(0), wrong),
        silent("checksum 0xffff", sum(0xffff), wrong),
        silent("checksum not complemented", sum(!right), wrong),
        silent("version 0", in4(Ipv4 { version: Some(0), ..h() }), MALFORMED),
        silent("version 5", in4(Ipv4 { version: Some(5), ..h() }), MALFORMED),
        silent("version 6", in4(Ipv4 { version: Some(6), ..h() }), MALFORMED),
        silent("version 15", in4(Ipv4 { version: Some(15), ..h() }), MALFORMED),
        silent("IHL 0", in4(Ipv4 { ihl: Some(0), ..h() }), MALFORMED),
        silent("IHL 4", in4(Ipv4 { ihl: Some(4), ..h() }), MALFORMED),
        silent("IHL 6 over no options", in4(Ipv4 { ihl: Some(6), ..h() }), Passed("ipv4_options")),
        silent(
            "IHL 15, behind the end",
            to_router(Side::West).ipv4(Ipv4 { ihl: Some(15), ..h() }).build(),
            Passed("ipv4_options"),
        ),
        silent("total length 0", total(0), MALFORMED),
        silent("total length 19", total(19), MALFORMED),
        silent("total length 20, the rest is padding", total(20), Forwarded(Side::East))
            .out([0, 1, 0]),
        silent("total length one more than the frame", total(58), MALFORMED),
        silent("total length 65,535", total(65_535), MALFORMED),
        forwarded("total length one less than the frame", total(56)),
        silent(
            "total length below a header with options",
            in4(Ipv4 { total_length: Some(20), ..options() }),
            Passed("ipv4_options"),
        ),
        forwarded("padding of zeroes", padded(good.clone(), &[0; 9])),
        forwarded("padding of other bytes", padded(good.clone(), &[0xa5; 100])),
        silent("a checksum error before a padding", padded(sum(right ^ 0x100), &[0; 9]), wrong),
    ]
}

/// RFC 1812 5.3.1, 5.3.2: TTL, and what must stay as it is.
fn hops_and_bits() -> Vec<Fixture> {
    let h = transit4;
    let ttl = |ttl| in4(Ipv4 { ttl, ..h() });
    let expired = Passed("ttl_expired");
    let to_own = |ttl| {
        let header = Ipv4 { ttl, ..v4("192.0.2.2", "192.0.2.1") };
        to_router(Side::West).ipv4(header).icmpv4(Icmpv4::echo_request(1, 1)).payload(PAYLOAD)
    };
    let icmp_error = to_router(Side::West)
        .ipv4(Ipv4 { ttl: 1, ..h() })
        .icmpv4(Icmpv4::new(11, 0))
        .payload(&in4(v4("20.0.0.1", "192.0.2.2"))[14..]);
    vec![
        answered("TTL 0", ttl(0), expired),
        answered("TTL 1", ttl(1), expired),
        forwarded("TTL 2", ttl(2)),
        forwarded("TTL 64", ttl(64)),
        forwarded("TTL 255", ttl(255)),
        answered("TTL 1 to the router", to_own(1).build(), Passed("local")),
        answered("TTL 0 to the router", to_own(0).build(), Passed("local")),
        silent("TTL 1 with an ICMP error inside", icmp_error.build(), expired),
        silent(
            "TTL 1 of a later fragment",
            in4(Ipv4 { ttl: 1, fragment_offset: 64, ..h() }),
            expired,
        ),
        answered("TTL 1, DF", in4(Ipv4 { ttl: 1, dont_fragment: true, ..h() }), expired),
        silent(
            "TTL 1 and a wrong checksum",
            in4(Ipv4 { ttl: 1, checksum: Some(1), ..h() }),
            expired,
        ),
        forwarded("DSCP 46", in4(Ipv4 { dscp: 46, ..h() })),
        forwarded("DSCP 63, ECN CE", in4(Ipv4 { dscp: 63, ecn: Ecn::Ce, ..h() })),
        forwarded("ECT(0)", in4(Ipv4 { ecn: Ecn::Ect0, ..h() })),
        forwarded("ECT(1)", in4(Ipv4 { ecn: Ecn::Ect1, ..h() })),
        forwarded("DF", in4(Ipv4 { dont_fragment: true, ..h() })),
        forwarded("the reserved flag", in4(Ipv4 { reserved_flag: true, ..h() })),
        forwarded(
            "all flags but MF",
            in4(Ipv4 { reserved_flag: true, dont_fragment: true, ..h() }),
        ),
        forwarded("identification 0", in4(Ipv4 { identification: 0, ..h() })),
        forwarded("identification 0xffff", in4(Ipv4 { identification: 0xffff, ..h() })),
    ]
}

/// RFC 1812 5.3.7, 5.3.8: martian sources.
fn sources() -> Vec<Fixture> {
    let from = |source| in4(v4(source, "20.0.0.1"));
    let own = |description, source| {
        forwarded(description, from(source))
            .out([0; 3])
            .differs(Only::LinecardForwards(Side::East), OWN_SOURCE)
    };
    vec![
        silent("from 0.0.0.0", from("0.0.0.0"), MARTIAN_SOURCE),
        forwarded("from 0.0.0.1", from("0.0.0.1")),
        forwarded("from 0.255.255.255", from("0.255.255.255")),
        silent("from 127.0.0.1", from("127.0.0.1"), MARTIAN_SOURCE),
        silent("from 127.255.255.255", from("127.255.255.255"), MARTIAN_SOURCE),
        silent("from 224.0.0.1", from("224.0.0.1"), MARTIAN_SOURCE),
        silent("from 239.255.255.255", from("239.255.255.255"), MARTIAN_SOURCE),
        silent("from 255.255.255.255", from("255.255.255.255"), MARTIAN_SOURCE),
        forwarded("from 240.0.0.1", from("240.0.0.1")),
        forwarded("from 255.255.255.254", from("255.255.255.254")),
        forwarded("from 169.254.0.1", from("169.254.0.1")),
        forwarded("from 10.0.0.1", from("10.0.0.1")),
        forwarded("from 1.0.0.0", from("1.0.0.0")),
        forwarded("from west's broadcast address", from("192.0.2.3")),
        forwarded("from west's network address", from("192.0.2.0")),
        forwarded("from east's broadcast address", from("198.51.100.3")),
        forwarded("from where it goes", from("20.0.0.1")),
        forwarded("from the host on east", from("198.51.100.2")),
        forwarded("from where no route leads", from("64.0.0.1")),
        forwarded("from what a blackhole route covers", from("20.1.0.1")),
        forwarded("from what an unreachable route covers", from("20.2.0.1")),
        own("from the router's address on west", "192.0.2.1"),
        own("from the router's address on east", "198.51.100.1"),
        own("from the router's address on south", "203.0.113.1"),
        silent(
            "from a martian, TTL 1",
            in4(Ipv4 { ttl: 1, ..v4("127.0.0.1", "20.0.0.1") }),
            Passed("ttl_expired"),
        ),
        silent(
            "from a martian, with options",
            in4(Ipv4 { options: vec![1; 4], ..v4("127.0.0.1", "20.0.0.1") }),
            Passed("ipv4_options"),
        ),
    ]
}

/// RFC 1812 5.3.7, 5.3.5: martian destinations, broadcasts, groups.
fn destinations() -> Vec<Fixture> {
    let to = |destination| in4(v4("192.0.2.2", destination));
    vec![
        silent("to 0.0.0.0", to("0.0.0.0"), MARTIAN_DESTINATION),
        forwarded("to 0.0.0.1", to("0.0.0.1")),
        forwarded("to 0.255.255.255", to("0.255.255.255")),
        silent("to 127.0.0.1", to("127.0.0.1"), Passed("local")),
        silent("to 127.1.2.3", to("127.1.2.3"), MARTIAN_DESTINATION),
        silent("to the limited broadcast", to("255.255.255.255"), Passed("multicast")),
        silent("to 240.0.0.1", to("240.0.0.1"), Passed("multicast")).out([0, 1, 0]),
        silent("to 255.255.255.254", to("255.255.255.254"), Passed("multicast")).out([0, 1, 0]),
        silent("to 224.0.0.1", to("224.0.0.1"), Passed("multicast")),
        silent("to 239.1.2.3", to("239.1.2.3"), Passed("multicast")),
        forwarded("to 223.255.255.255", to("223.255.255.255")),
        forwarded("to 169.254.1.1", to("169.254.1.1")),
        forwarded("to 1.0.0.0", to("1.0.0.0")),
        silent("to west's broadcast address", to("192.0.2.3"), Passed("local")),
        silent("to east's broadcast address", to("198.51.100.3"), Passed("local")),
        silent("to south's broadcast address", to("203.0.113.3"), Passed("local")),
        forwarded("to east's network address", to("198.51.100.0")),
        forwarded("to the host on east", to("198.51.100.2")),
        forwarded("to west's network address, back out", to("192.0.2.0"))
            .verdict(Forwarded(Side::West))
            .out([1, 0, 0]),
        silent("from 0.0.0.0 to 0.0.0.0", in4(v4("0.0.0.0", "0.0.0.0")), Passed("local")),
        silent(
            "from 0.0.0.0 to the limited broadcast",
            in4(v4("0.0.0.0", "255.255.255.255")),
            Passed("multicast"),
        ),
        silent("from 127.0.0.1 to 127.0.0.1", in4(v4("127.0.0.1", "127.0.0.1")), Passed("local")),
        silent("from a group to a group", in4(v4("224.0.0.1", "224.0.0.2")), Passed("multicast")),
    ]
}
