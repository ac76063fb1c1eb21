//! The packet formats that a router reads and rewrites, and nothing else: no I/O, no tables, no clock.
//!
//! # A tour
//!
//! | layer | modules |
//! |---|---|
//! | link | [`mac`], [`ethernet`], [`vlan`], [`arp`] |
//! | network | [`ip`] (what both versions share), [`ipv4`], [`ipv6`], [`ipv6_extension`] |
//! | control | [`icmpv4`], [`icmpv6`], [`ndp`] |
//! | transport | [`tcp`], [`udp`] |
//! | tools | [`checksum`], [`option`], [`builder`] |
//!
//! # One pattern for every header
//!
//! *Reading* goes through a **view**: a small `Copy` struct over borrowed bytes. `new(&[u8])` checks
//! every length that the header states and says in [`Malformed`] what is wrong. A view that exists
//! is consistent, so its getters return plain values: the fixed part of the header is kept as an
//! array whose offsets the compiler has checked, the variable parts as slices cut while checking.
//! No getter can panic, allocate or fail.
//!
//! *Writing* on the packet path is a **free function** over `&mut [u8]` that starts at the header
//! (`ethernet::set_addresses`, `ipv4::decrement_ttl`, …). It touches the fixed header only, keeps a
//! checksum right incrementally (RFC 1624), and refuses a slice that is shorter than that header.
//!
//! *Making* packets, right or deliberately broken, is the work of [`builder`]; it allocates and
//! serves tests, generators and replay.
//!
//! Checksums are verified on request only: a router need not look at what it only carries.

pub mod arp;
pub mod builder;
pub mod checksum;
pub mod ethernet;
mod field;
pub mod icmp_error;
pub mod icmpv4;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod ipv6_extension;
pub mod mac;
mod malformed;
pub mod ndp;
pub mod option;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use mac::MacAddress;
pub use malformed::Malformed;
