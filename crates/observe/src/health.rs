//! Whether the daemon does what it should.

use serde::{Deserialize, Serialize};

use crate::PortRouteCacheReport;

/// The state of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Whether all is well.
    pub state: HealthState,
    /// What is not well, one sentence each; empty when all is.
    pub troubles: Vec<String>,
    /// Version of the daemon.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Workers that run.
    pub workers: u32,
    /// Number of the tables' latest published snapshot, from 0.
    pub snapshot_version: u64,
    /// Prefixes that have a route in that snapshot, the router's own addresses among them.
    #[serde(default)]
    pub routes: u64,
    /// Each port's part in the route cache.
    #[serde(default)]
    pub route_cache: Vec<PortRouteCacheReport>,
    /// Times that netlink messages were lost because they came too fast.
    pub netlink_overruns: u64,
    /// Times that the whole state of the kernel was read anew.
    pub netlink_resyncs: u64,
    /// Routes, neighbours and next hops that did not fit their table; the kernel forwards them.
    pub table_overflows: u64,
}

/// Whether all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// All is.
    Well,
    /// Packets flow, but something in `troubles` needs a look.
    Degraded,
}

impl HealthState {
    /// As it is written in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Degraded => "degraded",
        }
    }
}
