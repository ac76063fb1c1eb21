//! The filter of what is for the router itself: whether the router can have it.

use linecard_services::filter::{NotForRouter, filter_for_router};
use toml::Spanned;

use super::checker::Checker;
use crate::config::filters::ConfiguredFilter;

/// Refuses the filter that the router is to have, at the rules that keep it from having it.
pub(super) fn check(checker: &mut Checker<'_>, place: &Spanned<String>, filter: &ConfiguredFilter) {
    for Fault { rule, message, help } in faults(filter) {
        match rule {
            Some(rule) => checker.refuse_span(&filter.layout.rules[rule].whole, message, help),
            None => checker.refuse(place, message, help),
        }
    }
}

/// What keeps the router from having a filter.
pub(in crate::config) struct Fault {
    /// The rule; `None`: all of it.
    rule: Option<usize>,
    message: String,
    help: String,
}

/// All that keeps the router from having a filter.
pub(in crate::config) fn faults(filter: &ConfiguredFilter) -> Vec<Fault> {
    let name = &filter.name;
    let mut faults = Vec::new();
    for (at, configured) in filter.rules.iter().enumerate() {
        // Also of rules that match nothing now: they may, once their sets have members.
        if let Some(what) = NotForRouter::in_rule(&configured.rule) {
            let message = format!("filter {name} stands at the router, which has no {what}");
            faults.push(Fault { rule: Some(at), message, help: what.remedy().to_owned() });
        }
    }
    if !faults.is_empty() {
        return faults;
    }
    let rules = filter.rules.iter().filter(|rule| rule.idle.is_none());
    let rules = rules.map(|rule| (&rule.rule, 0));
    let fault = match filter_for_router(rules, (filter.default, 0), |_| Some(1)) {
        Ok(resolved) => resolved.instructions().err().map(|error| {
            let help = "fewer rules, prefixes and ports; who may speak to the router at all is best told by prefixes";
            (error.to_string(), help)
        }),
        Err(what) => Some((format!("the router has no {what}"), what.remedy())),
    };
    faults.extend(fault.map(|(message, help)| Fault {
        rule: None,
        message: format!("filter {name}: {message}"),
        help: help.to_owned(),
    }));
    faults
}
