//! The routing information base: facts in, updates of the packet path's tables out.

use std::net::IpAddr;

use linecard_packet::PortId;
use linecard_services::route::RouteUpdate;

use crate::facts::Fact;

/// One change of the set of the router's own addresses, for the XDP program's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalUpdate {
    /// The address is the router's own.
    Set(IpAddr),
    /// The address is no longer the router's own.
    Remove(IpAddr),
}

/// All facts, and what the packet path was told of them.
#[derive(Debug, Default)]
pub struct Rib {}

impl Rib {
    /// An empty base that serves no port.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells that the link `ifindex` is a port: it and its VLANs become interfaces.
    pub fn serve(&mut self, ifindex: u32, port: PortId) {
        let _ = (ifindex, port);
    }

    /// Tells that the link `ifindex` is no port any more.
    pub fn unserve(&mut self, ifindex: u32) {
        let _ = ifindex;
    }

    /// Takes a fact of the kernel's.
    pub fn apply(&mut self, fact: Fact) {
        let _ = fact;
    }

    /// Takes a fact of the configuration's: a resync with the kernel leaves it alone.
    pub fn apply_static(&mut self, fact: Fact) {
        let _ = fact;
    }

    /// Appends what changed since the last call, each update complete on those before it.
    pub fn drain(&mut self, updates: &mut Vec<RouteUpdate>) {
        let _ = updates;
    }

    /// Appends what changed in the set of the router's own addresses since the last call.
    pub fn drain_local(&mut self, updates: &mut Vec<LocalUpdate>) {
        let _ = updates;
    }
}
