//! The largest tables that are promised: 2,000,000 IPv4 and 500,000 IPv6 routes.

use linecard_tables::TableFull;
use linecard_tables::generator::{addresses_within, ipv4_routes, ipv6_routes};
use linecard_tables::lpm::{Address, Lpm, LpmImplementation, NO_ROUTE, Prefix};

/// The longest route that contains the address, out of the exact routes: lookups read something else.
fn longest<A: Address>(table: &Lpm<A>, address: A) -> u32 {
    let lengths = (0..=A::BITS).rev();
    let routes = lengths.filter_map(|length| table.get(Prefix::new(address, length)?));
    routes.take(1).next().unwrap_or(NO_ROUTE)
}

/// Fills a table, looks up, removes every other route, looks up again, and empties it.
fn fill_and_empty<A: Address>(routes: &[Prefix<A>]) {
    let mut table = Lpm::new(LpmImplementation::Multibit, routes.len());
    for (route, value) in routes.iter().zip(1..) {
        assert_eq!(table.insert(*route, value), Ok(None));
    }
    let full = TableFull { entries_max: routes.len() };
    let other = Prefix::host(A::mask(A::BITS));
    assert_eq!((table.len(), table.insert(other, 1)), (routes.len(), Err(full)));
    let addresses = addresses_within(routes, 1, 4096);
    let compare = |table: &Lpm<A>| {
        let mut values = vec![NO_ROUTE; addresses.len()];
        table.lookup_bulk(&addresses, &mut values);
        for (address, value) in addresses.iter().zip(values) {
            assert_eq!(value, longest(table, *address), "{:?}", Prefix::host(*address));
        }
    };
    compare(&table);
    for (route, value) in routes.iter().zip(1..).step_by(2) {
        assert_eq!(table.remove(*route), Some(value));
    }
    compare(&table);
    for (route, value) in routes.iter().zip(1..).skip(1).step_by(2) {
        assert_eq!(table.remove(*route), Some(value));
    }
    assert!(table.is_empty() && addresses.iter().all(|a| table.lookup(*a) == NO_ROUTE));
}

#[test]
fn two_million_ipv4_routes() {
    fill_and_empty(&ipv4_routes(3, 2_000_000));
}

#[test]
fn half_a_million_ipv6_routes() {
    fill_and_empty(&ipv6_routes(3, 500_000));
}
