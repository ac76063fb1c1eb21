//! Whatever is written.

use super::*;

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
