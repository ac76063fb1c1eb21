//! **filter**: ordered lists of match and action; of all rules that match a packet, the first decides.

mod rule;

pub use rule::{
    Action, Anchor, BytesMatch, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Filter, Masked,
    Match, PAYLOAD_BYTES_MAX, Prefixes, Rule, States,
};
