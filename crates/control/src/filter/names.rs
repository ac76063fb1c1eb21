//! Names of numbers, each from the document that gives it.

use linecard_wire::ip::Protocol;

/// A name and its number. Of several names of one number the first is printed.
pub(super) type Table = [(&'static str, u8)];

/// IANA "Assigned Internet Protocol Numbers".
pub(super) const PROTOCOLS: &Table = &[
    ("icmp", Protocol::ICMPV4.0),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", Protocol::TCP.0),
    ("udp", Protocol::UDP.0),
    ("dccp", 33),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", Protocol::ICMPV6.0),
    ("eigrp", 88),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", Protocol::SCTP.0),
    ("udplite", 136),
    ("mpls", 137),
];

/// Protocols whose first four bytes are ports, as [`linecard_packet`] reads them.
pub(super) const WITH_PORTS: [u8; 3] = [Protocol::TCP.0, Protocol::UDP.0, Protocol::SCTP.0];

/// RFC 2474 (cs), RFC 2597 (af), RFC 3246 (ef), RFC 5865 (voice-admit), RFC 8622 (le).
pub(super) const DSCPS: &Table = &[
    ("cs0", 0),
    ("default", 0),
    ("le", 1),
    ("cs1", 8),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("cs2", 16),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("cs3", 24),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("cs4", 32),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("cs5", 40),
    ("voice-admit", 44),
    ("ef", 46),
    ("cs6", 48),
    ("cs7", 56),
];

/// RFC 9293 3.1.
pub(super) const TCP_FLAGS: &Table = &[
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("psh", 8),
    ("ack", 16),
    ("urg", 32),
    ("ece", 64),
    ("cwr", 128),
];

/// RFC 792, RFC 1256 (router), RFC 950 (mask).
pub(super) const ICMP_TYPES: &Table = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("information-request", 15),
    ("information-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

/// RFC 4443, RFC 2710 and RFC 3810 (listener), RFC 4861 (router, neighbour, redirect).
pub(super) const ICMPV6_TYPES: &Table = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("listener-query", 130),
    ("listener-report", 131),
    ("listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
    ("listener-report-v2", 143),
];

/// The name of a code, the type that it is a code of, and its number.
pub(super) type CodeTable = [(&'static str, u8, u8)];

/// RFC 792, RFC 1812 5.2.7.1 (prohibited).
pub(super) const ICMP_CODES: &CodeTable = &[
    ("network-unreachable", 3, 0),
    ("host-unreachable", 3, 1),
    ("protocol-unreachable", 3, 2),
    ("port-unreachable", 3, 3),
    ("fragmentation-needed", 3, 4),
    ("source-route-failed", 3, 5),
    ("network-prohibited", 3, 9),
    ("host-prohibited", 3, 10),
    ("administratively-prohibited", 3, 13),
    ("redirect-network", 5, 0),
    ("redirect-host", 5, 1),
    ("ttl-exceeded", 11, 0),
    ("reassembly-time-exceeded", 11, 1),
];

/// RFC 4443 3.
pub(super) const ICMPV6_CODES: &CodeTable = &[
    ("no-route", 1, 0),
    ("administratively-prohibited", 1, 1),
    ("beyond-scope", 1, 2),
    ("address-unreachable", 1, 3),
    ("port-unreachable", 1, 4),
    ("policy-failed", 1, 5),
    ("reject-route", 1, 6),
    ("hop-limit-exceeded", 3, 0),
    ("reassembly-time-exceeded", 3, 1),
    ("erroneous-header", 4, 0),
    ("unknown-next-header", 4, 1),
    ("unknown-option", 4, 2),
];

/// The number that `name` stands for.
pub(super) fn number(table: &Table, name: &str) -> Option<u8> {
    table.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The name that `number` is printed by.
pub(super) fn name(table: &Table, number: u8) -> Option<&'static str> {
    table.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

/// All names.
pub(super) fn words(table: &Table) -> impl Iterator<Item = &'static str> + Clone {
    table.iter().map(|(name, _)| *name)
}
