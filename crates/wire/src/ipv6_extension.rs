//! The chain of IPv6 extension headers (RFC 8200 §4).
//!
//! A router needs from it the ports of the upper layer, whether the packet is a fragment, and
//! whether a hop-by-hop header asks for more. The walk knows the five kinds whose layout it can
//! trust: hop-by-hop options, routing, fragment, destination options and authentication (RFC 4302,
//! whose length counts in other units). It ends at anything else, ESP and "no next header"
//! included, and calls that the upper layer. It is bounded by the caller: a long chain is a known
//! way to make a router work for nothing (RFC 9098).

use crate::Malformed;
use crate::field::Fields;
use crate::ip::Protocol;

/// A bound on extension headers that lets legitimate chains pass: RFC 8200 §4.1 recommends an order
/// of at most seven headers.
pub const HEADERS_MAX: usize = 8;

/// Option type of the router alert (RFC 2711).
pub const OPTION_ROUTER_ALERT: u8 = 5;

const HEADER_LENGTH_MIN: usize = 8;
const PAD_1: u8 = 0;
const PAD_N: u8 = 1;

/// One extension header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    fields: Fields<'a, HEADER_LENGTH_MIN>,
    protocol: Protocol,
    bytes: &'a [u8],
    behind: &'a [u8],
}

impl<'a> Header<'a> {
    /// Checks the length of the header of kind `protocol` at the start of `bytes`.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when it is cut off, [`Malformed::BadType`] when `protocol` is none
    /// of [`Protocol::is_ipv6_extension`], [`Malformed::BadHeaderLength`] for an authentication
    /// header shorter than its fixed part.
    #[inline]
    pub fn new(protocol: Protocol, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (fields, _) = Fields::<HEADER_LENGTH_MIN>::split(bytes)?;
        let units = usize::from(fields.u8::<1>());
        let length = match protocol {
            Protocol::FRAGMENT => HEADER_LENGTH_MIN,
            // RFC 4302 §2.2: in units of 4 bytes, less 2; the fixed part has 12 bytes.
            Protocol::AUTHENTICATION if units == 0 => return Err(Malformed::BadHeaderLength),
            Protocol::AUTHENTICATION => (units + 2) * 4,
            _ if protocol.is_ipv6_extension() => (units + 1) * 8,
            _ => return Err(Malformed::BadType),
        };
        let (bytes, behind) = bytes.split_at_checked(length).ok_or(Malformed::Truncated)?;
        Ok(Self { fields, protocol, bytes, behind })
    }

    /// Its own kind.
    #[inline]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What stands behind it.
    #[inline]
    pub const fn next_header(&self) -> Protocol {
        Protocol(self.fields.u8::<0>())
    }

    /// The header's own bytes, at least 8.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header.
    #[inline]
    pub const fn behind(&self) -> &'a [u8] {
        self.behind
    }

    /// The options of a hop-by-hop or destination options header; none for another kind.
    pub fn options(&self) -> TlvOptions<'a> {
        let carries = matches!(self.protocol, Protocol::HOP_BY_HOP | Protocol::DESTINATION_OPTIONS);
        TlvOptions { rest: if carries { self.bytes.get(2..).unwrap_or(&[]) } else { &[] } }
    }

    /// The routing type and the segments left of a routing header.
    #[inline]
    pub fn routing(&self) -> Option<(u8, u8)> {
        let routing = self.protocol == Protocol::ROUTING;
        routing.then(|| (self.fields.u8::<2>(), self.fields.u8::<3>()))
    }

    /// The fields of a fragment header.
    #[inline]
    pub fn fragment(&self) -> Option<Fragment> {
        let word = self.fields.u16::<2>();
        (self.protocol == Protocol::FRAGMENT).then(|| Fragment {
            offset: word & 0xfff8,
            more_fragments: word & 1 != 0,
            identification: self.fields.u32::<4>(),
        })
    }
}

/// The fields of a fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    /// Where the fragment stands in the fragmentable part, in bytes: a multiple of 8.
    pub offset: u16,
    /// Whether more follow.
    pub more_fragments: bool,
    /// What the fragments of one packet share.
    pub identification: u32,
}

impl Fragment {
    /// Whether the fragment has the upper-layer header.
    #[inline]
    pub const fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// Whether it is the whole packet in one fragment (RFC 6946).
    #[inline]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more_fragments
    }
}

/// Where the chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer<'a> {
    /// The protocol of [`UpperLayer::payload`].
    pub protocol: Protocol,
    /// Bytes of extension headers: the upper layer stands at 40 plus this in the packet.
    pub offset: usize,
    /// Upper-layer header and data; of a fragment that is not the first, data only.
    pub payload: &'a [u8],
    /// The fragment header's fields, if there was one.
    pub fragment: Option<Fragment>,
    /// Whether the chain began with hop-by-hop options.
    pub hop_by_hop: bool,
    /// Whether there was a routing header.
    pub routing: bool,
}

impl<'a> UpperLayer<'a> {
    /// Walks a chain whose first header is of kind `protocol`.
    ///
    /// Behind the fragment header of a fragment that is not the first there are no headers to
    /// read, so the walk ends there.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] or [`Malformed::BadHeaderLength`] as [`Header::new`],
    /// [`Malformed::TooManyHeaders`] beyond `headers_max`, [`Malformed::BadHeaderOrder`] for
    /// hop-by-hop options that are not first.
    #[inline]
    pub fn find(
        protocol: Protocol,
        bytes: &'a [u8],
        headers_max: usize,
    ) -> Result<Self, Malformed> {
        let upper = Self {
            protocol,
            offset: 0,
            payload: bytes,
            fragment: None,
            hop_by_hop: false,
            routing: false,
        };
        if protocol.is_ipv6_extension() { upper.walk(headers_max) } else { Ok(upper) }
    }

    fn walk(mut self, headers_max: usize) -> Result<Self, Malformed> {
        let mut count = 0;
        while self.protocol.is_ipv6_extension() {
            if count == headers_max {
                return Err(Malformed::TooManyHeaders);
            }
            let header = Header::new(self.protocol, self.payload)?;
            match self.protocol {
                Protocol::HOP_BY_HOP if count > 0 => return Err(Malformed::BadHeaderOrder),
                Protocol::HOP_BY_HOP => self.hop_by_hop = true,
                Protocol::ROUTING => self.routing = true,
                Protocol::FRAGMENT => self.fragment = header.fragment(),
                _ => {}
            }
            count += 1;
            self.protocol = header.next_header();
            self.offset += header.bytes().len();
            self.payload = header.behind();
            if self.fragment.is_some_and(|fragment| !fragment.is_first()) {
                break;
            }
        }
        Ok(self)
    }

    /// Whether the payload starts with the upper-layer header.
    #[inline]
    pub fn has_header(&self) -> bool {
        self.fragment.is_none_or(|fragment| fragment.is_first())
    }
}

/// One option of a hop-by-hop or destination options header (RFC 8200 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvOption<'a> {
    /// The type byte; its two high bits say what to do if the type is unknown.
    pub kind: u8,
    /// The option's data.
    pub data: &'a [u8],
}

/// The options of such a header, padding left out.
///
/// A length beyond the header yields one [`Malformed::BadOption`] and ends the iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlvOptions<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for TlvOptions<'a> {
    type Item = Result<TlvOption<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (kind, behind) = match *core::mem::take(&mut self.rest) {
                [] => return None,
                [PAD_1, ref rest @ ..] => {
                    self.rest = rest;
                    continue;
                }
                [kind, length, ref rest @ ..] => (kind, rest.split_at_checked(length.into())),
                [_] => (PAD_N, None),
            };
            let Some((data, rest)) = behind else {
                return Some(Err(Malformed::BadOption));
            };
            self.rest = rest;
            if kind != PAD_N {
                return Some(Ok(TlvOption { kind, data }));
            }
        }
    }
}
