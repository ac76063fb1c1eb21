//! The routes of one family, and the ones that did not fit.
//!
//! A route that a full table refuses must not be forgotten: packets to it would leave by the shorter
//! prefix that covers it, which is wrong. So its prefix is kept apart, and a packet that it contains is
//! the kernel's, which has the route. (A longer prefix inside it is then the kernel's as well: slower,
//! never wrong.) When a route goes, a refused one takes its place, so that the table recovers by itself.
//!
//! As many refused routes are kept as the table holds, 65,536 at the most. When even they do not fit,
//! nobody knows any more which packets the table is wrong about: from then on the family is the
//! kernel's, until Linecard is started with larger tables.
//!
//! Only updates look at the set of refused routes; a lookup looks at their prefixes, and only while
//! there are any.

use std::collections::BTreeMap;

use linecard_tables::lpm::{Address, Lpm, LpmImplementation, NO_ROUTE, Prefix};

/// The group of packets that are the kernel's because the table is not complete. No group has this
/// number: capacities are `u32`, so the highest is one less.
pub(super) const LEFT_TO_KERNEL: u32 = u32::MAX;

/// Refused routes that are kept at the most.
const REFUSED_MAX: usize = 65_536;

/// Longest-prefix match to next-hop groups that knows what it lacks.
#[derive(Debug)]
pub(super) struct Fib<A: Address> {
    routes: Lpm<A>,
    /// Group of each refused route, in the order in which they are tried again.
    refused: BTreeMap<Prefix<A>, u32>,
    /// The prefixes of `refused`, for lookups.
    refused_prefixes: Lpm<A>,
    /// More routes were refused than are kept.
    overflowed: bool,
}

impl<A: Address> Fib<A> {
    pub(super) fn new(routes_max: u32) -> Self {
        let lpm = LpmImplementation::default();
        let routes_max = routes_max as usize;
        Self {
            routes: Lpm::new(lpm, routes_max),
            refused: BTreeMap::new(),
            refused_prefixes: Lpm::new(lpm, routes_max.min(REFUSED_MAX)),
            overflowed: false,
        }
    }

    /// Routes that lookups find.
    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }

    /// Adds a route or changes its group, which is not 0; false when there is no room.
    pub(super) fn set(&mut self, prefix: Prefix<A>, group: u32) -> bool {
        if self.routes.insert(prefix, group).is_ok() {
            return true;
        }
        if self.refused_prefixes.insert(prefix, group).is_ok() {
            self.refused.insert(prefix, group);
        } else {
            self.overflowed = true;
        }
        false
    }

    /// Prefetches what [`Self::set`] or [`Self::remove`] of this prefix will read.
    pub(super) fn prepare(&self, prefix: Prefix<A>, step: usize) {
        self.routes.prepare(prefix, step);
    }

    /// Removes a route, and lets a refused one take its place.
    pub(super) fn remove(&mut self, prefix: Prefix<A>) {
        if self.refused.remove(&prefix).is_some() {
            self.refused_prefixes.remove(prefix);
        }
        if self.routes.remove(prefix).is_none() {
            return;
        }
        if let Some((next, group)) = self.refused.pop_first() {
            self.refused_prefixes.remove(next);
            let fits = self.routes.insert(next, group).is_ok();
            debug_assert!(fits, "a route has just made room");
        }
    }

    /// The group of each destination, [`NO_ROUTE`] or [`LEFT_TO_KERNEL`].
    pub(super) fn lookup_bulk(&self, destinations: &[A], groups: &mut [u32]) {
        if self.overflowed {
            return groups.fill(LEFT_TO_KERNEL);
        }
        self.routes.lookup_bulk(destinations, groups);
        if self.refused.is_empty() {
            return;
        }
        for (destination, group) in destinations.iter().zip(groups) {
            if self.refused_prefixes.lookup(*destination) != NO_ROUTE {
                *group = LEFT_TO_KERNEL;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix<u32> {
        text.parse::<ipnet::Ipv4Net>().expect("a prefix").into()
    }

    fn group(fib: &Fib<u32>, destination: [u8; 4]) -> u32 {
        let mut groups = [NO_ROUTE];
        fib.lookup_bulk(&[u32::from_be_bytes(destination)], &mut groups);
        groups[0]
    }

    #[test]
    fn a_refused_route_is_the_kernels_until_there_is_room() {
        let mut fib = Fib::new(2);
        assert!(fib.set(prefix("0.0.0.0/0"), 1));
        assert!(fib.set(prefix("10.0.0.0/8"), 2));
        assert!(!fib.set(prefix("20.0.0.0/8"), 3));
        assert!(!fib.set(prefix("30.0.0.0/8"), 4));
        assert_eq!(group(&fib, [20, 0, 0, 1]), LEFT_TO_KERNEL, "and not the default route's");
        assert_eq!((group(&fib, [10, 0, 0, 1]), group(&fib, [40, 0, 0, 1])), (2, 1));

        assert!(!fib.set(prefix("20.0.0.0/8"), 5), "its group changes while it waits");
        fib.remove(prefix("10.0.0.0/8"));
        assert_eq!((group(&fib, [20, 0, 0, 1]), group(&fib, [10, 0, 0, 1])), (5, 1));
        assert_eq!(group(&fib, [30, 0, 0, 1]), LEFT_TO_KERNEL);

        fib.remove(prefix("30.0.0.0/8"));
        assert_eq!(group(&fib, [30, 0, 0, 1]), 1, "it is gone, so the default route is right");
        fib.remove(prefix("20.0.0.0/8"));
        assert_eq!((group(&fib, [20, 0, 0, 1]), fib.len()), (1, 1));
    }

    #[test]
    fn more_refused_routes_than_are_kept_leave_the_family_to_the_kernel() {
        let mut fib = Fib::new(1);
        for (net, fits) in [("0.0.0.0/0", true), ("20.0.0.0/8", false), ("30.0.0.0/8", false)] {
            assert_eq!(fib.set(prefix(net), 1), fits);
        }
        for net in ["20.0.0.0/8", "30.0.0.0/8"] {
            fib.remove(prefix(net));
        }
        assert_eq!(group(&fib, [40, 0, 0, 1]), LEFT_TO_KERNEL);
    }
}
