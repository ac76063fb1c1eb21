//! Sets in the file and in files of their own.

use super::*;

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
