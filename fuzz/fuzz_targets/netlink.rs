//! Datagrams of the kernel's, from their bytes to the tables: whatever they say, the updates that
//! come of them are complete, each on those before it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linecard_control::mirror;
use linecard_control::rib::Rib;
use linecard_packet::PortId;
use linecard_services::route::{RouteCapacities, RouteTables};
use linecard_tables::publication::Absorb;

/// The plain interpreter of the RIB's own tests: it refuses what refers to nothing.
#[path = "../../crates/control/tests/tables/mod.rs"]
mod tables;

/// More than a datagram of the longest input can fill.
const CAPACITIES: RouteCapacities = RouteCapacities {
    routes_ipv4_max: 1024,
    routes_ipv6_max: 1024,
    groups_max: 1024,
    next_hops_max: 1024,
    adjacencies_max: 1024,
    interfaces_max: 1024,
};

/// Links with these indexes are ports.
const SERVED: [(u32, PortId); 2] = [(2, PortId(0)), (3, PortId(1))];

fuzz_target!(|bytes: &[u8]| {
    let mut rib = Rib::new();
    for (ifindex, port) in SERVED {
        rib.serve(ifindex, port);
    }
    let mut tables = RouteTables::new(&CAPACITIES);
    let mut plain = tables::Tables::default();
    let (mut updates, mut local) = (Vec::new(), Vec::new());
    for fact in mirror::facts(bytes) {
        rib.apply(fact);
        rib.drain(&mut updates);
        rib.drain_local(&mut local);
        for update in updates.drain(..) {
            tables.absorb(&update);
            assert_eq!(tables.refused_updates(), 0, "{update:?}");
            plain.apply(update);
        }
    }
    let (ipv4, ipv6) = tables.routes();
    assert_eq!(ipv4 + ipv6, plain.routes.len());
    assert!(plain.routes.len() <= rib.prefixes());
});
