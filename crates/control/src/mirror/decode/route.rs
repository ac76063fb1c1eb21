//! Routes: what the attributes of a message, and of each of its next hops, say together.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteType as KernelRouteType, RouteVia,
};

use crate::facts::{Path, Route, RouteTarget, RouteType};

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

pub(super) fn route(message: &RouteMessage) -> Option<Route> {
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
