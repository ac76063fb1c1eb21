//! A worker looks up in bulk while routes change: each answer is the one that the plain twin gives at
//! the version of the table that the worker holds.
//!
//! The reader keeps a twin of its own and brings it to that version by the same operations, so it knows
//! the right answer without asking the writer. `LINECARD_RACE_OPERATIONS` makes it longer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use linecard_tables::generator::{Random, addresses_within, ipv4_routes, ipv6_routes};
use linecard_tables::lpm::{Address, Lpm, LpmImplementation, NO_ROUTE, Prefix};
use linecard_tables::publication::{Absorb, Publish, Reader, Writer};

const ROUTES: usize = 4000;
const OPERATIONS: usize = 40_000;
/// Addresses a lookup.
const BATCH: usize = 256;

/// A value of [`NO_ROUTE`] removes the prefix.
type Operation<A> = (Prefix<A>, u32);

#[derive(Clone)]
struct Routes<A: Address> {
    lpm: Lpm<A>,
    /// Operations applied so far.
    version: usize,
}

impl<A: Address> Absorb<Operation<A>> for Routes<A> {
    fn absorb(&mut self, (prefix, value): &Operation<A>) {
        self.lpm.insert(*prefix, *value).expect("the capacity is that of the routes");
        self.version += 1;
    }

    fn prepare(&self, (prefix, _): &Operation<A>, step: usize) {
        self.lpm.prepare(*prefix, step);
    }
}

impl<A: Address> Routes<A> {
    fn new(implementation: LpmImplementation) -> Self {
        Self { lpm: Lpm::new(implementation, 2 * ROUTES), version: 0 }
    }
}

/// Operation `number` of the race: any route, and now and then one that covers many others.
fn operation<A: Address>(routes: &[Prefix<A>], number: usize) -> Operation<A> {
    let mut random = Random::new(number as u64);
    let mut prefix = routes[random.below(routes.len())];
    if random.below(8) == 0 {
        let shorter = random.below(usize::from(prefix.length()) + 1) as u8;
        // Of the short ones few, for there is room for as many more prefixes as there are routes.
        let bits = if shorter > 8 { routes[number % 64].bits() } else { prefix.bits() };
        prefix = Prefix::new(bits, shorter).expect("it is shorter than a prefix");
    }
    let value = 1 + random.below(1 << 20) as u32;
    (prefix, if random.below(3) == 0 { NO_ROUTE } else { value })
}

/// Looks up until the writer is done and checks each answer. Returns lookups and versions seen.
fn read<A: Address>(
    mut reader: Reader<Routes<A>>,
    routes: &[Prefix<A>],
    done: &AtomicBool,
) -> (usize, usize) {
    let mut twin = Routes::new(LpmImplementation::Sorted);
    let addresses = addresses_within(routes, 5, 64 * BATCH);
    let (mut values, mut lookups, mut versions) = (vec![0; BATCH], 0, 0);
    let mut batches = addresses.chunks_exact(BATCH).cycle();
    loop {
        let is_last_look = done.load(Ordering::SeqCst);
        versions += usize::from(reader.refresh());
        let held = reader.get();
        assert!(
            held.version >= twin.version,
            "went back from {} to {}",
            twin.version,
            held.version
        );
        let changed: Vec<_> =
            (twin.version..held.version).map(|number| operation(routes, number)).collect();
        changed.iter().for_each(|operation| twin.absorb(operation));
        // What has just changed, and then some of everything.
        let mut batch: Vec<A> = changed.iter().rev().map(|(prefix, _)| prefix.bits()).collect();
        batch.extend(batches.next().expect("it goes round"));
        batch.truncate(BATCH);
        held.lpm.lookup_bulk(&batch, &mut values);
        for (address, value) in batch.iter().zip(&values) {
            let (expected, address) = (twin.lpm.lookup(*address), Prefix::host(*address));
            assert_eq!(*value, expected, "{address:?} in version {}", held.version);
        }
        lookups += BATCH;
        if is_last_look {
            return (lookups, versions);
        }
    }
}

fn race<A: Address>(routes: &[Prefix<A>]) {
    let operations = std::env::var("LINECARD_RACE_OPERATIONS");
    let operations = operations.map_or(OPERATIONS, |text| text.parse().expect("a number"));
    let empty = Routes::new(LpmImplementation::Multibit);
    let mut writer = Writer::new(empty.clone(), empty);
    let (subscription, done) = (writer.subscription(), AtomicBool::new(false));
    let (lookups, versions) = thread::scope(|scope| {
        let reader = scope.spawn(|| read(subscription.reader(), routes, &done));
        let mut random = Random::new(9);
        let mut number = 0;
        while number < operations || writer.pending() > 0 {
            for _ in 0..random.below(64).min(operations - number) {
                writer.append(operation(routes, number));
                number += 1;
            }
            while writer.publish() == Publish::Busy && !reader.is_finished() {
                thread::yield_now();
            }
            if reader.is_finished() {
                break;
            }
        }
        done.store(true, Ordering::SeqCst);
        reader.join().expect("each answer is right")
    });
    assert!(versions > operations / 2000, "{versions} versions seen: no race took place");
    assert!(lookups >= BATCH * versions);
}

#[test]
fn each_ipv4_answer_is_the_twins_while_routes_change() {
    race(&ipv4_routes(7, ROUTES));
}

#[test]
fn each_ipv6_answer_is_the_twins_while_routes_change() {
    race(&ipv6_routes(7, ROUTES));
}
