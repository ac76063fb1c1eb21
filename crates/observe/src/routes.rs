//! Routes, page by page: a full Internet table is a million of them, and nobody waits for all.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Which routes a reader wants. All conditions hold together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteQuery {
    /// Only this prefix and the more specific ones inside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<IpNet>,
    /// Only prefixes that contain this address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<IpAddr>,
    /// Only prefixes behind this one in the order of the report: where the last page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<IpNet>,
    /// Routes of a page at the most, 1 to [`RouteQuery::LIMIT_MAX`].
    #[serde(default = "RouteQuery::limit_default")]
    pub limit: usize,
}

impl Default for RouteQuery {
    fn default() -> Self {
        Self { prefix: None, covers: None, after: None, limit: Self::limit_default() }
    }
}

impl RouteQuery {
    /// Routes of a page at the most: below a millisecond of the daemon's time.
    pub const LIMIT_MAX: usize = 10_000;

    fn limit_default() -> usize {
        1000
    }

    /// Whether a route for `prefix` is wanted, on whichever page.
    #[must_use]
    pub fn matches(&self, prefix: &IpNet) -> bool {
        self.prefix.is_none_or(|within| within.contains(prefix))
            && self.covers.is_none_or(|address| prefix.contains(&address))
            && self.after.is_none_or(|after| *prefix > after)
    }

    /// One page of `routes`, which come in ascending order of their prefixes.
    ///
    /// Costs a look at each route up to the end of the page; a source that can start at
    /// `self.after` does so first.
    #[must_use]
    pub fn page(&self, routes: impl Iterator<Item = RouteReport>) -> RoutesReport {
        let limit = self.limit.clamp(1, Self::LIMIT_MAX);
        let wanted = routes.filter(|route| self.matches(&route.prefix));
        let mut routes: Vec<RouteReport> = wanted.take(limit + 1).collect();
        let more = routes.len() > limit;
        routes.truncate(limit);
        let next = routes.last().filter(|_| more).map(|route| route.prefix);
        RoutesReport { routes, next }
    }
}

/// One page of routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutesReport {
    /// By prefix: IPv4 first, then by address, then by length.
    pub routes: Vec<RouteReport>,
    /// What to ask for as `after` to get the next page; `None` on the last.
    pub next: Option<IpNet>,
}

/// One route, as the packet path uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Destinations.
    pub prefix: IpNet,
    /// What happens to packets for them.
    pub kind: RouteKind,
    /// The ways onward of a unicast route.
    pub next_hops: Vec<NextHopReport>,
}

/// What happens to packets of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// They are forwarded to a next hop.
    Unicast,
    /// They are for the router itself: the kernel gets them.
    Local,
    /// They are dropped.
    Blackhole,
    /// The kernel gets them and refuses them (unreachable, prohibit, throw).
    Reject,
    /// The kernel gets them and forwards them (an interface or a feature that is not served).
    Kernel,
}

impl RouteKind {
    /// As it is written in JSON.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Blackhole => "blackhole",
            Self::Reject => "reject",
            Self::Kernel => "kernel",
        }
    }
}

/// One way onward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopReport {
    /// The interface to leave by.
    pub interface: String,
    /// The gateway; `None` where destinations are neighbours themselves.
    pub gateway: Option<IpAddr>,
    /// Share of the flows relative to the other next hops.
    pub weight: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Vec<RouteReport> {
        let mut prefixes: Vec<IpNet> =
            ["::/0", "0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "2001:db8::/32"]
                .map(|text| text.parse().expect("a prefix"))
                .into();
        prefixes.sort();
        let route = |prefix| RouteReport { prefix, kind: RouteKind::Reject, next_hops: Vec::new() };
        prefixes.into_iter().map(route).collect()
    }

    fn prefixes(query: &RouteQuery) -> Vec<String> {
        let page = query.page(routes().into_iter());
        page.routes.iter().map(|route| route.prefix.to_string()).collect()
    }

    #[test]
    fn pages_follow_one_another_until_the_last() {
        let mut query = RouteQuery { limit: 4, ..RouteQuery::default() };
        let first = query.page(routes().into_iter());
        assert_eq!(first.routes.len(), 4);
        query.after = first.next;
        let second = query.page(routes().into_iter());
        assert_eq!((second.routes.len(), second.next), (2, None));
        assert_eq!([first.routes, second.routes].concat(), routes());
    }

    #[test]
    fn filters_hold_together() {
        let covers = Some(IpAddr::from([10, 1, 1, 7]));
        let all = RouteQuery { covers, ..RouteQuery::default() };
        assert_eq!(prefixes(&all), ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24"]);
        let prefix = Some("10.1.0.0/16".parse().expect("a prefix"));
        let within = RouteQuery { covers, prefix, ..RouteQuery::default() };
        assert_eq!(prefixes(&within), ["10.1.0.0/16", "10.1.1.0/24"]);
    }
}
