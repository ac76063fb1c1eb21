//! The plain twin of the source stage: one packet, a scan over the registry, and the route twin.

use std::net::IpAddr;

use ipnet::IpNet;
use linecard_packet::{DropReason, InterfaceId};

use super::registry::{self, Attributes, Entry};
use super::{MartianFilter, PortCheck, ReversePath};
use crate::route::ReverseRoute;
use crate::route::twin::RouteTwin;

/// Why a packet that came in by `interface` is refused, if it is. `feasible` is the port's list.
#[must_use]
pub fn refusal(
    routes: &RouteTwin,
    check: &PortCheck,
    feasible: &[IpNet],
    interface: InterfaceId,
    source: IpAddr,
    destination: IpAddr,
) -> Option<DropReason> {
    let global_only = check.martians == MartianFilter::NotGlobal;
    let is_good = |it: Attributes| it.forwardable && (it.global || !global_only);
    if check.martians != MartianFilter::Off {
        if attributes(source).is_some_and(|it| !(it.source && is_good(it))) {
            return Some(DropReason::MartianSource);
        }
        if attributes(destination).is_some_and(|it| !(it.destination && is_good(it))) {
            return Some(DropReason::MartianDestination);
        }
    }
    if check.reverse_path == ReversePath::Off {
        return None;
    }
    let is_listed = check.reverse_path == ReversePath::Feasible
        && check.feasible.is_some()
        && feasible.iter().any(|prefix| prefix.contains(&source));
    match routes.reverse(source, interface) {
        ReverseRoute::Here | ReverseRoute::Unknown => None,
        ReverseRoute::Local => Some(DropReason::MartianSource),
        ReverseRoute::Elsewhere if check.reverse_path == ReversePath::Loose => None,
        _ if is_listed => None,
        _ => Some(DropReason::ReversePath),
    }
}

/// What the registry says of an address.
fn attributes(address: IpAddr) -> Option<Attributes> {
    match address {
        IpAddr::V4(address) => longest(registry::IPV4, |block: u32, length| {
            length == 0 || (address.to_bits() ^ block) >> (32 - length) == 0
        }),
        IpAddr::V6(address) => longest(registry::IPV6, |block: u128, length| {
            length == 0 || (address.to_bits() ^ block) >> (128 - length) == 0
        }),
    }
}

fn longest<A: Copy>(entries: &[Entry<A>], contains: impl Fn(A, u8) -> bool) -> Option<Attributes> {
    let covering = entries.iter().filter(|entry| contains(entry.0, entry.1));
    covering.max_by_key(|entry| entry.1).map(|entry| entry.2)
}
