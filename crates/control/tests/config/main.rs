//! The configuration as its users see it: what is taken, what is refused and in which words.

mod random;
mod refusals;
mod services;

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

const LINECARD: &str = include_str!("../../../../docs/linecard.toml");
const CUSTOMERS: &str = include_str!("../../../../docs/customers.prefixes");
const REPLAY: &str = include_str!("../../../../docs/replay.toml");

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
