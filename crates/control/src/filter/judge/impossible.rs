//! What no packet can match.

use ipnet::IpNet;
use linecard_services::filter::{Anchor, BytesMatch, FRAGMENT_LATER, Prefixes, States};
use linecard_wire::ip::Protocol;

use super::{Judge, sorted};
use crate::filter::error::MatchError;
use crate::filter::names::{self, WITH_PORTS};
use crate::filter::term::{Ask, List, Member};

/// Bytes of the shortest IPv4 packet, and of the shortest IPv6 packet.
const LENGTH_MIN: [u16; 2] = [20, 40];

impl Judge<'_> {
    /// No packet is of both families: what asks for one, and what for the other?
    pub(super) fn families(&mut self) {
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

    pub(super) fn ports_and_flags(&mut self) {
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

    pub(super) fn fragments(&mut self) {
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

    pub(super) fn lengths(&mut self) {
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

    pub(super) fn bytes(&mut self) {
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

    pub(super) fn states(&mut self) {
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
