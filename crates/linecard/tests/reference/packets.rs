//! Pieces that the corpora are built of.

use std::net::{Ipv4Addr, Ipv6Addr};

use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};

use super::bed::Side;

/// An Ethernet header to the router, from the host of `side`.
pub(crate) fn to_router(side: Side) -> PacketBuilder {
    PacketBuilder::new().ethernet(side.router_mac(), side.host_mac())
}

/// A header between these addresses.
pub(crate) fn v4(source: &str, destination: &str) -> Ipv4 {
    let address = |text: &str| text.parse::<Ipv4Addr>().expect("an IPv4 address");
    Ipv4 { identification: 0x1234, ..Ipv4::new(address(source), address(destination)) }
}

/// A header between these addresses.
pub(crate) fn v6(source: &str, destination: &str) -> Ipv6 {
    let address = |text: &str| text.parse::<Ipv6Addr>().expect("an IPv6 address");
    Ipv6 { flow_label: 0xabcde, ..Ipv6::new(address(source), address(destination)) }
}

/// From the host on west to somewhere behind east.
pub(crate) fn transit4() -> Ipv4 {
    v4("192.0.2.2", "20.0.0.1")
}

/// From the host on west to somewhere behind east.
pub(crate) fn transit6() -> Ipv6 {
    v6("2001:db8:1::2", "2001:db8:20::1")
}

/// The payload that most packets carry: of an odd length.
pub(crate) const PAYLOAD: &[u8] = b"the same bytes on both sides!";

/// With a UDP datagram inside.
pub(crate) fn udp(packet: PacketBuilder) -> PacketBuilder {
    packet.udp(Udp::new(4000, 53)).payload(PAYLOAD)
}

/// A frame from west.
pub(crate) fn in4(header: Ipv4) -> Vec<u8> {
    udp(to_router(Side::West).ipv4(header)).build()
}

/// A frame from west.
pub(crate) fn in6(header: Ipv6) -> Vec<u8> {
    udp(to_router(Side::West).ipv6(header)).build()
}

/// The frame cut off after `length` bytes.
pub(crate) fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    assert!(frame.len() > length, "nothing is cut off");
    frame.truncate(length);
    frame
}

/// The frame with other bytes from `at` on.
pub(crate) fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// The frame with more bytes behind it.
pub(crate) fn padded(mut frame: Vec<u8>, padding: &[u8]) -> Vec<u8> {
    frame.extend_from_slice(padding);
    frame
}
