//! Control-plane protection: what the classifiers let through to the kernel, and what was too much.

use serde::{Deserialize, Serialize};

/// All ports that are protected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionReport {
    /// In the order of the configuration; none where protection is off.
    pub ports: Vec<PortProtectionReport>,
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortProtectionReport {
    /// Its name.
    pub port: String,
    /// The classes, in the order of the configuration.
    pub classes: Vec<ClassReport>,
}

/// One class of one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Its label.
    pub class: String,
    /// What belongs to it, in a sentence.
    pub description: String,
    /// What may pass in the long run.
    pub rate_packets_per_second: u32,
    /// What may pass at once after a pause.
    pub burst_packets: u32,
    /// Frames left to the kernel since the daemon started.
    pub passed_packets: u64,
    /// Their bytes, link-layer header included.
    pub passed_bytes: u64,
    /// Frames dropped, as above the rate; part of the port's `router_rate_limited`.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}
