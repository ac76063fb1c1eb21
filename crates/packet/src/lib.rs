//! What travels through the pipeline: batches of frames with their metadata and verdicts, the
//! reasons for which a packet is dropped or punted, and the counters in which all of it ends.

pub mod batch;
pub mod class;
pub mod copies;
pub mod counters;
pub mod flow;
pub mod ids;
pub mod notes;
pub mod parse;
pub mod reason;
pub mod totals;

pub use batch::{
    BATCH_PACKETS_MAX, Batch, Destinations, Layer3, Metadata, Segment, Station, Verdict,
};
pub use class::{Classes, FORWARDING_CLASSES};
pub use copies::{COPIES_MAX, Copies, MirrorCopy};
pub use counters::{CountersReader, PortCounters, WorkerCounters};
pub use flow::flow_hash;
pub use ids::{AdjacencyId, InterfaceId, PortId};
pub use notes::{NOTES_MAX, NoteKind, Notes, RuleNote};
pub use parse::parse;
pub use reason::{DropReason, Origin, PuntReason, Reason, Withheld};
pub use totals::{PortTotals, ReasonCounts};
