//! What a configuration asks for and this version does not do: better to say so than to leave packets
//! unfiltered or unpoliced.

use linecard_control::config::{Config, ReversePath};
use linecard_services::filter::{Action, Rule};

/// A sentence for each.
pub(crate) fn of(config: &Config) -> Vec<String> {
    let mut unserved = Vec::new();
    for filter in config.filters.filters() {
        for rule in &filter.rules {
            let of_rule =
                |what| format!("rule {} of filter {}: {what}", rule.rule.name, filter.name);
            unserved.extend(of_the_rule(&rule.rule).into_iter().map(of_rule));
        }
        let rejects = filter.default == Action::Reject;
        unserved.extend(rejects.then(|| format!("filter {}: default = \"reject\"", filter.name)));
    }
    for port in &config.ports {
        let checks = port.services.reverse_path != ReversePath::Off;
        unserved.extend(checks.then(|| format!("port {}: reverse_path", port.name)));
    }
    unserved.extend(config.router.filter.map(|_| "filter in [router]".to_owned()));
    unserved
}

fn of_the_rule(rule: &Rule) -> Vec<&'static str> {
    [
        (rule.action == Action::Reject, "action = \"reject\""),
        (rule.policer.is_some(), "police"),
        (rule.set_class.is_some(), "class"),
        (rule.mirror_to.is_some(), "mirror"),
        (rule.sample_one_in > 0, "sample"),
        (rule.log, "log"),
        (!rule.condition.states.is_any(), "state"),
    ]
    .into_iter()
    .filter_map(|(is_asked, what)| is_asked.then_some(what))
    .collect()
}
