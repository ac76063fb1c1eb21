//! Terms → [`Match`]: sets and ports become what they stand for, and what no packet can match is
//! refused.
//!
//! A set is not the rule's: that one is empty, or of a family that the rule excludes, is no mistake,
//! for the next version of its file may be otherwise. Until then the rule matches nothing.

use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use linecard_packet::PortId;
use linecard_services::filter::{Anchor, BytesMatch, FRAGMENT_LATER, Match, Prefixes, States};
use linecard_wire::ip::Protocol;

use super::error::MatchError;
use super::list::join_ranges;
use super::names::{self, CodeTable, Table, WITH_PORTS};
use super::sets::{Members, Sets, prefixes};
use super::term::{Ask, At, IcmpValue, List, Member, Side, Term};
use crate::suggestion;

/// Bytes of the shortest IPv4 packet, and of the shortest IPv6 packet.
const LENGTH_MIN: [u16; 2] = [20, 40];

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

    /// No packet is of both families: what asks for one, and what for the other?
    fn families(&mut self) {
        let mut first: Option<(bool, &'static str)> = None;
        for term in self.terms {
            let asks_ipv4 = match &term.ask {
                Ask::Ipv4 => true,
                Ask::Ipv6 | Ask::FlowLabel(_) => false,
                Ask::Protocol(list) => match sorted(list)[..] {
                    [number] if number == Protocol::ICMPV4.0 => true,
                    [number] if number == Protocol::ICMPV6.0 => false,
                    _ => continue,
                },
                Ask::Addresses(_, list) => match family_of(list) {
                    Some(ipv4) => ipv4,
                    None => continue,
                },
                _ => continue,
            };
            let (was, keyword) = *first.get_or_insert((asks_ipv4, term.keyword));
            // `ipv4 ipv6` was refused as a repetition.
            let both =
                matches!(keyword, "ipv4" | "ipv6") && matches!(term.keyword, "ipv4" | "ipv6");
            if was != asks_ipv4 && !both {
                let family = |ipv4| if ipv4 { "IPv4" } else { "IPv6" };
                let (one, other) = (family(asks_ipv4), family(was));
                let message =
                    format!("`{}` is of {one} here and `{keyword}` of {other}", term.keyword);
                self.refuse(&term.span, message, "no packet is both: a rule for each family");
            }
        }
        let condition = &self.condition;
        let (source, destination) = (&condition.source, &condition.destination);
        let excludes = |list: &Prefixes, ipv4: bool| {
            !list.is_any() && if ipv4 { list.ipv4.is_empty() } else { list.ipv6.is_empty() }
        };
        let without = |ipv4: bool| {
            let declared = if ipv4 { condition.ipv6 } else { condition.ipv4 };
            let by_term = first.is_some_and(|(was, _)| was != ipv4);
            declared || by_term || excludes(source, ipv4) || excludes(destination, ipv4)
        };
        if without(true) && without(false) {
            self.idle("its sets hold no prefix of its family".to_owned());
        }
    }

    fn ports_and_flags(&mut self) {
        let protocols = self.condition.protocols.clone();
        let odd = |of: &[u8]| protocols.iter().copied().find(|number| !of.contains(number));
        let called = |number| match names::name(names::PROTOCOLS, number) {
            Some(name) => name.to_owned(),
            None => format!("protocol {number}"),
        };
        for term in self.terms {
            match &term.ask {
                Ask::Ports(..) => {
                    if let Some(number) = odd(&WITH_PORTS) {
                        let message = format!("{} has no ports", called(number));
                        let help = "ports are of tcp, udp and sctp: leave one of the terms out";
                        self.errors.push(MatchError::new(&term.span, message, help));
                    }
                }
                Ask::TcpFlags(_) => {
                    let (tcp, help) = (Protocol::TCP.0, "write: tcp tcp-flags …");
                    if let Some(number) = odd(&[tcp]) {
                        let message = format!("{} has no TCP flags", called(number));
                        self.errors.push(MatchError::new(&term.span, message, help));
                    } else if protocols.is_empty() {
                        let message = "TCP flags of a packet that need not be TCP";
                        self.errors.push(MatchError::new(&term.span, message, help));
                    }
                }
                _ => {}
            }
        }
    }

    fn icmp(&mut self) {
        let is_icmp = |ask: &Ask| matches!(ask, Ask::IcmpType(_) | Ask::IcmpCode(_));
        let Some(span) = self.place(is_icmp) else { return };
        let (types, codes): (&Table, &CodeTable) = match self.condition.protocols[..] {
            [number] if number == Protocol::ICMPV4.0 => (names::ICMP_TYPES, names::ICMP_CODES),
            [number] if number == Protocol::ICMPV6.0 => (names::ICMPV6_TYPES, names::ICMPV6_CODES),
            [] => {
                let help = "name the protocol too, `icmp` or `icmpv6`: their types differ";
                return self.refuse(&span, "an ICMP type or code without its protocol", help);
            }
            _ => {
                let help = "one protocol, `icmp` or `icmpv6`: their types differ";
                return self.refuse(&span, "an ICMP type or code of other protocols", help);
            }
        };
        for term in self.terms {
            if let Ask::IcmpType(list) = &term.ask {
                self.condition.icmp_types = self.icmp_types(list, types);
            }
        }
        for term in self.terms {
            if let Ask::IcmpCode(list) = &term.ask {
                self.condition.icmp_codes = self.icmp_codes(list, codes);
            }
        }
    }

    fn icmp_types(&mut self, list: &List<IcmpValue>, table: &Table) -> Vec<RangeInclusive<u8>> {
        let mut ranges = Vec::new();
        for at in list {
            match &at.value {
                IcmpValue::Numbers(range) => ranges.push(range.clone()),
                IcmpValue::Name(name) => match names::number(table, name) {
                    Some(number) => ranges.push(number..=number),
                    None => self.refuse_name(&at.span, name, "ICMP type", names::words(table)),
                },
            }
        }
        join_ranges(&mut ranges, |number| number.checked_add(1));
        ranges
    }

    fn icmp_codes(&mut self, list: &List<IcmpValue>, table: &CodeTable) -> Vec<RangeInclusive<u8>> {
        let mut ranges = Vec::new();
        for at in list {
            let name = match &at.value {
                IcmpValue::Numbers(range) => {
                    ranges.push(range.clone());
                    continue;
                }
                IcmpValue::Name(name) => name,
            };
            let Some((_, of, code)) = table.iter().find(|(known, ..)| known == name) else {
                let words = table.iter().map(|(name, ..)| *name);
                self.refuse_name(&at.span, name, "ICMP code", words);
                continue;
            };
            ranges.push(*code..=*code);
            if self.condition.icmp_types != [*of..=*of] {
                let message = format!("`{name}` is a code of type {of} alone");
                self.refuse(&at.span, message, format!("with: icmp-type {of}; or a number"));
            }
        }
        join_ranges(&mut ranges, |number| number.checked_add(1));
        ranges
    }

    fn refuse_name(
        &mut self,
        span: &Range<usize>,
        name: &str,
        what: &str,
        known: impl Iterator<Item = &'static str>,
    ) {
        let known: Vec<&str> = known.collect();
        let help = match suggestion::nearest(name, known.iter().copied()) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("a number from 0 to 255, or one of: {}", known.join(", ")),
        };
        self.refuse(span, format!("`{name}` is no {what} of this protocol"), help);
    }

    fn fragments(&mut self) {
        if self.condition.fragments != FRAGMENT_LATER {
            return;
        }
        for term in self.terms {
            let upper = match &term.ask {
                Ask::Ports(..) | Ask::IcmpType(_) | Ask::IcmpCode(_) | Ask::TcpFlags(_) => true,
                Ask::Bytes(bytes) => bytes.anchor != Anchor::Layer3,
                _ => false,
            };
            if upper {
                let message =
                    format!("`{}` of a later fragment, which has no such header", term.keyword);
                let help = "fragment {none, first}, or leave one of the terms out";
                self.errors.push(MatchError::new(&term.span, message, help));
            }
        }
    }

    fn lengths(&mut self) {
        let Some(longest) = self.condition.lengths.last().map(|range| *range.end()) else { return };
        let ipv6 = self.condition.ipv6 || !self.condition.flow_labels.is_empty();
        let (least, family) = (LENGTH_MIN[usize::from(ipv6)], if ipv6 { "IPv6" } else { "IP" });
        if longest < least
            && let Some(span) = self.place(|ask| matches!(ask, Ask::Length(_)))
        {
            let message = format!("no {family} packet is shorter than {least} bytes");
            self.refuse(&span, message, "the length of the packet from its IP header on");
        }
    }

    fn bytes(&mut self) {
        let mut before: Vec<&BytesMatch> = Vec::new();
        for term in self.terms {
            let Ask::Bytes(bytes) = &term.ask else { continue };
            if before.iter().any(|other| contradict(other, bytes)) {
                let message = "these bytes must be something else by an earlier term";
                let help = "no packet matches: a rule for each";
                self.errors.push(MatchError::new(&term.span, message, help));
            }
            before.push(bytes);
        }
        let key = |b: &BytesMatch| (b.anchor as u8, b.offset, b.length, b.mask, b.value);
        self.condition.bytes.sort_by_key(key);
        self.condition.bytes.dedup();
    }

    fn states(&mut self) {
        let related = States { related: true, ..States::default() };
        let icmp = [Protocol::ICMPV4.0, Protocol::ICMPV6.0];
        let protocols = &self.condition.protocols;
        let never = !protocols.is_empty() && !protocols.iter().any(|number| icmp.contains(number));
        if self.condition.states == related
            && never
            && let Some(span) = self.place(|ask| matches!(ask, Ask::State(_)))
        {
            let message = "only an ICMP error is related to a connection";
            self.refuse(&span, message, "icmp or icmpv6, or another state");
        }
    }
}

/// The family that all of a list is of; `None` when it has both or a set, which may have both.
fn family_of(list: &List<Member<IpNet>>) -> Option<bool> {
    let mut families = list.iter().map(|at| match &at.value {
        Member::Literal(network) => Some(network.addr().is_ipv4()),
        Member::Set(_) => None,
    });
    let first = families.next().flatten()?;
    families.all(|family| family == Some(first)).then_some(first)
}

/// True when a byte that both ask for cannot be both.
fn contradict(one: &BytesMatch, other: &BytesMatch) -> bool {
    let end = |bytes: &BytesMatch| usize::from(bytes.offset) + usize::from(bytes.length);
    let from = usize::from(one.offset.max(other.offset));
    one.anchor == other.anchor
        && (from..end(one).min(end(other))).any(|at| {
            let (a, b) = (at - usize::from(one.offset), at - usize::from(other.offset));
            (one.value[a] ^ other.value[b]) & one.mask[a] & other.mask[b] != 0
        })
}
