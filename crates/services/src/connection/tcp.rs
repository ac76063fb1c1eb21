//! TCP as a middlebox sees it (RFC 9293 section 3.3.2, RFC 5961).
//!
//! Of each direction is kept what its segments have said: the end of what was sent, the highest
//! acknowledgement with its window, and flags. Only segments of that direction change it. The state of
//! the connection ([`state`]) follows from both, with the kernel's names (`nf_conntrack_proto_tcp`).
//!
//! The window check is that of van Rooij ("Real Stateful TCP Packet Filtering in IP Filter", 2001), as the
//! kernel has it. With S the sender's and R the receiver's direction, a segment is in the window when
//!
//! ```text
//! I    seq ≤ R.ack + R.window            not beyond what R takes
//! II   end ≥ S.end − R's largest window  not older than a retransmission
//! III  ack ≤ R.end                       nothing acknowledged that R has not sent
//! IV   ack ≥ R.end − S's largest window  no ancient acknowledgement (RFC 5961 5.2)
//! ```
//!
//! Largest windows are rounded up to a power of two of 64 KiB at least: keep-alives and old
//! retransmissions pass, and a blind sender must guess both numbers. A reset closes only if its number is the
//! next one that R waits for, or the end of what S has sent (RFC 5961 3.2); another one in the window goes to
//! the host, which challenges it, and changes nothing. A SYN within a connection goes to the host too and
//! changes nothing (RFC 5961 4.2): a host that has restarted gets out of a half-open connection in this way.

use linecard_tables::connections::{Lifetime, VALUES};
use linecard_wire::tcp::{self, Flags, OPTION_WINDOW_SCALE};

use super::config::lifetimes;

/// The direction has sent something.
pub(super) const SEEN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 4;
const FIN: u8 = 8;
/// It has acknowledged the other one's FIN.
const FIN_ACKED: u8 = 16;
const RST: u8 = 32;
/// It began the connection.
pub(super) const INITIATOR: u8 = 64;
/// Taken up in the middle: sequence numbers before are not known.
const PICKED_UP: u8 = 128;

/// No window scale option. Larger shifts than 14 are cut (RFC 7323 2.3).
const SCALE_NONE: u8 = 15;
const SCALE_MAX: u8 = 14;
/// The least of what counts as the largest window, as a power of two.
const SLACK_BITS: u32 = 16;
/// A SYN's data (RFC 7413) may stay unacknowledged: so many bytes at the most.
const SYN_DATA_MAX: u32 = 1500;

/// What is kept of a direction; two values of the table's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Direction {
    end: u32,
    ack: u32,
    /// In units of the scale.
    window: u16,
    flags: u8,
    scale: u8,
    /// Powers of two by which the largest window exceeds 64 KiB.
    spread: u8,
}

/// What a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    sequence: u32,
    /// Behind the last byte; SYN and FIN count as one each.
    end: u32,
    acknowledgment: u32,
    window: u16,
    flags: Flags,
    scale: u8,
}

/// Where a connection stands, in the kernel's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// SYN seen.
    SynSent,
    /// SYNs of both sides seen.
    SynRecv,
    /// And both acknowledged.
    Established,
    /// FIN of one side.
    FinWait,
    /// And acknowledged by the other.
    CloseWait,
    /// FINs of both.
    LastAck,
    /// And both acknowledged.
    TimeWait,
    /// Reset.
    Close,
}

/// What a segment means for its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The side that began says more, and has no answer yet: its direction from now on.
    Unanswered(Direction),
    /// A segment of the connection: its direction from now on.
    Established(Direction),
    /// A new connection with the ports of one that has ended.
    Restart,
    /// Not of this connection.
    Invalid,
}

impl Segment {
    /// What a segment of the wire says; `None` for flags that no TCP sends together (the kernel's
    /// `tcp_valid_flags`).
    #[must_use]
    pub fn read(segment: &tcp::Segment<'_>) -> Option<Self> {
        let flags = segment.flags();
        let kind = flags.0 & (Flags::SYN | Flags::ACK | Flags::FIN | Flags::RST).0;
        let is_sane = matches!(kind, 0x02 | 0x12 | 0x04 | 0x14 | 0x11 | 0x10);
        let scale = if flags.contains(Flags::SYN) { scale(segment) } else { SCALE_NONE };
        let length = segment.payload().len() as u32
            + u32::from(flags.contains(Flags::SYN))
            + u32::from(flags.contains(Flags::FIN));
        is_sane.then(|| Self {
            sequence: segment.sequence_number(),
            end: segment.sequence_number().wrapping_add(length),
            acknowledgment: segment.acknowledgment_number(),
            window: segment.window(),
            flags,
            scale,
        })
    }

    fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    fn is_first_syn(&self) -> bool {
        self.has(Flags::SYN) && !self.has(Flags::ACK)
    }
}

fn scale(segment: &tcp::Segment<'_>) -> u8 {
    let mut options = segment.options().map_while(Result::ok);
    let option = options.find(|option| option.kind == OPTION_WINDOW_SCALE);
    option.and_then(|option| option.data.first()).map_or(SCALE_NONE, |shift| *shift.min(&SCALE_MAX))
}

/// `a` comes before `b` (RFC 9293 3.4).
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Direction {
    pub(super) fn of_values(values: &[u64; VALUES], side: usize) -> Self {
        let (first, second) = (values[2 * side], values[2 * side + 1]);
        Self {
            end: first as u32,
            flags: (first >> 32) as u8,
            scale: (first >> 40) as u8 & 15,
            spread: (first >> 44) as u8 & 15,
            ack: second as u32,
            window: (second >> 32) as u16,
        }
    }

    /// The flags alone, as [`Self::of_values`] has them.
    #[inline]
    pub(super) fn flags_of(values: &[u64; VALUES], side: usize) -> u8 {
        (values[2 * side] >> 32) as u8
    }

    pub(super) fn values(&self) -> [u64; 2] {
        let marks =
            u64::from(self.flags) | u64::from(self.scale) << 8 | u64::from(self.spread) << 12;
        [u64::from(self.end) | marks << 32, u64::from(self.ack) | u64::from(self.window) << 32]
    }

    /// A direction of another protocol: it was seen.
    pub(super) fn seen(is_initiator: bool) -> Self {
        Self { flags: SEEN | if is_initiator { INITIATOR } else { 0 }, ..Self::default() }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// What the connection's state follows from is another.
    pub(super) fn flags_differ(&self, other: &Self) -> bool {
        self.flags != other.flags
    }

    /// By how much its windows are shifted: SYNs carry them as they are, and both sides must have offered to
    /// shift (RFC 7323 2.2).
    fn shift(&self, other: &Self) -> u32 {
        let only_syn = self.has(SYN) && !self.has(ACK);
        let both = self.scale != SCALE_NONE && other.scale != SCALE_NONE;
        if both && !only_syn { u32::from(self.scale) } else { 0 }
    }

    fn window_bytes(&self, other: &Self) -> u32 {
        u32::from(self.window) << self.shift(other)
    }

    /// What counts as its largest window.
    fn slack(&self) -> u32 {
        1 << (SLACK_BITS + u32::from(self.spread.min(14)))
    }

    /// After a segment of its own, which was found good.
    fn after(&self, other: &Self, segment: &Segment) -> Self {
        let mut next = *self;
        if !self.has(SEEN) || is_before(self.end, segment.end) {
            next.end = segment.end;
        }
        next.flags |= SEEN;
        if segment.has(Flags::FIN) {
            next.flags |= FIN;
        }
        if segment.has(Flags::SYN) && !self.has(SEEN) {
            next.flags |= SYN;
            next.scale = segment.scale;
        }
        if !segment.has(Flags::ACK) {
            if !self.has(ACK) {
                next.window = segment.window;
            }
            return next;
        }
        next.flags |= ACK;
        if other.has(FIN) && !is_before(segment.acknowledgment, other.end) {
            next.flags |= FIN_ACKED;
        }
        next.take_window(self, other, segment);
        next
    }

    /// Acknowledgement and window; what was once allowed stays allowed.
    fn take_window(&mut self, before: &Self, other: &Self, segment: &Segment) {
        let shift = self.shift(other);
        let is_newer = !before.has(ACK) || is_before(before.ack, segment.acknowledgment);
        self.ack = if is_newer { segment.acknowledgment } else { before.ack };
        let raw = u32::from(segment.window);
        let bytes = if segment.has(Flags::SYN) { raw } else { raw << shift };
        let mut edge = segment.acknowledgment.wrapping_add(bytes);
        let edge_before = before.ack.wrapping_add(before.window_bytes(other));
        if before.has(ACK) && is_before(edge, edge_before) {
            edge = edge_before;
        }
        let allowed = edge.wrapping_sub(self.ack);
        let units = (u64::from(allowed) + (1 << shift) - 1) >> shift;
        self.window = units.min(u64::from(u16::MAX)) as u16;
        let bits = (u32::BITS - bytes.leading_zeros()).saturating_sub(SLACK_BITS);
        self.spread = self.spread.max(bits as u8);
    }
}

/// The directions of a connection that begins with this segment, by side; `None` if none does.
pub(super) fn begin(segment: &Segment, side: usize, is_loose: bool) -> Option<[Direction; 2]> {
    let mut directions = [Direction::default(); 2];
    let empty = Direction { scale: SCALE_NONE, ..Direction::default() };
    directions[side] = empty.after(&Direction::default(), segment);
    directions[side].flags |= INITIATOR;
    if segment.is_first_syn() {
        return Some(directions);
    }
    directions[side].flags |= PICKED_UP;
    let kind = segment.flags.0 & (Flags::SYN | Flags::FIN | Flags::RST).0;
    (is_loose && kind == 0).then_some(directions)
}

/// Where the connection of these directions stands.
#[must_use]
pub fn state([a, b]: &[Direction; 2]) -> State {
    let both = |flag| a.has(flag) && b.has(flag);
    let one = |flag| a.has(flag) || b.has(flag);
    if one(RST) {
        State::Close
    } else if both(FIN) {
        if both(FIN_ACKED) { State::TimeWait } else { State::LastAck }
    } else if one(FIN) {
        if one(FIN_ACKED) { State::CloseWait } else { State::FinWait }
    } else if both(ACK) {
        State::Established
    } else if both(SEEN) {
        State::SynRecv
    } else {
        State::SynSent
    }
}

/// How long a connection in this state is kept.
pub(super) fn lifetime(state: State) -> Lifetime {
    match state {
        State::SynSent => lifetimes::TCP_SYN_SENT,
        State::SynRecv => lifetimes::TCP_SYN_RECV,
        State::Established => lifetimes::TCP_ESTABLISHED,
        State::FinWait => lifetimes::TCP_FIN_WAIT,
        State::CloseWait => lifetimes::TCP_CLOSE_WAIT,
        State::LastAck => lifetimes::TCP_LAST_ACK,
        State::TimeWait => lifetimes::TCP_TIME_WAIT,
        State::Close => lifetimes::TCP_CLOSE,
    }
}

/// What a segment that came from `side` means.
pub(super) fn step(directions: &[Direction; 2], side: usize, segment: &Segment) -> Step {
    let (sender, receiver) = (&directions[side], &directions[1 - side]);
    if segment.is_first_syn() {
        return first_syn(directions, side, segment);
    }
    let is_reset = segment.has(Flags::RST);
    match (sender.has(SEEN), receiver.has(SEEN)) {
        (true, false) => match () {
            // It gives up, before there is an answer.
            () if is_reset && segment.sequence == sender.end => {
                Step::Unanswered(Direction { flags: sender.flags | RST, ..*sender })
            }
            () if sender.has(PICKED_UP) => Step::Unanswered(sender.after(receiver, segment)),
            () => Step::Invalid,
        },
        (false, true) => answer(receiver, segment),
        (true, true) if sender.has(PICKED_UP) => {
            let next = sender.after(receiver, segment);
            let reset = if is_reset { RST } else { 0 };
            Step::Established(Direction { flags: next.flags | reset, ..next })
        }
        (true, true) if !is_in_window(sender, receiver, segment) => Step::Invalid,
        (true, true) if is_reset => reset(sender, receiver, segment),
        (true, true) => Step::Established(sender.after(receiver, segment)),
        (false, false) => Step::Invalid,
    }
}

/// A SYN without ACK.
fn first_syn(directions: &[Direction; 2], side: usize, segment: &Segment) -> Step {
    let (sender, receiver) = (&directions[side], &directions[1 - side]);
    match state(directions) {
        // Any sequence number: hosts that look at timestamps take lower ones too (RFC 6191).
        State::TimeWait | State::Close => Step::Restart,
        // Sent again, or the next try from the same port.
        State::SynSent if sender.has(SEEN) => match begin(segment, side, false) {
            Some(begun) => Step::Unanswered(begun[side]),
            None => Step::Invalid,
        },
        // RFC 9293 3.5, figure 7: simultaneous open.
        State::SynSent if !receiver.has(PICKED_UP) => {
            let empty = Direction { scale: SCALE_NONE, ..Direction::default() };
            Step::Established(empty.after(receiver, segment))
        }
        State::SynRecv if sender.has(SYN) && segment.end == sender.end => {
            Step::Established(*sender)
        }
        State::SynSent | State::SynRecv => Step::Invalid,
        _ => Step::Established(*sender),
    }
}

/// The first segment from the side that did not begin.
fn answer(receiver: &Direction, segment: &Segment) -> Step {
    let behind = receiver.end.wrapping_sub(segment.acknowledgment);
    let acknowledges = segment.has(Flags::ACK) && behind <= SYN_DATA_MAX;
    let mut empty = Direction { scale: SCALE_NONE, ..Direction::default() };
    if receiver.has(PICKED_UP) {
        empty.flags = PICKED_UP;
    } else if !acknowledges || !(segment.has(Flags::SYN) || segment.has(Flags::RST)) {
        return Step::Invalid;
    }
    let next = empty.after(receiver, segment);
    let reset = if segment.has(Flags::RST) { RST } else { 0 };
    Step::Established(Direction { flags: next.flags | reset, ..next })
}

/// A reset in the window.
fn reset(sender: &Direction, receiver: &Direction, segment: &Segment) -> Step {
    let awaited = receiver.has(ACK) && segment.sequence == receiver.ack;
    if awaited || segment.sequence == sender.end {
        Step::Established(Direction { flags: sender.flags | RST, ..*sender })
    } else if receiver.has(ACK) && is_before(segment.sequence, receiver.ack) {
        Step::Invalid
    } else {
        Step::Established(*sender)
    }
}

fn is_in_window(sender: &Direction, receiver: &Direction, segment: &Segment) -> bool {
    // Before its first acknowledgement a receiver takes a window from where the sender is.
    let base = if receiver.has(ACK) { receiver.ack } else { sender.end };
    let edge = base.wrapping_add(receiver.window_bytes(sender));
    let data = !is_before(edge, segment.sequence)
        && !is_before(segment.end, sender.end.wrapping_sub(receiver.slack()));
    let acknowledgment = !segment.has(Flags::ACK)
        || (!is_before(receiver.end, segment.acknowledgment)
            && !is_before(segment.acknowledgment, receiver.end.wrapping_sub(sender.slack())));
    data && acknowledgment
}

/// True when a packet with this sequence number, which an ICMP error quotes, can be on its way: the error
/// is no blind one (RFC 5927 4.1).
pub(super) fn is_quotable(directions: &[Direction; 2], side: usize, sequence: u32) -> bool {
    let (sender, receiver) = (&directions[side], &directions[1 - side]);
    let oldest = sender.end.wrapping_sub(receiver.slack());
    sender.has(PICKED_UP) || (!is_before(sequence, oldest) && !is_before(sender.end, sequence))
}
