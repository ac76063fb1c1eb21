//! The kernel as the reference: see `system_reference.rs`.

mod bed;
mod compare;
mod dissect;
mod fixture;
mod ipv4_forwarding;
mod ipv4_header;
mod ipv6_extensions;
mod ipv6_header;
mod link;
mod mutation;
mod packets;
mod rig;
mod sentinel;

pub(crate) use compare::hex;
pub(crate) use dissect::complaints;
pub(crate) use fixture::Fixture;
pub(crate) use mutation::{Random, is_explained, mutants};
pub(crate) use rig::Rig;

/// All fixtures, in the order in which they run.
pub(crate) fn fixtures() -> Vec<Fixture> {
    [
        link::fixtures(),
        ipv4_header::fixtures(),
        ipv4_forwarding::fixtures(),
        ipv6_header::fixtures(),
        ipv6_extensions::fixtures(),
    ]
    .concat()
}
