//! From a netlink message to what the base understands.

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
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
        RouteNextHopFlags, RouteType as KernelRouteType, RouteVia,
    },
};

use super::raw::{self, NetConf};
use crate::facts::{
    Address, Fact, Link, LinkKind, Neighbour, NeighbourState, Path, Route, RouteMode, RouteTarget,
    RouteType,
};

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

fn route_type(kind: KernelRouteType) -> RouteType {
    match kind {
        KernelRouteType::Unicast => RouteType::Unicast,
        KernelRouteType::Local => RouteType::Local,
        KernelRouteType::Broadcast => RouteType::Broadcast,
        KernelRouteType::Anycast => RouteType::Anycast,
        KernelRouteType::Multicast => RouteType::Multicast,
        KernelRouteType::BlackHole => RouteType::Blackhole,
        KernelRouteType::Unreachable => RouteType::Unreachable,
        KernelRouteType::Prohibit => RouteType::Prohibit,
        KernelRouteType::Throw => RouteType::Throw,
        _ => RouteType::Other,
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// What the attributes of a route or of one of its paths say together.
#[derive(Debug, Default)]
struct Attributes {
    destination: Option<IpAddr>,
    via: Option<IpAddr>,
    ifindex: u32,
    table: Option<u32>,
    metric: u32,
    object: Option<u32>,
    kernel_only: bool,
    paths: Option<Vec<Path>>,
}

impl Attributes {
    fn add(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Destination(address) => self.destination = ip_of(address),
            RouteAttribute::Gateway(address) => self.via = ip_of(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => self.via = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => self.via = Some((*address).into()),
            RouteAttribute::Oif(ifindex) => self.ifindex = *ifindex,
            RouteAttribute::Table(table) => self.table = Some(*table),
            RouteAttribute::Priority(metric) => self.metric = *metric,
            RouteAttribute::NhId(id) => self.object = Some(*id),
            RouteAttribute::MultiPath(next_hops) => self.add_paths(next_hops),
            RouteAttribute::Metrics(metrics) => {
                // The path MTU of a route is the kernel's to apply and to report.
                self.kernel_only |= metrics
                    .iter()
                    .any(|metric| matches!(metric, RouteMetric::Mtu(mtu) if *mtu > 0));
            }
            RouteAttribute::Via(_)
            | RouteAttribute::Source(_)
            | RouteAttribute::EncapType(_)
            | RouteAttribute::Encap(_)
            | RouteAttribute::NewDestination(_) => self.kernel_only = true,
            _ => {}
        }
    }

    fn add_paths(&mut self, next_hops: &[RouteNextHop]) {
        let mut paths = Vec::with_capacity(next_hops.len());
        for next_hop in next_hops {
            let mut inner = Self::default();
            for attribute in &next_hop.attributes {
                inner.add(attribute);
            }
            self.kernel_only |= inner.kernel_only;
            paths.push(Path {
                ifindex: next_hop.interface_index,
                via: inner.via,
                weight: u32::from(next_hop.hops) + 1,
                dead: next_hop.flags.contains(RouteNextHopFlags::Dead),
            });
        }
        self.paths = Some(paths);
    }
}

fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let ipv4 = match header.address_family {
        AddressFamily::Inet => true,
        AddressFamily::Inet6 => false,
        _ => return None,
    };
    // A cloned route is a cache entry for one destination.
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut attributes = Attributes::default();
    for attribute in &message.attributes {
        attributes.add(attribute);
    }
    let any = if ipv4 { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
    let destination = attributes.destination.unwrap_or(any);
    let target = match (attributes.object, attributes.paths) {
        (Some(object), _) => RouteTarget::NextHopObject(object),
        (None, Some(paths)) => RouteTarget::Paths(paths),
        (None, None) if attributes.ifindex == 0 => RouteTarget::Paths(Vec::new()),
        (None, None) => RouteTarget::Paths(vec![Path {
            ifindex: attributes.ifindex,
            via: attributes.via,
            weight: 1,
            dead: header.flags.contains(RouteFlags::Dead),
        }]),
    };
    Some(Route {
        table: attributes.table.unwrap_or(u32::from(header.table)),
        prefix: IpNet::new(destination, header.destination_prefix_length).ok()?.trunc(),
        route_type: route_type(header.kind),
        metric: attributes.metric,
        protocol: header.protocol.into(),
        type_of_service: header.tos,
        kernel_only: attributes.kernel_only || header.source_prefix_length > 0,
        target,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;
    use netlink_packet_route::link::{InfoKind, VlanProtocol};

    use super::*;

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
