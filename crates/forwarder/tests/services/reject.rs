//! What a filter rejects, and what its sender is told.

use linecard_packet::{BATCH_PACKETS_MAX, Origin, Withheld};
use linecard_services::filter::{Action, Match};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Extension, Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::ip::Protocol;

use crate::case::*;
use crate::common::{Rig, RigConfig, neighbour_mac, router_mac, to_router};
use crate::rig::*;

/// Port 0 rejects everything.
fn rejecting() -> Setup {
    let rules = vec![rule("all", Match::default(), Action::Reject)];
    Setup { filters: vec![input(0, rules)], ..Setup::default() }
}

fn back() -> PacketBuilder {
    PacketBuilder::new().ethernet(neighbour_mac(6), router_mac(0))
}

/// Type 3, code 13, around the packet behind `front` bytes of `packet`.
fn told4(back: PacketBuilder, packet: &PacketBuilder, front: usize) -> Outcome {
    let header = Ipv4 { dscp: 48, ttl: 64, identification: 0, ..ipv4("10.0.0.1", "10.0.0.2") };
    let icmp = Icmpv4::new(3, 13);
    let packet = packet.build();
    let quoted = &packet[front..packet.len().min(front + 576 - 28)];
    Rejected(Ok(back.ipv4(header).icmpv4(icmp).payload(quoted).build()))
}

/// Type 1, code 1.
fn told6(packet: &PacketBuilder) -> Outcome {
    let header = ipv6("2001:db8::1", "2001:db8::2");
    let header = Ipv6 { dscp: 48, hop_limit: 64, flow_label: 0, ..header };
    let icmp = Icmpv6::new(1, 1);
    let packet = packet.build();
    let quoted = &packet[14..packet.len().min(14 + 1280 - 48)];
    Rejected(Ok(back().ipv6(header).icmpv6(icmp).payload(quoted).build()))
}

fn reject_all(cases: Vec<Case>) {
    let count = cases.len() as u64;
    let lines: Vec<Line> = cases.into_iter().map(|case| Line(0, 0, case)).collect();
    story("rejected", &rejecting(), &lines, (&[("in/all", count)], &[]));
}

#[test]
fn senders_are_told() {
    let long = |builder: PacketBuilder| builder.payload(&[0x5a; 1400]);
    let tcp = |builder: PacketBuilder| builder.tcp(Tcp::new(40_000, 23));
    let packets = [
        ("UDP", in4(transit())),
        ("TCP", tcp(to_router().ipv4(transit()))),
        ("more than fits", long(tcp(to_router().ipv4(transit())))),
        ("padding is not quoted", in4(transit())),
        ("the first fragment", in4(Ipv4 { more_fragments: true, ..transit() })),
        ("a ping", to_router().ipv4(transit()).icmpv4(Icmpv4::echo_request(1, 2))),
        ("what the kernel would get", in4(Ipv4 { ttl: 1, ..transit() })),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (description, packet) in packets {
        let outcome = told4(back(), &packet, 14);
        let packet = if description.starts_with("padding") { packet.pad_to(80) } else { packet };
        cases.push(case(description, packet, outcome));
    }
    let fragment = |offset, more| Extension::fragment(offset, more, 7);
    let packets = [
        ("UDP over IPv6", in6(transit6())),
        ("more than fits", long(tcp(to_router().ipv6(transit6())))),
        ("a ping", to_router().ipv6(transit6()).icmpv6(Icmpv6::echo_request(1, 2))),
        ("the first fragment", udp(to_router().ipv6(transit6()).extension(fragment(0, true)))),
    ];
    for (description, packet) in packets {
        let outcome = told6(&packet);
        cases.push(case(description, packet, outcome));
    }
    reject_all(cases);
}

#[test]
fn replies_keep_the_tags() {
    let tag = |priority| tag(EtherType::VLAN, priority, 100);
    let packet = udp(to_router().vlan(tag(3)).ipv4(transit()));
    let told = told4(back().vlan(tag(3)), &packet, 18);
    reject_all(vec![case("tagged", packet, told)]);
}

#[test]
fn nobody_is_told_about_errors_fragments_and_groups() {
    let silent = || Rejected(Err(Withheld::RejectUnanswerable));
    let other = |mac: [u8; 6]| {
        let sender = PacketBuilder::new().ethernet(router_mac(0), MacAddress::new(mac));
        udp(sender.ipv4(transit()))
    };
    let icmp4 = |message_type| {
        let message = Icmpv4::new(message_type, 0);
        to_router().ipv4(transit()).icmpv4(message).payload(&[0x45; 28])
    };
    let icmp6 = |message_type| {
        let message = Icmpv6::new(message_type, 0);
        to_router().ipv6(transit6()).icmpv6(message).payload(&[0x60; 48])
    };
    let short = Ipv4 { protocol: Some(Protocol::ICMPV4), ..transit() };
    let reserved = Ipv4 { source: [240, 0, 0, 1].into(), ..transit() };
    let later = Extension::fragment(64, false, 7);
    let from = |source: &str| in4(ipv4(source, "10.1.0.9"));
    let from6 = |source: &str| in6(ipv6(source, "2001:db8:20::1"));
    let cases = vec![
        case("from the router's own address", from("10.1.0.1"), silent()),
        case("from a broadcast of its networks", from("10.1.0.255"), silent()),
        case("to a broadcast of its networks", in4(ipv4("10.0.0.2", "10.1.0.255")), silent()),
        case("IPv6 from its own address", from6("2001:db8:1::1"), silent()),
        case("an error", icmp4(3), silent()),
        case("time exceeded", icmp4(11), silent()),
        case("ICMP cut short", to_router().ipv4(short).payload(&[8, 0, 0]), silent()),
        case("a later fragment", in4(Ipv4 { fragment_offset: 64, ..transit() }), silent()),
        case("multicast", in4(ipv4("10.0.0.2", "224.0.0.5")), silent()),
        case("broadcast", in4(ipv4("10.0.0.2", "255.255.255.255")), silent()),
        case("a source in 240/4", in4(reserved), silent()),
        case("from a group address", other([3, 0, 0, 0, 0, 1]), silent()),
        case("an IPv6 error", icmp6(1), silent()),
        case("an IPv6 redirect", icmp6(137), silent()),
        case("a later fragment", udp(to_router().ipv6(transit6()).extension(later)), silent()),
        case("IPv6 multicast", in6(ipv6("2001:db8::2", "ff0e::5")), silent()),
        case("a mapped source", in6(ipv6("::ffff:10.0.0.2", "2001:db8:20::1")), silent()),
    ];
    reject_all(cases);
}

#[test]
fn an_output_rejects_to_where_packets_came_from() {
    let rules = vec![rule("all", Match::default(), Action::Reject)];
    let setup = Setup { filters: vec![output(1, rules)], ..Setup::default() };
    let packet = in4(transit());
    let told = told4(back(), &packet, 14);
    let lines = [Line(0, 0, case("at the output", packet, told))];
    story("output", &setup, &lines, (&[("out/all", 1)], &[]));
}

#[test]
fn replies_are_limited_and_those_that_find_no_room_are_counted() {
    let mut rig = Rig::new(&RigConfig { wire_packets: 300, ..RigConfig::default() });
    attach(&mut rig, &rejecting());
    let packet = in4(transit()).build();
    let mut round = |count: usize, now: u64| {
        let free = rig.worker.free_frames();
        (0..count).for_each(|_| assert!(rig.peers[0].send(&packet), "the wire has room"));
        assert_eq!(rig.worker.run_once(now), count);
        rig.worker.run_once(now);
        let totals = rig.totals().swap_remove(0);
        let waiting = rig.peers[0].pending();
        (totals, waiting, free, rig.worker.free_frames())
    };
    // The burst, then nothing, then what the time has earned.
    let (totals, waiting, ..) = round(BATCH_PACKETS_MAX, 1_000_000);
    assert_eq!((totals.originated_packets[Origin::RejectReply], waiting), (100, 100));
    assert_eq!(totals.withheld_packets[Withheld::RejectRateLimited], 156);
    let (totals, ..) = round(10, 6_000_000);
    assert_eq!(totals.originated_packets[Origin::RejectReply], 105);
    assert_eq!(totals.withheld_packets[Withheld::RejectRateLimited], 161);
    // Nobody takes the replies off the wire.
    round(100, 1_000_000_000);
    let (totals, waiting, free, free_after) = round(200, 2_000_000_000);
    assert_eq!((totals.originated_packets[Origin::RejectReply], waiting), (300, 300));
    assert_eq!(totals.withheld_packets[Withheld::RejectQueueFull], 5);
    assert_eq!(free, free_after, "a frame was lost");
    assert_eq!(totals.dropped_packets.sum(), 566);
}

#[test]
fn who_sends_what_the_kernel_would_forward_is_told() {
    let rules = vec![rule("all", Match::default(), Action::Reject)];
    let setup = Setup { filters: vec![output(1, rules)], ..Setup::default() };
    let hop_by_hop = Extension::hop_by_hop(&[5, 2, 0, 0]);
    let packets = [
        ("an unresolved neighbour", in4(ipv4("10.0.0.2", "10.1.0.77"))),
        ("options", in4(Ipv4 { options: vec![1; 4], ..transit() })),
    ];
    let mut lines = Vec::new();
    for (what, packet) in packets {
        let told = told4(back(), &packet, 14);
        lines.push(Line(0, 0, case(what, packet, told)));
    }
    let packet = udp(to_router().ipv6(transit6()).extension(hop_by_hop));
    let told = told6(&packet);
    lines.push(Line(0, 0, case("hop-by-hop", packet, told)));
    story("rejected at the output", &setup, &lines, (&[("out/all", 3)], &[]));
}
