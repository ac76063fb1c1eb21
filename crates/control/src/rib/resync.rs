//! A dump of all that the kernel holds: what it does not show is gone.

use super::{GENERATION_STATIC, Phase, Rib};

impl Rib {
    /// Whether the base is no longer sure that it holds what the kernel holds.
    #[must_use]
    pub fn resync_wanted(&self) -> bool {
        self.resync_wanted
    }

    /// A dump follows: links, addresses, neighbours, nexthop objects, then routes.
    pub fn begin_resync(&mut self) {
        self.generation = (self.generation + 1) % GENERATION_STATIC;
        self.phase = Phase::Dump;
    }

    /// The dump is complete: what it did not show is gone. What arrived during the dump follows.
    pub fn end_dump(&mut self) {
        let current = self.generation;
        let is_stale = |seen: u8| seen != current && seen != GENERATION_STATIC;
        // Nothing is flushed here: of routes and objects, the dump itself has shown which are left.
        for ifindex in self.links.stale(is_stale) {
            self.links.remove(ifindex);
            self.addresses.remove(&ifindex);
        }
        for held in self.addresses.values_mut() {
            let before = held.len();
            held.retain(|(_, seen)| !is_stale(*seen));
            if held.len() < before {
                self.links.senders_changed();
            }
        }
        for (ifindex, address) in self.neighbours.stale(is_stale) {
            self.neighbours.remove(ifindex, address, &self.links);
        }
        for id in self.objects.stale(is_stale) {
            self.objects.forget(id);
            self.touch_object(id);
        }
        self.routes.sweep_stale(&mut self.paths, is_stale);
        self.resync_wanted = false;
        self.phase = Phase::Replay;
    }

    /// What arrived during the dump has been applied.
    pub fn end_resync(&mut self) {
        self.phase = Phase::Live;
    }

    /// The dump failed: nothing is swept, and a resync is wanted still.
    pub fn abandon_resync(&mut self) {
        self.phase = Phase::Live;
        self.resync_wanted = true;
    }
}
