//! A configuration that is read again is what it would be if it were read for the first time, however little of
//! it was looked at.

use std::io;
use std::path::Path;
use std::sync::Arc;

use linecard_control::config::{Document, SetError};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const PATH: &str = "/etc/linecard/test.toml";

const TEXT: &str = r#"# [ { ] } of a comment
[[port]]
name = "eth0"
filter_in = "one"
filter_out = "two"

[[set]]
name = "hosts"
file = "hosts"

[[filter]]
name = "one"
default = "drop"
rules = [
    { name = "dns", match = "udp destination-port 53", action = "accept" },
    # { name = "off", match = "tcp", action = "drop" },
    { match = "tcp source @hosts", action = "accept" }, # hosts ä
    { match = "tcp source @hosts", action = "accept" },
    { name = "lines", match = """
tcp \
   source-port 1-5""", action = "drop" }, { match = 'icmp', action = "accept" },
    { name = "late", match = "udp destination-port 53", action = "drop" }
]

[[filter]]
name = "two"
default = "accept"
[[filter.rules]]
name = "dns"
match = "udp destination-port 53"
action = "drop"
[[filter.rules]]
match = "tcp"
action = "accept"
"#;

fn read<'a>(text: &'a str, hosts: &'a str) -> impl Fn(&Path) -> io::Result<String> {
    move |path| Ok(if path == Path::new(PATH) { text } else { hosts }.to_owned())
}

fn load(text: &str, hosts: &str) -> Result<Document, String> {
    Document::load_with(Path::new(PATH), read(text, hosts)).map_err(|errors| errors.to_string())
}

/// Reads other texts in place of those of `before`: nobody can tell that from a first reading.
fn check(before: &Document, text: &str, hosts: &str) -> Option<Document> {
    let again = before.reloaded_with(read(text, hosts)).map_err(|errors| errors.to_string());
    assert_eq!(again, load(text, hosts), "{text}");
    if let Ok(again) = &again {
        assert_eq!(again.warnings(), load(text, hosts).expect("it is right").warnings());
    }
    again.ok()
}

/// How many rules of the first filter two documents share.
fn shared(one: &Document, other: &Document) -> usize {
    let rules = |document: &Document| document.config().filters.filters()[0].rules.clone();
    let others = rules(other);
    rules(one).iter().filter(|rule| others.iter().any(|other| Arc::ptr_eq(rule, other))).count()
}

#[test]
fn only_rules_that_change_are_judged_again() {
    let before = load(TEXT, "192.0.2.1").expect("it is right");
    for (from, to, same) in [
        // Another value, another rule, none, one more, in front and at the end.
        ("port 53\", action = \"accept", "port 54\", action = \"accept", 5),
        ("{ match = 'icmp', action = \"accept\" }", "{ match = 'tcp', action = \"drop\" }", 5),
        ("    { name = \"dns\", match = \"udp", "{ action = \"drop\" }, { match = \"udp", 5),
        ("# hosts ä", "# hosts ö, { } ]", 6),
        ("1-5\"\"\", ", "1-5\"\"\", log = true, ", 5),
        ("\"drop\" }\n]", "\"drop\" },\n{ action = \"drop\" } ]", 5),
        ("    { match = \"tcp source @hosts\", action = \"accept\" },\n", "", 5),
    ] {
        assert!(TEXT.contains(from), "{from}");
        let text = TEXT.replacen(from, to, 1);
        let after = check(&before, &text, "192.0.2.1").expect("it is right");
        assert!(shared(&before, &after) >= same - 1, "{to}: {}", shared(&before, &after));
        let back = check(&after, TEXT, "192.0.2.1").expect("it was right");
        assert_eq!(back, before);
    }
}

#[test]
fn what_hides_the_rest_is_noticed() {
    let before = load(TEXT, "").expect("it is right");
    for (from, to) in [
        // A comment without an end, a bracket, a quote, a table of another name.
        ("@hosts\", action = \"accept\" }, # hosts", "@hosts\", action = \"accept\" }, # # hosts"),
        ("'icmp', action = \"accept\" },\n", "'icmp', action = \"accept\" }, #"),
        ("'icmp'", "'icmp"),
        ("'icmp', action = \"accept\" },", "'icmp', action = \"accept\" }],"),
        ("'icmp', action = \"accept\" },", "'icmp', action = \"accept\" }"),
        ("'icmp', action = \"accept\" },", "'icmp', action = \"accept\" },,"),
        ("'icmp', action = \"accept\" },", "]\nname = \"x\"\nother = ["),
        ("name = \"late\"", "name = \"dns\""),
        ("name = \"late\"", "match = \"tcp\""),
    ] {
        assert!(TEXT.contains(from), "{from}");
        check(&before, &TEXT.replacen(from, to, 1), "");
    }
}

#[test]
fn a_set_is_read_with_the_rules_or_alone() {
    let before = load(TEXT, "192.0.2.1").expect("it is right");
    let moved = TEXT.replace("source @hosts", "destination @hosts");
    check(&before, &moved, "192.0.2.2\n2001:db8::1").expect("it is right");
    assert!(check(&before, TEXT, "80").is_none(), "ports are no addresses");
    let alone = before.with_set_of("hosts", read("not asked for", "192.0.2.7"));
    assert_eq!(alone.expect("it is right"), load(TEXT, "192.0.2.7").expect("it is right"));

    let error =
        |name, hosts: &str| before.with_set_of(name, read(TEXT, hosts)).expect_err("it is wrong");
    assert!(matches!(error("hosts", "192.0.2.1\n 192.0.2.300"), SetError::Wrong(_)));
    let wrong = error("hosts", "192.0.2.1\n 192.0.2.300").to_string();
    assert!(wrong.contains("--> /etc/linecard/hosts:2:2"), "{wrong}");
    let unknown = error("host", "").to_string();
    assert!(unknown.contains("has no set host") && unknown.contains("did you mean hosts?"));
}

fn snippets() -> impl Strategy<Value = &'static str> {
    select(vec![
        "",
        "",
        "{ match = \"tcp\", action = \"drop\" },",
        "{ name = \"dns\", action = \"accept\" },",
        "#",
        ",",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'''",
        "\"\"\"",
        "\n",
        "name = \"new\"",
        "[[filter]]\n",
        "rules = [",
        "\\",
        "3",
        "ä",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes are taken out and others put in anywhere, several times: mostly it is wrong then, and must be
    /// refused with the same words.
    #[test]
    fn any_edit_is_read_as_if_for_the_first_time(
        edits in prop::collection::vec((any::<Index>(), 0..40usize, snippets(), any::<bool>()), 1..6),
        hosts in select(vec!["", "192.0.2.1", "2001:db8::/32\n192.0.2.0/24", "x"]),
    ) {
        let mut document = load(TEXT, "192.0.2.1").expect("it is right");
        let mut text = TEXT.to_owned();
        for (place, length, snippet, is_in_rules) in edits {
            let rules = text.find("rules = [").unwrap_or(0);
            let at = if is_in_rules { rules + place.index(text.len() - rules) } else { place.index(text.len()) };
            let floor = |mut at: usize| {
                while !text.is_char_boundary(at) { at -= 1; }
                at
            };
            let (start, end) = (floor(at), floor((at + length).min(text.len())));
            let mut after = text.clone();
            after.replace_range(start..end.max(start), snippet);
            if let Some(next) = check(&document, &after, hosts) {
                (document, text) = (next, after);
            }
        }
    }

    /// Rules are exchanged, put in and taken out: it is right each time.
    #[test]
    fn rules_come_and_go(
        edits in prop::collection::vec((any::<Index>(), 0..3usize, 1..4u16), 1..12),
    ) {
        let mut document = load(TEXT, "").expect("it is right");
        let mut rules: Vec<String> = (0..6).map(|n| rule(n, n + 1)).collect();
        for (place, edit, port) in edits {
            let at = place.index(rules.len());
            match edit {
                0 => rules[at] = rule(port, port),
                1 => rules.insert(at, rule(port, port)),
                _ => drop(rules.remove(at)),
            }
            rules.push(rule(7, 7));
            let text = TEXT.replacen("rules = [", &format!("rules = [\n{}\n", rules.join("\n")), 1);
            document = check(&document, &text, "").expect("it is right");
        }
    }
}

fn rule(number: u16, port: u16) -> String {
    let action = if number.is_multiple_of(2) { "accept" } else { "drop" };
    format!("    {{ match = \"tcp destination-port {port}\", action = \"{action}\" }},")
}

/// A set that ports name as feasible sources is read again alone, too, and has prefixes or is refused.
#[test]
fn feasible_sources_follow_their_set() {
    let port = "name = \"eth0\"\nreverse_path = \"feasible\"\nfeasible_sources = \"hosts\"\n";
    let text = TEXT.replacen("name = \"eth0\"\n", port, 1).replace("tcp source @hosts", "tcp");
    let before = load(&text, "192.0.2.0/24").expect("it is right");
    let prefixes = |document: &Document| {
        let prefixes = document.config().filters.prefixes_of("hosts").expect("no ports");
        prefixes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let after = check(&before, &text, "192.0.2.0/24\n198.51.100.7").expect("it is right");
    assert_eq!(prefixes(&after), ["192.0.2.0/24", "198.51.100.7/32"]);
    assert!(check(&after, &text, "443").is_none(), "ports are no sources");
    let error = after.with_set_of("hosts", read(&text, "443")).expect_err("ports").to_string();
    assert!(error.contains("ports name it as feasible sources"), "{error}");
    let alone = after.with_set_of("hosts", read(&text, "")).expect("it is right");
    assert_eq!(prefixes(&alone), [""; 0]);
}
