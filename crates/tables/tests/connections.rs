//! The table of connections against its plain twin, and what it does when it is full.

use std::ops::Range;

use linecard_tables::connections::{
    ConnectionTable, ConnectionTwin, ConnectionsIpv4, Handle, Insertion, Lifetime, LifetimeRule,
    Tick,
};
use linecard_tables::generator::Random;
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
/// Of a connection that nobody answered, and of one that stays.
const EMBRYONIC: Lifetime = Lifetime::new(0);
const ESTABLISHED: Lifetime = Lifetime::new(1);
const RULES: [LifetimeRule; 2] = [
    LifetimeRule { nanoseconds: 30 * SECOND, is_evictable: true },
    LifetimeRule { nanoseconds: 3600 * SECOND, is_evictable: false },
];

#[derive(Debug, Clone)]
enum Operation {
    Insert(u8, bool),
    Exchange(u8, u64),
    Settle(u8, bool),
    Restart(u8),
    Remove(u8),
    Sweep(Range<usize>),
    Wait(u64),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let key = || 0u8..40;
    let operation = prop_oneof![
        8 => (key(), any::<bool>()).prop_map(|(key, stays)| Operation::Insert(key, stays)),
        3 => (key(), 0u64..9).prop_map(|(key, value)| Operation::Exchange(key, value)),
        3 => (key(), any::<bool>()).prop_map(|(key, stays)| Operation::Settle(key, stays)),
        1 => key().prop_map(Operation::Restart),
        1 => key().prop_map(Operation::Remove),
        1 => (0usize..4, 0usize..9).prop_map(|(start, end)| Operation::Sweep(start..end)),
        2 => prop_oneof![1..3 * SECOND, 10 * SECOND..50 * SECOND, Just(4000 * SECOND)]
            .prop_map(Operation::Wait),
    ];
    proptest::collection::vec(operation, 1..300)
}

fn key<const K: usize>(number: u8) -> [u64; K] {
    // Keys that differ in one word only, each in one of them.
    let mut key = [7; K];
    key[usize::from(number) % K] += u64::from(number);
    key
}

fn lifetime(stays: bool) -> Lifetime {
    if stays { ESTABLISHED } else { EMBRYONIC }
}

fn tick(now: u64) -> Tick {
    Tick::from_nanoseconds(now)
}

/// Both, the time, and how many entries the table may have evicted that the twin still has.
struct Replay<const K: usize> {
    table: ConnectionTable<K>,
    twin: ConnectionTwin<K>,
    now: u64,
}

impl<const K: usize> Replay<K> {
    /// An entry that the twin still has may be missing only if it was evicted, and may be there somewhat longer
    /// than in the twin, for a tick.
    fn check(&mut self, evicted: Option<[u64; K]>) {
        if let Some(key) = evicted {
            let stayed = self.twin.lookup(&key, self.now).is_some_and(|(_, evictable)| !evictable);
            assert!(!stayed, "{key:?} was to stay");
            self.twin.remove(&key);
        }
        let keys: Vec<[u64; K]> = (0..40).map(key).collect();
        let mut handles = vec![Handle::NONE; keys.len()];
        self.table.lookup_bulk(&keys, tick(self.now), &mut handles);
        for (key, handle) in keys.iter().zip(handles) {
            let expected = self.twin.lookup(key, self.now).map(|(values, _)| values);
            let late = self.twin.lookup(key, self.now.saturating_sub(SECOND / 5));
            let found = self.table.values(handle).filter(|_| handle.is_some());
            assert!(
                found == expected || found == late.map(|(values, _)| values),
                "{key:?}: {found:?}, not {expected:?}"
            );
            assert_eq!(self.table.lookup(key, tick(self.now)), handle);
        }
    }

    fn apply(&mut self, operation: &Operation) {
        let now = tick(self.now);
        let mut evicted = None;
        match operation {
            Operation::Insert(number, stays) => {
                let (key, values) = (key(*number), [u64::from(*number), 1, 2, 3]);
                let before = self.twin.lookup(&key, self.now);
                let mut gone = None;
                let insertion =
                    self.table.insert(&key, &values, lifetime(*stays), now, |k, _| gone = Some(*k));
                match insertion {
                    Insertion::Inserted(_) => {
                        assert!(before.is_none());
                        self.twin.set(key, values, lifetime(*stays), self.now);
                    }
                    Insertion::Evicted(_) => {
                        evicted = gone;
                        self.twin.set(key, values, lifetime(*stays), self.now);
                    }
                    Insertion::Exists(handle) => assert!(self.table.values(handle).is_some()),
                    Insertion::Refused => assert!(before.is_none()),
                }
            }
            Operation::Exchange(number, value) => {
                let handle = self.table.lookup(&key(*number), now);
                let Some(values) = self.table.values(handle) else { return };
                assert!(!self.table.exchange(handle, 1, values[1] + 1, 5), "not the old value");
                assert!(self.table.exchange(handle, 1, values[1], *value));
                // Unseen by the twin until it is settled: so settle at once.
                self.settle(*number, false);
            }
            Operation::Settle(number, stays) => self.settle(*number, *stays),
            Operation::Restart(number) => {
                let handle = self.table.lookup(&key(*number), now);
                let restarted = self.table.restart(handle, &[9; 4], EMBRYONIC, now, |_, _| {});
                assert_eq!(restarted.is_some(), handle.is_some());
                if restarted.is_some() {
                    assert_eq!(self.table.values(handle), None, "the old handle has nothing");
                    self.twin.set(key(*number), [9; 4], EMBRYONIC, self.now);
                }
            }
            Operation::Remove(number) => {
                let handle = self.table.lookup(&key(*number), now);
                self.table.remove(handle, |_, _| {});
                self.twin.remove(&key(*number));
            }
            Operation::Sweep(buckets) => {
                let mut told = 0;
                assert_eq!(self.table.sweep(buckets.clone(), now, |_, _| told += 1), told);
            }
            Operation::Wait(nanoseconds) => self.now += nanoseconds,
        }
        self.check(evicted);
    }

    fn settle(&mut self, number: u8, stays: bool) {
        let handle = self.table.lookup(&key(number), tick(self.now));
        if let Some(values) = self.table.values(handle) {
            self.table.settle(handle, tick(self.now), |_| lifetime(stays));
            self.twin.set(key(number), values, lifetime(stays), self.now);
        }
    }
}

fn replay<const K: usize>(operations: &[Operation], connections_max: u32, seed: u64) {
    let mut replay = Replay::<K> {
        table: ConnectionTable::new(connections_max, &RULES, seed),
        twin: ConnectionTwin::new(&RULES),
        now: 5 * SECOND,
    };
    operations.iter().for_each(|operation| replay.apply(operation));
}

proptest! {
    #[test]
    fn agrees_with_the_twin(operations in operations(), seed in any::<u64>()) {
        replay::<2>(&operations, 6, seed);
        replay::<2>(&operations, 30, seed);
        replay::<5>(&operations, 24, seed);
    }
}

/// Distinct random keys.
fn keys(count: usize, seed: u64) -> Vec<[u64; 2]> {
    let mut random = Random::new(seed);
    (0..count).map(|_| [random.next_u64(), random.next_u64()]).collect()
}

fn insert(table: &ConnectionsIpv4, key: &[u64; 2], lifetime: Lifetime, now: u64) -> Insertion {
    table.insert(key, &[0; 4], lifetime, tick(now), |_, _| {})
}

#[test]
fn there_is_room_for_as_many_as_were_asked_for() {
    for seed in 0..5 {
        let table = ConnectionsIpv4::new(200_000, &RULES, seed);
        let keys = keys(200_000, 100 + seed);
        let refused =
            keys.iter().filter(|key| insert(&table, key, ESTABLISHED, 0) == Insertion::Refused);
        assert_eq!(refused.count(), 0);
        assert_eq!(table.count(tick(0)), keys.len());
    }
}

#[test]
fn a_flood_of_ten_times_the_capacity_evicts_nothing_but_itself() {
    let table = ConnectionsIpv4::new(10_000, &RULES, 1);
    let established = keys(5000, 2);
    for key in &established {
        assert!(matches!(insert(&table, key, ESTABLISHED, 0), Insertion::Inserted(_)));
    }
    let flood = keys(100_000, 3);
    let mut evicted = 0;
    for (number, key) in flood.iter().enumerate() {
        // A thousand a second: many times faster than they expire.
        match insert(&table, key, EMBRYONIC, number as u64 * SECOND / 1000) {
            Insertion::Inserted(_) => {}
            Insertion::Evicted(_) => evicted += 1,
            other => panic!("{number}: {other:?}"),
        }
    }
    let now = tick(100 * SECOND);
    assert!(evicted > 50_000, "{evicted}");
    assert!(established.iter().all(|key| table.lookup(key, now).is_some()));
    // A newcomer still finds a place, and keeps it while half a table of others come.
    assert!(insert(&table, &[1, 1], EMBRYONIC, 100 * SECOND).handle().is_some());
    for key in &keys(2000, 4) {
        insert(&table, key, EMBRYONIC, 101 * SECOND);
    }
    assert!(table.lookup(&[1, 1], tick(102 * SECOND)).is_some());
}

#[test]
fn the_one_seen_least_lately_goes_first() {
    // Two buckets: all keys compete.
    let table = ConnectionsIpv4::new(5, &RULES, 1);
    assert_eq!(table.buckets(), 2);
    for number in 0..16 {
        insert(&table, &[number, 0], EMBRYONIC, number * SECOND);
    }
    let at = |key| table.lookup(&[key, 0], tick(20 * SECOND));
    table.settle(at(0), tick(19 * SECOND), |_| EMBRYONIC);
    table.settle(at(2), tick(19 * SECOND), |_| ESTABLISHED);
    for (newcomer, victim) in [(100, 1), (101, 3), (102, 4)] {
        let mut gone = Vec::new();
        let now = tick(20 * SECOND);
        let insertion =
            table.insert(&[newcomer, 0], &[0; 4], EMBRYONIC, now, |key, _| gone.push(key[0]));
        assert!(matches!(insertion, Insertion::Evicted(_)));
        assert_eq!(gone, [victim]);
    }
}

#[test]
fn a_table_of_entries_that_stay_refuses_until_one_expires() {
    let table = ConnectionsIpv4::new(5, &RULES, 1);
    for number in 0..16 {
        assert!(insert(&table, &[number, 0], ESTABLISHED, number * SECOND).handle().is_some());
    }
    assert_eq!(insert(&table, &[16, 0], ESTABLISHED, 3599 * SECOND), Insertion::Refused);
    let second = 3602 * SECOND;
    assert!(matches!(insert(&table, &[16, 0], ESTABLISHED, second), Insertion::Inserted(_)));
    assert_eq!(table.count(tick(second)), 15, "two had expired");
    assert_eq!(table.sweep(0..usize::MAX, tick(second), |_, _| {}), 1);
    // A shorter lifetime holds for those that are there.
    table.set_rule(ESTABLISHED, LifetimeRule { nanoseconds: SECOND, is_evictable: false });
    assert_eq!(table.count(tick(second + 2 * SECOND)), 0);
}

#[test]
fn ticks_come_round() {
    let end = (u64::from(u32::MAX) << 26) + (1 << 25);
    let table = ConnectionsIpv4::new(6, &RULES, 1);
    insert(&table, &[1, 0], EMBRYONIC, end);
    assert!(table.lookup(&[1, 0], tick(end + 20 * SECOND)).is_some());
    assert!(table.lookup(&[1, 0], tick(end - SECOND)).is_some(), "a clock that is behind");
    assert!(!table.lookup(&[1, 0], tick(end + 40 * SECOND)).is_some());
}

#[test]
fn workers_that_share_it_agree() {
    const KEYS: u64 = 64;
    let table = ConnectionsIpv4::new(48, &RULES, 7);
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let table = &table;
            scope.spawn(move || {
                let mut random = Random::new(worker);
                for step in 0..60_000u64 {
                    let key = [random.next_u64() % KEYS, 3];
                    let now = tick(step * SECOND / 1000);
                    let handle = table.lookup(&key, now);
                    if let Some(values) = table.values(handle) {
                        // Whoever wrote them wrote the key's own number.
                        assert!(values.iter().all(|value| value >> 8 == key[0]), "{values:?}");
                        let next = key[0] << 8 | random.next_u64() & 0xff;
                        table.exchange(handle, worker as usize, values[worker as usize], next);
                        table.settle(handle, now, |values| {
                            lifetime(values.iter().all(|value| value & 3 == 0))
                        });
                    } else {
                        table.insert(&key, &[key[0] << 8; 4], EMBRYONIC, now, |_, _| {});
                    }
                }
            });
        }
    });
    let now = tick(60 * SECOND);
    let live = (0..KEYS).filter(|key| table.lookup(&[*key, 3], now).is_some()).count();
    assert_eq!(table.count(now), live, "no key is there twice");
}
