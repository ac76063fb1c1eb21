//! Routes: the FIB entries of RFC 4098, as `ip route` makes them.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::address::family_of;
use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::rtnetlink::raw;

/// Where packets of a route go next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHop {
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) interface: Option<String>,
    weight: u16,
    pub(crate) onlink: bool,
}

impl NextHop {
    /// Through a gateway; the kernel finds the interface.
    pub fn via(gateway: IpAddr) -> Self {
        Self { gateway: Some(gateway), interface: None, weight: 1, onlink: false }
    }

    /// Straight onto an interface.
    pub fn on(interface: &str) -> Self {
        Self { gateway: None, interface: Some(interface.to_owned()), weight: 1, onlink: false }
    }

    /// Names the interface to go out of.
    #[must_use]
    pub fn interface(mut self, interface: &str) -> Self {
        self.interface = Some(interface.to_owned());
        self
    }

    /// Its share among the next hops of a multipath route, 1–256.
    #[must_use]
    pub fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// Takes the gateway for a neighbour even if no address of the interface covers it.
    #[must_use]
    pub fn onlink(mut self) -> Self {
        self.onlink = true;
        self
    }
}

/// What a route does with its packets.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    NextHops(Vec<NextHop>),
    NextHopObject(u32),
    Local(String),
    Refuse(RouteType),
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    destination: IpNet,
    target: Target,
    metric: Option<u32>,
    mtu_bytes: Option<u32>,
    source: Option<IpAddr>,
}

impl Route {
    fn new(destination: IpNet, target: Target) -> Self {
        Self { destination, target, metric: None, mtu_bytes: None, source: None }
    }

    /// Through one next hop.
    pub fn unicast(destination: IpNet, next_hop: NextHop) -> Self {
        Self::new(destination, Target::NextHops(vec![next_hop]))
    }

    /// Through a gateway: short for [`Route::unicast`] with [`NextHop::via`].
    pub fn via(destination: IpNet, gateway: IpAddr) -> Self {
        Self::unicast(destination, NextHop::via(gateway))
    }

    /// Shared among several next hops (ECMP), by their weights.
    pub fn multipath(destination: IpNet, next_hops: Vec<NextHop>) -> Self {
        Self::new(destination, Target::NextHops(next_hops))
    }

    /// Through the nexthop object or group `id`.
    pub fn nexthop_object(destination: IpNet, id: u32) -> Self {
        Self::new(destination, Target::NextHopObject(id))
    }

    /// Delivered to this host as if each address of the prefix were its own; goes into the local table.
    pub fn local(destination: IpNet, interface: &str) -> Self {
        Self::new(destination, Target::Local(interface.to_owned()))
    }

    /// Dropped in silence.
    pub fn blackhole(destination: IpNet) -> Self {
        Self::new(destination, Target::Refuse(RouteType::BlackHole))
    }

    /// Dropped with ICMP "host unreachable" or ICMPv6 "address unreachable".
    pub fn unreachable(destination: IpNet) -> Self {
        Self::new(destination, Target::Refuse(RouteType::Unreachable))
    }

    /// Dropped with ICMP "communication administratively prohibited".
    pub fn prohibit(destination: IpNet) -> Self {
        Self::new(destination, Target::Refuse(RouteType::Prohibit))
    }

    /// Sets the metric (priority): the lowest wins.
    #[must_use]
    pub fn metric(mut self, metric: u32) -> Self {
        self.metric = Some(metric);
        self
    }

    /// Sets the MTU of the path, in bytes.
    #[must_use]
    pub fn mtu_bytes(mut self, mtu_bytes: u32) -> Self {
        self.mtu_bytes = Some(mtu_bytes);
        self
    }

    /// Sets the source address that this host prefers on the route.
    #[must_use]
    pub fn source(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }
}

/// Resolves interface names; a batch of routes asks for each name once.
struct Indexes<'a> {
    namespace: &'a Namespace,
    known: Vec<(String, u32)>,
}

impl Indexes<'_> {
    fn of(&mut self, name: &str) -> Result<u32> {
        if let Some((_, index)) = self.known.iter().find(|(known, _)| known == name) {
            return Ok(*index);
        }
        let index = self.namespace.interface(name)?.index;
        self.known.push((name.to_owned(), index));
        Ok(index)
    }
}

impl Namespace {
    /// Adds a route.
    ///
    /// # Errors
    /// When there is one with the same prefix and metric, or a next hop is out of reach.
    pub fn add_route(&self, route: &Route) -> Result<()> {
        self.change_route(route, NLM_F_CREATE | NLM_F_EXCL, "add")
    }

    /// Adds a route, or replaces the one with the same prefix and metric.
    ///
    /// # Errors
    /// When a next hop is out of reach.
    pub fn replace_route(&self, route: &Route) -> Result<()> {
        self.change_route(route, NLM_F_CREATE | NLM_F_REPLACE, "replace")
    }

    /// Adds a route beside one of the same prefix; for IPv6 that makes it multipath.
    ///
    /// # Errors
    /// When a next hop is out of reach.
    pub fn append_route(&self, route: &Route) -> Result<()> {
        self.change_route(route, NLM_F_CREATE | NLM_F_APPEND, "append")
    }

    /// Deletes a route; what the route does not say matches any.
    ///
    /// # Errors
    /// When there is none.
    pub fn delete_route(&self, route: &Route) -> Result<()> {
        let message = self.route_message(route, &mut self.indexes())?;
        let action = || format!("delete route {}", route.destination);
        self.route_request(&RouteNetlinkMessage::DelRoute(message), 0, action).map(drop)
    }

    fn change_route(&self, route: &Route, flags: u16, verb: &str) -> Result<()> {
        let message = self.route_message(route, &mut self.indexes())?;
        let action = || format!("{verb} route {}", route.destination);
        self.route_request(&RouteNetlinkMessage::NewRoute(message), flags, action).map(drop)
    }

    /// Adds or replaces many routes with few system calls; returns how many.
    ///
    /// # Errors
    /// The first that the kernel refuses ends it; those before stay.
    pub fn replace_routes<'a>(&self, routes: impl IntoIterator<Item = &'a Route>) -> Result<usize> {
        self.change_routes(routes, NLM_F_CREATE | NLM_F_REPLACE, RouteNetlinkMessage::NewRoute)
    }

    /// Deletes many routes with few system calls; returns how many.
    ///
    /// # Errors
    /// The first that the kernel refuses ends it; those before are gone.
    pub fn delete_routes<'a>(&self, routes: impl IntoIterator<Item = &'a Route>) -> Result<usize> {
        self.change_routes(routes, 0, RouteNetlinkMessage::DelRoute)
    }

    fn change_routes<'a>(
        &self,
        routes: impl IntoIterator<Item = &'a Route>,
        flags: u16,
        request: fn(RouteMessage) -> RouteNetlinkMessage,
    ) -> Result<usize> {
        let mut indexes = self.indexes();
        let messages = routes
            .into_iter()
            .map(|route| Ok(raw(&request(self.route_message(route, &mut indexes)?))))
            .collect::<Result<Vec<_>>>()?;
        self.with_route_socket(|socket| socket.batch(messages, flags))
            .map_err(|refusal| refusal.during(format!("change routes in {self}")))
    }

    /// How many unicast routes of one family the main table holds.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn route_count(&self, ipv6: bool) -> Result<usize> {
        let mut message = RouteMessage::default();
        message.header.address_family =
            if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let message = RouteNetlinkMessage::GetRoute(message);
        let replies = self.route_request(&message, NLM_F_DUMP, || "list routes".to_owned())?;
        let counts = |reply: &&RouteNetlinkMessage| match reply {
            RouteNetlinkMessage::NewRoute(route) => {
                route.header.table == RouteHeader::RT_TABLE_MAIN
                    && route.header.kind == RouteType::Unicast
            }
            _ => false,
        };
        Ok(replies.iter().filter(counts).count())
    }

    fn indexes(&self) -> Indexes<'_> {
        Indexes { namespace: self, known: Vec::new() }
    }

    fn route_message(&self, route: &Route, indexes: &mut Indexes<'_>) -> Result<RouteMessage> {
        let mut message = RouteMessage::default();
        message.header = header_of(route);
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Destination(route_address(route.destination.addr())));
        if let Some(metric) = route.metric {
            attributes.push(RouteAttribute::Priority(metric));
        }
        if let Some(mtu) = route.mtu_bytes {
            attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        }
        if let Some(source) = route.source {
            attributes.push(RouteAttribute::PrefSource(route_address(source)));
        }
        match &route.target {
            Target::Refuse(_) => {}
            Target::NextHopObject(id) => attributes.push(RouteAttribute::NhId(*id)),
            Target::Local(interface) => {
                attributes.push(RouteAttribute::Oif(indexes.of(interface)?));
            }
            Target::NextHops(next_hops) => {
                push_next_hops(&mut message, route.destination, next_hops, indexes)?;
            }
        }
        Ok(message)
    }
}

fn header_of(route: &Route) -> RouteHeader {
    const RT_TABLE_LOCAL: u8 = 255;
    let direct = |hops: &[NextHop]| hops.iter().all(|hop| hop.gateway.is_none());
    let (kind, scope, table) = match &route.target {
        Target::NextHops(hops) if direct(hops) && route.destination.addr().is_ipv4() => {
            (RouteType::Unicast, RouteScope::Link, RouteHeader::RT_TABLE_MAIN)
        }
        Target::NextHops(_) | Target::NextHopObject(_) => {
            (RouteType::Unicast, RouteScope::Universe, RouteHeader::RT_TABLE_MAIN)
        }
        Target::Local(_) => (RouteType::Local, RouteScope::Host, RT_TABLE_LOCAL),
        Target::Refuse(kind) => (*kind, RouteScope::Universe, RouteHeader::RT_TABLE_MAIN),
    };
    RouteHeader {
        address_family: family_of(route.destination.addr()),
        destination_prefix_length: route.destination.prefix_len(),
        table,
        protocol: RouteProtocol::Static,
        scope,
        kind,
        ..RouteHeader::default()
    }
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

/// The gateway's attribute: an IPv4 route through an IPv6 gateway (RFC 8950) has one of its own.
fn gateway_attribute(destination: IpNet, gateway: IpAddr) -> RouteAttribute {
    match (destination, gateway) {
        (IpNet::V4(_), IpAddr::V6(gateway)) => RouteAttribute::Via(RouteVia::Inet6(gateway)),
        _ => RouteAttribute::Gateway(route_address(gateway)),
    }
}

fn push_next_hops(
    message: &mut RouteMessage,
    destination: IpNet,
    next_hops: &[NextHop],
    indexes: &mut Indexes<'_>,
) -> Result<()> {
    let mut entries = Vec::with_capacity(next_hops.len());
    for hop in next_hops {
        let mut entry = RouteNextHop::default();
        entry.hops = u8::try_from(hop.weight.wrapping_sub(1)).map_err(|_| {
            LabError::invalid(
                format!("use weight {} in route {destination}", hop.weight),
                "weights are 1–256",
            )
        })?;
        if hop.onlink {
            entry.flags = RouteNextHopFlags::Onlink;
        }
        if let Some(interface) = &hop.interface {
            entry.interface_index = indexes.of(interface)?;
        }
        entry.attributes.extend(hop.gateway.map(|it| gateway_attribute(destination, it)));
        entries.push(entry);
    }
    // A single next hop is told in the route's own attributes, as `ip route` does.
    if entries.len() == 1 {
        let entry = entries.remove(0);
        if entry.interface_index != 0 {
            message.attributes.push(RouteAttribute::Oif(entry.interface_index));
        }
        message.header.flags |=
            netlink_packet_route::route::RouteFlags::from_bits_retain(entry.flags.bits().into());
        message.attributes.extend(entry.attributes);
    } else {
        message.attributes.push(RouteAttribute::MultiPath(entries));
    }
    Ok(())
}
