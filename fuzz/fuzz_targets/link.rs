//! Ethernet frames and their VLAN tags: every getter, and edits that must undo each other.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use linecard_wire::ethernet::{self, Frame};
use linecard_wire::vlan::{self, Tags};

fn read_frame(bytes: &[u8]) {
    let Ok(frame) = Frame::new(bytes) else {
        assert!(bytes.len() < ethernet::HEADER_LENGTH);
        return;
    };
    assert_eq!(frame.payload().len() + ethernet::HEADER_LENGTH, bytes.len());
    black_box((frame.ethertype().is_vlan(), frame.ethertype().is_length()));
    for address in [frame.destination(), frame.source()] {
        assert_eq!(address.to_string().parse(), Ok(address));
        assert!(!(address.is_unicast() && address.is_multicast()));
        black_box((address.is_broadcast(), address.is_locally_administered()));
    }
}

fn read_tags(bytes: &[u8]) {
    let Ok(tags) = Tags::new(bytes) else { return };
    assert_eq!(tags.payload_offset() + tags.payload().len(), bytes.len());
    assert!(tags.outer().is_some() || tags.inner().is_none());
    for tag in [tags.outer(), tags.inner()].into_iter().flatten() {
        let vlan::Tci(bits) = tag.tci;
        let (priority, eligible) = (tag.tci.priority(), tag.tci.drop_eligible());
        assert_eq!(vlan::Tci::new(priority, eligible, tag.tci.vlan_id()).0, bits);
    }
    black_box(tags.ethertype());
}

fn edit(bytes: &[u8]) {
    let mut frame = bytes.to_vec();
    if let Ok(tag) = vlan::pop_tag(&mut frame) {
        // A cut-off inner tag makes the view refuse the frame; the outer one comes off all the same.
        assert!(Tags::new(bytes).is_ok_and(|tags| tags.outer() == Some(tag)) || bytes.len() < 22);
        vlan::push_tag(&mut frame, tag).expect("a frame that had a tag has room for it");
    }
    assert_eq!(frame, bytes);
    let Ok(view) = Frame::new(bytes) else { return };
    let swapped = ethernet::set_addresses(&mut frame, view.source(), view.destination());
    let restored = ethernet::set_destination(&mut frame, view.destination())
        .and(ethernet::set_source(&mut frame, view.source()))
        .and(ethernet::set_ethertype(&mut frame, view.ethertype()));
    assert_eq!((swapped, restored), (Ok(()), Ok(())));
    assert_eq!(frame, bytes);
}

fuzz_target!(|bytes: &[u8]| {
    read_frame(bytes);
    read_tags(bytes);
    edit(bytes);
});
