//! DSCP that rules give to packets.
//!
//! All rules of a filter, and all filters that are asked about one packet together, judge it as it came to them:
//! a rule that goes on must not change what the rules behind it see, be it by `dscp` or by `bytes`. So marks are
//! kept until all have been asked.

use linecard_io::{Frame, PacketMemory};
use linecard_packet::{BATCH_PACKETS_MAX, Batch, Layer3, Metadata};
use linecard_wire::{ipv4, ipv6};

/// Where a packet has no mark.
const NO_MARK: u8 = 0xff;

/// The marks of a batch. Between two batches there are none.
#[derive(Debug)]
pub(super) struct DscpMarks {
    /// By place.
    dscps: Box<[u8; BATCH_PACKETS_MAX]>,
    /// Places that have one, each once.
    places: Vec<u8>,
}

impl DscpMarks {
    pub(super) fn new() -> Self {
        let dscps = Box::new([NO_MARK; BATCH_PACKETS_MAX]);
        Self { dscps, places: Vec::with_capacity(BATCH_PACKETS_MAX) }
    }

    /// Gives the packet at `place` a DSCP, 0 to 63; the last one holds.
    pub(super) fn set(&mut self, place: u8, dscp: u8) {
        let mark = &mut self.dscps[usize::from(place)];
        if *mark == NO_MARK {
            self.places.push(place);
        }
        *mark = dscp;
    }

    /// Shows the packet at `place` with the mark that it has so far.
    pub(super) fn with_mark(
        &self,
        place: u8,
        batch: &mut Batch,
        memory: &mut PacketMemory,
        show: impl FnOnce(&mut Batch, &mut PacketMemory),
    ) {
        let at = usize::from(place);
        let mark = self.dscps[at];
        if mark == NO_MARK {
            return show(batch, memory);
        }
        let before = set_dscp(&mut batch.frames[at], &batch.metadata[at], memory, mark);
        show(batch, memory);
        if let Some(before) = before {
            set_dscp(&mut batch.frames[at], &batch.metadata[at], memory, before);
        }
    }

    /// Writes all marks into their packets.
    #[inline]
    pub(super) fn apply(&mut self, batch: &mut Batch, memory: &mut PacketMemory) {
        for place in self.places.drain(..) {
            let at = usize::from(place);
            let mark = std::mem::replace(&mut self.dscps[at], NO_MARK);
            set_dscp(&mut batch.frames[at], &batch.metadata[at], memory, mark);
        }
    }
}

/// Marks a packet (RFC 2474 section 3) and returns the DSCP that it had; the ECN bits stay.
fn set_dscp(
    frame: &mut Frame,
    metadata: &Metadata,
    memory: &mut PacketMemory,
    dscp: u8,
) -> Option<u8> {
    let header = memory.packet_mut(frame).get_mut(usize::from(metadata.layer3_offset)..)?;
    let (&first, &second) = (header.first()?, header.get(1)?);
    // Neither fails on a packet that parse has seen.
    let (before, _) = match metadata.layer3 {
        Layer3::Ipv4 => (second >> 2, ipv4::set_dscp(header, dscp)),
        Layer3::Ipv6 => (first << 2 & 0x3c | second >> 6, ipv6::set_dscp(header, dscp)),
        Layer3::Other => return None,
    };
    Some(before)
}
