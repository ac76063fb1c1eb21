//! What is checked where: checks by port, lists of feasible prefixes, and the registries for lookup.
//!
//! Few addresses are special. So the first 16 bits of an address are looked up in a bitmap of 8 KiB, of which a
//! few lines are in use; only where a special-purpose block begins with them the longest match is asked.

use ipnet::IpNet;
use linecard_packet::PortId;
use linecard_tables::lpm::{Address, Lpm, LpmImplementation, NO_ROUTE, Prefix};
use linecard_tables::publication::Absorb;

use super::registry::{self, Attributes, Entry};
use super::{FeasibleList, MartianFilter, PortCheck, ReversePath, SourceCapacities};

/// One change of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceUpdate {
    /// What is checked of packets that come in by the port.
    SetPort(PortId, PortCheck),
    /// Sets a list of feasible prefixes; an empty one lets nobody in besides.
    SetFeasible(FeasibleList, Vec<IpNet>),
}

/// All checks.
#[derive(Debug)]
pub struct SourceTables {
    capacities: SourceCapacities,
    ports: Vec<PortCheck>,
    feasible: Vec<(Lpm<u32>, Lpm<u128>)>,
    ipv4: Special<u32>,
    ipv6: Special<u128>,
    refused_updates: u64,
}

impl SourceTables {
    /// Nothing is checked.
    #[must_use]
    pub fn new(capacities: &SourceCapacities) -> Self {
        Self {
            capacities: *capacities,
            ports: Vec::new(),
            feasible: Vec::new(),
            ipv4: Special::new(registry::IPV4),
            ipv6: Special::new(registry::IPV6),
            refused_updates: 0,
        }
    }

    /// Updates that were beyond a capacity. Of a refused list what fits is there: packets from the rest
    /// are checked strictly.
    #[must_use]
    pub fn refused_updates(&self) -> u64 {
        self.refused_updates
    }

    /// True while no port checks anything.
    #[inline]
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.ports.is_empty()
    }

    /// What is checked on a port; `None` if nothing is.
    #[inline]
    pub(super) fn port(&self, port: PortId) -> Option<&PortCheck> {
        self.ports.get(port.index()).filter(|check| !check.is_off())
    }

    #[inline]
    pub(super) fn special_ipv4(&self) -> &Special<u32> {
        &self.ipv4
    }

    #[inline]
    pub(super) fn special_ipv6(&self) -> &Special<u128> {
        &self.ipv6
    }

    /// Whether a source is in the port's list.
    pub(super) fn is_feasible_ipv4(&self, check: &PortCheck, source: u32) -> bool {
        self.list(check).is_some_and(|(list, _)| list.lookup(source) != NO_ROUTE)
    }

    /// As [`Self::is_feasible_ipv4`].
    pub(super) fn is_feasible_ipv6(&self, check: &PortCheck, source: u128) -> bool {
        self.list(check).is_some_and(|(_, list)| list.lookup(source) != NO_ROUTE)
    }

    fn list(&self, check: &PortCheck) -> Option<&(Lpm<u32>, Lpm<u128>)> {
        let list = check.feasible.filter(|_| check.reverse_path == ReversePath::Feasible)?;
        self.feasible.get(usize::from(list.0))
    }

    fn set_port(&mut self, port: PortId, check: PortCheck) {
        if port.index() >= self.ports.len() {
            self.ports.resize(port.index() + 1, PortCheck::default());
        }
        self.ports[port.index()] = check;
        let used = self.ports.iter().rposition(|check| !check.is_off()).map_or(0, |last| last + 1);
        self.ports.truncate(used);
    }

    fn set_feasible(&mut self, list: FeasibleList, prefixes: &[IpNet]) -> bool {
        if list.0 >= self.capacities.lists_max {
            return false;
        }
        let prefixes_max = self.capacities.prefixes_max as usize;
        let empty = || {
            let lpm = LpmImplementation::default();
            (Lpm::new(lpm, prefixes_max), Lpm::new(lpm, prefixes_max))
        };
        let index = usize::from(list.0);
        self.feasible.resize_with(self.feasible.len().max(index + 1), empty);
        let (mut ipv4, mut ipv6) = empty();
        let mut fits = true;
        for prefix in prefixes {
            fits &= match *prefix {
                IpNet::V4(prefix) => ipv4.insert(prefix.into(), 1).is_ok(),
                IpNet::V6(prefix) => ipv6.insert(prefix.into(), 1).is_ok(),
            };
        }
        self.feasible[index] = (ipv4, ipv6);
        fits
    }
}

impl Absorb<SourceUpdate> for SourceTables {
    fn absorb(&mut self, update: &SourceUpdate) {
        let fits = match update {
            SourceUpdate::SetPort(port, check) => {
                self.set_port(*port, *check);
                true
            }
            SourceUpdate::SetFeasible(list, prefixes) => self.set_feasible(*list, prefixes),
        };
        self.refused_updates += u64::from(!fits);
    }
}

/// A registry for lookup.
#[derive(Debug)]
pub(super) struct Special<A: Address> {
    /// By the first 16 bits of an address: whether an entry contains one that begins so.
    begins: Box<[u64; 1 << 10]>,
    /// One more than the place in `entries`.
    blocks: Lpm<A>,
    entries: &'static [Entry<A>],
}

impl<A: Address> Special<A> {
    fn new(entries: &'static [Entry<A>]) -> Self {
        let mut begins = Box::new([0; 1 << 10]);
        let mut blocks = Lpm::new(LpmImplementation::default(), entries.len());
        for (place, (address, length, _, _)) in entries.iter().enumerate() {
            let prefix = Prefix::new(*address, *length).expect("the registry has prefixes");
            let inserted = blocks.insert(prefix, place as u32 + 1);
            inserted.expect("there is room for the registry");
            let first = address.bits_at(0, 16);
            let last = first | 0xffff_usize.checked_shr(u32::from(*length)).unwrap_or(0);
            for begin in first..=last {
                begins[begin >> 6] |= 1 << (begin & 63);
            }
        }
        Self { begins, blocks, entries }
    }

    /// What the registry says of an address, if anything.
    #[inline]
    pub(super) fn find(&self, address: A) -> Option<&'static Attributes> {
        let begin = address.bits_at(0, 16);
        if self.begins[begin >> 6] >> (begin & 63) & 1 == 0 {
            return None;
        }
        let place = self.blocks.lookup(address).checked_sub(1)?;
        self.entries.get(place as usize).map(|entry| &entry.2)
    }
}

impl MartianFilter {
    /// Whether packets from addresses with these attributes are refused. What is not forwardable as a
    /// destination could not be answered, so it is no source either.
    #[inline]
    pub(super) fn refuses_source(self, attributes: &Attributes) -> bool {
        match self {
            Self::Off => false,
            Self::Special => !(attributes.source && attributes.forwardable),
            Self::NotGlobal => !(attributes.source && attributes.forwardable && attributes.global),
        }
    }

    /// Whether packets to addresses with these attributes are refused.
    #[inline]
    pub(super) fn refuses_destination(self, attributes: &Attributes) -> bool {
        match self {
            Self::Off => false,
            Self::Special => !(attributes.destination && attributes.forwardable),
            Self::NotGlobal => {
                !(attributes.destination && attributes.forwardable && attributes.global)
            }
        }
    }
}
