//! What is offered to the route cache, and how much is looked at for it.

use std::net::IpAddr;
use std::sync::Arc;

use linecard_io::{CachedRoute, MemoryConfig, PacketMemory, RouteCache};
use linecard_packet::{AdjacencyId, Batch, InterfaceId, PortId, Verdict, parse};
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities, RouteOffers,
    RouteScratch, RouteStats, RouteTables, RouteUpdate, process,
};
use linecard_tables::hash::FlowHash;
use linecard_tables::publication::{Publish, Writer};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const NEIGHBOUR: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
const CAPACITIES: RouteCapacities = RouteCapacities {
    routes_ipv4_max: 16,
    routes_ipv6_max: 16,
    groups_max: 16,
    next_hops_max: 16,
    adjacencies_max: 16,
    interfaces_max: 16,
};

/// 20.0.0.0/8 has one next hop, 30.0.0.0/8 two.
fn updates() -> Vec<RouteUpdate> {
    let mut updates = Vec::new();
    for id in 0..3_u16 {
        let interface = Interface {
            port: PortId(id),
            vlans: Vec::new(),
            mac_address: ROUTER,
            mtu_bytes: 1500,
            up: true,
            forwarding_ipv4: true,
            forwarding_ipv6: true,
            own_ipv4: None,
            own_ipv6: None,
        };
        let adjacency = Adjacency {
            interface: InterfaceId(id),
            address: IpAddr::from([10, 0, id as u8, 2]),
            mac_address: Some(NEIGHBOUR),
        };
        let (at, next_hop) = (AdjacencyId(id.into()), NextHopId(id.into()));
        updates.push(RouteUpdate::SetInterface(InterfaceId(id), interface));
        updates.push(RouteUpdate::SetAdjacency(at, adjacency));
        updates.push(RouteUpdate::SetNextHop(next_hop, NextHop::Gateway(at)));
    }
    for (id, prefix, next_hops) in [(1, "20.0.0.0/8", &[1][..]), (2, "30.0.0.0/8", &[1, 2])] {
        let member = |&next_hop| Member { next_hop: NextHopId(next_hop), weight: 1 };
        let members = next_hops.iter().map(member).collect();
        updates.push(RouteUpdate::SetGroup(NextHopGroupId(id), members));
        let prefix = prefix.parse().expect("a prefix");
        updates.push(RouteUpdate::SetRoute(prefix, NextHopGroupId(id)));
    }
    updates
}

struct Path {
    memory: PacketMemory,
    tables: Writer<RouteTables, RouteUpdate>,
    cache: Arc<RouteCache>,
    offers: RouteOffers,
}

impl Path {
    fn new() -> Self {
        let memory = PacketMemory::new(MemoryConfig { frames: 256, chunk_bytes: 2048 });
        let mut tables = Writer::new(RouteTables::new(&CAPACITIES), RouteTables::new(&CAPACITIES));
        updates().into_iter().for_each(|update| tables.append(update));
        assert_eq!(tables.publish(), Publish::Published);
        let cache = RouteCache::in_plain_memory(4096).expect("256 KiB of memory");
        cache.set_source(0, true);
        cache.set_target(1, 0).expect("nothing that could fail");
        let offers = RouteOffers::new(Arc::clone(&cache));
        Self { memory: memory.expect("512 KiB of memory"), tables, cache, offers }
    }

    /// Forwards a batch to these destinations; `between` is after they were chosen, before the offers.
    fn forward(&mut self, destinations: &[[u8; 4]], between: impl FnOnce(&mut Self)) {
        let mut batch = Batch::new();
        for &destination in destinations {
            let header = Ipv4::new([192, 0, 2, 1].into(), destination.into());
            let packet = PacketBuilder::new().ethernet(ROUTER, NEIGHBOUR).ipv4(header);
            let mut frame = self.memory.allocate().expect("a batch fits");
            assert!(self.memory.set_packet(&mut frame, &packet.udp(Udp::new(1, 2)).build()));
            batch.frames.push(frame);
        }
        let reader = self.tables.reader();
        {
            let tables = reader.get();
            let (mut scratch, mut stats) = (RouteScratch::new(), RouteStats::new(16));
            let hash = FlowHash::new(7);
            batch.end_segment(PortId(0), 0);
            parse(&mut batch, &self.memory, |port| tables.station(port));
            process(&mut batch, &self.memory, tables, &hash, &mut scratch, &mut stats);
            let is_forwarded = |it: &Verdict| matches!(it, Verdict::Forward { .. });
            assert!(batch.verdicts.iter().all(is_forwarded), "{:?}", batch.verdicts);
            self.offers.gather(&batch, &self.memory, tables);
        }
        between(self);
        self.offers.make(&reader);
        batch.frames.drain(..).for_each(|frame| self.memory.free(frame));
    }

    /// All that is in the cache.
    fn cached(&self) -> Vec<CachedRoute> {
        let mut cached = Vec::new();
        self.cache.erase(|route| {
            cached.push(*route);
            false
        });
        cached
    }
}

#[test]
fn a_packet_with_one_next_hop_is_offered_as_it_was_forwarded() {
    let mut path = Path::new();
    path.forward(&[[20, 0, 0, 1]], |_| {});
    let route = CachedRoute {
        in_port: 0,
        destination: IpAddr::from([20, 0, 0, 1]),
        out_port: 1,
        destination_mac: [2, 0, 0, 0, 0, 2],
        source_mac: [2, 0, 0, 0, 0, 1],
        mtu_bytes: 1500,
        adjacency: 1,
    };
    assert_eq!(path.cached(), [route]);
}

#[test]
fn multipath_packets_are_not_offered_and_use_up_what_is_looked_at() {
    let mut path = Path::new();
    // Two of 64 packets are looked at: the first two of this batch, which have several next hops.
    let mut destinations = [[20, 0, 0, 1]; 64];
    destinations[..2].fill([30, 0, 0, 1]);
    path.forward(&destinations, |_| {});
    assert_eq!(path.cached(), [], "a lookup that is for nothing counts");
    // The next batch is begun behind them.
    path.forward(&destinations, |_| {});
    assert_eq!(path.cached().len(), 1);
    for _ in 0..100 {
        path.forward(&[[30, 0, 0, 1]; 64], |_| {});
    }
    assert_eq!(path.cached().len(), 1);
}

#[test]
fn each_destination_of_a_batch_has_its_turn() {
    let mut path = Path::new();
    let destinations: Vec<_> = (0..64).map(|host| [20, 0, 0, host]).collect();
    for batch in 1..=32 {
        path.forward(&destinations, |_| {});
        assert!(path.cached().len() <= 2 * batch, "two of 64 packets are looked at");
    }
    assert_eq!(path.cached().len(), 64);
}

#[test]
fn what_was_chosen_before_a_publication_does_not_come_true() {
    let mut path = Path::new();
    path.forward(&[[20, 0, 0, 1]], |path| {
        let prefix = "20.0.0.0/16".parse().expect("a prefix");
        path.tables.append(RouteUpdate::SetRoute(prefix, NextHopGroupId(2)));
        let _ = path.tables.publish();
        path.cache.erase(|_| true);
    });
    assert_eq!(path.cached(), []);
}

#[test]
fn nothing_is_offered_for_ports_that_take_no_part() {
    let mut path = Path::new();
    path.cache.set_source(0, false);
    path.forward(&[[20, 0, 0, 1]], |_| {});
    path.cache.set_source(0, true);
    path.cache.remove_target(1).expect("nothing that could fail");
    path.forward(&[[20, 0, 0, 1]], |_| {});
    assert_eq!(path.cached(), []);
}
