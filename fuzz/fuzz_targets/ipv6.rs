//! IPv6 packets: every getter, the chain of extension headers and their options to the end.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use linecard_wire::ip::Protocol;
use linecard_wire::ipv6::{self, Packet};
use linecard_wire::ipv6_extension::Header;

const HEADERS_MAX: usize = 8;

fn read(packet: &Packet<'_>, bytes: &[u8]) {
    assert_eq!(packet.payload().len(), usize::from(packet.payload_length()));
    assert!(packet.total_length() <= bytes.len());
    assert_eq!(packet.traffic_class(), packet.dscp() << 2 | packet.ecn().bits());
    assert!(packet.flow_label() < 1 << 20);
    black_box((packet.hop_limit(), packet.source(), packet.destination()));
    if let Ok(Some(options)) = packet.hop_by_hop_options() {
        black_box(options.count());
    }
    let Ok(upper) = packet.upper_layer(HEADERS_MAX) else { return };
    assert_eq!(upper.offset + upper.payload.len(), packet.payload().len());
    let first = packet.next_header();
    assert!(!upper.hop_by_hop || first == Protocol::HOP_BY_HOP);
    assert_eq!(upper.has_header(), upper.fragment.is_none_or(|fragment| fragment.is_first()));
    black_box((upper.protocol, upper.routing, upper.fragment.is_some_and(|f| f.is_atomic())));
}

/// Walks the chain by hand, so that every header is read, also in a chain that is refused.
fn walk(packet: &Packet<'_>) {
    let (mut kind, mut rest) = (packet.next_header(), packet.payload());
    while let Ok(header) = Header::new(kind, rest) {
        assert_eq!(header.bytes().len() + header.behind().len(), rest.len());
        assert_eq!(header.protocol(), kind);
        let data: usize = header.options().flatten().map(|option| option.data.len() + 2).sum();
        assert!(data <= header.bytes().len());
        assert!(header.fragment().is_none_or(|fragment| fragment.offset % 8 == 0));
        black_box(header.routing());
        (kind, rest) = (header.next_header(), header.behind());
    }
}

fn edit(packet: &Packet<'_>, bytes: &[u8]) {
    let mut edited = bytes.to_vec();
    let left = packet.hop_limit().saturating_sub(1);
    assert_eq!(ipv6::decrement_hop_limit(&mut edited), Ok(left));
    assert_eq!(ipv6::set_dscp(&mut edited, !packet.dscp()), Ok(()));
    assert_eq!(ipv6::set_ecn(&mut edited, packet.ecn()), Ok(()));
    assert_eq!(Packet::new(&edited).map(|edited| edited.flow_label()), Ok(packet.flow_label()));
    assert_eq!(ipv6::set_dscp(&mut edited, packet.dscp()), Ok(()));
    assert_eq!(ipv6::set_hop_limit(&mut edited, packet.hop_limit()), Ok(()));
    assert_eq!(edited, bytes);
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::new(bytes) {
        read(&packet, bytes);
        walk(&packet);
        edit(&packet, bytes);
    }
});
