//! Configuration, the netlink mirror, publication: everything that turns what an operator and the
//! kernel say into tables of the packet path.

pub mod config;
pub mod facts;
pub mod filter;
pub mod mirror;
pub mod rib;
mod suggestion;
