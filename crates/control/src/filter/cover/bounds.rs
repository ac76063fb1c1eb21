//! Least and greatest of the lists that tell most rules apart: a few comparisons in place of many.

use std::ops::RangeInclusive;

use linecard_services::filter::Prefixes;
use linecard_tables::lpm::{Address, Prefix};

/// A set of numbers below 256.
pub(super) type Bits = [u64; 4];

/// The least and the greatest of each list that tells many rules apart: what most pairs fail by.
pub(super) struct Bounds {
    pub(super) protocols: Bits,
    pub(super) families: u8,
    pub(super) destination_ports: (u32, u32),
    pub(super) source_ports: (u32, u32),
    pub(super) destinations: (u128, u128),
    pub(super) sources: (u128, u128),
}

impl Bounds {
    /// Dimensions of these in which something of `inner` is lacking for sure.
    pub(super) fn surely_lacks(&self, inner: &Self) -> usize {
        let (a, b) = (&inner.protocols, &self.protocols);
        let protocols = (a[0] & !b[0]) | (a[1] & !b[1]) | (a[2] & !b[2]) | (a[3] & !b[3]);
        let (own, of) = (self.destination_ports, inner.destination_ports);
        let destination_ports = of.0 < own.0 || own.1 < of.1;
        let (own, of) = (self.source_ports, inner.source_ports);
        let source_ports = of.0 < own.0 || own.1 < of.1;
        // Of other families the addresses do not count.
        let same = self.families == inner.families;
        let (own, of) = (self.destinations, inner.destinations);
        let destinations = same & (of.0 < own.0 || own.1 < of.1);
        let (own, of) = (self.sources, inner.sources);
        let sources = same & (of.0 < own.0 || own.1 < of.1);
        usize::from(protocols != 0)
            + usize::from(destination_ports)
            + usize::from(source_ports)
            + usize::from(destinations)
            + usize::from(sources)
    }
}

/// Ports; to ask for none is more than to ask for all.
pub(super) fn port_bounds(ranges: &[RangeInclusive<u16>]) -> (u32, u32) {
    match (ranges.first(), ranges.last()) {
        (Some(first), Some(last)) => (u32::from(*first.start()), u32::from(*last.end())),
        _ => (0, u32::MAX),
    }
}

/// Addresses of both families in one order: those of IPv4 first, and of IPv6 all bits but the last.
pub(super) fn address_bounds(prefixes: &Prefixes) -> (u128, u128) {
    let ipv6 = |bits: u128| bits >> 1 | 1 << 127;
    let last = |prefix: &Prefix<u128>| prefix.bits() | !u128::mask(prefix.length());
    let last_ipv4 = |prefix: &Prefix<u32>| prefix.bits() | !u32::mask(prefix.length());
    let ipv4_end = || prefixes.ipv4.last().map(|prefix| u128::from(last_ipv4(prefix)));
    let start = prefixes.ipv4.first().map(|prefix| u128::from(prefix.bits()));
    let start = start.or(prefixes.ipv6.first().map(|prefix| ipv6(prefix.bits())));
    let end = prefixes.ipv6.last().map(|prefix| ipv6(last(prefix))).or_else(ipv4_end);
    (start.unwrap_or(0), end.unwrap_or(u128::MAX))
}
