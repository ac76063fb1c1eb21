//! From a rule's condition to the classifier's entries: one for each combination of its lists' members.

use std::fmt;
use std::ops::RangeInclusive;

use linecard_tables::classifier::{Entry, Masked, Ports};
use linecard_tables::lpm::{Address, Prefix};
use linecard_wire::ip::Protocol;

use super::key::{
    DSCP_SHIFT, HAS_ICMP, HAS_PORTS, HAS_STATE, HAS_TCP_FLAGS, IS_FRAGMENT, IS_LATER_FRAGMENT,
    STATE_KNOWN, STATE_MASK, mark_of,
};
use super::rule::{FRAGMENT_FIRST, FRAGMENT_LATER, FRAGMENT_NONE, Match, Prefixes, States};
use crate::connection::ConnectionState;

/// A rule's lists have too many combinations for the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyEntries {
    /// How many there are.
    pub entries: usize,
    /// How many fit.
    pub entries_max: usize,
}

impl fmt::Display for TooManyEntries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, entries_max } = self;
        write!(formatter, "it takes {entries} entries of a table with room for {entries_max}")
    }
}

impl std::error::Error for TooManyEntries {}

/// A family of addresses, as rules speak of it.
pub(super) trait Family: Address {
    /// The prefixes of this family, and whether there are others.
    fn prefixes(prefixes: &Prefixes) -> &[Prefix<Self>];
    /// Whether packets of this family may match.
    fn is_meant(condition: &Match) -> bool;
    /// Its ICMP.
    const ICMP: Protocol;
}

impl Family for u32 {
    fn prefixes(prefixes: &Prefixes) -> &[Prefix<Self>] {
        &prefixes.ipv4
    }

    fn is_meant(condition: &Match) -> bool {
        (condition.ipv4 || !condition.ipv6) && condition.flow_labels.is_empty()
    }

    const ICMP: Protocol = Protocol::ICMPV4;
}

impl Family for u128 {
    fn prefixes(prefixes: &Prefixes) -> &[Prefix<Self>] {
        &prefixes.ipv6
    }

    fn is_meant(condition: &Match) -> bool {
        condition.ipv6 || !condition.ipv4
    }

    const ICMP: Protocol = Protocol::ICMPV6;
}

/// Appends the entries of a condition, whose value is `value`; their order is left for the caller to set.
pub(super) fn expand<A: Family>(
    condition: &Match,
    (value, conditional): (u32, bool),
    entries_max: usize,
    entries: &mut Vec<Entry<A>>,
) -> Result<(), TooManyEntries> {
    if !A::is_meant(condition) {
        return Ok(());
    }
    let (Some(sources), Some(destinations)) =
        (addresses::<A>(&condition.source), addresses::<A>(&condition.destination))
    else {
        return Ok(());
    };
    let kinds = kinds::<A>(condition);
    let marks = marks(condition);
    let (first, second) = upper_layer_fields(condition);
    let lengths =
        [sources.len(), destinations.len(), kinds.len(), marks.len(), first.len(), second.len()];
    let count = lengths.into_iter().fold(1, usize::saturating_mul);
    if entries.len().saturating_add(count) > entries_max {
        return Err(TooManyEntries { entries: entries.len().saturating_add(count), entries_max });
    }
    for &source in &sources {
        for &destination in &destinations {
            for &kind in &kinds {
                for &marks in &marks {
                    for &source_ports in &first {
                        for &destination_ports in &second {
                            entries.push(Entry {
                                source,
                                destination,
                                source_ports,
                                destination_ports,
                                kind,
                                marks,
                                value,
                                conditional,
                                order: 0,
                            });
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

/// `None` when no address of the family is meant.
fn addresses<A: Family>(prefixes: &Prefixes) -> Option<Vec<Prefix<A>>> {
    if prefixes.is_any() {
        return Some(vec![Prefix::default_route()]);
    }
    let own = A::prefixes(prefixes);
    (!own.is_empty()).then(|| own.to_vec())
}

/// Protocols, kinds of fragments, and what must be there for the other parts to be asked.
fn kinds<A: Family>(condition: &Match) -> Vec<Masked> {
    let mut needs = 0;
    if !(condition.source_ports.is_empty() && condition.destination_ports.is_empty()) {
        needs |= HAS_PORTS;
    }
    if !condition.tcp_flags.is_empty() {
        needs |= HAS_TCP_FLAGS;
    }
    if !condition.states.is_any() {
        needs |= HAS_STATE;
    }
    let mut protocols: Vec<Masked> = condition.protocols.iter().map(|&it| protocol(it)).collect();
    if !(condition.icmp_types.is_empty() && condition.icmp_codes.is_empty()) {
        needs |= HAS_ICMP;
        if protocols.is_empty() {
            protocols.push(protocol(A::ICMP.0));
        }
    }
    if protocols.is_empty() {
        protocols.push(Masked::ANY);
    }
    let fragments = fragments(condition.fragments);
    let both = |of: Masked, and: Masked| Masked {
        value: of.value | and.value | needs,
        mask: of.mask | and.mask | needs,
    };
    protocols.iter().flat_map(|&of| fragments.iter().map(move |&and| both(of, and))).collect()
}

fn protocol(number: u8) -> Masked {
    Masked { value: u16::from(number), mask: 0xff }
}

fn fragments(wanted: u8) -> Vec<Masked> {
    const NONE: Masked = Masked { value: 0, mask: IS_FRAGMENT };
    const FIRST: Masked = Masked { value: IS_FRAGMENT, mask: IS_FRAGMENT | IS_LATER_FRAGMENT };
    const LATER: Masked = Masked { value: IS_LATER_FRAGMENT, mask: IS_LATER_FRAGMENT };
    const ANY_FRAGMENT: Masked = Masked { value: IS_FRAGMENT, mask: IS_FRAGMENT };
    const NOT_LATER: Masked = Masked { value: 0, mask: IS_LATER_FRAGMENT };
    let has = |bit| wanted & bit != 0;
    match (has(FRAGMENT_NONE), has(FRAGMENT_FIRST), has(FRAGMENT_LATER)) {
        (true, true, true) | (false, false, false) => vec![Masked::ANY],
        (true, false, false) => vec![NONE],
        (false, true, false) => vec![FIRST],
        (false, false, true) => vec![LATER],
        (true, true, false) => vec![NOT_LATER],
        (false, true, true) => vec![ANY_FRAGMENT],
        (true, false, true) => vec![NONE, LATER],
    }
}

/// TCP flags, DSCP and states.
fn marks(condition: &Match) -> Vec<Masked> {
    let mut flags: Vec<Masked> = condition
        .tcp_flags
        .iter()
        .map(|flags| Masked { value: u16::from(flags.value), mask: u16::from(flags.mask) })
        .collect();
    if flags.is_empty() {
        flags.push(Masked::ANY);
    }
    let mut dscps: Vec<Masked> = condition
        .dscps
        .iter()
        .map(|&dscp| Masked { value: u16::from(dscp) << DSCP_SHIFT, mask: 0x3f << DSCP_SHIFT })
        .collect();
    if dscps.is_empty() {
        dscps.push(Masked::ANY);
    }
    let states = states(condition.states);
    let both =
        |of: Masked, and: Masked| Masked { value: of.value | and.value, mask: of.mask | and.mask };
    let flags = flags.iter().flat_map(|&of| dscps.iter().map(move |&and| both(of, and)));
    flags.flat_map(|of| states.iter().map(move |&and| both(of, and))).collect()
}

/// States of the connection, of packets that have one.
fn states(states: States) -> Vec<Masked> {
    const KNOWN: Masked = Masked { value: STATE_KNOWN, mask: STATE_KNOWN };
    let States { new, established, related, invalid } = states;
    let one = |state| Masked { value: mark_of(state), mask: STATE_MASK };
    if new == established && established == related && related == invalid {
        return vec![Masked::ANY];
    }
    let known: &[Masked] = match (established, related) {
        (true, true) => &[KNOWN],
        (true, false) => &[one(ConnectionState::Established)],
        (false, true) => &[one(ConnectionState::Related)],
        (false, false) => &[],
    };
    let others = [(new, ConnectionState::New), (invalid, ConnectionState::Invalid)];
    let others = others.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, it)| one(it));
    known.iter().copied().chain(others).collect()
}

/// Source and destination ports, or ICMP types and codes. A condition on both never holds, because no packet
/// has both: its kinds say so.
fn upper_layer_fields(condition: &Match) -> (Vec<Ports>, Vec<Ports>) {
    let narrow = |range: &RangeInclusive<u8>| Ports {
        first: u16::from(*range.start()),
        last: u16::from(*range.end()),
    };
    let wide = |range: &RangeInclusive<u16>| Ports { first: *range.start(), last: *range.end() };
    let fields = |ports: &[RangeInclusive<u16>], icmp: &[RangeInclusive<u8>]| {
        let mut fields: Vec<_> = ports.iter().map(wide).chain(icmp.iter().map(narrow)).collect();
        if fields.is_empty() {
            fields.push(Ports::ANY);
        }
        fields
    };
    (
        fields(&condition.source_ports, &condition.icmp_types),
        fields(&condition.destination_ports, &condition.icmp_codes),
    )
}
