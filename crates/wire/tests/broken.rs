//! One thing wrong at a time: the builder's overrides, and what the views say to them.

use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::{Malformed, ipv4, ipv6, tcp, udp};

fn ipv4_error(change: impl FnOnce(&mut Ipv4)) -> Option<Malformed> {
    let mut header = Ipv4::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    change(&mut header);
    let bytes = PacketBuilder::new().ipv4(header).udp(Udp::new(1, 2)).build();
    ipv4::Packet::new(&bytes).err()
}

#[test]
fn ipv4_length_and_version_fields() {
    assert_eq!(ipv4_error(|_| {}), None);
    assert_eq!(ipv4_error(|header| header.version = Some(6)), Some(Malformed::BadVersion));
    assert_eq!(ipv4_error(|header| header.ihl = Some(4)), Some(Malformed::BadHeaderLength));
    assert_eq!(ipv4_error(|header| header.ihl = Some(15)), Some(Malformed::BadTotalLength));
    let total = |length| ipv4_error(|header| header.total_length = Some(length));
    assert_eq!(total(19), Some(Malformed::BadTotalLength));
    assert_eq!(total(29), Some(Malformed::Truncated));
    assert_eq!(total(20), None);
    assert_eq!(ipv4_error(|header| header.checksum = Some(0)), None, "verified on request only");
}

#[test]
fn a_wrong_ipv4_checksum_is_told_on_request() {
    let right = Ipv4::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let verify = |header: Ipv4| {
        let bytes = PacketBuilder::new().ipv4(header).build();
        ipv4::Packet::new(&bytes).unwrap().verify_checksum()
    };
    assert!(verify(right.clone()));
    assert!(!verify(Ipv4 { checksum: Some(0x1234), ..right }));
}

#[test]
fn ipv6_length_and_version_fields() {
    let address = "2001:db8::1".parse().unwrap();
    let error = |header: Ipv6| {
        let bytes = PacketBuilder::new().ipv6(header).udp(Udp::new(1, 2)).build();
        ipv6::Packet::new(&bytes).err()
    };
    let right = Ipv6::new(address, address);
    assert_eq!(error(right.clone()), None);
    assert_eq!(error(Ipv6 { version: Some(4), ..right.clone() }), Some(Malformed::BadVersion));
    let long = Ipv6 { payload_length: Some(9), ..right };
    assert_eq!(error(long), Some(Malformed::Truncated));
}

#[test]
fn transport_length_fields() {
    let short = Udp { length: Some(7), ..Udp::new(1, 2) };
    let bytes = PacketBuilder::new().udp(short).build();
    assert_eq!(udp::Datagram::new(&bytes), Err(Malformed::BadTotalLength));
    let shallow = Tcp { data_offset: Some(4), ..Tcp::new(1, 2) };
    let bytes = PacketBuilder::new().tcp(shallow).build();
    assert_eq!(tcp::Segment::new(&bytes), Err(Malformed::BadHeaderLength));
}

#[test]
fn padding_belongs_to_no_header() {
    let header = Ipv4::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let bytes = PacketBuilder::new().ipv4(header).payload(b"x").pad_to(46).build();
    assert_eq!(bytes.len(), 46);
    assert_eq!(ipv4::Packet::new(&bytes).unwrap().payload(), b"x");
}
