//! The pool of a shared rate under loom, which runs each model in every interleaving of its threads that
//! the C11 memory model allows. The file under test is the crate's own, compiled against loom's
//! atomics.

/// Loom's, under the names by which the file asks for them.
mod sync {
    pub(crate) use loom::sync::atomic;
}

#[allow(dead_code, unreachable_pub, reason = "the crate's file, of which the models use a part")]
#[path = "../src/meter/pool.rs"]
mod pool;

use loom::sync::Arc;
use loom::thread;

use pool::{Lease, Pool};

const BUCKET: Lease = Lease { size_nanoseconds: 100, quantum_nanoseconds: 30 };
const EXCESS: Lease = Lease { size_nanoseconds: 50, quantum_nanoseconds: 20 };

/// All that is left at `now`, in steps of one quantum and of one nanosecond.
fn drain(mut take: impl FnMut() -> Result<u64, u64>) -> u64 {
    std::iter::from_fn(|| take().ok()).sum()
}

/// Two threads and the end take all there is, and no more, whoever comes first.
#[test]
fn what_is_taken_and_what_is_left_is_what_came_in() {
    loom::model(|| {
        let pool = Arc::new(Pool::new());
        let threads = [1000, 1010].map(|now| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let take = |needed| pool.take_committed(now, &BUCKET, needed, false).unwrap_or(0);
                take(40) + take(1)
            })
        });
        let taken: u64 = threads.map(|thread| thread.join().expect("no panic")).iter().sum();
        let left = drain(|| pool.take_committed(1010, &BUCKET, 1, false));
        // Full at first; what came in the 10 ns between the two flowed over unless credit was taken
        // before.
        let total = taken + left;
        assert!((100..=110).contains(&total), "{taken} taken, {left} left");
    });
}

/// The overflow of the first bucket reaches the second once, whoever brings it in.
#[test]
fn what_flows_over_is_added_once() {
    loom::model(|| {
        let pool = Arc::new(Pool::new());
        let first = drain(|| pool.take_committed(1000, &BUCKET, 1, true));
        let second = drain(|| pool.take_overflow(1000, &BUCKET, &EXCESS, 1));
        assert_eq!((first, second), (100, 50), "both full at first");
        // 100 ns fill the first bucket, 30 more flow over.
        let now = 1130;
        let committed = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.take_committed(now, &BUCKET, 10, true))
        };
        let excess = {
            let pool = Arc::clone(&pool);
            // May see the other's exchange before what it has counted: then there is less.
            thread::spawn(move || pool.take_overflow(now, &BUCKET, &EXCESS, 20).unwrap_or(0))
        };
        let committed = committed.join().expect("no panic").expect("there is enough");
        let excess = excess.join().expect("no panic");
        let committed = committed + drain(|| pool.take_committed(now, &BUCKET, 1, true));
        let excess = excess + drain(|| pool.take_overflow(now, &BUCKET, &EXCESS, 1));
        assert_eq!((committed, excess), (100, 30));
    });
}

/// Two threads at the second bucket never take more than is there.
#[test]
fn the_second_bucket_is_taken_once() {
    loom::model(|| {
        let pool = Arc::new(Pool::new());
        let threads = [(); 2].map(|()| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || pool.take_overflow(1000, &BUCKET, &EXCESS, 30).unwrap_or(0))
        });
        let taken: u64 = threads.map(|thread| thread.join().expect("no panic")).iter().sum();
        let left = drain(|| pool.take_overflow(1000, &BUCKET, &EXCESS, 1));
        assert_eq!((taken, left), (30, 20), "one of the two had enough");
    });
}
