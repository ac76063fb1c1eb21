//! Publication: batches are seen whole, in order, and both copies come out equal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use linecard_tables::publication::{Absorb, Publish, Reader, Writer};
use proptest::prelude::*;

/// Two accounts and a count: the sum of the accounts is 0 after each batch, not within one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ledger {
    debit: i64,
    credit: i64,
    batches: u64,
}

enum Entry {
    Debit(i64),
    Credit(i64),
    EndOfBatch,
}

impl Absorb<Entry> for Ledger {
    fn absorb(&mut self, entry: &Entry) {
        match entry {
            Entry::Debit(amount) => self.debit -= amount,
            Entry::Credit(amount) => self.credit += amount,
            Entry::EndOfBatch => self.batches += 1,
        }
    }
}

/// Reads until the writer is done; panics on half a batch or a step back. Holds each copy for
/// `holds` looks, so that the writer meets readers that refresh rarely. Returns the batches seen
/// in the end and the changes on the way.
fn read_to_the_end(mut reader: Reader<Ledger>, holds: u32, done: &AtomicBool) -> (u64, u64) {
    let (mut seen, mut changes) = (0, 0);
    loop {
        let is_last_look = done.load(Ordering::SeqCst);
        changes += u64::from(reader.refresh());
        for _ in 0..holds {
            let ledger = reader.get();
            assert_eq!(ledger.debit + ledger.credit, 0, "half a batch");
            assert!(ledger.batches >= seen, "went back from {seen} to {}", ledger.batches);
            seen = ledger.batches;
            thread::yield_now();
        }
        if is_last_look {
            return (seen, changes);
        }
    }
}

#[test]
fn readers_on_threads_see_whole_batches_in_order() {
    const BATCHES: u64 = 3000;
    let mut writer = Writer::new(Ledger::default(), Ledger::default());
    let subscription = writer.subscription();
    let (started, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let readers: Vec<_> = [1, 2, 40]
            .into_iter()
            .map(|holds| {
                let (subscription, started, done) = (subscription.clone(), &started, &done);
                scope.spawn(move || {
                    let reader = subscription.reader();
                    started.fetch_add(1, Ordering::SeqCst);
                    read_to_the_end(reader, holds, done)
                })
            })
            .collect();
        while started.load(Ordering::SeqCst) < readers.len() {
            thread::yield_now();
        }
        for batch in 0..BATCHES {
            writer.append(Entry::Debit(batch as i64));
            writer.append(Entry::Credit(batch as i64));
            writer.append(Entry::EndOfBatch);
            while writer.publish() == Publish::Busy {
                assert!(writer.pending() > 0);
                thread::yield_now();
            }
        }
        done.store(true, Ordering::SeqCst);
        for reader in readers {
            let (seen, changes) = reader.join().unwrap();
            assert_eq!(seen, BATCHES);
            assert!(changes > 0 && changes <= BATCHES, "{changes} changes");
        }
    });
    assert_eq!(subscription.generation(), BATCHES);
}

#[test]
fn a_reader_that_refreshes_rarely_delays_the_second_publication_only() {
    let mut writer = Writer::new(Ledger::default(), Ledger::default());
    let mut rare = writer.reader();
    let mut eager = writer.reader();
    writer.append(Entry::EndOfBatch);
    assert_eq!(writer.publish(), Publish::Published, "the copy that nobody reads is free");
    assert!(eager.refresh() && !eager.refresh());
    assert_eq!((eager.get().batches, rare.get().batches), (1, 0));
    for pending in 1..=100 {
        writer.append(Entry::EndOfBatch);
        assert_eq!(writer.publish(), Publish::Busy);
        assert_eq!(writer.settle(), Publish::Busy);
        assert_eq!(writer.pending(), pending, "what could not be published is kept");
        assert!(!eager.refresh() && rare.get().batches == 0);
    }
    assert!(rare.refresh());
    assert_eq!(writer.publish(), Publish::Published);
    assert_eq!(writer.pending(), 0);
    assert!(eager.refresh() && rare.refresh());
    assert_eq!((eager.get().batches, rare.get().batches), (101, 101));
}

#[test]
fn readers_that_are_gone_and_subscriptions_hold_nothing() {
    let mut writer = Writer::new(Ledger::default(), Ledger::default());
    let subscription = writer.subscription();
    for batch in 1..10 {
        let reader = subscription.reader().clone();
        writer.append(Entry::EndOfBatch);
        assert_eq!(writer.publish(), Publish::Published);
        assert_eq!(reader.get().batches, batch - 1);
        drop(reader);
        assert_eq!(writer.settle(), Publish::Published);
        assert_eq!(writer.published().batches, batch);
    }
    assert_eq!(writer.publish(), Publish::Published, "nothing to publish");
    assert_eq!(subscription.generation(), 9, "and nothing was");
}

#[test]
fn a_reader_that_has_released_its_copy_delays_nobody() {
    let mut writer = Writer::new(Ledger::default(), Ledger::default());
    let mut sleeper = writer.reader();
    sleeper.release();
    sleeper.release();
    for _ in 0..5 {
        writer.append(Entry::EndOfBatch);
        assert_eq!(writer.publish(), Publish::Published);
    }
    assert!(sleeper.clone().refresh(), "a clone of a sleeper sleeps, and wakes by itself");
    assert!(sleeper.refresh(), "five publications were missed");
    assert_eq!(sleeper.get().batches, 5);
    sleeper.release();
    assert!(sleeper.refresh(), "nothing has changed, but a copy to one who had none");
    assert!(!sleeper.refresh());
    assert_eq!(sleeper.get().batches, 5);
}

/// A copy that counts itself, to see when it is freed.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Absorb<()> for Counted<'_> {
    fn absorb(&mut self, _operation: &()) {}
}

#[test]
fn copies_are_freed_with_the_last_who_holds_them() {
    let alive = AtomicUsize::new(2);
    let mut writer = Writer::new(Counted(&alive), Counted(&alive));
    let reader = writer.reader();
    writer.append(());
    assert_eq!(writer.publish(), Publish::Published);
    drop(writer);
    // The reader holds the retired copy, and can still find the published one.
    assert_eq!(alive.load(Ordering::SeqCst), 2);
    drop(reader);
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

type Map = BTreeMap<u8, u16>;

#[derive(Debug, Clone, Default)]
struct Table(Map);

impl Absorb<(u8, Option<u16>)> for Table {
    fn absorb(&mut self, (key, value): &(u8, Option<u16>)) {
        match value {
            Some(value) => self.0.insert(*key, *value),
            None => self.0.remove(key),
        };
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(u8, Option<u16>),
    Publish,
    Settle,
    Refresh(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..8, any::<Option<u16>>()).prop_map(|(key, value)| Step::Append(key, value)),
        2 => Just(Step::Publish),
        1 => Just(Step::Settle),
        3 => (0usize..2).prop_map(Step::Refresh),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #[test]
    fn both_copies_equal_a_plain_model(steps in steps()) {
        let mut writer = Writer::new(Table::default(), Table::default());
        let mut readers = [writer.reader(), writer.reader()];
        // The model now, at each publication, and the publication that each reader holds.
        let (mut model, mut history, mut held) = (Map::new(), vec![Map::new()], [0, 0]);
        for step in steps {
            match step {
                Step::Append(key, value) => {
                    writer.append((key, value));
                    match value {
                        Some(value) => model.insert(key, value),
                        None => model.remove(&key),
                    };
                }
                Step::Publish => {
                    let has_pending = writer.pending() > 0;
                    let latest = history.len() - 1;
                    let is_free = held.iter().all(|held| *held == latest);
                    let expected = match is_free || !has_pending {
                        true => Publish::Published,
                        false => Publish::Busy,
                    };
                    prop_assert_eq!(writer.publish(), expected);
                    if is_free && has_pending {
                        history.push(model.clone());
                    }
                }
                Step::Settle => _ = writer.settle(),
                Step::Refresh(at) => {
                    let latest = history.len() - 1;
                    prop_assert_eq!(readers[at].refresh(), held[at] != latest);
                    held[at] = latest;
                }
            }
            for (reader, held) in readers.iter().zip(held) {
                prop_assert_eq!(&reader.get().0, &history[held]);
            }
            prop_assert_eq!(&writer.published().0, history.last().unwrap());
        }
        // Twice, so that each of the two copies has been the published one.
        for _ in 0..2 {
            for reader in &mut readers {
                reader.refresh();
            }
            writer.append((0, Some(1)));
            model.insert(0, 1);
            prop_assert_eq!(writer.publish(), Publish::Published);
            prop_assert_eq!(&writer.published().0, &model);
        }
    }
}
