//! Every view takes any bytes: `new` refuses or the getters are consistent, and nothing panics.
//! Three sources: random bytes, valid packets cut at every byte, valid packets with bytes changed.

use linecard_wire::builder::{Arp, Extension, Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ethernet::{EtherType, Frame};
use linecard_wire::ip::Protocol;
use linecard_wire::vlan::{Tag, Tags, Tci};
use linecard_wire::{
    MacAddress, arp, checksum, icmpv4, icmpv6, ipv4, ipv6, ipv6_extension, ndp, tcp, udp, vlan,
};
use proptest::prelude::*;

/// Shows `bytes` to every view and edit, and calls every getter.
fn read_all(bytes: &[u8]) {
    read_link(bytes);
    read_ipv4(bytes);
    read_ipv6(bytes);
    read_control(bytes);
    read_transport(bytes);
    edit_all(&mut bytes.to_vec());
}

fn read_link(bytes: &[u8]) {
    if let Ok(frame) = Frame::new(bytes) {
        let _ = (frame.destination(), frame.source(), frame.ethertype());
        assert_eq!(frame.payload().len() + 14, bytes.len());
    }
    if let Ok(tags) = Tags::new(bytes) {
        assert_eq!(tags.payload_offset() + tags.payload().len(), bytes.len());
        assert_eq!(tags.count() == 2, tags.inner().is_some());
        assert!(tags.outer().is_some() || !tags.ethertype().is_vlan());
    }
    if let Ok(packet) = arp::Packet::new(bytes) {
        let _ = (packet.operation(), packet.is_gratuitous());
        let _ = (packet.sender_mac(), packet.sender_address(), packet.target_mac());
    }
}

fn read_ipv4(bytes: &[u8]) {
    let Ok(packet) = ipv4::Packet::new(bytes) else { return };
    let total_length = usize::from(packet.total_length());
    assert!((20..=60).contains(&packet.header_length()) && total_length <= bytes.len());
    assert_eq!(packet.header_length() + packet.payload().len(), total_length);
    assert_eq!(packet.has_options(), packet.header_length() > 20);
    assert_eq!(packet.fragment_offset() % 8, 0);
    assert!(packet.dscp() < 64);
    let header = &bytes[..packet.header_length()];
    assert_eq!(packet.verify_checksum(), checksum::verify(header));
    assert!(packet.options().count() <= 40);
    let _ = (packet.has_router_alert(), packet.ecn(), packet.identification(), packet.ttl());
    let _ = (packet.reserved_flag(), packet.dont_fragment(), packet.is_fragment());
    let _ = (packet.source(), packet.destination(), packet.protocol(), packet.checksum());
}

fn read_ipv6(bytes: &[u8]) {
    for protocol in (0..=255).map(Protocol) {
        if let Ok(header) = ipv6_extension::Header::new(protocol, bytes) {
            assert!(protocol.is_ipv6_extension() && header.bytes().len() >= 8);
            assert_eq!(header.bytes().len() + header.behind().len(), bytes.len());
            assert!(header.options().count() <= header.bytes().len());
            assert_eq!(header.routing().is_some(), protocol == Protocol::ROUTING);
            assert_eq!(header.fragment().is_some(), protocol == Protocol::FRAGMENT);
        }
    }
    let Ok(packet) = ipv6::Packet::new(bytes) else { return };
    assert_eq!(packet.payload().len(), usize::from(packet.payload_length()));
    assert_eq!(packet.total_length(), 40 + packet.payload().len());
    assert!(packet.flow_label() < 1 << 20 && packet.dscp() < 64);
    let _ = (packet.source(), packet.destination(), packet.hop_limit(), packet.ecn());
    for headers_max in [0, 1, ipv6_extension::HEADERS_MAX, usize::MAX] {
        if let Ok(upper) = packet.upper_layer(headers_max) {
            assert_eq!(upper.offset + upper.payload.len(), packet.payload().len());
            assert!(!upper.protocol.is_ipv6_extension() || !upper.has_header());
        }
    }
    if let Ok(Some(options)) = packet.hop_by_hop_options() {
        assert!(options.count() <= packet.payload().len());
    }
}

fn read_control(bytes: &[u8]) {
    if let Ok(message) = icmpv4::Message::new(bytes) {
        assert_eq!(message.verify_checksum(), checksum::verify(bytes));
        let _ = (message.message_type().is_error(), message.code(), message.checksum());
        let _ = (message.echo(), message.next_hop_mtu(), message.gateway(), message.payload());
    }
    if let Ok(message) = icmpv6::Message::new(bytes) {
        let address = "2001:db8::1".parse().unwrap();
        let _ = message.verify_checksum(address, address);
        let _ = (message.message_type().is_error(), message.code(), message.checksum());
        let _ = (message.echo(), message.next_hop_mtu(), message.payload());
    }
    if let Ok(view) = ndp::NeighborSolicitation::new(bytes) {
        assert!(view.options().all(|option| option.is_ok()));
        let _ = (view.target_address(), view.source_link_layer_address());
    }
    if let Ok(view) = ndp::NeighborAdvertisement::new(bytes) {
        assert!(view.options().all(|option| option.is_ok()));
        let _ = (view.target_address(), view.target_link_layer_address());
        let _ = (view.router(), view.solicited(), view.override_flag());
    }
    if let Ok(view) = ndp::RouterAdvertisement::new(bytes) {
        assert!(view.options().all(|option| option.is_ok()));
        let _ = (view.current_hop_limit(), view.router_lifetime_seconds());
        let _ = view.source_link_layer_address();
    }
}

fn read_transport(bytes: &[u8]) {
    if let Ok(datagram) = udp::Datagram::new(bytes) {
        assert_eq!(datagram.payload().len() + 8, usize::from(datagram.length()));
        let _ = (datagram.source_port(), datagram.destination_port());
        let _ = datagram.verify_checksum(checksum::Sum::new());
    }
    if let Ok(segment) = tcp::Segment::new(bytes) {
        assert_eq!(segment.header_length() + segment.payload().len(), bytes.len());
        assert!(segment.options().count() <= 40);
        assert_eq!(segment.verify_checksum(checksum::Sum::new()), checksum::verify(bytes));
        let _ = (segment.source_port(), segment.destination_port(), segment.flags());
        let _ = (segment.sequence_number(), segment.acknowledgment_number());
        let _ = (segment.window(), segment.urgent_pointer(), segment.checksum());
        let _ = segment.maximum_segment_size();
    }
}

fn edit_all(bytes: &mut [u8]) {
    let before = bytes.to_vec();
    if let Ok(tag) = vlan::pop_tag(bytes) {
        vlan::push_tag(bytes, tag).unwrap();
        assert_eq!(bytes, before, "pushing back what was popped");
    }
    let _ = vlan::push_tag(bytes, Tag { tpid: EtherType::VLAN, tci: Tci(1) });
    let _ = ipv4::decrement_ttl(bytes);
    let _ = ipv4::set_ttl(bytes, 1);
    let _ = ipv4::fill_checksum(bytes);
    let _ = ipv6::decrement_hop_limit(bytes);
    let _ = ipv6::set_dscp(bytes, 0xff);
    let _ = icmpv4::fill_checksum(bytes);
}

/// One of each kind, without the link header unless that is what it is about.
fn samples() -> Vec<Vec<u8>> {
    let mac = MacAddress::new([2, 0, 0, 0, 0, 1]);
    let (a4, b4) = ([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
    let (a6, b6) = ("2001:db8::1".parse().unwrap(), "2001:db8:1::1".parse().unwrap());
    let tag = |tpid| Tag { tpid, tci: Tci::new(3, false, 7) };
    let frame = PacketBuilder::new().ethernet(MacAddress::BROADCAST, mac);
    let packet = PacketBuilder::new;
    let options = vec![148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0];
    let mss = vec![2, 4, 5, 0xb4, 1, 3, 3, 7];
    vec![
        frame.clone().vlan(tag(EtherType::SERVICE_VLAN)).vlan(tag(EtherType::VLAN)).build(),
        frame.arp(Arp::request(mac, a4, b4)).build(),
        packet().arp(Arp::request(mac, a4, b4)).build(),
        packet().ipv4(Ipv4 { options, ..Ipv4::new(a4, b4) }).udp(Udp::new(1, 2)).build(),
        packet().ipv4(Ipv4::new(a4, b4)).icmpv4(Icmpv4::echo_request(1, 2)).build(),
        packet()
            .ipv6(Ipv6::new(a6, b6))
            .extension(Extension::hop_by_hop(&[5, 2, 0, 0]))
            .extension(Extension::routing(4, 1, &[0; 20]))
            .extension(Extension::fragment(0, true, 1))
            .extension(Extension::authentication(1, 1))
            .tcp(Tcp::new(1, 2))
            .payload(b"data")
            .build(),
        packet().tcp(Tcp { options: mss, ..Tcp::new(1, 2) }).payload(b"data").build(),
        packet().udp(Udp::new(1, 2)).payload(b"data").build(),
        packet().icmpv6(Icmpv6::echo_request(1, 2)).build(),
        packet().neighbor_solicitation(a6, Some(mac)).build(),
        packet().neighbor_advertisement(a6, mac, 0x60).build(),
    ]
}

#[test]
fn valid_packets_cut_at_every_byte() {
    for sample in samples() {
        for length in 0..=sample.len() {
            read_all(&sample[..length]);
        }
    }
}

#[test]
fn valid_packets_with_every_byte_changed() {
    for sample in samples() {
        for index in 0..sample.len() {
            for value in [0x00, 0x01, 0x2c, 0x3c, 0x7f, 0x80, 0xff] {
                let mut bytes = sample.clone();
                bytes[index] = value;
                read_all(&bytes);
            }
        }
    }
}

#[test]
fn a_cut_ip_packet_is_always_refused() {
    for sample in samples() {
        for length in 0..sample.len() {
            assert!(
                ipv4::Packet::new(&sample).is_err()
                    || ipv4::Packet::new(&sample[..length]).is_err()
            );
            assert!(
                ipv6::Packet::new(&sample).is_err()
                    || ipv6::Packet::new(&sample[..length]).is_err()
            );
        }
    }
}

proptest! {
    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    /// Random bytes rarely pass the first checks; these do, and reach what lies behind.
    #[test]
    fn random_bytes_behind_a_plausible_start(
        mut bytes in prop::collection::vec(any::<u8>(), 40..200),
        sample in prop::sample::select(samples()),
        keep in 1_usize..40,
    ) {
        let keep = keep.min(sample.len());
        bytes[..keep].copy_from_slice(&sample[..keep]);
        read_all(&bytes);
    }
}
