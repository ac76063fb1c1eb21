//! ARP and neighbour discovery: every getter of each message, and the options to their end.

#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use linecard_wire::arp;
use linecard_wire::ndp::{self, NeighborAdvertisement, NeighborSolicitation, RouterAdvertisement};

/// A view that was made has well-formed options only, which together are no longer than it.
fn read_options(options: ndp::Options<'_>, bytes: &[u8]) {
    let mut length = 0;
    for option in options {
        let option = option.expect("the view has checked every option's length");
        length += option.data.len() + 2;
        black_box(option.kind);
    }
    assert!(length <= bytes.len());
    assert_eq!(length % 8, 0);
}

fn read_ndp(bytes: &[u8]) {
    if let Ok(message) = NeighborSolicitation::new(bytes) {
        read_options(message.options(), bytes);
        black_box((message.target_address(), message.source_link_layer_address()));
    }
    if let Ok(message) = NeighborAdvertisement::new(bytes) {
        read_options(message.options(), bytes);
        black_box((message.target_address(), message.target_link_layer_address()));
        black_box((message.router(), message.solicited(), message.override_flag()));
    }
    if let Ok(message) = RouterAdvertisement::new(bytes) {
        read_options(message.options(), bytes);
        black_box((message.current_hop_limit(), message.router_lifetime_seconds()));
        black_box(message.source_link_layer_address());
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = arp::Packet::new(bytes) {
        assert!(bytes.len() >= arp::PACKET_LENGTH);
        assert_eq!(packet.is_gratuitous(), packet.sender_address() == packet.target_address());
        black_box((packet.operation(), packet.sender_mac(), packet.target_mac()));
    }
    read_ndp(bytes);
});
