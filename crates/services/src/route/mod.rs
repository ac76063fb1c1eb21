//! **route**: where a packet goes next. Longest-prefix match, next-hop groups, adjacencies, and
//! the rewrite of the packet on its way out.

mod config;
mod entry;
mod exit;
mod explain;
mod fib;
mod offer;
mod reverse;
mod rewrite;
mod stage;
mod stale;
mod stats;
mod table;
pub mod twin;
mod update;

pub use config::RouteCapacities;
pub use entry::{OwnEnd, TAGS_MAX};
pub use exit::is_forwarded_by_kernel;
pub use explain::{OutFacts, RouteFacts};
pub use offer::RouteOffers;
pub use reverse::ReverseRoute;
pub use rewrite::rewrite;
pub use stage::{RouteScratch, admit, process};
pub use stale::Stale;
pub use stats::{RouteStats, RouteStatsReader};
pub use table::RouteTables;
pub use update::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteUpdate, Special,
};
