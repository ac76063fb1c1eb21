//! The exact-match table against its plain twin.

use linecard_tables::TableFull;
use linecard_tables::exact::{ExactTable, ExactTwin, NO_ENTRY};
use linecard_tables::lpm::Address;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Operation {
    Insert(u16, u8, u32),
    Remove(u16, u8),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let value = prop_oneof![9 => 0u32..4, 1 => Just(NO_ENTRY)];
    let operation = prop_oneof![
        3 => (0u16..3, 0u8..24, value).prop_map(|(i, a, value)| Operation::Insert(i, a, value)),
        2 => (0u16..3, 0u8..24).prop_map(|(i, a)| Operation::Remove(i, a)),
    ];
    proptest::collection::vec(operation, 1..200)
}

/// Address `number` differs from the others in the first and in the last bits.
fn address<A: Address>(number: u8) -> A {
    A::from_bits_at(usize::from(number & 3), 0, 2) | A::from_bits_at(number.into(), A::BITS - 8, 8)
}

fn replay<A: Address>(operations: &[Operation], seed: u64) {
    let (mut table, mut twin) = (ExactTable::<A>::new(30, seed), ExactTwin::<A>::new(30));
    for operation in operations {
        match *operation {
            Operation::Insert(interface, number, value) => {
                let key = (interface, address(number));
                assert_eq!(table.insert(key, value), twin.insert(key, value));
            }
            Operation::Remove(interface, number) => {
                let key = (interface, address(number));
                assert_eq!(table.remove(key), twin.remove(key));
            }
        }
    }
    let keys: Vec<_> = (0..4u16).flat_map(|i| (0..25).map(move |n| (i, address::<A>(n)))).collect();
    let mut values = vec![7; keys.len()];
    table.lookup_bulk(&keys, &mut values);
    for (key, value) in keys.into_iter().zip(values) {
        assert_eq!(value, twin.lookup(key), "bulk {key:?}");
        assert_eq!(table.lookup(key), twin.lookup(key), "single {key:?}");
    }
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_unstable();
    assert!(entries.into_iter().eq(twin.iter()));
}

proptest! {
    #[test]
    fn agrees_with_the_twin(operations in operations(), seed in any::<u64>()) {
        replay::<u32>(&operations, seed);
        replay::<u128>(&operations, seed);
    }
}

#[test]
fn room_is_taken_at_set_up() {
    let mut table = ExactTable::<u128>::new(1000, 1);
    let memory_bytes = table.memory_bytes();
    for round in 0..20u128 {
        for number in 0..1000 {
            assert_eq!(table.insert((1, round << 64 | number), 5), Ok(None));
        }
        assert_eq!(table.insert((2, 0), 5), Err(TableFull { entries_max: 1000 }));
        for number in 0..1000 {
            assert_eq!(table.remove((1, round << 64 | number)), Some(5));
        }
    }
    assert_eq!(table.memory_bytes(), memory_bytes);
}
