//! How many connections are kept, and for how long.

use linecard_tables::connections::{Lifetime, LifetimeRule};
use serde::{Deserialize, Serialize};

/// Numbers of the table's lifetimes.
pub(super) mod lifetimes {
    use super::Lifetime;

    pub(in super::super) const TCP_SYN_SENT: Lifetime = Lifetime::new(0);
    pub(in super::super) const TCP_SYN_RECV: Lifetime = Lifetime::new(1);
    pub(in super::super) const TCP_ESTABLISHED: Lifetime = Lifetime::new(2);
    pub(in super::super) const TCP_FIN_WAIT: Lifetime = Lifetime::new(3);
    pub(in super::super) const TCP_CLOSE_WAIT: Lifetime = Lifetime::new(4);
    pub(in super::super) const TCP_LAST_ACK: Lifetime = Lifetime::new(5);
    pub(in super::super) const TCP_TIME_WAIT: Lifetime = Lifetime::new(6);
    pub(in super::super) const TCP_CLOSE: Lifetime = Lifetime::new(7);
    pub(in super::super) const UDP_UNREPLIED: Lifetime = Lifetime::new(8);
    pub(in super::super) const UDP_REPLIED: Lifetime = Lifetime::new(9);
    pub(in super::super) const ICMP: Lifetime = Lifetime::new(10);
    pub(in super::super) const OTHER_UNREPLIED: Lifetime = Lifetime::new(11);
    pub(in super::super) const OTHER_REPLIED: Lifetime = Lifetime::new(12);
}

/// What the entries of each lifetime are called: a group of protocols, and the kernel's word for the state.
pub(super) const LABELS: [(&str, &str); 13] = [
    ("tcp", "syn_sent"),
    ("tcp", "syn_recv"),
    ("tcp", "established"),
    ("tcp", "fin_wait"),
    ("tcp", "close_wait"),
    ("tcp", "last_ack"),
    ("tcp", "time_wait"),
    ("tcp", "close"),
    ("udp", "unreplied"),
    ("udp", "replied"),
    ("icmp", "query"),
    ("other", "unreplied"),
    ("other", "replied"),
];

/// What becomes of a packet that may begin a connection when there is no room for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// It goes on, and its answer will not be known; counted as `untracked`.
    #[default]
    Forward,
    /// It is dropped as `connection_table_full`, as the kernel does.
    Drop,
}

/// The service's part of the configuration. Timeouts are the kernel's
/// (`net.netfilter.nf_conntrack_*_timeout*`), in seconds.
///
/// Memory, taken at set-up: 84 bytes for each of `connections_ipv4_max`, 120 for IPv6, and 8 more for each with
/// a limit per source. The tables are shared by all workers.
///
/// **When it is full**, a new connection takes the place of the one that was seen least lately among those
/// that are not answered, not yet established (TCP), closed, or ICMP queries. Established ones stay until
/// their timeout; only if there are none but them is the new one not kept ([`WhenFull`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionConfig {
    /// Connections of IPv4. Default 262,144, as the kernel's.
    pub connections_ipv4_max: u32,
    /// Connections of IPv6. Default 131,072.
    pub connections_ipv6_max: u32,
    /// Connections that one source may have begun: an IPv4 address, an IPv6 /64. 0, the default, for no limit.
    /// A new one beyond it is dropped as `connection_limit`. Counts may be a few too high, never too low.
    pub connections_per_source_max: u32,
    /// When there is no room.
    pub when_full: WhenFull,
    /// Take up TCP connections in their middle, without window checks. Default off: their segments are
    /// invalid. (The kernel's `nf_conntrack_tcp_loose`, which is on.)
    pub tcp_loose: bool,
    /// SYN seen. Default 120.
    pub tcp_syn_sent_timeout_seconds: u32,
    /// SYN and SYN-ACK seen. Default 60.
    pub tcp_syn_recv_timeout_seconds: u32,
    /// Default 432,000: five days.
    pub tcp_established_timeout_seconds: u32,
    /// One side's FIN seen. Default 120.
    pub tcp_fin_wait_timeout_seconds: u32,
    /// One side's FIN acknowledged. Default 60.
    pub tcp_close_wait_timeout_seconds: u32,
    /// Both FINs seen. Default 30.
    pub tcp_last_ack_timeout_seconds: u32,
    /// Both FINs acknowledged. Default 120.
    pub tcp_time_wait_timeout_seconds: u32,
    /// RST seen. Default 10.
    pub tcp_close_timeout_seconds: u32,
    /// UDP and SCTP, packets one way. Default 30.
    pub udp_unreplied_timeout_seconds: u32,
    /// UDP and SCTP, both ways. Default 120.
    pub udp_replied_timeout_seconds: u32,
    /// Queries such as echo. Default 30.
    pub icmp_timeout_seconds: u32,
    /// Other protocols, by addresses. Default 600.
    pub other_timeout_seconds: u32,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            connections_ipv4_max: 262_144,
            connections_ipv6_max: 131_072,
            connections_per_source_max: 0,
            when_full: WhenFull::Forward,
            tcp_loose: false,
            tcp_syn_sent_timeout_seconds: 120,
            tcp_syn_recv_timeout_seconds: 60,
            tcp_established_timeout_seconds: 432_000,
            tcp_fin_wait_timeout_seconds: 120,
            tcp_close_wait_timeout_seconds: 60,
            tcp_last_ack_timeout_seconds: 30,
            tcp_time_wait_timeout_seconds: 120,
            tcp_close_timeout_seconds: 10,
            udp_unreplied_timeout_seconds: 30,
            udp_replied_timeout_seconds: 120,
            icmp_timeout_seconds: 30,
            other_timeout_seconds: 600,
        }
    }
}

impl ConnectionConfig {
    /// Whether tables that were made for this one can take on `other`: with the same capacities, and a limit per
    /// source in both or in neither.
    #[must_use]
    pub fn fits(&self, other: &Self) -> bool {
        let of = |it: &Self| {
            (it.connections_ipv4_max, it.connections_ipv6_max, it.connections_per_source_max > 0)
        };
        of(self) == of(other)
    }

    /// The rules of [`lifetimes`], in their order.
    pub(super) fn rules(&self) -> [LifetimeRule; 13] {
        let rule = |seconds: u32, is_evictable| LifetimeRule {
            nanoseconds: u64::from(seconds) * 1_000_000_000,
            is_evictable,
        };
        [
            rule(self.tcp_syn_sent_timeout_seconds, true),
            rule(self.tcp_syn_recv_timeout_seconds, true),
            rule(self.tcp_established_timeout_seconds, false),
            rule(self.tcp_fin_wait_timeout_seconds, false),
            rule(self.tcp_close_wait_timeout_seconds, false),
            rule(self.tcp_last_ack_timeout_seconds, false),
            rule(self.tcp_time_wait_timeout_seconds, true),
            rule(self.tcp_close_timeout_seconds, true),
            rule(self.udp_unreplied_timeout_seconds, true),
            rule(self.udp_replied_timeout_seconds, false),
            rule(self.icmp_timeout_seconds, true),
            rule(self.other_timeout_seconds, true),
            rule(self.other_timeout_seconds, false),
        ]
    }
}
