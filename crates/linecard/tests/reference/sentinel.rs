//! Sentinels: good packets sent behind the frames under test. What a frame causes comes out before
//! the sentinel that goes the same way, so when all sentinels are out, so is everything else, and
//! no test has to sleep to see that nothing comes.
//!
//! There is a sentinel for each way through a router that runs Linecard: taken and forwarded by a
//! worker, taken and punted, and passed to the kernel at the door.

use linecard_packet::{PortTotals, PuntReason};
use linecard_wire::builder::{Icmpv4, Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};

use super::bed::Side;

/// By which a sentinel is known, also where an ICMP error quotes it.
const MAGIC: [u8; 8] = *b"sentinel";

/// A packet and where it, or the answer to it, comes out.
pub(crate) struct Sentinel {
    pub(crate) description: &'static str,
    pub(crate) from: Side,
    pub(crate) to: Side,
    pub(crate) frame: Vec<u8>,
    mark: Vec<u8>,
}

/// What becomes of a sentinel in Linecard.
#[derive(Clone, Copy)]
enum Way {
    Forwarded,
    Punted(PuntReason),
    Passed,
    /// It does not come by a port of Linecard's.
    Elsewhere,
}

/// Description, from, to, destination and way of each.
const SENTINELS: [(&str, Side, Side, &str, Way); 10] = [
    ("west to east", Side::West, Side::East, "20.0.0.1", Way::Forwarded),
    ("east to west", Side::East, Side::West, "172.16.0.1", Way::Forwarded),
    // Of a batch, a worker punts at once and sends at the end.
    ("west to west", Side::West, Side::West, "172.16.0.1", Way::Forwarded),
    ("east to east", Side::East, Side::East, "20.0.0.1", Way::Forwarded),
    ("no route from west", Side::West, Side::West, "4000::1", Way::Punted(PuntReason::NoRoute)),
    ("no route from east", Side::East, Side::East, "4000::1", Way::Punted(PuntReason::NoRoute)),
    ("west to south", Side::West, Side::South, "10.9.0.1", Way::Punted(PuntReason::NotServed)),
    ("echo on west", Side::West, Side::West, "192.0.2.1", Way::Passed),
    ("echo on east", Side::East, Side::East, "198.51.100.1", Way::Passed),
    ("echo on south", Side::South, Side::South, "203.0.113.1", Way::Elsewhere),
];

impl Sentinel {
    /// All sentinels, told from those of other rounds.
    pub(crate) fn of_round(round: u64) -> Vec<Self> {
        let make = |(number, sentinel): (u8, &(&'static str, Side, Side, &str, Way))| {
            let (description, from, to, destination, way) = *sentinel;
            let mark = [&MAGIC[..], &round.to_be_bytes(), &[number]].concat();
            let packet = PacketBuilder::new().ethernet(from.router_mac(), from.host_mac());
            let packet = match way {
                // With a tag, even if it says nothing: so a worker forwards it and no classifier does.
                Way::Forwarded => packet.vlan(Tag { tpid: EtherType::VLAN, tci: Tci(0) }),
                _ => packet,
            };
            let packet = match source(from, destination) {
                (source, true) => packet.ipv6(Ipv6::new(
                    source.parse().expect("an address"),
                    destination.parse().expect("an address"),
                )),
                (source, false) => packet.ipv4(Ipv4::new(
                    source.parse().expect("an address"),
                    destination.parse().expect("an address"),
                )),
            };
            let packet = match way {
                Way::Passed | Way::Elsewhere => packet.icmpv4(Icmpv4::echo_request(1, 1)),
                Way::Forwarded | Way::Punted(_) => packet.udp(Udp::new(4000, 53)),
            };
            let frame = packet.payload(&mark).build();
            Self { description, from, to, frame, mark }
        };
        (0..).zip(&SENTINELS).map(make).collect()
    }

    /// Whether this is the sentinel, or an answer that quotes it.
    pub(crate) fn is_in(&self, frame: &[u8]) -> bool {
        frame.windows(self.mark.len()).any(|bytes| bytes == self.mark)
    }

    /// Whether this is a sentinel of any round.
    pub(crate) fn is_any(frame: &[u8]) -> bool {
        frame.windows(MAGIC.len()).any(|bytes| bytes == MAGIC)
    }

    /// What the sentinels of a round add to the accounts of a port, and to what its classifier
    /// passed as `local`.
    pub(crate) fn account(side: Side, totals: &mut PortTotals) -> u64 {
        let mut passed = 0;
        for (_, from, to, _, way) in SENTINELS {
            if matches!(way, Way::Forwarded) && to == side {
                totals.sent_packets += 1;
            }
            if from != side {
                continue;
            }
            match way {
                Way::Forwarded => {
                    totals.received_packets += 1;
                    totals.forwarded_packets += 1;
                }
                Way::Punted(reason) => {
                    totals.received_packets += 1;
                    totals.punted_packets[reason] += 1;
                }
                Way::Passed => passed += 1,
                Way::Elsewhere => {}
            }
        }
        passed
    }
}

/// The host of a side, and whether in IPv6.
fn source(side: Side, destination: &str) -> (&'static str, bool) {
    match (side, destination.contains(':')) {
        (Side::West, false) => ("192.0.2.2", false),
        (Side::East, false) => ("198.51.100.2", false),
        (Side::South, false) => ("203.0.113.2", false),
        (Side::West, true) => ("2001:db8:1::2", true),
        (Side::East, true) => ("2001:db8:a::2", true),
        (Side::South, true) => ("2001:db8:c::2", true),
    }
}
