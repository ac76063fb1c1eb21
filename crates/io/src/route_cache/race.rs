//! A race of workers, the control side and readers over a few entries in plain memory: once the control
//! side has erased, nothing older is valid, wherever the workers are; and nobody sees half an entry.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use super::table::Table;
use super::{CachedRoute, Offer, Set};

const DESTINATIONS: usize = 6;
const SETS: usize = 2;
const ROUNDS: usize = 150;
/// Publications of a round at the most.
const PUBLICATIONS: usize = 25;
/// A worker takes a new snapshot after so many offers, more or less: most of them are made from one
/// that is old already.
const OFFERS_A_SNAPSHOT: usize = 64;
const SEED: u64 = 0x5eed_cafe;

/// The answer for each destination: what a snapshot of the tables is here.
type Snapshot = Arc<[u16; DESTINATIONS]>;

/// Xorshift (Marsaglia 2003): enough to shuffle.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn address(destination: usize) -> IpAddr {
    IpAddr::from([192, 0, 2, destination as u8])
}

/// An entry all of whose fields follow from destination and answer, so that a mixture shows.
fn route(destination: usize, answer: u16) -> CachedRoute {
    let [high, low] = answer.to_be_bytes();
    let mac = [2, destination as u8, high, low, !high, !low];
    CachedRoute {
        in_port: 0,
        destination: address(destination),
        out_port: answer,
        destination_mac: mac,
        source_mac: mac,
        mtu_bytes: u32::from(answer) << 8 | destination as u32,
        adjacency: u32::from(answer) << 8 | destination as u32,
    }
}

fn destination_of(route: &CachedRoute) -> usize {
    (route.adjacency & 0xff) as usize
}

/// What all sides share.
struct World {
    sets: Vec<Set>,
    epoch: AtomicU64,
    /// The published snapshot, swapped before `generation` moves, as `tables::publication` does.
    published: Mutex<Snapshot>,
    generation: AtomicU64,
    /// All pause here between rounds, the workers when they are told to.
    barrier: Barrier,
    pause: AtomicBool,
    done: AtomicBool,
}

impl World {
    fn table(&self) -> Table<'_> {
        Table { sets: &self.sets, epoch: &self.epoch, seed: 0x1234 }
    }

    fn snapshot(&self) -> (u64, Snapshot) {
        let generation = self.generation.load(Ordering::Acquire);
        (generation, Arc::clone(&self.published.lock().expect("no panic")))
    }

    /// Offers from a snapshot that it takes anew now and then only.
    fn work(&self, mut random: Random) {
        let (mut generation, mut snapshot) = self.snapshot();
        for _ in 0..ROUNDS {
            self.barrier.wait();
            while !self.pause.load(Ordering::Acquire) {
                if random.below(OFFERS_A_SNAPSHOT) == 0 {
                    (generation, snapshot) = self.snapshot();
                }
                let destination = random.below(DESTINATIONS);
                let away = random.below(16) == 0;
                let current = || {
                    let current = self.generation.load(Ordering::Acquire) == generation;
                    // The worst moment to lose the processor: between the question and the answer.
                    if away {
                        std::thread::yield_now();
                    }
                    current
                };
                self.table().offer(&route(destination, snapshot[destination]), current);
            }
            self.barrier.wait();
            self.barrier.wait();
        }
    }

    /// Looks at entries as the classifier does, all the time.
    fn read(&self) -> u64 {
        let mut seen = 0;
        while !self.done.load(Ordering::Acquire) {
            let epoch = self.epoch.load(Ordering::Acquire);
            for entry in self.table().entries() {
                if let Some((_, _, found)) = entry.read(epoch) {
                    assert_eq!(found, route(destination_of(&found), found.out_port), "half of one");
                    seen += 1;
                }
            }
        }
        seen
    }

    /// Changes an answer, publishes, and erases: one entry or all.
    fn publish(&self, random: &mut Random) {
        let changed = random.below(DESTINATIONS);
        {
            let mut published = self.published.lock().expect("no panic");
            let mut next = **published;
            next[changed] = next[changed].wrapping_add(1);
            *published = Arc::new(next);
        }
        self.generation.fetch_add(1, Ordering::Release);
        match random.below(4) {
            0 => self.table().erase_all(),
            _ => drop(self.table().erase(|route| route.destination == address(changed))),
        }
    }

    /// Wherever the workers are: the number of entries, and of those that are not the published answer.
    /// For the thread that publishes, after it has erased.
    fn check(&self) -> (usize, usize) {
        let (_, snapshot) = self.snapshot();
        let epoch = self.epoch.load(Ordering::Acquire);
        let held: Vec<_> = self.table().entries().filter_map(|entry| entry.read(epoch)).collect();
        let is_stale = |found: &CachedRoute| {
            let destination = destination_of(found);
            *found != route(destination, snapshot[destination])
        };
        (held.len(), held.iter().filter(|(_, _, found)| is_stale(found)).count())
    }
}

#[test]
fn nothing_stale_is_valid_after_an_erase_and_nobody_sees_half_an_entry() {
    let world = World {
        sets: (0..SETS).map(|_| Set::default()).collect(),
        epoch: AtomicU64::new(1),
        published: Mutex::new(Arc::new([0; DESTINATIONS])),
        generation: AtomicU64::new(0),
        barrier: Barrier::new(3),
        pause: AtomicBool::new(false),
        done: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let world = &world;
        let reader = scope.spawn(|| world.read());
        for worker in 1..=2 {
            scope.spawn(move || world.work(Random(SEED * worker)));
        }
        let mut random = Random(SEED * 3);
        let (mut held, mut stale) = (0, 0);
        // Judged at the end: who panics in between leaves the others waiting.
        let mut check = || {
            let found = world.check();
            (held, stale) = (held + found.0, stale + found.1);
        };
        for _ in 0..ROUNDS {
            world.pause.store(false, Ordering::Release);
            world.barrier.wait();
            for _ in 0..=random.below(PUBLICATIONS) {
                world.publish(&mut random);
                // At once and a little later: an offer that was under way must not come true.
                check();
                // Lets the workers run now and then, also on a single core.
                if random.below(4) == 0 {
                    std::thread::yield_now();
                }
                check();
            }
            world.pause.store(true, Ordering::Release);
            world.barrier.wait();
            check();
            world.barrier.wait();
        }
        world.done.store(true, Ordering::Release);
        assert_eq!(stale, 0, "stale entries, seed {SEED:#x}");
        assert!(held > ROUNDS / 4, "{held} entries in {ROUNDS} rounds: the race was about nothing");
        assert!(reader.join().expect("the reader does not panic") > 0);
    });
}

/// A worker that loses the processor after it has asked, until the control side has published and erased.
#[test]
fn an_offer_that_was_right_when_it_asked_does_not_come_true_after_the_erase() {
    let sets: Vec<_> = (0..SETS).map(|_| Set::default()).collect();
    let epoch = AtomicU64::new(1);
    let table = Table { sets: &sets, epoch: &epoch, seed: 0x1234 };
    let valid =
        || table.entries().filter(|entry| entry.read(epoch.load(Ordering::Acquire)).is_some());
    let offer = |erase: &dyn Fn()| {
        table.offer(&route(1, 7), || {
            erase();
            true
        })
    };
    assert_eq!(offer(&|| assert_eq!(table.erase(|_| true), 0)), Offer::Withdrawn);
    assert_eq!(valid().count(), 0);
    // The epoch that it was written in is over.
    assert_eq!(offer(&|| table.erase_all()), Offer::Written);
    assert_eq!(valid().count(), 0);
    // A second worker takes the other place of the set, and a third goes without, doomed or not.
    let third = || assert_eq!(table.offer(&route(1, 9), || true), Offer::Withdrawn);
    let second = || {
        let meanwhile = || {
            third();
            table.erase(|_| false);
            third();
            true
        };
        assert_eq!(table.offer(&route(1, 8), meanwhile), Offer::Withdrawn);
    };
    assert_eq!(offer(&second), Offer::Withdrawn);
    assert_eq!(valid().count(), 0);
    // The places are not used up.
    assert_eq!(offer(&|| {}), Offer::Written);
    assert_eq!(offer(&|| unreachable!("it is there")), Offer::Present);
    assert_eq!(valid().count(), 1);
}
