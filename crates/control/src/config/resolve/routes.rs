//! `[[route]]` and `[[neighbour]]`: names of ports become indexes, gateways find their subnet.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use linecard_wire::MacAddress;
use toml::Spanned;

use super::checker::Checker;
use crate::config::resolved::{
    Config, InterfaceRef, Port, RouteAction, StaticInterface, StaticNeighbour, StaticNextHop,
    StaticRoute,
};
use crate::config::{limits, text};

const KERNEL_OWNS_ROUTES: &str = "leave it out: on kernel interfaces the kernel owns the routes (`ip route add …` or a routing \
     daemon); routes in this file are for pcap and memory ports";
const KERNEL_OWNS_NEIGHBOURS: &str = "leave it out: on kernel interfaces the kernel owns the neighbours (`ip neighbour add …`); \
     neighbours in this file are for pcap and memory ports";

/// What the file says instead of the kernel.
#[derive(Default)]
pub(super) struct StaticPart {
    pub(super) routes: Vec<StaticRoute>,
    pub(super) neighbours: Vec<StaticNeighbour>,
}

/// Resolves routes and neighbours against `ports`.
pub(super) fn static_part(
    checker: &mut Checker<'_>,
    file: &text::File,
    ports: &[Port],
) -> StaticPart {
    if !ports.iter().any(|port| port.kind.station().is_some()) {
        for route in &file.route {
            checker.refuse(&route.get_ref().prefix, "a static route", KERNEL_OWNS_ROUTES);
        }
        for neighbour in &file.neighbour {
            let place = &neighbour.get_ref().address;
            checker.refuse(place, "a static neighbour", KERNEL_OWNS_NEIGHBOURS);
        }
        return StaticPart::default();
    }
    let links = Links { ports };
    StaticPart {
        routes: routes(checker, &links, &file.route),
        neighbours: neighbours(checker, &links, &file.neighbour),
    }
}

/// Refuses a file whose static part is larger than the tables it asks for.
pub(super) fn check_capacities(checker: &mut Checker<'_>, file: &text::File, config: &Config) {
    let stations = config.ports.iter().filter_map(|port| port.kind.station());
    let addresses: Vec<IpNet> =
        stations.flat_map(|s| &s.interfaces).flat_map(|i| i.addresses.iter().copied()).collect();
    // An address is a route to itself and one to its subnet.
    let routes = |ipv4: bool| {
        let is = |network: &IpNet| network.addr().is_ipv4() == ipv4;
        2 * addresses.iter().filter(|a| is(a)).count()
            + config.routes.iter().filter(|route| is(&route.prefix)).count()
    };
    let tables = &config.tables;
    let text = &file.tables;
    for (key, place, max, needed) in [
        ("routes_ipv4_max", &text.routes_ipv4_max, tables.routes_ipv4_max, routes(true)),
        ("routes_ipv6_max", &text.routes_ipv6_max, tables.routes_ipv6_max, routes(false)),
        ("adjacencies_max", &text.adjacencies_max, tables.adjacencies_max, config.neighbours.len()),
    ] {
        if needed > max as usize {
            let message = format!("{key} is {max}, and this file alone needs {needed}");
            let help = format!("{key} = {needed} or more");
            match place {
                Some(place) => checker.refuse(place, message, help),
                None => checker.refuse_file(message, help),
            }
        }
    }
}

/// The interfaces of all static ports, to find by name or by address.
struct Links<'a> {
    ports: &'a [Port],
}

impl<'a> Links<'a> {
    fn interfaces(&self) -> impl Iterator<Item = (InterfaceRef, &'a StaticInterface)> {
        self.ports.iter().enumerate().flat_map(|(port, at)| {
            let interfaces = at.kind.station().map_or(&[][..], |station| &station.interfaces);
            let named = move |(interface, at)| (InterfaceRef { port, interface }, at);
            interfaces.iter().enumerate().map(named)
        })
    }

    fn get(&self, of: InterfaceRef) -> Option<&'a StaticInterface> {
        self.ports.get(of.port)?.kind.station()?.interfaces.get(of.interface)
    }

    /// The interfaces whose subnets contain `address` with the longest prefix.
    fn on_link(&self, address: IpAddr) -> Vec<InterfaceRef> {
        let length = |i: &StaticInterface| {
            let on = i.addresses.iter().filter(|network| network.contains(&address));
            on.map(IpNet::prefix_len).max()
        };
        let longest = self.interfaces().filter_map(|(_, i)| length(i)).max();
        let at = |(of, i): (_, &StaticInterface)| (length(i).is_some()).then_some((of, length(i)));
        let found = self.interfaces().filter_map(at).filter(|(_, length)| *length == longest);
        found.map(|(of, _)| of).collect()
    }

    fn own_address(&self, address: IpAddr) -> bool {
        self.interfaces().any(|(_, i)| i.addresses.iter().any(|network| network.addr() == address))
    }

    /// Subnets of the family of `address`, for a message.
    fn subnets(&self, address: IpAddr) -> String {
        let networks = self.interfaces().flat_map(|(_, i)| &i.addresses).map(IpNet::trunc);
        let family = networks.filter(|n| n.addr().is_ipv4() == address.is_ipv4());
        let mut subnets: Vec<String> = family.map(|subnet| subnet.to_string()).collect();
        subnets.dedup();
        if subnets.is_empty() { "none".to_owned() } else { subnets.join(", ") }
    }
}

/// The keys that name an interface.
struct Reference<'a> {
    port: Option<&'a Spanned<String>>,
    vlan: Option<&'a Spanned<i64>>,
    inner_vlan: Option<&'a Spanned<i64>>,
}

impl Reference<'_> {
    /// The interface that the keys name; `Ok(None)` when they are absent, `Err` when refused.
    fn resolve(
        &self,
        checker: &mut Checker<'_>,
        links: &Links<'_>,
    ) -> Result<Option<InterfaceRef>, ()> {
        let Some(place) = self.port else {
            let Some(vlan) = self.vlan.or(self.inner_vlan) else { return Ok(None) };
            checker.refuse(vlan, "a VLAN without its port", "name the port too: port = …");
            return Err(());
        };
        let name = place.get_ref();
        let Some(port) = links.ports.iter().position(|port| &port.name == name) else {
            let known: Vec<&str> = links.ports.iter().map(|port| port.name.as_str()).collect();
            let help = format!("one of: {}", known.join(", "));
            checker.refuse(place, format!("there is no port {name}"), help);
            return Err(());
        };
        let wanted: Vec<i64> =
            [self.vlan, self.inner_vlan].into_iter().flatten().map(|id| *id.get_ref()).collect();
        let ids =
            |i: &StaticInterface| i.vlans.iter().map(|tag| i64::from(tag.id)).collect::<Vec<_>>();
        let interfaces = links.ports[port].kind.station().map_or(&[][..], |s| &s.interfaces);
        if let Some(interface) = interfaces.iter().position(|i| ids(i) == wanted) {
            return Ok(Some(InterfaceRef { port, interface }));
        }
        let place = self.vlan.or(self.inner_vlan).map_or(place.span(), Spanned::span);
        let message = format!("port {name} has no such VLAN");
        checker.refuse_span(&place, message, "list it under `vlans` of the port");
        Err(())
    }

    /// The interface on which `address` is a neighbour.
    fn of_neighbour(
        &self,
        checker: &mut Checker<'_>,
        links: &Links<'_>,
        place: &Spanned<String>,
        address: IpAddr,
    ) -> Option<InterfaceRef> {
        let named = self.resolve(checker, links).ok()?;
        let link_local = match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if links.own_address(address) {
            let message = format!("{address} is an address of the router itself");
            checker.refuse(place, message, "the address of a neighbour");
            return None;
        }
        let on_link = links.on_link(address);
        match named {
            Some(of) if link_local => return Some(of),
            None if link_local => {
                let message = format!("{address} is link-local: it could be on any port");
                checker.refuse(place, message, "name the port: port = …");
            }
            Some(of) => {
                let contains =
                    |i: &StaticInterface| i.addresses.iter().any(|n| n.contains(&address));
                if links.get(of).is_some_and(contains) {
                    return Some(of);
                }
                let message = format!("{address} is on no subnet of the port named");
                let help = format!("connected subnets are: {}", links.subnets(address));
                checker.refuse(place, message, help);
            }
            None => match on_link[..] {
                [of] => return Some(of),
                [] => {
                    let message = format!("{address} is on no connected subnet");
                    let help = format!("connected subnets are: {}", links.subnets(address));
                    checker.refuse(place, message, help);
                }
                [..] => {
                    let message = format!("{address} is on the subnets of several ports");
                    checker.refuse(place, message, "name the port: port = …");
                }
            },
        }
        None
    }
}

fn routes(
    checker: &mut Checker<'_>,
    links: &Links<'_>,
    texts: &[Spanned<text::Route>],
) -> Vec<StaticRoute> {
    let connected: HashMap<IpNet, InterfaceRef> = links
        .interfaces()
        .flat_map(|(of, i)| i.addresses.iter().map(move |network| (network.trunc(), of)))
        .collect();
    let mut seen: HashSet<IpNet> = HashSet::new();
    let mut resolved = Vec::new();
    for text in texts {
        let place = &text.get_ref().prefix;
        let prefix = checker.prefix(place);
        if let Some(prefix) = prefix {
            if !seen.insert(prefix) {
                let help = "one [[route]] for each prefix; `next_hops` takes several gateways";
                checker.refuse(place, format!("the route to {prefix} stands twice"), help);
            }
            if let Some(of) = connected.get(&prefix) {
                let name = &links.ports[of.port].name;
                let message = format!("{prefix} is the connected subnet of port {name}");
                checker.refuse(place, message, "leave it out: the address makes the route");
            }
        }
        // A prefix that is refused does not hide what is wrong with the rest.
        if let (Some(action), Some(prefix)) =
            (action(checker, links, text.get_ref(), prefix), prefix)
        {
            resolved.push(StaticRoute { prefix, action });
        }
    }
    resolved
}

fn action(
    checker: &mut Checker<'_>,
    links: &Links<'_>,
    route: &text::Route,
    prefix: Option<IpNet>,
) -> Option<RouteAction> {
    let single = Reference {
        port: route.port.as_ref(),
        vlan: route.vlan.as_ref(),
        inner_vlan: route.inner_vlan.as_ref(),
    };
    let single_span = (route.via.as_ref().or(single.port).map(Spanned::span))
        .or(single.vlan.or(single.inner_vlan).map(Spanned::span));
    let special = match route.kind {
        text::RouteKind::Unicast => None,
        text::RouteKind::Blackhole => Some(RouteAction::Blackhole),
        text::RouteKind::Unreachable => Some(RouteAction::Unreachable),
        text::RouteKind::Prohibit => Some(RouteAction::Prohibit),
    };
    let list_span = route.next_hops.as_ref().map(Spanned::span);
    match (special, &route.next_hops) {
        (Some(special), _) => {
            if let Some(span) = single_span.or(list_span) {
                let message = "a route that forwards nothing has no next hop";
                checker.refuse_span(&span, message, "leave it out, or kind = \"unicast\"");
            }
            Some(special)
        }
        (None, Some(list)) => {
            if let Some(span) = single_span {
                let message = "one next hop here and several in `next_hops`";
                checker.refuse_span(&span, message, "move it into `next_hops`");
            }
            next_hops(checker, links, list, prefix).map(RouteAction::NextHops)
        }
        (None, None) if single_span.is_none() => {
            let help = "`via`, `port` or `next_hops`, or a kind such as \"blackhole\"";
            checker.refuse(&route.prefix, "a route to nowhere", help);
            None
        }
        (None, None) => {
            let (interface, gateway) =
                next_hop(checker, links, &single, route.via.as_ref(), prefix)?;
            Some(RouteAction::NextHops(vec![StaticNextHop { interface, gateway, weight: 1 }]))
        }
    }
}

fn next_hops(
    checker: &mut Checker<'_>,
    links: &Links<'_>,
    list: &Spanned<Vec<Spanned<text::NextHop>>>,
    prefix: Option<IpNet>,
) -> Option<Vec<StaticNextHop>> {
    let count = list.get_ref().len();
    if count == 0 || count > limits::NEXT_HOPS_PER_ROUTE_MAX {
        let help = format!("1 to {}", limits::NEXT_HOPS_PER_ROUTE_MAX);
        checker.refuse(list, format!("{count} next hops"), help);
        return None;
    }
    let mut resolved: Vec<StaticNextHop> = Vec::new();
    for place in list.get_ref() {
        let text = place.get_ref();
        let weight = checker.number(&text.weight, "weight", limits::WEIGHT, 1);
        let reference = Reference {
            port: text.port.as_ref(),
            vlan: text.vlan.as_ref(),
            inner_vlan: text.inner_vlan.as_ref(),
        };
        if text.via.is_none() && text.port.is_none() && text.vlan.is_none() {
            checker.refuse(place, "a next hop to nowhere", "`via` or `port`");
            continue;
        }
        let found = next_hop(checker, links, &reference, text.via.as_ref(), prefix);
        let Some((interface, gateway)) = found else { continue };
        if resolved.iter().any(|other| (other.interface, other.gateway) == (interface, gateway)) {
            checker.refuse(place, "this next hop stands twice", "one entry with a larger `weight`");
        }
        resolved.push(StaticNextHop { interface, gateway, weight });
    }
    (resolved.len() == count).then_some(resolved)
}

fn next_hop(
    checker: &mut Checker<'_>,
    links: &Links<'_>,
    reference: &Reference<'_>,
    via: Option<&Spanned<String>>,
    prefix: Option<IpNet>,
) -> Option<(InterfaceRef, Option<IpAddr>)> {
    let Some(place) = via else {
        return reference.resolve(checker, links).ok()?.map(|of| (of, None));
    };
    let gateway = checker.host_address(place)?;
    if let Some(prefix) = prefix
        && prefix.addr().is_ipv4() != gateway.is_ipv4()
    {
        let family = |ipv4: bool| if ipv4 { "IPv4" } else { "IPv6" };
        let wanted = family(prefix.addr().is_ipv4());
        let message = format!("an {} gateway for an {wanted} route", family(gateway.is_ipv4()));
        checker.refuse(place, message, format!("an {wanted} address"));
        return None;
    }
    let interface = reference.of_neighbour(checker, links, place, gateway)?;
    Some((interface, Some(gateway)))
}

fn neighbours(
    checker: &mut Checker<'_>,
    links: &Links<'_>,
    texts: &[Spanned<text::Neighbour>],
) -> Vec<StaticNeighbour> {
    let mut seen: HashSet<(InterfaceRef, IpAddr)> = HashSet::new();
    let mut resolved = Vec::new();
    for text in texts {
        let text = text.get_ref();
        let mac_address = checker.mac_address(&text.mac_address);
        let Some(address) = checker.host_address(&text.address) else { continue };
        let reference = Reference {
            port: text.port.as_ref(),
            vlan: text.vlan.as_ref(),
            inner_vlan: text.inner_vlan.as_ref(),
        };
        let found = reference.of_neighbour(checker, links, &text.address, address);
        let Some(interface) = found else { continue };
        if !seen.insert((interface, address)) {
            let message = format!("the neighbour {address} stands twice");
            checker.refuse(&text.address, message, "one [[neighbour]] for each address");
        }
        let mac_address = mac_address.unwrap_or(MacAddress::ZERO);
        resolved.push(StaticNeighbour { interface, address, mac_address });
    }
    resolved
}
