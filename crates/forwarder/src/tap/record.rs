//! What is told about a packet: numbers only, which the control side has names for.

use std::net::IpAddr;

use linecard_packet::{Metadata, Verdict};
use linecard_services::connection::ConnectionState;
use linecard_services::filter::{Hook, RuleHit};
use linecard_services::police::PolicerId;
use linecard_services::route::RouteFacts;
use linecard_services::source::SourceFacts;
use linecard_tables::meter::Colour;

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An order: what each stage did with the packet.
    Trace,
    /// An order: the packet, and where it ended.
    Capture,
    /// A filter's rule that logs.
    Log,
    /// A filter's rule that samples.
    Sample,
}

impl Kind {
    /// True when it answers an [`super::Order`].
    #[must_use]
    pub fn is_ordered(self) -> bool {
        matches!(self, Self::Trace | Self::Capture)
    }
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// What for.
    pub kind: Kind,
    /// [`Kind::Trace`], [`Kind::Capture`]: the number of the order. [`Kind::Log`], [`Kind::Sample`]: the counter of
    /// the rule.
    pub by: u32,
    /// The batch's time, on the worker's clock ([`crate::clock_nanoseconds`]).
    pub at_nanoseconds: u64,
    /// Length of the frame as it was received.
    pub frame_bytes: u32,
    /// What the stages found out about it.
    pub metadata: Metadata,
    /// Where it ended: forwarded, punted or dropped.
    pub verdict: Verdict,
    /// Bytes of the frame that are told.
    pub captured: u16,
    /// Steps that are told.
    pub steps: u8,
}

/// A part of the pipeline that may decide on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Headers and addresses.
    Parse,
    /// Where it comes from.
    Source,
    /// The filter of the incoming port.
    FilterIn,
    /// The policers of the incoming port and of its filter.
    PoliceIn,
    /// The route.
    Route,
    /// The filter of the outgoing port.
    FilterOut,
    /// The policers of that filter.
    PoliceOut,
    /// Its connection is entered.
    Connection,
    /// The new header.
    Rewrite,
    /// The transmit queue, the way to the kernel, or the end.
    Egress,
}

/// One thing that happened to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A stage has changed how the packet stands.
    Decided(Stage, Verdict),
    /// What is known of where it comes from.
    Source(SourceFacts),
    /// The state of its connection before it.
    State(ConnectionState),
    /// A rule matched.
    Rule(Hook, RuleHit),
    /// A policer metered it.
    Policed(Policed),
    /// Its destination was looked up.
    Route {
        /// What was looked up: the packet's destination, or where a rule has sent it.
        destination: IpAddr,
        /// What was found.
        facts: RouteFacts,
    },
}

impl Step {
    /// What stands where nothing was written.
    pub(super) const NOTHING: Self = Self::Decided(Stage::Parse, Verdict::Undecided);
}

/// What a policer says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policed {
    /// Which policer.
    pub policer: PolicerId,
    /// Its colour.
    pub colour: Colour,
    /// By buckets that are full, and without a charge: the packet is imagined.
    pub is_imagined: bool,
}
