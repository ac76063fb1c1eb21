//! What can be wrong with the bytes of a header.

use core::fmt;

/// Why bytes are not the header that a view was asked to see.
///
/// The variants carry no data, so that a caller maps them to counters with one `match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// There are fewer bytes than the fixed header has, or than its length fields state.
    Truncated,
    /// The version field names another protocol version.
    BadVersion,
    /// The header length field (IHL, data offset, extension length) is below the fixed header.
    BadHeaderLength,
    /// The total or datagram length field is smaller than the header that it includes.
    BadTotalLength,
    /// An option's length is zero, below its own header, or beyond the option area.
    BadOption,
    /// ARP for a link layer other than Ethernet.
    BadHardwareType,
    /// ARP for a network layer other than IPv4.
    BadProtocolType,
    /// ARP whose address lengths are not 6 and 4.
    BadAddressLength,
    /// The message is of another type than the view that was asked for.
    BadType,
    /// A chain of IPv6 extension headers is longer than the caller's bound.
    TooManyHeaders,
    /// A hop-by-hop options header stands elsewhere than right behind the IPv6 header.
    BadHeaderOrder,
    /// The frame carries no VLAN tag.
    NotTagged,
}

impl Malformed {
    /// A short English phrase for messages; stable enough to log, not to parse.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Truncated => "truncated: fewer bytes than the header states",
            Self::BadVersion => "wrong protocol version",
            Self::BadHeaderLength => "header length below the minimum",
            Self::BadTotalLength => "total length smaller than the header",
            Self::BadOption => "option with a bad length",
            Self::BadHardwareType => "ARP hardware type is not Ethernet",
            Self::BadProtocolType => "ARP protocol type is not IPv4",
            Self::BadAddressLength => "ARP address lengths are not 6 and 4",
            Self::BadType => "message of another type",
            Self::TooManyHeaders => "too many IPv6 extension headers",
            Self::BadHeaderOrder => "hop-by-hop options not right behind the IPv6 header",
            Self::NotTagged => "no VLAN tag",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl core::error::Error for Malformed {}
