//! Keeping the kernel's neighbour entries as the packet path needs them.
//!
//! Two things the kernel cannot know from packets that it does not see. A neighbour that Linecard
//! sends to looks unused to it: it is never probed and forgotten at last. And a gateway among
//! several may stay unresolved for ever: Linecard punts what its own hash sends there, and the
//! kernel forwards it by another gateway of its own choice. Both are told by `NTF_USE`.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use linecard_control::mirror::Mirror;
use linecard_packet::AdjacencyId;
use tracing::warn;

use super::redirects::Redirects;
use super::source::Shared;

/// How often neighbours that carry packets are kept fresh; well below `gc_stale_time` (60 s).
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// How often a gateway that does not answer is asked for again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(1);

/// What was seen of the neighbours so far.
pub(super) struct NeighbourKeeper {
    refresh_due: Instant,
    resolve_due: Instant,
    packets_seen: HashMap<AdjacencyId, u64>,
}

impl NeighbourKeeper {
    pub(super) fn new(now: Instant) -> Self {
        Self { refresh_due: now, resolve_due: now, packets_seen: HashMap::new() }
    }

    /// Asks the kernel for what is due: new unresolved gateways at once, the others now and then.
    pub(super) fn keep(&mut self, now: Instant, shared: &Shared, mirror: &mut Mirror) {
        let mut wanted = shared.rib().drain_wanted();
        if now >= self.resolve_due {
            self.resolve_due = now + RESOLVE_INTERVAL;
            let rib = shared.rib();
            let unresolved = rib.adjacencies().filter(|it| it.gateway && !it.usable);
            wanted.extend(unresolved.map(|it| (it.ifindex, it.address)));
        }
        if now >= self.refresh_due {
            self.refresh_due = now + REFRESH_INTERVAL;
            self.used(shared, &mut wanted);
        }
        for (ifindex, address) in wanted {
            if let Err(error) = mirror.refresh_neighbour(ifindex, address) {
                warn!(%address, %error, "the kernel was not asked for a neighbour");
            }
        }
    }

    /// Adds the neighbours that carried packets since the last time, but those that the operator
    /// has entered for good: the kernel takes `NTF_USE` for "no longer permanent"
    /// (`__neigh_update`).
    fn used(&mut self, shared: &Shared, used: &mut Vec<(u32, IpAddr)>) {
        let adjacencies: Vec<_> = shared.rib().adjacencies().collect();
        let by_classifiers =
            shared.redirects.as_ref().map_or_else(|_| HashSet::new(), Redirects::take_used);
        let mut packets_now = HashMap::with_capacity(adjacencies.len());
        for adjacency in adjacencies {
            let packets = shared.adjacency_packets(adjacency.id);
            packets_now.insert(adjacency.id, packets);
            let moved = self.packets_seen.get(&adjacency.id).is_none_or(|&seen| seen != packets);
            let in_use = moved && packets > 0 || by_classifiers.contains(&adjacency.id);
            if in_use && adjacency.usable && !adjacency.permanent {
                used.push((adjacency.ifindex, adjacency.address));
            }
        }
        self.packets_seen = packets_now;
    }
}
