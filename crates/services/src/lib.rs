//! The services of the packet path. Each has the same rooms: `config` (its part of the resolved
//! configuration), `table` (what the control side builds and workers read), `stage` (what it does
//! to a batch) and `stats` (what it counts). Who has read one can find their way in the next.

pub mod connection;
pub mod filter;
pub mod police;
pub mod route;
pub mod source;
