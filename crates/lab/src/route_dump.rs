//! The kernel's routes as it tells them: the other side of [`Namespace::add_route`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::error::Result;
use crate::namespace::Namespace;

/// One way onward of a route that the kernel holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelNextHop {
    /// The interface's name.
    pub interface: String,
    /// The gateway; `None` where destinations are neighbours themselves.
    pub gateway: Option<IpAddr>,
    /// Its share among the route's next hops, from 1.
    pub weight: u32,
}

/// What the kernel does with the packets of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelRoute {
    /// Destinations.
    pub prefix: IpNet,
    /// The route's metric: the lowest wins.
    pub metric: u32,
    /// Who made it (`RTPROT_*`): 186 is FRR's BGP, 12 is BIRD.
    pub protocol: u8,
    /// The nexthop object or group that it refers to, if it does.
    pub nexthop_object: Option<u32>,
    /// The ways onward, in ascending order. Of a nexthop object the kernel tells them as well.
    pub next_hops: Vec<KernelNextHop>,
}

impl Namespace {
    /// The unicast routes of the main table, of one family, in the order of the kernel's dump. Costs
    /// some microseconds a route.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn routes(&self, ipv6: bool) -> Result<Vec<KernelRoute>> {
        let names: BTreeMap<u32, String> =
            self.interfaces()?.into_iter().map(|it| (it.index, it.name)).collect();
        let mut message = RouteMessage::default();
        message.header.address_family =
            if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let message = RouteNetlinkMessage::GetRoute(message);
        let replies = self.route_request(&message, NLM_F_DUMP, || "list routes".to_owned())?;
        Ok(replies.iter().filter_map(|reply| route_of(reply, ipv6, &names)).collect())
    }

    /// How many routes of one family the kernel says it holds, those of all tables, the router's own
    /// addresses among them. Costs no dump: fit to be asked again and again while routes come
    /// in. Only differences between two answers have a meaning.
    ///
    /// # Errors
    /// When the kernel does not show its statistics.
    pub fn route_count_estimate(&self, ipv6: bool) -> Result<usize> {
        let name = if ipv6 { "rt6_stats" } else { "fib_triestat" };
        let path = format!("/proc/thread-self/net/{name}");
        let text = self
            .run(|| std::fs::read_to_string(&path))
            .map_err(|error| crate::LabError::new(format!("read {path} in {self}"), error))?;
        let count = if ipv6 { ipv6_entries(&text) } else { ipv4_prefixes(&text) };
        count.ok_or_else(|| crate::LabError::invalid(format!("read {path} in {self}"), text))
    }
}

/// The greatest of the tries' prefixes: tables `local` and `main` share one.
fn ipv4_prefixes(text: &str) -> Option<usize> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("Prefixes:"));
    lines.filter_map(|count| count.trim().parse().ok()).max()
}

/// `fib_rt_entries`, the fourth of the hexadecimal numbers.
fn ipv6_entries(text: &str) -> Option<usize> {
    usize::from_str_radix(text.split_whitespace().nth(3)?, 16).ok()
}

fn route_of(
    message: &RouteNetlinkMessage,
    ipv6: bool,
    names: &BTreeMap<u32, String>,
) -> Option<KernelRoute> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let any = if ipv6 { IpAddr::from([0_u16; 8]) } else { IpAddr::from([0; 4]) };
    let (mut destination, mut metric, mut hops) = (any, 0, Vec::new());
    let (mut interface, mut gateway, mut nexthop_object) = (0, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_of(address)?,
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(index) => interface = *index,
            RouteAttribute::NhId(id) => nexthop_object = Some(*id),
            RouteAttribute::MultiPath(entries) => {
                hops = entries.iter().map(|entry| path_of(entry, names)).collect();
            }
            attribute => gateway = gateway_of(attribute).or(gateway),
        }
    }
    if hops.is_empty() {
        hops.push(KernelNextHop { interface: name_of(names, interface), gateway, weight: 1 });
    }
    hops.sort();
    Some(KernelRoute {
        prefix: IpNet::new(destination, header.destination_prefix_length).ok()?,
        metric,
        protocol: header.protocol.into(),
        nexthop_object,
        next_hops: hops,
    })
}

fn path_of(entry: &RouteNextHop, names: &BTreeMap<u32, String>) -> KernelNextHop {
    KernelNextHop {
        interface: name_of(names, entry.interface_index),
        gateway: entry.attributes.iter().find_map(gateway_of),
        weight: u32::from(entry.hops) + 1,
    }
}

fn name_of(names: &BTreeMap<u32, String>, index: u32) -> String {
    names.get(&index).cloned().unwrap_or_else(|| format!("#{index}"))
}

fn gateway_of(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(address) => ip_of(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    }
}

fn ip_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_statistics_are_read() {
        let text = "Main:\n\tAver depth:     2.50\n\tPrefixes:       100006\n\tNull ptrs: 2\n\n\
                    Local:\n\tPrefixes:       100006\n";
        assert_eq!(ipv4_prefixes(text), Some(100_006));
        assert_eq!(ipv4_prefixes("nothing"), None);
        assert_eq!(ipv6_entries("0003 0004 0000 01fe 0000 0002 0000\n"), Some(0x1fe));
        assert_eq!(ipv6_entries(""), None);
    }
}
