//! What Linecard puts into the kernel: maps, programs and the links that attach them.
//!
//! The programs are a few dozen instructions, assembled here in Rust and loaded with bpf(2):
//! nothing but the kernel is needed, no clang, no libbpf, no object files. Everything is held by
//! file descriptors, nothing is pinned, so all of it ends with the process.

pub mod assembler;
mod btf;
pub mod classifier;
pub(crate) mod counters;
pub mod map;
pub(crate) mod mapped;
mod outcome;
pub mod program;
pub(crate) mod protection;
pub(crate) mod redirect;
pub(crate) mod redirect_losses;
mod redirector;
pub(crate) mod router_filter;
pub(crate) mod sys;
pub mod uapi;

pub use counters::PerCpuCounters;
pub use map::LocalAddresses;
pub use outcome::{Outcome, OutcomeTotals};
pub use program::{Link, Program};
pub use redirect::{Redirect, Redirected};
pub use redirect_losses::{LossCounter, RedirectLosses};
pub use redirector::{PUNT_PORTS_MAX, Redirector};
