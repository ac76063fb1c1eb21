//! Control-plane protection: what may reach the router itself, by class, and how fast.
//!
//! What the classifier leaves to the kernel costs the kernel far more than forwarding costs it, and the
//! routing daemon needs the same processors (RFC 6192). So each frame that is left to it belongs to a
//! [`ProtectionClass`], and each class has a token bucket: a flood of one kind takes that kind's share and no
//! other's. What comes faster is dropped in the driver and counted.
//!
//! A class is told by the destination first: a packet with a TTL of 1 to the router's own address is BGP, and not
//! one that has expired. Of TCP it is asked whether the kernel has a connection of exactly these addresses and
//! ports: so a flood of connection requests at port 179 does not touch the sessions that there are. Where a
//! protocol says what the TTL must be (RFC 5881 5, RFC 4861 7.1, RFC 2328 A.1), packets that came from further
//! away have no share in its class.
//!
//! Each port has buckets of its own, as it has for punted packets: one port's flood does not take the others'
//! share. The CPUs that serve a port share its buckets: a bucket is one 64-bit word, the moment at which it would
//! be full again (GCRA, ITU-T I.371 annex A), which a compare-and-exchange moves on. A packet that is too many
//! writes nothing, so a flood only reads the word.

/// What a frame for the router itself is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ProtectionClass {
    /// TCP of a connection that the kernel has.
    Established,
    /// Other TCP to port 179.
    Bgp,
    /// OSPF from the link.
    Ospf,
    /// BFD.
    Bfd,
    /// Other control protocols.
    Control,
    /// ARP and IPv6 neighbour discovery.
    ArpNd,
    /// ICMP and ICMPv6.
    Icmp,
    /// Other TCP to port 22.
    Ssh,
    /// What carries other packets, which the kernel unpacks.
    Tunnel,
    /// To groups beyond the link, which the kernel forwards.
    Multicast,
    /// What the kernel answers or looks at though it is for somebody else.
    Exception,
    /// Everything else.
    Rest,
}

/// A token bucket, for packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimit {
    /// Packets a second in the long run, 1 to 10,000,000; kept to a thousandth.
    pub rate_packets_per_second: u32,
    /// Packets at once after a pause, 1 to 1,000,000.
    pub burst_packets: u32,
}

/// What one port's classifier has counted in a class since the port was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassTotals {
    /// Frames left to the kernel.
    pub passed_packets: u64,
    /// Bytes of those frames, link-layer header included.
    pub passed_bytes: u64,
    /// Frames dropped, as more than the limit.
    pub limited_packets: u64,
    /// Bytes of those frames.
    pub limited_bytes: u64,
}

/// The limits of one port, in the order of [`ProtectionClass::ALL`].
pub type ProtectionLimits = [ClassLimit; ProtectionClass::ALL.len()];

impl ProtectionClass {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::Bgp,
        Self::Ospf,
        Self::Bfd,
        Self::Control,
        Self::ArpNd,
        Self::Icmp,
        Self::Ssh,
        Self::Tunnel,
        Self::Multicast,
        Self::Exception,
        Self::Rest,
    ];

    /// The label that the configuration, the CLI and the metrics use.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Bgp => "bgp",
            Self::Ospf => "ospf",
            Self::Bfd => "bfd",
            Self::Control => "control",
            Self::ArpNd => "arp_nd",
            Self::Icmp => "icmp",
            Self::Ssh => "ssh",
            Self::Tunnel => "tunnel",
            Self::Multicast => "multicast",
            Self::Exception => "exception",
            Self::Rest => "rest",
        }
    }

    /// What belongs to it, in a sentence.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Established => "TCP of a connection that the kernel has.",
            Self::Bgp => "TCP to port 179 that belongs to no connection: who wants to begin one.",
            Self::Ospf => "OSPF with a TTL of 1 or 255, or to a link-local or group address.",
            Self::Bfd => "BFD with the TTL that RFC 5881 asks for, and multihop BFD.",
            Self::Control => {
                "IS-IS, LLDP, LACP, IGMP, MLD, PIM, VRRP, RSVP, LDP, RIP, HSRP, EIGRP, PTP."
            }
            Self::ArpNd => "ARP, and IPv6 neighbour discovery with a hop limit of 255.",
            Self::Icmp => "ICMP and ICMPv6, but for neighbour discovery and MLD.",
            Self::Ssh => "TCP to port 22 that belongs to no connection: who wants to begin one.",
            Self::Tunnel => {
                "GRE, IP in IP, IPsec, L2TP, VXLAN, Geneve, GTP, WireGuard, MPLS, PPPoE sessions."
            }
            Self::Multicast => "To groups beyond the link, which the kernel forwards.",
            Self::Exception => {
                "For somebody else, with an expiring TTL, options or hop-by-hop headers."
            }
            Self::Rest => "Everything else, fragments of TCP and UDP included.",
        }
    }

    /// The limit unless the configuration says otherwise. `docs/protection.md` has the reasons.
    #[must_use]
    pub const fn default_limit(self) -> ClassLimit {
        let (rate_packets_per_second, burst_packets) = match self {
            Self::Established => (200_000, 20_000),
            Self::Tunnel | Self::Multicast => (100_000, 10_000),
            Self::Bfd | Self::Ospf => (10_000, 2_000),
            Self::Control | Self::ArpNd | Self::Exception => (5_000, 1_000),
            Self::Rest => (10_000, 1_000),
            Self::Icmp => (2_000, 500),
            Self::Bgp => (1_000, 500),
            Self::Ssh => (500, 200),
        };
        ClassLimit { rate_packets_per_second, burst_packets }
    }

    /// The default limits of all classes.
    #[must_use]
    pub fn default_limits() -> ProtectionLimits {
        Self::ALL.map(Self::default_limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_stand_in_the_order_of_their_numbers() {
        for (number, class) in ProtectionClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, number);
        }
    }
}
