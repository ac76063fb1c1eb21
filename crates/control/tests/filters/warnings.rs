//! Rules that never match, and what has no use.

use super::*;

#[test]
fn rules_that_never_match_are_named() {
    for (list, expected) in [
        (&["tcp", "tcp destination-port 22"][..], &["r1: rule r0 (line 10) before it takes"][..]),
        (&["tcp destination-port 22", "tcp"], &[]),
        (
            &["source 192.0.2.0/24", "udp source 192.0.2.7 destination 198.51.100.0/24"],
            &["r1: rule r0"],
        ),
        (&["", "ipv6"], &["r1: rule r0"]),
        (
            &["ipv4", "ipv6", "udp"],
            &["r2: rules r0 (line 10), r1 (line 11) before it together take"],
        ),
        (
            &[
                "destination 10.0.0.0/9",
                "ttl 1",
                "destination 10.128.0.0/9",
                "destination 10.0.0.0/8",
            ],
            &["r3: rules r0 (line 10), r2 (line 12) before it together take"],
        ),
        (
            &[
                "tcp destination-port 0-99",
                "tcp destination-port {100-200, 202}",
                "tcp destination-port 50-200",
            ],
            &["r2: rules r0 (line 10), r1 (line 11)"],
        ),
        (
            &[
                "tcp destination-port 0-99",
                "tcp destination-port 101-200",
                "tcp destination-port 50-200",
            ],
            &[],
        ),
        // A packet without ports is TCP too.
        (&["tcp destination-port 0-65535", "tcp"], &[]),
        (&["protocol {tcp, udp, sctp}", "destination-port 53"], &["r1: rule r0"]),
        (
            &["tcp tcp-flags syn", "tcp tcp-flags !syn", "tcp tcp-flags ack"],
            &["r2: rules r0 (line 10), r1"],
        ),
        (&["tcp tcp-flags syn", "tcp tcp-flags {syn+ack, syn+!ack}"], &["r1: rule r0"]),
        (&["state {new, established}", "state {related, invalid}", "ttl 3"], &["r2: rules r0"]),
        (&["fragment none", "fragment any", "dscp ef"], &["r2: rules r0"]),
        (&["length 0-1000", "length 1001-65535", "vlan 3"], &["r2: rules r0"]),
        (&["bytes layer3 +1 0xb8/0xfc", "bytes layer3 +0 0x45b8"], &["r1: rule r0"]),
        (&["bytes layer3 +0 0x45b8", "bytes layer3 +1 0xb8/0xfc"], &[]),
        (&["flow-label 0x12000/0xff000", "flow-label 0x12345"], &["r1: rule r0"]),
        (&["input {eth0, eth1}", "input eth1"], &["r1: rule r0"]),
        (&["input eth0", "input eth1", "input {eth0, eth1} udp"], &["r2: rules r0 (line 10), r1"]),
        // The first that does alone is named, and several only when none does.
        (&["ipv4", "tcp", "ipv6", "tcp ipv4"], &["r3: rule r0"]),
        (&["icmp icmp-type 8", "icmp icmp-type echo-request icmp-code 0"], &["r1: rule r0"]),
    ] {
        let rule = |(at, text): (usize, &&str)| {
            format!("    {{ name = \"r{at}\", match = \"{text}\", action = \"drop\" }},\n")
        };
        let rules: String = list.iter().enumerate().map(rule).collect();
        let config = parse(&with_rules(&format!("rules = [\n{rules}]\n"))).expect("right");
        let found: Vec<String> = config.warnings.iter().map(|w| w.message.clone()).collect();
        assert_eq!(found.len(), expected.len(), "{list:?}: {found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            let expected = format!("rule {}", expected.replacen(": ", " never matches: ", 1));
            assert!(found.starts_with(&expected), "{list:?}: {found}");
        }
    }
}

#[test]
fn rules_that_go_on_cover_nothing() {
    let text = with_rules(
        r#"rules = [
    { match = "tcp", action = "continue", log = true },
    { match = "tcp", action = "accept" },
    { match = "tcp", action = "continue", log = true },
]
"#,
    );
    let found = warnings(&parse(&text).expect("right"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("12:15 `\"tcp\"` rule continue-"), "{found:?}");
    assert!(found[0].contains(" never matches: rule accept-"), "{found:?}");
}

#[test]
fn what_has_no_use_is_warned_of() {
    let text = with_rules(
        "rules = [{ name = \"r\", match = \"source @none\", action = \"drop\" }]\n\
         [[set]]\nname = \"none\"\nprefixes = []\n[[filter]]\nname = \"g\"\ndefault = \"drop\"\n",
    );
    let config = parse(&text).expect("right");
    assert_eq!(
        warnings(&config),
        [
            "9:32 `\"source @none\"` rule r matches nothing now: the sets of `source` are empty",
            "14:8 `\"g\"` filter g is attached to nothing",
        ]
    );
    assert_eq!(rules(&config), []);
    let shown = config.warnings[1].to_string();
    let expected = "warning: filter g is attached to nothing\n  --> /etc/linecard/test.toml:14:8\n   |\n\
                    14 | name = \"g\"\n   |        ^^^\n  = help: filter_in";
    assert!(shown.starts_with(expected), "{shown}");
}

/// Ten thousand rules of each kind of list are judged while a reader waits: unoptimised too.
#[test]
fn ten_thousand_rules_are_judged_soon() {
    type Line = fn(u32) -> String;
    let kinds: [(&str, Line); 4] = [
        ("hosts", |n| {
            format!("tcp source 10.{}.{}.0/24 destination 192.0.2.{}", n >> 8, n & 255, n % 251)
        }),
        ("ports", |n| format!("tcp destination-port {}", n + 1)),
        ("services", |n| {
            format!("tcp destination 10.{}.{}.1 destination-port {}", n >> 8, n & 255, n % 97)
        }),
        ("lists", |n| {
            let prefixes: Vec<String> =
                (0..4).map(|m| format!("10.{}.{}.{m}", n >> 8, n & 255)).collect();
            format!(
                "udp source {{{}}} destination-port {{53, {}-{}}}",
                prefixes.join(", "),
                n + 100,
                n + 109
            )
        }),
    ];
    let ranges: (&str, Line) = ("ranges", |n| format!("tcp destination-port {}-{}", n + 1, n + 50));
    for (kind, line) in kinds.into_iter().chain([ranges]) {
        let rule = |n| format!("{{ match = \"{}\", action = \"accept\" }},\n", line(n));
        let list: String = (0..10_000).map(rule).collect();
        let text = with_rules(&format!("rules = [\n{list}]\n"));
        let start = Instant::now();
        let config = parse(&text).expect("right");
        let took = start.elapsed();
        assert_eq!(rules(&config).len(), 10_000);
        assert_eq!(config.warnings, [], "{kind}");
        println!("{kind}: {took:?}");
        assert!(took < Duration::from_secs(30), "{kind}: {took:?}");
    }
}
