//! Protection and connections.

use super::*;

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
