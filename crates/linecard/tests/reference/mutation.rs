//! Mutations of the fixtures' frames: what nobody thought of.

use std::net::Ipv6Addr;

use linecard_wire::checksum::checksum;
use linecard_wire::ipv4;

use super::bed::{LINK_LOCAL_NEIGHBOURS, Side};
use super::compare::{Frames, comparable};
use super::fixture::{Fixture, Only};

const FRAME_BYTES_MIN: usize = 14;
/// West's and east's hosts can send this much.
const FRAME_BYTES_MAX: usize = 1414;
/// Headers: what is behind is a payload that nobody looks at.
const HEADER_BYTES: usize = 80;

/// SplitMix64: the same frames for the same seed, for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// A frame and the side it comes in by.
pub(crate) struct Mutant {
    pub(crate) side: Side,
    pub(crate) frame: Vec<u8>,
    /// The fixture it was made of.
    pub(crate) base: &'static str,
}

/// `count` mutants of those fixtures from which mutants can be told apart by what comes out alone.
pub(crate) fn mutants(fixtures: &[Fixture], random: &mut Random, count: usize) -> Vec<Mutant> {
    let bases: Vec<_> = fixtures.iter().filter(|fixture| is_base(fixture)).collect();
    let mut mutants = Vec::with_capacity(count);
    while mutants.len() < count {
        let base = bases[random.below(bases.len())];
        let mut frame = base.frame.clone();
        give_own_source(&mut frame, mutants.len() as u16);
        for _ in 0..=random.below(3) {
            mutate(&mut frame, random);
        }
        if random.below(2) == 0 {
            repair(&mut frame);
        }
        let stirs = asks_for_neighbours(&frame) || is_answered_by_broadcast(&frame);
        if !stirs && frame != base.frame {
            mutants.push(Mutant { side: base.side, frame, base: base.description });
        }
    }
    mutants
}

/// IP without tags, from a port of Linecard's, whose outcome depends on no clock and no earlier
/// packet: neighbour discovery changes the router's state.
fn is_base(fixture: &Fixture) -> bool {
    let frame = &fixture.frame;
    let ip = matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
    let discovery = frame.get(20) == Some(&58)
        && frame.get(54).is_some_and(|message_type| (133..=137).contains(message_type));
    let fits = frame.len() <= FRAME_BYTES_MAX;
    ip && !discovery && fits && fixture.is_seen() && fixture.clock.is_none()
}

/// A source for each packet: the kernel answers no route but a few times a second to a source.
fn give_own_source(frame: &mut [u8], number: u16) {
    let transit = match frame.get(26..31) {
        Some([192, 0, 2, 2, net]) => *net != 192,
        Some([172, 16, 1, ..]) => true,
        _ => false,
    };
    if transit {
        let [high, low] = number.to_be_bytes();
        let intact = frame.get(14..34).is_some_and(|header| checksum(header) == 0);
        frame[26..30].copy_from_slice(&[172, 17, high, low]);
        if intact {
            repair(frame);
        }
    }
}

/// Changes one thing behind the Ethernet header.
fn mutate(frame: &mut Vec<u8>, random: &mut Random) {
    const VALUES: [u8; 8] = [0, 1, 4, 0x40, 0x45, 0x60, 0x7f, 0xff];
    let headers = frame.len().min(HEADER_BYTES);
    if headers <= 14 {
        return frame.push(VALUES[random.below(VALUES.len())]);
    }
    let at = 14 + random.below(headers - 14);
    match random.below(8) {
        0..=2 => frame[at] ^= 1 << random.below(8),
        3 => frame[at] = VALUES[random.below(VALUES.len())],
        4 => frame[at] = random.next() as u8,
        5 => frame.truncate(FRAME_BYTES_MIN + random.below(frame.len() - FRAME_BYTES_MIN)),
        6 => {
            let longer = (frame.len() + 1 + random.below(64)).min(FRAME_BYTES_MAX);
            frame.resize(longer, 0xa5);
        }
        _ => change_length(frame, random),
    }
}

/// Moves the total length of IPv4 or the payload length of IPv6 by a little.
fn change_length(frame: &mut [u8], random: &mut Random) {
    let at = if frame[12] == 0x08 { 16 } else { 18 };
    if let Some(&[high, low]) = frame.get(at..at + 2) {
        let by = random.below(9) as u16;
        let length = u16::from_be_bytes([high, low]).wrapping_add(by).wrapping_sub(4);
        frame[at..at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

/// Makes an IPv4 header checksum right, where there is a header.
fn repair(frame: &mut [u8]) {
    if frame.get(12..14) == Some(&[0x08, 0x00]) {
        // A header that is cut off or too short has no checksum to repair.
        let _ = ipv4::fill_checksum(&mut frame[14..]);
    }
}

/// Whether the router would have more to say of it after a while: it asks for a link-local
/// neighbour that is not there three times, a second apart.
fn asks_for_neighbours(frame: &[u8]) -> bool {
    let known = LINK_LOCAL_NEIGHBOURS.map(|text| text.parse::<Ipv6Addr>().expect("an address"));
    let link_local = |at: usize| {
        frame.get(at..at + 16).is_some_and(|octets| {
            octets[0] == 0xfe
                && octets[1] & 0xc0 == 0x80
                && known.iter().all(|known| known.octets() != *octets)
        })
    };
    let ipv6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
    ipv6 && (link_local(22) || link_local(38))
}

/// Whether the answer would be a broadcast of the router's own: of those the kernel hands itself a
/// copy by the port's ingress (`dev_loopback_xmit`), which generic mode and AF_PACKET ports count.
fn is_answered_by_broadcast(frame: &[u8]) -> bool {
    let broadcasts = [[192, 0, 2, 3], [198, 51, 100, 3], [203, 0, 113, 3]];
    let ipv4 = frame.get(12..14) == Some(&[0x08, 0x00]);
    ipv4 && frame.get(26..30).is_some_and(|source| broadcasts.iter().any(|it| it == source))
}

/// Whether what differs is a difference that a fixture explains.
pub(crate) fn is_explained(sent: &[u8], kernel: &Frames, linecard: &Frames) -> bool {
    let sent = &comparable(sent.to_vec());
    let at = |range: std::ops::Range<usize>| sent.get(range).unwrap_or_default();
    let ipv4 = at(12..14) == [0x08, 0x00];
    let own = [[192, 0, 2, 1], [198, 51, 100, 1], [203, 0, 113, 1]];
    Side::ALL.into_iter().any(|side| {
        let from_own_address = ipv4 && own.iter().any(|address| at(26..30) == address);
        let to_unspecified = !ipv4 && at(38..54) == [0; 16];
        from_own_address && Only::LinecardForwards(side).is_all(sent, kernel, linecard)
            || to_unspecified && Only::KernelForwards(side).is_all(sent, kernel, linecard)
    })
}
