//! The table of connections: lookups and inserts with 1,000, 65,536 and a million of them, alone and with
//! another worker on the same table.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use linecard_tables::connections::{
    ConnectionTable, Handle, Insertion, Lifetime, LifetimeRule, Tick,
};
use linecard_tables::generator::Random;

use crate::measure::Meter;

const LOOKUPS: usize = 1 << 20;
const BATCH: usize = 256;
const EMBRYONIC: Lifetime = Lifetime::new(0);
const ESTABLISHED: Lifetime = Lifetime::new(1);
const RULES: [LifetimeRule; 2] = [
    LifetimeRule { nanoseconds: 1 << 40, is_evictable: true },
    LifetimeRule { nanoseconds: 1 << 40, is_evictable: false },
];
const NOW: Tick = Tick::from_nanoseconds(1 << 36);

pub(crate) fn run(meter: &Meter) {
    for connections in [1000, 1 << 16, 1_000_000] {
        family::<2>("IPv4", connections, meter);
        family::<5>("IPv6", connections, meter);
    }
}

fn keys<const K: usize>(count: usize, seed: u64) -> Vec<[u64; K]> {
    let mut random = Random::new(seed);
    (0..count).map(|_| std::array::from_fn(|_| random.next_u64())).collect()
}

fn family<const K: usize>(name: &str, connections: u32, meter: &Meter) {
    let table = ConnectionTable::<K>::new(connections, &RULES, 1);
    let known = keys::<K>(connections as usize, 2);
    for key in &known {
        let insertion = table.insert(key, &[1; 4], ESTABLISHED, NOW, |_, _| {});
        assert!(matches!(insertion, Insertion::Inserted(_)));
    }
    let memory = table.memory_bytes() as f64 / f64::from(connections);
    println!("\nConnections: {connections} of {name}, {memory:.0} bytes each");
    let mut random = Random::new(3);
    let hits: Vec<_> = (0..LOOKUPS).map(|_| known[random.below(known.len())]).collect();
    let misses = keys::<K>(LOOKUPS, 4);
    meter.report("lookup, bulk of 256, there", lookups(&table, &hits, meter));
    meter.report("lookup, bulk of 256, not there", lookups(&table, &misses, meter));
    meter.report("lookup, read, exchange a value", exchanges(&table, &hits, 0, meter));
    beside_another(&table, &hits, meter);
    inserts(connections, meter, &misses);
}

fn lookups<const K: usize>(
    table: &ConnectionTable<K>,
    keys: &[[u64; K]],
    meter: &Meter,
) -> crate::measure::Figure {
    let mut handles = vec![Handle::NONE; BATCH];
    meter.rounds(keys.len(), || {
        for keys in keys.chunks_exact(BATCH) {
            table.lookup_bulk(keys, NOW, &mut handles);
            black_box(&handles);
        }
    })
}

/// What a packet that changes its direction costs: value `index` counts up.
fn exchanges<const K: usize>(
    table: &ConnectionTable<K>,
    keys: &[[u64; K]],
    index: usize,
    meter: &Meter,
) -> crate::measure::Figure {
    let mut handles = vec![Handle::NONE; BATCH];
    meter.rounds(keys.len(), || {
        for keys in keys.chunks_exact(BATCH) {
            table.lookup_bulk(keys, NOW, &mut handles);
            for handle in &handles {
                let values = table.values(*handle).expect("it is there");
                black_box(table.exchange(*handle, index, values[index], values[index] + 1));
            }
        }
    })
}

/// The same while another worker changes the other directions of the same connections.
fn beside_another<const K: usize>(table: &ConnectionTable<K>, keys: &[[u64; K]], meter: &Meter) {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut handles = vec![Handle::NONE; BATCH];
            while !is_done.load(Ordering::Relaxed) {
                for keys in keys.chunks_exact(BATCH).rev() {
                    table.lookup_bulk(keys, NOW, &mut handles);
                    for handle in &handles {
                        let values = table.values(*handle).expect("it is there");
                        table.exchange(*handle, 2, values[2], values[2] + 1);
                    }
                    if is_done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
        });
        meter.report("the same beside another worker", exchanges(table, keys, 0, meter));
        is_done.store(true, Ordering::Relaxed);
    });
}

/// Looks up and enters keys that are not there, as a flood does: the table is soon full of them.
fn inserts<const K: usize>(connections: u32, meter: &Meter, keys: &[[u64; K]]) {
    let table = ConnectionTable::<K>::new(connections, &RULES, 1);
    let mut handles = vec![Handle::NONE; BATCH];
    let mut fresh = vec![[0; K]; BATCH];
    let mut seen = 0;
    let figure = meter.rounds(keys.len(), || {
        for (number, keys) in keys.chunks_exact(BATCH).enumerate() {
            let now = Tick::from_nanoseconds((1 << 36) + ((seen + number as u64) << 26));
            // Other ones in each round.
            for (new, key) in fresh.iter_mut().zip(keys) {
                *new = *key;
                new[0] ^= seen + 1;
            }
            table.lookup_bulk(&fresh, now, &mut handles);
            for key in &fresh {
                black_box(table.insert(key, &[1; 4], EMBRYONIC, now, |_, _| {}));
            }
        }
        seen += 1;
    });
    meter.report("lookup and insert, new ones evicting", figure);
}
