//! The router under test: ports, neighbours, next-hop groups and routes, told to the tables as the
//! daemon tells them, and kept beside them as plainly as can be for the checker.
//!
//! Four ports with 64 neighbours each. A route points to one of 256 groups, drawn evenly, each with one
//! neighbour. For multipath there are 64 more, with two to eight neighbours, so that one packet in five
//! takes such a route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use linecard_packet::{AdjacencyId, InterfaceId, PortId};
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities, RouteTables,
    RouteUpdate,
};
use linecard_tables::generator::Random;
use linecard_tables::hash::FlowHash;
use linecard_tables::lpm::{Address, Prefix};
use linecard_tables::next_hop::{NextHopGroups, NextHopTwin};
use linecard_tables::publication::{Publish, Subscription, Writer};
use linecard_wire::MacAddress;

use super::intervals::Intervals;
use super::traffic::Traffic;

/// Ports of the router under test.
pub(super) const PORTS: u16 = 4;
const NEIGHBOURS: u32 = 256;
const GROUPS_MULTIPATH: u32 = 64;
const MEMBERS_MAX: usize = 8;
const MTU_BYTES: u32 = 1500;

/// The station address of a port.
pub(super) fn station(port: PortId) -> MacAddress {
    let [high, low] = port.0.to_be_bytes();
    MacAddress::new([0x02, 0x22, 0, 0, high, low])
}

/// The station address of a neighbour.
fn neighbour(id: u32) -> MacAddress {
    let [_, a, b, c] = id.to_be_bytes();
    MacAddress::new([0x02, 0x33, 0, a, b, c])
}

/// The port behind which a neighbour is.
fn port_of(neighbour: u32) -> PortId {
    PortId((neighbour % u32::from(PORTS)) as u16)
}

/// What the packet path reads, and what it is held against.
pub(super) struct Network<A: Address> {
    writer: Writer<RouteTables, RouteUpdate>,
    prefixes: Arc<Vec<Prefix<A>>>,
    reference: Arc<Reference<A>>,
    load: Duration,
}

/// What must become of a packet, worked out without the packet path's tables: routes are intervals
/// of addresses in order, a group's member is found in its list of buckets.
#[derive(Debug)]
pub(super) struct Reference<A: Address> {
    groups_by_address: Intervals<A>,
    groups: NextHopTwin,
    flow_hash: FlowHash,
}

/// Where a packet leaves, and by which addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Departure {
    pub(super) port: PortId,
    pub(super) destination: MacAddress,
    pub(super) source: MacAddress,
}

impl<A: Traffic> Reference<A> {
    /// Where the packet with this header leaves; `None` when no route contains its destination.
    pub(super) fn departure(&self, header: &super::traffic::Header<A>) -> Option<Departure> {
        let group = self.groups_by_address.find(header.destination)?;
        let next_hop = self.groups.select(group, A::flow_hash(header, &self.flow_hash));
        let port = port_of(next_hop);
        Some(Departure { port, destination: neighbour(next_hop), source: station(port) })
    }

    /// The port of the route to an address that packets come from, by its first next hop; `None` without a route.
    pub(super) fn port_back(&self, source: A) -> Option<PortId> {
        let group = self.groups_by_address.find(source)?;
        Some(port_of(self.groups.select(group, 0)))
    }
}

impl<A: Traffic + Routable> Network<A> {
    /// Fills tables with these routes, some of them with several next hops if `multipath`. `prefixes` are
    /// distinct and in random order.
    ///
    /// # Errors
    /// When the tables did not take all of them.
    pub(super) fn new(
        prefixes: Vec<Prefix<A>>,
        seed: u64,
        multipath: bool,
    ) -> anyhow::Result<Self> {
        let mut random = Random::new(seed);
        let groups_multipath = if multipath { GROUPS_MULTIPATH } else { 0 };
        let groups = groups(groups_multipath, &mut random);
        let routes: Vec<(Prefix<A>, u32)> = prefixes
            .iter()
            .map(|prefix| (*prefix, 1 + random.below(groups.len()) as u32))
            .collect();
        let reference = reference(&routes, &groups, seed)?;

        let capacities = RouteCapacities::default();
        let mut writer = Writer::new(RouteTables::new(&capacities), RouteTables::new(&capacities));
        tell_neighbours(&mut writer, A::FIRST_NEIGHBOUR);
        tell_groups(&mut writer, &groups);
        let start = Instant::now();
        for (prefix, group) in routes {
            writer.append(RouteUpdate::SetRoute(A::net(prefix), NextHopGroupId(group)));
        }
        let published = writer.publish();
        let load = start.elapsed();
        // The second copy, and the updates' memory.
        if published != Publish::Published || writer.settle() != Publish::Published {
            bail!("the tables have a reader before they are filled");
        }
        let tables = writer.published();
        let (ipv4, ipv6) = tables.routes();
        let refused = tables.refused_updates();
        if refused > 0 || ipv4 + ipv6 != prefixes.len() {
            let (all, taken) = (prefixes.len(), ipv4 + ipv6);
            bail!("the tables took {taken} of {all} routes and refused {refused} updates");
        }
        Ok(Self { writer, prefixes: Arc::new(prefixes), reference: Arc::new(reference), load })
    }

    /// How long one copy of the tables took to load.
    pub(super) fn load(&self) -> Duration {
        self.load
    }

    /// What makes readers.
    pub(super) fn subscription(&self) -> Subscription<RouteTables> {
        self.writer.subscription()
    }

    /// The routes, in the order in which traffic ranks them.
    pub(super) fn prefixes(&self) -> &Arc<Vec<Prefix<A>>> {
        &self.prefixes
    }

    /// What packets are held against.
    pub(super) fn reference(&self) -> &Arc<Reference<A>> {
        &self.reference
    }
}

/// Members of each group, as (next hop, weight); group `i` here has number `i` + 1.
fn groups(groups_multipath: u32, random: &mut Random) -> Vec<Vec<(u32, u32)>> {
    let single = (0..NEIGHBOURS).map(|id| vec![(id, 1)]);
    let multipath = (0..groups_multipath).map(|_| {
        let first = random.below(NEIGHBOURS as usize) as u32;
        let members = 2 + random.below(MEMBERS_MAX - 1) as u32;
        (0..members).map(|i| ((first + 37 * i) % NEIGHBOURS, 1)).collect()
    });
    single.chain(multipath).collect()
}

fn reference<A: Address>(
    routes: &[(Prefix<A>, u32)],
    groups: &[Vec<(u32, u32)>],
    seed: u64,
) -> anyhow::Result<Reference<A>> {
    let mut buckets = NextHopGroups::new(groups.len() as u32 + 1);
    let mut twin = NextHopTwin::new();
    for (id, members) in (1..).zip(groups) {
        buckets.set(id, members)?;
        twin.set(id, members, &buckets).map_err(anyhow::Error::msg)?;
    }
    let groups_by_address = Intervals::new(routes);
    Ok(Reference { groups_by_address, groups: twin, flow_hash: FlowHash::new(seed) })
}

fn tell_neighbours(writer: &mut Writer<RouteTables, RouteUpdate>, first: IpAddr) {
    for port in (0..PORTS).map(PortId) {
        let interface = Interface {
            port,
            vlans: Vec::new(),
            mac_address: station(port),
            mtu_bytes: MTU_BYTES,
            up: true,
            forwarding_ipv4: true,
            forwarding_ipv6: true,
            own_ipv4: None,
            own_ipv6: None,
        };
        writer.append(RouteUpdate::SetInterface(InterfaceId(port.0), interface));
    }
    for id in 0..NEIGHBOURS {
        let address = match first {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + id).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(id)).into(),
        };
        let interface = InterfaceId(port_of(id).0);
        let adjacency = Adjacency { interface, address, mac_address: Some(neighbour(id)) };
        writer.append(RouteUpdate::SetAdjacency(AdjacencyId(id), adjacency));
        let next_hop = NextHop::Gateway(AdjacencyId(id));
        writer.append(RouteUpdate::SetNextHop(NextHopId(id), next_hop));
    }
}

fn tell_groups(writer: &mut Writer<RouteTables, RouteUpdate>, groups: &[Vec<(u32, u32)>]) {
    for (id, members) in (1..).zip(groups) {
        let member = |&(id, weight)| Member { next_hop: NextHopId(id), weight };
        let members = members.iter().map(member).collect();
        writer.append(RouteUpdate::SetGroup(NextHopGroupId(id), members));
    }
}

/// What the control side needs to know of a family.
pub(super) trait Routable: Address {
    const FIRST_NEIGHBOUR: IpAddr;
    fn net(prefix: Prefix<Self>) -> IpNet;
}

impl Routable for u32 {
    // RFC 2544 C.2.2: the network for benchmarks.
    const FIRST_NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

    fn net(prefix: Prefix<Self>) -> IpNet {
        Ipv4Net::from(prefix).into()
    }
}

impl Routable for u128 {
    const FIRST_NEIGHBOUR: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));

    fn net(prefix: Prefix<Self>) -> IpNet {
        Ipv6Net::from(prefix).into()
    }
}
