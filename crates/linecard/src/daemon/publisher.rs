//! Publication: what changed in the RIB goes to the workers' tables, and out of the route cache.

use std::sync::Arc;
use std::time::{Duration, Instant};

use linecard_control::rib::Rib;
use linecard_io::RouteCache;
use linecard_packet::AdjacencyId;
use linecard_services::route::{RouteTables, RouteUpdate, Stale};
use linecard_tables::publication::{Publish, Writer};

/// A pass looks at each entry of the cache, so there is one in this time at the most. Publications
/// that come faster erase everything, by one store: while routes change that fast, the workers forward.
const PASS_INTERVAL: Duration = Duration::from_millis(20);

/// The tables' writer, and the cache that remembers their answers.
pub(super) struct Publisher {
    writer: Writer<RouteTables, RouteUpdate>,
    cache: Option<Arc<RouteCache>>,
    stale: Stale,
    refused_updates: u64,
    last_pass: Option<Instant>,
}

impl Publisher {
    pub(super) fn new(
        writer: Writer<RouteTables, RouteUpdate>,
        cache: Option<Arc<RouteCache>>,
    ) -> Self {
        Self { writer, cache, stale: Stale::default(), refused_updates: 0, last_pass: None }
    }

    /// The tables' writer, to ask it.
    pub(super) fn writer(&self) -> &Writer<RouteTables, RouteUpdate> {
        &self.writer
    }

    /// Hands what changed in the RIB to the workers' tables; false when it has to be tried again.
    ///
    /// When it returns true, no packet is looked up in the cache by an older answer any more: those of
    /// the classifiers that had been looked up by then still go their way.
    pub(super) fn publish(&mut self, rib: &mut Rib) -> bool {
        let mut updates = Vec::new();
        rib.drain(&mut updates);
        for update in updates {
            if self.cache.is_some() {
                self.stale.note(&update);
            }
            self.writer.append(update);
        }
        if self.writer.pending() == 0 {
            return self.writer.settle() == Publish::Published;
        }
        let published = self.writer.publish() == Publish::Published;
        if published {
            self.forget(Instant::now());
        }
        published
    }

    /// Erases from the cache what the publication has changed.
    fn forget(&mut self, now: Instant) {
        let Some(cache) = &self.cache else { return };
        // A full table refuses routes, and more than the refused prefix may then be the kernel's.
        let refused_updates = self.writer.published().refused_updates();
        let overflow = refused_updates != self.refused_updates;
        self.refused_updates = refused_updates;
        let too_soon = self.last_pass.is_some_and(|last| now < last + PASS_INTERVAL);
        if cache.has_targets() && (overflow || !self.stale.is_empty()) {
            if overflow || too_soon || self.stale.is_everything() {
                cache.erase_all();
            } else {
                let stale = &mut self.stale;
                stale.settle();
                cache.erase(|it| stale.concerns(it.destination, AdjacencyId(it.adjacency)));
                self.last_pass = Some(now);
            }
        }
        self.stale.clear();
    }
}
