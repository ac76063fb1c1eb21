//! **route**: where a packet goes next. Longest-prefix match, next-hop groups, adjacencies, and
//! the rewrite of the packet on its way out.

pub mod table;

pub use table::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteTables, RouteUpdate,
    Special,
};
