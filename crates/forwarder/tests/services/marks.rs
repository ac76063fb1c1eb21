//! Rules that copy packets, give them a forwarding class, log and sample them.

use std::sync::Arc;

use linecard_forwarder::{
    Kind, Order, OrderId, Tap, TapCapacities, TapOrders, TapReader, TapTaken, TapUpdate,
};
use linecard_packet::{DropReason, Origin, PortId, PuntReason, Verdict, Withheld};
use linecard_services::filter::{Action, Match, Rule};
use linecard_tables::publication::{Publish, Writer};
use linecard_wire::builder::Ipv4;

use crate::case::*;
use crate::common::{Rig, RigConfig};
use crate::rig::*;

fn mirror(action: Action, port: u16) -> Rule {
    let rule = rule("mirror", Match::default(), action);
    Rule { mirror_to: Some(PortId(port)), ..rule }
}

fn mirrored(outcome: Outcome) -> Outcome {
    Mirrored(Ok(0), Box::new(outcome))
}

#[test]
fn copies_are_of_packets_as_they_came_whatever_becomes_of_them() {
    let drop = rule("drop", Match { ttls: vec![7..=7], ..Match::default() }, Action::Drop);
    let marks = Rule { set_dscp: Some(46), ..mirror(Action::Continue, 0) };
    let setup = Setup { filters: vec![input(0, vec![marks, drop])], ..Setup::default() };
    let seventh = || Ipv4 { ttl: 7, ..transit() };
    let marked = Ipv4 { dscp: 46, ..transit() };
    let lines = [
        Line(0, 0, case("it goes on", in4(transit()), mirrored(out4(marked)))),
        Line(0, 0, {
            let dropped = mirrored(Dropped(DropReason::Filtered));
            case("a later rule drops it", in4(seventh()), dropped)
        }),
    ];
    let counts: Counts<'_> = (&[("in/mirror", 2), ("in/drop", 1), ("in/default", 1)], &[]);
    story("mirror", &setup, &lines, counts);

    for action in [Action::Accept, Action::Drop] {
        let filters = vec![output(1, vec![mirror(action, 0)])];
        let outcome = match action {
            Action::Drop => Dropped(DropReason::Filtered),
            _ => out6(transit6()),
        };
        let lines = [Line(0, 0, case("before the rewrite", in6(transit6()), mirrored(outcome)))];
        let setup = Setup { filters, ..Setup::default() };
        story("output", &setup, &lines, (&[("out/mirror", 1)], &[]));
    }
}

#[test]
fn what_the_kernel_gets_is_copied_too() {
    let setup =
        Setup { filters: vec![input(0, vec![mirror(Action::Accept, 1)])], ..Setup::default() };
    let expiring = in4(Ipv4 { ttl: 1, ..transit() });
    let outcome = Mirrored(Ok(1), Box::new(Punted(PuntReason::TtlExpired)));
    let lines = [Line(0, 0, case("TTL 1", expiring, outcome))];
    story("punted", &setup, &lines, (&[("in/mirror", 1)], &[]));
}

#[test]
fn copies_that_cannot_leave_are_counted() {
    let to = |port| Setup {
        filters: vec![input(0, vec![mirror(Action::Accept, port)])],
        ..Setup::default()
    };
    let counts: Counts<'_> = (&[("in/mirror", 1)], &[]);
    for port in [2, 9] {
        let outcome = Mirrored(Err(Withheld::MirrorPortDown), Box::new(out4(transit())));
        story(
            "a port that is down",
            &to(port),
            &[Line(0, 0, case("", in4(transit()), outcome))],
            counts,
        );
    }
    let large = udp(crate::common::to_router().ipv4(transit())).payload(&[0; 1500]);
    let outcome = Mirrored(Err(Withheld::MirrorTooBig), Box::new(Punted(PuntReason::TooBig)));
    story("more than the MTU", &to(0), &[Line(0, 0, case("", large, outcome))], counts);
}

#[test]
fn copies_leave_room_for_what_is_received() {
    let mut rig = Rig::new(&RigConfig { wire_packets: 300, ..RigConfig::default() });
    let rules =
        (0..3).map(|number| Rule { name: format!("{number}"), ..mirror(Action::Continue, 0) });
    attach(&mut rig, &Setup { filters: vec![input(0, rules.collect())], ..Setup::default() });
    let free = rig.worker.free_frames();
    let packet = in4(transit()).build();
    (0..200).for_each(|_| assert!(rig.peers[0].send(&packet), "the wire has room"));
    assert_eq!(rig.worker.run_once(1), 200);
    rig.worker.run_once(2);
    let totals = rig.totals();
    // 600 were asked for, 512 is the most of a batch, and the wire holds 300.
    assert_eq!(totals[0].originated_packets[Origin::MirrorCopy], 300);
    assert_eq!(totals[0].withheld_packets[Withheld::MirrorNoRoom], 88);
    assert_eq!(totals[0].withheld_packets[Withheld::MirrorQueueFull], 212);
    assert_eq!((totals[0].forwarded_packets, rig.peers[1].pending()), (200, 200));
    while rig.peers[1].receive().is_some() {}
    while rig.peers[0].receive().is_some() {}
    rig.worker.run_once(3);
    assert_eq!(rig.worker.free_frames(), free, "a frame was lost");
}

#[test]
fn classes_are_counted_where_packets_leave() {
    let class = |name: &str, dscp, class, action| {
        let condition = Match { dscps: vec![dscp], ..Match::default() };
        Rule { set_class: Some(class), ..rule(name, condition, action) }
    };
    let rules =
        || vec![class("voice", 46, 5, Action::Accept), class("bulk", 8, 1, Action::Continue)];
    let voice = || Ipv4 { dscp: 46, ..transit() };
    let bulk = || Ipv4 { dscp: 8, ..transit() };
    let lines = || {
        let classified = |class, header: Ipv4| Classified(class, Box::new(out4(header)));
        [
            Line(0, 0, case("voice", in4(voice()), classified(5, voice()))),
            Line(0, 0, case("bulk", in4(bulk()), classified(1, bulk()))),
            Line(0, 0, case("the batch behind", in4(transit()), out4(transit()))),
        ]
    };
    let setup = Setup { filters: vec![input(0, rules())], ..Setup::default() };
    let counts: Counts<'_> = (&[("in/voice", 1), ("in/bulk", 1), ("in/default", 2)], &[]);
    story("input", &setup, &lines(), counts);
    let setup = Setup { filters: vec![output(1, rules())], ..Setup::default() };
    let counts: Counts<'_> = (&[("out/voice", 1), ("out/bulk", 1), ("out/default", 2)], &[]);
    story("output", &setup, &lines(), counts);
}

/// A worker whose rule logs and samples each packet that it drops, and who reads what it tells.
fn telling(sample_one_in: u32) -> (Rig, TapReader) {
    let mut rig = Rig::new(&RigConfig::default());
    let rule = Rule { log: true, sample_one_in, ..rule("all", Match::default(), Action::Drop) };
    attach(&mut rig, &Setup { filters: vec![input(0, vec![rule])], ..Setup::default() });
    let orders: Writer<TapOrders, TapUpdate> = Writer::new(TapOrders::new(), TapOrders::new());
    let (tap, reader) = Tap::new(&orders.subscription(), &TapCapacities::default());
    rig.worker.tap(tap);
    (rig, reader)
}

fn told(reader: &mut TapReader) -> Vec<TapTaken> {
    std::iter::from_fn(|| reader.take()).collect()
}

#[test]
fn what_rules_log_and_sample_is_told_with_what_became_of_it() {
    let (mut rig, mut reader) = telling(1);
    let packet = in4(transit()).payload(&[0x5a; 300]).build();
    assert!(rig.peers[0].send(&packet));
    rig.worker.run_once(7_000);
    let told = told(&mut reader);
    let kinds: Vec<Kind> = told.iter().map(|it| it.record.kind).collect();
    assert_eq!(kinds, [Kind::Log, Kind::Sample]);
    for TapTaken { record, steps, bytes } in told {
        assert_eq!((record.by, record.at_nanoseconds), (0, 7_000), "the rule's counter");
        assert_eq!(record.verdict, Verdict::Drop(DropReason::Filtered));
        assert_eq!((record.frame_bytes as usize, bytes), (packet.len(), packet[..128].to_vec()));
        assert_eq!(steps, []);
    }
}

#[test]
fn lines_for_the_log_are_limited_and_samples_are_one_of_so_many() {
    let (mut rig, mut reader) = telling(10);
    let packet = in4(transit()).build();
    let mut round = |now: u64| {
        (0..250).for_each(|_| assert!(rig.peers[0].send(&packet)));
        assert_eq!(rig.worker.run_once(now), 250);
        let told = told(&mut reader);
        let of = |kind| told.iter().filter(|it| it.record.kind == kind).count();
        (of(Kind::Log), of(Kind::Sample), reader.suppressed(), reader.lost())
    };
    assert_eq!(round(1), (100, 25, 150, 0));
    assert_eq!(round(500_000_001), (50, 25, 350, 0), "half a second's worth");
    assert_eq!(rig.totals()[0].dropped_packets[DropReason::Filtered], 500);
}

#[test]
fn who_ordered_so_many_packets_gets_them_although_some_are_lost() {
    let mut rig = Rig::new(&RigConfig::default());
    let mut orders = Writer::new(TapOrders::new(), TapOrders::new());
    let order = Order::new(OrderId(3), Kind::Capture, Match::default(), 6);
    orders.append(TapUpdate::Arm(Arc::new(order)));
    assert_eq!(orders.publish(), Publish::Published);
    let capacities = TapCapacities { records_max: 4, ..TapCapacities::default() };
    let (tap, mut reader) = Tap::new(&orders.subscription(), &capacities);
    rig.worker.tap(tap);
    let packet = in4(transit()).build();
    let mut round = |now: u64| {
        (0..10).for_each(|_| assert!(rig.peers[0].send(&packet)));
        assert_eq!(rig.worker.run_once(now), 10);
        (told(&mut reader).len(), reader.lost())
    };
    // Each that is lost leaves its place to the next one.
    assert_eq!(round(1), (4, 6), "the ring has room for four");
    assert_eq!(round(2), (2, 6), "the other two");
    assert_eq!(round(3), (0, 6), "no more were ordered");
}
