//! One worker's meters: what is in the buckets. Nobody else reads or writes them.

use linecard_packet::Layer3;
use linecard_tables::meter::{Colour, LeasedMeter, Meter};

use super::PoliceCapacities;
use super::sources::{SourceKey, SourceMeters};
use super::table::{Entry, PoliceTables};

/// The meters of all policers, for one worker.
#[derive(Debug)]
pub struct PolicerMeters {
    /// When this is the only worker; and for sources that have no place in `sources`.
    own: Box<[Meter]>,
    /// When several workers share each rate.
    leased: Box<[LeasedMeter]>,
    sources: SourceMeters,
}

/// One packet, as a meter sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    pub(super) now_nanoseconds: u64,
    pub(super) bytes: u16,
    pub(super) colour: Colour,
}

impl PolicerMeters {
    /// Full meters. `seed` should be random and secret: who sends chooses the sources.
    #[must_use]
    pub fn new(capacities: &PoliceCapacities, seed: u64) -> Self {
        let policers = capacities.policers_max as usize;
        Self {
            own: vec![Meter::default(); policers].into(),
            leased: vec![LeasedMeter::default(); policers].into(),
            sources: SourceMeters::new(capacities.sources_max, seed),
        }
    }

    /// Places that sources have.
    #[inline]
    pub(super) fn sources_taken(&self) -> u32 {
        self.sources.taken()
    }

    /// The meters by themselves, for a loop over packets.
    #[inline]
    pub(super) fn open(&mut self) -> Open<'_> {
        Open { own: &mut self.own, leased: &mut self.leased, sources: &mut self.sources }
    }
}

/// [`PolicerMeters`] taken apart: what a loop keeps in registers, and does not load again for each packet.
pub(super) struct Open<'a> {
    own: &'a mut [Meter],
    leased: &'a mut [LeasedMeter],
    sources: &'a mut SourceMeters,
}

impl Open<'_> {
    /// Names the meter of a prefix of a policer's sources.
    #[inline]
    pub(super) fn source_key(&self, policer: u32, layer3: Layer3, prefix: u64) -> SourceKey {
        self.sources.key(policer, layer3, prefix)
    }

    /// Asks for what [`Self::mark_source`] will need.
    #[inline]
    pub(super) fn prefetch_source(&self, key: &SourceKey) {
        self.sources.prefetch(key);
    }

    /// The meter of all of a policer's packets.
    #[inline(always)]
    pub(super) fn mark(
        &mut self,
        tables: &PoliceTables,
        policer: u32,
        entry: &Entry,
        packet: Packet,
    ) -> Colour {
        let Packet { now_nanoseconds: now, bytes, colour } = packet;
        let (index, profile) = (policer as usize, &entry.profile);
        if tables.workers() > 1 {
            let shared = self.leased.get_mut(index).zip(tables.pool(policer));
            shared.map_or(Colour::Green, |(meter, pool)| {
                meter.mark(profile, pool, tables.workers(), now, bytes, colour)
            })
        } else {
            let meter = self.own.get_mut(index);
            meter.map_or(Colour::Green, |meter| meter.mark(profile, now, bytes, colour))
        }
    }

    /// The meter of a source; false if there is no room for one, so that the packet was metered by
    /// the one that all such sources of the policer share.
    #[inline]
    pub(super) fn mark_source(
        &mut self,
        tables: &PoliceTables,
        key: &SourceKey,
        entry: &Entry,
        packet: Packet,
    ) -> (Colour, bool) {
        let Packet { now_nanoseconds: now, bytes, colour } = packet;
        let found = self.sources.find(key, now, |policer| Some(&tables.policer(policer)?.profile));
        let has_place = found.is_some();
        match found.or(self.own.get_mut(key.policer() as usize)) {
            Some(meter) => (meter.mark(&entry.profile, now, bytes, colour), has_place),
            None => (Colour::Green, has_place),
        }
    }
}
