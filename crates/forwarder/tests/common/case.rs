//! A case: a packet in, what comes out, and the check that nothing else moved.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{Ipv4Addr, Ipv6Addr};

use linecard_forwarder::{Explained, Kind, Step, TapTaken};
use linecard_packet::{DropReason, Origin, PortId, PortTotals, PuntReason, Verdict, Withheld};
use linecard_tables::meter::Colour;
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};

use crate::common::{PORTS, Rig, RigConfig, neighbour_mac, router_mac, to_router};

/// What becomes of a packet.
pub(crate) enum Outcome {
    /// It leaves by this port, looking so.
    Sent(usize, Vec<u8>),
    Punted(PuntReason),
    Dropped(DropReason),
    /// Dropped as `filter_rejected`, and this leaves by the port that it came in on; or why nothing does.
    Rejected(Result<Vec<u8>, Withheld>),
    /// A copy as it came leaves by this port, or why it does not; and what becomes of the packet itself.
    Mirrored(Result<usize, Withheld>, Box<Outcome>),
    /// It leaves with this forwarding class.
    Classified(u8, Box<Outcome>),
}
impl Outcome {
    /// What becomes of the packet itself.
    fn end(&self) -> &Self {
        match self {
            Mirrored(_, outcome) | Classified(_, outcome) => outcome.end(),
            end => end,
        }
    }
}
pub(crate) use Outcome::{Classified, Dropped, Mirrored, Punted, Rejected, Sent};

pub(crate) struct Case {
    pub(crate) description: &'static str,
    /// Received on port 0.
    pub(crate) packet: Vec<u8>,
    pub(crate) outcome: Outcome,
}

pub(crate) fn case(description: &'static str, packet: PacketBuilder, outcome: Outcome) -> Case {
    Case { description, packet: packet.build(), outcome }
}

pub(crate) fn ipv4(source: &str, destination: &str) -> Ipv4 {
    let address = |text: &str| text.parse::<Ipv4Addr>().expect("an IPv4 address");
    Ipv4 {
        identification: 7,
        dont_fragment: true,
        ..Ipv4::new(address(source), address(destination))
    }
}

pub(crate) fn ipv6(source: &str, destination: &str) -> Ipv6 {
    let address = |text: &str| text.parse::<Ipv6Addr>().expect("an IPv6 address");
    Ipv6 { flow_label: 0x12345, ..Ipv6::new(address(source), address(destination)) }
}

/// To 20.0.0.1, which goes to neighbour 0 on port 1.
pub(crate) fn transit() -> Ipv4 {
    ipv4("10.0.0.2", "20.0.0.1")
}

pub(crate) fn transit6() -> Ipv6 {
    ipv6("2001:db8::2", "2001:db8:20::1")
}

pub(crate) fn udp(builder: PacketBuilder) -> PacketBuilder {
    builder.udp(Udp::new(4000, 53)).payload(b"payload of an odd length!")
}

pub(crate) fn in4(header: Ipv4) -> PacketBuilder {
    udp(to_router().ipv4(header))
}

pub(crate) fn in6(header: Ipv6) -> PacketBuilder {
    udp(to_router().ipv6(header))
}

pub(crate) fn tag(tpid: EtherType, priority: u8, vlan_id: u16) -> Tag {
    Tag { tpid, tci: Tci::new(priority, false, vlan_id) }
}

/// A frame from the router on port 1 to the neighbour of this adjacency.
pub(crate) fn leaving(adjacency: u8) -> PacketBuilder {
    PacketBuilder::new().ethernet(neighbour_mac(adjacency), router_mac(1))
}

/// The same with one hop less: what leaves by port 1 untagged.
pub(crate) fn out4(header: Ipv4) -> Outcome {
    let header = Ipv4 { ttl: header.ttl - 1, ..header };
    Sent(1, udp(leaving(0).ipv4(header)).build())
}

pub(crate) fn out6(header: Ipv6) -> Outcome {
    let header = Ipv6 { hop_limit: header.hop_limit - 1, ..header };
    Sent(1, udp(leaving(2).ipv6(header)).build())
}

/// Sends one packet into port 0 of a new rig, and checks everything that can be seen; once with nobody who looks,
/// and once traced.
pub(crate) fn check(case: &Case) {
    for traced in [false, true] {
        let mut totals = vec![PortTotals::default(); PORTS];
        let mut rig = Rig::new(&RigConfig { traced, ..RigConfig::default() });
        pass(&mut rig, &mut totals, 0, 0, case);
    }
}

/// Sends one packet into a port and checks everything that can be seen. `expected` are the totals, before and
/// after.
pub(crate) fn pass(
    rig: &mut Rig,
    expected: &mut [PortTotals],
    now_nanoseconds: u64,
    in_port: usize,
    case: &Case,
) {
    let free = rig.worker.free_frames();
    rig.punted.lock().unwrap().clear();
    let explained = explain(rig, now_nanoseconds, in_port, case);
    assert!(rig.peers[in_port].send(&case.packet), "{}", case.description);
    assert_eq!(rig.worker.run_once(now_nanoseconds), 1, "{}", case.description);
    if let Some(explained) = explained {
        check_trace(rig, explained, now_nanoseconds, case);
    }
    rig.totals();

    expected[in_port].received_packets += 1;
    expected[in_port].received_bytes += case.packet.len() as u64;
    let mut effect = Effect { expected, out: vec![None; PORTS], punted: Vec::new() };
    effect.add(in_port, case, &case.outcome);
    let Effect { expected, out, punted } = effect;
    let received: Vec<_> = rig.peers.iter_mut().map(linecard_io::MemoryPeer::receive).collect();
    // Another round, which takes note of what was sent.
    assert_eq!(rig.worker.run_once(now_nanoseconds + 1), 0, "{}", case.description);
    assert_eq!(received, out, "{}", case.description);
    assert_eq!(rig.totals(), expected, "{}", case.description);
    assert_eq!(*rig.punted.lock().unwrap(), punted, "{}", case.description);
    assert_eq!(rig.worker.free_frames(), free, "{}: a frame was lost", case.description);
}

/// What somebody would be told who imagines the packet.
fn explain(rig: &mut Rig, now: u64, in_port: usize, case: &Case) -> Option<Explained> {
    let explainer = &mut rig.tracer.as_mut()?.explainer;
    let in_port = linecard_packet::PortId(in_port as u16);
    let explained = explainer.explain(in_port, &case.packet, now);
    Some(explained.unwrap_or_else(|| panic!("{}: it fits a frame", case.description)))
}

/// The trace says what happened, and the packet that was imagined before fared the same, but for what depends on the
/// packets before it.
fn check_trace(rig: &mut Rig, explained: Explained, now_nanoseconds: u64, case: &Case) {
    let Case { description, packet, outcome } = case;
    let reader = &mut rig.tracer.as_mut().expect("there is a tracer").reader;
    let TapTaken { record, mut steps, bytes } = reader.take().expect("every packet is traced");
    assert_eq!((reader.take(), reader.lost()), (None, 0), "{description}");
    assert_eq!(bytes, *packet, "{description}: as it was received");
    assert_eq!((record.kind, record.by), (Kind::Trace, 7));
    assert_eq!(
        (record.frame_bytes as usize, record.at_nanoseconds),
        (packet.len(), now_nanoseconds)
    );
    match (record.verdict, outcome.end()) {
        (Verdict::Forward { port, .. }, Sent(sent, _)) if port.index() == *sent => {}
        (Verdict::Punt(reason), Punted(punted)) if reason == *punted => {}
        (Verdict::Drop(reason), Dropped(dropped)) if reason == *dropped => {}
        (Verdict::Drop(DropReason::FilterRejected), Rejected(_)) => {}
        other => panic!("{description}: the trace says {:?}", other.0),
    }
    // The last stage that decided says the same.
    let decided = steps.iter().rev().find_map(|step| match step {
        Step::Decided(_, verdict) => Some(*verdict),
        _ => None,
    });
    assert_eq!(decided, Some(record.verdict), "{description}: {steps:?}");
    if matches!(
        record.verdict,
        Verdict::Drop(
            DropReason::Policed | DropReason::ConnectionLimit | DropReason::ConnectionTableFull
        )
    ) {
        return;
    }
    assert_eq!(explained.verdict, record.verdict, "{description}: {explained:?}");
    assert_eq!(explained.metadata, record.metadata, "{description}");
    // What is in a bucket depends on the packets before.
    let mut expected = explained.steps;
    for step in steps.iter_mut().chain(&mut expected) {
        if let Step::Policed(policed) = step {
            (policed.is_imagined, policed.colour) = (true, Colour::Green);
        }
    }
    assert_eq!(expected, steps, "{description}");
}

/// What a packet should cause.
struct Effect<'a> {
    expected: &'a mut [PortTotals],
    out: Vec<Option<Vec<u8>>>,
    punted: Vec<(PortId, Vec<u8>)>,
}

impl Effect<'_> {
    fn add(&mut self, in_port: usize, case: &Case, outcome: &Outcome) {
        let (length, totals) = (case.packet.len() as u64, &mut self.expected[in_port]);
        match outcome {
            Sent(port, packet) => {
                totals.forwarded_packets += 1;
                totals.forwarded_bytes += length;
                self.leaves(*port, packet);
            }
            Punted(reason) => {
                totals.punted_packets[*reason] += 1;
                totals.punted_bytes[*reason] += length;
                self.punted.push((PortId(in_port as u16), case.packet.clone()));
            }
            Dropped(reason) => {
                totals.dropped_packets[*reason] += 1;
                totals.dropped_bytes[*reason] += length;
            }
            Rejected(told) => {
                totals.dropped_packets[DropReason::FilterRejected] += 1;
                totals.dropped_bytes[DropReason::FilterRejected] += length;
                match told {
                    Ok(reply) => {
                        totals.originated_packets[Origin::RejectReply] += 1;
                        totals.originated_bytes += reply.len() as u64;
                        self.leaves(in_port, reply);
                    }
                    Err(reason) => totals.withheld_packets[*reason] += 1,
                }
            }
            Mirrored(copied, outcome) => {
                match copied {
                    Ok(port) => {
                        self.expected[*port].originated_packets[Origin::MirrorCopy] += 1;
                        self.expected[*port].originated_bytes += length;
                        self.leaves(*port, &case.packet);
                    }
                    Err(reason) => totals.withheld_packets[*reason] += 1,
                }
                self.add(in_port, case, outcome);
            }
            Classified(class, outcome) => {
                self.add(in_port, case, outcome);
                let port = self.out.iter().position(Option::is_some).expect("it leaves");
                self.expected[port].class_packets[0] -= 1;
                self.expected[port].class_packets[usize::from(*class)] += 1;
            }
        }
    }

    fn leaves(&mut self, port: usize, packet: &[u8]) {
        self.expected[port].sent_packets += 1;
        self.expected[port].class_packets[0] += 1;
        self.expected[port].transmitted_bytes += packet.len() as u64;
        assert_eq!(self.out[port].replace(packet.to_vec()), None, "one packet a port");
    }
}

pub(crate) fn check_all(cases: &[Case]) {
    for case in cases {
        check(case);
    }
}
