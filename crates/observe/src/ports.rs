//! Ports and what was counted on them.

use linecard_packet::PortTotals;
use serde::{Deserialize, Serialize};

use crate::RouteCacheReport;

/// All ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsReport {
    /// The ports, in the order of the configuration.
    pub ports: Vec<PortReport>,
    /// Their sum.
    pub total: PortTotals,
}

impl PortsReport {
    /// The report of `ports`, summed up.
    #[must_use]
    pub fn new(ports: Vec<PortReport>) -> Self {
        let total = ports.iter().map(|port| port.totals.clone()).sum();
        Self { ports, total }
    }
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortReport {
    /// The interface's name, or the label from the configuration.
    pub name: String,
    /// The socket that serves it: `xdp`, `packet`, `pcap` or `memory`.
    pub kind: String,
    /// How, in words: `native zero-copy`, `native copy`, `generic copy`; empty for other kinds.
    pub mode: String,
    /// Whether it carries packets.
    pub state: PortState,
    /// Receive queues in use, and as many transmit queues.
    pub queues: u32,
    /// Its part in the route cache; `None` where there are no classifiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_cache: Option<RouteCacheReport>,
    /// What was counted since the daemon started.
    #[serde(flatten)]
    pub totals: PortTotals,
    /// What the port's classifier left to the kernel before any worker saw it, by reason; not part
    /// of `received_packets`.
    #[serde(default)]
    pub passed: Vec<PassedReport>,
}

/// Frames that stayed the kernel's for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedReport {
    /// The reason's label: `local`, `not_ip`, `standby` …
    pub reason: String,
    /// What it means, in a sentence.
    #[serde(default)]
    pub description: String,
    /// Frames.
    pub packets: u64,
    /// Their bytes, link-layer header included.
    pub bytes: u64,
}

/// Whether a port carries packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortState {
    /// Up, with a carrier.
    Up,
    /// Down or without a carrier.
    Down,
    /// The interface is gone.
    Gone,
}

impl PortState {
    /// As it is written in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Gone => "gone",
        }
    }
}
