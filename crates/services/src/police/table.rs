//! The policers as workers read them: what the control side publishes.
//!
//! A policer has a number, its slot; rules of a filter and ports refer to it by that. What it is told stands
//! here and is read-only; what is in its buckets is each worker's own ([`super::PolicerMeters`]), or, when there
//! are several workers, in a pool of credit that both copies of the tables point to. So a change
//! of the rate leaves buckets and counters alone.
//!
//! A slot that is given to another policer gets another *incarnation*: the first packet that a worker
//! has for it finds a meter and counters of an older one, and starts them anew. Nobody has to go through all
//! workers and wait.
//!
//! A policer *by port* is several policers, one for each port, and rules name one of them for all: what is
//! brought there goes on to that of the port by which the packet came in. Only batches with such policers pay
//! for it.

use std::num::NonZeroU32;
use std::sync::Arc;

use linecard_packet::PortId;
use linecard_tables::meter::{Colour, Pool, Profile};
use linecard_tables::publication::Absorb;

use super::{ColourAction, PoliceCapacities, Policer, SourcePrefixes};

/// Names a policer: its slot, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicerId(pub u32);

/// One change of the tables.
#[derive(Debug, Clone)]
pub enum PoliceUpdate {
    /// Adds a policer, or changes what it is told: the incarnation says which.
    SetPolicer {
        /// The slot.
        id: PolicerId,
        /// Another number than the policers had that were in this slot before.
        incarnation: NonZeroU32,
        /// What it is told.
        policer: Policer,
        /// The credit that workers share; the same one as before while the policer stays.
        pool: Arc<Pool>,
    },
    /// Removes a policer: packets that are still brought to it pass.
    RemovePolicer(PolicerId),
    /// All packets that come in by the port are brought to the policer, or to none.
    SetPort(PortId, Option<PolicerId>),
    /// What is brought to the policer goes to one of these in its place, by the number of the port it came in
    /// by; beyond the last to the policer itself. Ends with [`Self::RemovePolicer`], or with an empty list.
    SetByPort(PolicerId, Vec<PolicerId>),
}

/// A policer as the packet path reads it: one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Entry {
    pub(super) profile: Profile,
    actions: [Packed; 3],
    pub(super) sources: Option<SourcePrefixes>,
}

const _: () = assert!(size_of::<Option<Entry>>() == 64);

/// A [`ColourAction`] in a byte: a DSCP, or one of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Packed(u8);

impl Packed {
    const PASS: Self = Self(0xff);
    const DROP: Self = Self(0xfe);

    fn of(action: ColourAction) -> Self {
        match action {
            ColourAction::Pass => Self::PASS,
            ColourAction::Drop => Self::DROP,
            ColourAction::Mark(dscp) => Self(dscp & 0x3f),
        }
    }
}

impl Entry {
    /// What is done with packets of a colour.
    #[inline]
    pub(super) fn action(&self, colour: Colour) -> ColourAction {
        match self.actions[colour.index()] {
            Packed::PASS => ColourAction::Pass,
            Packed::DROP => ColourAction::Drop,
            Packed(dscp) => ColourAction::Mark(dscp),
        }
    }
}

/// All policers, and which of them a port has.
#[derive(Debug)]
pub struct PoliceTables {
    capacities: PoliceCapacities,
    workers: u32,
    policers: Vec<Option<Entry>>,
    /// By slot: the credit that workers share.
    pools: Vec<Arc<Pool>>,
    ports: Vec<Option<PolicerId>>,
    /// By slot: the policer of each port, if it is one by port. No longer than the last that is.
    by_port: Vec<Box<[PolicerId]>>,
    /// Policers by source.
    by_source: u32,
    refused_updates: u64,
}

impl PoliceTables {
    /// No policers. `workers` are those among which packets are spread, at least 1.
    #[must_use]
    pub fn new(capacities: &PoliceCapacities, workers: u32) -> Self {
        Self {
            capacities: *capacities,
            workers: workers.max(1),
            policers: Vec::new(),
            pools: Vec::new(),
            ports: Vec::new(),
            by_port: Vec::new(),
            by_source: 0,
            refused_updates: 0,
        }
    }

    /// Updates that were beyond the capacity, or whose marker no meter can have. Such a policer is not
    /// there, so its packets pass.
    #[must_use]
    pub fn refused_updates(&self) -> u64 {
        self.refused_updates
    }

    /// True while no port has a policer; packets may still be brought to one by a rule.
    #[inline]
    #[must_use]
    pub fn polices_no_port(&self) -> bool {
        self.ports.is_empty()
    }

    /// Whether there is a policer in a slot: else packets that are brought there pass.
    #[must_use]
    pub fn has(&self, id: PolicerId) -> bool {
        self.policer(id.0).is_some()
    }

    /// Whether a policer has a meter for each source.
    #[inline]
    pub(super) fn has_sources(&self) -> bool {
        self.by_source > 0
    }

    /// Workers that share each policer's rate.
    #[inline]
    pub(super) fn workers(&self) -> u32 {
        self.workers
    }

    #[inline]
    pub(super) fn policer(&self, id: u32) -> Option<&Entry> {
        self.policers.get(id as usize)?.as_ref()
    }

    /// By slot.
    #[inline]
    pub(super) fn policers(&self) -> &[Option<Entry>] {
        &self.policers
    }

    /// The credit that workers share.
    #[inline]
    pub(super) fn pool(&self, id: u32) -> Option<&Pool> {
        self.pools.get(id as usize).map(Arc::as_ref)
    }

    #[inline]
    pub(super) fn port(&self, port: PortId) -> Option<PolicerId> {
        self.ports.get(port.index()).copied().flatten()
    }

    /// Whether some policer is by port.
    #[inline]
    pub(super) fn has_by_port(&self) -> bool {
        !self.by_port.is_empty()
    }

    /// The policer that a packet of the port meets when it is brought to this one.
    #[inline]
    pub(super) fn of_port(&self, policer: u32, port: PortId) -> u32 {
        let of_ports = self.by_port.get(policer as usize);
        of_ports.and_then(|it| it.get(port.index())).map_or(policer, |it| it.0)
    }

    fn entry(&self, policer: &Policer, incarnation: NonZeroU32) -> Option<Entry> {
        // What each worker has of a source's packets nobody knows: see `sources`.
        let marker = match policer.sources {
            Some(_) => policer.marker.divided(self.workers),
            None => policer.marker,
        };
        Some(Entry {
            profile: Profile::new(&marker, policer.options, incarnation).ok()?,
            actions: policer.actions.map(Packed::of),
            sources: policer.sources,
        })
    }

    fn put(&mut self, index: usize, entry: Option<Entry>, pool: Arc<Pool>) {
        let is_by_source = |entry: &Option<Entry>| {
            u32::from(entry.as_ref().is_some_and(|entry| entry.sources.is_some()))
        };
        self.by_source += is_by_source(&entry);
        self.by_source -= is_by_source(&self.policers[index]);
        self.policers[index] = entry;
        self.pools[index] = pool;
    }

    fn set_port(&mut self, port: PortId, policer: Option<PolicerId>) {
        if port.index() >= self.ports.len() {
            self.ports.resize(port.index() + 1, None);
        }
        self.ports[port.index()] = policer;
        let used = self.ports.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.ports.truncate(used);
    }

    fn set_by_port(&mut self, id: PolicerId, of_ports: &[PolicerId]) {
        let index = id.0 as usize;
        if !of_ports.is_empty() && id.0 < self.capacities.policers_max {
            self.by_port.resize(self.by_port.len().max(index + 1), Box::default());
        }
        if let Some(place) = self.by_port.get_mut(index) {
            *place = of_ports.into();
        }
        let used = self.by_port.iter().rposition(|it| !it.is_empty()).map_or(0, |last| last + 1);
        self.by_port.truncate(used);
    }
}

impl Absorb<PoliceUpdate> for PoliceTables {
    fn absorb(&mut self, update: &PoliceUpdate) {
        match update {
            PoliceUpdate::SetPolicer { id, incarnation, policer, pool } => {
                let entry = self.entry(policer, *incarnation);
                let index = id.0 as usize;
                let fits = id.0 < self.capacities.policers_max;
                self.refused_updates += u64::from(!fits || entry.is_none());
                if fits {
                    let slots = self.policers.len().max(index + 1);
                    self.policers.resize_with(slots, || None);
                    self.pools.resize_with(slots, Arc::default);
                    self.put(index, entry, Arc::clone(pool));
                }
            }
            PoliceUpdate::RemovePolicer(id) => {
                if (id.0 as usize) < self.policers.len() {
                    self.put(id.0 as usize, None, Arc::default());
                }
                self.set_by_port(*id, &[]);
            }
            PoliceUpdate::SetPort(port, policer) => self.set_port(*port, *policer),
            PoliceUpdate::SetByPort(id, of_ports) => self.set_by_port(*id, of_ports),
        }
    }
}
