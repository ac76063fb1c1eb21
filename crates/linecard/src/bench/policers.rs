//! The policers under test: as many as the filter has rules, each rule's packets to its own.
//!
//! Single-rate markers (RFC 2697) whose rate lets everything pass: that every packet is green, and was metered by
//! the policer of the rule that it matched, is a condition of the case.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::{bail, ensure};
use linecard_forwarder::Worker;
use linecard_services::filter::FilterStatsReader;
use linecard_services::police::{
    ColourAction, PoliceCapacities, PoliceStats, PoliceStatsReader, PoliceTables, PoliceUpdate,
    Policer, PolicerId, PolicerMeters,
};
use linecard_tables::meter::{Marker, ProfileOptions};
use linecard_tables::publication::{Publish, Writer};

/// The Ethernet header, which rules count and policers do not.
const HEADER_BYTES: u64 = linecard_wire::ethernet::HEADER_LENGTH as u64;

/// Policers for the rules of a filter.
pub(super) struct Policers {
    writer: Writer<PoliceTables, PoliceUpdate>,
    count: u32,
}

/// What one worker's policers have counted.
pub(super) struct PolicersReader {
    stats: PoliceStatsReader,
    count: u32,
}

impl Policers {
    /// Publishes so many policers, which `workers` share.
    ///
    /// # Errors
    /// When the tables cannot take them.
    pub(super) fn new(count: u32, workers: usize) -> anyhow::Result<Self> {
        let tables = || PoliceTables::new(&PoliceCapacities::default(), workers as u32);
        let mut writer = Writer::new(tables(), tables());
        let policer = Policer {
            marker: Marker::SingleRate {
                committed_rate: 1_000_000_000_000,
                committed_burst: 8_000_000_000,
                excess_burst: 0,
            },
            options: ProfileOptions::default(),
            actions: [ColourAction::Pass, ColourAction::Pass, ColourAction::Drop],
            sources: None,
        };
        for id in (0..count).map(PolicerId) {
            let (incarnation, pool) = (NonZeroU32::MIN, Arc::default());
            writer.append(PoliceUpdate::SetPolicer { id, incarnation, policer, pool });
        }
        if writer.publish() != Publish::Published {
            bail!("the policers have a reader before they are there");
        }
        let refused = writer.published().refused_updates();
        ensure!(refused == 0, "the tables refused {refused} of {count} policers");
        Ok(Self { writer, count })
    }

    pub(super) fn attach(&self, worker: &mut Worker, place: usize) -> PolicersReader {
        let capacities = PoliceCapacities::default();
        let stats = PoliceStats::new(capacities.policers_max);
        let reader = PolicersReader { stats: stats.reader(), count: self.count };
        let meters = PolicerMeters::new(&capacities, place as u64);
        worker.police(&self.writer.subscription(), meters, stats);
        reader
    }
}

impl PolicersReader {
    /// Holds the policers' counters against those of their rules.
    ///
    /// # Errors
    /// When a packet was not metered, or was not green.
    pub(super) fn balance(&self, rules: &FilterStatsReader) -> anyhow::Result<()> {
        for id in 0..self.count {
            let counted = self.stats.totals(PolicerId(id), NonZeroU32::MIN.get());
            let rule = rules.read(id);
            let bytes = rule.bytes - HEADER_BYTES * rule.packets;
            let is_right =
                counted.packets == [rule.packets, 0, 0] && counted.bytes == [bytes, 0, 0];
            ensure!(is_right, "policer {id} counted {counted:?}, its rule {rule:?}");
        }
        let unmetered = self.stats.unmetered();
        ensure!(unmetered == 0, "{unmetered} packets were not metered");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use linecard_services::filter::FilterStats;

    use super::*;

    #[test]
    fn policers_that_have_counted_nothing_agree_with_rules_that_have_not() {
        let policers = Policers::new(3, 1).expect("tables");
        let stats = PoliceStats::new(PoliceCapacities::default().policers_max);
        let reader = PolicersReader { stats: stats.reader(), count: policers.count };
        assert!(reader.balance(&FilterStats::new(4).reader()).is_ok());
        let more = PoliceCapacities::default().policers_max + 1;
        assert!(Policers::new(more, 1).is_err(), "more than the tables take");
    }
}
