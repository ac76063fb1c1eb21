//! What is refused, and in which words.

use super::*;

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
