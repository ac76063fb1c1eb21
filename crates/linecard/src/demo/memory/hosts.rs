//! The packets of the client and the server: as they are sent, and as a router must send them on.

use std::net::{Ipv4Addr, Ipv6Addr};

use linecard_wire::MacAddress;
use linecard_wire::builder::{Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Udp};

pub(super) const CLIENT_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub(super) const SERVER_IPV4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const CLIENT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
const SERVER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1);

/// As hosts send them.
pub(super) const TTL: u8 = 64;
const PAYLOAD: &[u8] = b"0123456789 abcdefghijklmnopqrstuvwxyz";

/// What changes from link to link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) to: MacAddress,
    pub(super) from: MacAddress,
    /// TTL or hop limit.
    pub(super) ttl: u8,
}

impl Link {
    fn ethernet(&self) -> PacketBuilder {
        PacketBuilder::new().ethernet(self.to, self.from)
    }
}

/// An echo request to the server, or the reply to it.
pub(super) fn echo(link: Link, ipv6: bool, reply: bool, number: u16) -> Vec<u8> {
    let packet = if ipv6 {
        let (source, destination) = ends(CLIENT_IPV6, SERVER_IPV6, reply);
        let header = Ipv6 { hop_limit: link.ttl, ..Ipv6::new(source, destination) };
        let message = if reply { Icmpv6::echo_reply } else { Icmpv6::echo_request };
        link.ethernet().ipv6(header).icmpv6(message(1, number))
    } else {
        let (source, destination) = ends(CLIENT_IPV4, SERVER_IPV4, reply);
        let header = Ipv4 { ttl: link.ttl, ..Ipv4::new(source, destination) };
        let message = if reply { Icmpv4::echo_reply } else { Icmpv4::echo_request };
        link.ethernet().ipv4(header).icmpv4(message(1, number))
    };
    packet.payload(PAYLOAD).build()
}

/// A UDP datagram of the client's whose IP packet has `bytes`, 64 or more.
pub(super) fn datagram(link: Link, ipv6: bool, source_port: u16, bytes: usize) -> Vec<u8> {
    let (packet, headers) = if ipv6 {
        let header = Ipv6 { hop_limit: link.ttl, ..Ipv6::new(CLIENT_IPV6, SERVER_IPV6) };
        (link.ethernet().ipv6(header), 48)
    } else {
        let ttl = link.ttl;
        let header = Ipv4 { ttl, dont_fragment: true, ..Ipv4::new(CLIENT_IPV4, SERVER_IPV4) };
        (link.ethernet().ipv4(header), 28)
    };
    packet.udp(Udp::new(source_port, 9)).payload(&vec![0; bytes - headers]).build()
}

/// Source and destination.
fn ends<A>(client: A, server: A, reply: bool) -> (A, A) {
    if reply { (server, client) } else { (client, server) }
}
