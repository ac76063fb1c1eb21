//! Classification: lookups, changes, memory and building, by shape and number of rules.

use std::hint::black_box;

use linecard_tables::classifier::generator::{Shape, packets, rules};
use linecard_tables::classifier::{
    Classifier, ClassifierImplementation, Entry, KeyColumns, NO_MATCH,
};
use linecard_tables::lpm::Address;
use linecard_tables::memory::Instructions;

use crate::measure::{Figure, Meter};

const LOOKUPS: usize = 1 << 17;
const BATCH: usize = 256;
const SIZES: [usize; 3] = [1000, 10_000, 100_000];
/// Entries that are taken out and put in again, evenly drawn.
const CHANGES: usize = 200;

pub(crate) fn run<A: Address>(family: &str, meter: &Meter) {
    println!("\n{family}: first match; batches of {BATCH}");
    println!(
        "{:>14} {:>24} {:>10} {:>10} {:>22} {:>12}",
        "rules", "cycles a lookup", "memory", "build", "a change, median/most", "unmatched"
    );
    for shape in Shape::ALL {
        for size in SIZES {
            one(shape, &rules::<A>(shape, 2026, size), meter);
        }
    }
}

fn one<A: Address>(shape: Shape, rules: &[Entry<A>], meter: &Meter) {
    let mut table = Classifier::new(ClassifierImplementation::Trees, rules.len());
    let start = meter.now();
    table.replace_all(rules).expect("the capacity is that of the rules");
    let build = meter.nanoseconds((meter.now() - start) as f64) / 1e6;
    let keys: KeyColumns<A> = packets(rules, 7, LOOKUPS).into_iter().collect();
    let mut values = vec![0; LOOKUPS];
    for instructions in Instructions::available() {
        table.set_instructions(instructions);
        if instructions != Instructions::detect() && rules.len() != 10_000 {
            continue;
        }
        let lookup = lookups(&table, &keys, &mut values, meter);
        let what = format!("{} {}", shape.name(), rules.len());
        print!("{what:>14} {:>24}", lookup.to_string());
        if instructions != Instructions::detect() {
            println!("  {instructions:?}");
        }
    }
    let bytes = table.memory_bytes() as f64 / f64::from(1 << 20);
    let unmatched = values.iter().filter(|value| **value == NO_MATCH).count();
    let (median, most) = changes(&mut table, rules, meter);
    println!(" {bytes:>6.1} MiB {build:>7.1} ms {median:>10.3} /{most:>6.3} ms {unmatched:>12}");
}

fn lookups<A: Address>(
    table: &Classifier<A>,
    keys: &KeyColumns<A>,
    values: &mut [u32],
    meter: &Meter,
) -> Figure {
    let keys = keys.as_keys();
    meter.rounds(LOOKUPS, || {
        for (number, values) in values.chunks_mut(BATCH).enumerate() {
            let start = number * BATCH;
            table.lookup_bulk(keys.part(start, start + BATCH), values, |_, _| true);
        }
        black_box(&values);
    })
}

/// Milliseconds of one removal or insertion: the median and the most.
fn changes<A: Address>(table: &mut Classifier<A>, rules: &[Entry<A>], meter: &Meter) -> (f64, f64) {
    let mut took = Vec::new();
    for entry in rules.iter().rev().step_by((rules.len() / CHANGES).max(1)) {
        let start = meter.now();
        let removed = table.remove(entry.order);
        let middle = meter.now();
        table.insert(removed.expect("all entries are there")).expect("there is room");
        took.extend([middle - start, meter.now() - middle]);
    }
    took.sort_unstable();
    let milliseconds = |cycles: u64| meter.nanoseconds(cycles as f64) / 1e6;
    (milliseconds(took[took.len() / 2]), milliseconds(took[took.len() - 1]))
}
