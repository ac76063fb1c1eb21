//! Sets like ClassBench's, of every shape and both families, whose entries come and go in random order: after each
//! stretch the trees must answer as a linear scan over what is left.

use std::collections::BTreeMap;

use linecard_tables::classifier::generator::{Shape, packets, rules};
use linecard_tables::classifier::{
    Classifier, ClassifierImplementation, Entry, Key, KeyColumns, Ports,
};
use linecard_tables::generator::Random;
use linecard_tables::lpm::Address;

const ENTRIES: usize = 1_000;
const CHANGES: usize = 6_000;
const STRETCH: usize = 500;
const KEYS: usize = 400;

/// A condition beyond the classifier's: holds for half of the keys.
fn holds(key: usize, value: u32) -> bool {
    (key as u32 ^ value).wrapping_mul(0x9e37_79b9) >> 31 == 0
}

/// The first of all entries, by order, that matches.
fn scan<A: Address>(held: &BTreeMap<u32, Entry<A>>, number: usize, key: &Key<A>) -> Option<u32> {
    let mut matching = held.values().filter(|entry| entry.matches(key));
    matching.find(|it| !it.conditional || holds(number, it.value)).map(|it| it.value)
}

fn compare<A: Address>(
    table: &Classifier<A>,
    held: &BTreeMap<u32, Entry<A>>,
    keys: &[Key<A>],
    what: &str,
) {
    assert_eq!(table.len(), held.len(), "{what}");
    let columns: KeyColumns<A> = keys.iter().copied().collect();
    let mut values = vec![0; keys.len()];
    table.lookup_bulk(columns.as_keys(), &mut values, holds);
    for (number, (key, value)) in keys.iter().zip(values).enumerate() {
        let found = (value != linecard_tables::classifier::NO_MATCH).then_some(value);
        assert_eq!(found, scan(held, number, key), "{what}: {key:?}");
    }
}

fn come_and_go<A: Address>(shape: Shape, seed: u64) {
    let mut entries = rules::<A>(shape, seed, ENTRIES);
    entries.iter_mut().step_by(5).for_each(|entry| entry.conditional = true);
    let keys = packets(&entries, seed + 1, KEYS);
    let mut table = Classifier::new(ClassifierImplementation::Trees, ENTRIES);
    let (mut held, mut random) = (BTreeMap::new(), Random::new(seed + 2));
    for change in 1..=CHANGES {
        let entry = entries[random.below(ENTRIES)];
        // They grow more than they shrink at first, and then go until few are left.
        let comes = random.below(10) < if change < CHANGES / 2 { 7 } else { 3 };
        if comes {
            // Often one that is there already: then with another value.
            let value = entry.value ^ (random.below(2) as u32);
            let entry = Entry { value, ..entry };
            assert_eq!(table.insert(entry), Ok(held.insert(entry.order, entry)));
        } else {
            assert_eq!(table.remove(entry.order), held.remove(&entry.order));
        }
        if change % STRETCH == 0 {
            let what = format!("{} of {} bits, change {change}", shape.name(), A::BITS);
            compare(&table, &held, &keys, &what);
        }
    }
    assert!((1..ENTRIES).contains(&held.len()), "{} are left", held.len());
}

#[test]
fn entries_come_and_go_in_random_order_in_every_shape() {
    for (shape, seed) in Shape::ALL.into_iter().zip([41, 51, 61]) {
        println!("{}: seed {seed}", shape.name());
        come_and_go::<u32>(shape, seed);
        come_and_go::<u128>(shape, seed);
    }
}

/// Whether some packet could match both.
fn overlap<A: Address>(a: &Entry<A>, b: &Entry<A>) -> bool {
    let prefixes = [(a.source, b.source), (a.destination, b.destination)];
    let ports = [(a.source_ports, b.source_ports), (a.destination_ports, b.destination_ports)];
    let nested = prefixes.iter().all(|(a, b)| a.contains(b.bits()) || b.contains(a.bits()));
    let shared = ports.iter().all(|(a, b)| a.first <= b.last && b.first <= a.last);
    let kinds = (a.kind.value ^ b.kind.value) & a.kind.mask & b.kind.mask == 0;
    nested && shared && kinds
}

fn is_range(ports: Ports) -> bool {
    ports.first < ports.last && ports != Ports { first: 0, last: u16::MAX }
}

/// What the tests above stand on: the sets overlap, as their packets do, and ask for ranges.
#[test]
fn sets_of_every_shape_overlap_and_have_ranges() {
    for shape in Shape::ALL {
        let entries = rules::<u32>(shape, 71, ENTRIES);
        // All overlap with the last one, which matches everything.
        let narrow = &entries[..ENTRIES - 1];
        let overlapping = narrow.iter().enumerate().filter(|(number, entry)| {
            narrow.iter().enumerate().any(|(other, it)| other != *number && overlap(entry, it))
        });
        let overlapping = overlapping.count();
        let ranges = entries
            .iter()
            .filter(|entry| is_range(entry.source_ports) || is_range(entry.destination_ports))
            .count();
        let name = shape.name();
        println!("{name}: {overlapping} of {ENTRIES} overlap with another, {ranges} have ranges");
        assert!(overlapping > ENTRIES / 2, "{name}: {overlapping} overlap");
        assert!(ranges > ENTRIES / 100, "{name}: {ranges} have ranges");
        let keys = packets(&entries, 72, KEYS);
        let several =
            keys.iter().filter(|key| narrow.iter().filter(|it| it.matches(key)).count() > 1);
        assert!(several.count() > KEYS / 10, "{name}: packets match several entries");
    }
}
