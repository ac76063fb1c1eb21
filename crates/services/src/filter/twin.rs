//! The plain twin of the filter: every rule in turn, each part of its condition asked of the packet itself.
//!
//! It knows no keys, entries or chains, and reads packets by the views of `wire`. Property tests compare
//! its decisions with those of the stage.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use linecard_packet::{Layer3, Metadata};
use linecard_tables::lpm::Prefix;
use linecard_wire::ip::Protocol;
use linecard_wire::{icmpv4, ipv4, ipv6, ipv6_extension, tcp};

use crate::connection::ConnectionState;

use super::rule::{
    Action, Anchor, BytesMatch, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Filter, Match,
    Prefixes, States,
};

/// The rules that apply to a packet: those that go on, and then the one that decides; the number behind the
/// last rule stands for the default. Empty for what is not IP. `state` is that of the packet's connection, where
/// there is a connection service that has looked for it.
#[must_use]
pub fn rules_of(
    filter: &Filter,
    packet: &[u8],
    metadata: &Metadata,
    state: Option<ConnectionState>,
) -> Vec<usize> {
    let mut applied = Vec::new();
    let Some(facts) = Facts::of(packet, metadata) else { return applied };
    for (number, rule) in filter.rules.iter().enumerate() {
        if has_state(rule.condition.states, state) && matches(&rule.condition, &facts, metadata) {
            applied.push(number);
            if rule.action != Action::Continue {
                return applied;
            }
        }
    }
    applied.push(filter.rules.len());
    applied
}

/// Whether one condition holds for a packet that parse has seen, with the state of its connection as far as
/// it is known. False for what is not IP.
#[must_use]
pub fn holds(
    condition: &Match,
    packet: &[u8],
    metadata: &Metadata,
    state: Option<ConnectionState>,
) -> bool {
    has_state(condition.states, state)
        && Facts::of(packet, metadata).is_some_and(|facts| matches(condition, &facts, metadata))
}

/// What a packet is.
struct Facts<'a> {
    source: IpAddr,
    destination: IpAddr,
    dscp: u8,
    ttl: u8,
    flow_label: Option<u32>,
    protocol: Protocol,
    fragment: u8,
    network: &'a [u8],
    /// From the upper-layer header on; empty if there is none.
    upper: &'a [u8],
}

impl<'a> Facts<'a> {
    fn of(packet: &'a [u8], metadata: &Metadata) -> Option<Self> {
        let network = packet.get(usize::from(metadata.layer3_offset)..)?;
        let network = network.get(..usize::from(metadata.layer3_length))?;
        match metadata.layer3 {
            Layer3::Ipv4 => Self::of_ipv4(network),
            Layer3::Ipv6 => Self::of_ipv6(network),
            Layer3::Other => None,
        }
    }

    fn of_ipv4(network: &'a [u8]) -> Option<Self> {
        let packet = ipv4::Packet::new(network).ok()?;
        let later = packet.fragment_offset() > 0;
        Some(Self {
            source: packet.source().into(),
            destination: packet.destination().into(),
            dscp: packet.dscp(),
            ttl: packet.ttl(),
            flow_label: None,
            protocol: packet.protocol(),
            fragment: fragment(later, packet.is_fragment()),
            network,
            upper: if later { &[] } else { packet.payload() },
        })
    }

    fn of_ipv6(network: &'a [u8]) -> Option<Self> {
        let packet = ipv6::Packet::new(network).ok()?;
        let chain = packet.upper_layer(ipv6_extension::HEADERS_MAX).ok();
        let header = chain.and_then(|upper| upper.fragment);
        let is_fragment = header.is_some_and(|header| !header.is_atomic());
        let later = header.is_some_and(|header| !header.is_first());
        Some(Self {
            source: packet.source().into(),
            destination: packet.destination().into(),
            dscp: packet.dscp(),
            ttl: packet.hop_limit(),
            flow_label: Some(packet.flow_label()),
            protocol: chain.map_or(packet.next_header(), |upper| upper.protocol),
            fragment: fragment(later, is_fragment),
            network,
            upper: chain.filter(|_| !later).map_or(&[], |upper| upper.payload),
        })
    }

    /// Source and destination port.
    fn ports(&self) -> Option<[u16; 2]> {
        let has = matches!(self.protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP);
        let &[a, b, c, d] = self.upper.first_chunk().filter(|_| has)?;
        Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
    }

    /// Type and code.
    fn icmp(&self) -> Option<[u8; 2]> {
        let has = matches!(self.protocol, Protocol::ICMPV4 | Protocol::ICMPV6);
        // A header without its checksum is none.
        let &[kind, code, _, _] = self.upper.first_chunk().filter(|_| has)?;
        Some([kind, code])
    }

    fn tcp_flags(&self) -> Option<u8> {
        (self.protocol == Protocol::TCP).then(|| self.upper.get(13).copied())?
    }

    fn payload(&self) -> Option<&'a [u8]> {
        match self.protocol {
            Protocol::TCP => tcp::Segment::new(self.upper).ok().map(|segment| segment.payload()),
            Protocol::ICMPV4 => icmpv4::Message::new(self.upper).ok().map(|it| it.payload()),
            Protocol::UDP | Protocol::ICMPV6 => self.upper.get(8..),
            _ => None,
        }
    }
}

fn fragment(later: bool, is_fragment: bool) -> u8 {
    match (later, is_fragment) {
        (true, _) => FRAGMENT_LATER,
        (false, true) => FRAGMENT_FIRST,
        (false, false) => FRAGMENT_NONE,
    }
}

fn matches(condition: &Match, facts: &Facts<'_>, metadata: &Metadata) -> bool {
    let is_ipv4 = facts.source.is_ipv4();
    let family = match (condition.ipv4, condition.ipv6) {
        (false, false) | (true, true) => true,
        (ipv4, _) => ipv4 == is_ipv4,
    };
    let vlan = metadata.vlan_ids()[0].unwrap_or(0);
    family
        && has_address(&condition.source, facts.source)
        && has_address(&condition.destination, facts.destination)
        && (condition.protocols.is_empty() || condition.protocols.contains(&facts.protocol.0))
        && has_upper_layer(condition, facts)
        && (condition.dscps.is_empty() || condition.dscps.contains(&facts.dscp))
        && (condition.fragments == 0 || condition.fragments & facts.fragment != 0)
        && contains(&condition.lengths, Some(metadata.layer3_length))
        && contains(&condition.ttls, Some(facts.ttl))
        && (condition.in_ports.is_empty() || condition.in_ports.contains(&metadata.in_port))
        && contains(&condition.vlans, Some(vlan))
        && (condition.flow_labels.is_empty()
            || facts.flow_label.is_some_and(|label| {
                condition.flow_labels.iter().any(|asked| label & asked.mask == asked.value)
            }))
        && condition.bytes.iter().all(|bytes| has_bytes(bytes, facts))
}

/// Whether one of the states is asked for, or none is.
#[must_use]
pub fn has_state(asked: States, state: Option<ConnectionState>) -> bool {
    asked.is_any()
        || state.is_some_and(|state| match state {
            ConnectionState::New => asked.new,
            ConnectionState::Established => asked.established,
            ConnectionState::Related => asked.related,
            ConnectionState::Invalid => asked.invalid,
        })
}

/// Ports, ICMP types and codes, TCP flags.
fn has_upper_layer(condition: &Match, facts: &Facts<'_>) -> bool {
    let ports = facts.ports();
    let icmp = facts.icmp().filter(|_| {
        // A rule that names no protocol means the family's own ICMP.
        let own = if facts.source.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
        !condition.protocols.is_empty() || facts.protocol == own
    });
    contains(&condition.source_ports, ports.map(|[source, _]| source))
        && contains(&condition.destination_ports, ports.map(|[_, destination]| destination))
        && contains(&condition.icmp_types, icmp.map(|[kind, _]| kind))
        && contains(&condition.icmp_codes, icmp.map(|[_, code]| code))
        && (condition.tcp_flags.is_empty()
            || facts.tcp_flags().is_some_and(|flags| {
                condition.tcp_flags.iter().any(|asked| flags & asked.mask == asked.value)
            }))
}

/// No ranges contain anything, and nothing at all.
fn contains<T: PartialOrd>(ranges: &[RangeInclusive<T>], value: Option<T>) -> bool {
    ranges.is_empty()
        || value.is_some_and(|value| ranges.iter().any(|range| range.contains(&value)))
}

fn has_address(prefixes: &Prefixes, address: IpAddr) -> bool {
    if prefixes.is_any() {
        return true;
    }
    match address {
        IpAddr::V4(address) => {
            let contains = |prefix: &Prefix<u32>| prefix.contains(address.to_bits());
            prefixes.ipv4.iter().any(contains)
        }
        IpAddr::V6(address) => {
            let contains = |prefix: &Prefix<u128>| prefix.contains(address.to_bits());
            prefixes.ipv6.iter().any(contains)
        }
    }
}

fn has_bytes(asked: &BytesMatch, facts: &Facts<'_>) -> bool {
    let from = match asked.anchor {
        Anchor::Layer3 => Some(facts.network),
        Anchor::Layer4 => (facts.fragment != FRAGMENT_LATER).then_some(facts.upper),
        Anchor::Payload => facts.payload(),
    };
    let behind = from.and_then(|from| from.get(usize::from(asked.offset)..)).unwrap_or_default();
    let length = usize::from(asked.length);
    behind.len() >= length && (0..length).all(|at| behind[at] & asked.mask[at] == asked.value[at])
}
