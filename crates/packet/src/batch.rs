//! The batch: up to 256 packets that go through the pipeline together, as a structure of arrays.

use linecard_io::Frame;
use linecard_wire::MacAddress;

use crate::{AdjacencyId, Classes, Copies, DropReason, InterfaceId, Notes, PortId, PuntReason};

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
    #[inline]
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

/// What `parse` found out about a packet, so that no later stage looks for it again: 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The port it came in on.
    pub in_port: PortId,
    /// The layer-3 interface it came in on, or [`Metadata::NO_INTERFACE`]: set by parse for plain
    /// packets, by the route stage for the others.
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
    /// Source and destination port stand at `layer4_offset`: the protocol begins with them, and the
    /// packet is no fragment, of which only the first has them.
    pub has_ports: bool,
    /// Offset of the upper-layer header in the frame, in bytes; meaningless for later fragments.
    pub layer4_offset: u16,
    /// Length of the network-layer packet in bytes, as its header says.
    pub layer3_length: u16,
    /// With the verdict punt `neighbour_unresolved`: the adjacency that is not resolved, or
    /// [`Metadata::NO_ADJACENCY`] when it is the destination's own, which has none yet. Set by the
    /// route stage.
    pub unresolved: AdjacencyId,
}

// A batch's metadata, verdicts and frames should leave room for packets in a first-level cache.
const _: () = assert!(size_of::<Metadata>() == 24 && size_of::<Verdict>() == 8);

impl Metadata {
    /// The value of [`Metadata::vlan_tci`] where there is no tag.
    pub const NO_TAG: u16 = 0xffff;
    /// The value of [`Metadata::in_interface`] where it is not known.
    pub const NO_INTERFACE: InterfaceId = InterfaceId(u16::MAX);
    /// The value of [`Metadata::unresolved`] where there is none.
    pub const NO_ADJACENCY: AdjacencyId = AdjacencyId(u32::MAX);

    /// Metadata of a packet of which only the port is known.
    #[inline]
    #[must_use]
    pub const fn of_port(in_port: PortId) -> Self {
        Self {
            in_port,
            in_interface: Self::NO_INTERFACE,
            vlan_tci: [Self::NO_TAG; 2],
            vlan_tpid: [0; 2],
            layer3: Layer3::Other,
            protocol: 0,
            layer3_offset: 0,
            has_ports: false,
            layer4_offset: 0,
            layer3_length: 0,
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

/// Who the untagged frames of a port are for: the interface that takes them, as parse needs it.
#[derive(Debug, Clone, Copy)]
pub struct Station {
    interface: InterfaceId,
    /// The six octets as the high bits of a number, the first one lowest, or [`Self::NOBODY`].
    mac_address: u64,
    forwards_ipv4: bool,
    forwards_ipv6: bool,
}

impl Station {
    /// No MAC address: those have zeroes below.
    const NOBODY: u64 = u64::MAX;

    /// The station of an interface, and which protocols it forwards.
    #[must_use]
    pub fn new(
        interface: InterfaceId,
        mac_address: MacAddress,
        forwards_ipv4: bool,
        forwards_ipv6: bool,
    ) -> Self {
        let [a, b, c, d, e, f] = mac_address.octets();
        let mac_address = u64::from_le_bytes([0, 0, a, b, c, d, e, f]);
        Self { interface, mac_address, forwards_ipv4, forwards_ipv6 }
    }

    /// A port that takes no untagged frames, or is not known: no frame is for it.
    #[must_use]
    pub fn none() -> Self {
        Self {
            interface: Metadata::NO_INTERFACE,
            mac_address: Self::NOBODY,
            forwards_ipv4: false,
            forwards_ipv6: false,
        }
    }

    /// The interface.
    #[inline]
    pub(crate) fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// True when the frame that begins with these 8 bytes, the first one lowest, is addressed to it.
    #[inline]
    pub(crate) fn is_addressed(&self, front: u64) -> bool {
        front << 16 == self.mac_address
    }

    /// IPv4 packets that arrive are forwarded.
    #[inline]
    pub(crate) fn forwards_ipv4(&self) -> bool {
        self.forwards_ipv4
    }

    /// IPv6 packets that arrive are forwarded.
    #[inline]
    pub(crate) fn forwards_ipv6(&self) -> bool {
        self.forwards_ipv6
    }
}

/// The destinations of a batch's packets of one protocol, side by side for bulk lookups. Arrays, because
/// a place below 256 needs no check against their length.
#[derive(Debug)]
pub struct Destinations<A> {
    len: usize,
    places: Box<[u8; BATCH_PACKETS_MAX]>,
    addresses: Box<[A; BATCH_PACKETS_MAX]>,
}

// Places are bytes.
const _: () = assert!(BATCH_PACKETS_MAX == 256);

impl<A: Copy + Default> Destinations<A> {
    fn new() -> Self {
        Self {
            len: 0,
            places: Box::new([0; BATCH_PACKETS_MAX]),
            addresses: Box::new([A::default(); BATCH_PACKETS_MAX]),
        }
    }

    /// Places in the batch, in ascending order.
    #[inline]
    #[must_use]
    pub fn places(&self) -> &[u8] {
        &self.places[..self.len]
    }

    /// The destination of each of [`Self::places`].
    #[inline]
    #[must_use]
    pub fn addresses(&self) -> &[A] {
        &self.addresses[..self.len]
    }

    /// Looks the packet at `place` up by another address; nothing happens if it has no destination here.
    pub fn redirect(&mut self, place: u8, address: A) {
        if let Ok(at) = self.places().binary_search(&place) {
            self.addresses[at] = address;
        }
    }

    /// Goes on behind what is there: what is pushed counts when [`Self::end`] says how many there are.
    #[inline]
    pub(crate) fn resume(&mut self) -> Filling<'_, A> {
        Filling { len: self.len, places: &mut self.places, addresses: &mut self.addresses }
    }

    #[inline]
    pub(crate) fn end(&mut self, len: usize) {
        self.len = len.min(BATCH_PACKETS_MAX);
    }
}

/// [`Destinations`] that are being filled: their length is a local of the loop, not a word in memory.
pub(crate) struct Filling<'a, A> {
    len: usize,
    places: &'a mut [u8; BATCH_PACKETS_MAX],
    addresses: &'a mut [A; BATCH_PACKETS_MAX],
}

impl<A> Filling<'_, A> {
    #[inline]
    pub(crate) fn push(&mut self, place: usize, address: A) {
        // A batch has no more packets than there is room for.
        let at = self.len % BATCH_PACKETS_MAX;
        self.places[at] = place as u8;
        self.addresses[at] = address;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// Packets of a batch that came in by one queue, one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The port they came in on.
    pub in_port: PortId,
    /// Which of the worker's queues of that port, from 0.
    pub queue: u16,
    /// The place behind its last packet; it begins where the one before ends.
    pub end: u16,
}

/// Up to [`BATCH_PACKETS_MAX`] packets; `frames[i]`, `metadata[i]` and `verdicts[i]` are one packet.
///
/// They may come from several queues: the stages pay for a batch, and a lookup waits for memory while it
/// works on the next packet, so that the few packets that each of several ports has are cheaper together.
///
/// All memory is allocated by [`Batch::new`].
#[derive(Debug)]
pub struct Batch {
    /// The packets' frames.
    pub frames: Vec<Frame>,
    /// How long each frame was when it was received, in bytes; [`Self::end_segment`] writes it down, because the
    /// rewrite makes frames shorter and longer.
    pub received_lengths: Vec<u16>,
    /// The queues they came from, as [`Self::end_segment`] was told; together all frames.
    pub segments: Vec<Segment>,
    /// What parse found.
    pub metadata: Vec<Metadata>,
    /// Where each packet stands.
    pub verdicts: Vec<Verdict>,
    /// IPv4 destinations of the packets that parse left undecided.
    pub destinations_ipv4: Destinations<u32>,
    /// IPv6 destinations of the packets that parse left undecided.
    pub destinations_ipv6: Destinations<u128>,
    /// Packets that parse has neither dropped nor found plain: their incoming interface is not known.
    pub unadmitted: usize,
    /// The packets' forwarding classes.
    pub classes: Classes,
    /// Copies that rules asked for.
    pub copies: Copies,
    /// Packets that rules want somebody to be told of.
    pub notes: Notes,
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
            received_lengths: Vec::with_capacity(BATCH_PACKETS_MAX),
            segments: Vec::with_capacity(BATCH_PACKETS_MAX),
            metadata: Vec::with_capacity(BATCH_PACKETS_MAX),
            verdicts: Vec::with_capacity(BATCH_PACKETS_MAX),
            destinations_ipv4: Destinations::new(),
            destinations_ipv6: Destinations::new(),
            unadmitted: 0,
            classes: Classes::new(),
            copies: Copies::new(),
            notes: Notes::new(),
        }
    }

    /// The frames that were added since the last segment came in by `queue` of `in_port`. Returns their bytes.
    #[inline]
    pub fn end_segment(&mut self, in_port: PortId, queue: u16) -> u64 {
        let (start, end) =
            (self.segments.last().map_or(0, |last| last.end), self.frames.len() as u16);
        let Some(added) = self.frames.get(usize::from(start)..).filter(|added| !added.is_empty())
        else {
            return 0;
        };
        self.received_lengths.truncate(usize::from(start));
        let mut bytes = 0;
        self.received_lengths.extend(added.iter().map(|frame| {
            bytes += frame.len() as u64;
            frame.len() as u16
        }));
        self.segments.push(Segment { in_port, queue, end });
        bytes
    }

    /// Takes the frames out; the batch is empty afterwards, but for what the stages found.
    #[inline]
    pub fn drain(&mut self) -> std::vec::Drain<'_, Frame> {
        self.segments.clear();
        self.frames.drain(..)
    }

    /// Packets in the batch.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// True when there is no packet in the batch.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
