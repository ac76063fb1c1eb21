//! Which packets to unresolved neighbours are first ones, and how many of the others a neighbour gets.
//!
//! A direct-mapped array of slots, indexed by a hash of the neighbour; its size does not depend on who
//! sends what. A neighbour has a first packet every 100 ms at the most, so that also 1,000 dead ones
//! leave half of the default rate to others. For the rest a slot is a leaky bucket in its virtual-time
//! form (ITU-T I.371 annex A, GCRA): one moment, at which it would be full again.
//!
//! Neighbours may share a slot, and a dead one in it must not keep the first packets of another
//! back. So a packet of another neighbour takes the slot over and counts as a first one, if the last
//! taking-over was 100 ms ago. The hash is seeded, so that nobody can choose neighbours that share.
//!
//! Somebody who sends to thousands of dead neighbours at once does keep others back; the kernel alone
//! would do so with fewer (`gc_thresh3` is 1,024).

use linecard_packet::{AdjacencyId, Layer3, Metadata};
use linecard_tables::hash::{FlowHash, FlowIpv4, FlowIpv6};

use super::PuntLimit;

/// Slots, a power of two: 32 bytes each. Four times the neighbours that the kernel has by default.
const SLOTS: usize = 4_096;
/// From one first packet of a neighbour to the next, and from one taking-over of a slot to the next.
const PAUSE_NANOSECONDS: u64 = 100_000_000;
const SECOND: u64 = 1_000_000_000;

/// A neighbour, hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neighbour(u32);

impl Neighbour {
    /// The neighbour that a packet with the verdict punt `neighbour_unresolved` should go to.
    pub(crate) fn of(packet: &[u8], metadata: &Metadata, hash: &FlowHash) -> Self {
        if metadata.unresolved != Metadata::NO_ADJACENCY {
            return Self::of_adjacency(metadata.unresolved, hash);
        }
        let header = packet.get(usize::from(metadata.layer3_offset)..).unwrap_or_default();
        Self(match metadata.layer3 {
            Layer3::Ipv6 => {
                let octets = header.get(24..).and_then(<[u8]>::first_chunk::<16>);
                let destination = u128::from_be_bytes(octets.copied().unwrap_or_default());
                hash.ipv6(&FlowIpv6 { destination, ..FlowIpv6::default() })
            }
            Layer3::Ipv4 | Layer3::Other => {
                let octets = header.get(16..).and_then(<[u8]>::first_chunk::<4>);
                let destination = u32::from_be_bytes(octets.copied().unwrap_or_default());
                hash.ipv4(&FlowIpv4 { destination, ..FlowIpv4::default() })
            }
        })
    }

    fn of_adjacency(id: AdjacencyId, hash: &FlowHash) -> Self {
        // Protocol 255 is reserved: no destination hashes like this.
        let flow = FlowIpv4 { destination: id.0, protocol: 255, ..FlowIpv4::default() };
        Self(hash.ipv4(&flow))
    }
}

/// What a packet to an unresolved neighbour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The first one after a pause.
    First,
    /// A later one.
    Repeat,
    /// More than the neighbour's share.
    TooMany,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    owner: u32,
    /// When the owner may have a first packet.
    first_due_nanoseconds: u64,
    /// When another may take the slot over.
    change_due_nanoseconds: u64,
    /// When the bucket of the other packets is full.
    full_nanoseconds: u64,
}

/// The slots of a worker, over all its ports.
#[derive(Debug)]
pub(crate) struct Neighbours {
    slots: Box<[Slot]>,
    /// Time in which a neighbour earns a packet.
    interval_nanoseconds: u64,
    /// How far in the future a slot may be full again: what its burst earns back.
    tolerance_nanoseconds: u64,
}

impl Neighbours {
    /// Slots that give a neighbour an eighth of the rate and half of the burst of `limit`.
    pub(crate) fn new(limit: PuntLimit) -> Self {
        let empty = Slot {
            owner: 0,
            first_due_nanoseconds: 0,
            change_due_nanoseconds: 0,
            full_nanoseconds: 0,
        };
        // A rate of 0 stops all of it at the port's bucket.
        let interval_nanoseconds = 8 * SECOND / u64::from(limit.rate_packets_per_second.max(1));
        let burst_packets = u64::from((limit.burst_packets / 2).max(1));
        Self {
            slots: vec![empty; SLOTS].into_boxed_slice(),
            interval_nanoseconds,
            tolerance_nanoseconds: interval_nanoseconds * (burst_packets - 1),
        }
    }

    /// Whose turn a packet is. Cost: one cache miss.
    pub(crate) fn turn(&mut self, neighbour: Neighbour, now_nanoseconds: u64) -> Turn {
        let slot = &mut self.slots[neighbour.0 as usize % SLOTS];
        let is_owner = slot.owner == neighbour.0;
        let due = if is_owner { slot.first_due_nanoseconds } else { slot.change_due_nanoseconds };
        if now_nanoseconds >= due {
            slot.first_due_nanoseconds = now_nanoseconds.saturating_add(PAUSE_NANOSECONDS);
            if !is_owner {
                slot.owner = neighbour.0;
                slot.change_due_nanoseconds = slot.first_due_nanoseconds;
            }
            return Turn::First;
        }
        let full = slot.full_nanoseconds.max(now_nanoseconds);
        if full - now_nanoseconds > self.tolerance_nanoseconds {
            return Turn::TooMany;
        }
        slot.full_nanoseconds = full.saturating_add(self.interval_nanoseconds);
        Turn::Repeat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: PuntLimit = PuntLimit { rate_packets_per_second: 8_000, burst_packets: 20 };
    const MILLISECOND: u64 = SECOND / 1_000;

    /// First packets, repeats, and those that are too many, of `packets` at one moment.
    fn turns(at: &mut Neighbours, neighbour: Neighbour, now: u64, packets: u32) -> [u32; 3] {
        let mut counts = [0; 3];
        for _ in 0..packets {
            counts[at.turn(neighbour, now) as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_neighbour_gets_its_share_and_a_first_packet_now_and_then() {
        let mut at = Neighbours::new(LIMIT);
        let dead = Neighbour(7);
        assert_eq!(turns(&mut at, dead, SECOND, 50), [1, 10, 39], "half of the burst");
        for now in 1..1_000 {
            let turns = turns(&mut at, dead, SECOND + now * MILLISECOND, 20);
            let first = u32::from(now % 100 == 0);
            assert_eq!(turns, [first, 1, 19 - first], "an eighth of the rate, after {now} ms");
        }
        assert_eq!(turns(&mut at, dead, 3 * SECOND, 50), [1, 10, 39]);
    }

    #[test]
    fn a_flood_does_not_keep_another_neighbour_of_the_same_slot_back() {
        let mut at = Neighbours::new(LIMIT);
        let (dead, other) = (Neighbour(7), Neighbour(7 + SLOTS as u32));
        turns(&mut at, dead, SECOND, 50);
        assert_eq!(at.turn(other, SECOND), Turn::TooMany, "it was taken just now");
        turns(&mut at, dead, 2 * SECOND, 50);
        assert_eq!(at.turn(other, 2 * SECOND), Turn::First);

        let mut first = 0;
        for now in 0..10_000 {
            let now = 3 * SECOND + now * MILLISECOND;
            first += turns(&mut at, dead, now, 5)[0] + turns(&mut at, other, now, 5)[0];
        }
        assert!(first <= 200, "{first} in ten seconds, for both together");
    }

    #[test]
    fn many_new_neighbours_are_first_or_share_a_slot() {
        let hash = FlowHash::new(3);
        let mut at = Neighbours::new(PuntLimit::default());
        let mut counts = [0; 3];
        for id in 0..500 {
            let neighbour = Neighbour::of_adjacency(AdjacencyId(id), &hash);
            counts[at.turn(neighbour, 1) as usize] += 1;
        }
        assert!(counts[0] > 440 && counts[2] == 0, "{counts:?}");
    }

    #[test]
    fn limits_at_their_ends_are_limits() {
        for (rate_packets_per_second, burst_packets) in
            [(0, 0), (0, u32::MAX), (u32::MAX, 0), (u32::MAX, u32::MAX)]
        {
            let mut at = Neighbours::new(PuntLimit { rate_packets_per_second, burst_packets });
            for now in [0, 1, SECOND, u64::MAX - 1, u64::MAX, 0] {
                at.turn(Neighbour(1), now);
                at.turn(Neighbour(1), now);
            }
        }
    }
}
