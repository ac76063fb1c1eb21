//! Packets to order, right or deliberately broken, for tests, generators and replay.
//!
//! A [`PacketBuilder`] stacks layers from the outside in. Each layer is a plain struct whose public
//! fields are the header's; what follows from the stack (lengths, types, checksums) is worked out
//! when the packet is built, from the inside out. A field of type `Option` overrides such a value
//! and so makes a packet broken in exactly one place.
//!
//! ```
//! use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};
//! use linecard_wire::{MacAddress, ipv4};
//!
//! let source = "192.0.2.1".parse().unwrap();
//! let destination = "198.51.100.1".parse().unwrap();
//! let frame = PacketBuilder::new()
//!     .ethernet(MacAddress::BROADCAST, MacAddress::new([2, 0, 0, 0, 0, 1]))
//!     .ipv4(Ipv4 { ttl: 3, ..Ipv4::new(source, destination) })
//!     .udp(Udp::new(4000, 53))
//!     .payload(b"query")
//!     .build();
//! let packet = ipv4::Packet::new(&frame[14..]).unwrap();
//! assert!(packet.verify_checksum() && packet.ttl() == 3);
//! ```
//!
//! Nothing here is meant for the packet path: it allocates for every layer.

mod link;
mod network;
mod transport;

use core::net::{IpAddr, Ipv6Addr};

pub use link::{Arp, Ethernet, TYPE_EXPERIMENTAL};
pub use network::{Extension, Ipv4, Ipv6, PROTOCOL_EXPERIMENTAL};
pub use transport::{Icmpv4, Icmpv6, Tcp, Udp};

use crate::checksum::{Sum, pseudo_header_v4, pseudo_header_v6};
use crate::ethernet::EtherType;
use crate::ip::Protocol;
use crate::vlan::Tag;
use crate::{MacAddress, ndp};

/// One layer of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Ethernet header.
    Ethernet(Ethernet),
    /// VLAN tag.
    Vlan(Tag),
    /// ARP packet.
    Arp(Arp),
    /// IPv4 header.
    Ipv4(Ipv4),
    /// IPv6 fixed header.
    Ipv6(Ipv6),
    /// IPv6 extension header.
    Extension(Extension),
    /// UDP header.
    Udp(Udp),
    /// TCP header.
    Tcp(Tcp),
    /// ICMP header.
    Icmpv4(Icmpv4),
    /// ICMPv6 header.
    Icmpv6(Icmpv6),
    /// Bytes as they are.
    Payload(Vec<u8>),
}

impl Layer {
    /// The type with which Ethernet or a VLAN tag announces this layer.
    fn ethertype(&self) -> EtherType {
        match self {
            Self::Vlan(tag) => tag.tpid,
            Self::Arp(_) => EtherType::ARP,
            Self::Ipv4(_) => EtherType::IPV4,
            Self::Ipv6(_) => EtherType::IPV6,
            _ => TYPE_EXPERIMENTAL,
        }
    }

    /// The protocol with which IP announces this layer.
    fn protocol(&self) -> Protocol {
        match self {
            Self::Ipv4(_) => Protocol::IPV4,
            Self::Ipv6(_) => Protocol::IPV6,
            Self::Extension(extension) => extension.protocol,
            Self::Udp(_) => Protocol::UDP,
            Self::Tcp(_) => Protocol::TCP,
            Self::Icmpv4(_) => Protocol::ICMPV4,
            Self::Icmpv6(_) => Protocol::ICMPV6,
            _ => PROTOCOL_EXPERIMENTAL,
        }
    }

    fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match self {
            Self::Ipv4(header) => Some((header.source.into(), header.destination.into())),
            Self::Ipv6(header) => Some((header.source.into(), header.destination.into())),
            _ => None,
        }
    }
}

/// A stack of layers, outermost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct PacketBuilder {
    layers: Vec<Layer>,
    length_min: usize,
}

impl PacketBuilder {
    /// An empty stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer inside the others.
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds an Ethernet header, addresses in the order of the wire; the type is that of the next layer.
    pub fn ethernet(self, destination: MacAddress, source: MacAddress) -> Self {
        self.layer(Layer::Ethernet(Ethernet { destination, source, ethertype: None }))
    }

    /// Adds a VLAN tag.
    pub fn vlan(self, tag: Tag) -> Self {
        self.layer(Layer::Vlan(tag))
    }

    /// Adds an ARP packet.
    pub fn arp(self, packet: Arp) -> Self {
        self.layer(Layer::Arp(packet))
    }

    /// Adds an IPv4 header.
    pub fn ipv4(self, header: Ipv4) -> Self {
        self.layer(Layer::Ipv4(header))
    }

    /// Adds an IPv6 header.
    pub fn ipv6(self, header: Ipv6) -> Self {
        self.layer(Layer::Ipv6(header))
    }

    /// Adds an IPv6 extension header.
    pub fn extension(self, header: Extension) -> Self {
        self.layer(Layer::Extension(header))
    }

    /// Adds a UDP header.
    pub fn udp(self, header: Udp) -> Self {
        self.layer(Layer::Udp(header))
    }

    /// Adds a TCP header.
    pub fn tcp(self, header: Tcp) -> Self {
        self.layer(Layer::Tcp(header))
    }

    /// Adds an ICMP header.
    pub fn icmpv4(self, header: Icmpv4) -> Self {
        self.layer(Layer::Icmpv4(header))
    }

    /// Adds an ICMPv6 header.
    pub fn icmpv6(self, header: Icmpv6) -> Self {
        self.layer(Layer::Icmpv6(header))
    }

    /// Adds a whole neighbour solicitation (RFC 4861 §4.3), without the option if there is no
    /// `source_mac`. The caller's IPv6 header needs hop limit 255.
    pub fn neighbor_solicitation(self, target: Ipv6Addr, source_mac: Option<MacAddress>) -> Self {
        let option = source_mac.map(|mac| (ndp::OPTION_SOURCE_LINK_LAYER_ADDRESS, mac));
        self.icmpv6(Icmpv6::new(135, 0)).payload(&neighbor_body(target, option))
    }

    /// Adds a whole neighbour advertisement (RFC 4861 §4.4); `flags` is the byte with R, S and O
    /// (0x80, 0x40, 0x20). The caller's IPv6 header needs hop limit 255.
    pub fn neighbor_advertisement(
        self,
        target: Ipv6Addr,
        target_mac: MacAddress,
        flags: u8,
    ) -> Self {
        let option = (ndp::OPTION_TARGET_LINK_LAYER_ADDRESS, target_mac);
        let header = Icmpv6 { rest_of_header: [flags, 0, 0, 0], ..Icmpv6::new(136, 0) };
        self.icmpv6(header).payload(&neighbor_body(target, Some(option)))
    }

    /// Adds bytes as they are.
    pub fn payload(self, bytes: &[u8]) -> Self {
        self.layer(Layer::Payload(bytes.to_vec()))
    }

    /// Fills the finished packet with zeroes up to `length_min` bytes, which no length field counts:
    /// Ethernet's padding.
    pub fn pad_to(mut self, length_min: usize) -> Self {
        self.length_min = length_min;
        self
    }

    /// The packet's bytes. A layer longer than its length field can say states the field's maximum.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let outer = self.layers[..index].iter().rev().find_map(Layer::addresses);
            let mut bytes = emit(layer, self.layers.get(index + 1), outer, &body);
            bytes.append(&mut body);
            body = bytes;
        }
        if body.len() < self.length_min {
            body.resize(self.length_min, 0);
        }
        body
    }
}

/// The header of `layer`, which carries `body` and stands inside an IP header with these addresses.
fn emit(
    layer: &Layer,
    inner: Option<&Layer>,
    addresses: Option<(IpAddr, IpAddr)>,
    body: &[u8],
) -> Vec<u8> {
    let ethertype = inner.map_or(TYPE_EXPERIMENTAL, Layer::ethertype);
    let protocol = inner.map_or(PROTOCOL_EXPERIMENTAL, Layer::protocol);
    let pseudo_header = |header_length: usize| {
        pseudo_header(addresses, layer.protocol(), header_length + body.len())
    };
    match layer {
        Layer::Ethernet(header) => header.emit(ethertype),
        Layer::Vlan(tag) => link::emit_tag(*tag, ethertype),
        Layer::Arp(packet) => packet.emit(),
        Layer::Ipv4(header) => header.emit(protocol, body.len()),
        Layer::Ipv6(header) => header.emit(protocol, body.len()),
        Layer::Extension(header) => header.emit(protocol),
        Layer::Udp(header) => header.emit(pseudo_header(8), body),
        Layer::Tcp(header) => header.emit(pseudo_header(header.length()), body),
        Layer::Icmpv4(header) => header.emit(body),
        Layer::Icmpv6(header) => header.emit(pseudo_header(8), body),
        Layer::Payload(bytes) => bytes.clone(),
    }
}

fn pseudo_header(addresses: Option<(IpAddr, IpAddr)>, protocol: Protocol, length: usize) -> Sum {
    match addresses {
        Some((IpAddr::V4(source), IpAddr::V4(destination))) => {
            pseudo_header_v4(source, destination, protocol, length_u16(length))
        }
        Some((IpAddr::V6(source), IpAddr::V6(destination))) => {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            pseudo_header_v6(source, destination, protocol, length)
        }
        _ => Sum::new(),
    }
}

fn neighbor_body(target: Ipv6Addr, option: Option<(u8, MacAddress)>) -> Vec<u8> {
    let mut body = target.octets().to_vec();
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac.octets());
    }
    body
}

/// A length as far as its field can say it.
fn length_u16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
