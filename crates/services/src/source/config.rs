//! What is checked of packets that come in by a port.

use serde::{Deserialize, Serialize};

/// The reverse-path check of a port (RFC 3704 section 2). Interfaces are compared, not ports: with VLANs a
/// source must come in by its own VLAN.
///
/// The FIB holds the routes that the daemon has chosen, not those that it has learned besides. So
/// *feasible* paths that were not chosen are unknown here and have to be listed, as RFC 8704 proposes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReversePath {
    /// No check.
    #[default]
    Off,
    /// RFC 3704 2.2: the best route to the source leaves by the incoming interface. Of several next hops
    /// one is enough. The kernel's `rp_filter` 1.
    Strict,
    /// RFC 3704 2.3: as strict, or the source is in the port's list of feasible prefixes (RFC 8704 section 3).
    Feasible,
    /// RFC 3704 2.4: there is a route to the source, by whatever interface; a default route is one too. The
    /// kernel's `rp_filter` 2. With a blackhole route for a source its packets are dropped (RFC 5635).
    Loose,
}

/// Which special-purpose addresses (RFC 6890) a port refuses, beyond those that parse always drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MartianFilter {
    /// None.
    #[default]
    Off,
    /// Sources that are not valid as such, destinations that are not, and both that no router forwards:
    /// 192.0.2.0/24, 240.0.0.0/4, 2001:db8::/32 and the like. Private addresses pass.
    Special,
    /// Those, and all that are not globally reachable, private ones too: for a port to the Internet.
    NotGlobal,
}

/// Names a list of feasible prefixes, from 0; several ports may share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeasibleList(pub u16);

/// All checks of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PortCheck {
    /// The reverse-path check.
    pub reverse_path: ReversePath,
    /// With [`ReversePath::Feasible`]: prefixes that are let in besides.
    pub feasible: Option<FeasibleList>,
    /// The martian filter.
    pub martians: MartianFilter,
}

impl PortCheck {
    /// True when nothing is checked.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.reverse_path == ReversePath::Off && self.martians == MartianFilter::Off
    }
}

/// Capacities of the source service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceCapacities {
    /// Lists of feasible prefixes. Default 256.
    pub lists_max: u16,
    /// Prefixes of each family in a list. Default 65,536.
    pub prefixes_max: u32,
}

impl Default for SourceCapacities {
    fn default() -> Self {
        Self { lists_max: 256, prefixes_max: 65_536 }
    }
}
