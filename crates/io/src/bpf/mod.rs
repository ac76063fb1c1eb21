//! What Linecard puts into the kernel: maps, programs and the links that attach them.
//!
//! The programs are a few dozen instructions, assembled here in Rust and loaded with bpf(2):
//! nothing but the kernel is needed, no clang, no libbpf, no object files. Everything is held by
//! file descriptors, nothing is pinned, so all of it ends with the process.

pub mod assembler;
pub mod classifier;
pub mod map;
pub mod program;
mod redirector;
mod sys;

pub use classifier::{Outcome, OutcomeTotals};
pub use map::{LocalAddresses, PerCpuCounters};
pub use program::{Link, Program};
pub use redirector::{PUNT_PORTS_MAX, Redirector};
