//! The route cache's protocol under loom, which runs each model in every interleaving of its threads that
//! the C11 memory model allows, in two of them up to a bound on preemptions. The files under test are the
//! crate's own, compiled against loom's atomics.
//!
//! Modelled: workers that offer what they have from a snapshot that may be old, the control side that
//! publishes and then erases or begins an epoch, and who reads as `Entry::read` does.
//!
//! Not modelled: the BPF program, whose loads follow the kernel's memory model and not C11's; it has the
//! loads of `Entry::read`, its twin, in their order. Nor the bits that say what was used of late, which only
//! choose a place.

/// Loom's, under the name by which the files ask for it.
mod sync {
    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

        /// The fence, or none where a model shows what it is for.
        pub(crate) fn fence(order: Ordering) {
            let is_left_out = order == Ordering::SeqCst && crate::WITHOUT_DEKKER.get();
            if !is_left_out {
                loom::sync::atomic::fence(order);
            }
        }
    }
}

#[allow(dead_code, unreachable_pub, reason = "the crate's files, of which the models use a part")]
#[path = "../src/route_cache/entry.rs"]
mod entry;
#[allow(dead_code, unreachable_pub, reason = "as above")]
#[path = "../src/route_cache/key.rs"]
mod key;
#[allow(dead_code, unreachable_pub, reason = "as above")]
#[path = "../src/route_cache/table.rs"]
mod table;

use std::cell::Cell;
use std::net::IpAddr;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use entry::Entry;
use table::{CachedRoute, Offer, Set, Table};

thread_local! {
    /// Loom runs the threads of a model on the one that asks for it.
    static WITHOUT_DEKKER: Cell<bool> = const { Cell::new(false) };
}

/// The fewest that there are.
const SETS: usize = 2;

/// Every interleaving.
fn all(model: impl Fn() + Sync + Send + 'static) {
    check(None, model);
}

/// Those in which threads lose the processor so many times at the most, beside where they wait.
fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    check(Some(preemptions), model);
}

fn check(preemption_bound: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemption_bound;
    builder.check(model);
}

/// What snapshot `generation` of the tables says of the one destination; all fields follow from it, so that
/// a mixture shows.
fn route(generation: u64) -> CachedRoute {
    let number = generation as u8;
    CachedRoute {
        in_port: 0,
        destination: IpAddr::from([192, 0, 2, 1]),
        out_port: u16::from(number),
        destination_mac: [number; 6],
        source_mac: [number; 6],
        mtu_bytes: u32::from(number),
        adjacency: u32::from(number),
    }
}

/// What all threads share.
struct World {
    sets: Vec<Set>,
    epoch: AtomicU64,
    /// Of the published tables.
    generation: AtomicU64,
}

impl World {
    fn new() -> Arc<Self> {
        let sets = (0..SETS).map(|_| Set::default()).collect();
        Arc::new(Self { sets, epoch: AtomicU64::new(1), generation: AtomicU64::new(0) })
    }

    fn table(&self) -> Table<'_> {
        Table { sets: &self.sets, epoch: &self.epoch, seed: 0 }
    }

    /// A worker with the snapshot `generation` offers what that says.
    fn offer(&self, generation: u64) -> Offer {
        let is_current = || self.generation.load(Ordering::Acquire) == generation;
        self.table().offer(&route(generation), is_current)
    }

    /// The control side publishes a snapshot and takes back what has changed; `all` by the epoch.
    fn publish(&self, generation: u64, all: bool) {
        self.generation.store(generation, Ordering::Release);
        match all {
            true => self.table().erase_all(),
            false => {
                self.table().erase(|found| u64::from(found.adjacency) != generation);
            }
        }
    }

    /// Entries that count, each of them whole and none older than `generation`.
    fn check(&self, generation: u64) -> usize {
        let epoch = self.epoch.load(Ordering::Acquire);
        let table = self.table();
        let found = table.entries().filter_map(|entry| entry.read(epoch));
        let check = |(_, _, found): (_, _, CachedRoute)| {
            assert_eq!(found, route(u64::from(found.adjacency)), "half of one and half of another");
            assert!(u64::from(found.adjacency) >= generation, "stale: {found:?}");
        };
        found.map(check).count()
    }
}

fn a_worker_and_a_publication(all: bool) {
    let world = World::new();
    let worker = {
        let world = Arc::clone(&world);
        thread::spawn(move || world.offer(0))
    };
    world.publish(1, all);
    // The worker may be anywhere, and stay there for any time.
    world.check(1);
    worker.join().expect("the worker does not panic");
    assert_eq!(world.check(1), 0, "what it offered is void, whatever it was told");
}

#[test]
fn nothing_older_is_valid_once_entries_are_erased() {
    all(|| a_worker_and_a_publication(false));
}

#[test]
fn nothing_older_is_valid_in_a_new_epoch() {
    all(|| a_worker_and_a_publication(true));
}

/// That the models can fail at all, and what the fences are for: without them the control side may miss
/// the entry that is being written, and the worker the publication.
#[test]
#[should_panic(expected = "stale")]
fn without_the_fences_something_older_is_valid() {
    WITHOUT_DEKKER.set(true);
    all(|| a_worker_and_a_publication(false));
}

#[test]
fn two_workers_and_a_publication_leave_nothing_older() {
    bounded(2, || {
        let world = World::new();
        let workers = [(); 2].map(|()| {
            let world = Arc::clone(&world);
            thread::spawn(move || world.offer(0))
        });
        world.publish(1, false);
        for worker in workers {
            worker.join().expect("no worker panics");
        }
        assert_eq!(world.check(1), 0);
        // Neither has used up its place.
        assert_eq!((world.offer(1), world.check(1)), (Offer::Written, 1));
    });
}

/// A worker that has the new snapshot meets one that has the old, while the control side erases.
#[test]
fn what_the_published_tables_say_may_stay() {
    all(|| {
        let world = World::new();
        assert_eq!(world.offer(0), Offer::Written);
        let worker = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let generation = world.generation.load(Ordering::Acquire);
                (generation, world.offer(generation))
            })
        };
        world.publish(1, false);
        let outcome = worker.join().expect("the worker does not panic");
        let held = world.check(1);
        match outcome {
            (0, _) => assert_eq!(held, 0, "{outcome:?}"),
            (_, Offer::Written) => assert_eq!(held, 1, "{outcome:?}"),
            _ => assert!(held <= 1, "{outcome:?}"),
        }
    });
}

/// Two answers one after the other over the first, in one entry, and a reader in between.
#[test]
fn a_reader_sees_an_entry_whole_or_not_at_all() {
    bounded(2, || {
        let entry = Arc::new(Entry::default());
        let write = |entry: &Entry, generation| {
            let route = route(generation);
            let key = key::Key::new(route.in_port, route.destination);
            assert!(entry.write(1, key, &route, || true), "nobody else writes");
        };
        write(&entry, 1);
        let reader = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                if let Some((_, _, found)) = entry.read(1) {
                    assert_eq!(found, route(u64::from(found.adjacency)), "half of each");
                }
            })
        };
        write(&entry, 2);
        reader.join().expect("the reader does not panic");
    });
}
