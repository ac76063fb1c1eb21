//! **police**: no more than its rate. Meters packets with three-colour markers (RFC 2697, 2698, 4115), by
//! rule, by port or by source prefix, and passes, re-marks or drops them by colour.

mod config;
mod meters;
mod roster;
mod sources;
mod stage;
mod stats;
mod table;
pub mod twin;

pub use config::{
    ColourAction, PoliceCapacities, Policer, SourcePrefixes, assured_forwarding_colour,
};
pub use meters::PolicerMeters;
pub use roster::{Enrolled, Enrolment, Roster, RosterFull};
pub use stage::{PoliceScratch, imagine, process, process_watched};
pub use stats::{PoliceStats, PoliceStatsReader, PolicerTotals};
pub use table::{PoliceTables, PoliceUpdate, PolicerId};
