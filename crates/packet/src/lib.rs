//! What travels through the pipeline: batches of frames with their metadata and verdicts, the
//! reasons for which a packet is dropped or punted, and the counters in which all of it ends.

pub mod batch;
pub mod counters;
pub mod ids;
pub mod parse;
pub mod reason;

pub use batch::{BATCH_PACKETS_MAX, Batch, Layer3, Metadata, Verdict};
pub use counters::{PortCounters, PortTotals, WorkerCounters};
pub use ids::{AdjacencyId, InterfaceId, PortId};
pub use reason::{DropReason, PuntReason};
