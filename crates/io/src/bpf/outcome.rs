//! What the classifier counts frames as.

/// What the classifier did with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Taken: on its way to a worker.
    Taken,
    /// Passed: no worker serves its queue, or none that is alive.
    Standby,
    /// Passed: to another host's MAC address, which the kernel drops or bridges.
    OtherHost,
    /// Passed: to a group MAC or IP address, or an IPv6 link-local destination.
    Multicast,
    /// Passed: neither IPv4 nor IPv6.
    NotIp,
    /// Passed: TTL or hop limit is 1 or 0.
    TtlExpired,
    /// Passed: IPv4 options. None is counted as this while there are services: a worker punts it.
    Ipv4Options,
    /// Passed: an IPv6 hop-by-hop header. See [`Self::Ipv4Options`].
    Ipv6HopByHop,
    /// Passed: to one of the router's own addresses.
    Local,
    /// Passed: larger than a frame of packet memory.
    Oversized,
    /// Passed: punted by Linecard, and counted before, when it came from the wire.
    Punted,
    /// Dropped: for the kernel, and faster than its protection class allows.
    Limited,
    /// Dropped: for the router itself, whose filter says so.
    Filtered,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::Taken,
        Self::Standby,
        Self::OtherHost,
        Self::Multicast,
        Self::NotIp,
        Self::TtlExpired,
        Self::Ipv4Options,
        Self::Ipv6HopByHop,
        Self::Local,
        Self::Oversized,
        Self::Punted,
        Self::Limited,
        Self::Filtered,
    ];

    /// The label that the CLI and the metrics show.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Standby => "standby",
            Self::OtherHost => "other_host",
            Self::Multicast => "multicast",
            Self::NotIp => "not_ip",
            Self::TtlExpired => "ttl_expired",
            Self::Ipv4Options => "ipv4_options",
            Self::Ipv6HopByHop => "ipv6_hop_by_hop",
            Self::Local => "local",
            Self::Oversized => "oversized",
            Self::Punted => "punted",
            Self::Limited => "limited",
            Self::Filtered => "filtered",
        }
    }

    /// What it means, in a sentence.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Taken => "It was taken, and is on its way to a worker.",
            Self::Standby => "No worker serves its queue, or none that is alive.",
            Self::OtherHost => "It is for another host's MAC address.",
            Self::Multicast => "It is for a group, or for an IPv6 link-local address.",
            Self::NotIp => "It is neither IPv4 nor IPv6.",
            Self::TtlExpired => "Its TTL or hop limit is 1 or 0.",
            Self::Ipv4Options => "It has IPv4 options.",
            Self::Ipv6HopByHop => "It has an IPv6 hop-by-hop header.",
            Self::Local => "It is for one of the router's own addresses.",
            Self::Oversized => "It is larger than a frame of packet memory.",
            Self::Punted => "Linecard punted it, and it comes by again on its way to the kernel.",
            Self::Limited => "It was dropped, as faster than its protection class allows.",
            Self::Filtered => "It was dropped, as the router's own filter says.",
        }
    }
}

/// Packets and bytes of one outcome on one port, since the port was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutcomeTotals {
    /// Frames.
    pub packets: u64,
    /// Bytes of those frames, link-layer header included.
    pub bytes: u64,
}
