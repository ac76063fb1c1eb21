//! The table of connections under loom, which runs each model in every interleaving of its threads that the
//! C11 memory model allows (up to a bound on preemptions). The files under test are the crate's own, compiled
//! against loom's atomics.

/// Loom's, under the names by which the files ask for them.
mod sync {
    pub(crate) use loom::sync::atomic;
}

mod memory {
    pub(crate) use linecard_tables::memory::{advise_huge_pages, prefetch_index, prefetch_read};
}

#[allow(dead_code, unreachable_pub, reason = "the crate's file, of which the models use a part")]
#[path = "../src/hash.rs"]
mod hash;

#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the crate's file, of which the models use a part"
)]
#[path = "../src/connections/mod.rs"]
mod connections;

use connections::{ConnectionTable, Handle, Insertion, Lifetime, LifetimeRule, Tick};
use loom::sync::Arc;
use loom::thread;

const EMBRYONIC: Lifetime = Lifetime::new(0);
const ESTABLISHED: Lifetime = Lifetime::new(1);
const RULES: [LifetimeRule; 2] = [
    LifetimeRule { nanoseconds: 1 << 30, is_evictable: true },
    LifetimeRule { nanoseconds: 1 << 40, is_evictable: false },
];
const NOW: Tick = Tick::from_nanoseconds(1 << 32);

/// Two buckets, which all keys have, of whose slots all but `free` have entries that stay.
fn table(free: u64) -> Arc<ConnectionTable<1>> {
    let table = ConnectionTable::new(1, &RULES, 1);
    for number in free..16 {
        insert(&table, 1000 + number, ESTABLISHED);
    }
    Arc::new(table)
}

fn insert(table: &ConnectionTable<1>, key: u64, lifetime: Lifetime) -> Insertion {
    table.insert(&[key], &[key; 4], lifetime, NOW, |_, _| {})
}

fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

#[test]
fn of_two_workers_that_insert_the_same_key_both_end_with_one_entry() {
    bounded(3, || {
        let table = table(2);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || insert(&other, 5, EMBRYONIC).handle());
        let handles = [insert(&table, 5, EMBRYONIC).handle(), thread.join().expect("no panic")];
        let entry = table.lookup(&[5], NOW);
        assert!(entry.is_some() && handles.contains(&entry), "{handles:?}");
        assert_eq!(table.count(NOW), 15, "one entry for the key");
    });
}

#[test]
fn the_same_key_stays_one_entry_though_both_are_renewed_meanwhile() {
    bounded(3, || {
        let table = table(2);
        let other = Arc::clone(&table);
        let both = |table: &ConnectionTable<1>| {
            let handle = insert(table, 5, EMBRYONIC).handle();
            table.settle(handle, NOW, |_| ESTABLISHED);
        };
        let thread = thread::spawn(move || both(&other));
        both(&table);
        thread.join().expect("no panic");
        assert_eq!(table.count(NOW), 15, "one entry for the key");
    });
}

#[test]
fn a_reader_never_takes_an_entry_for_another_ones() {
    bounded(3, || {
        let table = table(1);
        let old = insert(&table, 5, EMBRYONIC).handle();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || insert(&other, 6, EMBRYONIC).handle());
        let found = table.lookup(&[5], NOW);
        assert!(found == old || found == Handle::NONE);
        // Changed while it was evicted, or not at all.
        let exchanged = table.exchange(old, 0, 5, 50);
        table.settle(old, NOW, |_| ESTABLISHED);
        if let Some(values) = table.values(old) {
            assert!(values == [50, 5, 5, 5] && exchanged, "{values:?}");
        }
        let new = thread.join().expect("no panic");
        match table.lookup(&[6], NOW) {
            Handle::NONE => assert_eq!(table.values(old), Some([50, 5, 5, 5]), "it was to stay"),
            found => assert_eq!((found, table.values(found)), (new, Some([6; 4]))),
        }
    });
}

#[test]
fn what_stands_in_the_end_was_said_of_what_both_have_written() {
    bounded(3, || {
        let table = table(1);
        let handle = insert(&table, 5, EMBRYONIC).handle();
        let both = |values: &[u64; 4]| {
            if values[0] == 1 && values[2] == 1 { ESTABLISHED } else { EMBRYONIC }
        };
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            assert!(other.exchange(handle, 2, 5, 1));
            other.settle(handle, NOW, both);
        });
        assert!(table.exchange(handle, 0, 5, 1));
        table.settle(handle, NOW, both);
        thread.join().expect("no panic");
        let refused = insert(&table, 6, EMBRYONIC);
        assert_eq!(refused, Insertion::Refused, "the entry is to stay");
    });
}
