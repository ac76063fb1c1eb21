//! The parts of a condition that the classifier has no column for: asked of the few packets that match the
//! rest of the rule.

use linecard_packet::{Layer3, Metadata};
use linecard_wire::ip::Protocol;

use super::key;
use super::rule::{Anchor, BytesMatch, Match};

/// What is asked besides.
#[derive(Debug, Clone)]
pub(super) struct Condition(Box<Match>);

impl Condition {
    /// `None` when the classifier asks for everything.
    pub(super) fn of(condition: &Match) -> Option<Self> {
        // All parts by name: whoever adds one has to say who asks for it.
        let Match {
            ipv4: _,
            ipv6: _,
            source: _,
            destination: _,
            protocols: _,
            source_ports: _,
            destination_ports: _,
            icmp_types: _,
            icmp_codes: _,
            tcp_flags: _,
            dscps: _,
            fragments: _,
            lengths,
            ttls,
            in_ports,
            vlans,
            flow_labels,
            bytes,
            states: _,
        } = condition;
        let is_empty = lengths.is_empty()
            && ttls.is_empty()
            && in_ports.is_empty()
            && vlans.is_empty()
            && flow_labels.is_empty()
            && bytes.is_empty();
        let asked = Match {
            lengths: lengths.clone(),
            ttls: ttls.clone(),
            in_ports: in_ports.clone(),
            vlans: vlans.clone(),
            flow_labels: flow_labels.clone(),
            bytes: bytes.clone(),
            ..Match::default()
        };
        (!is_empty).then(|| Self(Box::new(asked)))
    }

    /// Whether a packet as it was received fulfils it.
    pub(super) fn holds(&self, packet: &[u8], metadata: &Metadata) -> bool {
        let Self(asked) = self;
        let Some(network) = key::network_layer(packet, metadata) else { return false };
        let (ttl, flow_label) = match metadata.layer3 {
            Layer3::Ipv4 => (network.get(8), 0),
            Layer3::Ipv6 => (network.get(7), flow_label(network)),
            Layer3::Other => return false,
        };
        let vlan = metadata.vlan_ids()[0].unwrap_or(0);
        let any = |lengths: &[std::ops::RangeInclusive<u16>], value| {
            lengths.is_empty() || lengths.iter().any(|range| range.contains(&value))
        };
        any(&asked.lengths, metadata.layer3_length)
            && any(&asked.vlans, vlan)
            && (asked.in_ports.is_empty() || asked.in_ports.contains(&metadata.in_port))
            && (asked.ttls.is_empty()
                || ttl.is_some_and(|ttl| asked.ttls.iter().any(|range| range.contains(ttl))))
            && (asked.flow_labels.is_empty()
                || asked.flow_labels.iter().any(|of| flow_label & of.mask == of.value))
            && asked.bytes.iter().all(|bytes| has_bytes(bytes, network, metadata))
    }
}

fn flow_label(network: &[u8]) -> u32 {
    network.first_chunk().map_or(0, |word| u32::from_be_bytes(*word) & 0x000f_ffff)
}

fn has_bytes(asked: &BytesMatch, network: &[u8], metadata: &Metadata) -> bool {
    let from = match asked.anchor {
        Anchor::Layer3 => Some(network),
        Anchor::Layer4 => key::upper_layer(network, metadata).map(|(_, upper)| upper),
        Anchor::Payload => {
            key::upper_layer(network, metadata).and_then(|(it, upper)| payload(it, upper))
        }
    };
    let length = usize::from(asked.length);
    let start = usize::from(asked.offset);
    let Some(bytes) = from.and_then(|from| from.get(start..start + length)) else { return false };
    let expected = asked.value.iter().zip(&asked.mask);
    bytes.iter().zip(expected).all(|(byte, (value, mask))| byte & mask == *value)
}

/// What stands behind the upper-layer header.
fn payload(protocol: Protocol, upper: &[u8]) -> Option<&[u8]> {
    let length = match protocol {
        Protocol::TCP => usize::from(upper.get(12)? >> 4) * 4,
        Protocol::UDP | Protocol::ICMPV4 | Protocol::ICMPV6 => 8,
        _ => return None,
    };
    // A TCP header has 20 bytes at the least, whatever it says.
    upper.get(length.max(8)..).filter(|_| protocol != Protocol::TCP || length >= 20)
}
