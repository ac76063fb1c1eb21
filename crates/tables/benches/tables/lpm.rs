//! Longest-prefix match of one family: lookups by instructions, batch and what the caches hold.

use std::hint::black_box;

use linecard_tables::generator::{Random, addresses_within};
use linecard_tables::lpm::{Address, Lpm, LpmImplementation, Prefix};
use linecard_tables::memory::Instructions;

use crate::measure::{Figure, Meter};

const LOOKUPS: usize = 1 << 20;
const BATCHES: [usize; 3] = [8, 32, 256];
/// Batches that are looked up with the caches emptied before each.
const COLD_BATCHES: usize = 101;
/// Batches that are looked up with a part of the caches emptied before each.
const BETWEEN_BATCHES: usize = 1000;

pub(crate) fn run<A: Address>(family: &str, routes: &[Prefix<A>], meter: &Meter) {
    println!("\n{family}: {} routes, each with a value of its own", routes.len());
    let mut table = Lpm::new(LpmImplementation::Multibit, routes.len() + 1);
    let start = meter.now();
    for (route, value) in routes.iter().zip(1..) {
        table.insert(*route, value).expect("the capacity is that of the routes");
    }
    let insert = (meter.now() - start) as f64 / routes.len() as f64;
    let bytes = table.memory_bytes() as f64;
    println!("memory: {:.1} MiB, {:.1} B a route", bytes / 1048576.0, bytes / routes.len() as f64);
    lookups(routes, &mut table, meter);
    changes(routes, &mut table, insert, meter);
}

fn lookups<A: Address>(routes: &[Prefix<A>], table: &mut Lpm<A>, meter: &Meter) {
    let few = addresses_within(routes, 2, 1000);
    let mut random = Random::new(3);
    let kinds: [(&str, Vec<A>); 3] = [
        ("1,000 addresses over and over", few.iter().copied().cycle().take(LOOKUPS).collect()),
        ("addresses within all routes", addresses_within(routes, 1, LOOKUPS)),
        ("any address", (0..LOOKUPS).map(|_| random.address()).collect()),
    ];
    println!("cycles a lookup, in batches of      {:>21} {:>21} {:>21}", 8, 32, 256);
    print_row("empty loop", |batch| empty(&kinds[1].1, batch, meter));
    for instructions in Instructions::available() {
        table.set_instructions(instructions);
        for (kind, addresses) in &kinds {
            let what = format!("{kind}, {instructions:?}");
            print_row(&what, |batch| bulk(table, addresses, batch, meter));
        }
        let between = |batch| {
            let batches: Vec<&[A]> = kinds[1].1.chunks_exact(batch).take(BETWEEN_BATCHES).collect();
            let mut values = vec![0; batch];
            meter.between(batch, &batches, |addresses| {
                table.lookup_bulk(addresses, &mut values);
                black_box(&values);
            })
        };
        print_row(&format!("within, 2,048 lines written between, {instructions:?}"), between);
        let cold = |batch| {
            let batches: Vec<&[A]> = kinds[1].1.chunks_exact(batch).take(COLD_BATCHES).collect();
            let mut values = vec![0; batch];
            meter.cold(batch, &batches, |addresses| {
                table.lookup_bulk(addresses, &mut values);
                black_box(&values);
            })
        };
        print_row(&format!("within, all caches emptied, {instructions:?}"), cold);
    }
}

fn print_row(what: &str, figure: impl Fn(usize) -> Figure) {
    let [few, some, many] = BATCHES.map(figure);
    println!("  {what:<52} {few:>21} {some:>21} {many:>21}");
}

fn bulk<A: Address>(table: &Lpm<A>, addresses: &[A], batch: usize, meter: &Meter) -> Figure {
    let mut values = vec![0; batch];
    meter.rounds(addresses.len(), || {
        for addresses in addresses.chunks_exact(batch) {
            table.lookup_bulk(addresses, &mut values);
            black_box(&values);
        }
    })
}

/// Reads addresses and writes values, and looks nothing up.
fn empty<A: Address>(addresses: &[A], batch: usize, meter: &Meter) -> Figure {
    let mut values = vec![0; batch];
    meter.rounds(addresses.len(), || {
        for addresses in addresses.chunks_exact(batch) {
            for (address, value) in addresses.iter().zip(&mut values) {
                *value = address.bits_at(0, 16) as u32;
            }
            black_box(&values);
        }
    })
}

fn changes<A: Address>(routes: &[Prefix<A>], table: &mut Lpm<A>, insert: f64, meter: &Meter) {
    let one = |cycles| Figure { median: cycles, least: cycles, most: cycles };
    meter.report("insert, random order, one run", one(insert));
    let sample: Vec<_> = routes.iter().step_by(7).copied().collect();
    let flap = meter.rounds(2 * sample.len(), || {
        for prefix in &sample {
            let value = table.remove(*prefix).expect("all routes are there");
            black_box(table.insert(*prefix, value).expect("there is room for what was removed"));
        }
    });
    meter.report("remove or insert again", flap);
    let mut value = 0;
    let change = meter.rounds(sample.len(), || {
        value += 1;
        for prefix in &sample {
            black_box(table.insert(*prefix, value).expect("no new route"));
        }
    });
    meter.report("change of a value", change);
    let default_route = meter.rounds(2, || {
        black_box(table.insert(Prefix::default_route(), 1).expect("there is room for one more"));
        black_box(table.remove(Prefix::default_route()));
    });
    meter.report("change of the default route", default_route);
    let start = meter.now();
    for route in routes {
        black_box(table.remove(*route));
    }
    meter.report("remove, one run", one((meter.now() - start) as f64 / routes.len() as f64));
}
