//! Numbers that are given out and taken back.

/// Gives out small numbers. One that was taken back is given out again only after the drain that
/// told so: within one drain a number has one meaning.
#[derive(Debug, Default)]
pub(super) struct Ids {
    next: u32,
    free: Vec<u32>,
    retired: Vec<u32>,
}

impl Ids {
    /// Numbers from `first`.
    pub(super) fn from(first: u32) -> Self {
        Self { next: first, ..Self::default() }
    }

    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    pub(super) fn retire(&mut self, id: u32) {
        self.retired.push(id);
    }

    /// The drain is over: what was taken back may be given out again.
    pub(super) fn settle(&mut self) {
        self.free.append(&mut self.retired);
    }
}
