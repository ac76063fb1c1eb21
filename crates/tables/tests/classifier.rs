//! The trees against their plain twin: the same entries, changes and lookups on both.

use linecard_tables::TableFull;
use linecard_tables::classifier::generator::{ORDER_STEP, Shape, packets, rules};
use linecard_tables::classifier::{
    Classifier, ClassifierImplementation, Entry, InsertError, InvalidEntry, Key, KeyColumns,
    Masked, NO_MATCH, ORDER_MAX, Ports,
};
use linecard_tables::generator::Random;
use linecard_tables::lpm::{Address, Prefix};
use linecard_tables::memory::Instructions;
use proptest::prelude::*;

type Pair<A> = [Classifier<A>; 2];

fn pair<A: Address>(entries_max: usize) -> Pair<A> {
    [ClassifierImplementation::Trees, ClassifierImplementation::Linear]
        .map(|implementation| Classifier::new(implementation, entries_max))
}

/// Conditions that hold for some keys: a function of the key's number and the entry's value.
fn holds(key: usize, value: u32) -> bool {
    (key as u32).wrapping_mul(0x9e37_79b9).wrapping_add(value.wrapping_mul(0x85eb_ca6b)) >> 31 == 0
}

/// Looks every key up in both, singly and in batches of uneven length, with each set of instructions.
fn compare_lookups<A: Address>([table, twin]: &Pair<A>, keys: &[Key<A>]) {
    let columns: KeyColumns<A> = keys.iter().copied().collect();
    let columns = columns.as_keys();
    let mut expected = vec![0; keys.len()];
    twin.lookup_bulk(columns, &mut expected, holds);
    for instructions in Instructions::available() {
        let mut table = table.clone();
        table.set_instructions(instructions);
        assert_eq!(table.instructions(), instructions);
        for batch_length in [7, 64, 256, 333] {
            let mut values = vec![77; keys.len()];
            for (number, values) in values.chunks_mut(batch_length).enumerate() {
                let start = number * batch_length;
                let part = columns.part(start, start + values.len());
                table.lookup_bulk(part, values, |place, value| {
                    let key = table_matches(&table, &keys[start + place], value);
                    assert!(
                        key,
                        "asked about entry {value}, which key {} does not match",
                        start + place
                    );
                    holds(start + place, value)
                });
            }
            for (number, (value, expected)) in values.iter().zip(&expected).enumerate() {
                assert_eq!(
                    value, expected,
                    "{instructions:?}, bulk of {batch_length}: {:?}",
                    keys[number]
                );
            }
        }
    }
    for (number, (key, expected)) in keys.iter().zip(&expected).enumerate().take(100) {
        assert_eq!(table.lookup(key, |value| holds(number, value)), *expected, "{key:?}");
    }
}

/// True if an entry of this value matches the key.
fn table_matches<A: Address>(table: &Classifier<A>, key: &Key<A>, value: u32) -> bool {
    table.iter().any(|entry| entry.value == value && entry.conditional && entry.matches(key))
}

fn compare_contents<A: Address>([table, twin]: &Pair<A>) {
    assert_eq!((table.len(), table.is_empty()), (twin.len(), twin.is_empty()));
    assert!(table.iter().eq(twin.iter()), "contents or their order differ");
    for entry in twin.iter().take(50) {
        assert_eq!(table.get(entry.order), Some(entry));
    }
}

#[derive(Debug, Clone)]
enum Operation<A: Address> {
    Insert(Entry<A>),
    Remove(u32),
}

/// An address of 16: they differ in the first bits, around the borders of words, and in the last.
fn small_address<A: Address>(number: u8) -> A {
    let bits = [0, 1, A::BITS - 2, A::BITS - 1].into_iter().enumerate();
    bits.fold(A::default(), |address, (i, offset)| {
        address | A::from_bits_at(usize::from(number >> i & 1), offset, 1)
    })
}

fn prefix<A: Address>() -> impl Strategy<Value = Prefix<A>> {
    let borders = [0, 1, 2, 8, 9, 20, 21, A::BITS - 1, A::BITS];
    let length = prop_oneof![proptest::sample::select(borders.to_vec()), 0..=A::BITS];
    (0u8..16, length)
        .prop_map(|(number, length)| Prefix::new(small_address(number), length).unwrap())
}

fn ports() -> impl Strategy<Value = Ports> {
    let border = proptest::sample::select(vec![0u16, 1, 22, 23, 80, 1023, 1024, 65534, 65535]);
    (border.clone(), border).prop_map(|(a, b)| Ports { first: a.min(b), last: a.max(b) })
}

fn masked() -> impl Strategy<Value = Masked> {
    (0u16..8, proptest::sample::select(vec![0u16, 1, 3, 7]))
        .prop_map(|(value, mask)| Masked { value: value & mask, mask })
}

fn entry<A: Address>() -> impl Strategy<Value = Entry<A>> {
    let addresses = (prefix(), prefix());
    (addresses, (ports(), ports()), (masked(), masked()), 0u32..60, any::<bool>()).prop_map(
        |(
            (source, destination),
            (source_ports, destination_ports),
            (kind, marks),
            order,
            conditional,
        )| Entry {
            source,
            destination,
            source_ports,
            destination_ports,
            kind,
            marks,
            order,
            value: order * 3,
            conditional,
        },
    )
}

fn operations<A: Address>() -> impl Strategy<Value = Vec<Operation<A>>> {
    let operation = prop_oneof![
        3 => entry().prop_map(Operation::Insert),
        1 => (0u32..60).prop_map(Operation::Remove),
    ];
    proptest::collection::vec(operation, 1..150)
}

fn replay<A: Address>(operations: Vec<Operation<A>>, seed: u64) {
    let mut pair = pair::<A>(50);
    for operation in operations {
        match operation {
            Operation::Insert(entry) => {
                let [answer, expected] = pair.each_mut().map(|table| table.insert(entry));
                assert_eq!(answer, expected, "insert {entry:?}");
            }
            Operation::Remove(order) => {
                let [answer, expected] = pair.each_mut().map(|table| table.remove(order));
                assert_eq!(answer, expected, "remove {order}");
            }
        }
    }
    compare_contents(&pair);
    let entries: Vec<Entry<A>> = pair[1].iter().copied().collect();
    let mut keys = packets(&entries, seed, 150);
    for key in &mut keys {
        (key.kind, key.marks) = (key.kind & 7, key.marks & 7);
    }
    compare_lookups(&pair, &keys);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn ipv4_agrees_with_the_twin(operations in operations::<u32>(), seed: u64) {
        replay(operations, seed);
    }

    #[test]
    fn ipv6_agrees_with_the_twin(operations in operations::<u128>(), seed: u64) {
        replay(operations, seed);
    }
}

/// Every seventh entry conditional.
fn rules_of<A: Address>(shape: Shape, seed: u64, count: usize) -> Vec<Entry<A>> {
    let mut entries = rules::<A>(shape, seed, count);
    entries.iter_mut().step_by(7).for_each(|entry| entry.conditional = true);
    entries
}

fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut random = Random::new(seed);
    for at in (1..items.len()).rev() {
        items.swap(at, random.below(at + 1));
    }
}

/// Fills both at once, takes most of it out and puts it back in, all in random order.
fn replay_shape<A: Address>(shape: Shape) {
    let mut entries = rules_of::<A>(shape, 11, 1500);
    let keys = packets(&entries, 12, 1500);
    let mut pair = pair::<A>(entries.len());
    shuffle(&mut entries, 13);
    for table in &mut pair {
        table.replace_all(&entries).unwrap();
    }
    compare_contents(&pair);
    compare_lookups(&pair, &keys);
    for entry in &entries[..1200] {
        for table in &mut pair {
            assert_eq!(table.remove(entry.order), Some(*entry));
        }
    }
    compare_lookups(&pair, &keys);
    shuffle(&mut entries[..1200], 14);
    for entry in &mut entries[..1200] {
        // Elsewhere in the order than before.
        entry.order = entry.order / ORDER_STEP * ORDER_STEP + entry.value % ORDER_STEP;
        for table in &mut pair {
            assert_eq!(table.insert(*entry), Ok(None));
        }
    }
    compare_contents(&pair);
    compare_lookups(&pair, &keys);
}

#[test]
fn every_shape_agrees_with_the_twin_in_ipv4() {
    Shape::ALL.into_iter().for_each(replay_shape::<u32>);
}

#[test]
fn every_shape_agrees_with_the_twin_in_ipv6() {
    Shape::ALL.into_iter().for_each(replay_shape::<u128>);
}

#[test]
fn a_table_filled_one_by_one_and_emptied_agrees_on_the_way() {
    let mut entries = rules_of::<u32>(Shape::Firewall, 21, 1200);
    let keys = packets(&entries, 22, 300);
    shuffle(&mut entries, 23);
    let mut pair = pair(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        for table in &mut pair {
            assert_eq!(table.insert(*entry), Ok(None));
        }
        if number % 300 == 299 {
            compare_lookups(&pair, &keys);
        }
    }
    for (number, entry) in entries.iter().enumerate() {
        for table in &mut pair {
            assert_eq!(table.remove(entry.order), Some(*entry));
        }
        if number % 400 == 399 {
            compare_lookups(&pair, &keys);
        }
    }
    assert!(pair[0].is_empty() && keys.iter().all(|key| pair[0].lookup(key, |_| true) == NO_MATCH));
}

#[test]
fn one_hundred_thousand_rules_agree_with_the_twin() {
    let seed = 31;
    println!("seed {seed}");
    let entries = rules::<u32>(Shape::IpChains, seed, 100_000);
    let keys = packets(&entries, seed + 1, 1000);
    let mut pair = pair(entries.len());
    for table in &mut pair {
        table.replace_all(&entries).unwrap();
    }
    compare_lookups(&pair, &keys);
    for entry in entries.iter().step_by(97) {
        for table in &mut pair {
            assert_eq!(table.remove(entry.order), Some(*entry));
        }
    }
    compare_lookups(&pair, &keys);
}

/// No cut tells these apart: they stand in one leaf of many blocks.
#[test]
fn entries_that_are_all_alike_go_by_order() {
    let mut pair = pair::<u32>(600);
    for number in (0..500).rev() {
        for table in &mut pair {
            let mut entry = Entry::any(number * 10, number);
            entry.conditional = number % 50 != 49;
            table.insert(entry).unwrap();
        }
    }
    let key = Key { source: 7, ..Key::default() };
    for held in [0, 15, 16, 48, 49, 400] {
        let [answer, expected] =
            pair.each_ref().map(|table| table.lookup(&key, |value| value >= held));
        assert_eq!(answer, expected, "from {held} on");
        assert_eq!(answer, held.min(49));
    }
    for number in 0..499 {
        pair.iter_mut().for_each(|table| assert!(table.remove(number * 10).is_some()));
    }
    assert_eq!(pair[0].lookup(&key, |_| false), 499);
}

#[test]
fn an_empty_table_matches_nothing() {
    for table in pair::<u128>(1) {
        assert_eq!(table.lookup(&Key::default(), |_| true), NO_MATCH);
        table.lookup_bulk(KeyColumns::default().as_keys(), &mut [], |_, _| true);
        assert_eq!((table.len(), table.iter().count(), table.entries_max()), (0, 0, 1));
    }
}

#[test]
fn what_is_no_entry_is_refused() {
    let empty = Ports { first: 2, last: 1 };
    let outside = Masked { value: 2, mask: 1 };
    let any = Entry::<u32>::any(1, 1);
    for mut table in pair(9) {
        for (entry, invalid) in [
            (Entry { source_ports: empty, ..any }, InvalidEntry::EmptyPorts),
            (Entry { destination_ports: empty, ..any }, InvalidEntry::EmptyPorts),
            (Entry { kind: outside, ..any }, InvalidEntry::ValueOutsideMask),
            (Entry { marks: outside, ..any }, InvalidEntry::ValueOutsideMask),
            (Entry { order: ORDER_MAX + 1, ..any }, InvalidEntry::ReservedOrder),
            (Entry { value: NO_MATCH, ..any }, InvalidEntry::ReservedValue),
        ] {
            assert_eq!(table.insert(entry), Err(InsertError::Invalid(invalid)));
            assert_eq!(table.replace_all(&[any, entry]), Err(InsertError::Invalid(invalid)));
            assert!(table.is_empty());
        }
        assert_eq!(table.insert(Entry { order: ORDER_MAX, ..any }), Ok(None));
        assert_eq!(table.lookup(&Key::default(), |_| true), 1);
    }
}

#[test]
fn a_full_table_refuses_new_entries_and_changes_old_ones() {
    for mut table in pair::<u32>(2) {
        let [a, b, c] = [1, 2, 3].map(|order| Entry::any(order, order + 10));
        assert_eq!((table.insert(b), table.insert(a)), (Ok(None), Ok(None)));
        let full = TableFull { entries_max: 2 };
        assert_eq!(table.insert(c), Err(InsertError::Full(full)));
        assert_eq!(table.replace_all(&[a, b, c]), Err(InsertError::Full(full)));
        assert_eq!(table.lookup(&Key::default(), |_| true), 11);
        assert_eq!(table.insert(Entry { value: 99, ..a }), Ok(Some(a)));
        assert_eq!(table.lookup(&Key::default(), |_| true), 99);
        assert_eq!(table.remove(1).map(|entry| entry.value), Some(99));
        assert_eq!((table.insert(c), table.lookup(&Key::default(), |_| true)), (Ok(None), 12));
    }
}

#[test]
fn removed_entries_leave_room_that_is_used_again() {
    let mut table = Classifier::<u32>::new(ClassifierImplementation::Trees, 3000);
    let mut memory_bytes = 0;
    for round in 0..6 {
        let entries = rules::<u32>(Shape::Firewall, round, 3000);
        for entry in &entries {
            table.insert(*entry).unwrap();
        }
        for entry in &entries {
            assert_eq!(table.remove(entry.order), Some(*entry));
        }
        if round == 1 {
            memory_bytes = table.memory_bytes();
        }
    }
    let grown = table.memory_bytes() as f64 / memory_bytes as f64;
    assert!(grown < 1.5, "the table grew {grown}-fold with as many entries");
}
