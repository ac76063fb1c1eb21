//! The packet path allocates nothing once it runs, whatever becomes of the packets.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use common::{Rig, RigConfig, to_router};
use linecard_io::RouteCache;
use linecard_services::route::RouteOffers;
use linecard_wire::builder::{Ipv4, Ipv6, Udp};

#[test]
fn a_round_allocates_nothing() {
    // The device for punted packets is full, since the one of these tests allocates.
    let mut rig = Rig::new(&RigConfig { punt_packets_max: 0, ..RigConfig::default() });
    let cache = RouteCache::in_plain_memory(4).expect("a page of memory");
    cache.set_source(0, true);
    cache.set_target(1, 0).expect("nothing that could fail");
    rig.worker.offer_routes(RouteOffers::new(Arc::clone(&cache)));
    let source = Ipv4Addr::new(10, 0, 0, 2);
    let source6: Ipv6Addr = "2001:db8::2".parse().unwrap();
    let mut packets = Vec::new();
    for destination in
        ["10.1.0.2", "10.1.0.9", "20.0.0.1", "20.1.0.1", "20.2.0.1", "20.5.0.1", "99.0.0.1"]
    {
        let header = Ipv4::new(source, destination.parse().unwrap());
        packets.push(to_router().ipv4(header).udp(Udp::new(1, 2)).pad_to(60).build());
    }
    for destination in ["2001:db8:1::2", "2001:db8:20::1", "2001:db8:99::1"] {
        let header = Ipv6::new(source6, destination.parse().unwrap());
        packets.push(to_router().ipv6(header).udp(Udp::new(1, 2)).build());
    }
    packets.push(vec![0; 10]);
    for round in 0..20 {
        for packet in packets.iter().cycle().take(300) {
            assert!(rig.peers[0].send(packet), "the wire has room");
        }
        let mut received = 0;
        // A second of packet time a round, so that the kernel's counters are read too.
        let allocations = allocation_counter::measure(|| {
            received = rig.worker.run_once(round * 2_000_000_000);
            received += rig.worker.run_once(round * 2_000_000_000 + 1);
        });
        assert_eq!(received, 300);
        assert_eq!(allocations.count_total, 0, "round {round}: {allocations:?}");
        while rig.peers[1].receive().is_some() {}
    }
    assert!(cache.entries() > 0, "routes were offered");
    let totals = rig.totals();
    assert_eq!(totals[0].received_packets, 6_000);
    assert!(totals[0].forwarded_packets > 2_000, "{totals:?}");
}
