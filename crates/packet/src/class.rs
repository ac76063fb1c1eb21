//! Forwarding classes: which packets are to wait together, and which for each other (RFC 2475 2.3.1).

use crate::BATCH_PACKETS_MAX;

/// Forwarding classes: 0, which packets have by default, to 7.
pub const FORWARDING_CLASSES: usize = 8;

/// The forwarding class of each packet of a batch: a column that costs nothing while no filter sets one.
#[derive(Debug)]
pub struct Classes {
    values: Box<[u8; BATCH_PACKETS_MAX]>,
    is_set: bool,
}

// Places are bytes.
const _: () = assert!(BATCH_PACKETS_MAX == 256);

impl Classes {
    pub(crate) fn new() -> Self {
        Self { values: Box::new([0; BATCH_PACKETS_MAX]), is_set: false }
    }

    /// Gives the packet at `place` a class; beyond 7 it is the remainder.
    #[inline]
    pub fn set(&mut self, place: u8, class: u8) {
        self.values[usize::from(place)] = class % FORWARDING_CLASSES as u8;
        self.is_set = true;
    }

    /// The class of the packet at `place`.
    #[inline]
    #[must_use]
    pub fn get(&self, place: u8) -> u8 {
        self.values[usize::from(place)]
    }

    /// True when some packet may have another class than 0.
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.is_set
    }

    /// All packets have class 0, for the next batch.
    #[inline]
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_set) {
            self.values.fill(0);
        }
    }
}
