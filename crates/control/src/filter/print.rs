//! A [`Match`] as text, in the one form that every equal match has.

use std::fmt;
use std::ops::RangeInclusive;

use ipnet::{Ipv4Net, Ipv6Net};
use linecard_services::filter::{
    Anchor, BytesMatch, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Masked, Match, Prefixes,
};
use linecard_wire::ip::Protocol;

use super::names;

/// Shows a match in the language that [`parse_match`](super::parse_match) reads.
#[derive(Debug, Clone, Copy)]
pub struct MatchText<'a> {
    /// What to show.
    pub condition: &'a Match,
    /// Names of the ports; the index is the `PortId`. A port without a name is shown by its number.
    pub ports: &'a [String],
}

impl fmt::Display for MatchText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = self.terms();
        if terms.is_empty() { f.write_str("any") } else { f.write_str(&terms.join(" ")) }
    }
}

impl MatchText<'_> {
    fn terms(&self) -> Vec<String> {
        let m = self.condition;
        let mut terms: Vec<String> = Vec::new();
        let mut list = |keyword: &str, values: Vec<String>| match &values[..] {
            [] => {}
            [one] => terms.push(format!("{keyword} {one}")),
            several => terms.push(format!("{keyword} {{{}}}", several.join(", "))),
        };
        match (m.ipv4, m.ipv6) {
            (true, false) => list("ipv4", vec![String::new()]),
            (false, true) => list("ipv6", vec![String::new()]),
            _ => {}
        }
        match m.protocols[..] {
            [one] if shorthand(one).is_some() => {
                list(shorthand(one).unwrap_or_default(), vec![String::new()]);
            }
            _ => list("protocol", named(names::PROTOCOLS, &m.protocols)),
        }
        list("source", prefixes(&m.source));
        list("source-port", ranges(&m.source_ports));
        list("destination", prefixes(&m.destination));
        list("destination-port", ranges(&m.destination_ports));
        let ipv6 = m.protocols == [Protocol::ICMPV6.0];
        list("icmp-type", icmp_types(&m.icmp_types, ipv6));
        list("icmp-code", icmp_codes(&m.icmp_codes, &m.icmp_types, ipv6));
        list("tcp-flags", m.tcp_flags.iter().map(tcp_flags).collect());
        list("fragment", fragments(m.fragments));
        list("dscp", named(names::DSCPS, &m.dscps));
        list("length", ranges(&m.lengths));
        list("ttl", ranges(&m.ttls));
        let port = |id: &linecard_packet::PortId| {
            let name = self.ports.get(usize::from(id.0));
            name.cloned().unwrap_or_else(|| format!("#{}", id.0))
        };
        list("input", m.in_ports.iter().map(port).collect());
        let vlan = |range: &RangeInclusive<u16>| match range {
            range if *range == (0..=0) => "none".to_owned(),
            range => self::range(range),
        };
        list("vlan", m.vlans.iter().map(vlan).collect());
        let label = |label: &Masked<u32>| match label.mask {
            0xf_ffff => format!("{:#x}", label.value),
            mask => format!("{:#x}/{mask:#x}", label.value),
        };
        list("flow-label", m.flow_labels.iter().map(label).collect());
        for bytes in &m.bytes {
            list("bytes", vec![self::bytes(bytes)]);
        }
        list("state", states(m));
        for term in &mut terms {
            term.truncate(term.trim_end().len());
        }
        terms
    }
}

/// The keyword that says a protocol alone.
fn shorthand(protocol: u8) -> Option<&'static str> {
    let known = [Protocol::TCP, Protocol::UDP, Protocol::SCTP, Protocol::ICMPV4, Protocol::ICMPV6];
    let has = known.iter().any(|known| known.0 == protocol);
    has.then(|| names::name(names::PROTOCOLS, protocol)).flatten()
}

fn named(table: &names::Table, numbers: &[u8]) -> Vec<String> {
    let text = |&number: &u8| match names::name(table, number) {
        Some(name) => name.to_owned(),
        None => number.to_string(),
    };
    numbers.iter().map(text).collect()
}

fn prefixes(prefixes: &Prefixes) -> Vec<String> {
    let ipv4 = prefixes.ipv4.iter().map(|&prefix| Ipv4Net::from(prefix).to_string());
    let ipv6 = prefixes.ipv6.iter().map(|&prefix| Ipv6Net::from(prefix).to_string());
    ipv4.chain(ipv6).collect()
}

fn range<T: fmt::Display + PartialEq>(range: &RangeInclusive<T>) -> String {
    let (first, last) = (range.start(), range.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

fn ranges<T: fmt::Display + PartialEq>(ranges: &[RangeInclusive<T>]) -> Vec<String> {
    ranges.iter().map(range).collect()
}

fn icmp_types(types: &[RangeInclusive<u8>], ipv6: bool) -> Vec<String> {
    let table = if ipv6 { names::ICMPV6_TYPES } else { names::ICMP_TYPES };
    let name = |of: &RangeInclusive<u8>| names::name(table, *of.start());
    let text = |of: &RangeInclusive<u8>| match name(of).filter(|_| of.start() == of.end()) {
        Some(name) => name.to_owned(),
        None => range(of),
    };
    types.iter().map(text).collect()
}

/// A code has a name where its type is the only one.
fn icmp_codes(
    codes: &[RangeInclusive<u8>],
    types: &[RangeInclusive<u8>],
    ipv6: bool,
) -> Vec<String> {
    let table = if ipv6 { names::ICMPV6_CODES } else { names::ICMP_CODES };
    let name = |of: &RangeInclusive<u8>| {
        let is =
            |(_, kind, code): &&(&str, u8, u8)| *types == [*kind..=*kind] && code == of.start();
        table.iter().find(is).map(|(name, ..)| (*name).to_owned())
    };
    let text = |of: &RangeInclusive<u8>| {
        name(of).filter(|_| of.start() == of.end()).unwrap_or_else(|| range(of))
    };
    codes.iter().map(text).collect()
}

fn tcp_flags(flags: &Masked<u8>) -> String {
    let asked = names::TCP_FLAGS.iter().filter(|(_, bit)| flags.mask & bit != 0);
    let text = |&(name, bit): &(&str, u8)| {
        format!("{}{name}", if flags.value & bit == 0 { "!" } else { "" })
    };
    asked.map(text).collect::<Vec<_>>().join("+")
}

fn fragments(bits: u8) -> Vec<String> {
    if bits == FRAGMENT_FIRST | FRAGMENT_LATER {
        return vec!["any".to_owned()];
    }
    [(FRAGMENT_NONE, "none"), (FRAGMENT_FIRST, "first"), (FRAGMENT_LATER, "later")]
        .into_iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, name)| name.to_owned())
        .collect()
}

fn bytes(bytes: &BytesMatch) -> String {
    let anchor = match bytes.anchor {
        Anchor::Layer3 => "layer3",
        Anchor::Layer4 => "layer4",
        Anchor::Payload => "payload",
    };
    let length = usize::from(bytes.length);
    let hex = |of: &[u8]| of.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (value, mask) = (hex(&bytes.value[..length]), hex(&bytes.mask[..length]));
    let mask =
        if mask.chars().all(|digit| digit == 'f') { String::new() } else { format!("/0x{mask}") };
    format!("{anchor} +{} 0x{value}{mask}", bytes.offset)
}

fn states(condition: &Match) -> Vec<String> {
    let states = &condition.states;
    [
        (states.new, "new"),
        (states.established, "established"),
        (states.related, "related"),
        (states.invalid, "invalid"),
    ]
    .into_iter()
    .filter(|(asked, _)| *asked)
    .map(|(_, name)| name.to_owned())
    .collect()
}
