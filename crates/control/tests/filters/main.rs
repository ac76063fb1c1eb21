//! `[[filter]]`, `[[set]]`, `[[police]]` and what they are attached to, as their users see them.

mod router;
mod services;
mod sets;
mod warnings;

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
[[filter]]
name = "own"
default = "drop"
rules = [{ match = "icmpv6 icmp-type 133-137", action = "accept" }]
[router]
filter = "own"
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
    assert_eq!(config.router.filter, Some(1));
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
