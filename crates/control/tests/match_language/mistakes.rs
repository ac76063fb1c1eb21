//! What is refused, where and in which words.

use super::*;

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, refusals) in [
        // Syntax.
        ("prot tcp", &["1 `prot` unknown term `prot` → did you mean `protocol`?"][..]),
        ("sorce 192.0.2.1 tcp", &["1 `sorce` unknown term `sorce` → did you mean `source`?"]),
        ("saddr 10.0.0.0/8", &["1 `saddr` unknown term `saddr` → here it is `source PREFIX`"]),
        ("ct state new", &["1 `ct` unknown term `ct` → here it is `state {established, related}`"]),
        (
            "tcp counter",
            &[
                "5 `counter` unknown term `counter` → leave it out: each rule counts, see `linecard show filters`",
            ],
        ),
        ("tcp drop", &["5 `drop` unknown term `drop` → write action = \"drop\" beside the match"]),
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
    let expected = "unknown term `dport`\n  | tcp dport 80\n  |     ^^^^^\n  = help: here it is `destination-port`";
    assert!(shown.starts_with(expected), "{shown}");
}
