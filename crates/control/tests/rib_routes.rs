//! Looking at routes without walking over all of them.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use linecard_control::facts::{Fact, Path, Route, RouteMode, RouteTarget, RouteType, TABLE_MAIN};
use linecard_control::rib::{HeldRoute, Rib};

/// In the order of prefixes: IPv4 first, then by address, then by length.
const PREFIXES: [&str; 8] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/32",
];

fn prefix(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn rib() -> Rib {
    let mut rib = Rib::new();
    for prefix in PREFIXES.map(prefix) {
        let via = match prefix {
            IpNet::V4(_) => IpAddr::from([192, 0, 2, 1]),
            IpNet::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        };
        let path = Path { ifindex: 2, via: Some(via), weight: 1, dead: false };
        let route = Route {
            table: TABLE_MAIN,
            prefix,
            route_type: RouteType::Unicast,
            metric: 0,
            protocol: 186,
            type_of_service: 0,
            kernel_only: false,
            target: RouteTarget::Paths(vec![path]),
        };
        rib.apply(Fact::SetRoute(route, RouteMode::Prepend));
    }
    rib
}

fn names(routes: impl Iterator<Item = HeldRoute>) -> Vec<String> {
    routes.map(|route| route.prefix.to_string()).collect()
}

#[test]
fn one_prefix_is_asked_for_without_the_others() {
    let mut rib = rib();
    assert_eq!(rib.selected_prefixes().count(), 0, "the packet path has not been told yet");
    rib.drain(&mut Vec::new());
    let mut all: Vec<_> = rib.routes().map(|route| route.prefix).collect();
    all.sort();
    assert_eq!(all, PREFIXES.map(prefix));
    let selected: HashSet<_> = rib.selected_prefixes().collect();
    let shown = rib.routes().filter(|route| route.selected).map(|route| route.prefix).collect();
    assert_eq!(selected, shown);
    for text in PREFIXES {
        assert_eq!(names(rib.routes_of(prefix(text))), [text]);
    }
    assert_eq!(names(rib.routes_of(prefix("10.0.0.0/9"))), [""; 0], "there is no such route");
}
