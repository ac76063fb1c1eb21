//! The match language as its users see it: what a line means, what is refused, where and in which
//! words, and that every match has a text.

mod mistakes;
mod random;

use std::ops::RangeInclusive;

use ipnet::IpNet;
use linecard_control::filter::{MatchText, Members, Names, Sets, parse_match};
use linecard_packet::PortId;
use linecard_services::filter::{
    Anchor, BytesMatch, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Masked, Match, Prefixes,
    States,
};
use proptest::prelude::*;

const FILTER_MD: &str = include_str!("../../../../docs/filter.md");

fn ports() -> Vec<String> {
    ["eth0", "eth1", "lan.100"].map(str::to_owned).to_vec()
}

fn sets() -> Sets {
    let network = |text: &str| text.parse::<IpNet>().expect("a prefix");
    let mut sets = Sets::default();
    let customers = ["203.0.113.0/25", "203.0.113.128/25", "2001:db8:c::/48"].map(network);
    sets.insert("customers", Members::of_prefixes(customers));
    sets.insert("ipv6-only", Members::of_prefixes([network("2001:db8:6::/48")]));
    sets.insert("web", Members::of_ports(vec![80..=80, 443..=443]));
    sets.insert("empty", Members::Empty);
    sets
}

fn parse(text: &str) -> Result<(Match, Option<String>), Vec<String>> {
    let (ports, sets) = (ports(), sets());
    let outcome = parse_match(text, Names { ports: &ports, sets: &sets });
    outcome.map(|judged| (judged.condition, judged.idle)).map_err(|errors| {
        assert!(!errors.to_string().is_empty());
        let told = |error: &linecard_control::filter::MatchError| {
            let column = text[..error.span.start].chars().count() + 1;
            let marked = &text[error.span.clone()];
            format!("{column} `{marked}` {} → {}", error.message, error.help)
        };
        errors.errors.iter().map(told).collect()
    })
}

fn print(condition: &Match) -> String {
    MatchText { condition, ports: &ports() }.to_string()
}

fn prefixes(list: &[&str]) -> Prefixes {
    let mut prefixes = Prefixes::default();
    for text in list {
        match text.parse::<IpNet>().expect("a prefix") {
            IpNet::V4(network) => prefixes.ipv4.push(network.into()),
            IpNet::V6(network) => prefixes.ipv6.push(network.into()),
        }
    }
    prefixes
}

fn bytes(anchor: Anchor, offset: u16, value: &[u8], mask: &[u8]) -> BytesMatch {
    let pad = |of: &[u8]| std::array::from_fn(|at| of.get(at).copied().unwrap_or(0));
    let length = u8::try_from(value.len()).expect("16 at the most");
    BytesMatch { anchor, offset, length, value: pad(value), mask: pad(mask) }
}

/// A line and what changes in a match that asks for nothing.
type Meaning = (&'static str, fn(&mut Match));

const MEANINGS: &[Meaning] = &[
    ("", |_| {}),
    ("any", |_| {}),
    ("ipv4", |m| m.ipv4 = true),
    ("ipv6", |m| m.ipv6 = true),
    ("source 192.0.2.0/24", |m| m.source = prefixes(&["192.0.2.0/24"])),
    ("source 192.0.2.1", |m| m.source = prefixes(&["192.0.2.1/32"])),
    ("source {192.0.2.0/24,2001:db8::/32}", |m| {
        m.source = prefixes(&["192.0.2.0/24", "2001:db8::/32"]);
    }),
    ("destination { 10.1.0.0/16 , 10.0.0.0/16, 10.1.2.0/24 }", |m| {
        m.destination = prefixes(&["10.0.0.0/15"]);
    }),
    ("destination {198.51.100.0/24, @customers}", |m| {
        m.destination = prefixes(&["198.51.100.0/24", "203.0.113.0/24", "2001:db8:c::/48"]);
    }),
    ("tcp", |m| m.protocols = vec![6]),
    ("protocol {udp, 6, 200}", |m| m.protocols = vec![6, 17, 200]),
    ("protocol ipv6", |m| m.protocols = vec![41]),
    ("icmp", |m| m.protocols = vec![1]),
    ("destination-port 53", |m| m.destination_ports = vec![53..=53]),
    ("tcp destination-port {80, 443, 8000-8100, 81}", |m| {
        m.protocols = vec![6];
        m.destination_ports = vec![80..=81, 443..=443, 8000..=8100];
    }),
    ("source-port {@web, 8080} udp", |m| {
        m.protocols = vec![17];
        m.source_ports = vec![80..=80, 443..=443, 8080..=8080];
    }),
    ("icmp-type {echo-request, 13-14} icmp", |m| {
        m.protocols = vec![1];
        m.icmp_types = vec![8..=8, 13..=14];
    }),
    ("icmpv6 icmp-type echo-request", |m| {
        m.protocols = vec![58];
        m.icmp_types = vec![128..=128];
    }),
    ("icmp icmp-type destination-unreachable icmp-code fragmentation-needed", |m| {
        m.protocols = vec![1];
        m.icmp_types = vec![3..=3];
        m.icmp_codes = vec![4..=4];
    }),
    ("tcp tcp-flags syn,!ack", |m| {
        m.protocols = vec![6];
        m.tcp_flags = vec![Masked { value: 2, mask: 18 }];
    }),
    ("tcp tcp-flags {syn+!ack, rst}", |m| {
        m.protocols = vec![6];
        m.tcp_flags = vec![Masked { value: 4, mask: 4 }, Masked { value: 2, mask: 18 }];
    }),
    ("dscp {ef, af11, 0, cs6, 63}", |m| m.dscps = vec![0, 10, 46, 48, 63]),
    ("fragment any", |m| m.fragments = FRAGMENT_FIRST | FRAGMENT_LATER),
    ("fragment {none, first}", |m| m.fragments = FRAGMENT_NONE | FRAGMENT_FIRST),
    ("length {0-100, 1501-65535}", |m| m.lengths = vec![0..=100, 1501..=65535]),
    ("ttl 255", |m| m.ttls = vec![255..=255]),
    ("input {lan.100, eth0}", |m| m.in_ports = vec![PortId(0), PortId(2)]),
    ("vlan {none, 100-200}", |m| m.vlans = vec![0..=0, 100..=200]),
    ("flow-label 0x12345", |m| m.flow_labels = vec![Masked { value: 0x12345, mask: 0xf_ffff }]),
    ("flow-label 0x12000/0xff000 ipv6", |m| {
        m.ipv6 = true;
        m.flow_labels = vec![Masked { value: 0x12000, mask: 0xff000 }];
    }),
    ("bytes payload +2 0x0a00/0xff00 bytes layer4 +12 0x50/0xf0", |m| {
        m.bytes = vec![
            bytes(Anchor::Layer4, 12, &[0x50], &[0xf0]),
            bytes(Anchor::Payload, 2, &[0x0a, 0], &[0xff, 0]),
        ];
    }),
    ("state {established, related}", |m| {
        m.states = States { established: true, related: true, ..States::default() };
    }),
];

#[test]
fn a_line_means_what_it_says() {
    for (text, change) in MEANINGS {
        let mut expected = Match::default();
        change(&mut expected);
        assert_eq!(parse(text), Ok((expected.clone(), None)), "{text}");
        let printed = print(&expected);
        assert_eq!(parse(&printed), Ok((expected, None)), "{text} as {printed}");
    }
}

#[test]
fn a_match_has_one_text() {
    for (text, printed) in [
        ("", "any"),
        ("protocol 6 source 192.0.2.1", "tcp source 192.0.2.1/32"),
        (
            "destination-port {443,80} protocol {17,tcp}",
            "protocol {tcp, udp} destination-port {80, 443}",
        ),
        (
            "dscp 46 ttl 255 ipv4 icmp icmp-type 8",
            "ipv4 icmp icmp-type echo-request dscp ef ttl 255",
        ),
        (
            "protocol icmpv6 icmp-type 1 icmp-code 4",
            "icmpv6 icmp-type destination-unreachable icmp-code port-unreachable",
        ),
        ("tcp tcp-flags syn,!ack", "tcp tcp-flags syn+!ack"),
        ("fragment {later,first}", "fragment any"),
        ("input eth1 vlan 0", "input eth1 vlan none"),
        ("bytes layer3 +8 0xFf01", "bytes layer3 +8 0xff01"),
    ] {
        assert_eq!(print(&parse(text).expect(text).0), printed);
    }
}

/// Each line of the blocks marked `match`, and each example in the table of terms.
fn documented() -> Vec<&'static str> {
    let mut lines = Vec::new();
    let mut blocks = FILTER_MD.split("```match\n");
    blocks.next();
    for block in blocks {
        let block = block.split("```").next().expect("split gives one");
        lines.extend(block.lines().filter(|line| !line.trim().is_empty()));
    }
    for row in FILTER_MD.lines().filter(|line| line.starts_with("| `")) {
        let example = row.trim_end_matches('|').rsplit('|').next().expect("a cell");
        lines.extend(example.split('`').skip(1).step_by(2));
    }
    lines
}

#[test]
fn the_documented_lines_are_right() {
    let lines = documented();
    assert!(lines.len() > 25, "{} lines: the document was not read", lines.len());
    for line in lines {
        let (condition, idle) = parse(line).unwrap_or_else(|errors| panic!("{line}: {errors:#?}"));
        assert_eq!(idle, None, "{line}");
        assert_eq!(parse(&print(&condition)), Ok((condition, None)), "{line}");
    }
}
