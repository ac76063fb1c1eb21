//! The limits on what goes to the kernel: a flood of one kind does not take the place of another.

mod common;

use std::net::Ipv4Addr;

use common::{FRAMES, Rig, RigConfig, neighbour_mac, router_mac, to_router};
use linecard_forwarder::PuntLimit;
use linecard_packet::{DropReason, PuntReason};
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};

const SECOND: u64 = 1_000_000_000;
const MILLISECOND: u64 = SECOND / 1_000;

fn packet(destination: [u8; 4]) -> Vec<u8> {
    let header = Ipv4::new(Ipv4Addr::new(10, 0, 0, 2), destination.into());
    to_router().ipv4(header).udp(Udp::new(1, 9)).build()
}

fn rig(rate_packets_per_second: u32, burst_packets: u32) -> Rig {
    let punt_limit = PuntLimit { rate_packets_per_second, burst_packets };
    Rig::new(&RigConfig { punt_limit, ..RigConfig::default() })
}

fn send(rig: &mut Rig, packet: &[u8], count: usize) {
    for _ in 0..count {
        assert!(rig.peers[0].send(packet), "the wire has room");
    }
}

/// Runs until port 0 gives no more.
fn run(rig: &mut Rig, now: u64) {
    while rig.worker.run_once(now) > 0 {}
}

/// How often a packet was handed to the kernel.
fn punted(rig: &Rig, packet: &[u8]) -> usize {
    rig.punted.lock().expect("no panic").iter().filter(|(_, it)| it == packet).count()
}

#[test]
fn each_port_and_each_reason_has_its_rate() {
    let mut rig = rig(10, 2);
    let unroutable = packet([99, 0, 0, 1]);
    let from_port_1 = PacketBuilder::new().ethernet(router_mac(1), neighbour_mac(0));
    let from_port_1 =
        from_port_1.ipv4(Ipv4::new(Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(99, 0, 0, 1))).build();
    send(&mut rig, &unroutable, 5);
    send(&mut rig, &packet([20, 6, 0, 1]), 3);
    assert!(rig.peers[1].send(&from_port_1));
    rig.worker.run_once(SECOND);
    let totals = rig.totals();
    assert_eq!(totals[0].punted_packets[PuntReason::NoRoute], 2);
    assert_eq!(totals[0].punted_packets[PuntReason::RouteRejects], 2, "a reason of its own");
    assert_eq!(totals[0].dropped_packets[DropReason::PuntRateLimited], 4);
    assert_eq!(totals[1].punted_packets[PuntReason::NoRoute], 1, "port 1 has its own rate");

    send(&mut rig, &unroutable, 5);
    rig.worker.run_once(SECOND + SECOND / 10);
    assert_eq!(rig.totals()[0].punted_packets[PuntReason::NoRoute], 3);
    assert_eq!(rig.worker.free_frames(), FRAMES as usize);
}

/// A flood to a gateway that does not answer, under many addresses, and one to a dead host.
#[test]
fn a_flood_to_dead_neighbours_does_not_keep_others_back() {
    let mut rig = rig(20_000, 1_000);
    for millisecond in 0..1_000u64 {
        let now = SECOND + millisecond * MILLISECOND;
        // 200,000 packets a second to each.
        for number in 0..200u8 {
            send(&mut rig, &packet([20, 8, millisecond as u8, number]), 1);
            send(&mut rig, &packet([10, 1, 0, 77]), 1);
        }
        let new = packet([10, 2, 0, 2 + (millisecond / 4) as u8]);
        if millisecond % 4 == 0 && new != packet([10, 2, 0, 2]) {
            send(&mut rig, &new, 1);
        }
        run(&mut rig, now);
        while rig.peers[1].receive().is_some() {}
    }
    for host in 3..252 {
        assert_eq!(punted(&rig, &packet([10, 2, 0, host])), 1, "the first packet to host {host}");
    }
    // Half of the burst and an eighth of the rate, and a first packet at the most ten times a second.
    let dead = punted(&rig, &packet([10, 1, 0, 77]));
    assert!((2_900..=3_020).contains(&dead), "{dead} packets to the dead host");
    let totals = rig.totals();
    let all = totals[0].punted_packets[PuntReason::NeighbourUnresolved] as usize;
    let gateway = all - dead - 249;
    assert!((2_900..=3_020).contains(&gateway), "{gateway} packets to the dead gateway");
    assert_eq!(rig.worker.free_frames(), FRAMES as usize);
}

/// 254 dead hosts take all that is for repeated packets, but not what is for first ones.
#[test]
fn a_flood_to_a_dead_network_does_not_keep_others_back() {
    let mut rig = rig(20_000, 1_000);
    let v6 = |host: u16| {
        let destination = [0x2001, 0xdb8, 1, 0, 0, 0, 1, host].into();
        let source = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2].into();
        to_router().ipv6(Ipv6::new(source, destination)).udp(Udp::new(1, 9)).build()
    };
    for millisecond in 0..1_000u64 {
        let now = SECOND + millisecond * MILLISECOND;
        for number in 0..254u64 {
            send(&mut rig, &packet([10, 1, 0, 4 + ((millisecond + number) % 250) as u8]), 1);
        }
        send(&mut rig, &v6(millisecond as u16), 1);
        run(&mut rig, now);
    }
    // A few come just after another has taken the slot that both share.
    let new = (0..1_000).filter(|&host| punted(&rig, &v6(host)) > 0).count();
    assert!(new > 900, "{new} of 1,000 first packets passed");
    let totals = rig.totals();
    let all = totals[0].punted_packets[PuntReason::NeighbourUnresolved];
    // 21,000 repeated ones, ten first ones of each dead host, and the new ones.
    assert!((23_000..26_000).contains(&all), "{all} packets passed");
    assert!(totals[0].dropped_packets[DropReason::PuntRateLimited] > 200_000);
}

#[test]
fn five_hundred_new_neighbours_pass_at_once() {
    let mut rig = rig(20_000, 1_000);
    for host in 0..500u16 {
        let destination = [0x2001, 0xdb8, 1, 0, 0, 0, 1, host].into();
        let source = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2].into();
        let header = Ipv6::new(source, destination);
        send(&mut rig, &to_router().ipv6(header).udp(Udp::new(1, 9)).build(), 1);
    }
    run(&mut rig, SECOND);
    assert_eq!(rig.totals()[0].punted_packets[PuntReason::NeighbourUnresolved], 500);
}
