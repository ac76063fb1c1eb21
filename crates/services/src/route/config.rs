//! How large the route tables may become.

use serde::{Deserialize, Serialize};

/// Capacities of [`super::RouteTables`]. An update beyond one of them is refused and
/// counted, and what it is about is left to the kernel.
///
/// Memory is taken as entries come, but for neighbours (72 bytes each for IPv4 and IPv6 together)
/// and groups (24 bytes each), which is taken at set-up. There are two copies of everything, one to
/// read and one to change, and 8 bytes for each adjacency and worker to count in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteCapacities {
    /// IPv4 routes. Default 2,000,000: twice the Internet's table.
    pub routes_ipv4_max: u32,
    /// IPv6 routes. Default 500,000: twice the Internet's table.
    pub routes_ipv6_max: u32,
    /// Next-hop groups. Default 65,536.
    pub groups_max: u32,
    /// Next hops. Default 65,536.
    pub next_hops_max: u32,
    /// Adjacencies (neighbours), IPv4 and IPv6 together. Default 65,536: the kernel's
    /// `gc_thresh3` is 1,024 by default.
    pub adjacencies_max: u32,
    /// Layer-3 interfaces, at most 65,535. Default 4,096: all VLANs of one port.
    pub interfaces_max: u32,
}

impl Default for RouteCapacities {
    fn default() -> Self {
        Self {
            routes_ipv4_max: 2_000_000,
            routes_ipv6_max: 500_000,
            groups_max: 65_536,
            next_hops_max: 65_536,
            adjacencies_max: 65_536,
            interfaces_max: 4_096,
        }
    }
}
