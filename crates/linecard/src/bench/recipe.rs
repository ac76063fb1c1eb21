//! What a case is made of: routes, packets, and the services that they meet; and the recipes that the list of
//! cases names.

use linecard_tables::classifier::generator::Shape;

use super::ranks::Spread;
use super::rules::{Asked, Filtering, Packets};
use super::traffic::{Family, Sizes};

/// The exponent with which destinations of the Internet cases fall off. Traffic by destination
/// prefix follows Zipf's law with an exponent near 1 (Sarrar et al., Leveraging Zipf's law for
/// traffic offloading, CCR 2012).
const ZIPF_EXPONENT: f64 = 1.0;

/// What a case is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recipe {
    pub(super) routes: Routes,
    pub(super) spread: Spread,
    pub(super) sizes: Sizes,
    /// Packets that each queue hands over at a time.
    pub(super) batch: usize,
    pub(super) workers: usize,
    /// Packets are in the cache when the worker gets them, instead of in memory.
    pub(super) warm: bool,
    /// Packets are drawn from rules, in place of routes, and may pass a filter.
    pub(super) filtering: Option<Filtering>,
    pub(super) service: Service,
}

/// What packets meet besides routes and rules. What they are drawn from follows from it, whether it is on
/// or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    None,
    /// Each rule of the filter brings its packets to a policer.
    Policers,
    ReversePath {
        checked: bool,
    },
    Connections {
        tracked: bool,
    },
}

/// Which routes a case has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Routes {
    /// None: there is no worker, but only its queues; each packet is touched once, or not at all.
    None { touch: bool },
    /// So many IPv4 routes, drawn like the Internet's; with `multipath` one in five has several next hops.
    Ipv4 { routes: usize, multipath: bool },
    /// So many IPv4 routes, and a default route.
    Ipv4AndDefault { routes: usize },
    /// So many IPv6 routes, drawn like the Internet's, and a default route.
    Ipv6AndDefault { routes: usize },
    /// The IPv4 table of the Internet: that of the file, else one drawn alike.
    Ipv4Internet,
    /// The same for IPv6.
    Ipv6Internet,
}

impl Routes {
    pub(super) fn family(self) -> Family {
        match self {
            Self::Ipv6Internet | Self::Ipv6AndDefault { .. } => Family::Ipv6,
            _ => Family::Ipv4,
        }
    }
}

const fn ipv4(routes: usize, multipath: bool) -> Routes {
    Routes::Ipv4 { routes, multipath }
}

const fn smallest(routes: Routes, spread: Spread) -> Recipe {
    let sizes = Sizes::Smallest;
    let (filtering, service) = (None, Service::None);
    Recipe { routes, spread, sizes, batch: 256, workers: 1, warm: false, filtering, service }
}

pub(super) const EMPTY: Recipe = smallest(Routes::None { touch: false }, Spread::Uniform);
pub(super) const TOUCH: Recipe = smallest(Routes::None { touch: true }, Spread::Uniform);
pub(super) const IPV4_1K: Recipe = smallest(ipv4(1_000, false), Spread::Uniform);
pub(super) const IPV4_1K_ECMP: Recipe = smallest(ipv4(1_000, true), Spread::Uniform);
pub(super) const IPV4_1M: Recipe = smallest(ipv4(1_000_000, false), Spread::Uniform);
pub(super) const IPV4_INTERNET: Recipe =
    smallest(Routes::Ipv4Internet, Spread::Zipf(ZIPF_EXPONENT));
pub(super) const IPV6_INTERNET: Recipe = smallest(Routes::Ipv6Internet, Spread::Uniform);

const fn filter(shape: Shape, rules: usize, packets: Packets, asked: Asked) -> Recipe {
    let filtering = Some(Filtering { shape, rules, packets, asked });
    let routes = Routes::Ipv4AndDefault { routes: 1_000_000 };
    Recipe { filtering, ..smallest(routes, Spread::Uniform) }
}

pub(super) const fn acl(rules: usize, asked: Asked) -> Recipe {
    filter(Shape::AccessList, rules, Packets::Matching, asked)
}

/// The same in IPv6, in the smallest frames that hold TCP.
pub(super) const fn acl_ipv6(rules: usize, asked: Asked) -> Recipe {
    let routes = Routes::Ipv6AndDefault { routes: 200_000 };
    Recipe { routes, sizes: Sizes::SmallestTcp, ..acl(rules, asked) }
}

/// Of the three shapes, with packets within rules or across them, what cost most when this case was chosen: 165
/// cycles for a filter of firewall rules, where acl took 79 and 108, ipc 108 and 143, fw 120 within rules (in the
/// cache, less the same packets without a filter). What it costs now is in docs/performance.md.
pub(super) const fn worst(asked: Asked) -> Recipe {
    filter(Shape::Firewall, 10_000, Packets::Crossed, asked)
}

pub(super) const fn police() -> Recipe {
    Recipe { service: Service::Policers, ..acl(1_000, Asked::AllRules) }
}

pub(super) const fn urpf(checked: bool) -> Recipe {
    Recipe { service: Service::ReversePath { checked }, ..IPV4_1M }
}

pub(super) const fn stateful(tracked: bool) -> Recipe {
    let routes = Routes::Ipv4AndDefault { routes: 1_000_000 };
    let service = Service::Connections { tracked };
    Recipe { service, ..smallest(routes, Spread::Uniform) }
}

pub(super) const fn imix(recipe: Recipe) -> Recipe {
    Recipe { sizes: Sizes::Imix, ..recipe }
}

pub(super) const fn batch(batch: usize, recipe: Recipe) -> Recipe {
    Recipe { batch, ..recipe }
}

pub(super) const fn workers(workers: usize, recipe: Recipe) -> Recipe {
    Recipe { workers, ..recipe }
}

pub(super) const fn warm(recipe: Recipe) -> Recipe {
    Recipe { warm: true, ..recipe }
}
