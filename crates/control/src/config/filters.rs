//! The filters of a configuration, with what it takes to resolve them again when a set changes: the
//! terms of each rule, in which sets are names still.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use linecard_services::filter::{Action, Filter, Rule};

use super::error::{Error, Errors};
use super::limits::RULE_SET_MEMBERS_MAX;
use super::source::Source;
use crate::filter::{self, Members, Names, Sets, Term};

/// All filters and sets. The index of a filter is its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters {
    pub(super) ports: Vec<String>,
    pub(super) sets: Sets,
    pub(super) files: Vec<SetFile>,
    pub(super) filters: Vec<ConfiguredFilter>,
    /// Sets that ports name as feasible sources: they have prefixes or nothing.
    pub(super) feasible_sources: Vec<String>,
}

/// A set that lives in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetFile {
    /// Its name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What it said when it was read.
    pub(super) text: Arc<str>,
}

/// A filter as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredFilter {
    /// Its name; unique.
    pub name: String,
    /// What becomes of packets that no rule decides on.
    pub default: Action,
    /// Its rules, in order; names are distinct. Configurations that come from each other by
    /// [`Document`](super::Document) share those that are the same.
    pub rules: Vec<Arc<ConfiguredRule>>,
    pub(super) layout: Layout,
}

/// Where a filter stands in the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Its name.
    pub(super) name: Range<usize>,
    /// The array of its rules, brackets included; `None` where it has none.
    pub(super) array: Option<Range<usize>>,
    /// Its rules, in order.
    pub(super) rules: Vec<RuleLayout>,
}

/// Where a rule stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuleLayout {
    pub(super) whole: Range<usize>,
    /// Its match with the quotes, or the whole rule if it has none.
    pub(super) condition: Range<usize>,
}

/// A rule as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredRule {
    /// With its sets resolved.
    pub rule: Rule,
    /// Why no packet matches it as long as the sets are what they are, for instance because one is
    /// empty. Such a rule is left out of the filter; its counters should be kept.
    pub idle: Option<String>,
    pub(super) terms: Vec<Term>,
    pub(super) naming: Naming,
}

/// Where a rule's name is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Naming {
    /// The file.
    Given,
    /// What the rule says, with a number behind it where several say the same.
    Derived(String),
}

impl ConfiguredRule {
    fn sets(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().flat_map(|term| term.ask.sets())
    }
}

impl ConfiguredFilter {
    /// What the filter service takes: the rules that packets can match.
    #[must_use]
    pub fn resolved(&self) -> Filter {
        let active = self.rules.iter().filter(|rule| rule.idle.is_none());
        Filter {
            name: self.name.clone(),
            rules: active.map(|rule| rule.rule.clone()).collect(),
            default: self.default,
        }
    }
}

impl Filters {
    /// The filters, in the order of the file.
    #[must_use]
    pub fn filters(&self) -> &[ConfiguredFilter] {
        &self.filters
    }

    /// The sets that live in files.
    #[must_use]
    pub fn set_files(&self) -> &[SetFile] {
        &self.files
    }

    /// The names of the sets whose members ports let in whatever the routes to them are: what
    /// `PortServices::feasible_sources` numbers.
    #[must_use]
    pub fn feasible_sources(&self) -> &[String] {
        &self.feasible_sources
    }

    /// The prefixes of a set, IPv4 first; `None` if there is none of this name, or it has ports.
    #[must_use]
    pub fn prefixes_of(&self, set: &str) -> Option<Vec<IpNet>> {
        match self.sets.get(set)? {
            Members::Prefixes(prefixes) => {
                let ipv4 = prefixes.ipv4.iter().map(|prefix| IpNet::V4((*prefix).into()));
                let ipv6 = prefixes.ipv6.iter().map(|prefix| IpNet::V6((*prefix).into()));
                Some(ipv4.chain(ipv6).collect())
            }
            Members::Empty => Some(Vec::new()),
            Members::Ports(_) => None,
        }
    }

    /// What names in the match language stand for: for whoever reads an expression.
    #[must_use]
    pub fn names(&self) -> Names<'_> {
        Names { ports: &self.ports, sets: &self.sets }
    }

    /// Reads the file of the set `name` again, and returns the indexes of the filters that change by
    /// it. Costs as much as the rules that use the set, not more. A name without a file changes nothing.
    ///
    /// # Errors
    /// The file cannot be read, or something in it is wrong. Nothing is changed then.
    pub fn reload_set(&mut self, name: &str) -> Result<Vec<usize>, Errors> {
        self.reload_set_with(name, |path| std::fs::read_to_string(path))
    }

    /// As [`reload_set`](Self::reload_set), with the file's text from elsewhere.
    ///
    /// # Errors
    /// As there.
    pub fn reload_set_with(
        &mut self,
        name: &str,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Vec<usize>, Errors> {
        let Some(file) = self.files.iter().position(|file| file.name == name) else {
            return Ok(Vec::new());
        };
        let path = self.files[file].path.clone();
        let text = read(&path).map_err(|error| Errors::unreadable_set(&path, &error))?;
        if *self.files[file].text == *text {
            return Ok(Vec::new());
        }
        let members = Members::parse(&text).map_err(|errors| {
            let source = Source::of(&text);
            let place = |e: &filter::MatchError| Error::at(&source, &e.span, &e.message, &e.help);
            Errors::new(&path, errors.iter().map(place).collect())
        })?;
        let refuse = |message: String| {
            let help = "the set is as it was; see [[set]] of the configuration";
            Errors::new(&path, vec![Error::of_file(message, help)])
        };
        let before = self.sets.share(name).unwrap_or_default();
        if *before == members {
            self.files[file].text = text.into();
            return Ok(Vec::new());
        }
        let has_ports = matches!(members, Members::Ports(_));
        if has_ports && self.feasible_sources.iter().any(|set| set == name) {
            return Err(refuse(format!(
                "set {name} has ports, and ports name it as feasible sources"
            )));
        }
        self.sets.insert(name, members);
        let again = match self.resolve_users_of(name) {
            Ok(_) if self.set_members() > RULE_SET_MEMBERS_MAX => {
                let max = RULE_SET_MEMBERS_MAX;
                Err(format!("the rules would have more than {max} members of sets"))
            }
            other => other,
        };
        match again {
            Ok(changes) => {
                self.files[file].text = text.into();
                Ok(self.take(changes))
            }
            Err(message) => {
                self.sets.insert(name, before);
                Err(refuse(message))
            }
        }
    }

    /// Members of sets over all rules: what they take of memory.
    pub(super) fn set_members(&self) -> usize {
        let rules = self.filters.iter().flat_map(|filter| &filter.rules);
        let sets = rules.flat_map(|rule| rule.sets());
        sets.filter_map(|name| self.sets.get(name)).map(Members::len).sum()
    }

    /// Every rule that uses the set `name` and changes by it: filter, rule, and what it is now.
    fn resolve_users_of(&self, name: &str) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        for (filter, of) in self.filters.iter().enumerate() {
            for (rule, at) in of.rules.iter().enumerate() {
                if !at.sets().any(|set| set == name) {
                    continue;
                }
                let judged = filter::judge_terms(&at.terms, self.names()).map_err(|errors| {
                    let what = errors.first().map_or("", |error| error.message.as_str());
                    format!("rule {} of filter {}: {what}", at.rule.name, of.name)
                })?;
                if judged.condition != at.rule.condition || judged.idle != at.idle {
                    changes.push(Change { filter, rule, judged });
                }
            }
        }
        Ok(changes)
    }

    fn take(&mut self, changes: Vec<Change>) -> Vec<usize> {
        let mut filters = Vec::new();
        for Change { filter, rule, judged } in changes {
            let at = Arc::make_mut(&mut self.filters[filter].rules[rule]);
            at.rule.condition = judged.condition;
            at.idle = judged.idle;
            if filters.last() != Some(&filter) {
                filters.push(filter);
            }
        }
        filters
    }
}

struct Change {
    filter: usize,
    rule: usize,
    judged: filter::Judged,
}
