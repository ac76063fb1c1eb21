//! The worker under pressure and at its end: full queues, fairness, changing tables, stopping.
//! After each scenario the books balance and no frame is lost.

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{FRAMES, Rig, RigConfig, neighbour_mac, router_mac, to_router};
use linecard_packet::{AdjacencyId, DropReason, InterfaceId, PortId, PortTotals, PuntReason};
use linecard_services::route::{Interface, RouteUpdate};
use linecard_tables::publication::Publish;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};
use rustix::event::{EventfdFlags, eventfd};

fn packet(destination: [u8; 4], source_port: u16) -> Vec<u8> {
    let header = Ipv4::new(Ipv4Addr::new(10, 0, 0, 2), destination.into());
    to_router().ipv4(header).udp(Udp::new(source_port, 9)).build()
}

/// Goes to neighbour 0 on port 1.
fn transit() -> Vec<u8> {
    packet([20, 0, 0, 1], 1)
}

fn send(rig: &mut Rig, peer: usize, packet: &[u8], count: usize) {
    for _ in 0..count {
        assert!(rig.peers[peer].send(packet), "the wire has room");
    }
}

fn drain(rig: &mut Rig, peer: usize) -> usize {
    std::iter::from_fn(|| rig.peers[peer].receive()).count()
}

#[test]
fn what_a_full_transmit_queue_refuses_is_dropped_and_counted() {
    let mut rig = Rig::new(&RigConfig { wire_packets: 4, ..RigConfig::default() });
    send(&mut rig, 0, &transit(), 4);
    assert_eq!(rig.worker.run_once(0), 4);
    assert_eq!(rig.totals()[1].queued_packets, 4);

    assert_eq!(rig.peers[1].receive().map(|packet| packet.len()), Some(transit().len()));
    send(&mut rig, 0, &transit(), 4);
    assert_eq!(rig.worker.run_once(1), 4);
    let totals = rig.totals();
    assert_eq!(totals[0].dropped_packets[DropReason::TransmitQueueFull], 3);
    assert_eq!((totals[1].sent_packets, totals[1].queued_packets), (1, 4));

    assert_eq!(drain(&mut rig, 1), 4);
    rig.worker.run_once(2);
    let totals = rig.totals();
    assert_eq!((totals[1].sent_packets, totals[1].queued_packets), (5, 0));
    assert_eq!(rig.worker.free_frames(), FRAMES as usize);
}

/// What few packets each port has goes through the pipeline together, and each is in the books of the port
/// that it came in on: those that were sent, those that found no room, and those that were dropped.
#[test]
fn ports_that_share_a_batch_have_books_of_their_own() {
    let mut rig = Rig::new(&RigConfig { wire_packets: 6, ..RigConfig::default() });
    let from = |port: u8, destination: [u8; 4], length: usize| {
        let source = Ipv4Addr::new(10, port, 0, 2);
        let ethernet = PacketBuilder::new().ethernet(router_mac(port), neighbour_mac(0));
        ethernet.ipv4(Ipv4::new(source, destination.into())).udp(Udp::new(1, 2)).pad_to(length)
    };
    // Both to port 1, which takes six; the fifth of port 0 is the kernel's.
    for _ in 0..4 {
        send(&mut rig, 0, &from(0, [20, 0, 0, 1], 60).build(), 1);
    }
    send(&mut rig, 0, &from(0, [99, 0, 0, 1], 60).build(), 1);
    let long = from(2, [20, 0, 0, 1], 60).payload(&[0; 100]).build();
    send(&mut rig, 2, &long, 5);

    assert_eq!(rig.worker.run_once(0), 10);
    let totals = rig.totals();
    assert_eq!(totals[0].received_packets, 5);
    assert_eq!((totals[0].forwarded_packets, totals[0].forwarded_bytes), (4, 4 * 60));
    assert_eq!(totals[0].punted_packets[PuntReason::NoRoute], 1);
    assert_eq!(totals[0].punted_bytes[PuntReason::NoRoute], 60);
    assert_eq!(totals[2].received_packets, 5);
    assert_eq!((totals[2].forwarded_packets, totals[2].forwarded_bytes), (2, 2 * 142));
    assert_eq!(totals[2].dropped_packets[DropReason::TransmitQueueFull], 3);
    assert_eq!(totals[2].dropped_bytes[DropReason::TransmitQueueFull], 3 * 142);
    assert_eq!((totals[1].queued_packets, totals[1].transmitted_bytes), (6, 4 * 42 + 2 * 142));
    assert_eq!(drain(&mut rig, 1), 6);
    rig.worker.run_once(1);
    assert_eq!(rig.worker.free_frames(), FRAMES as usize);
}

/// A port is asked for half a batch at the least, whatever the one before it had.
#[test]
fn ports_share_a_batch_only_while_there_is_room() {
    let mut rig = Rig::new(&RigConfig::default());
    send(&mut rig, 0, &transit(), 100);
    let back = PacketBuilder::new()
        .ethernet(router_mac(1), neighbour_mac(0))
        .ipv4(Ipv4::new(Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(20, 9, 0, 1)));
    send(&mut rig, 1, &back.build(), 300);
    assert_eq!(rig.worker.run_once(0), 256, "what is left of the batch for port 1");
    send(&mut rig, 0, &transit(), 200);
    assert_eq!(rig.worker.run_once(1), 344, "a batch of its own for port 1");
    assert_eq!((drain(&mut rig, 0), drain(&mut rig, 1)), (300, 300));
    rig.totals();
}

/// Two ports that send more to a third than it takes lose alike: neither is always asked first.
#[test]
fn ports_share_an_outgoing_port_that_is_too_slow() {
    let mut rig = Rig::new(&RigConfig { wire_packets: 8, ..RigConfig::default() });
    let from_2 = PacketBuilder::new()
        .ethernet(router_mac(2), neighbour_mac(0))
        .ipv4(Ipv4::new(Ipv4Addr::new(10, 2, 0, 2), Ipv4Addr::new(20, 0, 0, 1)));
    for round in 0..30 {
        send(&mut rig, 0, &transit(), 8);
        send(&mut rig, 2, &from_2.build(), 8);
        assert_eq!(rig.worker.run_once(round), 16);
        assert_eq!(drain(&mut rig, 1), 8);
    }
    let totals = rig.totals();
    assert_eq!([0, 2].map(|port| totals[port].forwarded_packets), [120, 120]);
}

#[test]
fn a_full_punt_device_is_a_drop() {
    let mut rig = Rig::new(&RigConfig { punt_packets_max: 1, ..RigConfig::default() });
    send(&mut rig, 0, &packet([99, 0, 0, 1], 1), 3);
    rig.worker.run_once(0);
    let totals = rig.totals();
    assert_eq!(totals[0].punted_packets[PuntReason::NoRoute], 1);
    assert_eq!(totals[0].dropped_packets[DropReason::PuntQueueFull], 2);
    assert_eq!(rig.worker.free_frames(), FRAMES as usize);
}

#[test]
fn a_busy_port_does_not_starve_another() {
    let mut rig = Rig::new(&RigConfig::default());
    send(&mut rig, 0, &transit(), 512);
    let back = PacketBuilder::new()
        .ethernet(router_mac(1), neighbour_mac(0))
        .ipv4(Ipv4::new(Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(20, 9, 0, 1)));
    send(&mut rig, 1, &back.build(), 1);
    assert_eq!(rig.worker.run_once(0), 257);
    assert_eq!(drain(&mut rig, 0), 1);
    assert_eq!(drain(&mut rig, 1), 256);
    assert_eq!(rig.worker.run_once(1), 256);
    assert_eq!(drain(&mut rig, 1), 256);
    rig.totals();
}

#[test]
fn several_queues_of_a_port_are_one_port_in_the_books() {
    let mut rig = Rig::new(&RigConfig { queues_of_port_0: 2, ..RigConfig::default() });
    // Peers 0 and 1 are the queues of port 0, peer 2 is port 1.
    send(&mut rig, 0, &packet([20, 9, 0, 1], 1), 3);
    send(&mut rig, 1, &packet([20, 9, 0, 1], 2), 5);
    assert_eq!(rig.worker.run_once(0), 8);
    assert_eq!((drain(&mut rig, 0), drain(&mut rig, 1)), (3, 5), "each by the queue it came by");
    rig.worker.run_once(1);
    let totals = rig.totals();
    assert_eq!((totals[0].received_packets, totals[0].sent_packets), (8, 8));
}

#[test]
fn what_the_port_could_not_receive_is_counted_too() {
    let mut rig = Rig::new(&RigConfig::default());
    send(&mut rig, 0, &[0; 1800], 2);
    assert_eq!(rig.worker.run_once(0), 0);
    let totals = rig.totals();
    assert_eq!(totals[0].received_packets, 2);
    assert_eq!(totals[0].dropped_packets[DropReason::ReceiveInvalid], 2);
}

#[test]
fn a_change_of_the_tables_counts_from_the_next_round_on() {
    let mut rig = Rig::new(&RigConfig::default());
    send(&mut rig, 0, &transit(), 1);
    rig.worker.run_once(0);
    assert_eq!(drain(&mut rig, 1), 1);
    assert_eq!(rig.stats.packets(AdjacencyId(0)), 1);

    let prefix = "20.0.0.0/16".parse().expect("a prefix");
    rig.writer.append(RouteUpdate::RemoveRoute(prefix));
    assert_eq!(rig.writer.publish(), Publish::Published);
    send(&mut rig, 0, &transit(), 1);
    rig.worker.run_once(1);
    assert_eq!(rig.totals()[0].punted_packets[PuntReason::NoRoute], 1);
    assert_eq!(rig.stats.packets(AdjacencyId(0)), 1);
}

#[test]
fn a_port_of_another_worker_is_down_for_this_one() {
    let mut rig = Rig::new(&RigConfig::default());
    let elsewhere = Interface {
        port: PortId(9),
        vlans: Vec::new(),
        mac_address: router_mac(1),
        mtu_bytes: 1500,
        up: true,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        own_ipv4: None,
        own_ipv6: None,
    };
    rig.writer.append(RouteUpdate::SetInterface(InterfaceId(1), elsewhere));
    assert_eq!(rig.writer.publish(), Publish::Published);
    send(&mut rig, 0, &transit(), 2);
    rig.worker.run_once(0);
    assert_eq!(rig.totals()[0].dropped_packets[DropReason::PortDown], 2);
    assert_eq!(rig.worker.free_frames(), FRAMES as usize);
}

/// Runs the worker in a thread until `done` says so, stops it, and returns it.
fn run_until(rig: Rig, done: impl Fn(&Rig) -> bool) -> Rig {
    let stop = Arc::new(AtomicBool::new(false));
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd"));
    let Rig { mut worker, peers, punted, writer, counters, stats, tracer } = rig;
    let (worker_stop, worker_wake) = (Arc::clone(&stop), Arc::clone(&wake));
    let thread = thread::spawn(move || {
        worker.run(&worker_stop, &*worker_wake).expect("the worker can sleep");
        worker
    });
    // Stands in for the worker while it is away.
    let idle = Rig::new(&RigConfig { wire_packets: 1, ..RigConfig::default() }).worker;
    let watched = Rig { worker: idle, peers, punted, writer, counters, stats, tracer };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done(&watched) && Instant::now() < deadline {
        thread::yield_now();
    }
    assert!(done(&watched), "not within 20 seconds: {:?}", watched.counters.read());
    stop.store(true, Ordering::Release);
    rustix::io::write(&*wake, &1u64.to_ne_bytes()).expect("the worker is woken");
    let worker = thread.join().expect("the worker ends");
    Rig { worker, ..watched }
}

#[test]
fn a_stopped_worker_accounts_for_what_it_held() {
    let mut rig = Rig::new(&RigConfig::default());
    send(&mut rig, 0, &transit(), 300);
    let all: fn(&Rig) -> u64 = |rig| rig.counters.read().iter().map(|p| p.received_packets).sum();
    let rig = run_until(rig, |rig| all(rig) == 300);
    // Nobody read port 1, so its queue still held everything.
    let totals = rig.totals();
    assert_eq!(totals[1].dropped_packets[DropReason::Shutdown], 300);
    assert_eq!((totals[1].sent_packets, totals[1].queued_packets), (0, 0));
    let sum: PortTotals = totals.into_iter().sum();
    assert_eq!((sum.received_packets, sum.forwarded_packets), (300, 300));
    assert_eq!(rig.worker.free_frames(), FRAMES as usize);
}

#[test]
fn a_worker_that_sleeps_wakes_to_stop() {
    let rig = run_until(Rig::new(&RigConfig::default()), |_| true);
    assert_eq!(rig.totals(), vec![PortTotals::default(); common::PORTS]);
}

#[test]
fn a_worker_ends_when_its_ports_have() {
    let mut rig = Rig::new(&RigConfig::default());
    send(&mut rig, 0, &transit(), 10);
    assert!(!rig.worker.finished());
    let reader = std::mem::take(&mut rig.peers).swap_remove(1);
    let mut worker = rig.worker;
    // Port 1 ends as well once its peer is gone, but its queue must be empty before.
    let wake = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
    let thread = thread::spawn(move || {
        worker.run(&AtomicBool::new(false), &wake).expect("the worker can sleep");
        worker
    });
    let mut reader = reader;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut received = 0;
    while received < 10 && Instant::now() < deadline {
        received += usize::from(reader.receive().is_some());
        thread::yield_now();
    }
    assert_eq!(received, 10);
    drop(reader);
    assert!(thread.join().expect("the worker ends").finished());
}
