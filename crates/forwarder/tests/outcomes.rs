//! One packet in, and everything that it moves: the packet that comes out, and each counter. Every
//! other counter must be still.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};

use common::{PORTS, Rig, RigConfig, neighbour_mac, router_mac, to_router};
use linecard_packet::{DropReason, PortTotals, PuntReason};
use linecard_wire::builder::{Arp, Extension, Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};
use linecard_wire::{MacAddress, ip::Protocol};

/// What becomes of a packet.
enum Outcome {
    /// It leaves by this port, looking so.
    Sent(usize, Vec<u8>),
    Punted(PuntReason),
    Dropped(DropReason),
}
use Outcome::{Dropped, Punted, Sent};

struct Case {
    description: &'static str,
    /// Received on port 0.
    packet: Vec<u8>,
    outcome: Outcome,
}

fn case(description: &'static str, packet: PacketBuilder, outcome: Outcome) -> Case {
    Case { description, packet: packet.build(), outcome }
}

fn ipv4(source: &str, destination: &str) -> Ipv4 {
    let address = |text: &str| text.parse::<Ipv4Addr>().expect("an IPv4 address");
    Ipv4 {
        identification: 7,
        dont_fragment: true,
        ..Ipv4::new(address(source), address(destination))
    }
}

fn ipv6(source: &str, destination: &str) -> Ipv6 {
    let address = |text: &str| text.parse::<Ipv6Addr>().expect("an IPv6 address");
    Ipv6 { flow_label: 0x12345, ..Ipv6::new(address(source), address(destination)) }
}

/// To 20.0.0.1, which goes to neighbour 0 on port 1.
fn transit() -> Ipv4 {
    ipv4("10.0.0.2", "20.0.0.1")
}

fn transit6() -> Ipv6 {
    ipv6("2001:db8::2", "2001:db8:20::1")
}

fn udp(builder: PacketBuilder) -> PacketBuilder {
    builder.udp(Udp::new(4000, 53)).payload(b"payload of an odd length!")
}

fn in4(header: Ipv4) -> PacketBuilder {
    udp(to_router().ipv4(header))
}

fn in6(header: Ipv6) -> PacketBuilder {
    udp(to_router().ipv6(header))
}

fn tag(tpid: EtherType, priority: u8, vlan_id: u16) -> Tag {
    Tag { tpid, tci: Tci::new(priority, false, vlan_id) }
}

/// A frame from the router on port 1 to the neighbour of this adjacency.
fn leaving(adjacency: u8) -> PacketBuilder {
    PacketBuilder::new().ethernet(neighbour_mac(adjacency), router_mac(1))
}

/// The same with one hop less: what leaves by port 1 untagged.
fn out4(header: Ipv4) -> Outcome {
    let header = Ipv4 { ttl: header.ttl - 1, ..header };
    Sent(1, udp(leaving(0).ipv4(header)).build())
}

fn out6(header: Ipv6) -> Outcome {
    let header = Ipv6 { hop_limit: header.hop_limit - 1, ..header };
    Sent(1, udp(leaving(2).ipv6(header)).build())
}

/// Sends one packet into port 0 and checks everything that can be seen.
fn check(case: &Case) {
    let mut rig = Rig::new(&RigConfig::default());
    let free = rig.worker.free_frames();
    assert!(rig.peers[0].send(&case.packet), "{}", case.description);
    assert_eq!(rig.worker.run_once(0), 1, "{}", case.description);
    rig.totals();

    let mut expected = vec![PortTotals::default(); PORTS];
    expected[0].received_packets = 1;
    expected[0].received_bytes = case.packet.len() as u64;
    let mut out: Vec<Option<Vec<u8>>> = vec![None; PORTS];
    let mut punted = Vec::new();
    match &case.outcome {
        Sent(port, packet) => {
            let bytes = packet.len() as u64;
            expected[0].forwarded_packets = 1;
            expected[0].forwarded_bytes = bytes;
            expected[*port].sent_packets = 1;
            expected[*port].transmitted_bytes = bytes;
            out[*port] = Some(packet.clone());
        }
        Punted(reason) => {
            expected[0].punted_packets[*reason] = 1;
            punted.push((linecard_packet::PortId(0), case.packet.clone()));
        }
        Dropped(reason) => expected[0].dropped_packets[*reason] = 1,
    }
    let received: Vec<_> = rig.peers.iter_mut().map(linecard_io::MemoryPeer::receive).collect();
    // Another round, which takes note of what was sent.
    assert_eq!(rig.worker.run_once(1), 0, "{}", case.description);
    assert_eq!(rig.totals(), expected, "{}", case.description);
    assert_eq!(received, out, "{}", case.description);
    assert_eq!(*rig.punted.lock().unwrap(), punted, "{}", case.description);
    assert_eq!(rig.worker.free_frames(), free, "{}: a frame was lost", case.description);
}

fn check_all(cases: &[Case]) {
    for case in cases {
        check(case);
    }
}

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
        source("0.255.255.255"),
        source("127.0.0.1"),
        source("127.255.255.255"),
        source("224.0.0.1"),
        source("239.255.255.255"),
        source("255.255.255.255"),
        destination("0.0.0.0"),
        destination("0.1.2.3"),
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
