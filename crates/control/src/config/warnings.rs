//! What is right in a configuration but most likely not meant: rules that no packet reaches, filters that stand
//! nowhere.
//!
//! Found from the resolved configuration and not on the way to it, because the search for rules that are covered
//! takes several times as long as all the rest: what is to be in force soon is warned of afterwards.

use std::ops::Range;
use std::path::Path;

use linecard_services::filter::{Action, Rule};
use linecard_wire::ip::Protocol;

use super::error::Warning;
use super::filters::ConfiguredFilter;
use super::resolved::Config;
use super::source::Source;
use crate::filter;

/// Names of rules in one warning.
const NAMES_MAX: usize = 8;

/// All warnings about `config`, which `text` says, the content of the file at `path`.
pub(super) fn of(config: &Config, text: &str, path: &Path) -> Vec<Warning> {
    let mut notes = Notes { source: Source::of(text), path, warnings: Vec::new() };
    for filter in config.filters.filters() {
        idle(&mut notes, filter);
        covered(&mut notes, filter);
    }
    let ports =
        config.ports.iter().flat_map(|port| [port.services.filter_in, port.services.filter_out]);
    let attached: Vec<usize> = ports.chain([config.router.filter]).flatten().collect();
    for (at, filter) in config.filters.filters().iter().enumerate() {
        if !attached.contains(&at) {
            let message = format!("filter {} is attached to nothing", filter.name);
            let help = "filter_in or filter_out of a [[port]], or filter of [router]";
            notes.warn(&filter.layout.name, message, help);
        }
    }
    if let Some(at) = config.router.filter {
        without_neighbours(&mut notes, &config.filters.filters()[at]);
    }
    notes.warnings
}

struct Notes<'a> {
    source: Source<'a>,
    path: &'a Path,
    warnings: Vec<Warning>,
}

impl Notes<'_> {
    fn warn(&mut self, span: &Range<usize>, message: String, help: &str) {
        self.warnings.push(Warning {
            path: self.path.to_owned(),
            place: Some(self.source.place(span)),
            message,
            help: Some(help.to_owned()),
        });
    }
}

/// Rules that match nothing as long as their sets are what they are.
fn idle(notes: &mut Notes<'_>, filter: &ConfiguredFilter) {
    for (rule, layout) in filter.rules.iter().zip(&filter.layout.rules) {
        if let Some(reason) = &rule.idle {
            let message = format!("rule {} matches nothing now: {reason}", rule.rule.name);
            notes.warn(&layout.condition, message, "it does once the sets have members for it");
        }
    }
}

/// A filter of the router that drops what finds neighbours (RFC 4861): the router's IPv6 addresses are then nobody's.
fn without_neighbours(notes: &mut Notes<'_>, filter: &ConfiguredFilter) {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    let is_let_in = |kind: u8| {
        filter.rules.iter().filter(|rule| rule.idle.is_none()).any(|configured| {
            let Rule { condition, action, .. } = &configured.rule;
            let of_kind = condition.icmp_types.is_empty()
                || condition.icmp_types.iter().any(|types| types.contains(&kind));
            let is_icmpv6 =
                condition.protocols.is_empty() || condition.protocols.contains(&Protocol::ICMPV6.0);
            *action == Action::Accept && (condition.ipv6 || !condition.ipv4) && of_kind && is_icmpv6
        })
    };
    if filter.default == Action::Drop && ![SOLICITATION, ADVERTISEMENT].into_iter().all(is_let_in) {
        let message = format!(
            "filter {} stands at the router and drops IPv6 neighbour discovery: nobody finds its IPv6 addresses",
            filter.name
        );
        let help = "if it has any: { match = \"icmpv6 icmp-type 133-137\", action = \"accept\" }";
        notes.warn(&filter.layout.name, message, help);
    }
}

/// Rules of which earlier ones take all packets.
fn covered(notes: &mut Notes<'_>, filter: &ConfiguredFilter) {
    let (rules, layout) = (&filter.rules, &filter.layout.rules);
    let active: Vec<usize> = (0..rules.len()).filter(|&at| rules[at].idle.is_none()).collect();
    let resolved: Vec<&Rule> = active.iter().map(|&at| &rules[at].rule).collect();
    for covered in filter::covered(&resolved) {
        let by = |&at: &usize| {
            let at = active[at];
            let line = notes.source.place(&layout[at].whole).line;
            format!("{} (line {line})", rules[at].rule.name)
        };
        let names: Vec<String> = covered.by.iter().take(NAMES_MAX).map(by).collect();
        let more = covered.by.len() - names.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let at = active[covered.rule];
        let name = &rules[at].rule.name;
        let (subject, verb) = match covered.by.len() {
            1 => ("rule", "takes"),
            _ => ("rules", "together take"),
        };
        let list = names.join(", ");
        let message = format!(
            "rule {name} never matches: {subject} {list}{more} before it {verb} all of its packets"
        );
        notes.warn(&layout[at].condition, message, "move it up, or take it out");
    }
}
