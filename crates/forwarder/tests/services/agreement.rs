//! Three tellers of one story must agree: a worker that nobody watches, one whose packets are all traced, and an
//! explainer that imagines each packet before it comes. Random filters, policers, checks, routes and packets.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use linecard_forwarder::{Explained, Kind, Record, Stage, Step};
use linecard_packet::{DropReason, Layer3, Metadata, PortId, PortTotals, PuntReason, Verdict};
use linecard_services::police::ColourAction;
use linecard_services::route::RouteUpdate;
use linecard_tables::publication::Publish;
use linecard_wire::{ipv4, ipv6};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::common::{PORTS, neighbour_mac, router_mac};
use crate::random::{packet, routes, setup};
use crate::rig::{Services, Setup};

const SEED: u64 = 0x0011_ecad;
const MILLISECOND: u64 = 1_000_000;
/// A trace has no room for more steps of a packet.
const STEPS_MAX: usize = 24;

/// What can be seen of a packet's passage.
#[derive(Debug, PartialEq)]
struct Seen {
    /// By port, in order.
    out: Vec<Vec<Vec<u8>>>,
    punted: Vec<(PortId, Vec<u8>)>,
    totals: Vec<PortTotals>,
}

/// Carries one packet through a worker. All frames must come back, and the books balance.
fn pass(services: &mut Services, now: u64, port: usize, packet: &[u8]) -> Seen {
    let rig = &mut services.rig;
    let free = rig.worker.free_frames();
    assert!(rig.peers[port].send(packet), "the wire has room");
    assert_eq!(rig.worker.run_once(now), 1);
    let of = |peer: &mut linecard_io::MemoryPeer| std::iter::from_fn(|| peer.receive()).collect();
    let out = rig.peers.iter_mut().map(of).collect();
    assert_eq!(rig.worker.run_once(now + 1), 0);
    assert_eq!(rig.worker.free_frames(), free, "a frame was lost");
    let punted = std::mem::take(&mut *rig.punted.lock().expect("nobody has panicked"));
    Seen { out, punted, totals: rig.totals() }
}

/// Where a packet ended, as the counters of its port tell it.
fn end(before: &PortTotals, after: &PortTotals) -> Verdict {
    let mut ends = Vec::new();
    for reason in DropReason::ALL {
        let more = after.dropped_packets[*reason] - before.dropped_packets[*reason];
        ends.extend((0..more).map(|_| Verdict::Drop(*reason)));
    }
    for reason in PuntReason::ALL {
        let more = after.punted_packets[*reason] - before.punted_packets[*reason];
        ends.extend((0..more).map(|_| Verdict::Punt(*reason)));
    }
    assert!(ends.len() <= 1, "one packet, one end: {ends:?}");
    ends.pop().unwrap_or(Verdict::Undecided)
}

/// What was told of a packet, and where its DSCP was changed for the last time.
struct Told {
    record: Record,
    steps: Vec<Step>,
    dscp: Option<u8>,
}

fn take_told(services: &mut Services, setup: &Setup, packet: &[u8]) -> Told {
    let reader = &mut services.rig.tracer.as_mut().expect("everything is traced").reader;
    let all: Vec<_> = std::iter::from_fn(|| reader.take()).collect();
    assert_eq!(reader.lost(), 0);
    let (traces, noted): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|taken| taken.record.kind == Kind::Trace);
    let [trace] = <[_; 1]>::try_from(traces).expect("one trace a packet");
    assert_eq!(trace.bytes, packet, "as it was received");
    for taken in noted {
        assert_eq!(
            taken.record.verdict, trace.record.verdict,
            "what is logged and sampled ends so"
        );
    }
    let mut dscp = None;
    for step in &trace.steps {
        match step {
            Step::Rule(_, hit) => dscp = hit.set_dscp.or(dscp),
            Step::Policed(policed) => {
                let (_, policer) = setup.policers[policed.policer.0 as usize];
                if let ColourAction::Mark(mark) = policer.actions[policed.colour as usize] {
                    dscp = Some(mark);
                }
            }
            _ => {}
        }
    }
    Told { record: trace.record, steps: trace.steps, dscp }
}

/// Gives a frame's packet another DSCP and takes hops off it.
fn changed(frame: &[u8], metadata: &Metadata, dscp: Option<u8>, hops: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let packet = &mut frame[usize::from(metadata.layer3_offset)..];
    match metadata.layer3 {
        Layer3::Ipv4 => {
            if let Some(dscp) = dscp {
                ipv4::set_dscp(packet, dscp).expect("a header");
            }
            ipv4::set_ttl(packet, packet[8] - hops).expect("a header");
            ipv4::fill_checksum(packet).expect("a header");
        }
        Layer3::Ipv6 => {
            if let Some(dscp) = dscp {
                ipv6::set_dscp(packet, dscp).expect("a header");
            }
            ipv6::set_hop_limit(packet, packet[7] - hops).expect("a header");
        }
        Layer3::Other => assert_eq!((dscp, hops), (None, 0), "not IP"),
    }
    frame
}

/// The frame by which a packet leaves: link-layer header and tags of the adjacency in front of it.
fn leaving(frame: &[u8], told: &Told, port: PortId, adjacency: u32) -> Vec<u8> {
    let metadata = &told.record.metadata;
    let packet = changed(frame, metadata, told.dscp, 1);
    let tags: &[u8] = match adjacency {
        3 => &[0x81, 0, 0, 100],
        4 => &[0x88, 0xa8, 0, 200, 0x81, 0, 0x01, 0x2c],
        _ => &[],
    };
    let (start, length) = (metadata.layer3_offset.into(), metadata.layer3_length.into());
    let ethertype: u16 = if metadata.layer3 == Layer3::Ipv4 { 0x0800 } else { 0x86dd };
    let mut frame = neighbour_mac(adjacency as u8).octets().to_vec();
    frame.extend(router_mac(port.0 as u8).octets());
    frame.extend(tags);
    frame.extend(ethertype.to_be_bytes());
    let packet: &[u8] = &packet[start..];
    frame.extend(&packet[..length]);
    frame
}

/// What the trace says must be what can be seen.
fn check_trace(told: &Told, frame: &[u8], ended: Verdict, seen: &Seen) {
    match told.record.verdict {
        Verdict::Forward { port, adjacency } => {
            assert_eq!(ended, Verdict::Undecided, "it was forwarded");
            let expected = leaving(frame, told, port, adjacency.0);
            let out = &seen.out[port.index()];
            assert!(out.contains(&expected), "{expected:02x?} is not in {out:02x?}");
        }
        verdict => {
            assert_eq!(verdict, ended);
            let punted: &[(PortId, Vec<u8>)] = &seen.punted;
            if let Verdict::Punt(_) = verdict {
                let metadata = &told.record.metadata;
                let expected = match told.dscp {
                    Some(_) => changed(frame, metadata, told.dscp, 0),
                    None => frame.to_vec(),
                };
                assert_eq!(punted, [(metadata.in_port, expected)]);
            } else {
                assert_eq!(punted, []);
            }
        }
    }
    let decided = told.steps.iter().rev().find_map(|step| match step {
        Step::Decided(_, verdict) => Some(*verdict),
        _ => None,
    });
    assert_eq!(decided, Some(told.record.verdict), "the last stage that decided");
}

/// The imagined packet must fare as the real one, up to where a bucket was not full, or a connection not entered.
fn check_explained(explained: &Explained, told: &Told) {
    let pairs = explained.steps.iter().zip(&told.steps);
    for (imagined, step) in pairs {
        match (imagined, step) {
            (Step::Policed(imagined), Step::Policed(policed)) => {
                assert!(imagined.is_imagined && !policed.is_imagined);
                assert_eq!(imagined.policer, policed.policer);
                if imagined.colour != policed.colour {
                    return;
                }
            }
            _ => assert_eq!(imagined, step, "{explained:?}, {:?}", told.steps),
        }
    }
    assert_eq!(explained.metadata, told.record.metadata);
    let verdict = told.record.verdict;
    let Verdict::Drop(DropReason::ConnectionLimit | DropReason::ConnectionTableFull) = verdict
    else {
        assert_eq!((explained.verdict, explained.steps.len()), (verdict, told.steps.len()));
        return;
    };
    let refused = Some(&Step::Decided(Stage::Connection, verdict));
    assert_eq!((told.steps.last(), explained.steps.len()), (refused, told.steps.len() - 1));
}

/// What the traces say was counted, by rule's counter and by policer and colour.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    rules: BTreeMap<u32, (u64, u64)>,
    colours: BTreeMap<u32, [u64; 3]>,
}

impl Counted {
    fn add(&mut self, told: &Told, bytes: usize) {
        for step in &told.steps {
            match step {
                Step::Rule(_, hit) => {
                    let (packets, sum) = self.rules.entry(hit.counter).or_default();
                    (*packets, *sum) = (*packets + 1, *sum + bytes as u64);
                }
                Step::Policed(policed) => {
                    let colours = self.colours.entry(policed.policer.0).or_default();
                    colours[policed.colour as usize] += 1;
                }
                _ => {}
            }
        }
    }

    fn read(services: &Services) -> Self {
        let mut counted = Self::default();
        for counter in 0..services.counters.len() as u32 {
            let count = services.filter_stats.read(counter);
            if count.packets > 0 {
                counted.rules.insert(counter, (count.packets, count.bytes));
            }
        }
        for (_, enrolled) in services.roster.iter() {
            let totals = services.police_stats.totals(enrolled.id, enrolled.incarnation.get());
            if totals.packets != [0; 3] {
                counted.colours.insert(enrolled.id.0, totals.packets);
            }
        }
        counted
    }
}

fn services(setup: &Setup, routes: &[RouteUpdate], traced: bool) -> Services {
    let mut services = Services::new(setup, traced);
    for update in routes {
        services.rig.writer.append(update.clone());
    }
    assert_eq!(services.rig.writer.publish(), Publish::Published);
    assert_eq!(services.rig.writer.published().refused_updates(), 0);
    services
}

/// Tells the story of these packets three times, and adds to `outcomes` what became of them.
fn check(
    setup: &Setup,
    routes: &[RouteUpdate],
    packets: &[(u64, usize, Vec<u8>)],
    outcomes: &mut BTreeSet<&'static str>,
) {
    let mut plain = services(setup, routes, false);
    let mut traced = services(setup, routes, true);
    let mut before = vec![PortTotals::default(); PORTS];
    let (mut counted, mut is_whole, mut now) = (Counted::default(), true, 1_000_000_000_000);
    for (wait_milliseconds, port, packet) in packets {
        now += wait_milliseconds * MILLISECOND + 10;
        let in_port = PortId(*port as u16);
        let tracer = traced.rig.tracer.as_mut().expect("everything is traced");
        let mut explain = || tracer.explainer.explain(in_port, packet, now).expect("it fits");
        let explained = explain();
        assert_eq!(explain(), explained, "it leaves no trace");

        let seen = pass(&mut plain, now, *port, packet);
        assert_eq!(pass(&mut traced, now, *port, packet), seen);
        let told = take_told(&mut traced, setup, packet);
        counted.add(&told, packet.len());
        if told.steps.len() < STEPS_MAX {
            check_trace(&told, packet, end(&before[*port], &seen.totals[*port]), &seen);
            check_explained(&explained, &told);
            outcomes.insert(label(told.record.verdict));
        } else {
            is_whole = false;
        }
        before = seen.totals;
    }
    assert_eq!(Counted::read(&plain), Counted::read(&traced));
    if is_whole {
        assert_eq!(Counted::read(&traced), counted);
    }
}

fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Forward { .. } => "forwarded",
        Verdict::Drop(reason) => reason.label(),
        Verdict::Punt(reason) => reason.label(),
        Verdict::Undecided => "undecided",
    }
}

/// What one packet of its own cannot come to: queues are empty here, and the limits are wide.
const NOT_HERE: &[DropReason] = &[
    DropReason::ConnectionTableFull,
    DropReason::TransmitQueueFull,
    DropReason::RedirectRefused,
    DropReason::FrameTooSmall,
    DropReason::PuntRateLimited,
    DropReason::RouterRateLimited,
    DropReason::RouterFiltered,
    DropReason::PuntQueueFull,
    DropReason::ReceiveRingFull,
    DropReason::ReceiveInvalid,
    DropReason::TransmitInvalid,
    DropReason::Shutdown,
];

#[test]
fn a_worker_its_trace_and_an_imagined_packet_agree() {
    println!("seed {SEED}");
    let rng_seed = RngSeed::Fixed(SEED);
    let config = ProptestConfig {
        cases: 512,
        rng_seed,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let stories = (setup(), routes(), prop::collection::vec(packet(), 1..24));
    let outcomes = RefCell::new(BTreeSet::new());
    let told = TestRunner::new(config).run(&stories, |(setup, routes, packets)| {
        check(&setup, &routes, &packets, &mut outcomes.borrow_mut());
        Ok(())
    });
    told.unwrap_or_else(|error| panic!("{error}"));
    let drops = DropReason::ALL.iter().filter(|reason| !NOT_HERE.contains(reason));
    let punts = PuntReason::ALL.iter().map(|reason| reason.label());
    let all = drops.map(|reason| reason.label()).chain(punts).chain(["forwarded"]);
    assert_eq!(outcomes.into_inner(), all.collect(), "each way to end has been told");
}
