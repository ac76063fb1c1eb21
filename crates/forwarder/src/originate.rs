//! Packets of the worker's own: replies to whose packets a filter rejected, and copies that rules asked for.
//!
//! They leave behind the batch that they come from, so they take room in a transmit queue only that no
//! forwarded packet needed. A reply leaves by the queue that serves what came in with the rejected packet. Copies all
//! leave by the first queue of their port, so they keep their order.

use linecard_io::Frame;
use linecard_packet::{
    BATCH_PACKETS_MAX, COPIES_MAX, Copies, DropReason, Metadata, MirrorCopy, Origin, Withheld,
};
use linecard_services::filter::RejectReply;

use crate::egress::{Egress, EgressLists, PortState};
use crate::punt::PuntLimit;

/// How fast senders of rejected packets are told on each port, if nothing else is said: 1,000 replies a second, 100
/// at once. That is Linux's limit on ICMP errors (`icmp_msgs_per_sec`); beyond it senders wait for their time-outs.
pub const REPLY_LIMIT: PuntLimit = PuntLimit { rate_packets_per_second: 1_000, burst_packets: 100 };

/// Packets of the worker's own that are about to leave, by port.
#[derive(Debug)]
pub(crate) struct OwnPackets {
    replies: EgressLists,
    has_replies: bool,
    copies: EgressLists,
}

impl OwnPackets {
    pub(crate) fn new(ports: &[PortState]) -> Self {
        Self {
            replies: EgressLists::new(ports, BATCH_PACKETS_MAX),
            has_replies: false,
            copies: EgressLists::new(ports, COPIES_MAX),
        }
    }
}

impl Egress<'_> {
    /// Drops a packet that a filter rejects, and tells its sender where that is due: the reply is made in the
    /// packet's own frame.
    #[cold]
    pub(crate) fn reject(&mut self, mut frame: Frame, received_bytes: u64, metadata: &Metadata) {
        let in_port = metadata.in_port;
        self.counters.port(in_port).dropped(DropReason::FilterRejected, 1, received_bytes);
        let told = match self.make_reply(&mut frame, metadata) {
            Ok(()) => self.own.replies.list(in_port).ok_or(Withheld::RejectQueueFull),
            Err(reason) => Err(reason),
        };
        match told {
            Ok(leaving) => {
                leaving.push(frame);
                self.own.has_replies = true;
            }
            Err(reason) => {
                self.counters.port(in_port).withheld(reason, 1);
                self.memory.free(frame);
            }
        }
    }

    fn make_reply(&mut self, frame: &mut Frame, metadata: &Metadata) -> Result<(), Withheld> {
        let reply = RejectReply::to(self.memory.packet(frame), metadata, self.routes)?;
        let place = self.places.get(metadata.in_port.index()).copied().flatten();
        let port = place.and_then(|at| self.ports.get_mut(at));
        // Asked last, so that what may not be answered takes no token from what may.
        if !port.is_some_and(|port| port.reply_limit.take(self.now_nanoseconds)) {
            return Err(Withheld::RejectRateLimited);
        }
        // Drivers leave more headroom than two headers take.
        let is_written = reply.write(frame, self.memory);
        is_written.then_some(()).ok_or(Withheld::RejectUnanswerable)
    }

    /// Hands the replies to what came in by queue `number` to the transmit queues.
    #[inline]
    pub(crate) fn transmit_replies(&mut self, number: u16) {
        if std::mem::take(&mut self.own.has_replies) {
            let reasons = (Origin::RejectReply, Withheld::RejectQueueFull);
            self.transmit_own(number, reasons, |own| &mut own.replies);
        }
    }

    /// Hands the copies to the transmit queues of their ports.
    #[cold]
    pub(crate) fn transmit_copies(&mut self, copies: &mut Copies) {
        for (in_port, packets) in copies.drain_missed() {
            self.counters.port(in_port).withheld(Withheld::MirrorNoRoom, packets);
        }
        for copy in copies.drain() {
            self.sort_copy(copy);
        }
        let reasons = (Origin::MirrorCopy, Withheld::MirrorQueueFull);
        self.transmit_own(0, reasons, |own| &mut own.copies);
    }

    fn sort_copy(&mut self, copy: MirrorCopy) {
        let MirrorCopy { in_port, out_port, layer3_length, frame } = copy;
        let fate = match (self.routes.mtu_bytes(out_port), self.own.copies.list(out_port)) {
            (Some(mtu), _) if u32::from(layer3_length) > mtu => Err(Withheld::MirrorTooBig),
            (Some(_), Some(leaving)) => Ok(leaving),
            (None, _) | (_, None) => Err(Withheld::MirrorPortDown),
        };
        match fate {
            Ok(leaving) => leaving.push(frame),
            Err(reason) => {
                self.counters.port(in_port).withheld(reason, 1);
                self.memory.free(frame);
            }
        }
    }

    fn transmit_own(
        &mut self,
        number: u16,
        (origin, withheld): (Origin, Withheld),
        lists: impl Fn(&mut OwnPackets) -> &mut EgressLists,
    ) {
        for port in &mut *self.ports {
            let Some(leaving) = lists(self.own).non_empty(port.id) else { continue };
            let (packets, bytes) = port.transmit(number, leaving, self.memory);
            let counters = self.counters.port(port.id);
            counters.originated(origin, packets, bytes);
            counters.withheld(withheld, leaving.len() as u64);
            leaving.drain(..).for_each(|frame| self.memory.free(frame));
        }
    }
}
