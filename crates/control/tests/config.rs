//! The configuration as its users see it: what is taken, what is refused and in which words.

use std::path::Path;

use linecard_control::config::{
    self, Config, Connections, ConnectionsMode, Errors, InterfaceRef, KernelDriver, PortKind,
    RouteAction, VlanTag,
};
use linecard_control::facts::{Fact, Link, LinkKind, RouteType};
use linecard_io::ProtectionClass;
use linecard_packet::PortId;
use linecard_services::connection::{ConnectionConfig, WhenFull};
use proptest::prelude::*;

const LINECARD: &str = include_str!("../../../docs/linecard.toml");
const CUSTOMERS: &str = include_str!("../../../docs/customers.prefixes");
const REPLAY: &str = include_str!("../../../docs/replay.toml");

fn parse(text: &str) -> Result<Config, Errors> {
    config::parse(text, Path::new("/etc/linecard/test.toml"))
}

/// The documented file and the set beside it.
fn parse_documented() -> Config {
    let read = |path: &Path| {
        assert_eq!(path, Path::new("/etc/linecard/customers.prefixes"));
        Ok(CUSTOMERS.to_owned())
    };
    let path = Path::new("/etc/linecard/linecard.toml");
    config::parse_with(LINECARD, path, read).expect("docs/linecard.toml")
}

/// The errors of `text` as "line:column `text in question` message → help".
fn refusals(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the file is wrong");
    let line = |error: &config::Error| {
        let place = error.place.as_ref().map_or("-".to_owned(), |place| {
            format!("{}:{} `{}`", place.line, place.column, place.text)
        });
        format!("{place} {} → {}", error.message, error.help.as_deref().unwrap_or_default())
    };
    errors.errors.iter().map(line).collect()
}

/// Two memory ports, then `more`, which starts in line 11.
fn with_ports(more: &str) -> String {
    let ports = r#"[[port]]
name = "a"
kind = "memory"
mac_address = "02:00:5e:10:00:01"
addresses = ["192.0.2.1/24", "2001:db8:1::1/64"]
[[port]]
name = "b"
kind = "memory"
mac_address = "02:00:5e:10:00:02"
addresses = ["203.0.113.1/24", "198.51.100.1/24"]
"#;
    format!("{ports}{more}")
}

#[test]
fn one_name_is_a_whole_configuration() {
    let config = parse("[[port]]\nname = \"eth0\"\n").expect("right");
    assert_eq!(config.ports.len(), 1);
    let PortKind::Kernel(port) = &config.ports[0].kind else { panic!("a kernel port") };
    assert_eq!(port.driver, KernelDriver::Auto);
    assert_eq!(port.ring_entries, 2048);
    assert_eq!(config.punt.rate_packets_per_second, 20_000);
    assert_eq!(config.api.socket, Path::new("/run/linecard.sock"));
    assert!(config.workers.count_max >= 1);
    let capacities = linecard_services::route::RouteCapacities::default();
    assert_eq!(config.tables.route_capacities(), capacities);
    assert_eq!(config.memory.frames_per_worker, 16_384);
    let same = config::of_kernel_ports(&["eth0".to_owned()]).expect("right");
    assert_eq!(config, same);
}

#[test]
fn the_documented_files_are_right() {
    let config = parse_documented();
    assert_eq!(config.protection, Some(ProtectionClass::default_limits()), "its defaults");
    assert_eq!(config.warnings, []);
    assert_eq!(config.workers.cores, [0, 1]);
    assert_eq!(config.api.group.as_deref(), Some("adm"));

    let config = parse(REPLAY).expect("docs/replay.toml");
    let PortKind::Pcap { input, station, .. } = &config.ports[0].kind else { panic!("pcap") };
    assert_eq!(input.as_deref(), Some(Path::new("/etc/linecard/lan-in.pcap")));
    let tags = [VlanTag { protocol: 0x88a8, id: 100 }, VlanTag { protocol: 0x8100, id: 20 }];
    assert_eq!(station.interfaces[1].vlans, tags);
    let RouteAction::NextHops(next_hops) = &config.routes[2].action else { panic!("next hops") };
    let weights: Vec<u32> = next_hops.iter().map(|next_hop| next_hop.weight).collect();
    assert_eq!(weights, [2, 1, 1]);
    assert_eq!(next_hops[2].interface, InterfaceRef { port: 0, interface: 1 });
}

#[test]
fn the_file_tells_the_rib_what_the_kernel_would() {
    let facts = config::StaticFacts::of(&parse(REPLAY).expect("docs/replay.toml"));
    let links: Vec<&Link> = facts
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::SetLink(link) => Some(link),
            _ => None,
        })
        .collect();
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["lan", "lan.100", "lan.100.20", "wan"]);
    let inner = LinkKind::Vlan { lower: links[1].ifindex, tag_protocol: 0x8100, id: 20 };
    assert_eq!((links[2].kind, links[2].mtu_bytes), (inner, 1496));
    assert_eq!(facts.ports, [(PortId(0), links[0].ifindex), (PortId(1), links[3].ifindex)]);

    let route = |prefix: &str, of: RouteType| {
        let found = |fact: &&Fact| match fact {
            Fact::SetRoute(route, _) => {
                route.prefix.to_string() == prefix && route.route_type == of
            }
            _ => false,
        };
        facts.facts.iter().filter(found).count()
    };
    assert_eq!(route("192.0.2.0/24", RouteType::Unicast), 1);
    assert_eq!(route("192.0.2.1/32", RouteType::Local), 1);
    assert_eq!(route("192.0.2.255/32", RouteType::Broadcast), 1);
    assert_eq!(route("2001:db8:1::/128", RouteType::Anycast), 1);
    assert_eq!(route("192.168.0.0/16", RouteType::Blackhole), 1);

    let of_kernel = config::StaticFacts::of(&parse_documented());
    assert_eq!(of_kernel, config::StaticFacts::default());
}

/// serde itself names the keys of a section when it meets one that it does not know.
#[test]
fn every_key_is_documented() {
    let documented = |key: &str| {
        let is_key = |line: &str| {
            line.split(['{', ','])
                .any(|part| part.split_once('=').is_some_and(|(name, _)| name.trim() == key))
                || line.trim_matches(['[', ']']).split('.').next_back() == Some(key)
        };
        let lines = LINECARD.lines().chain(REPLAY.lines());
        lines.filter(|line| !line.starts_with('#')).any(is_key)
    };
    let probe = "a_key_that_no_section_would_ever_have = 1";
    let mut keys = 0;
    for section in [
        probe.to_owned(),
        format!("[workers]\n{probe}"),
        format!("[memory]\n{probe}"),
        format!("[punt]\n{probe}"),
        format!("[api]\n{probe}"),
        format!("[tables]\n{probe}"),
        format!("[[port]]\n{probe}"),
        format!("[[port]]\nname = \"a\"\nvlans = [{{ {probe} }}]"),
        format!("[[route]]\n{probe}"),
        format!("[[route]]\nprefix = \"a\"\nnext_hops = [{{ {probe} }}]"),
        format!("[[neighbour]]\n{probe}"),
        format!("[[set]]\n{probe}"),
        format!("[[police]]\n{probe}"),
        format!("[[filter]]\n{probe}"),
        format!("[[filter]]\nname = \"a\"\ndefault = \"drop\"\nrules = [{{ {probe} }}]"),
        format!("[router]\n{probe}"),
        format!("[protection]\n{probe}"),
        format!("[protection.bgp]\n{probe}"),
        format!("[connections]\n{probe}"),
    ] {
        let errors = parse(&section).expect_err("an unknown key");
        let help = errors.errors[0].help.clone().expect("the known keys");
        let known = help.strip_prefix("known here: ").expect("a list").to_owned();
        for key in known.split(", ") {
            assert!(documented(key), "`{key}` of {section:?} stands in no documented file");
            keys += 1;
        }
    }
    assert!(keys > 80, "{keys} keys: the sections were not probed");
}

#[test]
fn protection_is_on_and_a_class_s_limits_are_judged() {
    let port = "[[port]]\nname = \"eth0\"\n";
    let limits = |text: &str| parse(&format!("{port}{text}")).expect("right").protection;
    assert_eq!(limits(""), Some(ProtectionClass::default_limits()));
    assert_eq!(limits("[protection]\nmode = \"off\"\n"), None);
    let bgp = limits("[protection.bgp]\nburst_packets = 7\n").expect("on")[1];
    assert_eq!((bgp.rate_packets_per_second, bgp.burst_packets), (1_000, 7));
    assert_eq!(
        refusals(&format!("{port}[protection.ssh]\nrate_packets_per_second = 0\n")),
        ["4:27 `0` rate_packets_per_second is out of range: 0 → 1 to 10000000"]
    );
    assert_eq!(
        refusals(&format!("{port}[protection.sssh]\nburst_packets = 1\n")),
        ["3:13 `sssh` unknown key `sssh` → did you mean `ssh`?"]
    );
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    assert_eq!(
        refusals("[[port]]\nname = \"eth0\"\nring_entires = 4096\n"),
        ["3:1 `ring_entires` unknown key `ring_entires` → did you mean `ring_entries`?"]
    );
    assert_eq!(
        refusals("[[prt]]\nname = \"eth0\"\n"),
        ["1:3 `prt` unknown key `prt` → did you mean `port`?"]
    );
    assert_eq!(
        refusals("[[port]]\nname = \"eth0\"\nkind = \"xpd\"\n"),
        ["3:8 `\"xpd\"` unknown value `xpd` → did you mean `xdp`?"]
    );
}

#[test]
fn all_wrong_values_are_shown_at_once_in_the_order_of_the_file() {
    let text = r#"[workers]
count_max = 0
cores = [0, 0]
[memory]
frame_bytes = 3000
[punt]
burst_packets = -1
[api]
socket = "linecard.sock"
[[port]]
name = "eth0"
ring_entries = 1000
[[port]]
name = "eth0"
xdp_mode = "generic"
zero_copy = "on"
addresses = ["192.0.2.1/24"]
[[route]]
prefix = "10.0.0.0/8"
via = "192.0.2.2"
"#;
    let found = refusals(text);
    let places: Vec<&str> =
        found.iter().map(|line| line.split_once(' ').expect("a place").0).collect();
    assert_eq!(
        places,
        ["2:13", "3:13", "5:15", "7:17", "9:10", "12:16", "14:8", "16:13", "17:13", "19:10"],
        "{found:#?}"
    );
    assert!(found[8].contains("a kernel port takes no `addresses`"), "{}", found[8]);
    assert!(found[9].contains("the kernel owns the routes"), "{}", found[9]);
}

#[test]
fn connections_have_the_documented_defaults_and_their_ranges() {
    let plain = parse("[[port]]\nname = \"eth0\"\n").expect("right");
    assert_eq!(plain.connections, Connections::default());
    assert!(!plain.tracks_connections() && !plain.has_services());
    // The sample has each key with its default.
    assert_eq!(parse_documented().connections, Connections::default());

    let text = "[connections]\nmode = \"on\"\nconnections_per_source_max = 100\nwhen_full = \"drop\"\n\
                tcp_loose = true\nudp_replied_timeout_seconds = 300\n[[port]]\nname = \"eth0\"\n";
    let config = parse(text).expect("right");
    let table = ConnectionConfig {
        connections_per_source_max: 100,
        when_full: WhenFull::Drop,
        tcp_loose: true,
        udp_replied_timeout_seconds: 300,
        ..ConnectionConfig::default()
    };
    assert_eq!(config.connections, Connections { mode: ConnectionsMode::On, table });
    assert!(config.tracks_connections() && config.has_services());

    let wrong = "[[port]]\nname = \"eth0\"\n[connections]\nconnections_ipv4_max = 0\n\
                 connections_ipv6_max = 16000001\nconnections_per_source_max = -1\n\
                 tcp_established_timeout_seconds = 0\nother_timeout_seconds = 31536001\n";
    assert_eq!(
        refusals(wrong),
        [
            "4:24 `0` connections_ipv4_max is out of range: 0 → 1 to 16000000",
            "5:24 `16000001` connections_ipv6_max is out of range: 16000001 → 1 to 16000000",
            "6:30 `-1` connections_per_source_max is out of range: -1 → 0 to 16000000",
            "7:35 `0` tcp_established_timeout_seconds is out of range: 0 → 1 to 31536000",
            "8:25 `31536001` other_timeout_seconds is out of range: 31536001 → 1 to 31536000",
        ]
    );
    assert_eq!(
        refusals("[[port]]\nname = \"eth0\"\n[connections]\nwhen_full = \"dorp\"\n"),
        ["4:13 `\"dorp\"` unknown value `dorp` → it is `forward` or `drop`"]
    );
}

/// What a filter asks counts where it is attached to a port.
#[test]
fn connections_are_tracked_where_a_port_asks_for_states() {
    let config = |port: &str, condition: &str| {
        let text = format!(
            "[[port]]\nname = \"eth0\"\n{port}[[filter]]\nname = \"a\"\ndefault = \"drop\"\n\
             rules = [{{ match = \"{condition}\", action = \"accept\" }}]\n"
        );
        parse(&text).expect("right")
    };
    assert!(config("filter_in = \"a\"\n", "state established").tracks_connections());
    assert!(config("filter_out = \"a\"\n", "tcp state {new, invalid}").tracks_connections());
    assert!(!config("filter_in = \"a\"\n", "tcp").tracks_connections());
    assert!(!config("", "state established").tracks_connections());
}

#[test]
fn what_is_shown_is_short_and_marks_the_place() {
    let errors = parse(&with_ports("[[route]]\nprefix = \"10.0.0.1/8\"\nvia = \"192.0.2.9\"\n"))
        .expect_err("host bits");
    assert_eq!(
        errors.to_string(),
        "\
error: `10.0.0.1/8` has bits set behind its prefix length
  --> /etc/linecard/test.toml:12:10
   |
12 | prefix = \"10.0.0.1/8\"
   |          ^^^^^^^^^^^^
  = help: did you mean 10.0.0.0/8? (one host is 10.0.0.1/32)

1 mistake in /etc/linecard/test.toml: nothing of it was used"
    );
}

#[test]
fn wrong_ports_are_refused() {
    for (text, words) in [
        ("", "there is no [[port]]"),
        ("[[port]]\nname = \"a name\"", "no interface name"),
        ("[[port]]\nname = \"an-interface-name\"", "a name of 17 bytes"),
        ("[[port]]\nkind = \"xdp\"", "missing key `name`"),
        ("[[port]]\nname = 1", "expected a string"),
        (
            "[[port]]\nname = \"a\"\nkind = \"packet\"\nxdp_mode = \"native\"",
            "AF_PACKET uses no XDP",
        ),
        ("[[port]]\nname = \"a\"\nqueues_max = 0", "1 to 256"),
        ("[[port]]\nname = \"a\"\nring_entries = \"64\"", "expected an integer without quotes"),
        ("[[port]]\nname = \"a\"\ninput = \"in.pcap\"", "kind = \"pcap\""),
        ("[[port]]\nname = \"a\"\nkind = \"pcap\"\nmac_address = \"02:00:00:00:00:01\"", "no file"),
        ("[[port]]\nname = \"a\"\nkind = \"memory\"", "no `mac_address`"),
        (
            "[[port]]\nname = \"a\"\nkind = \"memory\"\nmac_address = \"01:00:5e:00:00:01\"",
            "a group",
        ),
        ("[[port]]\nname = \"a\"\nkind = \"memory\"\nmac_address = \"02:00:5e\"", "6 octets"),
        (
            "[[port]]\nname = \"a\"\n[[port]]\nname = \"b\"\nkind = \"memory\"\nmac_address = \"02:00:00:00:00:01\"",
            "either kernel interfaces",
        ),
    ] {
        let found = refusals(text);
        assert!(found.iter().any(|line| line.contains(words)), "{text:?}: {found:#?}");
    }
}

#[test]
fn wrong_addresses_are_refused() {
    for (keys, words) in [
        (
            "addresses = [\"192.0.2.1\"]",
            "no prefix length → a length from 0 to 32, for one host: 192.0.2.1/32",
        ),
        ("addresses = [\"192.0.2.1/33\"]", "`33` is no prefix length"),
        ("addresses = [\"eth0\"]", "write it like 192.0.2.1/24"),
        (
            "addresses = [\"192.0.2.0/24\"]",
            "the subnet itself → a host of it, such as 192.0.2.1/24",
        ),
        ("addresses = [\"192.0.2.255/24\"]", "broadcast"),
        ("addresses = [\"224.0.0.1/4\"]", "multicast"),
        ("addresses = [\"::1/128\"]", "loopback"),
        ("addresses = [\"192.0.2.1/24\", \"192.0.2.1/25\"]", "is an address of port c already"),
        ("mtu_bytes = 67", "68 to 3800"),
        ("mtu_bytes = 1000\naddresses = [\"2001:db8::1/64\"]", "which IPv6 requires"),
        ("vlans = [{ id = 0 }]", "1 to 4094"),
        ("vlans = [{ id = 1 }, { id = 1 }]", "this VLAN stands twice"),
        ("vlans = [{ id = 1, mtu_bytes = 1501 }]", "1500 at the most"),
        ("vlans = [{ id = 1, protocol = \"802.1Q\" }]", "did you mean `802.1q`?"),
        ("xdp_mode = \"native\"", "for kinds auto and xdp"),
    ] {
        let start =
            "[[port]]\nname = \"c\"\nkind = \"memory\"\nmac_address = \"02:00:00:00:00:01\"\n";
        let found = refusals(&format!("{start}{keys}\n"));
        assert!(found.iter().any(|line| line.contains(words)), "{keys:?}: {found:#?}");
        assert!(found.iter().all(|line| line.starts_with("5:") || line.starts_with("6:")));
    }
}

#[test]
fn wrong_routes_and_neighbours_are_refused() {
    for (more, words) in [
        ("[[route]]\nprefix = \"10.0.0.0/8\"", "a route to nowhere"),
        ("[[route]]\nprefix = \"10.0.0.0\"\nvia = \"192.0.2.2\"", "one host: 10.0.0.0/32"),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"172.16.0.1\"",
            "on no connected subnet → connected subnets are: 192.0.2.0/24",
        ),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"192.0.2.2\"\nport = \"b\"",
            "no subnet of the port named",
        ),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"192.0.2.2\"\nport = \"c\"",
            "there is no port c → one of: a, b",
        ),
        ("[[route]]\nprefix = \"10.0.0.0/8\"\nport = \"a\"\nvlan = 7", "has no such VLAN"),
        ("[[route]]\nprefix = \"10.0.0.0/8\"\nvlan = 7", "a VLAN without its port"),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"2001:db8:1::2\"",
            "an IPv6 gateway for an IPv4 route",
        ),
        ("[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"192.0.2.1\"", "the router itself"),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nvia = \"192.0.2.2/24\"",
            "without a prefix length: 192.0.2.2",
        ),
        ("[[route]]\nprefix = \"::/0\"\nvia = \"fe80::1\"", "could be on any port"),
        ("[[route]]\nprefix = \"192.0.2.0/24\"\nport = \"b\"", "connected subnet of port a"),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nkind = \"blackhole\"\nport = \"b\"",
            "has no next hop",
        ),
        ("[[route]]\nprefix = \"10.0.0.0/8\"\nnext_hops = []", "0 next hops → 1 to 256"),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nnext_hops = [{ via = \"192.0.2.2\", weight = 0 }]",
            "1 to 256",
        ),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nnext_hops = [{ port = \"a\" }, { port = \"a\" }]",
            "stands twice",
        ),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nnext_hops = [{ weight = 1 }]",
            "a next hop to nowhere",
        ),
        (
            "[[route]]\nprefix = \"10.0.0.0/8\"\nport = \"a\"\n[[route]]\nprefix = \"10.0.0.0/8\"\nport = \"b\"",
            "the route to 10.0.0.0/8 stands twice",
        ),
        (
            "[[neighbour]]\naddress = \"192.0.2.2\"\nmac_address = \"00:00:00:00:00:00\"",
            "all zeroes",
        ),
        (
            "[[neighbour]]\naddress = \"10.0.0.2\"\nmac_address = \"02:00:00:00:00:01\"",
            "on no connected subnet",
        ),
        ("[tables]\nroutes_ipv4_max = 3", "this file alone needs 6 → routes_ipv4_max = 6 or more"),
    ] {
        let found = refusals(&with_ports(more));
        assert!(found.iter().any(|line| line.contains(words)), "{more:?}: {found:#?}");
        assert_eq!(found.len(), 1, "one mistake is one answer: {found:#?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let errors = config::load(Path::new("/nonexistent/linecard.toml")).expect_err("no file");
    let shown = errors.to_string();
    assert!(shown.contains("--> /nonexistent/linecard.toml"), "{shown}");
    assert!(shown.contains("linecard run --port eth0"), "{shown}");
}

/// Lines that the file could have, right and wrong, so that random files reach every check.
const LINES: &[&str] = &[
    "[workers]",
    "[memory]",
    "[punt]",
    "[protection.bgp]",
    "[api]",
    "[tables]",
    "[[port]]",
    "[[port]]",
    "[[port]]",
    "[[port.vlans]]",
    "[[route]]",
    "[[route]]",
    "[[neighbour]]",
    "count_max = 3",
    "cores = [1, 1]",
    "frame_bytes = 2048",
    "frames_per_worker = 9999999999999999999",
    "socket = \"/é\"",
    "name = \"a\"",
    "name = \"b\"",
    "name = \"\\u0000\"",
    "kind = \"memory\"",
    "kind = \"pcap\"",
    "kind = \"blackhole\"",
    "mac_address = \"02:00:00:00:00:01\"",
    "mtu_bytes = -9223372036854775808",
    "addresses = [\"0.0.0.0/0\", \"::/0\", \"10.0.0.1/8\", \"fe80::1/10\"]",
    "id = 4094",
    "inner_id = 1",
    "prefix = \"255.255.255.255/0\"",
    "prefix = \"10.1.0.0/16\"",
    "via = \"10.0.0.2\"",
    "via = \"fe80::9\"",
    "port = \"a\"",
    "vlan = 4094",
    "address = \"10.0.0.3\"",
    "next_hops = [{ port = \"a\", weight = 256 }]",
    "ring_entries = 32768",
    "input = \"x\"",
    "output = \"x\"",
    "routes_ipv4_max = 1",
    "\u{1F980} = '",
];

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.errors.is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_file_of_known_lines_panics(lines in proptest::collection::vec(0..LINES.len(), 0..40)) {
        let text: String = lines.iter().map(|&line| format!("{}\n", LINES[line])).collect();
        match parse(&text) {
            Ok(config) => drop(config::StaticFacts::of(&config)),
            Err(errors) => prop_assert!(!errors.to_string().is_empty()),
        }
    }

    /// Cuts a right file anywhere: what is left is right or refused with a place inside it.
    #[test]
    fn a_cut_file_never_panics(cut in 0..REPLAY.len(), flip in 0..REPLAY.len(), byte in 32u8..127) {
        let mut bytes = REPLAY.as_bytes()[..cut].to_vec();
        if let Some(at) = bytes.get_mut(flip) { *at = byte; }
        let text = String::from_utf8_lossy(&bytes);
        match parse(&text) {
            Ok(config) => drop(config::StaticFacts::of(&config)),
            Err(errors) => prop_assert!(!errors.to_string().is_empty()),
        }
    }
}
