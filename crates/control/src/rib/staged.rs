//! The order of updates within one drain.

use linecard_services::route::RouteUpdate;

/// Number of ranks of [`rank`].
const RANKS: usize = 9;

/// Updates of one drain, sorted so that what an update refers to is set before it and removed
/// after it.
#[derive(Debug, Default)]
pub(super) struct Staged {
    ranks: [Vec<RouteUpdate>; RANKS],
}

fn rank(update: &RouteUpdate) -> usize {
    match update {
        RouteUpdate::SetInterface(..) => 0,
        RouteUpdate::SetAdjacency(..) => 1,
        RouteUpdate::SetNextHop(..) => 2,
        RouteUpdate::SetGroup(..) => 3,
        RouteUpdate::SetRoute(..) | RouteUpdate::RemoveRoute(..) => 4,
        RouteUpdate::RemoveGroup(..) => 5,
        RouteUpdate::RemoveNextHop(..) => 6,
        RouteUpdate::RemoveAdjacency(..) => 7,
        RouteUpdate::RemoveInterface(..) => 8,
    }
}

impl Staged {
    pub(super) fn push(&mut self, update: RouteUpdate) {
        self.ranks[rank(&update)].push(update);
    }

    pub(super) fn append_to(&mut self, updates: &mut Vec<RouteUpdate>) {
        for rank in &mut self.ranks {
            updates.append(rank);
        }
    }
}
