//! In-place edits: what they change, what they leave, and that the checksum stays exactly what a
//! whole computation gives.

use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder};
use linecard_wire::ip::Ecn;
use linecard_wire::{Malformed, ipv4, ipv6};
use proptest::prelude::*;

const ECNS: [Ecn; 4] = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce];

fn ipv4_header() -> impl Strategy<Value = Ipv4> {
    let fields = (any::<[u8; 4]>(), any::<[u8; 4]>(), any::<u8>(), 0_u8..64, any::<u16>());
    let more = (any::<u16>(), prop::collection::vec(any::<u8>(), 0..=40));
    (fields, more).prop_map(
        |((source, destination, ttl, dscp, identification), (offset, options))| {
            let addresses = Ipv4::new(source.into(), destination.into());
            Ipv4 { ttl, dscp, identification, fragment_offset: offset, options, ..addresses }
        },
    )
}

/// The packet after `edit`, which must equal the one built with the changed header from scratch.
fn check_edit(before: &Ipv4, after: &Ipv4, edit: impl FnOnce(&mut [u8])) {
    let build = |header: &Ipv4| PacketBuilder::new().ipv4(header.clone()).payload(b"data").build();
    let mut bytes = build(before);
    edit(&mut bytes);
    assert_eq!(bytes, build(after));
}

#[test]
fn every_ttl_and_checksum_goes_down_as_if_computed_anew() {
    // All 65,536 identifications let the checksum take every value that it can have, the corner of
    // RFC 1624 section 3 included.
    for ttl in [1, 2, 64, 128, 255] {
        for identification in 0..=u16::MAX {
            let mut header = [0; 20];
            header[0] = 0x45;
            header[4..6].copy_from_slice(&identification.to_be_bytes());
            header[8] = ttl;
            ipv4::fill_checksum(&mut header).unwrap();
            ipv4::decrement_ttl(&mut header).unwrap();
            let incremental = header;
            ipv4::fill_checksum(&mut header).unwrap();
            assert_eq!(incremental, header, "TTL {ttl}, identification {identification}");
        }
    }
}

#[test]
fn a_ttl_or_hop_limit_of_zero_stays() {
    let header = Ipv4 { ttl: 0, ..Ipv4::new([1; 4].into(), [2; 4].into()) };
    let mut bytes = PacketBuilder::new().ipv4(header).build();
    let before = bytes.clone();
    assert_eq!(ipv4::decrement_ttl(&mut bytes), Ok(0));
    assert_eq!(bytes, before);
    let mut bytes = [0; 40];
    assert_eq!(ipv6::decrement_hop_limit(&mut bytes), Ok(0));
}

#[test]
fn a_wrong_checksum_stays_wrong() {
    // Else a router would hide a corrupt header from the next one (RFC 1624 section 5).
    let header = Ipv4 { checksum: Some(0x1111), ..Ipv4::new([1; 4].into(), [2; 4].into()) };
    let mut bytes = PacketBuilder::new().ipv4(header).build();
    ipv4::decrement_ttl(&mut bytes).unwrap();
    assert!(!ipv4::Packet::new(&bytes).unwrap().verify_checksum());
}

#[test]
fn a_short_slice_is_refused() {
    let bytes = &mut [0x45; 39];
    assert_eq!(ipv4::decrement_ttl(&mut bytes[..19]), Err(Malformed::Truncated));
    assert_eq!(ipv4::set_dscp(&mut bytes[..19], 1), Err(Malformed::Truncated));
    assert_eq!(ipv4::fill_checksum(&mut bytes[..19]), Err(Malformed::Truncated));
    assert_eq!(ipv6::decrement_hop_limit(bytes), Err(Malformed::Truncated));
    assert_eq!(ipv6::set_ecn(bytes, Ecn::Ce), Err(Malformed::Truncated));
    assert_eq!(bytes, &[0x45; 39]);
}

proptest! {
    #[test]
    fn ipv4_edits_equal_building_anew(header in ipv4_header(), value in any::<u8>()) {
        if let Some(ttl) = header.ttl.checked_sub(1) {
            check_edit(&header, &Ipv4 { ttl, ..header.clone() }, |bytes| {
                assert_eq!(ipv4::decrement_ttl(bytes), Ok(ttl));
            });
        }
        check_edit(&header, &Ipv4 { ttl: value, ..header.clone() }, |bytes| {
            ipv4::set_ttl(bytes, value).unwrap();
        });
        check_edit(&header, &Ipv4 { dscp: value >> 2, ..header.clone() }, |bytes| {
            ipv4::set_dscp(bytes, value >> 2).unwrap();
        });
        let ecn = ECNS[usize::from(value & 3)];
        check_edit(&header, &Ipv4 { ecn, ..header.clone() }, |bytes| {
            ipv4::set_ecn(bytes, ecn).unwrap();
        });
    }

    #[test]
    fn ipv6_edits_equal_building_anew(
        dscp in 0_u8..64,
        flow_label in 0_u32..1 << 20,
        hop_limit in 1_u8..=255,
        value in any::<u8>(),
    ) {
        let address = "2001:db8::1".parse().unwrap();
        let header = Ipv6 { dscp, flow_label, hop_limit, ..Ipv6::new(address, address) };
        let build = |header: &Ipv6| PacketBuilder::new().ipv6(header.clone()).build();
        let mut bytes = build(&header);
        prop_assert_eq!(ipv6::decrement_hop_limit(&mut bytes), Ok(hop_limit - 1));
        ipv6::set_dscp(&mut bytes, value >> 2).unwrap();
        let ecn = ECNS[usize::from(value & 3)];
        ipv6::set_ecn(&mut bytes, ecn).unwrap();
        let after = Ipv6 { dscp: value >> 2, ecn, hop_limit: hop_limit - 1, ..header };
        prop_assert_eq!(&bytes, &build(&after));
        ipv6::set_hop_limit(&mut bytes, value).unwrap();
        prop_assert_eq!(bytes, build(&Ipv6 { hop_limit: value, ..after }));
    }
}
