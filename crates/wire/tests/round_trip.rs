//! What the builder writes, the views read back.

use linecard_wire::builder::{Extension, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::checksum::{pseudo_header_v4, pseudo_header_v6};
use linecard_wire::ethernet::EtherType;
use linecard_wire::ip::{Ecn, Protocol};
use linecard_wire::tcp::Flags;
use linecard_wire::vlan::{Tag, Tags, Tci};
use linecard_wire::{MacAddress, icmpv6, ipv4, ipv6, ndp, tcp, udp};
use proptest::prelude::*;

fn tags() -> impl Strategy<Value = Vec<Tag>> {
    let tpid = prop::sample::select(vec![EtherType::VLAN, EtherType::SERVICE_VLAN]);
    let tag = (tpid, any::<u16>()).prop_map(|(tpid, tci)| Tag { tpid, tci: Tci(tci) });
    prop::collection::vec(tag, 0..=2)
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..100)
}

fn stack(tags: &[Tag]) -> PacketBuilder {
    let start = PacketBuilder::new().ethernet(MacAddress::BROADCAST, MacAddress::new([2; 6]));
    tags.iter().fold(start, |builder, tag| builder.vlan(*tag))
}

proptest! {
    #[test]
    fn tagged_udp_over_ipv4(
        tags in tags(),
        (source, destination) in any::<([u8; 4], [u8; 4])>(),
        (ports, dscp, ecn, ttl) in (any::<(u16, u16)>(), 0_u8..64, any::<u8>(), any::<u8>()),
        (identification, flags, fragment_offset) in any::<(u16, [bool; 3], u16)>(),
        options in prop::collection::vec(any::<u8>(), 0..=40),
        data in data(),
    ) {
        let header = Ipv4 {
            dscp, ttl, identification, options,
            ecn: Ecn::from_bits(ecn),
            reserved_flag: flags[0],
            dont_fragment: flags[1],
            more_fragments: flags[2],
            fragment_offset: fragment_offset & 0xfff8,
            ..Ipv4::new(source.into(), destination.into())
        };
        let transport = Udp::new(ports.0, ports.1);
        let frame = stack(&tags).ipv4(header.clone()).udp(transport).payload(&data).build();

        let read = Tags::new(&frame).unwrap();
        prop_assert_eq!(read.outer().into_iter().chain(read.inner()).collect::<Vec<_>>(), tags);
        prop_assert_eq!(read.ethertype(), EtherType::IPV4);
        let packet = ipv4::Packet::new(read.payload()).unwrap();
        prop_assert!(packet.verify_checksum());
        prop_assert_eq!((packet.source(), packet.destination()), (header.source, header.destination));
        prop_assert_eq!((packet.dscp(), packet.ecn(), packet.ttl()), (dscp, header.ecn, ttl));
        prop_assert_eq!(packet.identification(), identification);
        let read_flags = [packet.reserved_flag(), packet.dont_fragment(), packet.more_fragments()];
        prop_assert_eq!(read_flags, flags);
        prop_assert_eq!(packet.fragment_offset(), header.fragment_offset);
        prop_assert_eq!(packet.header_length(), 20 + header.options.len().next_multiple_of(4));
        prop_assert_eq!(packet.protocol(), Protocol::UDP);
        let datagram = udp::Datagram::new(packet.payload()).unwrap();
        prop_assert_eq!((datagram.source_port(), datagram.destination_port()), ports);
        prop_assert_eq!(datagram.payload(), &data[..]);
        let (source, destination) = (packet.source(), packet.destination());
        let sum = pseudo_header_v4(source, destination, Protocol::UDP, datagram.length());
        prop_assert!(datagram.verify_checksum(sum));
    }

    #[test]
    fn tagged_tcp_over_ipv6_with_extensions(
        tags in tags(),
        (source, destination) in any::<([u8; 16], [u8; 16])>(),
        (ports, numbers, flags, window) in any::<((u16, u16), (u32, u32), u8, u16)>(),
        (flow_label, hop_limit) in (0_u32..1 << 20, any::<u8>()),
        hop_by_hop in prop::option::of(0_usize..40),
        (routing_length, fragment) in (prop::option::of(0_usize..40), any::<Option<(bool, u32)>>()),
        data in data(),
    ) {
        let header = Ipv6 { flow_label, hop_limit, ..Ipv6::new(source.into(), destination.into()) };
        let mut builder = stack(&tags).ipv6(header);
        let mut count = 0;
        // An unknown option of exactly this many bytes, so that every length of padding occurs.
        if let Some(length) = hop_by_hop {
            let mut options = vec![0x1e, length as u8];
            options.resize(2 + length, 0xee);
            builder = builder.extension(Extension::hop_by_hop(&options));
            count += 1;
        }
        if let Some(length) = routing_length {
            builder = builder.extension(Extension::routing(4, 0, &vec![0; length]));
            count += 1;
        }
        if let Some((more, identification)) = fragment {
            builder = builder.extension(Extension::fragment(0, more, identification));
            count += 1;
        }
        let transport = Tcp {
            sequence_number: numbers.0,
            acknowledgment_number: numbers.1,
            flags: Flags(flags),
            window,
            ..Tcp::new(ports.0, ports.1)
        };
        let frame = builder.tcp(transport).payload(&data).build();

        let read = Tags::new(&frame).unwrap();
        prop_assert_eq!(read.ethertype(), EtherType::IPV6);
        let packet = ipv6::Packet::new(read.payload()).unwrap();
        prop_assert_eq!((packet.flow_label(), packet.hop_limit()), (flow_label, hop_limit));
        let upper = packet.upper_layer(count).unwrap();
        prop_assert_eq!(upper.protocol, Protocol::TCP);
        prop_assert_eq!((upper.hop_by_hop, upper.routing), (hop_by_hop.is_some(), routing_length.is_some()));
        let read_fragment = upper.fragment.map(|read| (read.more_fragments, read.identification));
        prop_assert_eq!(read_fragment, fragment);
        if let (Some(length), Some(mut options)) = (hop_by_hop, packet.hop_by_hop_options().unwrap()) {
            prop_assert_eq!(options.next().unwrap().unwrap().data.len(), length);
            prop_assert_eq!(options.next(), None);
        }
        let segment = tcp::Segment::new(upper.payload).unwrap();
        prop_assert_eq!((segment.source_port(), segment.destination_port()), ports);
        prop_assert_eq!((segment.sequence_number(), segment.acknowledgment_number()), numbers);
        prop_assert_eq!((segment.flags(), segment.window()), (Flags(flags), window));
        prop_assert_eq!(segment.payload(), &data[..]);
        let length = upper.payload.len() as u32;
        let sum = pseudo_header_v6(packet.source(), packet.destination(), Protocol::TCP, length);
        prop_assert!(segment.verify_checksum(sum));
    }

    #[test]
    fn neighbour_discovery(target in any::<[u8; 16]>(), mac in any::<[u8; 6]>(), flags in any::<u8>()) {
        let (target, mac) = (target.into(), MacAddress::new(mac));
        let header = Ipv6 { hop_limit: ndp::HOP_LIMIT, ..Ipv6::new(target, target) };
        let bytes = PacketBuilder::new().ipv6(header.clone()).neighbor_solicitation(target, Some(mac)).build();
        prop_assert!(icmpv6::Message::new(&bytes[40..]).unwrap().verify_checksum(target, target));
        let view = ndp::NeighborSolicitation::new(&bytes[40..]).unwrap();
        prop_assert_eq!((view.target_address(), view.source_link_layer_address()), (target, Some(mac)));

        let bytes = PacketBuilder::new().ipv6(header).neighbor_advertisement(target, mac, flags).build();
        prop_assert!(icmpv6::Message::new(&bytes[40..]).unwrap().verify_checksum(target, target));
        let view = ndp::NeighborAdvertisement::new(&bytes[40..]).unwrap();
        prop_assert_eq!((view.target_address(), view.target_link_layer_address()), (target, Some(mac)));
        let read = [view.router(), view.solicited(), view.override_flag()];
        prop_assert_eq!(read, [flags & 0x80 != 0, flags & 0x40 != 0, flags & 0x20 != 0]);
    }
}

#[test]
fn an_icmp_error_quotes_a_packet_inside_a_packet() {
    let address = "2001:db8::1".parse().unwrap();
    let inner = PacketBuilder::new().ipv6(Ipv6::new(address, address)).udp(Udp::new(7, 9)).build();
    let too_big = Icmpv6 { rest_of_header: 1280_u32.to_be_bytes(), ..Icmpv6::new(2, 0) };
    let outer =
        PacketBuilder::new().ipv6(Ipv6::new(address, address)).icmpv6(too_big).payload(&inner);
    let bytes = outer.build();
    let packet = ipv6::Packet::new(&bytes).unwrap();
    let message = icmpv6::Message::new(packet.payload()).unwrap();
    assert!(message.verify_checksum(address, address));
    assert_eq!((message.next_hop_mtu(), message.payload()), (Some(1280), &inner[..]));
}
