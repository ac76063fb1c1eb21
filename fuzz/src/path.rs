//! The packet path between two ports: parse, the route stage, the rewrite.

use linecard_io::{Frame, MemoryConfig, PacketMemory};
use linecard_packet::{Batch, Metadata, PortId, Station, Verdict, flow_hash, parse};
use linecard_services::route::{RouteScratch, RouteStats, RouteTables, process, rewrite};
use linecard_tables::hash::FlowHash;

/// Frames that a path has room for.
pub const FRAMES: u32 = 256;

/// What the packet path needs besides the tables. It keeps nothing between two batches.
pub struct PacketPath {
    memory: PacketMemory,
    batch: Batch,
    scratch: RouteScratch,
    stats: RouteStats,
    hash: FlowHash,
    /// Of the batch, in the order of its packets.
    flow_hashes: Vec<u32>,
}

/// What became of a packet: the bytes are those that leave, or those that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    pub metadata: Metadata,
    pub verdict: Verdict,
    pub bytes: Vec<u8>,
    /// The hash of its flow, as it came.
    pub flow_hash: u32,
}

impl Default for PacketPath {
    fn default() -> Self {
        let memory = PacketMemory::new(MemoryConfig { frames: FRAMES, chunk_bytes: 2048 });
        Self {
            memory: memory.expect("512 KiB of memory"),
            batch: Batch::new(),
            scratch: RouteScratch::new(),
            stats: RouteStats::new(64),
            hash: FlowHash::new(7),
            flow_hashes: Vec::new(),
        }
    }
}

impl PacketPath {
    /// Bytes of the longest packet.
    #[must_use]
    pub fn packet_bytes_max(&self) -> usize {
        self.memory.packet_bytes_max()
    }

    fn begin(&mut self, port: PortId, station: &Station, packets: &[Vec<u8>]) {
        for packet in packets {
            let mut frame = self.memory.allocate().expect("no more packets than frames");
            assert!(self.memory.set_packet(&mut frame, packet), "a packet is too long");
            self.batch.frames.push(frame);
        }
        self.batch.end_segment(port, 0);
        parse(&mut self.batch, &self.memory, |_| *station);
        let packets = self.batch.frames.iter().zip(&self.batch.metadata);
        let hash = |(frame, metadata)| flow_hash(self.memory.packet(frame), metadata, &self.hash);
        self.flow_hashes = packets.map(hash).collect();
    }

    /// Ends the batch. Every frame must have come through it, as many as went in.
    fn end(&mut self) -> Vec<Decided> {
        let Batch { frames, segments, metadata, verdicts, .. } = &mut self.batch;
        segments.clear();
        let decided = frames.drain(..).zip(metadata.iter()).zip(verdicts.iter());
        let decided = decided.zip(&self.flow_hashes);
        let decided =
            decided.map(|(((frame, metadata), verdict), &flow_hash): (((Frame, _), _), _)| {
                let bytes = self.memory.packet(&frame).to_vec();
                self.memory.free(frame);
                Decided { metadata: *metadata, verdict: *verdict, flow_hash, bytes }
            });
        let decided = decided.collect();
        assert_eq!(self.memory.free_frames(), self.memory.frames());
        decided
    }

    /// What parse says of packets that come in by `port`, whose station it does not know, at most
    /// [`FRAMES`].
    pub fn parse(&mut self, port: PortId, packets: &[Vec<u8>]) -> Vec<Decided> {
        self.begin(port, &Station::none(), packets);
        self.end()
    }

    /// What becomes of packets that come in by `port` in one batch, at most [`FRAMES`].
    pub fn run(&mut self, tables: &RouteTables, port: PortId, packets: &[Vec<u8>]) -> Vec<Decided> {
        self.begin(port, &tables.station(port), packets);
        let (scratch, stats) = (&mut self.scratch, &mut self.stats);
        process(&mut self.batch, &self.memory, tables, &self.hash, scratch, stats);
        let undecided = self.batch.verdicts.iter().filter(|verdict| verdict.is_undecided());
        assert_eq!(undecided.count(), 0, "the route stage decides on every packet");
        rewrite(&mut self.batch, &mut self.memory, tables);
        self.end()
    }
}
