//! Terms → [`Match`]: sets and ports become what they stand for, and what no packet can match is
//! refused.
//!
//! A set is not the rule's: that one is empty, or of a family that the rule excludes, is no mistake,
//! for the next version of its file may be otherwise. Until then the rule matches nothing.

mod icmp;
mod impossible;

use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use linecard_packet::PortId;
use linecard_services::filter::{Match, Prefixes, States};

use super::error::MatchError;
use super::list::join_ranges;
use super::sets::{Members, Sets, prefixes};
use super::term::{Ask, At, List, Member, Side, Term};
use crate::suggestion;

/// What the names in a line may stand for.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Names of the ports; the index is the [`PortId`].
    pub ports: &'a [String],
    /// The sets.
    pub sets: &'a Sets,
}

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it asks for; means nothing when `idle` is given.
    pub condition: Match,
    /// Why no packet matches as long as the sets are what they are.
    pub idle: Option<String>,
}

/// Judges the terms of a line.
pub(super) fn judge(terms: &[Term], names: Names<'_>) -> Result<Judged, Vec<MatchError>> {
    let mut judge =
        Judge { names, terms, condition: Match::default(), idle: None, errors: Vec::new() };
    judge.refuse_repeated();
    for term in terms {
        judge.take(term);
    }
    judge.families();
    judge.ports_and_flags();
    judge.icmp();
    judge.fragments();
    judge.lengths();
    judge.bytes();
    judge.states();
    let Judge { condition, idle, mut errors, .. } = judge;
    errors.sort_by_key(|error| error.span.start);
    if errors.is_empty() { Ok(Judged { condition, idle }) } else { Err(errors) }
}

struct Judge<'a> {
    names: Names<'a>,
    terms: &'a [Term],
    condition: Match,
    idle: Option<String>,
    errors: Vec<MatchError>,
}

fn sorted<T: Clone + Ord>(list: &[At<T>]) -> Vec<T> {
    let mut values: Vec<T> = list.iter().map(|at| at.value.clone()).collect();
    values.sort();
    values.dedup();
    values
}

fn ranges16(list: &[At<RangeInclusive<u16>>]) -> Vec<RangeInclusive<u16>> {
    let mut ranges: Vec<_> = list.iter().map(|at| at.value.clone()).collect();
    join_ranges(&mut ranges, |number| number.checked_add(1));
    ranges
}

/// The same term twice is a mistake, but for `bytes`, of which all must hold anyway.
fn kind(ask: &Ask) -> Option<(u8, &'static str)> {
    Some(match ask {
        Ask::Any | Ask::Bytes(_) => return None,
        Ask::Ipv4 | Ask::Ipv6 => (0, "leave both out for both families"),
        Ask::Protocol(_) => (1, "several of them: protocol {tcp, udp}"),
        Ask::Addresses(Side::Source, _) => (2, "several of them: source {…, …}"),
        Ask::Addresses(Side::Destination, _) => (3, "several of them: destination {…, …}"),
        Ask::Ports(Side::Source, _) => (4, "several of them: source-port {…, …}"),
        Ask::Ports(Side::Destination, _) => (5, "several of them: destination-port {…, …}"),
        Ask::IcmpType(_) => (6, "several of them: icmp-type {…, …}"),
        Ask::IcmpCode(_) => (7, "several of them: icmp-code {…, …}"),
        Ask::TcpFlags(_) => (8, "flags that must hold together: syn+!ack"),
        Ask::Dscp(_) => (9, "several of them: dscp {…, …}"),
        Ask::Fragment(_) => (10, "several of them: fragment {…, …}"),
        Ask::Length(_) => (11, "one range: length 100-200"),
        Ask::Ttl(_) => (12, "one range: ttl 2-254"),
        Ask::Input(_) => (13, "several of them: input {…, …}"),
        Ask::Vlan(_) => (14, "several of them: vlan {…, …}"),
        Ask::FlowLabel(_) => (15, "one value and mask: flow-label 0x12345/0xfffff"),
        Ask::State(_) => (16, "several of them: state {…, …}"),
    })
}

impl Judge<'_> {
    fn refuse(&mut self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(MatchError::new(span, message, help));
    }

    fn idle(&mut self, reason: String) {
        self.idle.get_or_insert(reason);
    }

    /// The place of the first term of which this is true.
    fn place(&self, is: impl Fn(&Ask) -> bool) -> Option<Range<usize>> {
        self.terms.iter().find(|term| is(&term.ask)).map(|term| term.span.clone())
    }

    fn refuse_repeated(&mut self) {
        let mut seen = [None; 17];
        for term in self.terms {
            let Some((kind, help)) = kind(&term.ask) else { continue };
            if let Some(first) = seen[usize::from(kind)].replace(term.keyword) {
                let message = format!("`{}` behind `{first}`: all terms must hold", term.keyword);
                self.refuse(&term.span, message, help);
            }
        }
    }

    fn take(&mut self, term: &Term) {
        match &term.ask {
            Ask::Any => {}
            Ask::Ipv4 => self.condition.ipv4 = true,
            Ask::Ipv6 => self.condition.ipv6 = true,
            Ask::Protocol(list) => self.condition.protocols = sorted(list),
            Ask::Addresses(side, list) => {
                let members = self.addresses(term.keyword, list);
                match side {
                    Side::Source => self.condition.source = members,
                    Side::Destination => self.condition.destination = members,
                }
            }
            Ask::Ports(side, list) => {
                let ranges = self.ports(term.keyword, list);
                match side {
                    Side::Source => self.condition.source_ports = ranges,
                    Side::Destination => self.condition.destination_ports = ranges,
                }
            }
            // They need the protocol: see `icmp`.
            Ask::IcmpType(_) | Ask::IcmpCode(_) => {}
            Ask::TcpFlags(list) => {
                let flags = &mut self.condition.tcp_flags;
                *flags = list.iter().map(|at| at.value).collect();
                flags.sort_by_key(|flags| (flags.mask, flags.value));
                flags.dedup();
            }
            Ask::Dscp(list) => self.condition.dscps = sorted(list),
            Ask::Fragment(list) => {
                self.condition.fragments = list.iter().fold(0, |bits, at| bits | at.value);
            }
            Ask::Length(list) => self.condition.lengths = ranges16(list),
            Ask::Ttl(list) => {
                self.condition.ttls = list.iter().map(|at| at.value.clone()).collect();
                join_ranges(&mut self.condition.ttls, |number| number.checked_add(1));
            }
            Ask::Input(list) => self.input(list),
            Ask::Vlan(list) => self.condition.vlans = ranges16(list),
            Ask::FlowLabel(list) => {
                let labels = &mut self.condition.flow_labels;
                *labels = list.iter().map(|at| at.value).collect();
                labels.sort_by_key(|label| (label.mask, label.value));
                labels.dedup();
            }
            Ask::Bytes(bytes) => self.condition.bytes.push(*bytes),
            Ask::State(list) => {
                let states = &mut self.condition.states;
                for States { new, established, related, invalid } in list.iter().map(|at| at.value)
                {
                    states.new |= new;
                    states.established |= established;
                    states.related |= related;
                    states.invalid |= invalid;
                }
            }
        }
    }

    fn addresses(&mut self, keyword: &str, list: &List<Member<IpNet>>) -> Prefixes {
        let mut found: Vec<IpNet> = Vec::new();
        let mut all = Prefixes::default();
        for member in list {
            match &member.value {
                Member::Literal(network) => found.push(*network),
                Member::Set(name) => match self.names.sets.get(name) {
                    Some(Members::Prefixes(set)) => {
                        all.ipv4.extend(&set.ipv4);
                        all.ipv6.extend(&set.ipv6);
                    }
                    Some(Members::Empty) => {}
                    other => self.refuse_set(&member.span, name, other, "prefixes"),
                },
            }
        }
        let literal = prefixes(found);
        all.ipv4.extend(literal.ipv4);
        all.ipv6.extend(literal.ipv6);
        super::list::join_prefixes(&mut all.ipv4);
        super::list::join_prefixes(&mut all.ipv6);
        if all.is_any() {
            self.idle(format!("the sets of `{keyword}` are empty"));
        }
        all
    }

    fn ports(
        &mut self,
        keyword: &str,
        list: &List<Member<RangeInclusive<u16>>>,
    ) -> Vec<RangeInclusive<u16>> {
        let mut ranges = Vec::new();
        for member in list {
            match &member.value {
                Member::Literal(range) => ranges.push(range.clone()),
                Member::Set(name) => match self.names.sets.get(name) {
                    Some(Members::Ports(set)) => ranges.extend(set.iter().cloned()),
                    Some(Members::Empty) => {}
                    other => self.refuse_set(&member.span, name, other, "ports"),
                },
            }
        }
        join_ranges(&mut ranges, |port| port.checked_add(1));
        if ranges.is_empty() {
            self.idle(format!("the sets of `{keyword}` are empty"));
        }
        ranges
    }

    fn refuse_set(&mut self, span: &Range<usize>, name: &str, set: Option<&Members>, want: &str) {
        if let Some(members) = set {
            let message = format!("set `{name}` holds {}", members.kind());
            self.refuse(span, message, format!("a set of {want}"));
            return;
        }
        let known: Vec<&str> = self.names.sets.iter().map(|(name, _)| name).collect();
        let help = match suggestion::nearest(name, known.iter().copied()) {
            Some(known) => format!("did you mean `@{known}`?"),
            None if known.is_empty() => "there are no sets: see [[set]]".to_owned(),
            None => format!("one of: @{}", known.join(", @")),
        };
        self.refuse(span, format!("there is no set `{name}`"), help);
    }

    fn input(&mut self, list: &List<String>) {
        for At { value: name, span } in list {
            let found = self.names.ports.iter().position(|port| port == name);
            match found.and_then(|at| u16::try_from(at).ok()) {
                Some(at) => self.condition.in_ports.push(PortId(at)),
                None => {
                    let help = format!("one of: {}", self.names.ports.join(", "));
                    self.refuse(span, format!("there is no port {name}"), help);
                }
            }
        }
        self.condition.in_ports.sort_unstable();
        self.condition.in_ports.dedup();
    }
}
