//! Publication: a table that one thread changes while others go on reading the version that they have.
//!
//! There are two copies. One is published: readers hold it in an [`Arc`] and find the current one
//! in a place that writer and readers share. The other is the writer's. Changes are operations; [`Writer::append`]
//! collects them, and [`Writer::publish`] applies them to its own copy, swaps the pointer, and
//! later applies the same operations to the copy that came back. Each change is so done twice,
//! but costs its own size and not the table's, and readers see batches whole.
//!
//! The writer may change a copy only when no reader holds it, and [`Arc::get_mut`] is the proof:
//! no unsafe code. While a reader still holds the retired copy the answer is
//! [`Publish::Busy`]: the operations stay pending and the caller tries again later. A reader
//! that never refreshes thus stops publication, but neither memory safety nor other readers; so each
//! worker refreshes once a batch, and also when it wakes without packets. For the same reason a reader
//! is made where it is used: one that lies about unused holds its copy. [`Subscription`] makes
//! readers and holds nothing. A worker that goes to sleep lets go of its copy with
//! [`Reader::release`] and takes the current one with [`Reader::refresh`] when it wakes.
//!
//! The shared place is behind a mutex that is held for as long as it takes to copy or to exchange an
//! `Arc`, and a reader that has a copy only ever *tries* to take it: when somebody else is there just
//! now, it goes on with what it has and looks again after its next batch. A reader without a copy, new
//! or awake after a release, tries a few times, and only then waits for its turn, as does the writer: who
//! holds the mutex has a few instructions to go, unless it just lost its processor. What stands between
//! them is the standard library's and needs no unsafe code here.
//!
//! The same as the left-right scheme of Ramalhete and Correia (2013), with reference counts in
//! place of reader epochs.
//!
//! [`Reader::refresh`] is one atomic load and a compare while nothing has changed.
//!
//! `tests/publication_model.rs` compiles this file against loom, which explores the interleavings;
//! `tests/publication_race.rs` lets a reader check each answer while a writer changes routes.

use std::fmt;
use std::mem;
use std::sync::{PoisonError, TryLockError};

// Not `std::sync`: the model checker puts its own in place.
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, thread};

/// What can take an operation.
///
/// Applying must be a function of the value and the operation alone: the two copies take the same
/// operations in the same order and must come out equal.
pub trait Absorb<Op> {
    /// Applies one operation.
    fn absorb(&mut self, operation: &Op);

    /// Prefetches what an operation that comes soon will read; by default nothing.
    ///
    /// Called for each operation of a publication, with each `step` from 0 to [`PREPARE_STEPS`] − 1 and
    /// a few other operations between two steps: a step may read what the one before has asked for.
    fn prepare(&self, operation: &Op, step: usize) {
        let _ = (operation, step);
    }
}

/// How often an operation is announced before it is applied.
pub const PREPARE_STEPS: usize = 4;
/// Operations between two announcements: time for a cache miss to end.
const PREPARE_DISTANCE: usize = 4;

/// Tries to take the shared place before a thread sleeps until it is free.
const TRIES_MAX: usize = 16;

/// Applies operations in order, and announces each before its turn.
fn absorb_all<T: Absorb<Op>, Op>(copy: &mut T, operations: &[Op]) {
    for (at, operation) in operations.iter().enumerate() {
        for step in 0..PREPARE_STEPS {
            let ahead = (PREPARE_STEPS - step) * PREPARE_DISTANCE;
            if let Some(coming) = operations.get(at + ahead) {
                copy.prepare(coming, step);
            }
        }
        copy.absorb(operation);
    }
}

/// What became of [`Writer::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Publish {
    /// Readers that refresh from now on see all operations.
    Published,
    /// A reader still holds the retired copy; the operations stay pending.
    Busy,
}

/// What writer and readers share.
struct Shared<T> {
    current: Mutex<Arc<T>>,
    /// Publications so far: tells readers cheaply whether to look.
    generation: AtomicU64,
}

impl<T> Shared<T> {
    /// The shared place, at once or not at all.
    fn try_current(&self) -> Option<MutexGuard<'_, Arc<T>>> {
        match self.current.try_lock() {
            Ok(current) => Some(current),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Waits for the others, who hold the mutex for an instant; sleeps if it lasts longer. Nothing
    /// panics under it.
    fn current(&self) -> MutexGuard<'_, Arc<T>> {
        for _ in 0..TRIES_MAX {
            if let Some(current) = self.try_current() {
                return current;
            }
            thread::yield_now();
        }
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who changes. `Op` is one change.
pub struct Writer<T, Op> {
    shared: Arc<Shared<T>>,
    /// The copy that readers do not get; the last of them may still hold it.
    retired: Arc<T>,
    /// Operations that the published copy has and the retired one lacks.
    replay: Vec<Op>,
    /// Operations that neither has.
    pending: Vec<Op>,
}

impl<T: Absorb<Op>, Op> Writer<T, Op> {
    /// Publishes the one of two equal values and keeps the other.
    #[must_use]
    pub fn new(published: T, copy: T) -> Self {
        let current = Mutex::new(Arc::new(published));
        Self {
            shared: Arc::new(Shared { current, generation: AtomicU64::new(0) }),
            retired: Arc::new(copy),
            replay: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Adds an operation to the next publication. Nobody sees it before [`Self::publish`].
    pub fn append(&mut self, operation: Op) {
        self.pending.push(operation);
    }

    /// Operations that wait for publication. Bounding them is up to the caller: when
    /// [`Publish::Busy`] lasts, stop appending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Publishes all pending operations at once, or none. Does not wait for a reader to refresh, only
    /// for one that takes the current copy at this instant.
    ///
    /// A worker that takes the other copy finds its caches cold: with a full table and destinations all
    /// over it, that is 10 MB to fetch again. So under a steady stream of changes publish in intervals of
    /// some 10 ms or more, and at once only after a pause.
    ///
    /// Cost: each operation of this and of the previous publication is applied once, and one
    /// pointer is swapped.
    pub fn publish(&mut self) -> Publish {
        if self.pending.is_empty() {
            return Publish::Published;
        }
        let Some(copy) = Arc::get_mut(&mut self.retired) else { return Publish::Busy };
        absorb_all(copy, &self.replay);
        absorb_all(copy, &self.pending);
        self.replay.clear();
        mem::swap(&mut self.replay, &mut self.pending);
        mem::swap(&mut self.retired, &mut *self.shared.current());
        // After the swap: who sees the new generation finds the new copy.
        self.shared.generation.fetch_add(1, Ordering::Release);
        Publish::Published
    }

    /// Brings the retired copy into step, if no reader holds it, and so frees the operations of
    /// the last publication. [`Self::publish`] does it too; this is for quiet times.
    pub fn settle(&mut self) -> Publish {
        let Some(copy) = Arc::get_mut(&mut self.retired) else { return Publish::Busy };
        absorb_all(copy, &mem::take(&mut self.replay));
        Publish::Published
    }

    /// A reader of the current copy.
    #[must_use]
    pub fn reader(&self) -> Reader<T> {
        self.subscription().reader()
    }

    /// What makes readers elsewhere.
    #[must_use]
    pub fn subscription(&self) -> Subscription<T> {
        Subscription { shared: Arc::clone(&self.shared) }
    }

    /// The published copy as it is now: for looking up what the next operations change, apart
    /// from those pending. Drop it before publishing twice.
    #[must_use]
    pub fn published(&self) -> Arc<T> {
        Arc::clone(&self.shared.current())
    }
}

/// Makes readers, from any thread, and holds no copy itself.
pub struct Subscription<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Subscription<T> {
    /// A reader of the current copy.
    #[must_use]
    pub fn reader(&self) -> Reader<T> {
        // Before the copy: at worst the first refresh looks in vain.
        let generation = self.generation();
        let held = Some(Arc::clone(&self.shared.current()));
        Reader { shared: Arc::clone(&self.shared), held, generation }
    }

    /// Publications so far.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }
}

impl<T> Clone for Subscription<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// One who reads: holds a copy until [`Self::refresh`], or none after [`Self::release`].
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    /// `None` between a release and the next refresh.
    held: Option<Arc<T>>,
    /// The publication held, or an earlier one if they overlapped.
    generation: u64,
}

impl<T> Reader<T> {
    /// Takes the current copy in place of the one held; true if it is another one, and also after
    /// [`Self::release`], when there is none to compare it with.
    ///
    /// Call it between batches. Cost: one load and compare while nothing was published. When another
    /// thread has its hands on the current copy just now, the reader keeps its own until the next call;
    /// only without one, after a release, it waits for that thread.
    #[inline]
    pub fn refresh(&mut self) -> bool {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation == self.generation && self.held.is_some() {
            return false;
        }
        self.take(generation)
    }

    /// The part of a refresh that is rare.
    #[cold]
    fn take(&mut self, generation: u64) -> bool {
        let current = match &self.held {
            Some(_) => match self.shared.try_current() {
                Some(current) => Arc::clone(&current),
                None => return false,
            },
            None => Arc::clone(&self.shared.current()),
        };
        // May be too early by then, if a publication came in between: the next refresh looks in vain.
        self.generation = generation;
        // The generations do not tell: this copy may be newer than the one that was read above.
        let is_another = self.held.as_ref().is_none_or(|held| !Arc::ptr_eq(&current, held));
        self.held = Some(current);
        is_another
    }

    /// Holds no copy until the next [`Self::refresh`], so that publication does not wait for this
    /// reader: call it before the thread sleeps, and refresh when it wakes, before [`Self::get`].
    ///
    /// Releasing twice is releasing once. Cost: one reference count.
    pub fn release(&mut self) {
        self.held = None;
    }

    /// Whether nothing was published since the last [`Self::refresh`].
    ///
    /// For who writes down an answer of this copy where the publisher erases such answers after each
    /// publication: write, then a sequentially consistent fence, then this; the publisher has such a
    /// fence between publishing and erasing. One of the two sees what the other did.
    #[inline]
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.shared.generation.load(Ordering::Acquire) == self.generation
    }

    /// The copy held.
    ///
    /// # Panics
    ///
    /// After [`Self::release`], until the next [`Self::refresh`]: there is no copy to answer from.
    #[inline]
    #[must_use]
    pub fn get(&self) -> &T {
        self.held.as_deref().expect("a reader refreshes after it has released its copy")
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            held: self.held.clone(),
            generation: self.generation,
        }
    }
}

impl<T, Op> fmt::Debug for Writer<T, Op> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut writer = formatter.debug_struct("Writer");
        writer.field("pending", &self.pending.len()).field("replay", &self.replay.len());
        writer.finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Subscription").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reader").finish_non_exhaustive()
    }
}
