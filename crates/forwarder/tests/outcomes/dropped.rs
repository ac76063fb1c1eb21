//! Packets that nobody gets, and why.

use linecard_packet::DropReason;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder};
use linecard_wire::ethernet::EtherType;

use crate::case::*;
use crate::common::{neighbour_mac, to_router};

#[test]
fn malformed_packets_are_dropped() {
    use DropReason as D;
    let whole = in4(transit()).build();
    let cut = |length: usize| PacketBuilder::new().payload(&whole[..length]);
    let tagged = udp(to_router().vlan(tag(EtherType::VLAN, 0, 100)).ipv4(transit())).build();
    check_all(&[
        case("shorter than an Ethernet header", cut(13), Dropped(D::LinkHeaderTruncated)),
        case(
            "a tag cut short",
            PacketBuilder::new().payload(&tagged[..17]),
            Dropped(D::VlanMalformed),
        ),
        case("an IPv4 header cut short", cut(33), Dropped(D::Ipv4HeaderMalformed)),
        case("no IPv4 header at all", cut(14), Dropped(D::Ipv4HeaderMalformed)),
        case("IPv4 cut short behind the header", cut(40), Dropped(D::Ipv4HeaderMalformed)),
        case(
            "version 5",
            in4(Ipv4 { version: Some(5), ..transit() }),
            Dropped(D::Ipv4HeaderMalformed),
        ),
        case("IHL of 4", in4(Ipv4 { ihl: Some(4), ..transit() }), Dropped(D::Ipv4HeaderMalformed)),
        case(
            "total length within the header",
            in4(Ipv4 { total_length: Some(19), ..transit() }),
            Dropped(D::Ipv4HeaderMalformed),
        ),
        case(
            "header checksum wrong",
            in4(Ipv4 { checksum: Some(0x1234), ..transit() }),
            Dropped(D::Ipv4ChecksumWrong),
        ),
        case(
            "an IPv6 header cut short",
            PacketBuilder::new().payload(&in6(transit6()).build()[..53]),
            Dropped(D::Ipv6HeaderMalformed),
        ),
        case(
            "IPv6 payload length beyond the frame",
            in6(Ipv6 { payload_length: Some(100), ..transit6() }),
            Dropped(D::Ipv6HeaderMalformed),
        ),
        case(
            "version 4 in IPv6",
            in6(Ipv6 { version: Some(4), ..transit6() }),
            Dropped(D::Ipv6HeaderMalformed),
        ),
    ]);
}

#[test]
fn martians_are_dropped() {
    let source =
        |address| case(address, in4(ipv4(address, "20.0.0.1")), Dropped(DropReason::MartianSource));
    let destination = |address| {
        case(address, in4(ipv4("10.0.0.2", address)), Dropped(DropReason::MartianDestination))
    };
    let source6 = |address| {
        case(address, in6(ipv6(address, "2001:db8:20::1")), Dropped(DropReason::MartianSource))
    };
    let destination6 = |address| {
        case(address, in6(ipv6("2001:db8::2", address)), Dropped(DropReason::MartianDestination))
    };
    check_all(&[
        source("0.0.0.0"),
        source("127.0.0.1"),
        source("127.255.255.255"),
        source("224.0.0.1"),
        source("239.255.255.255"),
        source("255.255.255.255"),
        destination("0.0.0.0"),
        destination("127.0.0.1"),
        source6("::"),
        source6("::1"),
        source6("ff02::1"),
        destination6("::"),
        destination6("::1"),
        case(
            "a martian with no hops left is no reason for an answer",
            in4(Ipv4 { ttl: 1, ..ipv4("127.0.0.1", "20.0.0.1") }),
            Dropped(DropReason::MartianSource),
        ),
    ]);
}

#[test]
fn what_is_not_for_us_or_leads_nowhere_is_dropped() {
    let other_host =
        || PacketBuilder::new().ethernet(MacAddress::new([2, 0, 0, 0, 0x99, 1]), neighbour_mac(6));
    check_all(&[
        case(
            "another host's MAC address",
            udp(other_host().ipv4(transit())),
            Dropped(DropReason::OtherHost),
        ),
        case(
            "another host's, with no hops left",
            udp(other_host().ipv4(Ipv4 { ttl: 1, ..transit() })),
            Dropped(DropReason::OtherHost),
        ),
        case(
            "another host's, not IP",
            other_host().payload(&[0; 46]),
            Dropped(DropReason::OtherHost),
        ),
        case(
            "a blackhole route",
            in4(ipv4("10.0.0.2", "20.5.0.1")),
            Dropped(DropReason::Blackhole),
        ),
        case(
            "an IPv6 blackhole route",
            in6(ipv6("2001:db8::2", "2001:db8:25::1")),
            Dropped(DropReason::Blackhole),
        ),
        case(
            "a gateway on an interface that is down",
            in4(ipv4("10.0.0.2", "20.4.0.1")),
            Dropped(DropReason::PortDown),
        ),
        case(
            "a connected network on an interface that is down",
            in4(ipv4("10.0.0.2", "10.4.0.9")),
            Dropped(DropReason::PortDown),
        ),
    ]);
}
