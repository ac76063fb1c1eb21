//! Nexthop objects and their groups.

use hashbrown::HashMap;

use crate::facts::{NextHopObject, NextHopObjectKind};

#[derive(Debug, Default)]
pub(super) struct Objects {
    objects: HashMap<u32, (NextHopObjectKind, u8)>,
    /// Groups of which an object is a member.
    groups_of: HashMap<u32, Vec<u32>>,
}

impl Objects {
    pub(super) fn kind(&self, id: u32) -> Option<&NextHopObjectKind> {
        self.objects.get(&id).map(|(kind, _)| kind)
    }

    /// What an object leads to: the members of a group, else itself.
    pub(super) fn members(&self, id: u32) -> Vec<(u32, u32)> {
        match self.kind(id) {
            Some(NextHopObjectKind::Group(members)) => members.clone(),
            _ => vec![(id, 1)],
        }
    }

    pub(super) fn groups_of(&self, id: u32) -> Vec<u32> {
        self.groups_of.get(&id).cloned().unwrap_or_default()
    }

    /// Objects whose path is on the link.
    pub(super) fn on_link(&self, ifindex: u32) -> Vec<u32> {
        let on_link = |kind: &NextHopObjectKind| matches!(kind, NextHopObjectKind::Path { path, .. } if path.ifindex == ifindex);
        self.objects.iter().filter(|(_, (kind, _))| on_link(kind)).map(|(id, _)| *id).collect()
    }

    /// Objects that `generation` has not seen.
    pub(super) fn stale(&self, is_stale: impl Fn(u8) -> bool) -> Vec<u32> {
        self.objects.iter().filter(|(_, (_, seen))| is_stale(*seen)).map(|(id, _)| *id).collect()
    }

    /// True where it is new or changed.
    pub(super) fn set(&mut self, object: NextHopObject, generation: u8) -> bool {
        let NextHopObject { id, kind } = object;
        if let Some((held, seen)) = self.objects.get_mut(&id)
            && *held == kind
        {
            *seen = generation;
            return false;
        }
        self.unlink(id);
        if let NextHopObjectKind::Group(members) = &kind {
            for (member, _) in members {
                self.groups_of.entry(*member).or_default().push(id);
            }
        }
        self.objects.insert(id, (kind, generation));
        true
    }

    fn unlink(&mut self, id: u32) {
        let Some((NextHopObjectKind::Group(members), _)) = self.objects.get(&id) else { return };
        for (member, _) in members {
            if let Some(groups) = self.groups_of.get_mut(member) {
                groups.retain(|group| *group != id);
                if groups.is_empty() {
                    self.groups_of.remove(member);
                }
            }
        }
    }

    /// Removes an object and leaves the groups that name it as they are.
    pub(super) fn forget(&mut self, id: u32) {
        self.unlink(id);
        self.objects.remove(&id);
    }

    /// Removes an object, takes it out of its groups and removes groups that become empty, as the
    /// kernel does. Returns (removed, changed).
    pub(super) fn remove(&mut self, id: u32) -> (Vec<u32>, Vec<u32>) {
        let (mut removed, mut changed) = (Vec::new(), Vec::new());
        if self.objects.contains_key(&id) {
            removed.push(id);
        }
        self.forget(id);
        for group in self.groups_of.remove(&id).unwrap_or_default() {
            let Some((NextHopObjectKind::Group(members), _)) = self.objects.get_mut(&group) else {
                continue;
            };
            members.retain(|(member, _)| *member != id);
            if members.is_empty() {
                self.objects.remove(&group);
                removed.push(group);
            } else {
                changed.push(group);
            }
        }
        (removed, changed)
    }
}
