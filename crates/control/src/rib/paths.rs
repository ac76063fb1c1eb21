//! Path sets: where routes lead, each kept once however many routes share it (the kernel's
//! `fib_info`), and the next-hop group of the packet path that stands for it.
//!
//! A path set has one group as long as a route in the packet path leads there. When a link fails,
//! a nexthop object changes or an interface becomes a port, the members of the groups change and
//! no route is touched: a million routes move with one update, and flows of members that stay do
//! not move. A path set of which nothing is usable is *dead*: its routes are passed over.
//!
//! The kernel deletes the routes of a failed link or a deleted nexthop object without a word. The
//! base does the same: it *flushes* the path set, which takes it out of the index, so that a route
//! added later with the same paths is not taken for one of those that went.

use hashbrown::HashMap;
use linecard_services::route::{Member, NextHopGroupId, RouteUpdate, Special};

use super::{
    hops::{Hop, Hops},
    ids::Ids,
    links::Links,
    neighbours::Neighbours,
    objects::Objects,
    path_key::{Key, Target, resolve},
    staged::Staged,
};
use crate::facts::RouteType;

/// Names a path set.
pub(super) type PathSetId = u32;

/// Why routes are flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// The link went down: routes go of which no path is left, the router's own IPv4 addresses
    /// stay.
    LinkDown,
    /// The last IPv4 address of the link was deleted: these go, too.
    AddressesGone,
    /// The link was deleted: IPv4 routes go of which any path was there.
    LinkGone,
}

#[derive(Debug)]
struct PathSet {
    key: Key,
    /// Routes of the kernel that lead here.
    references: u32,
    /// Routes of the packet path that lead here.
    installed: u32,
    group: Option<NextHopGroupId>,
    /// What the packet path was told of the group.
    told: Vec<(Hop, u32)>,
    /// `None` before the first look.
    alive: Option<bool>,
    dirty: bool,
    flushed: bool,
}

/// All path sets, with their groups and next hops.
#[derive(Debug)]
pub(super) struct PathSets {
    sets: Vec<Option<PathSet>>,
    free: Vec<PathSetId>,
    index: HashMap<Key, PathSetId>,
    by_object: HashMap<u32, Vec<PathSetId>>,
    dirty: Vec<PathSetId>,
    /// Sets were flushed: routes that lead there have to go.
    flushed: bool,
    groups: Ids,
    hops: Hops,
}

impl PathSets {
    pub(super) fn new() -> Self {
        Self {
            sets: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            by_object: HashMap::new(),
            dirty: Vec::new(),
            flushed: false,
            // 0 is "no route" in the FIB.
            groups: Ids::from(1),
            hops: Hops::default(),
        }
    }

    fn set(&self, id: PathSetId) -> &PathSet {
        self.sets[id as usize].as_ref().expect("a path set lives while a route refers to it")
    }

    fn set_mut(&mut self, id: PathSetId) -> &mut PathSet {
        self.sets[id as usize].as_mut().expect("a path set lives while a route refers to it")
    }

    pub(super) fn key(&self, id: PathSetId) -> &Key {
        &self.set(id).key
    }

    /// Whether a packet can leave by it. Current after [`PathSets::revive`].
    pub(super) fn alive(&self, id: PathSetId) -> bool {
        self.set(id).alive == Some(true)
    }

    pub(super) fn is_flushed(&self, id: PathSetId) -> bool {
        self.set(id).flushed
    }

    /// What is done with packets, where it does not depend on the paths.
    pub(super) fn special(&self, id: PathSetId) -> Option<Special> {
        self.set(id).key.special()
    }

    /// The path set of a route, which refers to it from now on.
    pub(super) fn acquire(&mut self, key: Key) -> PathSetId {
        if let Some(id) = self.index.get(&key) {
            let id = *id;
            self.set_mut(id).references += 1;
            return id;
        }
        let set = PathSet {
            key: key.clone(),
            references: 1,
            installed: 0,
            group: None,
            told: Vec::new(),
            alive: None,
            dirty: false,
            flushed: false,
        };
        let id = if let Some(id) = self.free.pop() {
            self.sets[id as usize] = Some(set);
            id
        } else {
            self.sets.push(Some(set));
            u32::try_from(self.sets.len() - 1).expect("fewer path sets than routes fit in memory")
        };
        if let Target::Object(object) = key.target {
            self.by_object.entry(object).or_default().push(id);
        }
        self.index.insert(key, id);
        self.touch(id);
        id
    }

    /// A route no longer refers to it.
    pub(super) fn release(&mut self, id: PathSetId) {
        self.set_mut(id).references -= 1;
        self.touch(id);
    }

    fn touch(&mut self, id: PathSetId) {
        let set = self.sets[id as usize].as_mut().expect("touched while it lives");
        if !std::mem::replace(&mut set.dirty, true) {
            self.dirty.push(id);
        }
    }

    /// A route of the packet path leads here from now on.
    pub(super) fn install(&mut self, id: PathSetId) -> NextHopGroupId {
        let set = self.sets[id as usize].as_mut().expect("installed while a route refers to it");
        set.installed += 1;
        if let Some(group) = set.group {
            return group;
        }
        let group = NextHopGroupId(self.groups.take());
        set.group = Some(group);
        self.touch(id);
        group
    }

    /// A route of the packet path no longer leads here.
    pub(super) fn uninstall(&mut self, id: PathSetId) {
        let set = self.set_mut(id);
        set.installed -= 1;
        if set.installed == 0 {
            self.touch(id);
        }
    }

    /// Links or interfaces changed: all path sets are looked at again.
    pub(super) fn touch_all(&mut self) {
        for id in 0..self.sets.len() {
            if self.sets[id].is_some() {
                self.touch(u32::try_from(id).expect("indexes of path sets are 32 bits wide"));
            }
        }
    }

    /// A nexthop object changed.
    pub(super) fn touch_object(&mut self, object: u32) {
        for id in self.by_object.get(&object).cloned().unwrap_or_default() {
            self.touch(id);
        }
    }

    fn flush_set(&mut self, id: PathSetId) {
        let set = self.set_mut(id);
        set.flushed = true;
        let key = set.key.clone();
        self.index.remove(&key);
        if let Target::Object(object) = key.target {
            self.forget_object(object, id);
        }
        self.flushed = true;
    }

    fn forget_object(&mut self, object: u32, id: PathSetId) {
        if let Some(ids) = self.by_object.get_mut(&object) {
            ids.retain(|held| *held != id);
            if ids.is_empty() {
                self.by_object.remove(&object);
            }
        }
    }

    /// The kernel deleted every route that uses the nexthop object.
    pub(super) fn flush_object(&mut self, object: u32) {
        for id in self.by_object.get(&object).cloned().unwrap_or_default() {
            self.flush_set(id);
        }
    }

    /// The kernel deleted the routes of one family that a link can no longer carry
    /// (`fib_sync_down_dev`, `fib6_ifdown`).
    pub(super) fn flush_link(&mut self, ifindex: u32, ipv4: bool, why: Flush, links: &Links) {
        let here = |other: u32| other == ifindex;
        let down = |other: u32| here(other) || links.get(other).is_some_and(|link| !link.up);
        let gone = |key: &Key| {
            if key.ipv4 != ipv4 || !key.ways().any(|(other, _)| here(other)) {
                return false;
            }
            match why {
                Flush::LinkDown if ipv4 && key.route_type == RouteType::Local => false,
                Flush::LinkGone if ipv4 => true,
                _ => key.ways().all(|(other, _)| down(other)),
            }
        };
        let ids: Vec<PathSetId> =
            self.index.iter().filter(|(key, _)| gone(key)).map(|(_, id)| *id).collect();
        for id in ids {
            self.flush_set(id);
        }
    }

    /// Whether a path on this link is dead for a reason that the base does not know.
    pub(super) fn dead_on(&self, ifindex: u32) -> bool {
        self.index.keys().any(|key| match &key.target {
            Target::Paths(paths) => paths.iter().any(|path| path.dead && path.ifindex == ifindex),
            Target::Object(_) => false,
        })
    }

    /// Whether routes of flushed sets may be left.
    pub(super) fn has_flushed(&self) -> bool {
        self.flushed
    }

    /// Whether sets were flushed since the last call.
    pub(super) fn take_flushed(&mut self) -> bool {
        std::mem::take(&mut self.flushed)
    }

    /// Looks at the changed path sets again; true where some turned dead or alive.
    pub(super) fn revive(&mut self, links: &Links, objects: &Objects) -> bool {
        let mut turned = false;
        for position in 0..self.dirty.len() {
            let id = self.dirty[position];
            let set = self.set(id);
            let alive = !set.flushed && !resolve(&set.key, links, objects).is_empty();
            // Routes of a new set are looked at anyway.
            turned |= set.alive == Some(!alive) && set.references > 0;
            self.set_mut(id).alive = Some(alive);
        }
        turned
    }

    /// Tells the packet path the groups and next hops that changed, and frees what nobody uses.
    pub(super) fn settle(
        &mut self,
        links: &Links,
        objects: &Objects,
        neighbours: &mut Neighbours,
        staged: &mut Staged,
    ) {
        for id in std::mem::take(&mut self.dirty) {
            let set = self.set_mut(id);
            set.dirty = false;
            let (installed, group) = (set.installed > 0, set.group);
            if let Some(group) = group {
                let members =
                    if installed { resolve(&set.key, links, objects) } else { Vec::new() };
                self.tell_group(id, group, members, neighbours, staged);
                if !installed {
                    self.groups.retire(group.0);
                    self.set_mut(id).group = None;
                }
            }
            if self.set(id).references == 0 && !installed {
                self.forget(id);
            }
        }
        self.hops.settle(neighbours, staged);
        self.groups.settle();
    }

    fn tell_group(
        &mut self,
        id: PathSetId,
        group: NextHopGroupId,
        members: Vec<(Hop, u32)>,
        neighbours: &mut Neighbours,
        staged: &mut Staged,
    ) {
        let told = std::mem::replace(&mut self.set_mut(id).told, members.clone());
        if told == members {
            return;
        }
        let numbered: Vec<Member> = members
            .iter()
            .map(|(hop, weight)| Member {
                next_hop: self.hops.reference(*hop, neighbours),
                weight: *weight,
            })
            .collect();
        for (hop, _) in &told {
            self.hops.release(*hop);
        }
        staged.push(if numbered.is_empty() {
            RouteUpdate::RemoveGroup(group)
        } else {
            RouteUpdate::SetGroup(group, numbered)
        });
    }

    fn forget(&mut self, id: PathSetId) {
        let Some(set) = self.sets[id as usize].take() else { return };
        if !set.flushed {
            if let Target::Object(object) = set.key.target {
                self.forget_object(object, id);
            }
            self.index.remove(&set.key);
        }
        self.free.push(id);
    }

    /// Groups that the packet path holds.
    pub(super) fn groups(&self) -> usize {
        self.sets.iter().flatten().filter(|set| set.group.is_some()).count()
    }
}
