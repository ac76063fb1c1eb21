//! The ring between a worker and the one who reads what its tap tells.
//!
//! Three rings in step: records, their steps and their bytes. The writer pushes a record last, so the reader
//! who finds it finds the rest; and it pushes nothing unless there is room for all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use super::{Record, Step, TapCapacities};

/// The worker's side.
#[derive(Debug)]
pub(super) struct TapWriter {
    records: Producer<Record>,
    steps: Producer<Step>,
    bytes: Producer<u8>,
    lost: Arc<AtomicU64>,
    suppressed: Arc<AtomicU64>,
}

/// The reader's side; may be read from any one thread, and outlives the worker.
#[derive(Debug)]
pub struct TapReader {
    records: Consumer<Record>,
    steps: Consumer<Step>,
    bytes: Consumer<u8>,
    lost: Arc<AtomicU64>,
    suppressed: Arc<AtomicU64>,
}

/// One record with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapTaken {
    /// The record.
    pub record: Record,
    /// What the stages did with the packet, in order; of [`super::Kind::Trace`] only.
    pub steps: Vec<Step>,
    /// The first bytes of the packet as it was received, from the Ethernet header on.
    pub bytes: Vec<u8>,
}

pub(super) fn new(capacities: &TapCapacities) -> (TapWriter, TapReader) {
    let (record_writer, records) = RingBuffer::new(capacities.records_max);
    let (step_writer, steps) = RingBuffer::new(capacities.steps_max);
    let (byte_writer, bytes) = RingBuffer::new(capacities.bytes_max);
    let (lost, suppressed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let reader = TapReader {
        records,
        steps,
        bytes,
        lost: Arc::clone(&lost),
        suppressed: Arc::clone(&suppressed),
    };
    let (records, steps, bytes) = (record_writer, step_writer, byte_writer);
    (TapWriter { records, steps, bytes, lost, suppressed }, reader)
}

impl TapWriter {
    /// Hands a record over, or counts it as lost and returns false. `record` says how many steps and bytes there are.
    pub(super) fn write(&mut self, record: &Record, steps: &[Step], bytes: &[u8]) -> bool {
        let fits = self.records.slots() > 0
            && self.steps.slots() >= steps.len()
            && self.bytes.slots() >= bytes.len();
        let done = fits
            && self.steps.push_entire_slice(steps).is_ok()
            && self.bytes.push_entire_slice(bytes).is_ok()
            && self.records.push(*record).is_ok();
        if !done {
            self.lose();
        }
        done
    }

    /// One more record for which there was no room.
    pub(super) fn lose(&self) {
        add_one(&self.lost);
    }

    /// One more packet that a rule logs above the limit.
    pub(super) fn suppress(&self) {
        add_one(&self.suppressed);
    }
}

fn add_one(sum: &AtomicU64) {
    // There is one writer, so the sum needs no atomic addition.
    sum.store(sum.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl TapReader {
    /// The next record, if there is one.
    pub fn take(&mut self) -> Option<TapTaken> {
        let record = self.records.pop().ok()?;
        let mut steps = vec![Step::NOTHING; usize::from(record.steps)];
        let mut bytes = vec![0; usize::from(record.captured)];
        // They were pushed before the record was.
        let whole = self.steps.pop_entire_slice(&mut steps).is_ok()
            && self.bytes.pop_entire_slice(&mut bytes).is_ok();
        debug_assert!(whole, "steps and bytes stand before their record");
        Some(TapTaken { record, steps, bytes })
    }

    /// Records that found no room since the worker began: of all kinds and orders.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Packets that rules log and that are not told, since there were too many, since the worker began.
    #[must_use]
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Ordering::Relaxed)
    }
}
