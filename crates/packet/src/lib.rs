//! What travels through the pipeline: batches of frames with their metadata and verdicts, the
//! reasons for which a packet is dropped or punted, and the counters in which all of it ends.

pub mod batch;
pub mod counters;
pub mod flow;
pub mod ids;
pub mod parse;
pub mod reason;
pub mod totals;

pub use batch::{
    BATCH_PACKETS_MAX, Batch, Destinations, Layer3, Metadata, Segment, Station, Verdict,
};
pub use counters::{CountersReader, PortCounters, WorkerCounters};
pub use flow::flow_hash;
pub use ids::{AdjacencyId, InterfaceId, PortId};
pub use parse::parse;
pub use reason::{DropReason, PuntReason, Reason};
pub use totals::{PortTotals, ReasonCounts};
