//! The batch: up to 256 packets that go through the pipeline together, as a structure of arrays.

use linecard_io::Frame;

use crate::{AdjacencyId, DropReason, InterfaceId, PortId, PuntReason};

/// Packets in a batch at the most. Larger batches gain nothing and cost cache and latency.
pub const BATCH_PACKETS_MAX: usize = 256;

/// Where a packet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No stage has decided yet.
    Undecided,
    /// Send on `port` with the rewrite of `adjacency`.
    Forward {
        /// The port to send on.
        port: PortId,
        /// The neighbour to send to.
        adjacency: AdjacencyId,
    },
    /// Hand to the kernel, as if received on the port it came from.
    Punt(PuntReason),
    /// Drop.
    Drop(DropReason),
}

impl Verdict {
    /// True while no stage has decided.
    #[must_use]
    pub fn is_undecided(self) -> bool {
        matches!(self, Self::Undecided)
    }
}

/// Which network-layer protocol a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layer3 {
    /// Neither IPv4 nor IPv6.
    #[default]
    Other,
    /// IPv4, with a valid header.
    Ipv4,
    /// IPv6, with a valid header.
    Ipv6,
}

/// What `parse` found out about a packet, so that no later stage looks for it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The port it came in on.
    pub in_port: PortId,
    /// The layer-3 interface it came in on; set by the route stage.
    pub in_interface: InterfaceId,
    /// VLAN tag control information of the outer and inner tag, 0xffff where there is none.
    /// Only the 12 bits of the VLAN identifier and the priority bits are kept as received.
    pub vlan_tci: [u16; 2],
    /// EtherTypes (tag protocol identifiers) of the outer and inner tag, 0 where there is none.
    pub vlan_tpid: [u16; 2],
    /// Network-layer protocol.
    pub layer3: Layer3,
    /// Upper-layer protocol number (IPv4 protocol; IPv6: behind the extension headers).
    pub protocol: u8,
    /// Offset of the network-layer header in the frame, in bytes.
    pub layer3_offset: u8,
    /// Offset of the upper-layer header in the frame, in bytes; meaningless for later fragments.
    pub layer4_offset: u16,
    /// Length of the network-layer packet in bytes, as its header says.
    pub layer3_length: u16,
    /// Hash of the flow: 5-tuple, for fragments 3-tuple; with the flow label for IPv6.
    pub flow_hash: u32,
    /// With the verdict punt `neighbour_unresolved`: the adjacency that is not resolved, or
    /// [`Metadata::NO_ADJACENCY`] when it is the destination's own, which has none yet. Set by the
    /// route stage.
    pub unresolved: AdjacencyId,
}

impl Metadata {
    /// The value of [`Metadata::vlan_tci`] where there is no tag.
    pub const NO_TAG: u16 = 0xffff;
    /// The value of [`Metadata::unresolved`] where there is none.
    pub const NO_ADJACENCY: AdjacencyId = AdjacencyId(u32::MAX);

    /// Metadata of a packet of which only the port is known.
    #[must_use]
    pub fn of_port(in_port: PortId) -> Self {
        Self {
            in_port,
            in_interface: InterfaceId(u16::MAX),
            vlan_tci: [Self::NO_TAG; 2],
            vlan_tpid: [0; 2],
            layer3: Layer3::Other,
            protocol: 0,
            layer3_offset: 0,
            layer4_offset: 0,
            layer3_length: 0,
            flow_hash: 0,
            unresolved: Self::NO_ADJACENCY,
        }
    }

    /// VLAN identifiers of the outer and inner tag, `None` where there is none.
    #[must_use]
    pub fn vlan_ids(&self) -> [Option<u16>; 2] {
        let id = |i: usize| (self.vlan_tpid[i] != 0).then_some(self.vlan_tci[i] & 0x0fff);
        [id(0), id(1)]
    }
}

/// Up to [`BATCH_PACKETS_MAX`] packets; `frames[i]`, `metadata[i]` and `verdicts[i]` are one packet.
///
/// All memory is allocated by [`Batch::new`].
#[derive(Debug)]
pub struct Batch {
    /// The packets' frames.
    pub frames: Vec<Frame>,
    /// What parse found.
    pub metadata: Vec<Metadata>,
    /// Where each packet stands.
    pub verdicts: Vec<Verdict>,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// An empty batch with room for [`BATCH_PACKETS_MAX`] packets.
    #[must_use]
    pub fn new() -> Self {
        Self {
            frames: Vec::with_capacity(BATCH_PACKETS_MAX),
            metadata: Vec::with_capacity(BATCH_PACKETS_MAX),
            verdicts: Vec::with_capacity(BATCH_PACKETS_MAX),
        }
    }

    /// Packets in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// True when there is no packet in the batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Gives each frame that was just received on `in_port` its metadata and an open verdict.
    pub fn begin(&mut self, in_port: PortId) {
        self.metadata.clear();
        self.verdicts.clear();
        self.metadata.resize(self.frames.len(), Metadata::of_port(in_port));
        self.verdicts.resize(self.frames.len(), Verdict::Undecided);
    }
}
