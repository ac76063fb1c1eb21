//! What rules of filters want to be told of: packets that they log, and their samples.
//!
//! A rule that logs may match each packet of a flood, and a log that nobody can read is none: a worker tells a
//! limited number of packets a second, and counts the others. Samples are few by the rule's own rate.

use linecard_io::PacketMemory;
use linecard_packet::{Batch, NoteKind};

use super::{Kind, Selection, Tap};
use crate::punt::PuntLimit;

/// How many packets a worker tells for the log: 100 a second, 100 at once.
pub(super) const LOG_LIMIT: PuntLimit =
    PuntLimit { rate_packets_per_second: 100, burst_packets: 100 };

/// Bytes of a packet that go with it: headers, and what protocols begin with. As much as sFlow agents send by
/// default (sFlow version 5, section 5.3).
const SNAP_BYTES: u16 = 128;

impl Tap {
    /// Selects the packets that rules have noted.
    pub(super) fn select_noted(
        &mut self,
        batch: &Batch,
        memory: &PacketMemory,
        now_nanoseconds: u64,
    ) {
        for note in batch.notes.made() {
            let kind = match note.kind {
                NoteKind::Log if !self.log_limit.take(now_nanoseconds) => {
                    self.writer.suppress();
                    continue;
                }
                NoteKind::Log => Kind::Log,
                NoteKind::Sample => Kind::Sample,
            };
            let selection =
                Selection { place: note.place, kind, by: note.counter, snap_bytes: SNAP_BYTES };
            self.select(selection, batch, memory);
        }
        (0..batch.notes.missed()).for_each(|_| self.writer.lose());
    }
}
