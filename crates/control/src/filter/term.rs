//! What a line says, before it is judged: sets and ports are names still.

use std::ops::{Range, RangeInclusive};

use ipnet::IpNet;
use linecard_services::filter::{BytesMatch, Masked, States};

/// A value and the bytes of the line that say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

/// The values of a term: one, or those between braces. Never empty.
pub(crate) type List<T> = Vec<At<T>>;

/// One term of a conjunction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Term {
    /// From its keyword to the end of its value.
    pub(crate) span: Range<usize>,
    /// Its keyword.
    pub(crate) keyword: &'static str,
    pub(crate) ask: Ask,
}

/// Of which end of a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

/// A member of a list: something written out, or all of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member<T> {
    Literal(T),
    Set(String),
}

impl<T> Member<T> {
    /// The name of the set, if it is one.
    pub(crate) fn set(&self) -> Option<&str> {
        match self {
            Self::Set(name) => Some(name),
            Self::Literal(_) => None,
        }
    }
}

/// An ICMP type or code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IcmpValue {
    Numbers(RangeInclusive<u8>),
    /// What it means depends on the protocol.
    Name(String),
}

/// What a term asks of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing.
    Any,
    Ipv4,
    Ipv6,
    Protocol(List<u8>),
    Addresses(Side, List<Member<IpNet>>),
    Ports(Side, List<Member<RangeInclusive<u16>>>),
    IcmpType(List<IcmpValue>),
    IcmpCode(List<IcmpValue>),
    TcpFlags(List<Masked<u8>>),
    Dscp(List<u8>),
    Fragment(List<u8>),
    Length(List<RangeInclusive<u16>>),
    Ttl(List<RangeInclusive<u8>>),
    Input(List<String>),
    Vlan(List<RangeInclusive<u16>>),
    FlowLabel(List<Masked<u32>>),
    Bytes(BytesMatch),
    State(List<States>),
}

impl Ask {
    /// Names of the sets that it is about.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &str> {
        fn of<T>(list: &[At<Member<T>>]) -> Vec<&str> {
            list.iter().filter_map(|member| member.value.set()).collect()
        }
        match self {
            Self::Addresses(_, list) => of(list),
            Self::Ports(_, list) => of(list),
            _ => Vec::new(),
        }
        .into_iter()
    }
}
