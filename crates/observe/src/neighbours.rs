//! Neighbours: the adjacencies that packets are sent to.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// All neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighboursReport {
    /// By interface, then by address.
    pub neighbours: Vec<NeighbourReport>,
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NeighbourReport {
    /// The interface on which it lives.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, where it is known.
    pub mac_address: Option<String>,
    /// Whether packets can be sent to it.
    pub state: NeighbourState,
}

/// Whether packets can be sent to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeighbourState {
    /// Yes.
    Usable,
    /// Not yet: packets for it go to the kernel, which asks for it.
    Unresolved,
}

impl NeighbourState {
    /// As it is written in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Unresolved => "unresolved",
        }
    }
}
