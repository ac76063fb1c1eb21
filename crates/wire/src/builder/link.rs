//! Layers of the link: Ethernet, VLAN tag, ARP.

use core::net::Ipv4Addr;

use crate::arp::{HARDWARE_TYPE_ETHERNET, Operation};
use crate::ethernet::EtherType;
use crate::vlan::Tag;
use crate::{MacAddress, arp};

/// The type of a frame whose payload is bare bytes: IEEE 802's first "local experimental" one.
pub const TYPE_EXPERIMENTAL: EtherType = EtherType(0x88b5);

/// An Ethernet header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ethernet {
    /// Destination address.
    pub destination: MacAddress,
    /// Source address.
    pub source: MacAddress,
    /// Overrides the type that the next layer implies.
    pub ethertype: Option<EtherType>,
}

impl Ethernet {
    pub(super) fn emit(&self, ethertype: EtherType) -> Vec<u8> {
        let mut bytes = self.destination.octets().to_vec();
        bytes.extend(self.source.octets());
        bytes.extend(self.ethertype.unwrap_or(ethertype).0.to_be_bytes());
        bytes
    }
}

/// Behind the addresses comes the tag's TPID as the type, so a tag adds its TCI and the next type.
pub(super) fn emit_tag(tag: Tag, ethertype: EtherType) -> Vec<u8> {
    [tag.tci.0.to_be_bytes(), ethertype.0.to_be_bytes()].concat()
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// The sender's MAC address.
    pub sender_mac: MacAddress,
    /// The sender's IPv4 address.
    pub sender_address: Ipv4Addr,
    /// The target's MAC address; zero in a request.
    pub target_mac: MacAddress,
    /// The target's IPv4 address.
    pub target_address: Ipv4Addr,
}

impl Arp {
    /// "Who has `target`? Tell `sender`."
    pub const fn request(
        sender_mac: MacAddress,
        sender_address: Ipv4Addr,
        target_address: Ipv4Addr,
    ) -> Self {
        let target_mac = MacAddress::ZERO;
        let operation = Operation::REQUEST;
        Self { operation, sender_mac, sender_address, target_mac, target_address }
    }

    pub(super) fn emit(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(arp::PACKET_LENGTH);
        bytes.extend(HARDWARE_TYPE_ETHERNET.to_be_bytes());
        bytes.extend(EtherType::IPV4.0.to_be_bytes());
        bytes.extend([6, 4]);
        bytes.extend(self.operation.0.to_be_bytes());
        bytes.extend(self.sender_mac.octets());
        bytes.extend(self.sender_address.octets());
        bytes.extend(self.target_mac.octets());
        bytes.extend(self.target_address.octets());
        bytes
    }
}
