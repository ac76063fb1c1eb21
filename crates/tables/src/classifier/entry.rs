//! Entries, keys, and both as words of 32 bits: the form that cuts and comparisons work on.

use std::fmt;

use super::{NO_MATCH, ORDER_MAX};
use crate::TableFull;
use crate::lpm::{Address, Prefix};

/// Words of a key at the most.
pub(super) const WORDS: usize = 10;

/// The first words of a key are its source address, lowest first: one of IPv4, four of IPv6.
pub(super) const SOURCE_WORD: usize = 0;

/// Words of an address.
pub(super) const fn address_length<A: Address>() -> usize {
    A::BITS as usize / 32
}

/// The destination address follows.
pub(super) const fn destination_word<A: Address>() -> usize {
    address_length::<A>()
}

/// The word of the source port (high half) and the destination port (low half).
pub(super) const fn ports_word<A: Address>() -> usize {
    2 * address_length::<A>()
}

/// The word of `kind` (high half) and `marks` (low half), the last one.
pub(super) const fn kind_word<A: Address>() -> usize {
    ports_word::<A>() + 1
}

/// A range of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The lowest port.
    pub first: u16,
    /// The highest port, not below `first`.
    pub last: u16,
}

impl Ports {
    /// Every port.
    pub const ANY: Self = Self { first: 0, last: u16::MAX };

    /// One port.
    #[must_use]
    pub const fn exactly(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// True if `port` lies within.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// What some bits of a field must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Masked {
    /// The bits; none outside the mask.
    pub value: u16,
    /// The bits that are asked for.
    pub mask: u16,
}

impl Masked {
    /// Any field.
    pub const ANY: Self = Self { value: 0, mask: 0 };

    /// True if the bits of `field` are those asked for.
    #[must_use]
    pub fn contains(self, field: u16) -> bool {
        field & self.mask == self.value
    }
}

/// One entry: what a key must be, and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry<A: Address> {
    /// Where the packet comes from.
    pub source: Prefix<A>,
    /// Where it goes.
    pub destination: Prefix<A>,
    /// Its source port, or the ICMP type.
    pub source_ports: Ports,
    /// Its destination port, or the ICMP code.
    pub destination_ports: Ports,
    /// Its protocol (the low 8 bits) and what sort of packet it is; the caller gives the bits their
    /// meaning. An entry about ports asks here for a packet that has ports.
    pub kind: Masked,
    /// Its TCP flags, DSCP and the like; the caller gives the bits their meaning.
    pub marks: Masked,
    /// Its place among the entries, up to [`ORDER_MAX`]: the lowest that matches wins. No two are alike.
    pub order: u32,
    /// What it stands for: anything but [`NO_MATCH`]. Several entries may stand for the same.
    pub value: u32,
    /// True if there is more to ask, which only the caller of the lookup can.
    pub conditional: bool,
}

impl<A: Address> Entry<A> {
    /// The entry that every key matches.
    #[must_use]
    pub fn any(order: u32, value: u32) -> Self {
        Self {
            source: Prefix::default_route(),
            destination: Prefix::default_route(),
            source_ports: Ports::ANY,
            destination_ports: Ports::ANY,
            kind: Masked::ANY,
            marks: Masked::ANY,
            order,
            value,
            conditional: false,
        }
    }

    /// True if the key matches; conditions that only the caller knows are left out.
    #[must_use]
    pub fn matches(&self, key: &Key<A>) -> bool {
        self.source.contains(key.source)
            && self.destination.contains(key.destination)
            && self.source_ports.contains(key.source_port)
            && self.destination_ports.contains(key.destination_port)
            && self.kind.contains(key.kind)
            && self.marks.contains(key.marks)
    }

    /// Whether it can be stored.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), InvalidEntry> {
        let ranges = [self.source_ports, self.destination_ports];
        let fields = [self.kind, self.marks];
        if ranges.iter().any(|ports| ports.first > ports.last) {
            Err(InvalidEntry::EmptyPorts)
        } else if fields.iter().any(|field| field.value & !field.mask != 0) {
            Err(InvalidEntry::ValueOutsideMask)
        } else if self.order > ORDER_MAX {
            Err(InvalidEntry::ReservedOrder)
        } else if self.value == NO_MATCH {
            Err(InvalidEntry::ReservedValue)
        } else {
            Ok(())
        }
    }

    /// The bits that a word must have, and which are asked for; the ports' word has none, nor has one that
    /// no key has.
    #[inline]
    pub(super) fn word(&self, word: usize) -> (u32, u32) {
        if word < destination_word::<A>() {
            prefix_word(self.source, word)
        } else if word < ports_word::<A>() {
            prefix_word(self.destination, word - destination_word::<A>())
        } else if word == kind_word::<A>() {
            (pack(self.kind.value, self.marks.value), pack(self.kind.mask, self.marks.mask))
        } else {
            (0, 0)
        }
    }
}

/// Word `at` of a prefix, and which of its bits count.
fn prefix_word<A: Address>(prefix: Prefix<A>, at: usize) -> (u32, u32) {
    let bits = prefix_bits(prefix, at);
    (address_words(prefix.bits())[at], u32::MAX.checked_shl(32 - bits).unwrap_or(0))
}

/// How many bits of word `at` a prefix asks for.
pub(super) fn prefix_bits<A: Address>(prefix: Prefix<A>, at: usize) -> u32 {
    let above = u32::from(A::BITS).checked_sub(32 * (at as u32 + 1));
    above.map_or(0, |above| u32::from(prefix.length()).saturating_sub(above).min(32))
}

/// The words of an address, lowest first.
#[inline(always)]
pub(super) fn address_words<A: Address>(address: A) -> [u32; 4] {
    let [high, low] = address.words();
    [low as u32, (low >> 32) as u32, high as u32, (high >> 32) as u32]
}

/// Two fields side by side.
#[inline(always)]
pub(super) fn pack(high: u16, low: u16) -> u32 {
    u32::from(high) << 16 | u32::from(low)
}

/// Why an entry cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidEntry {
    /// A range of ports ends before it begins.
    EmptyPorts,
    /// `kind` or `marks` asks for a bit outside its mask.
    ValueOutsideMask,
    /// The order is beyond [`ORDER_MAX`].
    ReservedOrder,
    /// The value is [`NO_MATCH`].
    ReservedValue,
}

impl fmt::Display for InvalidEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EmptyPorts => "a range of ports ends before it begins",
            Self::ValueOutsideMask => "a field asks for a bit outside its mask",
            Self::ReservedOrder => "the order is beyond the largest",
            Self::ReservedValue => "the value is the one that stands for no match",
        })
    }
}

impl std::error::Error for InvalidEntry {}

/// Why an entry was not added; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertError {
    /// It is no entry.
    Invalid(InvalidEntry),
    /// There is no room.
    Full(TableFull),
}

impl fmt::Display for InsertError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(formatter),
            Self::Full(full) => full.fmt(formatter),
        }
    }
}

impl std::error::Error for InsertError {}

impl From<InvalidEntry> for InsertError {
    fn from(invalid: InvalidEntry) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<TableFull> for InsertError {
    fn from(full: TableFull) -> Self {
        Self::Full(full)
    }
}

/// What is known of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Key<A> {
    /// Source address in host order.
    pub source: A,
    /// Destination address in host order.
    pub destination: A,
    /// Source port or ICMP type; 0 where there is none.
    pub source_port: u16,
    /// Destination port or ICMP code; 0 where there is none.
    pub destination_port: u16,
    /// Protocol and sort, as in [`Entry::kind`].
    pub kind: u16,
    /// TCP flags, DSCP and the like, as in [`Entry::marks`].
    pub marks: u16,
}

/// Many keys, a column a field; all of the same length.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a, A> {
    /// Each packet's [`Key::source`].
    pub sources: &'a [A],
    /// Each packet's [`Key::destination`].
    pub destinations: &'a [A],
    /// Each packet's [`Key::source_port`].
    pub source_ports: &'a [u16],
    /// Each packet's [`Key::destination_port`].
    pub destination_ports: &'a [u16],
    /// Each packet's [`Key::kind`].
    pub kinds: &'a [u16],
    /// Each packet's [`Key::marks`].
    pub marks: &'a [u16],
}

impl<'a, A: Address> Keys<'a, A> {
    /// Keys in the shortest of the columns.
    #[must_use]
    pub fn len(&self) -> usize {
        let addresses = self.sources.len().min(self.destinations.len());
        let ports = self.source_ports.len().min(self.destination_ports.len());
        addresses.min(ports).min(self.kinds.len()).min(self.marks.len())
    }

    /// True if there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys `start` to `end`, which is not beyond their number.
    #[must_use]
    #[inline(always)]
    pub fn part(&self, start: usize, end: usize) -> Self {
        Keys {
            sources: &self.sources[start..end],
            destinations: &self.destinations[start..end],
            source_ports: &self.source_ports[start..end],
            destination_ports: &self.destination_ports[start..end],
            kinds: &self.kinds[start..end],
            marks: &self.marks[start..end],
        }
    }

    /// Key number `at`, which is below their number.
    #[must_use]
    pub fn key(&self, at: usize) -> Key<A> {
        Key {
            source: self.sources[at],
            destination: self.destinations[at],
            source_port: self.source_ports[at],
            destination_port: self.destination_ports[at],
            kind: self.kinds[at],
            marks: self.marks[at],
        }
    }
}

/// Columns of keys that are owned: for whoever has no batch.
#[derive(Debug, Clone, Default)]
pub struct KeyColumns<A> {
    sources: Vec<A>,
    destinations: Vec<A>,
    source_ports: Vec<u16>,
    destination_ports: Vec<u16>,
    kinds: Vec<u16>,
    marks: Vec<u16>,
}

impl<A: Address> KeyColumns<A> {
    /// All keys.
    #[must_use]
    pub fn as_keys(&self) -> Keys<'_, A> {
        Keys {
            sources: &self.sources,
            destinations: &self.destinations,
            source_ports: &self.source_ports,
            destination_ports: &self.destination_ports,
            kinds: &self.kinds,
            marks: &self.marks,
        }
    }
}

impl<A: Address> FromIterator<Key<A>> for KeyColumns<A> {
    fn from_iter<I: IntoIterator<Item = Key<A>>>(keys: I) -> Self {
        let mut columns = Self::default();
        for key in keys {
            columns.sources.push(key.source);
            columns.destinations.push(key.destination);
            columns.source_ports.push(key.source_port);
            columns.destination_ports.push(key.destination_port);
            columns.kinds.push(key.kind);
            columns.marks.push(key.marks);
        }
        columns
    }
}
