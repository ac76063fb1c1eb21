//! A fixture: a frame, what Linecard counts it as, and how much comes out.

use linecard_packet::{DropReason, PuntReason};

use super::bed::Side;

/// What Linecard counts a frame as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A worker sends it by this port.
    Forwarded(Side),
    /// A worker hands it to the kernel.
    Punted(PuntReason),
    /// A worker drops it.
    Dropped(DropReason),
    /// The classifier leaves it to the kernel, for the reason of this label.
    Passed(&'static str),
    /// No account has it: the kernel drops it before any program sees it.
    Unseen,
}
pub(crate) use Verdict::{Dropped, Forwarded, Passed, Punted, Unseen};

/// One frame, one verdict.
#[derive(Debug, Clone)]
pub(crate) struct Fixture {
    pub(crate) description: &'static str,
    /// The port by which it comes in.
    pub(crate) side: Side,
    pub(crate) frame: Vec<u8>,
    pub(crate) verdict: Verdict,
    /// On AF_PACKET ports, where that is another one.
    pub(crate) verdict_packet: Option<Verdict>,
    /// Frames that come out of the kernel, by side: west, east, south.
    pub(crate) out: [usize; 3],
    /// Where Linecard differs from the kernel.
    pub(crate) difference: Option<Difference>,
    /// Bytes of what comes out that hold the time of day.
    pub(crate) clock: Option<std::ops::Range<usize>>,
}

/// A difference from the kernel that is meant to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Difference {
    pub(crate) reason: &'static str,
    pub(crate) only: Only,
}

/// What exactly differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Only {
    /// The kernel drops the packet, Linecard forwards it by this port.
    LinecardForwards(Side),
    /// Linecard drops the packet, the kernel forwards it by this port.
    KernelForwards(Side),
    /// Both forward it, and the kernel sends a redirect to its source as well.
    KernelRedirects(Side),
}

impl Only {
    /// Whether `kernel` and `linecard` are the frames in which a difference of this kind shows.
    pub(crate) fn is_all(
        self,
        sent: &[u8],
        kernel: &[(Side, Vec<u8>)],
        linecard: &[(Side, Vec<u8>)],
    ) -> bool {
        let is_forwarded = |frames: &[(Side, Vec<u8>)], to: Side| match frames {
            [(side, frame)] => *side == to && same_but_one_hop(sent, frame),
            _ => false,
        };
        match self {
            Self::LinecardForwards(to) => kernel.is_empty() && is_forwarded(linecard, to),
            Self::KernelForwards(to) => linecard.is_empty() && is_forwarded(kernel, to),
            Self::KernelRedirects(to) => match kernel {
                [(side, frame)] => *side == to && linecard.is_empty() && is_redirect(frame),
                _ => false,
            },
        }
    }
}

/// Whether `frame` carries the IP packet of `sent` with one hop less.
fn same_but_one_hop(sent: &[u8], frame: &[u8]) -> bool {
    let (Some(sent), Some(frame)) = (sent.get(14..), frame.get(14..)) else { return false };
    let ipv4 = sent.first().is_some_and(|byte| byte >> 4 == 4);
    let (hop, checksum) = if ipv4 { (8, 10..12) } else { (7, 0..0) };
    frame.len() <= sent.len()
        && frame.iter().zip(sent).enumerate().all(|(at, (&after, &before))| match at {
            at if at == hop => after.wrapping_add(1) == before,
            at if checksum.contains(&at) => true,
            _ => after == before,
        })
}

/// An ICMPv6 redirect (RFC 4861 4.5).
pub(crate) fn is_redirect(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd])
        && frame.get(20) == Some(&58)
        && frame.get(54) == Some(&137)
}

fn fixture(
    description: &'static str,
    side: Side,
    frame: Vec<u8>,
    verdict: Verdict,
    out: [usize; 3],
) -> Fixture {
    let (verdict_packet, difference, clock) = (None, None, None);
    Fixture { description, side, frame, verdict, verdict_packet, out, difference, clock }
}

/// A frame from west that a worker forwards to east.
pub(crate) fn forwarded(description: &'static str, frame: Vec<u8>) -> Fixture {
    fixture(description, Side::West, frame, Forwarded(Side::East), [0, 1, 0])
}

/// A frame from west of which nothing comes out.
pub(crate) fn silent(description: &'static str, frame: Vec<u8>, verdict: Verdict) -> Fixture {
    fixture(description, Side::West, frame, verdict, [0; 3])
}

/// A frame from west that the router answers to west.
pub(crate) fn answered(description: &'static str, frame: Vec<u8>, verdict: Verdict) -> Fixture {
    fixture(description, Side::West, frame, verdict, [1, 0, 0])
}

/// A frame from west that the kernel forwards to east.
pub(crate) fn by_kernel(description: &'static str, frame: Vec<u8>, verdict: Verdict) -> Fixture {
    fixture(description, Side::West, frame, verdict, [0, 1, 0])
}

impl Fixture {
    /// Whether it comes in by a port of Linecard's.
    pub(crate) fn is_seen(&self) -> bool {
        self.verdict != Unseen
    }

    pub(crate) fn from(mut self, side: Side) -> Self {
        self.side = side;
        self
    }

    /// Linecard's verdict, where not the one that follows.
    pub(crate) fn verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// The verdict on AF_PACKET ports.
    pub(crate) fn on_packet_ports(mut self, verdict: Verdict) -> Self {
        self.verdict_packet = Some(verdict);
        self
    }

    /// Frames that come out of the kernel: west, east, south.
    pub(crate) fn out(mut self, out: [usize; 3]) -> Self {
        self.out = out;
        self
    }

    pub(crate) fn differs(mut self, only: Only, reason: &'static str) -> Self {
        self.difference = Some(Difference { reason, only });
        self
    }

    pub(crate) fn clock(mut self, bytes: std::ops::Range<usize>) -> Self {
        self.clock = Some(bytes);
        self
    }
}
