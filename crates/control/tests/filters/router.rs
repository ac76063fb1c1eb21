//! `filter` of `[router]`: what the router cannot have, and what is most likely not meant.

use super::{parse, warnings, with_rules};

/// Two ports, and a filter `own` of these rules stands at the router.
fn with_own(default: &str, rules: &str) -> String {
    let own =
        format!("[router]\nfilter = \"own\"\n[[filter]]\nname = \"own\"\ndefault = {default}\n");
    with_rules("") + &own + &format!("rules = [\n{rules}\n]\n")
}

#[test]
fn a_rule_that_the_router_cannot_have_is_refused_where_it_stands() {
    for (rule, what, help) in [
        ("match = \"tcp state established\", action = \"accept\"", "state", "tcp tcp-flags ack"),
        ("action = \"reject\"", "reject", "\"drop\""),
        ("match = \"ipv4\", action = \"redirect\", next_hop = \"192.0.2.1\"", "redirect", "accept"),
        ("action = \"accept\", police = \"p\"", "police", "[protection]"),
        ("action = \"accept\", dscp = \"ef\"", "dscp", "leave it out"),
        ("action = \"accept\", class = 1", "class", "leave it out"),
        ("action = \"accept\", mirror = \"eth1\"", "mirror", "tcpdump"),
        ("action = \"accept\", sample = 10", "sample", "show filters"),
        ("action = \"accept\", log = true", "log", "show filters"),
    ] {
        let police = "[[police]]\nname = \"p\"\nrate_packets_per_second = 1\nburst_packets = 1\n";
        let rules = format!("    {{ match = \"udp\", action = \"accept\" }},\n    {{ {rule} }},");
        let text = with_own("\"accept\"", &rules) + police;
        let line = 1 + text.lines().position(|line| line.contains(rule)).expect("it is there");
        let errors = parse(&text).expect_err("refused").to_string();
        for part in [&format!("{line}:5"), &format!("which has no `{what}`: "), help] {
            assert!(errors.contains(part), "{part}: {errors}");
        }
        // At a port it is right.
        parse(&text.replace("[router]\nfilter = \"own\"\n", "")).expect(rule);
    }
    let errors = parse(&with_own("\"reject\"", "")).expect_err("refused").to_string();
    assert!(errors.contains("filter own: the router has no `reject`"), "{errors}");
}

#[test]
fn a_filter_that_the_router_has_no_room_for_is_refused() {
    let rules = |count: u32| {
        let rule = |at| {
            format!("{{ match = \"source 10.{}.{}.1\", action = \"drop\" }},", at / 256, at % 256)
        };
        with_own("\"accept\"", &(0..count).map(rule).collect::<Vec<_>>().join("\n"))
    };
    parse(&rules(3_900)).expect("it fits");
    let errors = parse(&rules(7_000)).expect_err("refused").to_string();
    assert!(errors.contains("instructions, and 24000 fit"), "{errors}");
}

#[test]
fn a_filter_that_drops_neighbour_discovery_is_warned_of() {
    let warned = |default: &str, rule: &str| {
        let config = parse(&with_own(default, &format!("{{ {rule}, action = \"accept\" }}")));
        let all = warnings(&config.expect("right"));
        all.iter().any(|warning| warning.contains("neighbour discovery"))
    };
    for (default, rule, expected) in [
        ("\"accept\"", "match = \"tcp\"", false),
        ("\"drop\"", "match = \"tcp\"", true),
        ("\"drop\"", "match = \"icmp\"", true),
        ("\"drop\"", "match = \"ipv4\"", true),
        ("\"drop\"", "match = \"icmpv6 icmp-type 135\"", true),
        ("\"drop\"", "match = \"icmpv6\"", false),
        ("\"drop\"", "match = \"ipv6\"", false),
        ("\"drop\"", "match = \"icmpv6 icmp-type 133-137\"", false),
    ] {
        assert_eq!(warned(default, rule), expected, "{default}: {rule}");
    }
}
