//! What stands at the ports and at the router: filters, policers and checks of sources.

use linecard_services::police::PoliceCapacities;
use linecard_services::source::SourceCapacities;
use toml::Spanned;

use super::checker::Checker;
use super::filters::one_of;
use super::router;
use crate::config::filters::Filters;
use crate::config::resolved::{PolicePer, Policer, PortServices, ReversePath, Router};
use crate::config::text::{File, Port};

/// What stands where.
pub(super) struct Attachments {
    pub(super) router: Router,
    /// In the order of the ports.
    pub(super) ports: Vec<PortServices>,
    /// What `ports` refer to: names of sets.
    pub(super) feasible_sources: Vec<String>,
}

/// Resolves what is attached to the router and to the ports.
pub(super) fn attachments(
    checker: &mut Checker<'_>,
    file: &File,
    filters: &Filters,
    policers: &[Policer],
) -> Attachments {
    let mut scope = Scope { checker, filters, policers, lists: vec![] };
    let router = Router { filter: scope.filter(&file.router.filter) };
    if let (Some(place), Some(at)) = (&file.router.filter, router.filter) {
        router::check(scope.checker, place, &filters.filters()[at]);
    }
    let ports = file.port.iter().map(|port| scope.port(port.get_ref())).collect();
    let Scope { checker, lists, .. } = scope;
    check_capacities(checker, policers, file.port.len(), filters, &lists);
    Attachments { router, ports, feasible_sources: lists }
}

/// Refuses what the services have no room for.
fn check_capacities(
    checker: &mut Checker<'_>,
    policers: &[Policer],
    ports: usize,
    filters: &Filters,
    lists: &[String],
) {
    let of = |policer: &Policer| if policer.per == PolicePer::Port { ports } else { 1 };
    let instances: usize = policers.iter().map(of).sum();
    let instances_max = PoliceCapacities::default().policers_max;
    if instances > instances_max as usize {
        let message = format!("{instances} policers, those by port counted for each port");
        checker.refuse_file(message, format!("{instances_max} at the most"));
    }
    let SourceCapacities { lists_max, prefixes_max } = SourceCapacities::default();
    if lists.len() > usize::from(lists_max) {
        let message = format!("ports name {} sets as feasible sources", lists.len());
        checker.refuse_file(message, format!("{lists_max} at the most"));
    }
    for set in lists {
        let prefixes = filters.prefixes_of(set).map_or(0, |prefixes| prefixes.len());
        if prefixes > prefixes_max as usize {
            let message = format!("feasible sources: the set {set} has {prefixes} prefixes");
            checker.refuse_file(message, format!("{prefixes_max} at the most"));
        }
    }
}

/// What names refer to, and what was found so far.
struct Scope<'a, 'c> {
    checker: &'a mut Checker<'c>,
    filters: &'a Filters,
    policers: &'a [Policer],
    lists: Vec<String>,
}

impl Scope<'_, '_> {
    fn port(&mut self, port: &Port) -> PortServices {
        PortServices {
            filter_in: self.filter(&port.filter_in),
            filter_out: self.filter(&port.filter_out),
            police_in: self.policer(&port.police_in),
            reverse_path: port.reverse_path.as_ref().map_or(ReversePath::Off, |it| *it.get_ref()),
            feasible_sources: self.feasible_sources(port),
            martians: port.martians,
        }
    }

    fn filter(&mut self, place: &Option<Spanned<String>>) -> Option<usize> {
        let place = place.as_ref()?;
        let names = self.filters.filters().iter().map(|filter| filter.name.as_str());
        self.find(place, names, "filter")
    }

    fn policer(&mut self, place: &Option<Spanned<String>>) -> Option<usize> {
        let names = self.policers.iter().map(|policer| policer.name.as_str());
        self.find(place.as_ref()?, names, "police")
    }

    /// The place of a name among those of its kind.
    fn find<'n>(
        &mut self,
        place: &Spanned<String>,
        names: impl Iterator<Item = &'n str> + Clone,
        table: &str,
    ) -> Option<usize> {
        let found = names.clone().position(|name| name == place.get_ref());
        if found.is_none() {
            let what = if table == "police" { "policer" } else { table };
            let message = format!("there is no {what} {}", place.get_ref());
            self.checker.refuse(place, message, one_of(names, &format!("[[{table}]]")));
        }
        found
    }

    /// The list of a port whose check is `feasible`; no other port has one.
    fn feasible_sources(&mut self, port: &Port) -> Option<usize> {
        let mode = port.reverse_path.as_ref().filter(|it| *it.get_ref() == ReversePath::Feasible);
        let place = match (mode, &port.feasible_sources) {
            (Some(_), Some(place)) => place,
            (Some(mode), None) => {
                let message = "feasible without a list of sources would be strict";
                let help = "feasible_sources = the name of a [[set]] of prefixes (RFC 8704)";
                self.checker.refuse(mode, message, help);
                return None;
            }
            (None, Some(place)) => {
                let message = "feasible_sources without a check that asks for it";
                self.checker.refuse(place, message, "reverse_path = \"feasible\"");
                return None;
            }
            (None, None) => return None,
        };
        let set = place.get_ref();
        if let Some(at) = self.lists.iter().position(|list| list == set) {
            return Some(at);
        }
        let message = match self.filters.names().sets.get(set) {
            Some(members) => match self.filters.prefixes_of(set) {
                Some(_) => {
                    self.lists.push(set.clone());
                    return Some(self.lists.len() - 1);
                }
                None => format!("the set {set} has {}", members.kind()),
            },
            None => format!("there is no set {set}"),
        };
        self.checker.refuse(place, message, "the name of a [[set]] of prefixes");
        None
    }
}
