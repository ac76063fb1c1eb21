//! `[[filter]]`, `[[set]]`, `[[police]]` and what they are attached to, as their users see them.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use linecard_control::config::{
    self, Config, Errors, Marker, MartianFilter, PolicePer, PoliceUnit, ReversePath,
};
use linecard_packet::PortId;
use linecard_services::filter::{Action, Rule};

const PORTS: &str = "[[port]]\nname = \"eth0\"\nfilter_in = \"f\"\n[[port]]\nname = \"eth1\"\n";

fn parse_with(text: &str, files: &[(&str, &str)]) -> Result<Config, Errors> {
    let files: HashMap<&str, &str> = files.iter().copied().collect();
    config::parse_with(text, Path::new("/etc/linecard/test.toml"), |path| {
        let name = path.strip_prefix("/etc/linecard").expect("beside the file");
        let text = name.to_str().and_then(|name| files.get(name));
        text.map(|&text| text.to_owned()).ok_or(io::Error::from(io::ErrorKind::NotFound))
    })
}

fn parse(text: &str) -> Result<Config, Errors> {
    parse_with(text, &[])
}

/// A filter `f` with these rules, the first of them in line 9.
fn with_rules(rules: &str) -> String {
    format!("{PORTS}[[filter]]\nname = \"f\"\ndefault = \"drop\"\n{rules}")
}

fn told(place: Option<&config::Place>, message: &str) -> String {
    let place = place.map_or("-".to_owned(), |place| {
        let file =
            place.file.as_deref().map_or(String::new(), |file| format!("{}:", file.display()));
        format!("{file}{}:{} `{}`", place.line, place.column, place.text)
    });
    format!("{place} {message}")
}

fn refusals(outcome: Result<Config, Errors>) -> Vec<String> {
    let errors = outcome.expect_err("the file is wrong");
    assert!(!errors.to_string().is_empty());
    errors.errors.iter().map(|error| told(error.place.as_ref(), &error.message)).collect()
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(|w| told(w.place.as_ref(), &w.message)).collect()
}

fn rules(config: &Config) -> Vec<Rule> {
    config.filters.filters()[0].resolved().rules
}

#[test]
fn a_rule_says_all_that_it_can() {
    let text = with_rules(
        r#"rules = [
    { name = "all", match = "ipv4 tcp", action = "redirect", next_hop = "192.0.2.9", police = "p",
      dscp = "af11", class = 7, mirror = "eth1", sample = 1000, log = true },
    { action = "reject" },
]
[[police]]
name = "q"
rate_packets_per_second = 1
burst_packets = 1
[[police]]
name = "p"
rate_bits_per_second = 64_000
burst_bytes = 1500
[router]
filter = "f"
"#,
    )
    .replace(
        "name = \"eth1\"",
        "name = \"eth1\"\nreverse_path = \"loose\"\nmartians = \"special\"",
    );
    let config = parse(&text).expect("right");
    assert_eq!(warnings(&config), [""; 0]);
    let filter = config.filters.filters()[0].resolved();
    assert_eq!((filter.name.as_str(), filter.default), ("f", Action::Drop));
    let rule = &filter.rules[0];
    let next_hop = "192.0.2.9".parse().expect("an address");
    assert_eq!((rule.name.as_str(), rule.action), ("all", Action::Redirect(next_hop)));
    assert_eq!((rule.policer, rule.set_dscp, rule.set_class), (Some(1), Some(10), Some(7)));
    let rest = (rule.mirror_to, rule.sample_one_in, rule.log);
    assert_eq!(rest, (Some(PortId(1)), 1000, true));
    assert_eq!(filter.rules[1].action, Action::Reject);
    assert_eq!(config.router.filter, Some(0));
    let [eth0, eth1] = &config.ports[..] else { panic!("two ports") };
    assert_eq!((eth0.services.filter_in, eth0.services.filter_out), (Some(0), None));
    assert_eq!(eth0.services.reverse_path, ReversePath::Off);
    assert_eq!(eth1.services.reverse_path, ReversePath::Loose);
    assert_eq!(eth1.services.martians, MartianFilter::Special);
}

/// Inside the match too, whatever kind of string it stands in.
#[test]
fn mistakes_point_into_the_match() {
    let found = refusals(parse(&with_rules(
        r#"rules = [
    { match = "tcp ttl 256", action = "drop" },
    { match = 'udp tcp-flags syn', action = "drop" },
    { match = """
ipv4 \
  source 192.0.2.1/24""", action = "drop" },
    { match = "tcp\u0020\u0020prot 6", action = "drop" },
    { match = "icmp destination-port 53", action = "drop" },
    { match = "udp destination-port 9-8", action = "drop" },
]
"#,
    )));
    assert_eq!(
        found,
        [
            "10:24 `256` 256 is out of range",
            "11:20 `tcp-flags syn` udp has no TCP flags",
            "14:10 `192.0.2.1/24` `192.0.2.1/24` has bits set behind its prefix length",
            "15:31 `prot` unknown term `prot`",
            "16:21 `destination-port 53` icmp has no ports",
            "17:37 `9-8` the range 9-8 is empty",
        ]
    );
}

#[test]
fn wrong_rules_are_refused() {
    for (rule, refusal) in [
        ("action = \"redirect\"", "9:21 `\"redirect\"` a redirection without a next hop"),
        (
            "action = \"redirect\", next_hop = \"192.0.2.1\"",
            "9:44 `\"192.0.2.1\"` IPv6 packets match too, and 192.0.2.1 is no next hop for them",
        ),
        (
            "action = \"accept\", next_hop = \"192.0.2.1\"",
            "9:42 `\"192.0.2.1\"` a next hop of a rule that does not redirect",
        ),
        ("action = \"drop\", dscp = \"ef\"", "9:36 `\"ef\"` `dscp` of packets that the rule drops"),
        ("action = \"accept\", dscp = \"64\"", "9:38 `\"64\"` 64 is out of range"),
        ("action = \"accept\", class = 8", "9:39 `8` class is out of range: 8"),
        ("action = \"accept\", sample = 0", "9:40 `0` sample is out of range: 0"),
        ("action = \"accept\", police = \"p\"", "9:40 `\"p\"` there is no policer p"),
        ("action = \"accept\", mirror = \"eth9\"", "9:40 `\"eth9\"` there is no port eth9"),
        ("action = \"accept\", name = \"a b\"", "9:38 `\"a b\"` `a b` is no name of a rule"),
        ("action = \"accpet\"", "9:21 `\"accpet\"` unknown value `accpet`"),
        ("action = \"drop\", mach = \"tcp\"", "9:29 `mach` unknown key `mach`"),
    ] {
        let text = with_rules(&format!("rules = [{{ {rule} }}]\n"));
        assert_eq!(refusals(parse(&text)), [refusal], "{rule}");
    }
    let twice = "rules = [{ name = \"a\", match = \"tcp\", action = \"drop\" }, \
                 { name = \"a\", action = \"drop\" }]\n";
    assert_eq!(
        refusals(parse(&with_rules(twice))),
        ["9:67 `\"a\"` rule a stands here a second time"]
    );
    let nobody = with_rules("[router]\nfilter = \"g\"\n");
    assert_eq!(refusals(parse(&nobody)), ["10:10 `\"g\"` there is no filter g"]);
}

/// A name from the content stays when others come before it.
#[test]
fn names_survive_an_insertion() {
    let names = |list: &str| -> Vec<String> {
        let config = parse(&with_rules(&format!("rules = [{list}]\n"))).expect("right");
        rules(&config).into_iter().map(|rule| rule.name).collect()
    };
    let (ssh, web) = (
        r#"{ match = "tcp destination-port {22}", action = "drop" }"#,
        r#"{ match = "tcp destination-port 80", action = "accept" }"#,
    );
    let spaced = r#"{ match = " tcp  destination-port { 22 }", action = "drop" }"#;
    let before = names(&format!("{ssh}, {web}"));
    assert_eq!(
        names(&format!("{{ match = \"udp\", action = \"drop\" }}, {spaced}, {web}"))[1..],
        before
    );
    assert!(before[0].starts_with("drop-") && before[1].starts_with("accept-"), "{before:?}");
    let twice = names(&format!("{ssh}, {spaced}"));
    assert_eq!(twice, [before[0].clone(), format!("{}-2", before[0])]);
    // A release that named rules otherwise would begin all counters anew.
    assert_eq!(before[1], "accept-905da84b");
}

#[test]
fn sets_come_from_the_file_or_files_of_their_own() {
    let text = with_rules(
        r#"rules = [{ match = "tcp source @a destination @b destination-port @c", action = "drop" }]
[[set]]
name = "a"
file = "a.prefixes"
[[set]]
name = "b"
prefixes = ["192.0.2.0/25", "192.0.2.128/25", "2001:db8::1"]
[[set]]
name = "c"
ports = [81, "82-90", 80]
"#,
    );
    let config = parse_with(&text, &[("a.prefixes", "10.0.0.0/8 # ours\n")]).expect("right");
    let condition = &rules(&config)[0].condition;
    assert_eq!(format!("{:?}", condition.source.ipv4), "[10.0.0.0/8]");
    assert_eq!(format!("{:?}", condition.destination.ipv4), "[192.0.2.0/24]");
    assert_eq!(condition.destination_ports, [80..=90]);

    let wrong = [("a.prefixes", "10.0.0.0/8\n\n  10.0.0.1/8 #\nhost\n")];
    let broken =
        text.replace("81, \"82-90\"", "70000, \"9-8\"").replace("/25\", \"192", "/24\", \"x192");
    let place = "/etc/linecard/a.prefixes:";
    assert_eq!(
        refusals(parse_with(&broken, &wrong)),
        [
            "15:29 `\"x192.0.2.128/25\"` `x192.0.2.128/25` is no IP prefix".to_owned(),
            "18:10 `70000` 70000 is out of range".to_owned(),
            "18:17 `\"9-8\"` the range 9-8 is empty".to_owned(),
            format!("{place}3:3 `10.0.0.1/8` `10.0.0.1/8` has bits set behind its prefix length"),
            format!("{place}4:1 `host` `host` is no IP prefix"),
        ]
    );
    let shown = parse_with(&broken, &wrong).expect_err("wrong").to_string();
    assert!(
        shown.contains(
            " --> /etc/linecard/a.prefixes:3:3\n  |\n3 |   10.0.0.1/8 #\n  |   ^^^^^^^^^^"
        ),
        "{shown}"
    );

    let missing = refusals(parse(&text));
    let start = "12:8 `\"a.prefixes\"` cannot read /etc/linecard/a.prefixes: ";
    assert!(missing.len() == 1 && missing[0].starts_with(start), "{missing:?}");
    let both = text.replace("ports = [", "prefixes = []\nports = [");
    assert_eq!(
        refusals(parse_with(&both, &[("a.prefixes", "")])),
        ["17:8 `\"c\"` set c needs its members once"]
    );
}

#[test]
fn a_set_is_read_again_alone() {
    let text = format!(
        "{PORTS}filter_in = \"g\"\nfilter_out = \"h\"\n{}",
        r#"[[set]]
name = "a"
file = "a"
[[filter]]
name = "f"
default = "drop"
rules = [{ name = "x", match = "source @a", action = "accept" }]
[[filter]]
name = "g"
default = "drop"
rules = [{ match = "source 10.0.0.0/8", action = "accept" }]
[[filter]]
name = "h"
default = "drop"
rules = [{ match = "udp", action = "drop" }, { match = "ipv4 destination @a", action = "accept" }]
"#
    );
    let mut config = parse_with(&text, &[("a", "192.0.2.0/24")]).expect("right");
    let filters = &mut config.filters;
    let files: Vec<&str> = filters.set_files().iter().map(|file| file.name.as_str()).collect();
    assert_eq!(files, ["a"]);
    let before = filters.clone();
    let mut reload = |text: &'static str| {
        let changed = filters.reload_set_with("a", |_| Ok(text.to_owned()));
        changed.map(|changed| (changed, filters.clone()))
    };
    let (changed, now) = reload("192.0.2.0/25\n192.0.2.128/25").expect("right");
    assert_eq!((changed, now.filters()), (vec![], before.filters()), "said in other words");
    let (changed, now) = reload("198.51.100.0/24\n192.0.2.0/24").expect("right");
    assert_eq!(changed, [0, 2]);
    assert_eq!(now.filters()[0].resolved().rules[0].condition.source.ipv4.len(), 2);

    let (changed, now) = reload("2001:db8::/32").expect("right");
    assert_eq!(changed, [0, 2]);
    assert_eq!(now.filters()[2].resolved().rules.len(), 1, "an IPv4 rule without IPv4 prefix");
    let idle = now.filters()[2].rules[1].idle.as_deref();
    assert_eq!(idle, Some("its sets hold no prefix of its family"));

    let (changed, now) = reload("# nobody").expect("right");
    assert_eq!(changed, [0, 2]);
    assert_eq!(now.filters()[0].resolved().rules, []);

    let errors = reload("192.0.2.0/24\n1.2.3").expect_err("wrong");
    assert_eq!((errors.path.to_str(), errors.errors.len()), (Some("/etc/linecard/a"), 1));
    assert_eq!(
        errors.errors[0].place.as_ref().map(|place| (place.line, place.column)),
        Some((2, 1))
    );
    let errors = reload("443").expect_err("wrong").to_string();
    assert!(errors.contains("rule x of filter f: set `a` holds ports"), "{errors}");
    let (changed, _) = reload("198.51.100.0/24\n192.0.2.0/24").expect("right");
    assert_eq!(changed, [0, 2], "what was refused changed nothing");
    assert_eq!(filters.reload_set_with("b", |_| Ok(String::new())), Ok(vec![]));
}

#[test]
fn policers_take_what_their_algorithm_takes() {
    let policer = |keys: &str| {
        let text = format!("[[port]]\nname = \"eth0\"\n[[police]]\nname = \"p\"\n{keys}\n");
        parse(&text).map(|config| config.policers[0].clone())
    };
    let one = policer("rate_bits_per_second = 64000\nburst_bytes = 1500").expect("right");
    let marker =
        Marker::SingleRate { committed_rate: 64_000, committed_burst: 1500, excess_burst: 0 };
    assert_eq!((one.marker, one.unit, one.per), (marker, PoliceUnit::Bits, PolicePer::Rule));
    let two = policer(
        "algorithm = \"trtcm\"\nrate_packets_per_second = 10\nburst_packets = 5\n\
         peak_rate_packets_per_second = 20\npeak_burst_packets = 6\ncolour_aware = true\n\
         per = \"source-prefix/24/64\"\nyellow_dscp = \"af12\"",
    )
    .expect("right");
    let marker =
        Marker::TwoRate { committed_rate: 10, committed_burst: 5, peak_rate: 20, peak_burst: 6 };
    assert_eq!((two.marker, two.unit, two.colour_aware), (marker, PoliceUnit::Packets, true));
    let per = PolicePer::SourcePrefix { ipv4_length: 24, ipv6_length: 64 };
    assert_eq!((two.per, two.yellow_dscp), (per, Some(12)));

    for (keys, refusal) in [
        ("", "4:8 `\"p\"` policer p has no rate"),
        ("rate_bits_per_second = 8", "4:8 `\"p\"` policer p needs `burst_bytes`"),
        (
            "rate_bits_per_second = 8\nburst_packets = 9\nburst_bytes = 64",
            "6:17 `9` `burst_packets` beside a rate in another unit",
        ),
        (
            "rate_bits_per_second = 8\nrate_packets_per_second = 9\nburst_bytes = 64",
            "6:27 `9` a second committed rate",
        ),
        (
            "rate_bits_per_second = 7\nburst_bytes = 64",
            "5:24 `7` rate_bits_per_second is out of range: 7",
        ),
        (
            "rate_bits_per_second = 8\nburst_bytes = 64\npeak_burst_bytes = 64",
            "7:20 `64` srtcm takes no `peak_burst_bytes`",
        ),
        (
            "algorithm = \"trtcm\"\nrate_bits_per_second = 9\nburst_bytes = 64\n\
             peak_rate_bits_per_second = 8\npeak_burst_bytes = 64",
            "8:29 `8` the peak rate is below the committed rate, which it includes",
        ),
        (
            "rate_bits_per_second = 8\nburst_bytes = 64\nper = \"source-prefix/33\"",
            "7:7 `\"source-prefix/33\"` `source-prefix/33` is nothing to have a meter each",
        ),
    ] {
        let errors = policer(keys).map(|_| ()).expect_err(keys);
        let found: Vec<String> =
            errors.errors.iter().map(|e| told(e.place.as_ref(), &e.message)).collect();
        assert!(found.contains(&refusal.to_owned()), "{keys}: {found:#?}");
    }
}

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

/// What stands at a port besides filters: policers and checks of sources.
#[test]
fn ports_name_policers_and_lists_of_sources() {
    let text = "[[set]]\nname = \"customers\"\nprefixes = [\"2001:db8::/32\", \"10.0.0.0/8\"]\n\
         [[set]]\nname = \"web\"\nports = [80]\n\
         [[police]]\nname = \"p\"\nrate_packets_per_second = 1\nburst_packets = 1\n\
         [[police]]\nname = \"q\"\nrate_packets_per_second = 1\nburst_packets = 1\nper = \"port\"\n";
    let port = |keys: &str| parse(&format!("{text}[[port]]\nname = \"eth0\"\n{keys}"));
    let keys = "police_in = \"q\"\nreverse_path = \"feasible\"\nfeasible_sources = \"customers\"\n\
         martians = \"not-global\"\n";
    let config = port(keys).expect("right");
    let services = config.ports[0].services;
    assert_eq!((services.police_in, services.feasible_sources), (Some(1), Some(0)));
    assert_eq!(services.reverse_path, ReversePath::Feasible);
    assert_eq!(services.martians, MartianFilter::NotGlobal);
    assert_eq!(config.filters.feasible_sources(), ["customers"]);
    let prefixes = config.filters.prefixes_of("customers").expect("it has prefixes");
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    assert_eq!(prefixes, ["10.0.0.0/8", "2001:db8::/32"]);
    assert!(config.has_services());
    assert!(!port("").expect("right").has_services());

    let refusals = [
        ("police_in = \"r\"", "there is no policer r", "one of: p, q"),
        ("reverse_path = \"feasible\"", "feasible without a list", "feasible_sources = "),
        ("feasible_sources = \"customers\"", "without a check", "reverse_path = \"feasible\""),
        (
            "reverse_path = \"feasible\"\nfeasible_sources = \"web\"",
            "the set web has ports",
            "the name of a [[set]] of prefixes",
        ),
        ("reverse_path = \"feasible\"\nfeasible_sources = \"x\"", "there is no set x", "[[set]]"),
    ];
    for (keys, message, help) in refusals {
        let errors = port(keys).expect_err(keys).errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].message.contains(message), "{:?}", errors[0]);
        assert!(errors[0].help.as_deref().unwrap_or_default().contains(help), "{:?}", errors[0]);
    }
}
