//! An imagined packet through the very pipeline, by the tables that workers read, without a trace of it.

use std::io;
use std::sync::Arc;

use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{Metadata, PortId, Verdict};
use linecard_services::connection::{ConnectionScratch, ConnectionStats, ConnectionTables};
use linecard_services::filter::{FilterStats, FilterTables};
use linecard_services::police::{PoliceCapacities, PoliceStats, PoliceTables, PolicerMeters};
use linecard_services::route::{RouteStats, RouteTables};
use linecard_services::source::{SourceStats, SourceTables};
use linecard_tables::publication::{Reader, Subscription};

use super::{Kind, Selection, Step, Tap, TapCapacities};
use crate::services::{ConnectionService, FilterService, PoliceService, SourceService};
use crate::worker::Pipeline;

/// Says what would happen to a packet. Made from what a worker is made from, and reads the same tables; what a
/// worker writes it has of its own or leaves alone: nothing is counted, charged or entered.
///
/// It says less than a trace in three points. Policers meter the packet as if their buckets were full. A packet
/// that would begin a connection is not told if there is room for one. And what stands behind the pipeline is
/// not asked: transmit queues and the limits on punted packets.
pub struct Explainer {
    pipeline: Pipeline,
    tables: Reader<RouteTables>,
    memory: PacketMemory,
    tap: Tap,
}

/// What would happen to a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Where it would end.
    pub verdict: Verdict,
    /// What the stages found out about it.
    pub metadata: Metadata,
    /// What they would do, in order.
    pub steps: Vec<Step>,
}

impl Explainer {
    /// One that routes by these tables and hashes flows as workers with the same seed do. Packets have
    /// `frame_bytes` at the most.
    ///
    /// # Errors
    /// When there is no memory for a packet.
    pub fn new(
        tables: &Subscription<RouteTables>,
        flow_hash_seed: u64,
        frame_bytes: u32,
    ) -> io::Result<Self> {
        let memory = PacketMemory::new(MemoryConfig { frames: 1, chunk_bytes: frame_bytes })?;
        let capacities = TapCapacities { records_max: 1, steps_max: 1, bytes_max: 1 };
        let (mut tap, _) = Tap::without_orders(&capacities);
        tap.is_real = false;
        let pipeline = Pipeline::new(flow_hash_seed, RouteStats::new(0));
        let mut explainer = Self { pipeline, tables: tables.reader(), memory, tap };
        explainer.release();
        Ok(explainer)
    }

    /// Asks these filters.
    pub fn filter(&mut self, tables: &Subscription<FilterTables>) {
        let service = FilterService::new(tables, FilterStats::new(0));
        self.pipeline.services.filter = Some(service);
        self.release();
    }

    /// Brings packets to these policers.
    pub fn police(&mut self, tables: &Subscription<PoliceTables>) {
        // It has no meters: buckets are full.
        let meters = PolicerMeters::new(&PoliceCapacities { policers_max: 0, sources_max: 0 }, 0);
        let service = PoliceService::new(tables, meters, PoliceStats::new(0));
        self.pipeline.services.police = Some(service);
        self.release();
    }

    /// Checks sources by these tables.
    pub fn source(&mut self, tables: &Subscription<SourceTables>) {
        let service = SourceService::new(tables, SourceStats::default());
        self.pipeline.services.source = Some(service);
        self.release();
    }

    /// Looks for connections here.
    pub fn connections(&mut self, tables: Arc<ConnectionTables>) {
        let scratch = ConnectionScratch::new(0, 0);
        let service = ConnectionService::new(tables, scratch, ConnectionStats::default());
        self.pipeline.services.connections = Some(service);
    }

    /// What would happen to a frame that came in by `in_port`, at a time on the workers' clock; `None` if it is
    /// longer than a frame can be.
    pub fn explain(
        &mut self,
        in_port: PortId,
        frame: &[u8],
        now_nanoseconds: u64,
    ) -> Option<Explained> {
        let mut taken = self.memory.allocate()?;
        if !self.memory.set_packet(&mut taken, frame) {
            self.memory.free(taken);
            return None;
        }
        self.tables.refresh();
        self.pipeline.services.refresh();
        self.pipeline.batch.frames.push(taken);
        self.pipeline.batch.end_segment(in_port, 0);
        let selection = Selection { place: 0, kind: Kind::Trace, by: 0, snap_bytes: 0 };
        self.tap.select(selection, &self.pipeline.batch, &self.memory);
        let Self { pipeline, tables, memory, tap } = self;
        pipeline.run(memory, tables.get(), now_nanoseconds, tap);
        let batch = &mut pipeline.batch;
        let explained = Explained {
            verdict: batch.verdicts[0],
            metadata: batch.metadata[0],
            steps: tap.traces[0].steps[..tap.traces[0].len].to_vec(),
        };
        tap.forget();
        batch.drain().for_each(|frame| memory.free(frame));
        // There is no frame for a copy: none was made, and nobody counts that it is missed.
        batch.copies.drain().for_each(|copy| memory.free(copy.frame));
        batch.copies.drain_missed();
        batch.copies.drain().for_each(|copy| memory.free(copy.frame));
        batch.copies.drain_missed();
        self.release();
        Some(explained)
    }

    /// Holds no tables between questions: it would keep the control side from changing them.
    fn release(&mut self) {
        self.tables.release();
        self.pipeline.services.release();
    }
}
