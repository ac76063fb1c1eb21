//! IPv4 packets: every getter, options to their end, and edits that keep the checksum right.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use linecard_wire::ipv4::{self, Packet};

fn read(packet: &Packet<'_>, bytes: &[u8]) {
    let total = usize::from(packet.total_length());
    assert_eq!(packet.header_length() + packet.payload().len(), total);
    assert!(total <= bytes.len());
    assert_eq!(packet.has_options(), packet.header_length() > 20);
    assert_eq!(packet.traffic_class(), packet.dscp() << 2 | packet.ecn().bits());
    assert_eq!(packet.is_fragment(), packet.more_fragments() || packet.fragment_offset() > 0);
    let data: usize = packet.options().flatten().map(|option| option.data.len() + 2).sum();
    assert!(data <= packet.header_length() - 20);
    black_box((packet.identification(), packet.reserved_flag(), packet.dont_fragment()));
    black_box((packet.ttl(), packet.protocol(), packet.checksum(), packet.has_router_alert()));
    black_box((packet.source(), packet.destination(), packet.ecn().is_capable()));
}

/// Whether the header checksum of `bytes` is right.
fn verified(bytes: &[u8]) -> bool {
    Packet::new(bytes).is_ok_and(|packet| packet.verify_checksum())
}

fn edit(packet: &Packet<'_>, bytes: &[u8]) {
    let mut edited = bytes.to_vec();
    assert_eq!(ipv4::fill_checksum(&mut edited), Ok(()));
    assert!(verified(&edited));
    assert_eq!(ipv4::decrement_ttl(&mut edited), Ok(packet.ttl().saturating_sub(1)));
    assert!(verified(&edited));
    assert_eq!(ipv4::set_ttl(&mut edited, packet.ttl()), Ok(()));
    assert_eq!(ipv4::set_dscp(&mut edited, !packet.dscp()), Ok(()));
    assert_eq!(ipv4::set_ecn(&mut edited, packet.ecn()), Ok(()));
    assert!(verified(&edited));
    assert_eq!(ipv4::set_dscp(&mut edited, packet.dscp()), Ok(()));
    assert_eq!(ipv4::set_checksum(&mut edited, packet.checksum()), Ok(()));
    assert_eq!(edited, bytes);
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::new(bytes) {
        read(&packet, bytes);
        edit(&packet, bytes);
        return;
    }
    // Setters look at lengths themselves: a packet that no view accepts must not make them panic.
    let mut refused = bytes.to_vec();
    let edits = [
        ipv4::fill_checksum(&mut refused),
        ipv4::decrement_ttl(&mut refused).map(drop),
        ipv4::set_ttl(&mut refused, 1),
        ipv4::set_dscp(&mut refused, 1),
    ];
    assert!(bytes.len() >= ipv4::HEADER_LENGTH_MIN || edits.iter().all(Result::is_err));
});
