//! The route cache: destinations whose packets the classifier forwards by itself.
//!
//! Where a driver has no zero-copy, a packet that goes through an AF_XDP socket is copied twice, and the
//! kernel's transmit costs a microsecond. `XDP_REDIRECT` from port to port costs none of that. So a
//! worker that has just decided to forward a packet writes the decision down here: (incoming port,
//! destination) → outgoing port, MAC addresses, MTU. The classifier (`bpf::redirect`) does the same with
//! the next packet to that destination, and counts it in the same books.
//!
//! **It is a cache of the pipeline's answers and nothing else.** What is not in it goes to the worker, as
//! without it: a flood of random destinations costs what it costs, plus a look at two cache lines. (Linux
//! threw its own route cache out in 3.6 because it fell over under such floods: behind it was a slow
//! lookup and a garbage collector. Behind this one is the pipeline, which is as fast for a new destination
//! as for an old one, and nothing is ever collected.) Sets of two entries, each a cache line, chosen by a
//! seeded hash; an entry that was used of late gets a second chance, so floods drive out floods.
//!
//! **Nothing stale is used for longer than the tables themselves.** After a publication the control
//! side erases the entries that it has changed ([`RouteCache::erase`]), or all of them by one store
//! ([`RouteCache::erase_all`]): an entry is void unless its epoch is the present one. A worker may write an
//! entry from the old tables while this goes on, so it looks again before the entry counts
//! ([`RouteCache::offer`]):
//!
//! ```text
//! worker:   take the entry, write it   fence   is the publication still mine? then say that it is valid
//! control:  publish                    fence   read the entries, erase; doom those that are being written
//! ```
//!
//! Both fences are sequentially consistent, so one of the two comes first (Dekker): if it is the control
//! side's, the worker sees the publication. If it is the worker's, the control side finds the entry taken,
//! and dooms it, so that the worker cannot say that it is valid any more; or finds it valid, and erases it.
//! So a worker may lose the processor anywhere: when the pass has ended, no older answer is valid, nor
//! becomes so. (A packet that the program had looked up by then still goes its way.)
//!
//! `tests/route_cache_model.rs` compiles this protocol (`table`, `entry`) against loom: workers and the control
//! side in every order that the memory model allows, and it finds the older answer when the fences are left
//! out. What loom does not know is the BPF program: that its loads keep their order is said in `entry`, and
//! that it reads as its twin does, `tests/system_route_cache.rs` shows. `race` runs all of it on real cores.
//!
//! **Ports.** Only ports that take redirected frames are targets ([`RouteCache::set_target`]): the map of
//! targets empties itself when an interface goes, and a frame for a port that is not there is a miss. What
//! is lost behind the redirect is counted by `bpf::redirect_losses`.
//!
//! Memory: 128 bytes a set. Cost of an offer: two cache lines, one compare-and-swap, one fence.

pub(crate) mod entry;
pub(crate) mod key;
mod table;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use self::entry::Entry;
use self::key::MIX;
use self::table::Table;
pub use self::table::{CachedRoute, Offer};
pub(crate) use self::table::{Set, WAYS};
use crate::bpf::mapped::{MappedArray, Shared};
use crate::bpf::redirect::Redirect;
use crate::bpf::sys;

/// Ports that the cache serves, numbers 0 to one less: losses are counted for each pair of them.
pub const PORTS_MAX: usize = u64::BITS as usize;

/// What the program reads besides the sets.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Control {
    /// Entries of another epoch are void. Never 0 after set-up, and so no entry of zeros is valid.
    epoch: AtomicU64,
}

/// The cache: in BPF maps, mapped into this process. Shared by classifiers, workers and the control side.
#[derive(Debug)]
pub struct RouteCache {
    sets: MappedArray<Set>,
    control: MappedArray<Control>,
    /// Interfaces by port number, for the programs; `None` in plain memory.
    targets: Option<OwnedFd>,
    /// Bit n: the classifier of port n asks the cache.
    sources_open: AtomicU64,
    /// Bit n: frames may leave by port n.
    targets_open: AtomicU64,
    seed: u64,
}

// What the program's offsets and the maps' sizes stand on.
const _: () = assert!(size_of::<Entry>() == 64);

mod shared {
    #![allow(unsafe_code, reason = "promises about memory that is shared with the kernel")]
    use super::{Control, Set, Shared};

    // SAFETY: a set is entries, and an entry atomic integers, 64 bytes of them.
    unsafe impl Shared for Set {}
    // SAFETY: one atomic integer of 64 bits.
    unsafe impl Shared for Control {}
}

impl RouteCache {
    /// An empty cache of `entries`, rounded up to a power of two, from 4 to 2^24. No port is a target.
    ///
    /// # Errors
    /// The kernel's: `EPERM` without `CAP_BPF` and `CAP_NET_ADMIN`.
    pub fn new(entries: usize) -> io::Result<Arc<Self>> {
        let targets = sys::map_create("lc_targets", sys::MAP_DEVMAP, 4, 4, PORTS_MAX as u32, 0)?;
        let sets = MappedArray::new("lc_routes", sets_of(entries))?;
        let seed = RandomState::new().hash_one(std::process::id());
        Ok(Self::empty((sets, MappedArray::new("lc_epoch", 1)?), Some(targets), seed))
    }

    /// The same in memory that no program sees, so that nothing is forwarded by it: for tests of those
    /// who fill and empty it. Needs no privilege; the hash is the same each time.
    ///
    /// # Errors
    /// The kernel's: `ENOMEM`.
    pub fn in_plain_memory(entries: usize) -> io::Result<Arc<Self>> {
        let sets = MappedArray::plain(sets_of(entries))?;
        Ok(Self::empty((sets, MappedArray::plain(1)?), None, MIX))
    }

    fn empty(
        (sets, control): (MappedArray<Set>, MappedArray<Control>),
        targets: Option<OwnedFd>,
        seed: u64,
    ) -> Arc<Self> {
        let (sources_open, targets_open) = (AtomicU64::new(0), AtomicU64::new(0));
        let cache = Self { sets, control, targets, sources_open, targets_open, seed };
        cache.erase_all();
        Arc::new(cache)
    }

    fn table(&self) -> Table<'_> {
        let epoch = &self.control.values()[0].epoch;
        Table { sets: self.sets.values(), epoch, seed: self.seed }
    }

    /// Makes packets that the worker forwards as `route` says the classifier's. `is_current` is asked
    /// when the entry is written and before it counts: whether the tables that `route` comes from are still
    /// the published ones. See the module.
    #[inline]
    pub fn offer(&self, route: &CachedRoute, is_current: impl FnOnce() -> bool) -> Offer {
        if !self.is_source(route.in_port) || !is_set(&self.targets_open, route.out_port) {
            return Offer::NotServed;
        }
        self.table().offer(route, is_current)
    }

    /// Whether packets that come in by a port are worth an offer. Cost: two loads.
    #[inline]
    #[must_use]
    pub fn is_source(&self, port: u16) -> bool {
        is_set(&self.sources_open, port) && self.has_targets()
    }

    /// Whether there is a port to forward to, and so anything to erase.
    #[must_use]
    pub fn has_targets(&self) -> bool {
        self.targets_open.load(Ordering::Relaxed) != 0
    }

    /// Whether frames may leave by a port.
    #[must_use]
    pub fn is_target(&self, port: u16) -> bool {
        is_set(&self.targets_open, port)
    }

    /// Says that the classifier of a port asks the cache, or does not.
    pub fn set_source(&self, port: u16, is_source: bool) {
        set(&self.sources_open, port, is_source);
    }

    /// Erases all entries of which `is_stale` holds; call it after a publication. Returns how many.
    ///
    /// Cost: a pass over all entries.
    pub fn erase(&self, is_stale: impl FnMut(&CachedRoute) -> bool) -> usize {
        self.table().erase(is_stale)
    }

    /// Erases all entries, by one store; call it after a publication.
    pub fn erase_all(&self) {
        self.table().erase_all();
    }

    /// Tells the adjacency of each entry that was used since the last call.
    ///
    /// Cost: a pass over all entries.
    pub fn take_used(&self, mut used: impl FnMut(u32)) {
        let table = self.table();
        let epoch = table.epoch.load(Ordering::Acquire);
        for entry in table.entries() {
            if let Some((_, _, route)) = entry.read(epoch)
                && entry.take_used()
            {
                used(route.adjacency);
            }
        }
    }

    /// Entries that packets can be forwarded by. Cost: a pass over all entries.
    #[must_use]
    pub fn entries(&self) -> usize {
        let table = self.table();
        let epoch = table.epoch.load(Ordering::Acquire);
        table.entries().filter(|entry| entry.read(epoch).is_some()).count()
    }

    /// Lets frames leave by a port, by this interface; it must be in the calling thread's network
    /// namespace. Whatever was there is erased: without a target there is no need to erase anything.
    ///
    /// # Errors
    /// The kernel's: `EINVAL` for an interface that is gone.
    pub fn set_target(&self, port: u16, interface_index: u32) -> io::Result<()> {
        self.erase_all();
        if let Some(targets) = &self.targets {
            let key = u32::from(port).to_ne_bytes();
            sys::map_update(targets.as_fd(), &key, &interface_index.to_ne_bytes())?;
        }
        set(&self.targets_open, port, true);
        Ok(())
    }

    /// Lets no more frames leave by a port: those for it are misses from now on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove_target(&self, port: u16) -> io::Result<()> {
        set(&self.targets_open, port, false);
        let Some(targets) = &self.targets else { return Ok(()) };
        sys::map_delete(targets.as_fd(), &u32::from(port).to_ne_bytes()).map(drop)
    }

    /// The side of one port, for its classifier; `None` beyond [`PORTS_MAX`] and in plain memory.
    ///
    /// # Errors
    /// The kernel's.
    pub fn port(self: &Arc<Self>, port: u16) -> io::Result<Option<Redirect>> {
        if usize::from(port) >= PORTS_MAX || self.targets.is_none() {
            return Ok(None);
        }
        Redirect::new(Arc::clone(self), port).map(Some)
    }

    /// Panics in plain memory, for which there are no classifiers; as the two below.
    pub(crate) fn sets_map(&self) -> BorrowedFd<'_> {
        self.sets.map()
    }

    pub(crate) fn control_map(&self) -> BorrowedFd<'_> {
        self.control.map()
    }

    pub(crate) fn targets_map(&self) -> BorrowedFd<'_> {
        self.targets.as_ref().expect("a cache that programs see").as_fd()
    }

    /// What the hash of a port's and family's destinations begins with.
    pub(crate) fn seed(&self, in_key: u32) -> u64 {
        self.table().seed(in_key)
    }

    /// The hash is a set's number from this bit on.
    pub(crate) fn shift(&self) -> u32 {
        self.table().shift()
    }
}

fn sets_of(entries: usize) -> usize {
    (entries.clamp(2 * WAYS, 1 << 24) / WAYS).next_power_of_two()
}

fn bit(port: u16) -> u64 {
    if usize::from(port) < PORTS_MAX { 1 << port } else { 0 }
}

fn is_set(ports: &AtomicU64, port: u16) -> bool {
    ports.load(Ordering::Relaxed) & bit(port) != 0
}

fn set(ports: &AtomicU64, port: u16, value: bool) {
    if value {
        ports.fetch_or(bit(port), Ordering::Relaxed);
    } else {
        ports.fetch_and(!bit(port), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod race;
