//! The cases by name. A service adds its own by a line in [`CASES`].

use super::recipe::{
    EMPTY, IPV4_1K, IPV4_1K_ECMP, IPV4_1M, IPV4_INTERNET, IPV6_INTERNET, Recipe, TOUCH, acl,
    acl_ipv6, batch, imix, police, stateful, urpf, warm, workers, worst,
};
use super::rules::Asked;

/// A benchmark that can be asked for.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) build: fn() -> Recipe,
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
        name: "filter-1k-ipv6-off",
        what: "200,000 IPv6 routes and a default, packets drawn from 1,000 IPv6 rules (acl), no filter",
        build: || acl_ipv6(1_000, Asked::Nothing),
    },
    Case {
        name: "filter-1k-ipv6-off-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl_ipv6(1_000, Asked::Nothing)),
    },
    Case {
        name: "filter-1k-ipv6",
        what: "the same packets, a filter of those 1,000 rules on each port",
        build: || acl_ipv6(1_000, Asked::AllRules),
    },
    Case {
        name: "filter-1k-ipv6-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl_ipv6(1_000, Asked::AllRules)),
    },
    Case {
        name: "filter-10k-ipv6-off",
        what: "packets drawn from 10,000 IPv6 rules (acl), no filter",
        build: || acl_ipv6(10_000, Asked::Nothing),
    },
    Case {
        name: "filter-10k-ipv6-off-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl_ipv6(10_000, Asked::Nothing)),
    },
    Case {
        name: "filter-10k-ipv6",
        what: "the same packets, a filter of those 10,000 rules",
        build: || acl_ipv6(10_000, Asked::AllRules),
    },
    Case {
        name: "filter-10k-ipv6-warm",
        what: "the same, packets in the cache when the worker gets them",
        build: || warm(acl_ipv6(10_000, Asked::AllRules)),
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
