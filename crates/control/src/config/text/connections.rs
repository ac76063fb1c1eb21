//! What the file says of the connections that are tracked.

use linecard_services::connection::WhenFull;
use serde::Deserialize;
use toml::Spanned;

/// `[connections]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Connections {
    #[serde(default)]
    pub(in crate::config) mode: ConnectionsMode,
    pub(in crate::config) connections_ipv4_max: Option<Spanned<i64>>,
    pub(in crate::config) connections_ipv6_max: Option<Spanned<i64>>,
    pub(in crate::config) connections_per_source_max: Option<Spanned<i64>>,
    #[serde(default)]
    pub(in crate::config) when_full: WhenFull,
    #[serde(default)]
    pub(in crate::config) tcp_loose: bool,
    pub(in crate::config) tcp_syn_sent_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) tcp_syn_recv_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) tcp_established_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) tcp_fin_wait_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) tcp_close_wait_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) tcp_last_ack_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) tcp_time_wait_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) tcp_close_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) udp_unreplied_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) udp_replied_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) icmp_timeout_seconds: Option<Spanned<i64>>,
    pub(in crate::config) other_timeout_seconds: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum ConnectionsMode {
    #[default]
    Auto,
    On,
}
