//! Connection tracking under test: UDP flows that were seen both ways, and a few that are new.
//!
//! A worker's first round opens its flows, the second answers each of them; both only warm up. From then on each
//! packet belongs to a flow drawn evenly, in either direction, but for one in [`NEW_SHARE`], which is of a
//! flow that nobody has seen. What is drawn is exact, so the service's counters are known beforehand.

use std::sync::Arc;

use anyhow::ensure;
use linecard_forwarder::Worker;
use linecard_services::connection::{
    ConnectionConfig, ConnectionCount, ConnectionScratch, ConnectionStats, ConnectionStatsReader,
    ConnectionTables,
};
use linecard_services::filter::FilterStatsReader;
use linecard_tables::generator::Random;

use super::traffic::Traffic;

/// Flows that are established, unless a round has fewer packets.
pub(super) const FLOWS: u32 = 262_144;
/// One packet in so many begins a flow.
const NEW_SHARE: u32 = 64;
/// Flows expire later than a slow machine is done.
const TIMEOUT_SECONDS: u32 = 3600;

/// The tables, which workers share.
pub(super) struct Connections {
    tables: Arc<ConnectionTables>,
    seed: u64,
}

/// What one worker's half of the service has counted.
pub(super) struct Reader(ConnectionStatsReader);

/// What it must have counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Expected {
    established: u64,
    new: u64,
    /// Flows among the new packets.
    begun: u64,
}

impl Connections {
    /// Tables with room for so many established flows and as many others.
    pub(super) fn new(flows: u32, seed: u64) -> Self {
        let config = ConnectionConfig {
            connections_ipv4_max: 2 * flows,
            udp_unreplied_timeout_seconds: TIMEOUT_SECONDS,
            udp_replied_timeout_seconds: TIMEOUT_SECONDS,
            ..ConnectionConfig::default()
        };
        Self { tables: Arc::new(ConnectionTables::new(&config, seed)), seed }
    }

    pub(super) fn attach(&self, worker: &mut Worker, place: usize) -> Reader {
        let stats = ConnectionStats::default();
        let reader = Reader(stats.reader());
        let scratch = ConnectionScratch::new(place, self.seed);
        worker.connections(Arc::clone(&self.tables), scratch, stats);
        reader
    }
}

impl Reader {
    /// Holds the counters, and those of [`by_states`](super::filters::by_states), against what was sent.
    ///
    /// # Errors
    /// When a packet was taken for what it is not, or an established flow was lost.
    pub(super) fn balance(
        &self,
        rules: &FilterStatsReader,
        expected: &Expected,
    ) -> anyhow::Result<()> {
        use ConnectionCount::{Inserted, PacketsEstablished, PacketsNew, Untracked};
        let count = |what| self.0.get(what);
        let found = Expected {
            established: count(PacketsEstablished),
            new: count(PacketsNew),
            begun: count(Inserted) + count(Untracked),
        };
        ensure!(found == *expected, "connections are {found:?}; right is {expected:?}");
        let by_rule = [0, 1, 2].map(|rule| rules.read(rule).packets);
        let right = [expected.established, expected.new, 0];
        ensure!(by_rule == right, "the rules by state counted {by_rule:?}; right is {right:?}");
        Ok(())
    }
}

/// The flows of one worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flows {
    /// How many are established.
    pub(super) count: u32,
}

/// Addresses and ports of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow<A> {
    pub(super) source: A,
    pub(super) destination: A,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
}

impl<A: Traffic> Flow<A> {
    fn new(random: &mut Random) -> Self {
        let (source, destination) = (A::source(random), A::source(random));
        let mut port = || 1024 + random.below(usize::from(u16::MAX) - 1024) as u16;
        Self { source, destination, source_port: port(), destination_port: port() }
    }

    fn answer(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

impl Flows {
    /// What packet `number` of a worker's `round` belongs to. `random` is the packet's own.
    pub(super) fn packet<A: Traffic>(
        self,
        seed: u64,
        (round, number): (u32, u32),
        random: &mut Random,
    ) -> Flow<A> {
        let flow = |flow: u32| {
            Flow::new(&mut Random::new(!seed ^ u64::from(flow).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        };
        match round {
            0 => flow(number % self.count),
            1 => flow(number % self.count).answer(),
            _ if is_new(number) => Flow::new(random),
            _ => {
                let flow = flow(random.below(self.count as usize) as u32);
                if random.below(2) == 0 { flow } else { flow.answer() }
            }
        }
    }

    /// What the counters must say after so many rounds of `packets` packets.
    pub(super) fn expected(self, rounds: u32, packets: u32) -> Expected {
        let [rounds, packets, count] = [rounds, packets, self.count].map(u64::from);
        let later = rounds.saturating_sub(2);
        let new = later * (packets / u64::from(NEW_SHARE));
        let [opened, answered] = [1, 2].map(|round| if rounds >= round { packets } else { 0 });
        Expected {
            established: answered + later * packets - new,
            new: opened + new,
            begun: count.min(opened) + new,
        }
    }
}

/// Whether a packet begins a flow, once the others are established.
fn is_new(number: u32) -> bool {
    number % NEW_SHARE == NEW_SHARE - 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_flows_are_opened_and_answered_and_few_packets_are_new_later() {
        let flows = Flows { count: 100 };
        let of = |round, number| {
            let random = &mut Random::new(u64::from(round) << 32 | u64::from(number));
            let Flow { source, destination, .. } = flows.packet::<u32>(7, (round, number), random);
            (source, destination)
        };
        let opened: BTreeSet<_> = (0..128).map(|number| of(0, number)).collect();
        assert_eq!(opened.len(), 100);
        let answered: BTreeSet<_> = (0..128).map(|number| of(1, number)).collect();
        assert!(answered.iter().all(|&(from, to)| opened.contains(&(to, from))));
        let is_known = |packet| opened.contains(&packet) || answered.contains(&packet);
        let new = (0..640).filter(|number| !is_known(of(2, *number))).count();
        assert_eq!(new, 10);
        let right = Expected { established: 128 + 126, new: 128 + 2, begun: 102 };
        assert_eq!(flows.expected(3, 128), right);
    }
}
