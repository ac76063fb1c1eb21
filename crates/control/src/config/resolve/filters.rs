//! `[[filter]]`.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use linecard_packet::PortId;
use linecard_services::filter::{Action, Match, Rule};
use toml::Spanned;

use super::checker::Checker;
use super::sets::{Read, check_name, check_names, sets};
use crate::config::filters::{
    ConfiguredFilter, ConfiguredRule, Filters, Layout, Naming, RuleLayout,
};
use crate::config::limits;
use crate::config::resolved::{Config, Policer, Port};
use crate::config::text::File;
use crate::config::text::services as text;
use crate::filter::{self, Judged, Names};

/// What the rules of all filters refer to.
struct Scope<'a> {
    names: Names<'a>,
    policers: HashMap<&'a str, u32>,
}

impl<'a> Scope<'a> {
    fn of(names: Names<'a>, policers: &'a [Policer]) -> Self {
        let policers = policers.iter().map(|policer| policer.name.as_str()).zip(0..);
        Self { names, policers: policers.collect() }
    }
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
    let scope = Scope::of(Names { ports: &ports, sets: &sets }, policers);
    check_names(checker, "filter", file.filter.iter().map(|text| &text.get_ref().name));
    let resolve = |text: &Spanned<text::Filter>| filter(checker, &scope, text);
    let resolved = file.filter.iter().map(resolve).collect();
    let filters = Filters { ports, sets, files, filters: resolved, feasible_sources: vec![] };
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
    let texts = text.rules();
    if let Some(place) = texts.get(limits::RULES_PER_FILTER_MAX) {
        let message = format!("{} rules", texts.len());
        checker.refuse(place, message, format!("{} at the most", limits::RULES_PER_FILTER_MAX));
    }
    let mut rules: Vec<Arc<ConfiguredRule>> =
        texts.iter().map(|place| Arc::new(rule(checker, scope, place))).collect();
    name_rules(checker, texts, &mut rules);
    ConfiguredFilter {
        name: text.name.get_ref().clone(),
        default: match text.default {
            text::FilterDefault::Accept => Action::Accept,
            text::FilterDefault::Drop => Action::Drop,
            text::FilterDefault::Reject => Action::Reject,
        },
        rules,
        layout: Layout {
            name: text.name.span(),
            array: text.rules.as_ref().map(Spanned::span),
            rules: texts.iter().map(layout).collect(),
        },
    }
}

fn layout(place: &Spanned<text::Rule>) -> RuleLayout {
    let condition = place.get_ref().condition.as_ref();
    RuleLayout { whole: place.span(), condition: condition.map_or(place.span(), Spanned::span) }
}

/// Rules in place of some of a filter's, as the text of a [`text::Part`] says them, and where they stand in
/// it; `None` if anything is wrong.
pub(in crate::config) fn part(
    config: &Config,
    text: &str,
    part: &[Spanned<text::Rule>],
) -> Option<(Vec<Arc<ConfiguredRule>>, Vec<RuleLayout>)> {
    let mut checker = Checker::new(text);
    let scope = Scope::of(config.filters.names(), &config.policers);
    let rules = part.iter().map(|place| {
        if let Some(name) = &place.get_ref().name {
            check_name(&mut checker, "rule", name);
        }
        Arc::new(rule(&mut checker, &scope, place))
    });
    let rules = rules.collect();
    (!checker.has_errors()).then(|| (rules, part.iter().map(layout).collect()))
}

/// Makes a filter's rules right as a whole after some were exchanged; `None` if they cannot be.
pub(in crate::config) fn complete(filters: &mut Filters, filter: usize) -> Option<()> {
    let rules = &mut filters.filters[filter].rules;
    derive_names(rules)?;
    let fits = rules.len() <= limits::RULES_PER_FILTER_MAX
        && filters.set_members() <= limits::RULE_SET_MEMBERS_MAX;
    fits.then_some(())
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
    let (name, naming) = match &text.name {
        Some(name) => (name.get_ref().clone(), Naming::Given),
        None => {
            let stem = format!("{}-{:08x}", text.action.get_ref().label(), content_hash(text));
            (stem.clone(), Naming::Derived(stem))
        }
    };
    let rule = Rule {
        name,
        condition,
        action,
        policer,
        set_dscp,
        set_class,
        mirror_to,
        sample_one_in: if text.sample.is_some() { sample } else { 0 },
        log: text.log,
    };
    ConfiguredRule { rule, idle, terms, naming }
}

pub(super) fn one_of<'a>(known: impl Iterator<Item = &'a str>, section: &str) -> String {
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

/// Notes names that stand twice, and names the rules that have none in the file.
fn name_rules(
    checker: &mut Checker<'_>,
    texts: &[Spanned<text::Rule>],
    rules: &mut [Arc<ConfiguredRule>],
) {
    let mut seen: HashSet<&str> = HashSet::new();
    for place in texts.iter().filter_map(|text| text.get_ref().name.as_ref()) {
        check_name(checker, "rule", place);
        if !seen.insert(place.get_ref()) {
            let message = format!("rule {} stands here a second time", place.get_ref());
            checker.refuse(place, message, "names of a filter's rules are unique");
        }
    }
    let _ = derive_names(rules);
}

/// Names rules that have no name in the file by what they say: so their counters stay their own when rules
/// are inserted before them. `None` when two rules have one name in the file.
fn derive_names(rules: &mut [Arc<ConfiguredRule>]) -> Option<()> {
    let given = rules.iter().filter(|rule| rule.naming == Naming::Given).count();
    let mut seen: HashSet<String> = HashSet::new();
    if given < rules.len() {
        let named = rules.iter().filter(|rule| rule.naming == Naming::Given);
        seen.extend(named.map(|rule| rule.rule.name.clone()));
    } else {
        let names: HashSet<&str> = rules.iter().map(|rule| rule.rule.name.as_str()).collect();
        return (names.len() == given).then_some(());
    }
    let are_distinct = seen.len() == given;
    for rule in rules {
        let Naming::Derived(stem) = &rule.naming else { continue };
        let suffixes = (2u32..).map(|number| format!("{stem}-{number}"));
        let mut names = std::iter::once(stem.clone()).chain(suffixes);
        let name = names.find(|name| !seen.contains(name)).unwrap_or_default();
        seen.insert(name.clone());
        if rule.rule.name != name {
            Arc::make_mut(rule).rule.name = name;
        }
    }
    are_distinct.then_some(())
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
