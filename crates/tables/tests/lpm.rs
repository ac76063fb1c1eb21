//! The multibit table against its plain twin: the same adds, deletes and lookups on both.

use linecard_tables::TableFull;
use linecard_tables::generator::{Random, addresses_within, ipv4_routes, ipv6_routes};
use linecard_tables::lpm::{Address, Lpm, LpmImplementation, NO_ROUTE, Prefix, VALUE_MAX};
use linecard_tables::memory::Instructions;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Operation<A: Address> {
    Insert(Prefix<A>, u32),
    Remove(Prefix<A>),
}

/// Bits in which the addresses of the small space differ: the first, those around the borders of
/// nodes (11/12, 17/18, and 29/30 or the last for IPv6), and the last.
fn small_bits<A: Address>() -> [u8; 9] {
    [0, 1, 11, 12, 17, 18, A::BITS - 3, A::BITS - 2, A::BITS - 1]
}

/// Address `number` of 512.
fn small_address<A: Address>(number: u16) -> A {
    let bits = small_bits::<A>().into_iter().enumerate();
    bits.fold(A::default(), |address, (i, offset)| {
        address | A::from_bits_at(usize::from(number >> i & 1), offset, 1)
    })
}

/// Prefixes of the small space, and now and then any prefix. Shrinks towards 0/0.
fn prefix<A: Address>() -> impl Strategy<Value = Prefix<A>> {
    let borders = [0, 1, 2, 11, 12, 13, 17, 18, 19, 24, 25, A::BITS - 1, A::BITS];
    let length = prop_oneof![proptest::sample::select(borders.to_vec()), 0..=A::BITS];
    let address = prop_oneof![
        4 => (0u16..512).prop_map(small_address::<A>),
        1 => any::<u64>().prop_map(|seed| Random::new(seed).address()),
    ];
    (address, length).prop_map(|(address, length)| Prefix::new(address, length).unwrap())
}

fn operations<A: Address>() -> impl Strategy<Value = Vec<Operation<A>>> {
    let operation = prop_oneof![
        3 => (prefix(), 0u32..6).prop_map(|(prefix, value)| Operation::Insert(prefix, value)),
        2 => prefix().prop_map(Operation::Remove),
    ];
    proptest::collection::vec(operation, 1..120)
}

fn pair<A: Address>(routes_max: usize) -> [Lpm<A>; 2] {
    [LpmImplementation::Multibit, LpmImplementation::Sorted].map(|i| Lpm::new(i, routes_max))
}

/// Looks every address up in both tables, singly and in bulk, in batches of uneven length, with each
/// set of instructions that there is.
fn compare_lookups<A: Address>([table, twin]: &[Lpm<A>; 2], addresses: &[A]) {
    let expected: Vec<u32> = addresses.iter().map(|address| twin.lookup(*address)).collect();
    for instructions in Instructions::available() {
        let mut table = table.clone();
        table.set_instructions(instructions);
        assert_eq!(table.instructions(), instructions);
        for batch_length in [1, 8, 9, 32, 256, 333] {
            let mut values = vec![77; addresses.len()];
            let batches = addresses.chunks(batch_length).zip(values.chunks_mut(batch_length));
            batches.for_each(|(addresses, values)| table.lookup_bulk(addresses, values));
            for ((address, value), expected) in addresses.iter().zip(values).zip(&expected) {
                let address = Prefix::host(*address);
                assert_eq!(
                    value, *expected,
                    "{instructions:?}, bulk of {batch_length}: {address:?}"
                );
            }
        }
        for (address, expected) in addresses.iter().zip(&expected) {
            assert_eq!(table.lookup(*address), *expected, "{:?}", Prefix::host(*address));
        }
    }
}

fn compare_contents<A: Address>([table, twin]: &[Lpm<A>; 2]) {
    assert_eq!(table.len(), twin.len());
    assert!(table.iter().eq(twin.iter()), "contents or their order differ");
    for (prefix, value) in twin {
        assert_eq!(table.get(prefix), Some(value));
    }
}

fn replay<A: Address>(operations: Vec<Operation<A>>) {
    let mut pair = pair::<A>(40);
    let mut addresses: Vec<A> = (0..512).map(small_address).collect();
    for operation in operations {
        let prefix = match operation {
            Operation::Insert(prefix, value) => {
                let [answer, expected] = pair.each_mut().map(|lpm| lpm.insert(prefix, value));
                assert_eq!(answer, expected, "insert {prefix:?} {value}");
                prefix
            }
            Operation::Remove(prefix) => {
                let [answer, expected] = pair.each_mut().map(|lpm| lpm.remove(prefix));
                assert_eq!(answer, expected, "remove {prefix:?}");
                prefix
            }
        };
        let [answer, expected] = pair.each_ref().map(|lpm| lpm.get(prefix));
        assert_eq!(answer, expected, "get {prefix:?}");
        addresses.push(prefix.bits());
        addresses.push(prefix.bits() | (A::mask(prefix.length()) ^ A::mask(A::BITS)));
    }
    compare_contents(&pair);
    compare_lookups(&pair, &addresses);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn ipv4_agrees_with_the_twin(operations in operations::<u32>()) {
        replay(operations);
    }

    #[test]
    fn ipv6_agrees_with_the_twin(operations in operations::<u128>()) {
        replay(operations);
    }
}

/// Fills both tables, changes a third and removes a third; compares after each step.
fn replay_internet<A: Address>(routes: &[Prefix<A>], lookups: usize) {
    let mut pair = pair::<A>(routes.len());
    let mut addresses = addresses_within(routes, 11, lookups);
    let mut random = Random::new(12);
    addresses.extend((0..lookups / 8).map(|_| random.address::<A>()));
    for (number, route) in routes.iter().enumerate() {
        for lpm in &mut pair {
            assert_eq!(lpm.insert(*route, number as u32 + 1), Ok(None));
        }
    }
    compare_lookups(&pair, &addresses);
    for route in routes.iter().step_by(3) {
        let [answer, expected] = pair.each_mut().map(|lpm| lpm.remove(*route));
        assert_eq!(answer, expected);
    }
    for route in routes.iter().skip(1).step_by(3) {
        let value = random.next_u64() as u32 >> 1 | 1;
        let [answer, expected] = pair.each_mut().map(|lpm| lpm.insert(*route, value));
        assert_eq!(answer, expected);
    }
    compare_contents(&pair);
    compare_lookups(&pair, &addresses);
}

#[test]
fn ipv4_agrees_with_the_twin_on_200_000_routes_of_the_internet() {
    replay_internet(&ipv4_routes(2026, 200_000), 8000);
}

#[test]
fn ipv6_agrees_with_the_twin_on_200_000_routes_of_the_internet() {
    replay_internet(&ipv6_routes(2026, 200_000), 2000);
}

/// A node has 126 prefixes at the most, and a run of leaves for each slot.
#[test]
fn every_prefix_of_a_node_at_once() {
    let mut pair = pair::<u32>(300);
    let prefixes: Vec<Prefix<u32>> = (17..=24)
        .flat_map(|length| (0..1u32 << (length - 17)).map(move |n| (n << (32 - length), length)))
        .map(|(bits, length)| Prefix::new(0x0a00_0000 | bits, length).unwrap())
        .collect();
    for lpm in &mut pair {
        for (number, prefix) in prefixes.iter().enumerate() {
            assert_eq!(lpm.insert(*prefix, number as u32 + 1), Ok(None));
        }
    }
    let addresses: Vec<u32> = (0..256).map(|n| 0x0a00_0001 | n << 8).collect();
    compare_contents(&pair);
    compare_lookups(&pair, &addresses);
    for prefix in prefixes.iter().rev() {
        let [answer, expected] = pair.each_mut().map(|lpm| lpm.remove(*prefix));
        assert_eq!(answer, expected);
        compare_lookups(&pair, &addresses[..8]);
    }
    assert!(pair[0].is_empty());
}

#[test]
fn removed_routes_leave_room_that_is_used_again() {
    let mut table = Lpm::new(LpmImplementation::Multibit, 20_000);
    let mut memory_bytes = 0;
    // Other routes each time: what is left behind of the earlier ones would add up.
    for round in 0..8 {
        let routes = ipv6_routes(round, 20_000);
        for route in &routes {
            table.insert(*route, 1).unwrap();
        }
        for route in &routes {
            assert_eq!(table.remove(*route), Some(1));
        }
        assert!(table.is_empty() && table.iter().next().is_none());
        if round == 1 {
            memory_bytes = table.memory_bytes();
        }
    }
    let grown = table.memory_bytes() as f64 / memory_bytes as f64;
    assert!(grown < 1.05, "the table grew {grown}-fold with as many routes");
}

#[test]
fn a_value_beyond_the_largest_is_refused() {
    let mut table = Lpm::<u32>::new(LpmImplementation::Multibit, 2);
    let prefix = Prefix::new(10 << 24, 20).unwrap();
    assert_eq!(table.insert(prefix, VALUE_MAX), Ok(None));
    assert_eq!(table.lookup(10 << 24), VALUE_MAX);
    assert!(
        table.insert(prefix, VALUE_MAX + 1).is_err() && table.insert(prefix, u32::MAX).is_err()
    );
    assert_eq!(table.lookup(10 << 24), VALUE_MAX);
}

#[test]
fn a_full_table_refuses_new_routes_and_changes_old_ones() {
    for implementation in [LpmImplementation::Multibit, LpmImplementation::Sorted] {
        let mut table = Lpm::<u32>::new(implementation, 2);
        let [a, b, c] = [1, 2, 3].map(|n| Prefix::new(n << 24, 8).unwrap());
        assert_eq!(table.insert(a, 1), Ok(None));
        assert_eq!(table.insert(b, 2), Ok(None));
        assert_eq!(table.insert(c, 3), Err(TableFull { entries_max: 2 }));
        assert_eq!(table.lookup(3 << 24), NO_ROUTE);
        assert_eq!(table.insert(a, 9), Ok(Some(1)));
        assert_eq!(table.insert(b, NO_ROUTE), Ok(Some(2)), "value 0 removes");
        assert_eq!(table.insert(c, 3), Ok(None));
        assert_eq!(table.lookup(3 << 24 | 5), 3);
    }
}
