//! Publication under loom, which runs each model in every interleaving of its threads that the C11 memory
//! model allows (up to a bound on preemptions where it says so). The file under test is the crate's own,
//! compiled against loom's mutex, reference count and atomics.

/// Loom's, under the names by which the file asks for them.
mod sync {
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard, atomic};
    pub(crate) use loom::thread;
}

#[allow(dead_code, unreachable_pub, reason = "the crate's file, of which the models use a part")]
#[path = "../src/publication.rs"]
mod publication;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use publication::{Absorb, Publish, Reader, Writer};

/// Two numbers that a change writes one after the other, both without order: a reader that could see
/// a copy while it is changed would see them differ.
#[derive(Default)]
struct Pair(AtomicU64, AtomicU64);

impl Absorb<u64> for Pair {
    fn absorb(&mut self, operation: &u64) {
        self.0.store(*operation, Ordering::Relaxed);
        self.1.store(*operation, Ordering::Relaxed);
    }
}

fn seen(reader: &Reader<Pair>) -> u64 {
    let pair = reader.get();
    let (first, second) = (pair.0.load(Ordering::Relaxed), pair.1.load(Ordering::Relaxed));
    assert_eq!(first, second, "a copy changed while it was read");
    first
}

fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Publishes 1 to `last`; what finds the other copy in use stays pending and goes along with the next.
fn publish_up_to(writer: &mut Writer<Pair, u64>, last: u64) {
    for operation in 1..=last {
        writer.append(operation);
        let _ = writer.publish();
    }
}

#[test]
fn a_reader_sees_whole_copies_in_order_and_the_last_in_the_end() {
    bounded(9, || {
        let mut writer = Writer::new(Pair::default(), Pair::default());
        let mut reader = writer.reader();
        let thread = thread::spawn(move || {
            let mut last = seen(&reader);
            for _ in 0..3 {
                let is_another = reader.refresh();
                let now = seen(&reader);
                assert!(now >= last, "went back from {last} to {now}");
                assert_eq!(is_another, now != last, "from {last} to {now}");
                last = now;
            }
            reader
        });
        publish_up_to(&mut writer, 3);
        let mut reader = thread.join().expect("the reader does not panic");
        reader.refresh();
        assert_eq!(writer.publish(), Publish::Published, "no reader holds the other copy");
        reader.refresh();
        assert_eq!(seen(&reader), 3);
    });
}

#[test]
fn two_readers_do_not_disturb_each_other() {
    bounded(3, || {
        let mut writer = Writer::new(Pair::default(), Pair::default());
        let threads = [writer.subscription(), writer.subscription()].map(|subscription| {
            thread::spawn(move || {
                let mut reader = subscription.reader();
                let first = seen(&reader);
                reader.refresh();
                assert!(seen(&reader) >= first);
            })
        });
        publish_up_to(&mut writer, 2);
        for thread in threads {
            thread.join().expect("no reader panics");
        }
        assert_eq!(writer.publish(), Publish::Published, "the readers are gone");
        assert_eq!(seen(&writer.reader()), 2);
    });
}

#[test]
fn a_reader_that_sleeps_holds_nothing_and_wakes_to_the_current_copy() {
    bounded(9, || {
        let mut writer = Writer::new(Pair::default(), Pair::default());
        let mut reader = writer.reader();
        let subscription = writer.subscription();
        let thread = thread::spawn(move || {
            let before = seen(&reader);
            reader.release();
            let published = subscription.generation();
            assert!(reader.refresh(), "any copy is new to a reader without one");
            let woken = seen(&reader);
            assert!(woken >= before && woken >= published, "{woken} after {published}");
        });
        publish_up_to(&mut writer, 2);
        thread.join().expect("the reader does not panic");
    });
}
