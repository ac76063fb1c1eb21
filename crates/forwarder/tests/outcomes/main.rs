//! One packet in, and everything that it moves: the packet that comes out, and each counter. Every
//! other counter must be still.

#[path = "../common/case.rs"]
mod case;
#[path = "../common/mod.rs"]
mod common;
mod dropped;
mod punted;
mod sent;
