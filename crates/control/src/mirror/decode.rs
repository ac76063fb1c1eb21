//! From a netlink message to what the base understands.

mod route;

use std::net::IpAddr;

use ipnet::IpNet;
use linecard_wire::MacAddress;
use netlink_packet_core::{DecodeError, NLM_F_APPEND, NLM_F_REPLACE, ParseableParametrized};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
        NeighbourState as Nud,
    },
};

use self::route::route;
use super::raw::{self, NetConf};
use crate::facts::{Address, Fact, Link, LinkKind, Neighbour, NeighbourState, RouteMode};

pub(super) const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;

/// What a message means.
#[derive(Debug)]
pub(super) enum Event {
    /// The settings of a link (forwarding) are not in it and are filled in later.
    Fact(Fact),
    NetConf(NetConf),
    /// A policy rule came or went.
    Rules,
}

/// What a message means; `None` where it does not matter. Cost: some allocations.
///
/// # Errors
/// It is malformed.
pub(super) fn decode(
    message_type: u16,
    flags: u16,
    payload: &[u8],
) -> Result<Option<Event>, DecodeError> {
    let fact = match message_type {
        raw::RTM_NEWNEXTHOP => raw::nexthop(payload)?.map(Fact::SetNextHopObject),
        raw::RTM_DELNEXTHOP => {
            raw::nexthop(payload)?.map(|object| Fact::RemoveNextHopObject(object.id))
        }
        raw::RTM_NEWNETCONF => return Ok(raw::netconf(payload)?.map(Event::NetConf)),
        raw::RTM_DELNETCONF => None,
        RTM_NEWRULE | RTM_DELRULE => return Ok(Some(Event::Rules)),
        _ => match RouteNetlinkMessage::parse_with_param(payload, message_type)? {
            RouteNetlinkMessage::NewRoute(message) => {
                route(&message).map(|route| Fact::SetRoute(route, mode(flags)))
            }
            RouteNetlinkMessage::DelRoute(message) => route(&message).map(Fact::RemoveRoute),
            RouteNetlinkMessage::NewNeighbour(message) => {
                neighbour(&message).map(Fact::SetNeighbour)
            }
            RouteNetlinkMessage::DelNeighbour(message) => neighbour(&message)
                .map(|neighbour| Fact::RemoveNeighbour(neighbour.ifindex, neighbour.address)),
            RouteNetlinkMessage::NewAddress(message) => address(&message).map(Fact::SetAddress),
            RouteNetlinkMessage::DelAddress(message) => address(&message).map(Fact::RemoveAddress),
            RouteNetlinkMessage::NewLink(message) => link(&message).map(Fact::SetLink),
            RouteNetlinkMessage::DelLink(message) => {
                link(&message).map(|link| Fact::RemoveLink(link.ifindex))
            }
            _ => None,
        },
    };
    Ok(fact.map(Event::Fact))
}

fn mode(flags: u16) -> RouteMode {
    if flags & NLM_F_REPLACE != 0 {
        RouteMode::Replace
    } else if flags & NLM_F_APPEND != 0 {
        RouteMode::Append
    } else {
        RouteMode::Prepend
    }
}

fn mac_address(bytes: &[u8]) -> Option<MacAddress> {
    <[u8; 6]>::try_from(bytes).ok().map(MacAddress::from)
}

fn link(message: &LinkMessage) -> Option<Link> {
    // The same message type tells of bridge ports, in the family AF_BRIDGE.
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let flags = message.header.flags;
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        mac_address: MacAddress::from([0; 6]),
        mtu_bytes: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.intersects(LinkFlags::Running | LinkFlags::LowerUp),
        kind: LinkKind::Other,
        forwarding_ipv4: false,
        forwarding_ipv6: false,
        ignore_linkdown_ipv4: false,
        ignore_linkdown_ipv6: false,
    };
    let (mut lower, mut vlan) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac_address = mac_address(bytes).unwrap_or(link.mac_address);
            }
            LinkAttribute::Mtu(mtu) => link.mtu_bytes = *mtu,
            LinkAttribute::Link(ifindex) => lower = Some(*ifindex),
            LinkAttribute::LinkInfo(infos) => vlan = infos.iter().find_map(vlan_tag),
            _ => {}
        }
    }
    if let (Some(lower), Some((tag_protocol, id))) = (lower, vlan) {
        link.kind = LinkKind::Vlan { lower, tag_protocol, id };
    }
    Some(link)
}

fn vlan_tag(info: &LinkInfo) -> Option<(u16, u16)> {
    let LinkInfo::Data(InfoData::Vlan(attributes)) = info else { return None };
    let (mut tag_protocol, mut id) = (0x8100, None);
    for attribute in attributes {
        match attribute {
            InfoVlan::Id(value) => id = Some(*value),
            InfoVlan::Protocol(value) => tag_protocol = u16::from(*value),
            _ => {}
        }
    }
    Some((tag_protocol, id?))
}

fn address(message: &AddressMessage) -> Option<Address> {
    // On a point-to-point link IFA_ADDRESS is the peer's and IFA_LOCAL the router's own.
    let own = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    let address = IpNet::new(own.or(any)?, message.header.prefix_len).ok()?;
    Some(Address { ifindex: message.header.index, address })
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    // Entries of a bridge's forwarding database are of another family; a proxy entry is an address
    // for which the router itself answers.
    if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6)
        || message.header.flags.contains(NeighbourFlags::Proxy)
    {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => {
                address = Some(IpAddr::from(*value));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => {
                address = Some(IpAddr::from(*value));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = mac_address(bytes),
            _ => {}
        }
    }
    let usable = matches!(
        message.header.state,
        Nud::Reachable | Nud::Stale | Nud::Delay | Nud::Probe | Nud::Permanent | Nud::Noarp
    );
    Some(Neighbour {
        ifindex: message.header.ifindex,
        address: address?,
        mac_address: mac,
        state: if usable { NeighbourState::Usable } else { NeighbourState::Unresolved },
        permanent: matches!(message.header.state, Nud::Permanent | Nud::Noarp),
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;
    use netlink_packet_route::link::{InfoKind, VlanProtocol};
    use netlink_packet_route::route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType as KernelRouteType,
        RouteVia,
    };

    use super::*;
    use crate::facts::{Path, RouteTarget};

    const RTM_NEWLINK: u16 = 16;
    const RTM_NEWROUTE: u16 = 24;

    fn bytes(message: &impl Emitable) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    fn fact(message_type: u16, payload: &[u8]) -> Option<Fact> {
        match decode(message_type, 0, payload).expect("well-formed") {
            Some(Event::Fact(fact)) => Some(fact),
            _ => None,
        }
    }

    fn vlan_message() -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = vec![
            LinkAttribute::IfName("eth0.100".into()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 7]),
            LinkAttribute::Mtu(1496),
            LinkAttribute::Link(3),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![
                    InfoVlan::Id(100),
                    InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
                ])),
            ]),
        ];
        message
    }

    #[test]
    fn reads_a_vlan_link() {
        let Some(Fact::SetLink(link)) = fact(RTM_NEWLINK, &bytes(&vlan_message())) else {
            panic!("a link")
        };
        assert_eq!(link.kind, LinkKind::Vlan { lower: 3, tag_protocol: 0x88a8, id: 100 });
        assert_eq!((link.ifindex, link.name.as_str(), link.mtu_bytes), (7, "eth0.100", 1496));
        assert!(link.up && link.carrier);
        assert_eq!(link.mac_address, MacAddress::from([2, 0, 0, 0, 0, 7]));
    }

    #[test]
    fn a_veth_is_no_vlan_though_it_has_a_peer() {
        let mut message = vlan_message();
        message.attributes.pop();
        let Some(Fact::SetLink(link)) = fact(RTM_NEWLINK, &bytes(&message)) else {
            panic!("a link")
        };
        assert_eq!(link.kind, LinkKind::Other);
    }

    #[test]
    fn a_bridge_port_is_no_link() {
        let mut message = vlan_message();
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(fact(RTM_NEWLINK, &bytes(&message)), None);
    }

    fn route_message() -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 24;
        message.header.table = 254;
        message.header.kind = KernelRouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Destination(RouteAddress::Inet([10, 9, 0, 0].into())),
            RouteAttribute::Oif(3),
            RouteAttribute::Via(RouteVia::Inet6("fe80::1".parse().unwrap())),
        ];
        message
    }

    #[test]
    fn reads_an_ipv4_route_with_an_ipv6_gateway() {
        let Some(Fact::SetRoute(route, RouteMode::Prepend)) =
            fact(RTM_NEWROUTE, &bytes(&route_message()))
        else {
            panic!("a route")
        };
        let via = Some("fe80::1".parse().unwrap());
        let path = Path { ifindex: 3, via, weight: 1, dead: false };
        assert_eq!(route.target, RouteTarget::Paths(vec![path]));
        assert_eq!(route.prefix, "10.9.0.0/24".parse().unwrap());
    }

    #[test]
    fn cached_routes_and_other_families_do_not_matter() {
        let mut message = route_message();
        message.header.flags = RouteFlags::Cloned;
        assert_eq!(fact(RTM_NEWROUTE, &bytes(&message)), None);
        message.header.flags = RouteFlags::empty();
        message.header.address_family = AddressFamily::Mpls;
        message.attributes.clear();
        assert_eq!(fact(RTM_NEWROUTE, &bytes(&message)), None);
    }

    #[test]
    fn no_truncation_panics() {
        for (message_type, whole) in
            [(RTM_NEWLINK, bytes(&vlan_message())), (RTM_NEWROUTE, bytes(&route_message()))]
        {
            for length in 0..whole.len() {
                let _ = decode(message_type, 0, &whole[..length]);
            }
        }
    }
}
