//! The sides of a box, and whether one lies within another or within several.

use std::ops::RangeInclusive;

use linecard_services::filter::{BytesMatch, Masked, Match, Prefixes};
use linecard_tables::lpm::{Address, Prefix};

use super::bounds::{Bits, Bounds, address_bounds, port_bounds};
use crate::filter::list::covers;
use crate::filter::names::WITH_PORTS;

/// A side. In the order in which they are compared: those first that tell most rules apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dimension {
    Protocol,
    DestinationPort,
    SourcePort,
    Destination,
    Source,
    Family,
    TcpFlags,
    IcmpType,
    IcmpCode,
    Dscp,
    Fragment,
    Length,
    Ttl,
    Input,
    Vlan,
    FlowLabel,
    Bytes,
    State,
}

const DIMENSIONS: [Dimension; 18] = [
    Dimension::Protocol,
    Dimension::DestinationPort,
    Dimension::SourcePort,
    Dimension::Destination,
    Dimension::Source,
    Dimension::Family,
    Dimension::TcpFlags,
    Dimension::IcmpType,
    Dimension::IcmpCode,
    Dimension::Dscp,
    Dimension::Fragment,
    Dimension::Length,
    Dimension::Ttl,
    Dimension::Input,
    Dimension::Vlan,
    Dimension::FlowLabel,
    Dimension::Bytes,
    Dimension::State,
];

/// In how many dimensions a box lacks something of another.
pub(super) enum Lacks {
    Nothing,
    One(Dimension),
    More,
}

const ALL: Bits = [u64::MAX; 4];

fn bits(numbers: impl Iterator<Item = u8>) -> Bits {
    numbers.fold([0; 4], |mut bits, number| {
        bits[usize::from(number) / 64] |= 1 << (number % 64);
        bits
    })
}

fn or(one: Bits, other: Bits) -> Bits {
    std::array::from_fn(|word| one[word] | other[word])
}

fn within(inner: &Bits, outer: &Bits) -> bool {
    inner.iter().zip(outer).all(|(inner, outer)| inner & !outer == 0)
}

pub(super) const IPV4: u8 = 1;
pub(super) const IPV6: u8 = 2;

/// A match with its small sets worked out: what it means that nothing is asked.
pub(super) struct Shape<'a> {
    asks: &'a Match,
    bounds: Bounds,
    protocols: Bits,
    /// Values of the flags octet.
    tcp_flags: Bits,
    dscps: u64,
    /// [`IPV4`], [`IPV6`] or both.
    families: u8,
    fragments: u8,
    states: u8,
}

impl<'a> Shape<'a> {
    pub(super) fn of(asks: &'a Match) -> Self {
        let ports = !asks.source_ports.is_empty() || !asks.destination_ports.is_empty();
        let protocols = match (&asks.protocols[..], ports) {
            ([], true) => bits(WITH_PORTS.into_iter()),
            ([], false) => ALL,
            (listed, _) => bits(listed.iter().copied()),
        };
        let flags = |octet: &u8| {
            let matches = |flags: &Masked<u8>| octet & flags.mask == flags.value;
            asks.tcp_flags.is_empty() || asks.tcp_flags.iter().any(matches)
        };
        let s = asks.states;
        let states = [s.new, s.established, s.related, s.invalid];
        let states = states.iter().rev().fold(0, |bits, &asked| bits << 1 | u8::from(asked));
        let families = families(asks);
        Self {
            asks,
            bounds: Bounds {
                protocols,
                families,
                destination_ports: port_bounds(&asks.destination_ports),
                source_ports: port_bounds(&asks.source_ports),
                destinations: address_bounds(&asks.destination),
                sources: address_bounds(&asks.source),
            },
            protocols,
            tcp_flags: bits((0..=255).filter(flags)),
            dscps: match &asks.dscps[..] {
                [] => u64::MAX,
                listed => listed.iter().fold(0, |bits, dscp| bits | 1 << (dscp & 63)),
            },
            families,
            fragments: if asks.fragments == 0 { 7 } else { asks.fragments },
            states: if states == 0 { 15 } else { states },
        }
    }

    /// Whether this box lacks something of `inner`; [`Lacks::More`] also when it surely lacks more than
    /// `lacking_max` dimensions.
    pub(super) fn lacks(&self, inner: &Self, lacking_max: usize) -> Lacks {
        if self.bounds.surely_lacks(&inner.bounds) > lacking_max {
            return Lacks::More;
        }
        let mut lacking = None;
        for dimension in DIMENSIONS {
            if !inner.is_within(dimension, std::iter::once(self)) {
                if lacking.is_some() {
                    return Lacks::More;
                }
                lacking = Some(dimension);
            }
        }
        lacking.map_or(Lacks::Nothing, Lacks::One)
    }

    /// Whether this side lies within those of `outer` taken together.
    pub(super) fn is_within<'b>(
        &self,
        dimension: Dimension,
        mut outer: impl Iterator<Item = &'b Self> + Clone,
    ) -> bool
    where
        'a: 'b,
    {
        let (a, m) = (self, self.asks);
        let small = |of: fn(&Self) -> u8| of(a) & !outer.clone().fold(0, |all, o| all | of(o)) == 0;
        match dimension {
            Dimension::Protocol => {
                within(&a.protocols, &outer.fold([0; 4], |all, o| or(all, o.protocols)))
            }
            Dimension::TcpFlags => {
                within(&a.tcp_flags, &outer.fold([0; 4], |all, o| or(all, o.tcp_flags)))
            }
            Dimension::Dscp => a.dscps & !outer.fold(0, |all, o| all | o.dscps) == 0,
            Dimension::Family => small(|of| of.families),
            Dimension::Fragment => small(|of| of.fragments),
            Dimension::State => small(|of| of.states),
            Dimension::Source => a.addresses_within(|of| &of.asks.source, outer),
            Dimension::Destination => a.addresses_within(|of| &of.asks.destination, outer),
            // Not every packet has ports, a type, a code: to ask for all of them asks for something.
            Dimension::SourcePort => ranges_within(&m.source_ports, |o| &o.source_ports, outer),
            Dimension::DestinationPort => {
                ranges_within(&m.destination_ports, |o| &o.destination_ports, outer)
            }
            Dimension::IcmpType => ranges_within(&m.icmp_types, |o| &o.icmp_types, outer),
            Dimension::IcmpCode => ranges_within(&m.icmp_codes, |o| &o.icmp_codes, outer),
            // But every packet has these.
            Dimension::Length => {
                ranges_within(or_all(&m.lengths, &[0..=u16::MAX]), |o| &o.lengths, outer)
            }
            Dimension::Ttl => ranges_within(or_all(&m.ttls, &[0..=u8::MAX]), |o| &o.ttls, outer),
            Dimension::Vlan => ranges_within(or_all(&m.vlans, &[0..=4095]), |o| &o.vlans, outer),
            Dimension::Input => {
                outer.clone().any(|o| o.asks.in_ports.is_empty())
                    || !m.in_ports.is_empty()
                        && m.in_ports
                            .iter()
                            .all(|port| outer.clone().any(|o| o.asks.in_ports.contains(port)))
            }
            Dimension::FlowLabel => labels_within(&m.flow_labels, outer),
            Dimension::Bytes => outer.any(|o| o.asks.bytes.iter().all(|of| implied(of, &m.bytes))),
        }
    }

    /// Whether the addresses of each family that both sides have lie within those of `outer`.
    fn addresses_within<'b>(
        &self,
        of: impl Fn(&Self) -> &Prefixes,
        outer: impl Iterator<Item = &'b Self> + Clone,
    ) -> bool
    where
        'a: 'b,
    {
        let own = of(self);
        let ipv4 = || {
            let lists = outer.clone().filter(|o| o.families & IPV4 != 0);
            let lists = lists.map(|o| (of(o).is_any(), &of(o).ipv4[..]));
            // A family that nobody outside has is lacking as such, not here.
            let asked = self.families & IPV4 != 0 && lists.clone().next().is_some();
            !asked || prefixes_within(own.is_any(), &own.ipv4, lists)
        };
        let ipv6 = || {
            let lists = outer.clone().filter(|o| o.families & IPV6 != 0);
            let lists = lists.map(|o| (of(o).is_any(), &of(o).ipv6[..]));
            let asked = self.families & IPV6 != 0 && lists.clone().next().is_some();
            !asked || prefixes_within(own.is_any(), &own.ipv6, lists)
        };
        ipv4() && ipv6()
    }
}

/// The families whose packets may match.
pub(super) fn families(asks: &Match) -> u8 {
    let mut families = match (asks.ipv4, asks.ipv6) {
        (true, false) => IPV4,
        (false, true) => IPV6,
        _ => IPV4 | IPV6,
    };
    for list in [&asks.source, &asks.destination] {
        if !list.is_any() {
            families &= if list.ipv4.is_empty() { IPV6 } else { families };
            families &= if list.ipv6.is_empty() { IPV4 } else { families };
        }
    }
    let label = if asks.flow_labels.is_empty() { IPV4 | IPV6 } else { IPV6 };
    families & label
}

fn or_all<'a, T>(
    ranges: &'a [RangeInclusive<T>],
    all: &'a [RangeInclusive<T>],
) -> &'a [RangeInclusive<T>] {
    if ranges.is_empty() { all } else { ranges }
}

/// Whether ranges lie within those of several rules together; an empty list is all there is.
fn ranges_within<'b, 'a: 'b, T: Copy + Ord + Into<u32> + 'b>(
    inner: &[RangeInclusive<T>],
    of: impl Fn(&'b Match) -> &'b Vec<RangeInclusive<T>>,
    outer: impl Iterator<Item = &'b Shape<'a>> + Clone,
) -> bool {
    if outer.clone().any(|o| of(o.asks).is_empty()) {
        return true;
    }
    // The common case, without a list of all: one rule, one range each.
    let mut rules = outer.clone();
    let (first, more) = (rules.next(), rules.next().is_some());
    if let (Some(first), false) = (first, more) {
        let has = |range: &RangeInclusive<T>| {
            let holds =
                |o: &RangeInclusive<T>| o.start() <= range.start() && range.end() <= o.end();
            of(first.asks).iter().any(holds)
        };
        return !inner.is_empty() && inner.iter().all(has);
    }
    let numbers = |range: &RangeInclusive<T>| {
        let (first, last): (u32, u32) = ((*range.start()).into(), (*range.end()).into());
        (u128::from(first), u128::from(last))
    };
    let mut all: Vec<(u128, u128)> = outer.flat_map(|o| of(o.asks)).map(numbers).collect();
    !inner.is_empty() && intervals_within(inner.iter().map(numbers), &mut all)
}

fn prefixes_within<'b, A: Address + Into<u128> + 'b>(
    inner_any: bool,
    inner: &[Prefix<A>],
    outer: impl Iterator<Item = (bool, &'b [Prefix<A>])> + Clone,
) -> bool {
    if outer.clone().any(|(any, _)| any) {
        return true;
    }
    let whole = [Prefix::default_route()];
    let inner = if inner_any { &whole } else { inner };
    let one_has = |prefix: &Prefix<A>| {
        outer.clone().any(|(_, list)| {
            // Sorted and disjoint: only the last that begins no later can contain it.
            let behind = list.partition_point(|o| o.bits() <= prefix.bits());
            behind.checked_sub(1).is_some_and(|at| covers(list[at], *prefix))
        })
    };
    if inner.iter().all(one_has) {
        return true;
    }
    let mut rules = outer.clone();
    if rules.next().is_none() || rules.next().is_none() {
        return false;
    }
    let interval = |prefix: &Prefix<A>| {
        let (first, mask): (u128, u128) = (prefix.bits().into(), A::mask(prefix.length()).into());
        let all: u128 = A::mask(A::BITS).into();
        (first, first | (all & !mask))
    };
    let mut all: Vec<(u128, u128)> = outer.flat_map(|(_, list)| list).map(interval).collect();
    intervals_within(inner.iter().map(interval), &mut all)
}

fn intervals_within(
    mut inner: impl Iterator<Item = (u128, u128)>,
    outer: &mut [(u128, u128)],
) -> bool {
    outer.sort_unstable();
    inner.all(|(first, last)| {
        let mut next = Some(first);
        for &(from, to) in outer.iter() {
            match next {
                Some(at) if from <= at && at <= to => next = to.checked_add(1),
                Some(at) if from > at => break,
                _ => {}
            }
        }
        next.is_none_or(|at| at > last)
    })
}

fn labels_within<'b, 'a: 'b>(
    inner: &[Masked<u32>],
    mut outer: impl Iterator<Item = &'b Shape<'a>> + Clone,
) -> bool {
    let has = |one: &Masked<u32>| {
        let holds = |o: &Masked<u32>| o.mask & !one.mask == 0 && one.value & o.mask == o.value;
        outer.clone().any(|o| o.asks.flow_labels.iter().any(holds))
    };
    let each = !inner.is_empty() && inner.iter().all(has);
    each || outer.any(|o| o.asks.flow_labels.is_empty())
}

/// Whether a packet that has all of `known` must have `asked`.
fn implied(asked: &BytesMatch, known: &[BytesMatch]) -> bool {
    let same = || known.iter().filter(|one| one.anchor == asked.anchor);
    let end = |of: &BytesMatch| u32::from(of.offset) + u32::from(of.length);
    let bits_at = |at: usize| {
        let mut mask = 0;
        for one in same() {
            if let Some(of) = at.checked_sub(usize::from(one.offset))
                && of < usize::from(one.length)
            {
                mask |=
                    one.mask[of] & !(one.value[of] ^ asked.value[at - usize::from(asked.offset)]);
            }
        }
        mask
    };
    let is_long_enough = same().any(|one| end(one) >= end(asked));
    is_long_enough
        && (0..usize::from(asked.length)).all(|of| {
            let at = usize::from(asked.offset) + of;
            asked.mask[of] & !bits_at(at) == 0
        })
}
