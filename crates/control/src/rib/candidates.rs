//! The candidates of one prefix, in the kernel's order: table `local` before `main`, higher type
//! of service first, lower metric first, and within these as the kernel put them. IPv4 and IPv6
//! differ in how a message changes them.

use super::path_key::{Key, Target};
use super::paths::{PathSetId, PathSets};
use crate::facts::{Path, RouteMode};

/// One route of the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) metric: u32,
    pub(super) paths: PathSetId,
    pub(super) in_local: bool,
    pub(super) type_of_service: u8,
    pub(super) protocol: u8,
    pub(super) generation: u8,
}

impl Candidate {
    /// Where it stands among the others of its prefix; equal ones form a class.
    pub(super) fn rank(&self) -> (bool, u8, u32) {
        (!self.in_local, 255 - self.type_of_service, self.metric)
    }
}

#[derive(Debug, Default)]
pub(super) enum Candidates {
    #[default]
    None,
    One(Candidate),
    // Boxed twice: a vector in place would double the size of every entry.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<Candidate>>),
}

impl Candidates {
    pub(super) fn as_slice(&self) -> &[Candidate] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Candidate] {
        match self {
            Self::None => &mut [],
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(many) => many,
        }
    }

    pub(super) fn insert(&mut self, at: usize, candidate: Candidate) {
        match self {
            Self::None => *self = Self::One(candidate),
            Self::One(one) => {
                let mut many = vec![*one];
                many.insert(at, candidate);
                *self = Self::Many(Box::new(many));
            }
            Self::Many(many) => many.insert(at, candidate),
        }
    }

    pub(super) fn remove(&mut self, at: usize) -> Candidate {
        let removed = self.as_slice()[at];
        match self {
            Self::Many(many) => {
                many.remove(at);
                if let [one] = many[..] {
                    *self = Self::One(one);
                }
            }
            Self::None | Self::One(_) => *self = Self::None,
        }
        removed
    }
}

/// Whether the two lead the same way, whatever the weights and the state of the links.
fn same_ways(one: &Key, other: &Key) -> bool {
    one.route_type == other.route_type
        && match (&one.target, &other.target) {
            (Target::Object(one), Target::Object(other)) => one == other,
            (Target::Paths(_), Target::Paths(_)) => {
                let mut one: Vec<_> = one.ways().collect();
                let mut other: Vec<_> = other.ways().collect();
                one.sort_unstable();
                other.sort_unstable();
                one == other
            }
            _ => false,
        }
}

/// Whether the two have a path in common: in IPv6 they are then states of one route.
fn share_ways(one: &Key, other: &Key) -> bool {
    one.route_type == other.route_type
        && (same_ways(one, other) || one.ways().any(|way| other.ways().any(|held| held == way)))
}

/// Whether IPv6 takes the route as part of a multipath route (`rt6_qualify_for_ecmp`).
fn has_gateways(key: &Key) -> bool {
    key.ways().next().is_some() && key.ways().all(|(_, via)| via.is_some())
}

/// First and last position of a class.
fn class(candidates: &[Candidate], rank: (bool, u8, u32)) -> std::ops::Range<usize> {
    let start = candidates.partition_point(|held| held.rank() < rank);
    let end = candidates.partition_point(|held| held.rank() <= rank);
    start..end
}

/// Puts `new` in place of the candidate at `at`; false where that leads the same way.
fn put(candidates: &mut Candidates, at: usize, new: Candidate, paths: &mut PathSets) -> bool {
    let old = std::mem::replace(&mut candidates.as_mut_slice()[at], new);
    paths.release(old.paths);
    old.paths != new.paths
}

/// `fib_table_insert`: before, after or in place of those with equal metric. True where the choice
/// may change.
pub(super) fn place_ipv4(
    candidates: &mut Candidates,
    new: Candidate,
    mode: RouteMode,
    dump: bool,
    paths: &mut PathSets,
) -> bool {
    let range = class(candidates.as_slice(), new.rank());
    let same = range.clone().find(|at| candidates.as_slice()[*at].paths == new.paths);
    match same {
        // The kernel holds no route twice, so this is one that is known already.
        Some(at) if range.len() == 1 || (mode != RouteMode::Replace && !dump) => {
            return put(candidates, at, new, paths);
        }
        Some(at) => paths.release(candidates.remove(at).paths),
        None => {}
    }
    let range = class(candidates.as_slice(), new.rank());
    if mode == RouteMode::Replace && !range.is_empty() && same != Some(range.start) {
        return put(candidates, range.start, new, paths);
    }
    let last = dump || mode == RouteMode::Append;
    candidates.insert(if last { range.end } else { range.start }, new);
    true
}

/// `fib6_add_rt2node`: a message carries all paths of the route, those known before among them.
/// True where the choice may change.
pub(super) fn place_ipv6(
    candidates: &mut Candidates,
    new: Candidate,
    mode: RouteMode,
    paths: &mut PathSets,
) -> bool {
    let range = class(candidates.as_slice(), new.rank());
    let key = |at: &usize| paths.key(candidates.as_slice()[*at].paths);
    let shared = range.clone().find(|at| share_ways(key(at), paths.key(new.paths)));
    let replaced = match mode {
        RouteMode::Replace => shared
            .or_else(|| {
                let gateways = has_gateways(paths.key(new.paths));
                range.clone().find(|at| has_gateways(key(at)) == gateways)
            })
            .or((!range.is_empty()).then_some(range.start)),
        RouteMode::Prepend | RouteMode::Append => shared,
    };
    if let Some(at) = replaced {
        return put(candidates, at, new, paths);
    }
    candidates.insert(range.end, new);
    true
}

/// The one that leads exactly there, else one whose weights differ, else the only one.
pub(super) fn take_ipv4(
    candidates: &mut Candidates,
    rank: (bool, u8, u32),
    key: &Key,
    paths: &mut PathSets,
) -> bool {
    let range = class(candidates.as_slice(), rank);
    let held = |at: &usize| paths.key(candidates.as_slice()[*at].paths);
    let exact = range.clone().find(|at| held(at) == key);
    let alike = || range.clone().find(|at| same_ways(held(at), key));
    let only = || (range.len() == 1).then_some(range.start);
    let Some(at) = exact.or_else(alike).or_else(only) else { return false };
    paths.release(candidates.remove(at).paths);
    true
}

/// `fib6_del_route`: a message names the paths that went, one or all.
pub(super) fn take_ipv6(
    candidates: &mut Candidates,
    rank: (bool, u8, u32),
    key: &Key,
    generation: u8,
    paths: &mut PathSets,
) -> bool {
    let range = class(candidates.as_slice(), rank);
    let held = |at: &usize| paths.key(candidates.as_slice()[*at].paths);
    let exact = range.clone().find(|at| same_ways(held(at), key));
    let Some(at) = exact.or_else(|| range.clone().find(|at| share_ways(held(at), key))) else {
        return false;
    };
    let old = candidates.as_slice()[at];
    let left: Vec<Path> = match &paths.key(old.paths).target {
        Target::Paths(held) if exact.is_none() => {
            let gone: Vec<_> = key.ways().collect();
            held.iter().filter(|path| !gone.contains(&(path.ifindex, path.via))).copied().collect()
        }
        _ => Vec::new(),
    };
    if left.is_empty() {
        candidates.remove(at);
    } else {
        let rest = Key { target: Target::Paths(left.into()), ..paths.key(old.paths).clone() };
        let set = paths.acquire(rest);
        candidates.as_mut_slice()[at] = Candidate { paths: set, generation, ..old };
    }
    paths.release(old.paths);
    true
}
