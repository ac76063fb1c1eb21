//! What a rule says, resolved: names are numbers, sets are lists.
//!
//! A [`Match`] is a conjunction: each of its parts that is given must hold. A part that is a list holds
//! when one of its members does; an empty list asks for nothing. The parts are those of RFC 8955 section
//! 4.2.2 and RFC 8956 section 3 (flow specifications), of what an operator's access lists have, and bytes
//! anywhere in header or payload (draft-ietf-idr-flowspec-nvo3's and -payload-match's wish).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use linecard_packet::PortId;
use linecard_tables::lpm::Prefix;

/// Bytes that one [`BytesMatch`] compares at the most.
pub const PAYLOAD_BYTES_MAX: usize = 16;

/// In [`Match::fragments`]: a packet that is no fragment.
pub const FRAGMENT_NONE: u8 = 1;
/// In [`Match::fragments`]: the first fragment of several.
pub const FRAGMENT_FIRST: u8 = 2;
/// In [`Match::fragments`]: a fragment that is not the first; it has no upper-layer header.
pub const FRAGMENT_LATER: u8 = 4;

/// An ordered list of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Its name, for people and metrics.
    pub name: String,
    /// Its rules, in order; names are distinct.
    pub rules: Vec<Rule>,
    /// What becomes of packets that no rule decides on.
    pub default: Action,
}

/// A condition and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its name in the filter, by which its counters are kept when the filter is reloaded.
    pub name: String,
    /// Which packets.
    pub condition: Match,
    /// What becomes of them.
    pub action: Action,
    /// The policer that they pass behind the filter, if the action lets them go on; several rules may name one.
    /// The number is its slot ([`crate::police::PolicerId`]). What it drops is dropped as `policed`.
    pub policer: Option<u32>,
    /// DSCP that they get, 0 to 63.
    pub set_dscp: Option<u8>,
    /// Forwarding class that they get, 0 to 7.
    pub set_class: Option<u8>,
    /// The port that gets a copy.
    pub mirror_to: Option<PortId>,
    /// One packet in so many is the rule's sample, at a place that cannot be known beforehand; 0 for none.
    pub sample_one_in: u32,
    /// A line in the log for the packet.
    pub log: bool,
}

/// What a rule does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// On to the next stage.
    Accept,
    /// Drop, as `filtered`.
    Drop,
    /// Drop, as `filter_rejected`, and tell the sender: ICMP "administratively prohibited" (RFC 1812
    /// 5.2.7.1, RFC 4443 3.1), limited in rate.
    Reject,
    /// Apply the rule's other effects, and go on with the rules behind it.
    Continue,
    /// Accept, and send as if this were the destination. A packet of the other family is accepted only.
    Redirect(IpAddr),
}

/// Prefixes of both families; no prefix at all asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefixes {
    /// Of IPv4.
    pub ipv4: Vec<Prefix<u32>>,
    /// Of IPv6.
    pub ipv6: Vec<Prefix<u128>>,
}

impl Prefixes {
    /// True when every address is meant.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.ipv4.is_empty() && self.ipv6.is_empty()
    }
}

/// A value of which only the bits of a mask count. `value` has no bit outside of `mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Masked<T> {
    /// What the bits must be.
    pub value: T,
    /// Which bits.
    pub mask: T,
}

/// Where the bytes of a [`BytesMatch`] are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Anchor {
    /// The network-layer header.
    Layer3,
    /// The upper-layer header; a later fragment has none and does not match.
    Layer4,
    /// Behind the TCP, UDP, ICMP or ICMPv6 header; other protocols have no payload and do not match.
    Payload,
}

/// Some bytes of a packet under a mask. A packet that ends before them does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BytesMatch {
    /// Counted from here.
    pub anchor: Anchor,
    /// Bytes behind the anchor.
    pub offset: u16,
    /// Bytes that are compared, 1 to [`PAYLOAD_BYTES_MAX`]; those of `value` and `mask` behind them are 0.
    pub length: u8,
    /// What they must be; no bit outside of `mask`.
    pub value: [u8; PAYLOAD_BYTES_MAX],
    /// Which bits.
    pub mask: [u8; PAYLOAD_BYTES_MAX],
}

/// Which states of a connection a rule asks for; none of them set asks for nothing.
///
/// Each IP packet has one, also those that the kernel gets; but without the connection service no packet has, and
/// then no rule that asks for states matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct States {
    /// The first packet of a connection that could begin with it.
    pub new: bool,
    /// A packet of a connection of which packets were seen both ways, or the answer to its first.
    pub established: bool,
    /// An ICMP error about a known connection.
    pub related: bool,
    /// Neither: such as a TCP segment without a connection.
    pub invalid: bool,
}

impl States {
    /// True when the connection's state does not matter.
    #[must_use]
    pub fn is_any(self) -> bool {
        self == Self::default()
    }
}

/// Which packets a rule is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// IPv4 packets may match. With neither family set, both may.
    pub ipv4: bool,
    /// IPv6 packets may match.
    pub ipv6: bool,
    /// Source addresses. Prefixes of one family only exclude packets of the other.
    pub source: Prefixes,
    /// Destination addresses.
    pub destination: Prefixes,
    /// Upper-layer protocol numbers.
    pub protocols: Vec<u8>,
    /// Source ports; packets without ports do not match.
    pub source_ports: Vec<RangeInclusive<u16>>,
    /// Destination ports.
    pub destination_ports: Vec<RangeInclusive<u16>>,
    /// ICMP or ICMPv6 types.
    pub icmp_types: Vec<RangeInclusive<u8>>,
    /// ICMP or ICMPv6 codes.
    pub icmp_codes: Vec<RangeInclusive<u8>>,
    /// TCP flags (RFC 9293 3.1): FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    pub tcp_flags: Vec<Masked<u8>>,
    /// Differentiated services code points, 0 to 63 (RFC 2474).
    pub dscps: Vec<u8>,
    /// [`FRAGMENT_NONE`], [`FRAGMENT_FIRST`], [`FRAGMENT_LATER`], or several of them; 0 asks for nothing.
    pub fragments: u8,
    /// Lengths of the network-layer packet, in bytes.
    pub lengths: Vec<RangeInclusive<u16>>,
    /// TTL or hop limit as received.
    pub ttls: Vec<RangeInclusive<u8>>,
    /// Ports that the packet came in on.
    pub in_ports: Vec<PortId>,
    /// Outer VLAN identifiers, 0 to 4,095; 0 is a packet without a tag.
    pub vlans: Vec<RangeInclusive<u16>>,
    /// IPv6 flow labels, of 20 bits (RFC 6437).
    pub flow_labels: Vec<Masked<u32>>,
    /// All of these must match: an exception to "one member of the list".
    pub bytes: Vec<BytesMatch>,
    /// States of the packet's connection.
    pub states: States,
}
