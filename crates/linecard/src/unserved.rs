//! What a configuration asks for and this version does not do yet.

use linecard_control::config::Config;

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
