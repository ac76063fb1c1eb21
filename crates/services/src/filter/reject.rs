//! What the sender of a rejected packet is told: "communication administratively prohibited", by ICMP.
//!
//! The reply is made in the rejected packet's own frame: two headers grow into the headroom in front of it, and
//! what is too much is cut off behind. So a flood that is rejected takes no packet memory, and copies nothing.
//!
//! Nobody is told about what RFC 1122 3.2.2, RFC 1812 4.3.2.7 and RFC 4443 2.4 (e) name: ICMP errors, fragments but the
//! first, and packets to or from what is no single host; nor about frames that are not for the router. Of IPv6
//! the RFC lets later fragments be answered, but whether one is part of an error cannot be seen. What has an address of
//! the router's own on either side is not answered either: as a source it is forged, and the answer would be the router's
//! to itself; and the tables tell it from a broadcast address of the router's networks in no way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linecard_io::{Frame, PacketMemory};
use linecard_packet::{Layer3, Metadata, Withheld};
use linecard_tables::lpm::NO_ROUTE;
use linecard_wire::icmp_error::{
    FRONT_IPV4, FRONT_IPV6, LENGTH_MAX_IPV4, LENGTH_MAX_IPV6, write_ipv4, write_ipv6,
};
use linecard_wire::ip::Protocol;
use linecard_wire::{MacAddress, icmpv4, icmpv6, ipv4, ipv6, ipv6_extension};

use crate::route::{ReverseRoute, RouteTables};

/// Ethernet header and two VLAN tags.
const LINK_HEADER_MAX: usize = 22;
/// Two MAC addresses.
const ADDRESSES: usize = 12;

/// A reply that may be sent, not written yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectReply {
    /// From the router's own address to the packet's sender.
    addresses: Addresses,
    /// The interface's, which the reply comes from.
    mac_address: MacAddress,
    /// Bytes of the rejected frame in front of the network layer.
    link_length: usize,
    /// Bytes of the network-layer packet that are quoted.
    quoted: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Addresses {
    Ipv4(Ipv4Addr, Ipv4Addr),
    Ipv6(Ipv6Addr, Ipv6Addr),
}

impl RejectReply {
    /// The reply to the sender of `packet`, which starts with its Ethernet header and is as it was received.
    ///
    /// # Errors
    /// Why there is none: [`Withheld::RejectUnanswerable`] or [`Withheld::RejectNoAddress`].
    pub fn to(packet: &[u8], metadata: &Metadata, routes: &RouteTables) -> Result<Self, Withheld> {
        let unanswerable = Withheld::RejectUnanswerable;
        let link_length = usize::from(metadata.layer3_offset);
        let (link, network) = packet.split_at_checked(link_length).ok_or(unanswerable)?;
        let network = network.get(..usize::from(metadata.layer3_length)).ok_or(unanswerable)?;
        let interface = routes.own(metadata).ok_or(unanswerable)?;
        // RFC 1812 4.3.2.7: not about what came as a link-layer broadcast, and so to the router alone.
        let is_for_us = link.first_chunk() == Some(&interface.mac_address.octets());
        let sender = link.get(6..ADDRESSES).ok_or(unanswerable)?;
        if !is_for_us || sender[0] & 1 != 0 || link_length > LINK_HEADER_MAX {
            return Err(unanswerable);
        }
        let is_own = |groups: [u32; 2]| {
            let reverse = |group| routes.reverse(group, metadata.in_interface);
            groups.into_iter().any(|group| reverse(group) == ReverseRoute::Local)
        };
        let (addresses, length_max, front) = match metadata.layer3 {
            Layer3::Ipv4 => {
                let ends = ends_ipv4(network).ok_or(unanswerable)?;
                let mut groups = [NO_ROUTE; 2];
                routes.groups_ipv4(&ends.map(Ipv4Addr::to_bits), &mut groups);
                let sender = (!is_own(groups)).then_some(ends[0]).ok_or(unanswerable)?;
                let own = interface.ipv4.ok_or(Withheld::RejectNoAddress)?;
                (Addresses::Ipv4(own, sender), LENGTH_MAX_IPV4, FRONT_IPV4)
            }
            Layer3::Ipv6 => {
                let ends = ends_ipv6(network).ok_or(unanswerable)?;
                let mut groups = [NO_ROUTE; 2];
                routes.groups_ipv6(&ends.map(Ipv6Addr::to_bits), &mut groups);
                let sender = (!is_own(groups)).then_some(ends[0]).ok_or(unanswerable)?;
                let own = interface.ipv6.ok_or(Withheld::RejectNoAddress)?;
                (Addresses::Ipv6(own, sender), LENGTH_MAX_IPV6, FRONT_IPV6)
            }
            Layer3::Other => return Err(unanswerable),
        };
        let mtu = interface.mtu_bytes as usize;
        let quoted = network.len().min(length_max.min(mtu).saturating_sub(front));
        Ok(Self { addresses, mac_address: interface.mac_address, link_length, quoted })
    }

    /// Where the reply goes.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        match self.addresses {
            Addresses::Ipv4(_, to) => to.into(),
            Addresses::Ipv6(_, to) => to.into(),
        }
    }

    /// Makes the frame of the rejected packet the reply, with its VLAN tags, to the station that it came from.
    /// False when there is no headroom for it; the frame is then of no use.
    #[must_use]
    pub fn write(&self, frame: &mut Frame, memory: &mut PacketMemory) -> bool {
        let mut link = [0; LINK_HEADER_MAX];
        let Some(link) = link.get_mut(..self.link_length) else { return false };
        let Some(header) = memory.packet(frame).get(..self.link_length) else { return false };
        link.copy_from_slice(header);
        let front = match self.addresses {
            Addresses::Ipv4(..) => FRONT_IPV4,
            Addresses::Ipv6(..) => FRONT_IPV6,
        };
        // To where it came from.
        link.copy_within(6..ADDRESSES, 0);
        link[6..ADDRESSES].copy_from_slice(&self.mac_address.octets());
        memory.truncate(frame, self.link_length + self.quoted);
        if !memory.grow_front(frame, front) {
            return false;
        }
        let (header, packet) = memory.packet_mut(frame).split_at_mut(self.link_length);
        header.copy_from_slice(link);
        let written = match self.addresses {
            Addresses::Ipv4(from, to) => {
                let kind = icmpv4::MessageType::DESTINATION_UNREACHABLE;
                write_ipv4(packet, (from, to), (kind, icmpv4::CODE_ADMINISTRATIVELY_PROHIBITED))
            }
            Addresses::Ipv6(from, to) => {
                let kind = icmpv6::MessageType::DESTINATION_UNREACHABLE;
                write_ipv6(packet, (from, to), (kind, icmpv6::CODE_ADMINISTRATIVELY_PROHIBITED))
            }
        };
        written.is_ok()
    }
}

/// Source and destination of a packet, if its sender may be told as far as the packet says.
fn ends_ipv4(network: &[u8]) -> Option<[Ipv4Addr; 2]> {
    let packet = ipv4::Packet::new(network).ok()?;
    let is_error = packet.protocol() == Protocol::ICMPV4 && {
        // One that is cut short may have been an error.
        let message = icmpv4::Message::new(packet.payload()).ok();
        message.is_none_or(|message| message.message_type().is_error())
    };
    let is_later = packet.fragment_offset() > 0;
    let (source, destination) = (packet.source(), packet.destination());
    let is_answerable = is_host_ipv4(source) && is_host_ipv4(destination);
    (is_answerable && !is_error && !is_later).then_some([source, destination])
}

/// RFC 1812 4.3.2.7 and 5.3.7: neither a group nor "this network", a loopback or what is reserved, the limited
/// broadcast among it.
fn is_host_ipv4(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

/// The same for IPv6.
fn ends_ipv6(network: &[u8]) -> Option<[Ipv6Addr; 2]> {
    let packet = ipv6::Packet::new(network).ok()?;
    // Behind a chain that cannot be read there may be an error.
    let upper = packet.upper_layer(ipv6_extension::HEADERS_MAX).ok()?;
    let is_later = upper.fragment.is_some_and(|fragment| !fragment.is_first());
    let is_error = upper.protocol == Protocol::ICMPV6 && {
        let message = icmpv6::Message::new(upper.payload).ok();
        message.is_none_or(|message| {
            // RFC 4443 2.4 (e.2) names redirects, too.
            message.message_type().is_error()
                || message.message_type() == icmpv6::MessageType::REDIRECT
        })
    };
    let is_host = |address: Ipv6Addr| {
        let is_none = address.is_unspecified() || address.is_loopback();
        !is_none && !address.is_multicast() && address.to_ipv4_mapped().is_none()
    };
    let (source, destination) = (packet.source(), packet.destination());
    let is_answerable = is_host(source) && is_host(destination);
    (is_answerable && !is_error && !is_later).then_some([source, destination])
}
