//! `[[filter]]` and what filters are attached to.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;

use linecard_packet::PortId;
use linecard_services::filter::{Action, Match, Rule};
use toml::Spanned;

use super::checker::Checker;
use super::sets::{Read, check_name, check_names, sets};
use crate::config::filters::{ConfiguredFilter, ConfiguredRule, Filters};
use crate::config::limits;
use crate::config::resolved::{Martians, Policer, Port, PortServices, ReversePath, Router};
use crate::config::text::File;
use crate::config::text::services as text;
use crate::filter::{self, Judged, Names};

/// What the rules of all filters refer to.
struct Scope<'a> {
    names: Names<'a>,
    policers: HashMap<&'a str, u32>,
}

/// Resolves sets and filters.
pub(super) fn filters(
    checker: &mut Checker<'_>,
    file: &File,
    ports: &[Port],
    policers: &[Policer],
    (path, read): (&Path, Read<'_>),
) -> Filters {
    let directory = path.parent().unwrap_or(Path::new(""));
    let (sets, files) = sets(checker, &file.set, directory, read);
    let ports: Vec<String> = ports.iter().map(|port| port.name.clone()).collect();
    let number = |(at, policer): (u32, &'_ Policer)| (policer.name.clone(), at);
    let named: Vec<(String, u32)> = (0..).zip(policers).map(number).collect();
    let scope = Scope {
        names: Names { ports: &ports, sets: &sets },
        policers: named.iter().map(|(name, at)| (name.as_str(), *at)).collect(),
    };
    check_names(checker, "filter", file.filter.iter().map(|text| &text.get_ref().name));
    let resolve = |text: &Spanned<text::Filter>| filter(checker, &scope, text);
    let resolved = file.filter.iter().map(resolve).collect();
    let filters = Filters { ports, sets, files, filters: resolved };
    if filters.set_members() > limits::RULE_SET_MEMBERS_MAX {
        let message = format!("the rules have {} members of sets", filters.set_members());
        checker.refuse_file(message, format!("{} at the most", limits::RULE_SET_MEMBERS_MAX));
    }
    filters
}

fn filter(
    checker: &mut Checker<'_>,
    scope: &Scope<'_>,
    text: &Spanned<text::Filter>,
) -> ConfiguredFilter {
    let text = text.get_ref();
    if let Some(place) = text.rules.get(limits::RULES_PER_FILTER_MAX) {
        let message = format!("{} rules", text.rules.len());
        checker.refuse(place, message, format!("{} at the most", limits::RULES_PER_FILTER_MAX));
    }
    let mut rules: Vec<ConfiguredRule> =
        text.rules.iter().map(|place| rule(checker, scope, place)).collect();
    name_rules(checker, &text.rules, &mut rules);
    warn_of_useless(checker, &text.rules, &rules);
    ConfiguredFilter {
        name: text.name.get_ref().clone(),
        default: match text.default {
            text::FilterDefault::Accept => Action::Accept,
            text::FilterDefault::Drop => Action::Drop,
            text::FilterDefault::Reject => Action::Reject,
        },
        rules,
    }
}

fn rule(
    checker: &mut Checker<'_>,
    scope: &Scope<'_>,
    place: &Spanned<text::Rule>,
) -> ConfiguredRule {
    let text = place.get_ref();
    refuse_effects_of_nothing(checker, text);
    let (terms, judged) = condition(checker, scope.names, text);
    let known = judged.is_some() && judged.as_ref().is_some_and(|judged| judged.idle.is_none());
    let Judged { condition, idle } =
        judged.unwrap_or(Judged { condition: Match::default(), idle: None });
    let action = action(checker, text, known.then_some(&condition));
    let policer = text.police.as_ref().and_then(|place| {
        let found = scope.policers.get(place.get_ref().as_str()).copied();
        if found.is_none() {
            let message = format!("there is no policer {}", place.get_ref());
            checker.refuse(place, message, one_of(scope.policers.keys().copied(), "[[police]]"));
        }
        found
    });
    let set_dscp = text.dscp.as_ref().and_then(|place| {
        let refuse = |(message, help): (String, String)| checker.refuse(place, message, help);
        filter::parse_dscp(place.get_ref()).map_err(refuse).ok()
    });
    let set_class =
        text.class.as_ref().map(|place| checker.required_number(place, "class", limits::CLASS));
    let mirror_to = text.mirror.as_ref().and_then(|place| {
        let found = scope.names.ports.iter().position(|port| port == place.get_ref());
        if found.is_none() {
            let message = format!("there is no port {}", place.get_ref());
            let known = scope.names.ports.iter().map(String::as_str);
            checker.refuse(place, message, one_of(known, "[[port]]"));
        }
        found.and_then(|at| u16::try_from(at).ok()).map(PortId)
    });
    let sample = checker.number(&text.sample, "sample", limits::SAMPLE, 1);
    let rule = Rule {
        name: String::new(),
        condition,
        action,
        policer,
        set_dscp,
        set_class,
        mirror_to,
        sample_one_in: if text.sample.is_some() { sample } else { 0 },
        log: text.log,
    };
    ConfiguredRule { rule, idle, terms }
}

fn one_of<'a>(known: impl Iterator<Item = &'a str>, section: &str) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    if known.is_empty() {
        return format!("there is none: see {section}");
    }
    format!("one of: {}", known.join(", "))
}

/// Reads the rule's match. Mistakes point into the string.
fn condition(
    checker: &mut Checker<'_>,
    names: Names<'_>,
    text: &text::Rule,
) -> (Vec<filter::Term>, Option<Judged>) {
    let line = text.condition.as_ref().map_or("", |place| place.get_ref());
    let outcome = filter::parse_terms(line).and_then(|terms| {
        let judged = filter::judge_terms(&terms, names)?;
        Ok((terms, judged))
    });
    match (outcome, &text.condition) {
        (Ok((terms, judged)), _) => return (terms, Some(judged)),
        (Err(errors), Some(place)) => {
            for error in errors {
                let span = checker.source().within_string(&place.span(), line, &error.span);
                checker.refuse_span(&span, error.message, error.help);
            }
        }
        (Err(_), None) => {}
    }
    (Vec::new(), None)
}

fn action(checker: &mut Checker<'_>, text: &text::Rule, condition: Option<&Match>) -> Action {
    let is_redirect = *text.action.get_ref() == text::Action::Redirect;
    if let (Some(place), false) = (&text.next_hop, is_redirect) {
        let help = "action = \"redirect\", or leave it out";
        checker.refuse(place, "a next hop of a rule that does not redirect", help);
    }
    match text.action.get_ref() {
        text::Action::Accept => Action::Accept,
        text::Action::Drop => Action::Drop,
        text::Action::Reject => Action::Reject,
        text::Action::Continue => Action::Continue,
        text::Action::Redirect => {
            let Some(place) = &text.next_hop else {
                let help = "next_hop = \"192.0.2.1\", an address on a link of the router";
                checker.refuse(&text.action, "a redirection without a next hop", help);
                return Action::Drop;
            };
            let Some(address) = checker.host_address(place) else { return Action::Drop };
            if let Some(condition) = condition {
                check_family(checker, place, address, condition);
            }
            Action::Redirect(address)
        }
    }
}

fn check_family(
    checker: &mut Checker<'_>,
    place: &Spanned<String>,
    address: IpAddr,
    condition: &Match,
) {
    let (ipv4, ipv6) = filter::families(condition);
    let (own, other, matches_other) =
        if address.is_ipv4() { ("ipv4", "IPv6", ipv6) } else { ("ipv6", "IPv4", ipv4) };
    if matches_other {
        let message = format!("{other} packets match too, and {address} is no next hop for them");
        checker.refuse(
            place,
            message,
            format!("a next hop of the family, or `{own}` in the match"),
        );
    }
}

/// A packet that is dropped has no use for marks.
fn refuse_effects_of_nothing(checker: &mut Checker<'_>, text: &text::Rule) {
    let action = *text.action.get_ref();
    if !matches!(action, text::Action::Drop | text::Action::Reject) {
        return;
    }
    let effects: [(&str, Option<Range<usize>>); 3] = [
        ("police", text.police.as_ref().map(Spanned::span)),
        ("dscp", text.dscp.as_ref().map(Spanned::span)),
        ("class", text.class.as_ref().map(Spanned::span)),
    ];
    for (key, span) in effects {
        if let Some(span) = span {
            let message = format!("`{key}` of packets that the rule drops");
            let help = format!("leave it out, or another action than \"{}\"", action.label());
            checker.refuse_span(&span, message, help);
        }
    }
}

/// Names from the file, or else from what a rule says: so its counters stay its own when rules are
/// inserted before it.
fn name_rules(
    checker: &mut Checker<'_>,
    texts: &[Spanned<text::Rule>],
    rules: &mut [ConfiguredRule],
) {
    let mut seen: HashSet<String> = HashSet::new();
    for place in texts.iter().filter_map(|text| text.get_ref().name.as_ref()) {
        check_name(checker, "rule", place);
        if !seen.insert(place.get_ref().clone()) {
            let message = format!("rule {} stands here a second time", place.get_ref());
            checker.refuse(place, message, "names of a filter's rules are unique");
        }
    }
    for (place, rule) in texts.iter().zip(rules) {
        let text = place.get_ref();
        if let Some(name) = &text.name {
            rule.rule.name = name.get_ref().clone();
            continue;
        }
        let stem = format!("{}-{:08x}", text.action.get_ref().label(), content_hash(text));
        let suffixes = (2u32..).map(|number| format!("{stem}-{number}"));
        let names = std::iter::once(stem.clone()).chain(suffixes);
        let name = names.into_iter().find(|name| !seen.contains(name)).unwrap_or(stem);
        seen.insert(name.clone());
        rule.rule.name = name;
    }
}

/// What the rule says, in 32 bits: FNV-1a, since it must be the same in every version.
fn content_hash(text: &text::Rule) -> u32 {
    let of = |place: &Option<Spanned<String>>| {
        place.as_ref().map(|place| place.get_ref().clone()).unwrap_or_default()
    };
    let number = |place: &Option<Spanned<i64>>| {
        place.as_ref().map(|place| place.get_ref().to_string()).unwrap_or_default()
    };
    let condition = text.condition.as_ref().map_or("", |place| place.get_ref());
    let content = [
        filter::without_blanks(condition),
        text.action.get_ref().label().to_owned(),
        of(&text.police),
        of(&text.dscp),
        number(&text.class),
        of(&text.mirror),
        number(&text.sample),
        text.log.to_string(),
        of(&text.next_hop),
    ];
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = content.join("\n").bytes().fold(0xcbf2_9ce4_8422_2325, step);
    (hash ^ hash >> 32) as u32
}

/// Warns of rules that no packet reaches.
fn warn_of_useless(
    checker: &mut Checker<'_>,
    texts: &[Spanned<text::Rule>],
    rules: &[ConfiguredRule],
) {
    let span = |at: usize| {
        let text: &text::Rule = texts[at].get_ref();
        text.condition.as_ref().map_or(texts[at].span(), Spanned::span)
    };
    for (at, rule) in rules.iter().enumerate() {
        if let Some(reason) = &rule.idle {
            let message = format!("rule {} matches nothing now: {reason}", rule.rule.name);
            checker.warn_span(&span(at), message, "it does once the sets have members for it");
        }
    }
    if checker.has_errors() {
        return;
    }
    let active: Vec<usize> = (0..rules.len()).filter(|&at| rules[at].idle.is_none()).collect();
    let resolved: Vec<&Rule> = active.iter().map(|&at| &rules[at].rule).collect();
    for covered in filter::covered(&resolved) {
        let by = |&at: &usize| {
            let at = active[at];
            let line = checker.source().place(&texts[at].span()).line;
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
        checker.warn_span(&span(at), message, "move it up, or take it out");
    }
}

/// Names of rules in one warning.
const NAMES_MAX: usize = 8;

/// Resolves what is attached to the router and to the ports, in the order of `ports`.
pub(super) fn attachments(
    checker: &mut Checker<'_>,
    file: &File,
    filters: &Filters,
) -> (Router, Vec<PortServices>) {
    let mut attached: HashSet<usize> = HashSet::new();
    let mut find = |checker: &mut Checker<'_>, place: &Option<Spanned<String>>| {
        let place = place.as_ref()?;
        let all = filters.filters();
        let found = all.iter().position(|filter| filter.name == *place.get_ref());
        match found {
            Some(at) => {
                attached.insert(at);
            }
            None => {
                let message = format!("there is no filter {}", place.get_ref());
                let known = all.iter().map(|filter| filter.name.as_str());
                checker.refuse(place, message, one_of(known, "[[filter]]"));
            }
        }
        found
    };
    let router = Router { filter: find(checker, &file.router.filter) };
    let mut services = Vec::with_capacity(file.port.len());
    for port in &file.port {
        let port = port.get_ref();
        services.push(PortServices {
            filter_in: find(checker, &port.filter_in),
            filter_out: find(checker, &port.filter_out),
            reverse_path: match port.reverse_path {
                text::ReversePath::Off => ReversePath::Off,
                text::ReversePath::Strict => ReversePath::Strict,
                text::ReversePath::Loose => ReversePath::Loose,
                text::ReversePath::Feasible => ReversePath::Feasible,
            },
            martians: match port.martians {
                text::Martians::Drop => Martians::Drop,
                text::Martians::Forward => Martians::Forward,
            },
        });
    }
    for (at, text) in file.filter.iter().enumerate() {
        if !attached.contains(&at) {
            let place = &text.get_ref().name;
            let message = format!("filter {} is attached to nothing", place.get_ref());
            let help = "filter_in or filter_out of a [[port]], or filter of [router]";
            checker.warn_span(&place.span(), message, help);
        }
    }
    (router, services)
}
