//! What two routers may differ in without a difference: what the kernel draws at random or reads
//! off a clock for packets of its own.

use linecard_wire::checksum::checksum;

use super::bed::{Output, Side};

const IPV4: [u8; 2] = [0x08, 0x00];
const ICMP_TIMESTAMP_REPLY: u8 = 14;

/// The frame with the identification of the router's own IPv4 packets, which is random
/// (`__ip_select_ident`), and the times of a timestamp reply (RFC 792) set to zero. A checksum that
/// was right is right again, and one that was wrong stays as it was.
pub(crate) fn comparable(mut frame: Vec<u8>) -> Vec<u8> {
    let own = frame.get(12..14) == Some(&IPV4)
        && frame.get(26..30).is_some_and(|source| {
            [[192, 0, 2, 1], [198, 51, 100, 1], [203, 0, 113, 1]].iter().any(|it| it == source)
        });
    if !own {
        return frame;
    }
    let header = 14..14 + usize::from(frame[14] & 0x0f) * 4;
    let is_good = |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| checksum(bytes) == 0);
    if is_good(frame.get(header.clone())) {
        frame[18..20].fill(0);
        frame[24..26].fill(0);
        let sum = checksum(&frame[header.clone()]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    let at = header.end;
    let is_reply = frame[23] == 1 && frame.get(at) == Some(&ICMP_TIMESTAMP_REPLY);
    if is_reply && frame.len() >= at + 20 && is_good(frame.get(at..)) {
        frame[at + 2..at + 4].fill(0);
        frame[at + 12..at + 20].fill(0);
        let sum = checksum(&frame[at..]);
        frame[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// The frame without the padding up to the shortest of Ethernet behind an IP packet, which the classifier
/// leaves where it is when it forwards by itself.
pub(crate) fn without_padding(mut frame: Vec<u8>) -> Vec<u8> {
    const FRAME_BYTES_MIN: usize = 60;
    let half_word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let length = match half_word(12) {
        Some(0x0800) => half_word(16).map(usize::from),
        Some(0x86dd) => half_word(18).map(|payload| 40 + usize::from(payload)),
        _ => None,
    };
    if let Some(length) = length
        && frame.len() <= FRAME_BYTES_MIN
    {
        frame.truncate(14 + length);
    }
    frame
}

/// Frames of one router, with the side they came out of.
pub(crate) type Frames = Vec<(Side, Vec<u8>)>;

/// What only the first and what only the second router sent.
pub(crate) fn difference(kernel: &Output, linecard: &Output) -> (Frames, Frames) {
    let (mut only_kernel, mut only_linecard) = (Frames::new(), Frames::new());
    for side in Side::ALL {
        let mut rest = linecard[side as usize].clone();
        for frame in &kernel[side as usize] {
            match rest.iter().position(|other| other == frame) {
                Some(at) => drop(rest.remove(at)),
                None => only_kernel.push((side, frame.clone())),
            }
        }
        only_linecard.extend(rest.into_iter().map(|frame| (side, frame)));
    }
    (only_kernel, only_linecard)
}

/// Frames as text, for messages.
pub(crate) fn dump(output: &Output) -> String {
    let mut text = String::new();
    for side in Side::ALL {
        for frame in &output[side as usize] {
            text += &format!("  {side:?}: {}\n", hex(frame));
        }
    }
    text
}

/// Bytes as text that packet tools read.
pub(crate) fn hex(frame: &[u8]) -> String {
    frame.iter().map(|byte| format!("{byte:02x}")).collect()
}
