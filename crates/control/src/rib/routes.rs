//! Routes: the prefixes, what the kernel holds for each, and the choice.
//!
//! A prefix has one candidate nearly always, so that one lies in the entry itself.

use hashbrown::HashMap;
use ipnet::{IpNet, Ipv6Net};
use linecard_services::route::{RouteUpdate, Special};

use super::{
    LocalUpdate,
    candidates::{Candidate, Candidates, place_ipv4, place_ipv6, take_ipv4, take_ipv6},
    path_key::{Key, Target},
    paths::{PathSetId, PathSets},
    staged::Staged,
};
use crate::facts::{Route, RouteMode, RouteTarget, RouteType, TABLE_LOCAL};

#[derive(Debug, Default)]
struct Entry {
    candidates: Candidates,
    /// Where the packet path was told to go.
    installed: Option<PathSetId>,
    dirty: bool,
}

/// A route as it is held, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRoute {
    /// Destination.
    pub prefix: IpNet,
    /// Type.
    pub route_type: RouteType,
    /// From the table `local` (else `main`).
    pub in_local: bool,
    /// Metric.
    pub metric: u32,
    /// Who installed it.
    pub protocol: u8,
    /// Where it leads.
    pub target: RouteTarget,
    /// The packet path uses it.
    pub selected: bool,
}

#[derive(Debug)]
pub(super) struct Routes {
    entries: HashMap<IpNet, Entry>,
    dirty: Vec<IpNet>,
    /// IPv6 prefixes of the table `local` that are longer than an address: the kernel asks that
    /// table first, so they hide routes of `main` inside them. (IPv4 merges the two tables.)
    covers: HashMap<Ipv6Net, u32>,
    /// Stands for the answer "the kernel knows better", which is no route's own.
    not_served: PathSetId,
}

impl Entry {
    fn held<'a>(
        &'a self,
        prefix: IpNet,
        paths: &'a PathSets,
    ) -> impl Iterator<Item = HeldRoute> + 'a {
        self.candidates.as_slice().iter().map(move |candidate| {
            let key = paths.key(candidate.paths);
            HeldRoute {
                prefix,
                route_type: key.route_type,
                in_local: candidate.in_local,
                metric: candidate.metric,
                protocol: candidate.protocol,
                target: match &key.target {
                    Target::Paths(paths) => RouteTarget::Paths(paths.to_vec()),
                    Target::Object(id) => RouteTarget::NextHopObject(*id),
                },
                selected: self.installed == Some(candidate.paths),
            }
        })
    }
}

/// The path set that a route of the kernel means.
fn key_of(route: &Route) -> Key {
    let target = match &route.target {
        RouteTarget::NextHopObject(id) => Target::Object(*id),
        RouteTarget::Paths(paths) => {
            let mut paths = paths.clone();
            paths.sort_unstable();
            Target::Paths(paths.into_boxed_slice())
        }
    };
    Key {
        route_type: route.route_type,
        kernel_only: route.kernel_only,
        ipv4: matches!(route.prefix, IpNet::V4(_)),
        target,
    }
}

fn fixed(route_type: RouteType) -> Key {
    Key { route_type, kernel_only: false, ipv4: true, target: Target::Paths(Box::default()) }
}

impl Routes {
    pub(super) fn new(paths: &mut PathSets) -> Self {
        Self {
            entries: HashMap::new(),
            dirty: Vec::new(),
            covers: HashMap::new(),
            not_served: paths.acquire(fixed(RouteType::Other)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter<'a>(&'a self, paths: &'a PathSets) -> impl Iterator<Item = HeldRoute> + 'a {
        self.entries.iter().flat_map(move |(prefix, entry)| entry.held(*prefix, paths))
    }

    /// The routes of one prefix.
    pub(super) fn of<'a>(
        &'a self,
        prefix: IpNet,
        paths: &'a PathSets,
    ) -> impl Iterator<Item = HeldRoute> + 'a {
        let entry = self.entries.get(&prefix);
        entry.into_iter().flat_map(move |entry| entry.held(prefix, paths))
    }

    /// The prefixes of which the packet path uses a route.
    pub(super) fn selected(&self) -> impl Iterator<Item = IpNet> + '_ {
        let selected = |entry: &Entry| {
            let candidates = entry.candidates.as_slice();
            candidates.iter().any(|candidate| entry.installed == Some(candidate.paths))
        };
        let selected = self.entries.iter().filter(move |(_, entry)| selected(entry));
        selected.map(|(prefix, _)| *prefix)
    }

    /// Takes a route. `dump`: it comes from a dump, in the kernel's order.
    pub(super) fn set(
        &mut self,
        route: &Route,
        mode: RouteMode,
        generation: u8,
        dump: bool,
        paths: &mut PathSets,
    ) {
        let key = key_of(route);
        let candidate = Candidate {
            metric: route.metric,
            paths: paths.acquire(key),
            in_local: route.table == TABLE_LOCAL,
            type_of_service: route.type_of_service,
            protocol: route.protocol,
            generation,
        };
        let entry = self.entries.entry(route.prefix).or_default();
        purge(entry, route.prefix, &mut self.dirty, paths);
        let changed = if matches!(route.prefix, IpNet::V4(_)) {
            place_ipv4(&mut entry.candidates, candidate, mode, dump, paths)
        } else {
            place_ipv6(&mut entry.candidates, candidate, mode, paths)
        };
        if changed {
            touch(entry, route.prefix, &mut self.dirty);
            self.note_cover(route.prefix, paths);
        }
    }

    /// Removes a route, or some of its paths; false where it is not known.
    pub(super) fn remove(&mut self, route: &Route, generation: u8, paths: &mut PathSets) -> bool {
        let key = key_of(route);
        let rank = (route.table != TABLE_LOCAL, 255 - route.type_of_service, route.metric);
        let Some(entry) = self.entries.get_mut(&route.prefix) else { return false };
        purge(entry, route.prefix, &mut self.dirty, paths);
        let found = if key.ipv4 {
            take_ipv4(&mut entry.candidates, rank, &key, paths)
        } else {
            take_ipv6(&mut entry.candidates, rank, &key, generation, paths)
        };
        if found {
            touch(entry, route.prefix, &mut self.dirty);
            self.note_cover(route.prefix, paths);
        }
        found
    }

    /// Drops the candidates that `goes` names. Cost: linear in the routes.
    fn sweep(&mut self, paths: &mut PathSets, goes: impl Fn(&Candidate, &PathSets) -> bool) {
        let mut covers = Vec::new();
        for (prefix, entry) in &mut self.entries {
            let mut at = 0;
            while let Some(candidate) = entry.candidates.as_slice().get(at) {
                if !goes(candidate, paths) {
                    at += 1;
                    continue;
                }
                paths.release(entry.candidates.remove(at).paths);
                touch(entry, *prefix, &mut self.dirty);
                if matches!(prefix, IpNet::V6(net) if self.covers.contains_key(net)) {
                    covers.push(*prefix);
                }
            }
        }
        for prefix in covers {
            self.note_cover(prefix, paths);
        }
    }

    /// Drops the routes that a dump has not shown.
    pub(super) fn sweep_stale(&mut self, paths: &mut PathSets, is_stale: impl Fn(u8) -> bool) {
        self.sweep(paths, |candidate, _| is_stale(candidate.generation));
    }

    /// Drops the routes whose path set was flushed.
    pub(super) fn sweep_flushed(&mut self, paths: &mut PathSets) {
        self.sweep(paths, |candidate, paths| paths.is_flushed(candidate.paths));
    }

    /// Path sets turned dead or alive: prefixes with more than one choice, or with one that
    /// differs from what is installed, choose again. Cost: linear in the routes.
    pub(super) fn touch_turned(&mut self, paths: &PathSets) {
        for (prefix, entry) in &mut self.entries {
            let candidates = entry.candidates.as_slice();
            let settled = match candidates {
                [one] => entry.installed.is_some() == paths.alive(one.paths),
                _ => false,
            };
            if !settled {
                touch(entry, *prefix, &mut self.dirty);
            }
        }
    }

    /// Keeps the list of covering local prefixes; a change of it lets all of IPv6 choose again.
    fn note_cover(&mut self, prefix: IpNet, paths: &PathSets) {
        let IpNet::V6(net) = prefix else { return };
        if net.prefix_len() == 128 {
            return;
        }
        let local = |candidate: &&Candidate| {
            candidate.in_local && paths.special(candidate.paths) == Some(Special::Local)
        };
        let candidates = self.entries.get(&prefix).map_or(&[][..], |e| e.candidates.as_slice());
        let count = u32::try_from(candidates.iter().filter(local).count()).unwrap_or(u32::MAX);
        let changed = match count {
            0 => self.covers.remove(&net).is_some(),
            _ => self.covers.insert(net, count).is_none(),
        };
        if changed {
            for (inside, entry) in &mut self.entries {
                if matches!(inside, IpNet::V6(inside) if net.contains(inside)) {
                    touch(entry, *inside, &mut self.dirty);
                }
            }
        }
    }

    /// Chooses again for the prefixes that changed, and tells the packet path.
    pub(super) fn settle(
        &mut self,
        paths: &mut PathSets,
        staged: &mut Staged,
        local: &mut Vec<LocalUpdate>,
    ) {
        for prefix in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.entries.get(&prefix) else { continue };
            let chosen = self.choose(prefix, entry.candidates.as_slice(), paths);
            let entry = self.entries.get_mut(&prefix).expect("found above");
            entry.dirty = false;
            let installed = std::mem::replace(&mut entry.installed, chosen);
            if matches!(entry.candidates, Candidates::None) && chosen.is_none() {
                self.entries.remove(&prefix);
            }
            if installed != chosen {
                note_local(prefix, installed, chosen, paths, local);
                match chosen {
                    Some(set) => staged.push(RouteUpdate::SetRoute(prefix, paths.install(set))),
                    None => staged.push(RouteUpdate::RemoveRoute(prefix)),
                }
                if let Some(set) = installed {
                    paths.uninstall(set);
                }
            }
        }
    }

    /// The path set that a packet to `prefix` takes; `None` where the kernel would look for a
    /// shorter prefix.
    fn choose(
        &self,
        prefix: IpNet,
        candidates: &[Candidate],
        paths: &PathSets,
    ) -> Option<PathSetId> {
        let mut alive = candidates.iter().filter(|candidate| paths.alive(candidate.paths));
        let first = alive.next()?;
        if first.type_of_service != 0 || alive.clone().any(|other| other.type_of_service != 0) {
            return Some(self.not_served);
        }
        let IpNet::V6(net) = prefix else { return Some(first.paths) };
        if !first.in_local && self.covers.keys().any(|cover| cover.contains(&net)) {
            return None;
        }
        // IPv6 takes turns among routes of one metric that form no multipath route.
        let special = paths.special(first.paths);
        let agree = |other: &Candidate| special.is_some() && paths.special(other.paths) == special;
        let rivals = alive.filter(|other| other.rank() == first.rank());
        if rivals.clone().all(agree) { Some(first.paths) } else { Some(self.not_served) }
    }
}

fn touch(entry: &mut Entry, prefix: IpNet, dirty: &mut Vec<IpNet>) {
    if !std::mem::replace(&mut entry.dirty, true) {
        dirty.push(prefix);
    }
}

/// Drops the candidates of one prefix whose path set was flushed, ahead of the sweep: the kernel
/// no longer counts them.
fn purge(entry: &mut Entry, prefix: IpNet, dirty: &mut Vec<IpNet>, paths: &mut PathSets) {
    if !paths.has_flushed() {
        return;
    }
    let flushed = |held: &Candidate, paths: &PathSets| paths.is_flushed(held.paths);
    while let Some(at) = entry.candidates.as_slice().iter().position(|held| flushed(held, paths)) {
        paths.release(entry.candidates.remove(at).paths);
        touch(entry, prefix, dirty);
    }
}

fn note_local(
    prefix: IpNet,
    old: Option<PathSetId>,
    new: Option<PathSetId>,
    paths: &PathSets,
    local: &mut Vec<LocalUpdate>,
) {
    if prefix.prefix_len() != prefix.max_prefix_len() {
        return;
    }
    let is_local =
        |set: Option<PathSetId>| set.is_some_and(|set| paths.special(set) == Some(Special::Local));
    match (is_local(old), is_local(new)) {
        (false, true) => local.push(LocalUpdate::Set(prefix.addr())),
        (true, false) => local.push(LocalUpdate::Remove(prefix.addr())),
        _ => {}
    }
}
