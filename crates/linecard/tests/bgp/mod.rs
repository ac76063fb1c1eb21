//! What the tests with a routing daemon share: a table to announce, daemons that announce and
//! learn it, the FIBs of kernel and Linecard side by side, and traffic to what was learned.

#![allow(unreachable_pub, reason = "a module of a test binary")]

pub mod convergence;
pub mod daemons;
pub mod fib;
pub mod prefixes;
pub mod traffic;
