//! The match language as its users see it: what a line means, what is refused, where and in which
//! words, and that every match has a text.

use std::ops::RangeInclusive;

use ipnet::IpNet;
use linecard_control::filter::{MatchText, Members, Names, Sets, parse_match};
use linecard_packet::PortId;
use linecard_services::filter::{
    Anchor, BytesMatch, FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Masked, Match, Prefixes,
    States,
};
use proptest::prelude::*;

const FILTER_MD: &str = include_str!("../../../docs/filter.md");

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

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, refusals) in [
        // Syntax.
        ("prot tcp", &["1 `prot` unknown term `prot` → did you mean `protocol`?"][..]),
        ("sorce 192.0.2.1 tcp", &["1 `sorce` unknown term `sorce` → did you mean `source`?"]),
        ("tcp and udp", &["5 `and` unknown term `and` → leave it out: all terms must hold"]),
        ("source", &["1 `source` `source` has no value → such as: source 192.0.2.0/24"]),
        (
            "source destination 192.0.2.1",
            &["1 `source` `source` has no value → such as: source 192.0.2.0/24"],
        ),
        (
            "tcp tcp-flags",
            &["5 `tcp-flags` `tcp-flags` has no value → such as: tcp-flags syn+!ack"],
        ),
        ("ttl {}", &["5 `{}` an empty list → a value, such as: ttl 255"]),
        ("ttl {1, 2", &["5 `{` this list has no end → `}` behind its last value"]),
        (
            "ttl {1 2}",
            &[
                "8 `2` a comma must stand here → a comma between values, `}` behind the last: {a, b}",
            ],
        ),
        ("ttl {1,}", &["8 `}` a value must stand here → no comma before `}`"]),
        ("ttl 1,2", &["6 `,` a list without braces → several values: {a, b}"]),
        ("} tcp", &["1 `}` a keyword must stand here → a term, such as: protocol tcp"]),
        // Values.
        (
            "destination-port 9-8 tcp",
            &["18 `9-8` the range 9-8 is empty → the smaller number first: 8-9"],
        ),
        ("destination-port 65536", &["18 `65536` 65536 is out of range → 0 to 65535"]),
        ("ttl 256", &["5 `256` 256 is out of range → 0 to 255"]),
        ("vlan 4096", &["6 `4096` 4096 is out of range → 0 to 4095"]),
        ("dscp 64", &["6 `64` 64 is out of range → 0 to 63"]),
        ("dscp af14", &["6 `af14` `af14` is no DSCP → did you mean `af11`?"]),
        ("protocol tpc", &["10 `tpc` `tpc` is no protocol → did you mean `tcp`?"]),
        (
            "source {10.0.0.0/8, 192.0.2.1/24}",
            &[
                "21 `192.0.2.1/24` `192.0.2.1/24` has bits set behind its prefix length → did you mean \
               192.0.2.0/24? (one host is 192.0.2.1)",
            ],
        ),
        (
            "source 192.0.2.0/33",
            &["8 `192.0.2.0/33` `33` is no prefix length → a length from 0 to 32"],
        ),
        ("tcp tcp-flags sny", &["15 `sny` `sny` is no TCP flag → did you mean `syn`?"]),
        (
            "tcp tcp-flags syn,!syn",
            &[
                "15 `syn,!syn` `syn+!syn` wants `syn` set and not set: no packet matches → name each flag \
               once",
            ],
        ),
        (
            "fragment middle",
            &[
                "10 `middle` `middle` is no kind of fragment → none (not a fragment), first, later, or any (first or later)",
            ],
        ),
        ("flow-label 0x100000", &["12 `0x100000` `0x100000` has more than 20 bits → 0 to 0xfffff"]),
        (
            "flow-label 0x3/0x1",
            &[
                "12 `0x3/0x1` `0x3/0x1` has bits outside of its mask: no packet matches → did you mean 0x1/0x1?",
            ],
        ),
        (
            "bytes layer5 +0 0x00",
            &["7 `layer5` `layer5` is nothing to count bytes from → layer3, layer4 or payload"],
        ),
        (
            "bytes layer3 0x00",
            &["14 `0x00` `0x00` is no offset → bytes behind the anchor, such as +12"],
        ),
        (
            "bytes layer3 +1",
            &["1 `bytes layer3 +1` `bytes` is incomplete → such as: bytes layer4 +12 0x50/0xf0"],
        ),
        (
            "bytes layer3 +1 0x0",
            &["17 `0x0` `0x0` has 1 digits → 0x and two digits for each of 1 to 16 bytes"],
        ),
        (
            "bytes layer3 +1 0x00/0xffff",
            &[
                "17 `0x00/0xffff` 1 bytes under a mask of 2 → as many digits in the mask as in the value",
            ],
        ),
        // Names.
        (
            "source @custmers",
            &["8 `@custmers` there is no set `custmers` → did you mean `@customers`?"],
        ),
        ("source @web", &["8 `@web` set `web` holds ports → a set of prefixes"]),
        ("input eth7", &["7 `eth7` there is no port eth7 → one of: eth0, eth1, lan.100"]),
        (
            "icmp icmp-type packet-too-big",
            &[
                "16 `packet-too-big` `packet-too-big` is no ICMP type of this protocol → a number from 0 to 255, or one of: echo-reply, destination-unreachable, source-quench, redirect, echo-request, router-advertisement, router-solicitation, time-exceeded, parameter-problem, timestamp-request, timestamp-reply, information-request, information-reply, address-mask-request, address-mask-reply",
            ],
        ),
        (
            "icmp icmp-code port-unreachable",
            &[
                "16 `port-unreachable` `port-unreachable` is a code of type 3 alone → with: icmp-type 3; or a number",
            ],
        ),
    ] {
        assert_eq!(parse(text), Err(refusals.iter().map(|&r| r.to_owned()).collect()), "{text}");
    }
}

#[test]
fn what_no_packet_can_match_is_refused() {
    for (text, start) in [
        ("icmp destination-port 53", "6 `destination-port 53` icmp has no ports → "),
        ("protocol {tcp, gre} source-port 1", "21 `source-port 1` gre has no ports → "),
        ("destination-port 53 protocol 99", "1 `destination-port 53` protocol 99 has no ports → "),
        ("tcp-flags syn", "1 `tcp-flags syn` TCP flags of a packet that need not be TCP → "),
        ("udp tcp-flags syn", "5 `tcp-flags syn` udp has no TCP flags → "),
        ("icmp-type 8", "1 `icmp-type 8` an ICMP type or code without its protocol → "),
        ("tcp icmp-type 8", "5 `icmp-type 8` an ICMP type or code of other protocols → "),
        ("protocol {icmp, icmpv6} icmp-type 8", "25 `icmp-type 8` an ICMP type or code of other"),
        ("ipv6 icmp icmp-type 8", "6 `icmp` `icmp` is of IPv4 here and `ipv6` of IPv6 → "),
        ("icmpv6 source 192.0.2.1", "8 `source 192.0.2.1` `source` is of IPv4 here and `icmpv6`"),
        (
            "source 192.0.2.0/24 destination 2001:db8::/32",
            "21 `destination 2001:db8::/32` `destination` is of IPv6 here and `source` of IPv4 → ",
        ),
        ("ipv4 flow-label 1", "6 `flow-label 1` `flow-label` is of IPv6 here and `ipv4` of IPv4"),
        ("ipv4 ipv6", "6 `ipv6` `ipv6` behind `ipv4`: all terms must hold → leave both out"),
        ("tcp udp", "5 `udp` `udp` behind `tcp`: all terms must hold → several of them: protocol"),
        ("ttl 1 ttl 2", "7 `ttl 2` `ttl` behind `ttl`: all terms must hold → one range: ttl 2-254"),
        (
            "fragment later tcp source-port 1",
            "20 `source-port 1` `source-port` of a later fragment",
        ),
        (
            "fragment later bytes layer4 +0 0x00",
            "16 `bytes layer4 +0 0x00` `bytes` of a later frag",
        ),
        ("length 0-19", "1 `length 0-19` no IP packet is shorter than 20 bytes → "),
        ("ipv6 length 0-39", "6 `length 0-39` no IPv6 packet is shorter than 40 bytes → "),
        (
            "bytes layer4 +0 0x0102 bytes layer4 +1 0x03",
            "24 `bytes layer4 +1 0x03` these bytes must be something else by an earlier term → ",
        ),
        ("tcp state related", "5 `state related` only an ICMP error is related to a connection → "),
    ] {
        let refusals = parse(text).expect_err(text);
        assert_eq!(refusals.len(), 1, "{text}: {refusals:?}");
        assert!(refusals[0].starts_with(start), "{text}: {}", refusals[0]);
    }
}

#[test]
fn all_mistakes_of_a_line_are_told_at_once() {
    let refusals = parse("sorce 192.0.2.1 ttl 300 tcp length {1-0, x} vlan 1").expect_err("wrong");
    let places: Vec<&str> =
        refusals.iter().map(|line| line.split(' ').next().expect("a column")).collect();
    assert_eq!(places, ["1", "21", "37", "42"], "{refusals:#?}");
    let refusals = parse("udp tcp-flags syn icmp-type 1").expect_err("wrong");
    assert_eq!(refusals.len(), 2, "{refusals:#?}");
}

/// What a set holds is not the rule's mistake.
#[test]
fn a_set_can_leave_a_rule_without_packets() {
    for (text, reason) in [
        ("source @empty", "the sets of `source` are empty"),
        ("tcp destination-port {@empty}", "the sets of `destination-port` are empty"),
        ("ipv4 source @ipv6-only", "its sets hold no prefix of its family"),
        ("source 192.0.2.1 destination @ipv6-only", "its sets hold no prefix of its family"),
    ] {
        assert_eq!(parse(text).expect(text).1.as_deref(), Some(reason), "{text}");
    }
    assert_eq!(parse("source {@empty, 192.0.2.1}").expect("right").1, None);
}

#[test]
fn an_expression_of_the_command_line_is_shown_with_its_mistakes() {
    let (ports, sets) = (ports(), sets());
    let names = Names { ports: &ports, sets: &sets };
    let shown = parse_match("tcp\tdport 80", names).expect_err("wrong").to_string();
    let expected =
        "unknown term `dport`\n  | tcp dport 80\n  |     ^^^^^\n  = help: known here: any";
    assert!(shown.starts_with(expected), "{shown}");
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

fn ranges<T>(max: T) -> impl Strategy<Value = Vec<RangeInclusive<T>>>
where
    T: Copy + Ord + std::fmt::Debug + Arbitrary + 'static,
{
    let pair = (any::<T>(), any::<T>()).prop_map(move |(a, b)| {
        let (a, b) = (a.min(max), b.min(max));
        a.min(b)..=a.max(b)
    });
    proptest::collection::vec(pair, 1..4)
}

fn list<T: std::fmt::Display>(keyword: &str, values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    format!("{keyword} {{{}}}", texts.join(", "))
}

fn range_list<T: std::fmt::Display>(keyword: &str, ranges: &[RangeInclusive<T>]) -> String {
    let text = |range: &RangeInclusive<T>| format!("{}-{}", range.start(), range.end());
    list(keyword, &ranges.iter().map(text).collect::<Vec<_>>())
}

fn network() -> impl Strategy<Value = IpNet> {
    let ipv4 = (any::<u32>(), 0u8..=32).prop_map(|(bits, length)| {
        IpNet::new(std::net::Ipv4Addr::from_bits(bits).into(), length).expect("a length").trunc()
    });
    let ipv6 = (any::<u128>(), 0u8..=128).prop_map(|(bits, length)| {
        IpNet::new(std::net::Ipv6Addr::from_bits(bits).into(), length).expect("a length").trunc()
    });
    prop_oneof![ipv4, ipv6]
}

fn term() -> impl Strategy<Value = String> {
    let networks = || proptest::collection::vec(network(), 1..5);
    let flags = proptest::sample::subsequence(
        vec!["fin", "!syn", "rst", "!psh", "ack", "urg", "!ece", "cwr"],
        1..8,
    );
    prop_oneof![
        proptest::sample::select(MEANINGS).prop_map(|(text, _)| text.to_owned()),
        networks().prop_map(|list| self::list("source", &list)),
        networks().prop_map(|list| self::list("destination", &list)),
        ranges(u16::MAX).prop_map(|ranges| range_list("source-port", &ranges)),
        ranges(u16::MAX).prop_map(|ranges| range_list("destination-port", &ranges)),
        ranges(u16::MAX).prop_map(|ranges| range_list("length", &ranges)),
        ranges(u8::MAX).prop_map(|ranges| range_list("ttl", &ranges)),
        ranges(4095u16).prop_map(|ranges| range_list("vlan", &ranges)),
        proptest::collection::vec(any::<u8>(), 1..5).prop_map(|list| self::list("protocol", &list)),
        proptest::collection::vec(0u8..64, 1..5).prop_map(|list| self::list("dscp", &list)),
        flags.prop_map(|flags| format!("tcp tcp-flags {{{}, !syn}}", flags.join("+"))),
        ranges(u8::MAX).prop_map(|ranges| format!("icmp {}", range_list("icmp-type", &ranges))),
        ranges(u8::MAX).prop_map(|ranges| format!("icmpv6 {}", range_list("icmp-code", &ranges))),
        (any::<u32>(), 1u32..0x10_0000)
            .prop_map(|(value, mask)| { format!("flow-label {:#x}/{mask:#x}", value & mask) }),
        (0u16..2000, proptest::collection::vec((any::<u8>(), 1u8..), 1..16)).prop_map(
            |(offset, bytes)| {
                let value: String =
                    bytes.iter().map(|(value, mask)| format!("{:02x}", value & mask)).collect();
                let mask: String = bytes.iter().map(|(_, mask)| format!("{mask:02x}")).collect();
                format!("bytes layer3 +{offset} 0x{value}/0x{mask}")
            }
        ),
    ]
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        drop(parse(&text));
    }

    #[test]
    fn no_line_of_known_words_panics(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "source", "destination", "tcp", "protocol", "tcp-flags", "bytes", "layer4", "+1",
                "0x00", "{", "}", ",", "@customers", "@empty", "80", "1-0", "icmp-type", "ttl",
                "192.0.2.0/24", "2001:db8::/32", "syn", "!ack", "é", "input", "eth0", "state",
            ]),
            0..12,
        )
    ) {
        drop(parse(&words.join(" ")));
        drop(parse(&words.concat()));
    }

    /// Whatever line is right, its match has a text that means the same.
    #[test]
    fn what_is_printed_means_the_same(terms in proptest::collection::vec(term(), 1..5)) {
        if let Ok((condition, None)) = parse(&terms.join(" ")) {
            let printed = print(&condition);
            prop_assert_eq!(parse(&printed), Ok((condition.clone(), None)), "{}", printed);
            prop_assert_eq!(print(&parse(&printed).expect("right").0), printed);
        }
    }

    /// Alone most terms are right, so that the property above is not empty.
    #[test]
    fn a_term_alone_means_the_same(term in term()) {
        let (condition, idle) = parse(&term).unwrap_or_else(|errors| panic!("{term}: {errors:?}"));
        prop_assert_eq!(parse(&print(&condition)), Ok((condition, idle)));
    }
}
