//! What the police stage counts: packets and bytes of each policer by colour.
//!
//! Each worker has cells of its own and writes them with plain loads and stores; readers sum over the
//! workers. Cells belong to an incarnation of their slot; the first packet of another one clears
//! them, and a reader that asks for one incarnation never gets another's counts.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use linecard_tables::meter::Colour;

use super::PolicerId;

/// Packets and bytes of one policer by colour: green, yellow, red. Bytes are those of the IP packet, header
/// included (RFC 2697 section 2), without what the policer adds to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PolicerTotals {
    /// Packets.
    pub packets: [u64; 3],
    /// Bytes.
    pub bytes: [u64; 3],
    /// Of a policer by source: packets whose source had no meter of its own, since all places it could have
    /// were taken. They are among the others.
    pub sources_refused: u64,
}

impl AddAssign for PolicerTotals {
    fn add_assign(&mut self, other: Self) {
        for colour in 0..3 {
            self.packets[colour] += other.packets[colour];
            self.bytes[colour] += other.bytes[colour];
        }
        self.sources_refused += other.sources_refused;
    }
}

/// One policer's counts: a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells {
    /// Of which policer they are; 0 while they are cleared.
    incarnation: AtomicU64,
    packets: [AtomicU64; 3],
    bytes: [AtomicU64; 3],
    sources_refused: AtomicU64,
}

const _: () = assert!(size_of::<Cells>() == 64);

#[derive(Debug)]
struct Block {
    policers: Box<[Cells]>,
    sources_taken: AtomicU64,
    sources_refused: AtomicU64,
    unmetered: AtomicU64,
}

/// The counts of one worker: the side that counts.
#[derive(Debug)]
pub struct PoliceStats {
    block: Arc<Block>,
}

impl PoliceStats {
    /// Counts of zero for policers 0 to `policers_max` − 1; 64 bytes each.
    #[must_use]
    pub fn new(policers_max: u32) -> Self {
        let policers = (0..policers_max).map(|_| Cells::default()).collect();
        let [sources_taken, sources_refused, unmetered] =
            std::array::from_fn(|_| AtomicU64::new(0));
        Self { block: Arc::new(Block { policers, sources_taken, sources_refused, unmetered }) }
    }

    /// The side that reads.
    #[must_use]
    pub fn reader(&self) -> PoliceStatsReader {
        PoliceStatsReader { block: Arc::clone(&self.block) }
    }

    /// The cells of all policers by themselves, for a loop over packets.
    #[inline]
    pub(super) fn open(&mut self) -> Open<'_> {
        Open { policers: &self.block.policers, block: &self.block }
    }

    #[inline]
    pub(super) fn set_sources_taken(&mut self, places: u32) {
        self.block.sources_taken.store(u64::from(places), Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn count_unmetered(&mut self, packets: u64) {
        add(&self.block.unmetered, packets);
    }
}

/// [`PoliceStats`] taken apart.
#[derive(Clone, Copy)]
pub(super) struct Open<'a> {
    policers: &'a [Cells],
    block: &'a Block,
}

impl Open<'_> {
    #[inline(always)]
    pub(super) fn count(self, policer: u32, incarnation: u32, colour: Colour, bytes: u16) {
        let Some(cells) = self.cells(policer, incarnation) else { return };
        add(&cells.packets[colour.index()], 1);
        add(&cells.bytes[colour.index()], u64::from(bytes));
    }

    #[inline]
    pub(super) fn count_refused_source(self, policer: u32, incarnation: u32) {
        add(&self.block.sources_refused, 1);
        if let Some(cells) = self.cells(policer, incarnation) {
            add(&cells.sources_refused, 1);
        }
    }

    /// The cells of an incarnation.
    #[inline(always)]
    fn cells(&self, policer: u32, incarnation: u32) -> Option<&Cells> {
        let cells = self.policers.get(policer as usize)?;
        let incarnation = u64::from(incarnation);
        if cells.incarnation.load(Ordering::Relaxed) != incarnation {
            cells.clear(incarnation);
        }
        Some(cells)
    }
}

/// There is one writer, so a sum needs no atomic addition.
#[inline]
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Cells {
    #[cold]
    fn clear(&self, incarnation: u64) {
        self.incarnation.store(0, Ordering::Relaxed);
        // Who sees a cell cleared sees that it is nobody's.
        fence(Ordering::Release);
        for cell in self.packets.iter().chain(&self.bytes).chain([&self.sources_refused]) {
            cell.store(0, Ordering::Relaxed);
        }
        self.incarnation.store(incarnation, Ordering::Release);
    }
}

/// The reading side of [`PoliceStats`]; cheap to clone, outlives the worker.
#[derive(Debug, Clone)]
pub struct PoliceStatsReader {
    block: Arc<Block>,
}

impl PoliceStatsReader {
    /// What this worker has counted for one incarnation of a slot; zeroes if it had no packet for it yet,
    /// or has one for a later incarnation already.
    #[must_use]
    pub fn totals(&self, policer: PolicerId, incarnation: u32) -> PolicerTotals {
        let Some(cells) = self.block.policers.get(policer.0 as usize) else {
            return PolicerTotals::default();
        };
        let before = cells.incarnation.load(Ordering::Acquire);
        let read = |cells: &[AtomicU64; 3]| {
            std::array::from_fn(|colour| cells[colour].load(Ordering::Relaxed))
        };
        let totals = PolicerTotals {
            packets: read(&cells.packets),
            bytes: read(&cells.bytes),
            sources_refused: cells.sources_refused.load(Ordering::Relaxed),
        };
        // Orders the cells' loads before the second look.
        fence(Ordering::Acquire);
        let after = cells.incarnation.load(Ordering::Relaxed);
        if before == after && after == u64::from(incarnation) {
            totals
        } else {
            PolicerTotals::default()
        }
    }

    /// Packets whose source had no place among the meters by source, since the worker started.
    #[must_use]
    pub fn sources_refused(&self) -> u64 {
        self.block.sources_refused.load(Ordering::Relaxed)
    }

    /// Places that source prefixes have taken so far, of those of `PoliceCapacities`. A place stays taken, and
    /// goes to another source when the one that has it owes nothing.
    #[must_use]
    pub fn sources_taken(&self) -> u64 {
        self.block.sources_taken.load(Ordering::Relaxed)
    }

    /// How often a packet passed a policer unmetered since the worker started, because more were brought in one
    /// batch than there was room for.
    #[must_use]
    pub fn unmetered(&self) -> u64 {
        self.block.unmetered.load(Ordering::Relaxed)
    }
}
