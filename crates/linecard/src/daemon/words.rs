//! What stages say of a packet, in words: numbers get the names that the control side has for them.
//!
//! Traces, captures and explanations are told by this code, so that they say the same of the same.

use std::net::IpAddr;

use ipnet::IpNet;
use linecard_control::rib::Rib;
use linecard_forwarder::{Explained, Policed, Stage, Step, TapTaken};
use linecard_observe::trace::to_hex;
use linecard_observe::{Fate, PacketReport, StepReport, VerdictReport, packet_text};
use linecard_packet::{DropReason, Metadata, PortId, PuntReason, Verdict};
use linecard_services::connection::ConnectionState;
use linecard_services::filter::{Action, Hook, RuleHit};
use linecard_services::police::PolicerId;
use linecard_services::route::{NextHop, OutFacts, ReverseRoute, RouteFacts, Special};
use linecard_services::source::{MartianFilter, ReversePath, SourceFacts};
use linecard_tables::meter::Colour;

use super::services::Services;
use super::source::{covering, route_report};

/// Who knows the names.
pub(super) struct Words<'a> {
    pub(super) services: &'a Services,
    pub(super) rib: &'a Rib,
    /// By number.
    pub(super) ports: &'a [&'a str],
}

impl Words<'_> {
    /// A packet that a worker has told of.
    pub(super) fn packet(
        &self,
        taken: &TapTaken,
        time_unix_nanoseconds: u64,
        is_capture: bool,
    ) -> PacketReport {
        let TapTaken { record, steps, bytes } = taken;
        let verdict = self.verdict(record.verdict);
        let steps = self.steps(steps, &record.metadata, record.verdict, is_capture);
        PacketReport {
            time_unix_nanoseconds: Some(time_unix_nanoseconds),
            in_port: self.port(record.metadata.in_port),
            packet: packet_text(bytes),
            frame_bytes: record.frame_bytes,
            summary: summary(&verdict, &steps),
            verdict,
            steps,
            bytes: to_hex(bytes),
        }
    }

    /// A packet that somebody imagines, and that the classifier takes.
    pub(super) fn imagined(&self, explained: &Explained, frame: &[u8]) -> PacketReport {
        let verdict = self.verdict(explained.verdict);
        let steps = self.steps(&explained.steps, &explained.metadata, explained.verdict, false);
        PacketReport {
            time_unix_nanoseconds: None,
            in_port: self.port(explained.metadata.in_port),
            packet: packet_text(frame),
            frame_bytes: frame.len() as u32,
            summary: summary(&verdict, &steps),
            verdict,
            steps,
            bytes: to_hex(frame),
        }
    }

    fn steps(
        &self,
        steps: &[Step],
        metadata: &Metadata,
        end: Verdict,
        is_capture: bool,
    ) -> Vec<StepReport> {
        let mut reports: Vec<StepReport> = Vec::new();
        for step in steps {
            let report = match *step {
                Step::Decided(stage, verdict) => {
                    let verdict = (!verdict.is_undecided()).then(|| self.verdict(verdict));
                    // What the stage knew stands before it, in the same words.
                    match reports.last_mut() {
                        Some(last) if last.stage == stage_name(stage) && verdict.is_some() => {
                            last.verdict = verdict;
                            continue;
                        }
                        _ => decided(stage, verdict),
                    }
                }
                Step::Source(facts) => self.source(&facts, metadata),
                Step::State(state) => state_report(state),
                Step::Rule(hook, hit) => self.rule(hook, &hit),
                Step::Policed(policed) => self.policed(policed),
                Step::Route { destination, facts } => self.route(destination, &facts),
            };
            reports.push(report);
        }
        if let (false, Verdict::Forward { port, .. }) = (is_capture, end) {
            let text = format!("to the transmit queue of {}", self.port(port));
            reports.push(StepReport { stage: "egress".to_owned(), text, ..StepReport::default() });
        }
        reports
    }

    /// Where a packet stands.
    pub(super) fn verdict(&self, verdict: Verdict) -> VerdictReport {
        let (fate, why) = match verdict {
            Verdict::Forward { .. } | Verdict::Undecided => (Fate::Forwarded, None),
            Verdict::Drop(reason) => (Fate::Dropped, Some(drop_words(reason))),
            Verdict::Punt(reason) => (Fate::Punted, Some(punt_words(reason))),
        };
        let out_port = match verdict {
            Verdict::Forward { port, .. } => Some(self.port(port)),
            _ => None,
        };
        let (reason, description) = why.unzip();
        VerdictReport { fate, reason, description, out_port }
    }

    fn port(&self, port: PortId) -> String {
        self.ports
            .get(port.index())
            .map_or_else(|| format!("#{}", port.0), |name| (*name).to_owned())
    }

    fn rule(&self, hook: Hook, hit: &RuleHit) -> StepReport {
        let (filter, rule, condition) = self.services.filters.name_of(hook, hit);
        let (stage, place) = match hook {
            Hook::Input(port) => ("filter_in", format!("input of {}", self.port(port))),
            Hook::Output(port) => ("filter_out", format!("output of {}", self.port(port))),
        };
        let action = match hit.action {
            Action::Accept => "accept".to_owned(),
            Action::Drop => "drop".to_owned(),
            Action::Reject => "reject".to_owned(),
            Action::Continue => "continue".to_owned(),
            Action::Redirect(address) => format!("redirect to {address}"),
        };
        let mut text = if hit.is_default {
            format!("filter {filter} at the {place}: no rule decides, its default: {action}")
        } else {
            format!("filter {filter} at the {place}: rule {rule} ({condition}): {action}")
        };
        if let Some(dscp) = hit.set_dscp {
            text += &format!(", dscp {dscp}");
        }
        if let Some(class) = hit.set_class {
            text += &format!(", class {class}");
        }
        if let Some(port) = hit.mirror_to {
            text += &format!(", a copy to {}", self.port(port));
        }
        if let Some(policer) = hit.policer {
            // Of a policer by port the rule does not say whose: that is the port's by which the packet came in.
            let policer = self.policer(policer);
            text += &format!(", to policer {}", policer.split('/').next().unwrap_or(&policer));
        }
        StepReport {
            stage: stage.to_owned(),
            text,
            filter: Some(filter),
            rule: Some(rule),
            action: Some(action),
            ..StepReport::default()
        }
    }

    fn policer(&self, id: PolicerId) -> String {
        let name = self.services.policers.name(id);
        name.map_or_else(|| format!("#{}", id.0), str::to_owned)
    }

    fn policed(&self, policed: Policed) -> StepReport {
        let colour = match policed.colour {
            Colour::Green => "green",
            Colour::Yellow => "yellow",
            Colour::Red => "red",
        };
        let policer = self.policer(policed.policer);
        let how = if policed.is_imagined { ", if its bucket is full" } else { "" };
        StepReport {
            stage: "police".to_owned(),
            text: format!("policer {policer}: {colour}{how}"),
            policer: Some(policer),
            colour: Some(colour.to_owned()),
            ..StepReport::default()
        }
    }

    fn source(&self, facts: &SourceFacts, metadata: &Metadata) -> StepReport {
        let port = self.port(metadata.in_port);
        let mut texts = Vec::new();
        if facts.check.martians != MartianFilter::Off {
            texts.push(match facts.is_martian {
                [true, _] => "its source is a special-purpose address that the port refuses",
                [_, true] => "its destination is a special-purpose address that the port refuses",
                _ => "no special-purpose address that the port refuses",
            });
        }
        let mode = match facts.check.reverse_path {
            ReversePath::Off => "",
            ReversePath::Strict => "strict ",
            ReversePath::Feasible => "feasible ",
            ReversePath::Loose => "loose ",
        };
        texts.extend(facts.route.map(|route| match route {
            ReverseRoute::Here => "the route back to its source leaves by where it came in",
            ReverseRoute::Elsewhere if facts.is_feasible => {
                "the route back to its source leaves elsewhere, but it is a feasible prefix of the port"
            }
            ReverseRoute::Elsewhere => "the route back to its source leaves elsewhere",
            ReverseRoute::Missing => "there is no route back to its source",
            ReverseRoute::Local => "its source is one of the router's own addresses",
            ReverseRoute::Refused => "the route back to its source reaches nobody",
            ReverseRoute::Unknown => "the tables do not hold the route back to its source",
        }));
        StepReport {
            stage: "source".to_owned(),
            text: format!("{mode}check of {port}: {}", texts.join("; ")),
            ..StepReport::default()
        }
    }

    fn route(&self, destination: IpAddr, facts: &RouteFacts) -> StepReport {
        let held = covering(destination).into_iter().rev();
        let held = held.flat_map(|prefix| self.rib.routes_of(prefix)).find(|route| route.selected);
        let route = held.map(|held| route_report(self.rib, &held));
        let prefix: Option<IpNet> = route.as_ref().map(|route| route.prefix);
        let found = match prefix {
            Some(prefix) => format!("{destination}: route {prefix}"),
            None => format!("{destination}: no route"),
        };
        let out = |out: Option<OutFacts>| match out {
            Some(OutFacts { port, vlan: Some(vlan), .. }) => {
                format!("{} vlan {vlan}", self.port(port))
            }
            Some(OutFacts { port, .. }) => self.port(port),
            None => "an interface that Linecard does not serve".to_owned(),
        };
        let way = match facts.next_hop {
            _ if facts.is_left_to_kernel => {
                ", which is the kernel's: the tables have no room for it".to_owned()
            }
            None => String::new(),
            Some(NextHop::Special(Special::Local)) => {
                ", one of the router's own addresses".to_owned()
            }
            Some(NextHop::Special(Special::Blackhole)) => ", a blackhole".to_owned(),
            Some(NextHop::Special(Special::Reject)) => ", which refuses".to_owned(),
            Some(NextHop::Special(Special::NotServed)) => {
                ", which leaves by an interface that Linecard does not serve".to_owned()
            }
            Some(NextHop::Gateway(_) | NextHop::Connected(_)) => {
                let neighbour = facts.neighbour.unwrap_or(destination);
                let resolved = if facts.is_resolved { "" } else { ", which is not resolved" };
                format!(" via {neighbour} on {}{resolved}", out(facts.interface))
            }
        };
        let one_of = match facts.next_hops {
            0 | 1 => String::new(),
            many => format!(", one of {many} next hops by the hash of its flow"),
        };
        StepReport {
            stage: "route".to_owned(),
            text: format!("{found}{way}{one_of}"),
            route: prefix.map(|prefix| prefix.to_string()),
            neighbour: facts.neighbour.map(|address| address.to_string()),
            ..StepReport::default()
        }
    }
}

fn state_report(state: ConnectionState) -> StepReport {
    let state = match state {
        ConnectionState::New => "new",
        ConnectionState::Established => "established",
        ConnectionState::Related => "related",
        ConnectionState::Invalid => "invalid",
    };
    StepReport {
        stage: "connection".to_owned(),
        text: format!("{state} to the connections that are known"),
        state: Some(state.to_owned()),
        ..StepReport::default()
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Parse => "parse",
        Stage::Source => "source",
        Stage::FilterIn => "filter_in",
        Stage::PoliceIn | Stage::PoliceOut => "police",
        Stage::Route => "route",
        Stage::FilterOut => "filter_out",
        Stage::Connection => "connection",
        Stage::Rewrite => "rewrite",
        Stage::Egress => "egress",
    }
}

/// A stage that has decided, and of which nothing else is told.
fn decided(stage: Stage, verdict: Option<VerdictReport>) -> StepReport {
    let text = match &verdict {
        None if stage == Stage::Parse => "headers and addresses are right".to_owned(),
        None => "goes on".to_owned(),
        Some(verdict) => verdict.description.clone().unwrap_or_default(),
    };
    StepReport { stage: stage_name(stage).to_owned(), text, verdict, ..StepReport::default() }
}

/// The end of it in one line: `dropped: filtered (filter edge, rule telnet)`.
pub(super) fn summary(verdict: &VerdictReport, steps: &[StepReport]) -> String {
    let mut text = verdict.fate.label().to_owned();
    if let Some(port) = &verdict.out_port {
        text += &format!(" by {port}");
    }
    if let Some(reason) = &verdict.reason {
        text += &format!(": {reason}");
    }
    let decider = steps.iter().rev().find(|step| step.verdict.as_ref() == Some(verdict));
    let by = decider.and_then(|step| match step {
        StepReport { filter: Some(filter), rule: Some(rule), .. } => {
            Some(format!("filter {filter}, rule {rule}"))
        }
        StepReport { policer: Some(policer), colour: Some(colour), .. } => {
            Some(format!("policer {policer}, {colour}"))
        }
        StepReport { route: Some(route), neighbour: Some(neighbour), .. } => {
            Some(format!("route {route} via {neighbour}"))
        }
        StepReport { route: Some(route), .. } => Some(format!("route {route}")),
        StepReport { stage, text, .. } if stage == "source" => Some(text.clone()),
        _ => None,
    });
    if let Some(by) = by {
        text += &format!(" ({by})");
    }
    text
}

fn drop_words(reason: DropReason) -> (String, String) {
    (reason.label().to_owned(), reason.description().to_owned())
}

fn punt_words(reason: PuntReason) -> (String, String) {
    (reason.label().to_owned(), reason.description().to_owned())
}
