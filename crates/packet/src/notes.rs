//! Packets of a batch that rules want somebody to be told of.

use crate::BATCH_PACKETS_MAX;

/// Notes of one batch at the most: each packet logged and sampled, where it comes in and where it leaves.
pub const NOTES_MAX: usize = 4 * BATCH_PACKETS_MAX;

/// What a rule wants a packet for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoteKind {
    /// A line in the log.
    Log,
    /// It is the rule's sample.
    Sample,
}

/// That a rule wants a packet to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleNote {
    /// The packet's place in the batch.
    pub place: u8,
    /// What for.
    pub kind: NoteKind,
    /// The rule's counter.
    pub counter: u32,
}

/// The notes that rules made of a batch's packets. All memory is allocated at the start.
#[derive(Debug)]
pub struct Notes {
    made: Vec<RuleNote>,
    missed: u64,
}

impl Notes {
    pub(crate) fn new() -> Self {
        Self { made: Vec::with_capacity(NOTES_MAX), missed: 0 }
    }

    /// Makes a note; without room it is missed.
    pub fn make(&mut self, note: RuleNote) {
        if self.made.len() < NOTES_MAX {
            self.made.push(note);
        } else {
            self.missed += 1;
        }
    }

    /// True when no rule made one.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// The notes, in the order in which rules made them.
    #[must_use]
    pub fn made(&self) -> &[RuleNote] {
        &self.made
    }

    /// Notes that found no room.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// No notes, once more.
    pub fn clear(&mut self) {
        self.made.clear();
        self.missed = 0;
    }
}
