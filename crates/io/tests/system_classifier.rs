//! The classifier as the kernel runs it: each kind of frame, and what becomes of it.
//!
//! Needs root, or `CAP_BPF` and `CAP_NET_ADMIN`: the kernel itself runs the program on each frame
//! (`BPF_PROG_TEST_RUN`). Nothing is sent anywhere.

use std::net::IpAddr;
use std::sync::Arc;

use linecard_io::xdp::DeadManSwitch;
use linecard_io::{AttachMode, LocalAddresses, Outcome, PacketGate, XdpPort, punt_mark};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Arp, Extension, Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};

const PORT: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const PEER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
const REMEDY: &str = "run as root, or with CAP_BPF and CAP_NET_ADMIN";

const CUSTOMER: Tag = Tag { tpid: EtherType::VLAN, tci: Tci(100) };
const SERVICE: Tag = Tag { tpid: EtherType::SERVICE_VLAN, tci: Tci(7) };

fn to_port() -> PacketBuilder {
    PacketBuilder::new().ethernet(PORT, PEER)
}

fn tagged(tags: &[Tag]) -> PacketBuilder {
    tags.iter().fold(to_port(), |packet, &tag| packet.vlan(tag))
}

fn ipv4(destination: &str) -> Ipv4 {
    Ipv4::new([192, 0, 2, 9].into(), destination.parse().expect("address"))
}

fn ipv6(destination: &str) -> Ipv6 {
    Ipv6::new("2001:db8::9".parse().expect("address"), destination.parse().expect("address"))
}

fn udp(builder: PacketBuilder) -> Vec<u8> {
    builder.udp(Udp::new(4000, 4001)).payload(&[0; 18]).build()
}

type Fixture = (&'static str, Vec<u8>, Outcome);

/// What arrives on the link layer, and what the classifier does with it.
fn link_layer_fixtures() -> Vec<Fixture> {
    let transit4 = || ipv4("198.51.100.1");
    let transit6 = || ipv6("2001:db8:1::1");
    let to = |mac: [u8; 6]| PacketBuilder::new().ethernet(MacAddress::new(mac), PEER);
    let arp = Arp::request(PEER, [192, 0, 2, 9].into(), [192, 0, 2, 1].into());
    let three = [SERVICE, CUSTOMER, CUSTOMER];
    let group = [1, 0, 0x5e, 0, 0, 5];
    vec![
        ("IPv4 transit", udp(to_port().ipv4(transit4())), Outcome::Taken),
        ("IPv6 transit", udp(to_port().ipv6(transit6())), Outcome::Taken),
        ("one tag", udp(tagged(&[CUSTOMER]).ipv4(transit4())), Outcome::Taken),
        ("two tags", udp(tagged(&[SERVICE, CUSTOMER]).ipv6(transit6())), Outcome::Taken),
        ("tag, own", udp(tagged(&[CUSTOMER]).ipv4(ipv4("192.0.2.1"))), Outcome::Local),
        ("three tags", udp(tagged(&three).ipv4(transit4())), Outcome::NotIp),
        ("ARP", to_port().arp(arp).build(), Outcome::NotIp),
        ("broadcast", udp(to([0xff; 6]).ipv4(ipv4("255.255.255.255"))), Outcome::Multicast),
        ("multicast", udp(to(group).ipv4(ipv4("224.0.0.5"))), Outcome::Multicast),
        ("other host", udp(to([2, 0, 0, 0, 0, 3]).ipv4(transit4())), Outcome::OtherHost),
    ]
}

/// What arrives in IPv4.
fn ipv4_fixtures() -> Vec<Fixture> {
    let packet = |header: Ipv4| udp(to_port().ipv4(header));
    let transit = || ipv4("198.51.100.1");
    let options = vec![148, 4, 0, 0];
    vec![
        ("own address", packet(ipv4("192.0.2.1")), Outcome::Local),
        ("multicast to own MAC", packet(ipv4("224.0.0.5")), Outcome::Multicast),
        ("TTL 2", packet(Ipv4 { ttl: 2, ..transit() }), Outcome::Taken),
        ("TTL 1", packet(Ipv4 { ttl: 1, ..transit() }), Outcome::TtlExpired),
        ("TTL 0", packet(Ipv4 { ttl: 0, ..transit() }), Outcome::TtlExpired),
        ("options", packet(Ipv4 { options, ..transit() }), Outcome::Ipv4Options),
        ("cut short", packet(transit())[..30].to_vec(), Outcome::Taken),
        ("version 5", packet(Ipv4 { version: Some(5), ..transit() }), Outcome::Taken),
        ("IHL 4", packet(Ipv4 { ihl: Some(4), ..transit() }), Outcome::Taken),
        (
            "larger than a frame",
            to_port().ipv4(transit()).udp(Udp::new(1, 2)).payload(&[0; 1800]).build(),
            Outcome::Oversized,
        ),
    ]
}

/// What arrives in IPv6.
fn ipv6_fixtures() -> Vec<Fixture> {
    let packet = |header: Ipv6| udp(to_port().ipv6(header));
    let transit = || ipv6("2001:db8:1::1");
    let hop_by_hop = Extension::hop_by_hop(&[1, 4, 0, 0, 0, 0]);
    vec![
        ("own address", packet(ipv6("2001:db8::1")), Outcome::Local),
        ("multicast to own MAC", packet(ipv6("ff02::5")), Outcome::Multicast),
        ("link-local", packet(ipv6("fe80::1")), Outcome::Multicast),
        ("the end of fe80::/10", packet(ipv6("febf::1")), Outcome::Multicast),
        ("behind fe80::/10", packet(ipv6("fec0::1")), Outcome::Taken),
        ("hop limit 1", packet(Ipv6 { hop_limit: 1, ..transit() }), Outcome::TtlExpired),
        ("hop limit 2", packet(Ipv6 { hop_limit: 2, ..transit() }), Outcome::Taken),
        (
            "hop-by-hop header",
            udp(to_port().ipv6(transit()).extension(hop_by_hop)),
            Outcome::Ipv6HopByHop,
        ),
        ("cut short", packet(transit())[..50].to_vec(), Outcome::Taken),
    ]
}

fn fixtures() -> Vec<Fixture> {
    [link_layer_fixtures(), ipv4_fixtures(), ipv6_fixtures()].concat()
}

fn port() -> (XdpPort, LocalAddresses, Arc<DeadManSwitch>) {
    let local = LocalAddresses::new().expect(REMEDY);
    for address in ["192.0.2.1", "2001:db8::1"] {
        let address: IpAddr = address.parse().expect("address");
        local.insert(address).expect("insert");
    }
    let switch = DeadManSwitch::new(1).expect(REMEDY);
    // Loopback's index: the port is never attached.
    let port = XdpPort::new(1, PORT.octets(), 1, 1792, &local, &switch).expect(REMEDY);
    (port, local, switch)
}

#[test]
fn each_kind_of_frame_goes_where_it_belongs() {
    let (port, _local, switch) = port();
    let _armed = switch.arm(0).expect("arm");
    for (description, frame, expected) in fixtures() {
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let outcome = port.classify(mode, &frame).expect("the kernel runs the classifier");
            assert_eq!(outcome, expected, "{description}, {mode:?}");
        }
    }
}

/// What services are to judge comes to a worker whatever headers it has; what the kernel does not forward stays
/// with it.
#[test]
fn options_and_hop_by_hop_headers_keep_nothing_from_services() {
    let (port, _local, switch) = port();
    let _armed = switch.arm(0).expect("arm");
    port.set_takes_options(true).expect("a map");
    let taken = |outcome| match outcome {
        Outcome::Ipv4Options | Outcome::Ipv6HopByHop => Outcome::Taken,
        outcome => outcome,
    };
    let options = |header| Ipv4 { options: vec![148, 4, 0, 0], ..header };
    let in4 = |header| udp(to_port().ipv4(options(header)));
    let in6 =
        |header| udp(to_port().ipv6(header).extension(Extension::hop_by_hop(&[1, 4, 0, 0, 0, 0])));
    let expired = Ipv4 { ttl: 1, ..ipv4("198.51.100.1") };
    let expired6 = Ipv6 { hop_limit: 1, ..ipv6("2001:db8:1::1") };
    let with_headers = [
        ("options, own address", in4(ipv4("192.0.2.1")), Outcome::Local),
        ("options, group", in4(ipv4("224.0.0.5")), Outcome::Multicast),
        ("options, TTL 1", in4(expired), Outcome::TtlExpired),
        ("hop-by-hop, own address", in6(ipv6("2001:db8::1")), Outcome::Local),
        ("hop-by-hop, link-local", in6(ipv6("fe80::1")), Outcome::Multicast),
        ("hop-by-hop, group", in6(ipv6("ff02::16")), Outcome::Multicast),
        ("hop-by-hop, hop limit 1", in6(expired6), Outcome::TtlExpired),
    ];
    let plain = fixtures().into_iter().map(|(what, frame, outcome)| (what, frame, taken(outcome)));
    for (description, frame, expected) in plain.chain(with_headers) {
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let outcome = port.classify(mode, &frame).expect("the kernel runs the classifier");
            assert_eq!(outcome, expected, "{description}, {mode:?}");
        }
    }
    port.set_takes_options(false).expect("a map");
    let outcome = port.classify(AttachMode::Native, &in4(ipv4("198.51.100.1"))).expect("run");
    assert_eq!(outcome, Outcome::Ipv4Options, "they are the kernel's again");
}

#[test]
fn every_frame_is_the_kernel_s_while_no_worker_is_alive() {
    let (port, _local, switch) = port();
    for (description, frame, _) in fixtures() {
        let outcome =
            port.classify(AttachMode::Native, &frame).expect("the kernel runs the classifier");
        assert_eq!(outcome, Outcome::Standby, "{description}");
    }
    let armed = switch.arm(0).expect("arm");
    let (_, transit, expected) = fixtures().swap_remove(0);
    assert_eq!(port.classify(AttachMode::Native, &transit).expect("run"), expected);
    drop(armed);
    assert_eq!(port.classify(AttachMode::Native, &transit).expect("run"), Outcome::Standby);
}

#[test]
fn an_address_that_is_removed_is_transit_again() {
    let (port, local, switch) = port();
    let _armed = switch.arm(0).expect("arm");
    let frame = udp(to_port().ipv4(ipv4("192.0.2.1")));
    let own: IpAddr = [192, 0, 2, 1].into();
    assert_eq!(port.classify(AttachMode::Native, &frame).expect("run"), Outcome::Local);
    assert!(local.remove(own).expect("remove"), "it was there");
    assert_eq!(port.classify(AttachMode::Native, &frame).expect("run"), Outcome::Taken);
    assert!(!local.remove(own).expect("remove"), "it is gone");
}

#[test]
fn a_punted_frame_passes_where_it_comes_by_and_nobody_else_s_does() {
    let (port, _local, switch) = port();
    let _armed = switch.arm(0).expect("arm");
    let from = |source| udp(PacketBuilder::new().ethernet(PORT, source).ipv4(ipv4("198.51.100.1")));
    let mark = MacAddress::new(punt_mark());
    let near_miss = |octet: usize| {
        let mut address = punt_mark();
        address[octet] ^= 1;
        MacAddress::new(address)
    };
    let generic = |source| port.classify(AttachMode::Generic, &from(source)).expect("run");
    assert_eq!(generic(mark), Outcome::Punted);
    // The router's own address was the mark once: a neighbour knows it.
    assert_eq!(generic(PORT), Outcome::Taken);
    for octet in 0..6 {
        assert_eq!(generic(near_miss(octet)), Outcome::Taken, "octet {octet}");
    }
    // Punted frames enter behind the driver, so from the wire the mark means nothing.
    for source in [mark, PORT] {
        let outcome = port.classify(AttachMode::Native, &from(source)).expect("run");
        assert_eq!(outcome, Outcome::Taken);
    }
}

#[test]
fn the_kernel_accepts_the_programs_of_an_af_packet_port() {
    let local = LocalAddresses::new().expect(REMEDY);
    let switch = DeadManSwitch::new(1).expect(REMEDY);
    let gate = PacketGate::new(1, PORT.octets(), 1792, &local, &switch, None).expect(REMEDY);
    assert!(gate.outcomes().expect("maps").iter().all(|total| total.packets == 0));
}
