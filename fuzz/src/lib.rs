//! What several targets share: a reader of inputs, and the packet path up to its verdicts.

pub mod input;
pub mod path;
