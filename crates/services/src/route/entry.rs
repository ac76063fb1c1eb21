//! The entries of the route tables as the packet path reads them: adjacencies, the rewrite that follows
//! from each, interfaces, and the key by which an incoming frame finds its interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linecard_packet::{InterfaceId, Layer3, Metadata, PortId};
use linecard_wire::MacAddress;

use super::Interface;

/// VLAN tags of an interface at the most.
pub const TAGS_MAX: usize = 2;

/// An adjacency as the packet path reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdjacencyEntry {
    pub(super) interface: InterfaceId,
    pub(super) mac_address: Option<MacAddress>,
    pub(super) address: IpAddr,
}

/// The front of a packet: two MAC addresses and the tags.
const HEADER_BYTES_MAX: usize = 12 + TAGS_MAX * 4;

/// What becomes of the front of a packet that leaves by an adjacency, and where it leaves.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Rewrite {
    header: [u8; HEADER_BYTES_MAX],
    header_length: u8,
    /// Network-layer packets up to this length leave; 0 when none can.
    pub(super) length_max: u16,
    pub(super) port: PortId,
}

impl Rewrite {
    /// Nothing leaves this way: adjacency or interface is missing or down, or the neighbour unresolved.
    pub(super) const NOT_READY: Self = Self {
        header: [0; HEADER_BYTES_MAX],
        header_length: 0,
        length_max: 0,
        port: PortId(u16::MAX),
    };

    /// The way out through a neighbour, if it is known.
    pub(super) fn new(adjacency: &AdjacencyEntry, interface: Option<&InterfaceEntry>) -> Self {
        let (Some(interface), Some(destination)) = (interface, adjacency.mac_address) else {
            return Self::NOT_READY;
        };
        if !interface.up {
            return Self::NOT_READY;
        }
        let tags = interface.tags();
        let mut header = [0; HEADER_BYTES_MAX];
        header[..6].copy_from_slice(&destination.octets());
        header[6..12].copy_from_slice(&interface.mac_address.octets());
        header[12..12 + tags.len()].copy_from_slice(tags);
        Self {
            header,
            header_length: 12 + tags.len() as u8,
            // No packet is longer than its 16-bit length field can say.
            length_max: u16::try_from(interface.mtu_bytes).unwrap_or(u16::MAX),
            port: interface.port,
        }
    }

    /// MAC addresses and tags, in front of the EtherType: 12, 16 or 20 bytes.
    #[inline]
    pub(super) fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_length)]
    }

    /// The MAC addresses, when there are no tags.
    #[inline]
    pub(super) fn untagged(&self) -> Option<&[u8; 12]> {
        if self.header_length == 12 { self.header.first_chunk() } else { None }
    }
}

/// An interface as the packet path reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct InterfaceEntry {
    pub(super) port: PortId,
    pub(super) mac_address: MacAddress,
    pub(super) mtu_bytes: u32,
    pub(super) up: bool,
    pub(super) forwarding_ipv4: bool,
    pub(super) forwarding_ipv6: bool,
    pub(super) own_ipv4: Option<Ipv4Addr>,
    pub(super) own_ipv6: Option<Ipv6Addr>,
    tags: [u8; TAGS_MAX * 4],
    tags_length: u8,
    pub(super) key: InterfaceKey,
}

/// The router's end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnEnd {
    /// The interface's MAC address.
    pub mac_address: MacAddress,
    /// Bytes of the largest network-layer packet that it sends.
    pub mtu_bytes: u32,
    /// The IPv4 address to send from.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address to send from.
    pub ipv6: Option<Ipv6Addr>,
}

impl InterfaceEntry {
    /// `None` when the interface has more tags than [`TAGS_MAX`].
    pub(super) fn new(interface: &Interface) -> Option<Self> {
        let mut tags = [0; TAGS_MAX * 4];
        if interface.vlans.len() > TAGS_MAX {
            return None;
        }
        for (bytes, (tpid, vlan_id)) in tags.chunks_exact_mut(4).zip(&interface.vlans) {
            bytes[..2].copy_from_slice(&tpid.to_be_bytes());
            // 802.1p: a tag that is put on has priority 0, as a Linux VLAN device without an
            // egress-qos-map gives it.
            bytes[2..].copy_from_slice(&(vlan_id & 0x0fff).to_be_bytes());
        }
        Some(Self {
            port: interface.port,
            mac_address: interface.mac_address,
            mtu_bytes: interface.mtu_bytes,
            up: interface.up,
            forwarding_ipv4: interface.forwarding_ipv4,
            forwarding_ipv6: interface.forwarding_ipv6,
            own_ipv4: interface.own_ipv4,
            own_ipv6: interface.own_ipv6,
            tags,
            tags_length: interface.vlans.len() as u8 * 4,
            key: InterfaceKey::new(interface.port, interface.vlans.iter().copied()),
        })
    }

    /// The tags that a frame carries here, as bytes.
    pub(super) fn tags(&self) -> &[u8] {
        &self.tags[..usize::from(self.tags_length)]
    }

    pub(super) fn forwards(&self, layer3: Layer3) -> bool {
        match layer3 {
            Layer3::Ipv4 => self.forwarding_ipv4,
            Layer3::Ipv6 => self.forwarding_ipv6,
            Layer3::Other => false,
        }
    }
}

/// Port and tags in one number: what an incoming frame is matched on. Priority bits are left out,
/// and a tag of VLAN 0 counts as none (802.1Q clause 9.6: it says a priority only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct InterfaceKey(u64);

impl InterfaceKey {
    pub(super) fn new(port: PortId, tags: impl Iterator<Item = (u16, u16)>) -> Self {
        let mut key = u64::from(port.0);
        for (tpid, vlan_id) in tags {
            key = key << 24 | u64::from(tpid & 0xfff0) << 8 | u64::from(vlan_id & 0x0fff);
        }
        Self(key)
    }

    #[inline]
    pub(super) fn of(metadata: &Metadata) -> Self {
        if metadata.vlan_tpid == [0; 2] {
            return Self(u64::from(metadata.in_port.0));
        }
        let tags = metadata.vlan_tpid.into_iter().zip(metadata.vlan_tci);
        let present = |&(tpid, tci): &(u16, u16)| tpid != 0 && tci & 0x0fff != 0;
        Self::new(metadata.in_port, tags.filter(present))
    }
}
