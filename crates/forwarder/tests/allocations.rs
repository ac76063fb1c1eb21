//! The packet path allocates nothing once it runs, whatever becomes of the packets.

mod common;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use common::{Rig, RigConfig, to_router};
use linecard_forwarder::{Kind, Order, OrderId, Tap, TapCapacities, TapOrders, TapUpdate, Worker};
use linecard_io::RouteCache;
use linecard_packet::{DropReason, Origin, PortId};
use linecard_services::connection::{
    ConnectionConfig, ConnectionScratch, ConnectionStats, ConnectionTables,
};
use linecard_services::filter::{
    Action, Filter, FilterCapacities, FilterStats, FilterTables, FilterUpdate, Hook, Match,
    Program, Rule, States,
};
use linecard_services::police::{
    ColourAction, PoliceCapacities, PoliceStats, PoliceTables, PoliceUpdate, Policer, PolicerId,
    PolicerMeters, Roster, SourcePrefixes,
};
use linecard_services::route::RouteOffers;
use linecard_services::source::{
    MartianFilter, PortCheck, ReversePath, SourceCapacities, SourceStats, SourceTables,
    SourceUpdate,
};
use linecard_tables::meter::{Marker, ProfileOptions, Unit};
use linecard_tables::publication::{Absorb, Publish, Subscription, Writer};
use linecard_wire::builder::{Ipv4, Ipv6, Tcp, Udp};

const PORT_0: PortId = PortId(0);

/// Publishes updates on empty tables.
fn publish<T: Absorb<U>, U>(empty: impl Fn() -> T, updates: Vec<U>) -> Subscription<T> {
    let mut writer = Writer::new(empty(), empty());
    updates.into_iter().for_each(|update| writer.append(update));
    assert_eq!(writer.publish(), Publish::Published);
    writer.subscription()
}

/// A filter that asks for states and marks, and brings UDP to a policer.
fn switch_filters_on(worker: &mut Worker) {
    let rule = Rule {
        name: "udp".to_owned(),
        condition: Match { protocols: vec![17], ..Match::default() },
        action: Action::Continue,
        policer: Some(0),
        set_dscp: Some(46),
        set_class: None,
        mirror_to: None,
        sample_one_in: 0,
        log: false,
    };
    let new = States { new: true, ..States::default() };
    let new = Match { states: new, lengths: vec![0..=1500], ..Match::default() };
    let new = Rule { condition: new, action: Action::Accept, ..rule.clone() };
    // What the worker makes of its own, and tells.
    let all = Match::default();
    let marks = Rule {
        name: "marks".to_owned(),
        condition: all,
        action: Action::Continue,
        policer: None,
        set_dscp: None,
        set_class: Some(5),
        mirror_to: Some(PortId(1)),
        sample_one_in: 3,
        log: true,
    };
    let telnet = Match { destination_ports: vec![23..=23], ..Match::default() };
    let reject = Rule {
        name: "telnet".to_owned(),
        condition: telnet,
        action: Action::Reject,
        ..rule.clone()
    };
    let rules = vec![marks, reject, rule, new];
    let filter = Filter { name: "filter".to_owned(), rules, default: Action::Drop };
    let capacities = FilterCapacities::default();
    let program = Program::new(&filter, &[0, 1, 2, 3, 4], &capacities).expect("it fits");
    let program = Some(Arc::new(program));
    let hooks = [Hook::Input(PORT_0), Hook::Output(PortId(1))];
    let updates = hooks.map(|hook| FilterUpdate { hook, program: program.clone() });
    let tables = publish(|| FilterTables::new(common::PORTS), updates.into());
    worker.filter(&tables, FilterStats::new(capacities.counters_max));
}

/// A policer for each source, to which rules and the port bring packets.
fn switch_police_on(worker: &mut Worker) {
    let policer = Policer {
        marker: Marker::SingleRate {
            committed_rate: 1000,
            committed_burst: 150,
            excess_burst: 150,
        },
        options: ProfileOptions { unit: Unit::Packets, ..ProfileOptions::default() },
        actions: [ColourAction::Pass, ColourAction::Mark(12), ColourAction::Drop],
        sources: Some(SourcePrefixes { ipv4_length: 32, ipv6_length: 64 }),
    };
    let capacities = PoliceCapacities::default();
    let mut roster = Roster::new(capacities.policers_max);
    let wanted = [("policer".to_owned(), policer)].into();
    let mut updates = roster.enrol(&wanted).expect("it is one").all();
    updates.push(PoliceUpdate::SetPort(PORT_0, Some(PolicerId(0))));
    let tables = publish(|| PoliceTables::new(&capacities, 1), updates);
    let meters = PolicerMeters::new(&capacities, 1);
    worker.police(&tables, meters, PoliceStats::new(capacities.policers_max));
}

/// `tapped` orders a trace and a capture of every packet, which nobody reads.
fn switch_all_on(worker: &mut Worker, tapped: bool) {
    switch_filters_on(worker);
    switch_police_on(worker);
    let check = PortCheck {
        reverse_path: ReversePath::Loose,
        martians: MartianFilter::Special,
        ..PortCheck::default()
    };
    let updates = vec![SourceUpdate::SetPort(PORT_0, check)];
    let tables = publish(|| SourceTables::new(&SourceCapacities::default()), updates);
    worker.source(&tables, SourceStats::new());
    // Fewer than are asked for, so that some give way and some are not kept.
    let config = ConnectionConfig {
        connections_ipv4_max: 16,
        connections_ipv6_max: 16,
        connections_per_source_max: 1000,
        ..ConnectionConfig::default()
    };
    let tables = Arc::new(ConnectionTables::new(&config, 7));
    let order = |(id, kind)| {
        TapUpdate::Arm(Arc::new(Order::new(OrderId(id), kind, Match::default(), u64::MAX)))
    };
    let updates = [(0, Kind::Trace), (1, Kind::Capture)].map(order).into_iter();
    let orders = publish(TapOrders::new, updates.filter(|_| tapped).collect());
    let (tap, _) = Tap::new(&orders, &TapCapacities::default());
    worker.tap(tap);
    worker.connections(tables, ConnectionScratch::new(0, 3), ConnectionStats::default());
}

#[test]
fn a_round_with_all_services_allocates_nothing() {
    all_services_allocate_nothing(false);
}

#[test]
fn a_round_that_is_traced_allocates_nothing() {
    all_services_allocate_nothing(true);
}

fn all_services_allocate_nothing(tapped: bool) {
    let mut rig = Rig::new(&RigConfig { punt_packets_max: 0, ..RigConfig::default() });
    switch_all_on(&mut rig.worker, tapped);
    for round in 0..20 {
        for number in 0..300u16 {
            let source =
                [[20, 9, 0, 1], [99, 0, 0, 1], [192, 0, 2, 1]][usize::from(number % 7) % 3];
            let header = Ipv4::new(source.into(), Ipv4Addr::new(20, 0, 0, 1));
            let ports = Udp::new(number, 53);
            let packet = match number % 5 {
                0 => to_router().ipv4(header).tcp(Tcp::new(number, 80)),
                2 if number % 3 == 0 => to_router().ipv4(header).tcp(Tcp::new(number, 23)),
                1 => to_router().ipv4(Ipv4 { ttl: 1, ..header }).udp(ports),
                _ => to_router().ipv4(header).udp(ports),
            };
            assert!(rig.peers[0].send(&packet.build()), "the wire has room");
        }
        let mut received = 0;
        let allocations = allocation_counter::measure(|| {
            received = rig.worker.run_once(round * 2_000_000_000);
            received += rig.worker.run_once(round * 2_000_000_000 + 1);
        });
        assert_eq!(received, 300);
        assert_eq!(allocations.count_total, 0, "round {round}: {allocations:?}");
        for peer in &mut rig.peers[..2] {
            while peer.receive().is_some() {}
        }
    }
    let totals = rig.totals();
    for (port, origin) in [(0, Origin::RejectReply), (1, Origin::MirrorCopy)] {
        assert!(totals[port].originated_packets[origin] > 0, "{origin:?}: {totals:?}");
    }
    assert!(totals[1].class_packets[5] > 0, "{totals:?}");
    let drops = &totals[0].dropped_packets;
    for reason in [DropReason::Filtered, DropReason::Policed, DropReason::ReversePath] {
        assert!(drops[reason] > 0, "{reason:?}: {totals:?}");
    }
    assert!(drops[DropReason::MartianSource] > 0 && totals[0].forwarded_packets > 0, "{totals:?}");
}

#[test]
fn a_round_allocates_nothing() {
    // The device for punted packets is full, since the one of these tests allocates.
    let mut rig = Rig::new(&RigConfig { punt_packets_max: 0, ..RigConfig::default() });
    let cache = RouteCache::in_plain_memory(4).expect("a page of memory");
    cache.set_source(0, true);
    cache.set_target(1, 0).expect("nothing that could fail");
    rig.worker.offer_routes(RouteOffers::new(Arc::clone(&cache)));
    let source = Ipv4Addr::new(10, 0, 0, 2);
    let source6: Ipv6Addr = "2001:db8::2".parse().unwrap();
    let mut packets = Vec::new();
    for destination in
        ["10.1.0.2", "10.1.0.9", "20.0.0.1", "20.1.0.1", "20.2.0.1", "20.5.0.1", "99.0.0.1"]
    {
        let header = Ipv4::new(source, destination.parse().unwrap());
        packets.push(to_router().ipv4(header).udp(Udp::new(1, 2)).pad_to(60).build());
    }
    for destination in ["2001:db8:1::2", "2001:db8:20::1", "2001:db8:99::1"] {
        let header = Ipv6::new(source6, destination.parse().unwrap());
        packets.push(to_router().ipv6(header).udp(Udp::new(1, 2)).build());
    }
    packets.push(vec![0; 10]);
    for round in 0..20 {
        for packet in packets.iter().cycle().take(300) {
            assert!(rig.peers[0].send(packet), "the wire has room");
        }
        let mut received = 0;
        // A second of packet time a round, so that the kernel's counters are read too.
        let allocations = allocation_counter::measure(|| {
            received = rig.worker.run_once(round * 2_000_000_000);
            received += rig.worker.run_once(round * 2_000_000_000 + 1);
        });
        assert_eq!(received, 300);
        assert_eq!(allocations.count_total, 0, "round {round}: {allocations:?}");
        while rig.peers[1].receive().is_some() {}
    }
    assert!(cache.entries() > 0, "routes were offered");
    let totals = rig.totals();
    assert_eq!(totals[0].received_packets, 6_000);
    assert!(totals[0].forwarded_packets > 2_000, "{totals:?}");
}
