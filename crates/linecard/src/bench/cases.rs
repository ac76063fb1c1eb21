//! The cases by name. A service adds its own by a line in [`CASES`].

use linecard_tables::classifier::generator::Shape;

use super::ranks::Spread;
use super::rules::{Asked, Filtering, Packets};
use super::traffic::{Family, Sizes};

/// The exponent with which destinations of the Internet cases fall off. Traffic by destination
/// prefix follows Zipf's law with an exponent near 1 (Sarrar et al., Leveraging Zipf's law for
/// traffic offloading, CCR 2012).
const ZIPF_EXPONENT: f64 = 1.0;

/// A benchmark that can be asked for.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) build: fn() -> Recipe,
}

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
    /// The IPv4 table of the Internet: that of the file, else one drawn alike.
    Ipv4Internet,
    /// The same for IPv6.
    Ipv6Internet,
}

impl Routes {
    pub(super) fn family(self) -> Family {
        match self {
            Self::Ipv6Internet => Family::Ipv6,
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

const EMPTY: Recipe = smallest(Routes::None { touch: false }, Spread::Uniform);
const TOUCH: Recipe = smallest(Routes::None { touch: true }, Spread::Uniform);
const IPV4_1K: Recipe = smallest(ipv4(1_000, false), Spread::Uniform);
const IPV4_1K_ECMP: Recipe = smallest(ipv4(1_000, true), Spread::Uniform);
const IPV4_1M: Recipe = smallest(ipv4(1_000_000, false), Spread::Uniform);
const IPV4_INTERNET: Recipe = smallest(Routes::Ipv4Internet, Spread::Zipf(ZIPF_EXPONENT));
const IPV6_INTERNET: Recipe = smallest(Routes::Ipv6Internet, Spread::Uniform);

const fn filter(shape: Shape, rules: usize, packets: Packets, asked: Asked) -> Recipe {
    let filtering = Some(Filtering { shape, rules, packets, asked });
    let routes = Routes::Ipv4AndDefault { routes: 1_000_000 };
    Recipe { filtering, ..smallest(routes, Spread::Uniform) }
}

const fn acl(rules: usize, asked: Asked) -> Recipe {
    filter(Shape::AccessList, rules, Packets::Matching, asked)
}

/// Of the three shapes, with packets within rules or across them, what costs most: 165 cycles for a filter of
/// firewall rules, where acl takes 79 and 108, ipc 108 and 143, fw 120 within rules (in the cache, less
/// the same packets without a filter).
const fn worst(asked: Asked) -> Recipe {
    filter(Shape::Firewall, 10_000, Packets::Crossed, asked)
}

const fn police() -> Recipe {
    Recipe { service: Service::Policers, ..acl(1_000, Asked::AllRules) }
}

const fn urpf(checked: bool) -> Recipe {
    Recipe { service: Service::ReversePath { checked }, ..IPV4_1M }
}

const fn stateful(tracked: bool) -> Recipe {
    let routes = Routes::Ipv4AndDefault { routes: 1_000_000 };
    let service = Service::Connections { tracked };
    Recipe { service, ..smallest(routes, Spread::Uniform) }
}

const fn imix(recipe: Recipe) -> Recipe {
    Recipe { sizes: Sizes::Imix, ..recipe }
}

const fn batch(batch: usize, recipe: Recipe) -> Recipe {
    Recipe { batch, ..recipe }
}

const fn workers(workers: usize, recipe: Recipe) -> Recipe {
    Recipe { workers, ..recipe }
}

const fn warm(recipe: Recipe) -> Recipe {
    Recipe { warm: true, ..recipe }
}

/// All cases, those with the same tables together.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "empty",
        what: "the queues alone, without a worker: what the other cases leave out",
        build: || EMPTY,
    },
    Case {
        name: "touch",
        what: "one line of each packet read and written, no worker: a floor under the other cases",
        build: || TOUCH,
    },
    Case {
        name: "ipv4-1k",
        what: "1,000 routes, destinations drawn evenly over the routes",
        build: || IPV4_1K,
    },
    Case { name: "ipv4-1k-imix", what: "the same, IMIX", build: || imix(IPV4_1K) },
    Case {
        name: "ipv4-1k-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(IPV4_1K),
    },
    Case { name: "ipv4-1k-x2", what: "the same, two workers", build: || workers(2, IPV4_1K) },
    Case {
        name: "ipv4-1k-ecmp-warm",
        what: "the same, in the cache, one packet in five by a group of two to eight next hops",
        build: || warm(IPV4_1K_ECMP),
    },
    Case {
        name: "ipv4-1m",
        what: "1,000,000 routes, destinations drawn evenly over the routes",
        build: || IPV4_1M,
    },
    Case { name: "ipv4-1m-imix", what: "the same, IMIX", build: || imix(IPV4_1M) },
    Case {
        name: "ipv4-1m-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(IPV4_1M),
    },
    Case {
        name: "ipv4-1m-batch-32",
        what: "the same, 32 packets at a time from each queue",
        build: || batch(32, IPV4_1M),
    },
    Case {
        name: "ipv4-1m-batch-8",
        what: "the same, 8 packets at a time from each queue",
        build: || batch(8, IPV4_1M),
    },
    Case {
        name: "ipv4-1m-batch-32-warm",
        what: "32 packets at a time, in the cache",
        build: || warm(batch(32, IPV4_1M)),
    },
    Case {
        name: "ipv4-1m-batch-8-warm",
        what: "8 packets at a time, in the cache",
        build: || warm(batch(8, IPV4_1M)),
    },
    Case { name: "ipv4-1m-x2", what: "the same, two workers", build: || workers(2, IPV4_1M) },
    Case {
        name: "urpf-off",
        what: "1,000,000 routes, sources on routes by the port that packets come in on, no check: what urpf is compared with",
        build: || urpf(false),
    },
    Case {
        name: "urpf-off-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(urpf(false)),
    },
    Case {
        name: "urpf",
        what: "the same packets, strict reverse-path checks on each port",
        build: || urpf(true),
    },
    Case {
        name: "urpf-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(urpf(true)),
    },
    Case {
        name: "ipv4-internet",
        what: "the Internet's IPv4 table, Zipf destinations (s = 1 over the routes)",
        build: || IPV4_INTERNET,
    },
    Case { name: "ipv4-internet-imix", what: "the same, IMIX", build: || imix(IPV4_INTERNET) },
    Case {
        name: "ipv4-internet-imix-x2",
        what: "the same, IMIX, two workers",
        build: || workers(2, imix(IPV4_INTERNET)),
    },
    Case {
        name: "ipv4-internet-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(IPV4_INTERNET),
    },
    Case {
        name: "filter-1k-off",
        what: "1,000,000 routes and a default, packets drawn from 1,000 rules (acl), no filter: what filter-1k is compared with",
        build: || acl(1_000, Asked::Nothing),
    },
    Case {
        name: "filter-1k-off-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl(1_000, Asked::Nothing)),
    },
    Case {
        name: "filter-1k",
        what: "the same packets, a filter of those 1,000 rules on each port",
        build: || acl(1_000, Asked::AllRules),
    },
    Case {
        name: "filter-1k-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl(1_000, Asked::AllRules)),
    },
    Case {
        name: "filter-10k-off",
        what: "packets drawn from 10,000 rules (acl), no filter",
        build: || acl(10_000, Asked::Nothing),
    },
    Case {
        name: "filter-10k-off-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl(10_000, Asked::Nothing)),
    },
    Case {
        name: "filter-10k-one",
        what: "the same packets, a filter of one rule: what any filter costs",
        build: || acl(10_000, Asked::LastRule),
    },
    Case {
        name: "filter-10k-one-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl(10_000, Asked::LastRule)),
    },
    Case {
        name: "filter-10k",
        what: "the same packets, a filter of those 10,000 rules",
        build: || acl(10_000, Asked::AllRules),
    },
    Case {
        name: "filter-10k-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl(10_000, Asked::AllRules)),
    },
    Case {
        name: "filter-10k-worst-off",
        what: "packets that cross 10,000 rules (fw), no filter",
        build: || worst(Asked::Nothing),
    },
    Case {
        name: "filter-10k-worst-off-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(worst(Asked::Nothing)),
    },
    Case {
        name: "filter-10k-worst",
        what: "the same packets, a filter of those rules",
        build: || worst(Asked::AllRules),
    },
    Case {
        name: "filter-10k-worst-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(worst(Asked::AllRules)),
    },
    Case {
        name: "police-off",
        what: "packets and filter of filter-1k, without policers: what police is compared with",
        build: || acl(1_000, Asked::AllRules),
    },
    Case {
        name: "police-off-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl(1_000, Asked::AllRules)),
    },
    Case {
        name: "police",
        what: "the same, each rule's packets to a single-rate policer of its own",
        build: || police(),
    },
    Case {
        name: "police-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(police()),
    },
    Case {
        name: "stateful-off",
        what: "packets of 262,144 UDP flows, both ways, and one in 64 of a new flow; no filter: what stateful is compared with",
        build: || stateful(false),
    },
    Case {
        name: "stateful-off-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(stateful(false)),
    },
    Case {
        name: "stateful",
        what: "the same packets, tracked, and accepted by a filter if established or new",
        build: || stateful(true),
    },
    Case {
        name: "stateful-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(stateful(true)),
    },
    Case {
        name: "ipv6-internet",
        what: "the Internet's IPv6 table, destinations drawn evenly over the routes",
        build: || IPV6_INTERNET,
    },
    Case { name: "ipv6-internet-imix", what: "the same, IMIX", build: || imix(IPV6_INTERNET) },
    Case {
        name: "ipv6-internet-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(IPV6_INTERNET),
    },
];

/// Names that are told to who wrote one that there is not.
const NEAREST: usize = 3;

/// Takes only a pattern that names a case.
///
/// # Errors
/// The names that are nearest to it.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    if CASES.iter().any(|case| matches(text, case.name)) {
        return Ok(text.to_owned());
    }
    let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    // Sorting is stable: of names that are as near, the first of the list.
    names.sort_by_key(|name| strsim::levenshtein(text, name));
    let nearest: Vec<String> = names.iter().take(NEAREST).map(|name| format!("`{name}`")).collect();
    Err(format!("there is no such case; nearest are {} (--list: all)", nearest.join(", ")))
}

/// The cases that any of `patterns` names, in the order of [`CASES`]; all for no pattern.
pub(super) fn select(patterns: &[String]) -> Vec<&'static Case> {
    let named = |case: &&Case| patterns.iter().any(|pattern| matches(pattern, case.name));
    CASES.iter().filter(|case| patterns.is_empty() || named(case)).collect()
}

/// Whether `name` is `pattern`, in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(head) else { return false };
    (0..=rest.len()).any(|skipped| matches(tail, &rest[skipped..]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(patterns: &[&str]) -> Vec<&'static str> {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        select(&patterns).iter().map(|case| case.name).collect()
    }

    #[test]
    fn cases_are_chosen_by_name_and_by_pattern_and_once() {
        assert_eq!(names(&["ipv4-1k", "ipv4-1k"]), ["ipv4-1k"]);
        assert_eq!(names(&["ipv6*imix", "empty"]), ["empty", "ipv6-internet-imix"]);
        assert_eq!(names(&["*"]).len(), CASES.len());
        assert_eq!(names(&[]).len(), CASES.len());
        let unique: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(unique.len(), CASES.len(), "each name is used once");
    }

    #[test]
    fn an_unknown_case_names_its_three_neighbours() {
        let near = pattern("ipv4-2m-batch-32").expect_err("unknown");
        assert!(near.contains("`ipv4-1m-batch-32`") && !near.contains("ipv6"), "{near}");
        let near = pattern("ipv6-internt").expect_err("unknown");
        assert!(near.contains("nearest are `ipv6-internet`, "), "{near}");
        assert_eq!(near.matches('`').count(), 2 * NEAREST, "{near}");
        assert_eq!(pattern("ipv6*"), Ok("ipv6*".to_owned()));
        assert!(pattern("ipv5*").is_err());
    }
}
