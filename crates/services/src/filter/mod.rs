//! **filter**: ordered lists of match and action; of all rules that match a packet, the first decides.

mod columns;
mod condition;
mod config;
mod dscp;
mod expand;
mod explain;
mod key;
mod program;
mod reject;
mod router;
mod rule;
mod stage;
mod stats;
mod table;
pub mod twin;

pub use config::FilterCapacities;
pub use expand::TooManyEntries;
pub use explain::{RuleHit, rules_of};
pub use program::{NO_COUNTER, Program, ProgramError, ProgramErrorReason};
pub use reject::RejectReply;
pub use router::{NotForRouter, filter_for_router};
pub use rule::{
    Action, Anchor, BytesMatch, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Filter, Masked,
    Match, PAYLOAD_BYTES_MAX, Prefixes, Rule, States,
};
pub use stage::{Companions, FilterScratch, process_input, process_output};
pub use stats::{FilterStats, FilterStatsReader, RuleCount};
pub use table::{FilterTables, FilterUpdate, Hook};
