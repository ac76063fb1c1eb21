//! The reverse-path check under test, strict on every port, and sources that pass it.
//!
//! A packet's port follows from its number ([`turn`]), so its source is drawn from the routes that lead back to
//! that port: evenly over the routes, any address of them whose longest match leaves there too. So the
//! lookup of the source is as far from the caches as that of the destination.

use std::sync::Arc;

use anyhow::{bail, ensure};
use linecard_forwarder::Worker;
use linecard_packet::PortId;
use linecard_services::source::{
    MartianFilter, PortCheck, ReversePath, SourceCapacities, SourceStats, SourceStatsReader,
    SourceTables, SourceUpdate,
};
use linecard_tables::generator::Random;
use linecard_tables::lpm::{Address, Prefix};
use linecard_tables::publication::{Publish, Writer};

use super::hands::turn;
use super::tables::{Network, PORTS, Reference, Routable};
use super::traffic::Traffic;

/// Strict checks on all ports.
pub(super) struct Sources {
    writer: Writer<SourceTables, SourceUpdate>,
}

/// What one worker's checks have counted.
pub(super) struct SourcesReader(SourceStatsReader);

impl Sources {
    /// Publishes the checks.
    ///
    /// # Errors
    /// When the tables do not have them.
    pub(super) fn new() -> anyhow::Result<Self> {
        let tables = || SourceTables::new(&SourceCapacities::default());
        let mut writer = Writer::new(tables(), tables());
        let (reverse_path, martians) = (ReversePath::Strict, MartianFilter::Off);
        for port in (0..PORTS).map(PortId) {
            let check = PortCheck { reverse_path, feasible: None, martians };
            writer.append(SourceUpdate::SetPort(port, check));
        }
        if writer.publish() != Publish::Published {
            bail!("the checks have a reader before they are there");
        }
        ensure!(!writer.published().is_off(), "the tables have no checks");
        Ok(Self { writer })
    }

    pub(super) fn attach(&self, worker: &mut Worker) -> SourcesReader {
        let stats = SourceStats::new();
        let reader = SourcesReader(stats.reader());
        worker.source(&self.writer.subscription(), stats);
        reader
    }
}

impl SourcesReader {
    /// That no packet was dropped, the ports' counters say; here, that none passed without a look.
    ///
    /// # Errors
    /// When one did.
    pub(super) fn balance(&self) -> anyhow::Result<()> {
        let unverified = self.0.unverified();
        ensure!(unverified == 0, "{unverified} packets passed the check unverified");
        Ok(())
    }
}

/// Sources by the port that leads back to them.
#[derive(Debug)]
pub(super) struct Origins<A: Address> {
    by_port: Vec<Vec<Prefix<A>>>,
    reference: Arc<Reference<A>>,
    batch: usize,
}

impl<A: Traffic + Routable> Origins<A> {
    /// The routes of the network, for packets that are dealt in turns of `batch`.
    ///
    /// # Errors
    /// When no route leads to one of the ports.
    pub(super) fn new(network: &Network<A>, batch: usize) -> anyhow::Result<Self> {
        let reference = Arc::clone(network.reference());
        let mut by_port = vec![Vec::new(); usize::from(PORTS)];
        for prefix in network.prefixes().iter() {
            if let Some(port) = reference.port_back(prefix.bits()) {
                by_port[port.index()].push(*prefix);
            }
        }
        ensure!(by_port.iter().all(|routes| !routes.is_empty()), "a port has no route");
        Ok(Self { by_port, reference, batch })
    }
}

impl<A: Traffic> Origins<A> {
    /// A source for packet `number`.
    pub(super) fn source(&self, number: u32, random: &mut Random) -> A {
        let port = turn(number as usize, self.batch);
        let routes = &self.by_port[port];
        // The first address of each of these routes is one, so that this ends.
        loop {
            let prefix = routes[random.below(routes.len())];
            let host = A::mask(prefix.length()) ^ A::mask(A::BITS);
            let source = prefix.bits() | (random.address::<A>() & host);
            if self.reference.port_back(source).is_some_and(|back| back.index() == port) {
                return source;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use linecard_tables::generator::ipv4_routes;

    use super::*;

    #[test]
    fn the_way_back_to_each_source_is_the_port_of_its_packet() {
        let network = Network::<u32>::new(ipv4_routes(1, 1_000), 1, false).expect("tables");
        let origins = Origins::new(&network, 8).expect("routes by each port");
        let mut random = Random::new(1);
        let mut ports = [0; PORTS as usize];
        for number in 0..64 {
            let source = origins.source(number, &mut random);
            let back = network.reference().port_back(source).expect("a route");
            assert_eq!(back.index(), turn(number as usize, 8));
            ports[back.index()] += 1;
        }
        assert_eq!(ports, [16; PORTS as usize]);
    }
}
