//! Why a packet did not go on: one enum for drops, one for punts. And why Linecard sent a packet of its own,
//! or did not.
//!
//! The labels are the same in the CLI, the metrics, the trace and the capture.

/// What both kinds of reasons can do, for code that counts either.
pub trait Reason: Copy + 'static {
    /// All of them, in the order of their numbers.
    fn all() -> &'static [Self];
    /// The number as a slice index, below the number of reasons.
    fn number(self) -> usize;
    /// The label that the CLI, the metrics, the trace and the capture show.
    fn name(self) -> &'static str;
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $( $(#[doc = $vdoc:literal])+ $variant:ident = $label:literal, )+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $( $(#[doc = $vdoc])+ $variant, )+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label that the CLI, the metrics, the trace and the capture show.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )+ }
            }

            /// What it means, in a sentence: the text above the variant.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $( Self::$variant => concat!($($vdoc),+).trim_ascii(), )+ }
            }

            /// The number as a slice index, below [`Self::COUNT`].
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl Reason for $name {
            fn all() -> &'static [Self] {
                Self::ALL
            }

            fn number(self) -> usize {
                self.index()
            }

            fn name(self) -> &'static str {
                self.label()
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.label())
            }
        }
    };
}

reasons! {
    /// Why a packet was dropped. Every drop in Linecard is one of these.
    DropReason {
        /// Shorter than its link-layer header.
        LinkHeaderTruncated = "link_header_truncated",
        /// Addressed to another host's MAC address (the kernel: `PACKET_OTHERHOST`).
        OtherHost = "other_host",
        /// A VLAN tag cut short.
        VlanMalformed = "vlan_malformed",
        /// IPv4 header cut short, with a wrong version, length or total length (RFC 1812 5.2.2).
        Ipv4HeaderMalformed = "ipv4_header_malformed",
        /// IPv4 header checksum wrong (RFC 1812 5.2.2).
        Ipv4ChecksumWrong = "ipv4_checksum_wrong",
        /// IPv6 header cut short or with a wrong version or payload length (RFC 8200 3).
        Ipv6HeaderMalformed = "ipv6_header_malformed",
        /// A source address from which nothing is forwarded (RFC 1812 5.3.7, RFC 4291 2.5).
        MartianSource = "martian_source",
        /// A destination address that must not be forwarded (RFC 1812 5.3.7, RFC 4291 2.5).
        MartianDestination = "martian_destination",
        /// Its source is not reached where it came from (RFC 3704, by the port's reverse-path check).
        ReversePath = "reverse_path",
        /// Above the rate of a policer that drops what is (RFC 2475 2.3.3.4).
        Policed = "policed",
        /// The route is of type blackhole.
        Blackhole = "blackhole",
        /// A filter's rule, or its default, says so.
        Filtered = "filtered",
        /// The same, and the sender is told.
        FilterRejected = "filter_rejected",
        /// It would begin a connection, and its source has begun as many as it may.
        ConnectionLimit = "connection_limit",
        /// It would begin a connection, and there is no room for one.
        ConnectionTableFull = "connection_table_full",
        /// The outgoing port is down or was removed.
        PortDown = "port_down",
        /// The outgoing port's transmit queue is full.
        TransmitQueueFull = "transmit_queue_full",
        /// The outgoing port did not take it from the classifier, which had forwarded it by itself.
        RedirectRefused = "redirect_refused",
        /// The packet does not fit a frame of packet memory with the headers to be added.
        FrameTooSmall = "frame_too_small",
        /// A packet for the kernel came faster than the punt rate limit allows.
        PuntRateLimited = "punt_rate_limited",
        /// A frame that is the kernel's came faster than its protection class allows.
        RouterRateLimited = "router_rate_limited",
        /// For the router itself, whose filter says so.
        RouterFiltered = "router_filtered",
        /// A packet for the kernel could not be handed over (the punt device's queue is full).
        PuntQueueFull = "punt_queue_full",
        /// The kernel dropped it on Linecard's receive queue: the ring was full.
        ReceiveRingFull = "receive_ring_full",
        /// The kernel could not place it in a frame of the receive queue.
        ReceiveInvalid = "receive_invalid",
        /// The kernel refused the transmit descriptor.
        TransmitInvalid = "transmit_invalid",
        /// The worker stopped while the packet was in a transmit queue.
        Shutdown = "shutdown",
    }
}

reasons! {
    /// Why a packet was handed to the kernel.
    PuntReason {
        /// For one of the router's own addresses (or its local broadcast).
        Local = "local",
        /// Not IPv4 or IPv6: ARP, LLDP, …
        NotIp = "not_ip",
        /// VLAN tags, or the lack of them, for which the port has no interface.
        VlanUnknown = "vlan_unknown",
        /// To a group MAC address or a multicast IP address.
        Multicast = "multicast",
        /// From or to an IPv6 link-local address, which is never forwarded (RFC 4291 2.5.6).
        LinkLocal = "link_local",
        /// TTL or hop limit of 1 or 0: the kernel sends "time exceeded".
        TtlExpired = "ttl_expired",
        /// An IPv4 header with options, which the kernel processes.
        Ipv4Options = "ipv4_options",
        /// An IPv6 hop-by-hop header, which each router processes (RFC 8200 4.3).
        Ipv6HopByHop = "ipv6_hop_by_hop",
        /// No route: the kernel sends "network unreachable".
        NoRoute = "no_route",
        /// A route of type unreachable, prohibit or throw: the kernel answers.
        RouteRejects = "route_rejects",
        /// The next hop's neighbour is not resolved: the kernel asks for it.
        NeighbourUnresolved = "neighbour_unresolved",
        /// Larger than the outgoing interface's MTU: the kernel fragments or sends "too big".
        TooBig = "too_big",
        /// The route leaves by an interface that Linecard does not serve.
        NotServed = "not_served",
        /// Forwarding is off on the incoming interface: the kernel decides.
        ForwardingOff = "forwarding_off",
    }
}

reasons! {
    /// Why Linecard sent a packet that it had not received.
    Origin {
        /// An ICMP error to the sender of a packet that a filter rejected (RFC 1812 5.2.7.1, RFC 4443 3.1).
        RejectReply = "reject_reply",
        /// The copy of a packet that a filter's rule asked for.
        MirrorCopy = "mirror_copy",
    }
}

reasons! {
    /// Why Linecard did not send a packet of its own that a rule asked for.
    Withheld {
        /// Rejected packets came faster than the limit on replies allows.
        RejectRateLimited = "reject_rate_limited",
        /// No error may be sent about such a packet (RFC 1812 4.3.2.7, RFC 4443 2.4).
        RejectUnanswerable = "reject_unanswerable",
        /// The router has no address of the packet's family to reply from.
        RejectNoAddress = "reject_no_address",
        /// The transmit queue had no room for the reply.
        RejectQueueFull = "reject_queue_full",
        /// Packet memory or the batch had no room for the copy.
        MirrorNoRoom = "mirror_no_room",
        /// The port that gets the copies is down, or not there.
        MirrorPortDown = "mirror_port_down",
        /// The copy is larger than what the port that gets it can send.
        MirrorTooBig = "mirror_too_big",
        /// The transmit queue had no room for the copy.
        MirrorQueueFull = "mirror_queue_full",
    }
}
