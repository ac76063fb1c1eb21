//! The services around the route that users switch on, and their order. One that is off costs a branch a batch.
//!
//! source ─► connection, first half ─► filter in ─► police ─► *route* ─► filter out ─► police ─► connection,
//! second half.
//!
//! Where a packet comes from is asked first, since it needs no state; filters ask for the state of the
//! connection, which is not entered before all the others have let the packet pass; policers see what filters
//! bring and not what they drop, so that nobody pays for packets that go nowhere. All see packets as they were
//! received.

use std::sync::Arc;

use linecard_io::PacketMemory;
use linecard_packet::Batch;
use linecard_services::connection::{self, ConnectionScratch, ConnectionStats, ConnectionTables};
use linecard_services::filter::{self, Companions, FilterScratch, FilterStats, FilterTables};
use linecard_services::police::{self, PoliceScratch, PoliceStats, PoliceTables, PolicerMeters};
use linecard_services::route::RouteTables;
use linecard_services::source::{self, SourceScratch, SourceStats, SourceTables};
use linecard_tables::publication::{Reader, Subscription};

use crate::tap::{Stage, Watch};

/// Those of a worker. `None` is off.
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) source: Option<SourceService>,
    pub(crate) connections: Option<ConnectionService>,
    pub(crate) filter: Option<FilterService>,
    pub(crate) police: Option<PoliceService>,
}

impl Services {
    /// Takes the current copies of the tables, between batches.
    pub(crate) fn refresh(&mut self) {
        if let Some(source) = &mut self.source {
            source.tables.refresh();
        }
        if let Some(filter) = &mut self.filter {
            filter.tables.refresh();
        }
        if let Some(police) = &mut self.police {
            police.tables.refresh();
        }
    }

    /// Holds no copies until the next refresh.
    pub(crate) fn release(&mut self) {
        if let Some(source) = &mut self.source {
            source.tables.release();
        }
        if let Some(filter) = &mut self.filter {
            filter.tables.release();
        }
        if let Some(police) = &mut self.police {
            police.tables.release();
        }
    }

    /// What stands between parse and route.
    pub(crate) fn before_route(
        &mut self,
        batch: &mut Batch,
        memory: &mut PacketMemory,
        routes: &RouteTables,
        now_nanoseconds: u64,
        watch: &mut impl Watch,
    ) {
        let Self { source, connections, filter, police } = self;
        if let Some(source) = source {
            source.check(batch, memory, routes);
            watch.sources_checked(batch, memory, source.tables.get(), routes);
            watch.decided(Stage::Source, batch);
        }
        if let Some(connections) = connections {
            connections.classify(batch, memory, now_nanoseconds);
            watch.classified(batch, Some(connections.scratch.states()));
        }
        if let Some(filter) = filter {
            let companions = companions(connections.as_ref(), police.as_mut());
            let tables = (filter.tables.get(), routes);
            watch.filters_asked(false, batch, memory, tables, companions.states);
            filter.input(batch, memory, companions);
            tell(batch, memory, now_nanoseconds, watch);
            watch.decided(Stage::FilterIn, batch);
        }
        if let Some(police) = police {
            police.scratch.gather_ports(batch, police.tables.get());
            police.process(batch, memory, now_nanoseconds, watch);
            watch.decided(Stage::PoliceIn, batch);
        }
    }

    /// What stands between route and rewrite.
    pub(crate) fn behind_route(
        &mut self,
        batch: &mut Batch,
        memory: &mut PacketMemory,
        routes: &RouteTables,
        now_nanoseconds: u64,
        watch: &mut impl Watch,
    ) {
        let Self { connections, filter, police, .. } = self;
        if let Some(filter) = filter {
            let companions = companions(connections.as_ref(), police.as_mut());
            let tables = (filter.tables.get(), routes);
            watch.filters_asked(true, batch, memory, tables, companions.states);
            filter.output(batch, memory, routes, companions);
            tell(batch, memory, now_nanoseconds, watch);
            watch.decided(Stage::FilterOut, batch);
        }
        if let Some(police) = police {
            police.process(batch, memory, now_nanoseconds, watch);
            watch.decided(Stage::PoliceOut, batch);
        }
        if let Some(connections) = connections
            && watch.is_real()
        {
            connections.commit(batch, now_nanoseconds);
            watch.decided(Stage::Connection, batch);
        }
    }
}

/// Hands over what the rules have noted, before a later stage changes the packets.
#[inline]
fn tell(batch: &mut Batch, memory: &PacketMemory, now_nanoseconds: u64, watch: &mut impl Watch) {
    if !batch.notes.is_empty() {
        watch.noted(batch, memory, now_nanoseconds);
        batch.notes.clear();
    }
}

/// What the filters know from the other services, and bring to them.
fn companions<'a>(
    connections: Option<&'a ConnectionService>,
    police: Option<&'a mut PoliceService>,
) -> Companions<'a> {
    Companions {
        states: connections.map(|connections| connections.scratch.states()),
        police: police.map(|police| &mut police.scratch),
    }
}

/// The check of where packets come from.
pub(crate) struct SourceService {
    tables: Reader<SourceTables>,
    scratch: SourceScratch,
    stats: SourceStats,
}

impl SourceService {
    pub(crate) fn new(tables: &Subscription<SourceTables>, stats: SourceStats) -> Self {
        Self { tables: tables.reader(), scratch: SourceScratch::new(), stats }
    }

    fn check(&mut self, batch: &mut Batch, memory: &PacketMemory, routes: &RouteTables) {
        let Self { tables, scratch, stats } = self;
        source::process(batch, memory, tables.get(), routes, scratch, stats);
    }
}

/// Connection tracking. The tables are shared by all workers and never exchanged.
pub(crate) struct ConnectionService {
    tables: Arc<ConnectionTables>,
    scratch: ConnectionScratch,
    stats: ConnectionStats,
}

impl ConnectionService {
    pub(crate) fn new(
        tables: Arc<ConnectionTables>,
        scratch: ConnectionScratch,
        stats: ConnectionStats,
    ) -> Self {
        Self { tables, scratch, stats }
    }

    fn classify(&mut self, batch: &Batch, memory: &PacketMemory, now_nanoseconds: u64) {
        let Self { tables, scratch, stats } = self;
        connection::classify(batch, memory, tables, scratch, stats, now_nanoseconds);
    }

    fn commit(&mut self, batch: &mut Batch, now_nanoseconds: u64) {
        let Self { tables, scratch, stats } = self;
        connection::commit(batch, tables, scratch, stats, now_nanoseconds);
    }
}

/// The filters.
pub(crate) struct FilterService {
    tables: Reader<FilterTables>,
    scratch: FilterScratch,
    stats: FilterStats,
}

impl FilterService {
    pub(crate) fn new(tables: &Subscription<FilterTables>, stats: FilterStats) -> Self {
        Self { tables: tables.reader(), scratch: FilterScratch::new(), stats }
    }

    fn input(&mut self, batch: &mut Batch, memory: &mut PacketMemory, companions: Companions<'_>) {
        let Self { tables, scratch, stats } = self;
        filter::process_input(batch, memory, tables.get(), companions, scratch, stats);
    }

    fn output(
        &mut self,
        batch: &mut Batch,
        memory: &mut PacketMemory,
        routes: &RouteTables,
        companions: Companions<'_>,
    ) {
        let Self { tables, scratch, stats } = self;
        let tables = (tables.get(), routes);
        filter::process_output(batch, memory, tables, companions, scratch, stats);
    }
}

/// The policers.
pub(crate) struct PoliceService {
    tables: Reader<PoliceTables>,
    scratch: PoliceScratch,
    meters: PolicerMeters,
    stats: PoliceStats,
}

impl PoliceService {
    pub(crate) fn new(
        tables: &Subscription<PoliceTables>,
        meters: PolicerMeters,
        stats: PoliceStats,
    ) -> Self {
        Self { tables: tables.reader(), scratch: PoliceScratch::new(), meters, stats }
    }

    fn process(
        &mut self,
        batch: &mut Batch,
        memory: &mut PacketMemory,
        now_nanoseconds: u64,
        watch: &mut impl Watch,
    ) {
        let Self { tables, scratch, meters, stats } = self;
        let (tables, is_real) = (tables.get(), watch.is_real());
        let metered = |place, policer, colour| watch.metered(place, policer, colour);
        if is_real {
            let now = (now_nanoseconds, metered);
            police::process_watched(batch, memory, tables, scratch, meters, stats, now);
        } else {
            police::imagine(batch, memory, tables, scratch, metered);
        }
    }
}
