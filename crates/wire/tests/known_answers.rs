//! Whole packets whose bytes are known from elsewhere than this crate: written down by hand from the
//! RFCs' diagrams, with checksums worked out by long addition.

use linecard_wire::builder::{Extension, Icmpv4, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::checksum::{pseudo_header_v4, pseudo_header_v6};
use linecard_wire::ip::{Ecn, Protocol};
use linecard_wire::tcp::Flags;
use linecard_wire::{icmpv4, ipv4, ipv6, ipv6_extension, tcp, udp};

/// The header that textbooks use for the IPv4 checksum: 0xb861 over these words.
const TEXTBOOK: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
    0xc0, 0xa8, 0x00, 0xc7,
];

#[test]
fn the_textbook_header_verifies_and_reads_right() {
    let mut bytes = TEXTBOOK.to_vec();
    bytes.resize(0x73, 0);
    let packet = ipv4::Packet::new(&bytes).unwrap();
    assert!(packet.verify_checksum());
    assert_eq!((packet.header_length(), packet.total_length()), (20, 0x73));
    assert_eq!((packet.ttl(), packet.protocol()), (64, Protocol::UDP));
    assert!(packet.dont_fragment() && !packet.more_fragments() && !packet.is_fragment());
    assert_eq!(packet.source().to_string(), "192.168.0.1");
    assert_eq!(packet.destination().to_string(), "192.168.0.199");
    assert_eq!(packet.payload().len(), 0x73 - 20);
}

#[test]
fn the_textbook_header_can_be_built_and_refilled() {
    let header = Ipv4 {
        dont_fragment: true,
        protocol: Some(Protocol::UDP),
        ..Ipv4::new([192, 168, 0, 1].into(), [192, 168, 0, 199].into())
    };
    let mut bytes = PacketBuilder::new().ipv4(header).payload(&[0; 0x73 - 20]).build();
    assert_eq!(bytes[..20], TEXTBOOK);
    ipv4::set_checksum(&mut bytes, 0xdead).unwrap();
    ipv4::fill_checksum(&mut bytes).unwrap();
    assert_eq!(bytes[..20], TEXTBOOK);
}

#[test]
fn a_hop_less_on_the_textbook_header() {
    // 0x40 becomes 0x3f in the high half of a word, so the checksum grows by 0x0100.
    let mut bytes = TEXTBOOK;
    assert_eq!(ipv4::decrement_ttl(&mut bytes), Ok(63));
    assert_eq!((bytes[8], &bytes[10..12]), (63, &[0xb9, 0x61][..]));
}

#[test]
fn udp_over_ipv4_by_hand() {
    // The pseudo-header's six words, the header's three, and the data.
    let bytes = PacketBuilder::new()
        .ipv4(Ipv4::new([192, 0, 2, 1].into(), [198, 51, 100, 1].into()))
        .udp(Udp::new(0x1000, 53))
        .payload(b"hi")
        .build();
    let words = [0xc000, 0x0201, 0xc633, 0x6401, 0x0011, 0x000a, 0x1000, 0x0035, 0x000a, 0x6869];
    let sum: u32 = words.iter().sum();
    assert_eq!(sum, 0x2_64f8);
    let checksum = !0x64fa;
    let packet = ipv4::Packet::new(&bytes).unwrap();
    let datagram = udp::Datagram::new(packet.payload()).unwrap();
    assert_eq!(datagram.checksum(), checksum);
    let sum =
        |length| pseudo_header_v4(packet.source(), packet.destination(), packet.protocol(), length);
    assert!(datagram.verify_checksum(sum(10)));
    assert!(!datagram.verify_checksum(sum(11)));
}

#[test]
fn a_udp_checksum_of_zero_is_sent_as_all_ones() {
    let build = |port| {
        PacketBuilder::new()
            .ipv6(Ipv6::new("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap()))
            .udp(Udp::new(port, 0))
            .build()
    };
    // With the port raised by the checksum that port 0 has, everything sums to all ones.
    let first = build(0);
    let port = udp::Datagram::new(&first[40..]).unwrap().checksum();
    let second = build(port);
    let packet = ipv6::Packet::new(&second).unwrap();
    let datagram = udp::Datagram::new(packet.payload()).unwrap();
    assert_eq!(datagram.checksum(), 0xffff);
    let sum = pseudo_header_v6(packet.source(), packet.destination(), Protocol::UDP, 8);
    assert!(datagram.verify_checksum(sum));
}

#[test]
fn router_alert_is_found_among_options() {
    let source = [10, 0, 0, 1].into();
    let with = |options: &[u8]| {
        let header = Ipv4 { options: options.to_vec(), ..Ipv4::new(source, source) };
        PacketBuilder::new().ipv4(header).build()
    };
    let alert = with(&[1, 148, 4, 0, 0]);
    let packet = ipv4::Packet::new(&alert).unwrap();
    assert!(packet.has_options() && packet.has_router_alert() && packet.verify_checksum());
    assert_eq!(packet.header_length(), 28);
    let record_route = with(&[7, 7, 4, 0, 0, 0, 0]);
    assert!(!ipv4::Packet::new(&record_route).unwrap().has_router_alert());
}

#[test]
fn fragment_fields_of_ipv4() {
    let source = [10, 0, 0, 1].into();
    let header = Ipv4 {
        more_fragments: true,
        fragment_offset: 1480,
        identification: 0xbeef,
        ..Ipv4::new(source, source)
    };
    let bytes = PacketBuilder::new().ipv4(header).payload(&[0; 16]).build();
    assert_eq!(bytes[6..8], [0x20, 0xb9]);
    let packet = ipv4::Packet::new(&bytes).unwrap();
    assert_eq!((packet.fragment_offset(), packet.identification()), (1480, 0xbeef));
    assert!(packet.is_fragment() && packet.more_fragments() && !packet.dont_fragment());
}

#[test]
fn icmp_echo_by_hand() {
    let bytes = PacketBuilder::new().icmpv4(Icmpv4::echo_request(0x1234, 1)).build();
    assert_eq!(bytes, [8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1]);
    assert!(icmpv4::Message::new(&bytes).unwrap().verify_checksum());
}

#[test]
fn ipv6_fields_stand_where_the_rfc_puts_them() {
    let header = Ipv6 {
        dscp: 46,
        ecn: Ecn::Ce,
        flow_label: 0x12345,
        hop_limit: 9,
        ..Ipv6::new("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap())
    };
    let bytes = PacketBuilder::new()
        .ipv6(header)
        .tcp(Tcp { flags: Flags::SYN, options: vec![2, 4, 5, 0xa0], ..Tcp::new(1, 2) })
        .build();
    assert_eq!(bytes[..8], [0x6b, 0xb1, 0x23, 0x45, 0, 24, 6, 9]);
    let packet = ipv6::Packet::new(&bytes).unwrap();
    assert_eq!((packet.dscp(), packet.ecn(), packet.flow_label()), (46, Ecn::Ce, 0x12345));
    let segment = tcp::Segment::new(packet.payload()).unwrap();
    let sum = pseudo_header_v6(packet.source(), packet.destination(), Protocol::TCP, 24);
    assert!(segment.verify_checksum(sum));
    assert_eq!(segment.maximum_segment_size(), Some(1440));
}

#[test]
fn the_whole_chain_of_extension_headers_is_walked() {
    let address = "2001:db8::1".parse().unwrap();
    let bytes = PacketBuilder::new()
        .ipv6(Ipv6::new(address, address))
        .extension(Extension::hop_by_hop(&[5, 2, 0, 0]))
        .extension(Extension::destination_options(&[]))
        .extension(Extension::routing(4, 1, &[0; 20]))
        .extension(Extension::fragment(0, true, 0xcafe_f00d))
        .extension(Extension::authentication(7, 8))
        .udp(Udp::new(1, 2))
        .build();
    let packet = ipv6::Packet::new(&bytes).unwrap();
    let upper = packet.upper_layer(5).unwrap();
    assert_eq!((upper.protocol, upper.offset), (Protocol::UDP, 8 + 8 + 24 + 8 + 24));
    assert_eq!(upper.payload, &bytes[40 + 72..]);
    assert!(upper.hop_by_hop && upper.routing && upper.has_header());
    let fragment = upper.fragment.unwrap();
    assert_eq!((fragment.offset, fragment.identification), (0, 0xcafe_f00d));
    assert!(fragment.more_fragments && !fragment.is_atomic());
    assert_eq!(packet.upper_layer(4), Err(linecard_wire::Malformed::TooManyHeaders));

    let mut options = packet.hop_by_hop_options().unwrap().unwrap();
    let alert = options.next().unwrap().unwrap();
    assert_eq!(alert.kind, ipv6_extension::OPTION_ROUTER_ALERT);
    assert_eq!(options.next(), None, "padding is no option");
    let routing = ipv6_extension::Header::new(Protocol::ROUTING, &bytes[56..]).unwrap();
    assert_eq!(routing.routing(), Some((4, 1)));
}

#[test]
fn chains_that_the_walk_refuses_or_ends_early() {
    use linecard_wire::Malformed;
    let address = "2001:db8::1".parse().unwrap();
    let start = || PacketBuilder::new().ipv6(Ipv6::new(address, address));
    let walk = |builder: PacketBuilder| {
        let bytes = builder.build();
        let upper = ipv6::Packet::new(&bytes).unwrap().upper_layer(8);
        upper.map(|upper| (upper.protocol, upper.offset, upper.has_header()))
    };
    let late = start()
        .extension(Extension::destination_options(&[]))
        .extension(Extension::hop_by_hop(&[]));
    assert_eq!(walk(late.udp(Udp::new(1, 2))), Err(Malformed::BadHeaderOrder));
    let long = Extension { length: Some(2), ..Extension::hop_by_hop(&[]) };
    assert_eq!(walk(start().extension(long).udp(Udp::new(1, 2))), Err(Malformed::Truncated));
    let short = Extension { length: Some(0), ..Extension::authentication(1, 1) };
    assert_eq!(walk(start().extension(short)), Err(Malformed::BadHeaderLength));
    // Behind a later fragment stands data, even where the next header names an extension.
    let later = Extension {
        next_header: Some(Protocol::DESTINATION_OPTIONS),
        ..Extension::fragment(8, false, 1)
    };
    let ended = walk(start().extension(later).payload(&[0xff; 8]));
    assert_eq!(ended, Ok((Protocol::DESTINATION_OPTIONS, 8, false)));
    let none = Ipv6 { next_header: Some(Protocol::NO_NEXT_HEADER), ..Ipv6::new(address, address) };
    assert_eq!(walk(PacketBuilder::new().ipv6(none)), Ok((Protocol::NO_NEXT_HEADER, 0, true)));
}
