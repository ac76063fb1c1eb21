//! Ports that the kernel does not know, told as the kernel would tell of them.
//!
//! A pcap or memory port becomes a link, its VLANs become links on it, its addresses bring the
//! same routes that the kernel makes of them (net/ipv4/fib_frontend.c `fib_add_ifaddr`,
//! net/ipv6/addrconf.c), so that the RIB treats both worlds alike.

use std::net::IpAddr;

use ipnet::IpNet;
use linecard_packet::PortId;

use super::resolved::{
    Config, InterfaceRef, RouteAction, StaticInterface, StaticPort, StaticRoute, VlanTag,
};
use crate::facts::{
    Address, Fact, IFINDEX_STATIC_FIRST, Link, LinkKind, Neighbour, NeighbourState, Path, Route,
    RouteMode, RouteTarget, RouteType, TABLE_LOCAL,
};
use crate::rib::Rib;

/// `RTPROT_KERNEL`: made of an address.
const PROTOCOL_KERNEL: u8 = 2;

/// What the configuration says in the kernel's place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StaticFacts {
    /// Each static port with the interface index that it was given.
    pub ports: Vec<(PortId, u32)>,
    /// The facts, in an order in which each refers to earlier ones only.
    pub facts: Vec<Fact>,
}

impl StaticFacts {
    /// The facts of `config`; none when its ports are kernel interfaces.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let indexes = Indexes::of(config);
        let mut told = Self::default();
        for (number, port) in config.ports.iter().enumerate() {
            let Some(station) = port.kind.station() else { continue };
            told.ports.push((port_id(number), indexes.of_port(number)));
            told.links(&port.name, station, number, &indexes);
            for (interface, at) in station.interfaces.iter().enumerate() {
                let ifindex = indexes.of_interface(InterfaceRef { port: number, interface });
                at.addresses.iter().for_each(|address| told.address(ifindex, *address));
            }
        }
        for neighbour in &config.neighbours {
            told.facts.push(Fact::SetNeighbour(Neighbour {
                ifindex: indexes.of_interface(neighbour.interface),
                address: neighbour.address,
                mac_address: Some(neighbour.mac_address),
                state: NeighbourState::Usable,
                permanent: true,
            }));
        }
        for route in &config.routes {
            let route = static_route(route, &indexes);
            told.facts.push(Fact::SetRoute(route, RouteMode::Append));
        }
        told
    }

    /// Tells `rib` all of it.
    pub fn tell(self, rib: &mut Rib) {
        for (port, ifindex) in self.ports {
            rib.serve(ifindex, port);
        }
        for fact in self.facts {
            rib.apply_static(fact);
        }
    }

    fn links(&mut self, name: &str, station: &StaticPort, port: usize, indexes: &Indexes) {
        // Outer tags that no interface of their own has are links without an address.
        for link in indexes.links.iter().filter(|link| link.port == port) {
            let exact = station.interfaces.iter().find(|at| at.vlans == link.vlans);
            let kind = match link.vlans.split_last() {
                None => LinkKind::Other,
                Some((tag, outer)) => LinkKind::Vlan {
                    lower: indexes.find(port, outer),
                    tag_protocol: tag.protocol,
                    id: tag.id,
                },
            };
            let ids: String = link.vlans.iter().map(|tag| format!(".{}", tag.id)).collect();
            self.facts.push(Fact::SetLink(Link {
                ifindex: indexes.find(port, &link.vlans),
                name: format!("{name}{ids}"),
                mac_address: station.mac_address,
                mtu_bytes: exact.map_or(station.interfaces[0].mtu_bytes, |at| at.mtu_bytes),
                up: true,
                carrier: true,
                kind,
                forwarding_ipv4: true,
                forwarding_ipv6: true,
                ignore_linkdown_ipv4: false,
                ignore_linkdown_ipv6: false,
            }));
        }
    }

    fn address(&mut self, ifindex: u32, address: IpNet) {
        self.facts.push(Fact::SetAddress(Address { ifindex, address }));
        let host = IpNet::from(address.addr());
        self.kernel_route(ifindex, host, RouteType::Local);
        match address {
            IpNet::V4(v4) if v4.prefix_len() < 31 => {
                let broadcast = IpNet::from(IpAddr::V4(v4.broadcast()));
                self.kernel_route(ifindex, broadcast, RouteType::Broadcast);
            }
            // The subnet-router anycast address (RFC 4291 2.6.1), but for point-to-point links
            // (RFC 6164).
            IpNet::V6(v6) if v6.prefix_len() < 127 => {
                let anycast = IpNet::from(IpAddr::V6(v6.network()));
                self.kernel_route(ifindex, anycast, RouteType::Anycast);
            }
            IpNet::V4(_) | IpNet::V6(_) => {}
        }
        if address.prefix_len() < address.max_prefix_len() {
            self.kernel_route(ifindex, address.trunc(), RouteType::Unicast);
        }
    }

    fn kernel_route(&mut self, ifindex: u32, prefix: IpNet, route_type: RouteType) {
        let path = Path { ifindex, via: None, weight: 1, dead: false };
        let mut route = Route::unicast(prefix, vec![path]);
        route.protocol = PROTOCOL_KERNEL;
        if route_type != RouteType::Unicast {
            route.route_type = route_type;
            route.table = TABLE_LOCAL;
        }
        self.facts.push(Fact::SetRoute(route, RouteMode::Append));
    }
}

fn port_id(number: usize) -> PortId {
    PortId(u16::try_from(number).expect("the configuration has 1024 ports at the most"))
}

fn static_route(route: &StaticRoute, indexes: &Indexes) -> Route {
    let mut told = Route::unicast(route.prefix, Vec::new());
    let (route_type, paths) = match &route.action {
        RouteAction::Blackhole => (RouteType::Blackhole, Vec::new()),
        RouteAction::Unreachable => (RouteType::Unreachable, Vec::new()),
        RouteAction::Prohibit => (RouteType::Prohibit, Vec::new()),
        RouteAction::NextHops(next_hops) => {
            let path = |next_hop: &super::StaticNextHop| Path {
                ifindex: indexes.of_interface(next_hop.interface),
                via: next_hop.gateway,
                weight: next_hop.weight,
                dead: false,
            };
            (RouteType::Unicast, next_hops.iter().map(path).collect())
        }
    };
    told.route_type = route_type;
    told.target = RouteTarget::Paths(paths);
    told
}

/// The interface indexes: one for each link, given out in order.
struct Indexes {
    links: Vec<StaticLink>,
    /// For each port, for each of its interfaces, the position in `links`.
    interfaces: Vec<Vec<usize>>,
}

struct StaticLink {
    port: usize,
    vlans: Vec<VlanTag>,
}

impl Indexes {
    fn of(config: &Config) -> Self {
        let mut indexes = Self { links: Vec::new(), interfaces: Vec::new() };
        for (port, at) in config.ports.iter().enumerate() {
            let interfaces = at.kind.station().map_or(&[][..], |station| &station.interfaces);
            // Sorted by number of tags, a lower link stands before those that it carries.
            let mut vlans: Vec<&[VlanTag]> = interfaces
                .iter()
                .flat_map(|i| (0..=i.vlans.len()).map(|n| &i.vlans[..n]))
                .collect();
            vlans.sort_by_key(|tags| {
                (tags.len(), tags.iter().map(|t| (t.id, t.protocol)).collect::<Vec<_>>())
            });
            vlans.dedup();
            let first = indexes.links.len();
            let position = |i: &StaticInterface| {
                let found = vlans.iter().position(|tags| *tags == i.vlans);
                first + found.expect("every interface's tags were put in")
            };
            indexes.interfaces.push(interfaces.iter().map(position).collect());
            let link = |tags: &&[VlanTag]| StaticLink { port, vlans: tags.to_vec() };
            indexes.links.extend(vlans.iter().map(link));
        }
        indexes
    }

    fn ifindex(position: usize) -> u32 {
        IFINDEX_STATIC_FIRST + u32::try_from(position).expect("fewer links than interface indexes")
    }

    fn of_interface(&self, of: InterfaceRef) -> u32 {
        Self::ifindex(self.interfaces[of.port][of.interface])
    }

    fn of_port(&self, port: usize) -> u32 {
        self.of_interface(InterfaceRef { port, interface: 0 })
    }

    fn find(&self, port: usize, vlans: &[VlanTag]) -> u32 {
        let found = self.links.iter().position(|link| link.port == port && link.vlans == vlans);
        Self::ifindex(found.expect("every outer tag is a link"))
    }
}
