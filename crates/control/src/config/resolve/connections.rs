//! `[connections]`.

use linecard_services::connection::ConnectionConfig;
use toml::Spanned;

use super::super::resolved::{Connections, ConnectionsMode};
use super::super::{limits, text};
use super::checker::Checker;

/// Judges the section.
pub(super) fn connections(
    checker: &mut Checker<'_>,
    text: &text::connections::Connections,
) -> Connections {
    let default = ConnectionConfig::default();
    let mut table = ConnectionConfig { when_full: text.when_full, ..default };
    table.tcp_loose = text.tcp_loose;
    let mut capacity = |place, key, range, value: &mut u32| {
        *value = checker.number(place, key, range, *value);
    };
    let (ipv4, ipv6) = (&text.connections_ipv4_max, &text.connections_ipv6_max);
    let range = limits::CONNECTIONS;
    capacity(ipv4, "connections_ipv4_max", range.clone(), &mut table.connections_ipv4_max);
    capacity(ipv6, "connections_ipv6_max", range, &mut table.connections_ipv6_max);
    let (place, range) = (&text.connections_per_source_max, limits::CONNECTIONS_PER_SOURCE);
    capacity(place, "connections_per_source_max", range, &mut table.connections_per_source_max);
    for (key, place, value) in timeouts(text, &mut table) {
        *value = checker.number(place, key, limits::TIMEOUT_SECONDS, *value);
    }
    let mode = match text.mode {
        text::connections::ConnectionsMode::Auto => ConnectionsMode::Auto,
        text::connections::ConnectionsMode::On => ConnectionsMode::On,
    };
    Connections { mode, table }
}

/// A timeout's key, what the file says, and where it goes.
type Timeout<'a> = (&'static str, &'a Option<Spanned<i64>>, &'a mut u32);

fn timeouts<'a>(
    text: &'a text::connections::Connections,
    table: &'a mut ConnectionConfig,
) -> [Timeout<'a>; 12] {
    macro_rules! timeouts {
        ($($key:ident),+ $(,)?) => { [$((stringify!($key), &text.$key, &mut table.$key)),+] };
    }
    timeouts![
        tcp_syn_sent_timeout_seconds,
        tcp_syn_recv_timeout_seconds,
        tcp_established_timeout_seconds,
        tcp_fin_wait_timeout_seconds,
        tcp_close_wait_timeout_seconds,
        tcp_last_ack_timeout_seconds,
        tcp_time_wait_timeout_seconds,
        tcp_close_timeout_seconds,
        udp_unreplied_timeout_seconds,
        udp_replied_timeout_seconds,
        icmp_timeout_seconds,
        other_timeout_seconds,
    ]
}
