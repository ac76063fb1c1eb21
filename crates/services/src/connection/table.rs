//! The connections, shared by all workers.

use std::sync::atomic::{AtomicBool, Ordering};

use linecard_tables::connections::{ConnectionsIpv4, ConnectionsIpv6, Lifetime, Tick, VALUES};

use super::config::lifetimes;
use super::sources::Sources;
use super::tcp::{Direction, INITIATOR};
use super::{ConnectionConfig, WhenFull};

/// The tables of both families. Workers share one of these ([`std::sync::Arc`]) and one clock: `now` of all of
/// them counts from the same moment.
#[derive(Debug)]
pub struct ConnectionTables {
    pub(super) ipv4: ConnectionsIpv4,
    pub(super) ipv6: ConnectionsIpv6,
    pub(super) sources: Option<Sources>,
    /// [`WhenFull::Drop`].
    pub(super) drops_when_full: AtomicBool,
    pub(super) is_tcp_loose: AtomicBool,
}

impl ConnectionTables {
    /// Empty tables; all memory is taken here. `seed` is random and secret.
    #[must_use]
    pub fn new(config: &ConnectionConfig, seed: u64) -> Self {
        let (rules, limit) = (config.rules(), config.connections_per_source_max);
        let connections =
            config.connections_ipv4_max as usize + config.connections_ipv6_max as usize;
        Self {
            ipv4: ConnectionsIpv4::new(config.connections_ipv4_max, &rules, seed),
            ipv6: ConnectionsIpv6::new(config.connections_ipv6_max, &rules, seed),
            sources: (limit > 0).then(|| Sources::new(connections, limit, seed)),
            drops_when_full: AtomicBool::new(config.when_full == WhenFull::Drop),
            is_tcp_loose: AtomicBool::new(config.tcp_loose),
        }
    }

    /// Takes another configuration, for connections that are there too. Capacities stay, and connections that were
    /// not counted by source are not counted from now on: see [`ConnectionConfig::fits`].
    pub fn set(&self, config: &ConnectionConfig) {
        self.drops_when_full.store(config.when_full == WhenFull::Drop, Ordering::Relaxed);
        self.is_tcp_loose.store(config.tcp_loose, Ordering::Relaxed);
        if let Some(sources) = &self.sources {
            sources.set_limit(config.connections_per_source_max);
        }
        for (number, rule) in config.rules().into_iter().enumerate() {
            self.ipv4.set_rule(Lifetime::new(number as u8), rule);
            self.ipv6.set_rule(Lifetime::new(number as u8), rule);
        }
    }

    /// Connections of IPv4 and IPv6 whose timeout has not passed. Cost: reads all of the index, for readers.
    #[must_use]
    pub fn count(&self, now_nanoseconds: u64) -> (usize, usize) {
        let now = Tick::from_nanoseconds(now_nanoseconds);
        (self.ipv4.count(now), self.ipv6.count(now))
    }

    /// Bytes of both tables.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.ipv4.memory_bytes() + self.ipv6.memory_bytes()
    }

    /// The connection with this key and values is gone.
    pub(super) fn forget<const K: usize>(&self, key: &[u64; K], values: &[u64; VALUES]) {
        if let Some(sources) = &self.sources {
            let side = usize::from(!Direction::of_values(values, 0).has(INITIATOR));
            sources.remove(source(key, side));
        }
    }
}

/// Who is counted as the source when `side` began: an IPv4 address, or the /64 of an IPv6 one.
pub(super) fn source<const K: usize>(key: &[u64; K], side: usize) -> u128 {
    match key.as_slice() {
        [addresses, _] => u128::from((addresses >> (32 * (1 - side))) as u32),
        words => 1 << 64 | u128::from(words.get(2 * side).copied().unwrap_or_default()),
    }
}

/// How long a connection that is not TCP is kept.
pub(super) fn lifetime(protocol: u8, is_replied: bool) -> Lifetime {
    use linecard_wire::ip::Protocol;
    match (Protocol(protocol), is_replied) {
        (Protocol::UDP | Protocol::SCTP, false) => lifetimes::UDP_UNREPLIED,
        (Protocol::UDP | Protocol::SCTP, true) => lifetimes::UDP_REPLIED,
        (Protocol::ICMPV4 | Protocol::ICMPV6, _) => lifetimes::ICMP,
        (_, false) => lifetimes::OTHER_UNREPLIED,
        (_, true) => lifetimes::OTHER_REPLIED,
    }
}
