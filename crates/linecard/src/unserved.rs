//! What a configuration asks for and this version does not do: better to say so than to leave packets
//! unfiltered or unpoliced.

use linecard_control::config::{Config, ConfiguredFilter};

/// A sentence for each.
pub(crate) fn of(config: &Config) -> Vec<String> {
    let mut unserved = Vec::new();
    unserved.extend(config.router.filter.map(|_| "filter in [router]".to_owned()));
    // The router's own packets pass no worker, so its connections are seen one way only.
    let of_router = config.router.filter.and_then(|at| config.filters.filters().get(at));
    let asks = |filter: &&ConfiguredFilter| {
        filter.rules.iter().any(|rule| !rule.rule.condition.states.is_any())
    };
    let stateful = of_router.filter(asks);
    unserved.extend(stateful.map(|filter| format!("filter {} of [router]: state", filter.name)));
    unserved
}

/// What `run` takes and carries, and nothing acts on yet; a sentence for each filter.
pub(crate) fn without_effect(config: &Config) -> Vec<String> {
    let filters = config.filters.filters().iter();
    let filters = filters
        .filter(|filter| filter.rules.iter().any(|configured| configured.rule.set_class.is_some()));
    let sentence = |name: &str| {
        format!(
            "filter {name}: packets are counted by `class`, but no queue tells classes apart yet"
        )
    };
    filters.map(|filter| sentence(&filter.name)).collect()
}
