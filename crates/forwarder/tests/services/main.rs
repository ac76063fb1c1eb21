//! Packets through the worker with its services on: what becomes of each, and which rules, policers and reasons
//! count it. All services are on in each case, so that those without anything to do are seen to do nothing.

mod agreement;
#[path = "../common/case.rs"]
mod case;
#[path = "../common/mod.rs"]
mod common;
mod connections;
mod filter;
mod marks;
mod police;
mod random;
mod reject;
mod rig;
mod source;
