//! **source**: may this packet come from there? The reverse-path check (RFC 3704, RFC 8704) and the filter
//! of special-purpose addresses (RFC 6890), by port.

mod config;
mod explain;
mod registry;
mod stage;
mod stats;
mod table;
pub mod twin;

pub use config::{FeasibleList, MartianFilter, PortCheck, ReversePath, SourceCapacities};
pub use explain::{SourceFacts, explain};
pub use registry::{Attributes, Entry, IPV4, IPV6};
pub use stage::{SourceScratch, is_checked, process};
pub use stats::{SourceStats, SourceStatsReader};
pub use table::{SourceTables, SourceUpdate};
