//! Whatever bytes come in: no panic, a verdict for each packet, balanced books, no frame lost.

mod common;

use common::{FRAMES, Rig, RigConfig, neighbour_mac, router_mac, to_router};
use linecard_wire::builder::{Extension, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// Well-formed packets of each kind, to be damaged.
fn templates() -> Vec<Vec<u8>> {
    let header = Ipv4::new([10, 0, 0, 2].into(), [20, 2, 0, 1].into());
    let header6 = Ipv6::new("2001:db8::2".parse().unwrap(), "2001:db8:20::1".parse().unwrap());
    let tag = |tpid, vlan_id| Tag { tpid, tci: Tci::new(0, false, vlan_id) };
    let udp = |packet: PacketBuilder| packet.udp(Udp::new(1, 2)).payload(b"some").build();
    vec![
        udp(to_router().ipv4(header.clone())),
        udp(to_router().ipv4(Ipv4 { options: vec![7, 7, 4, 0, 0, 0, 0], ..header.clone() })),
        udp(to_router().vlan(tag(EtherType::VLAN, 100)).ipv4(header.clone())),
        udp(to_router()
            .vlan(tag(EtherType::SERVICE_VLAN, 200))
            .vlan(tag(EtherType::VLAN, 300))
            .ipv4(header.clone())),
        to_router().ipv4(header).tcp(Tcp::new(1, 2)).pad_to(100).build(),
        udp(to_router().ipv6(header6.clone())),
        udp(to_router().ipv6(header6.clone()).extension(Extension::hop_by_hop(&[5, 2, 0, 0]))),
        udp(to_router()
            .ipv6(header6)
            .extension(Extension::destination_options(&[]))
            .extension(Extension::fragment(0, true, 3))),
        udp(PacketBuilder::new().ethernet(router_mac(1), neighbour_mac(0)).payload(&[0x45; 30])),
    ]
}

/// Random bytes, or a template with some bytes changed and cut to some length.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let templates = templates();
    let change = (0..80usize, any::<u8>());
    let damaged = (0..templates.len(), prop::collection::vec(change, 0..4), 0..200usize);
    let damaged = damaged.prop_map(move |(template, changes, length)| {
        let mut packet = templates[template].clone();
        for (place, byte) in changes {
            if let Some(old) = packet.get_mut(place) {
                *old = byte;
            }
        }
        // Half of them keep their length.
        if length < 100 {
            packet.truncate(length.max(1));
        }
        packet
    });
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 1..1792), 6 => damaged]
}

#[test]
fn any_bytes_end_in_an_account() {
    let config = Config { cases: 2_000, failure_persistence: None, ..Config::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(
        proptest::test_runner::RngAlgorithm::ChaCha,
    );
    let mut runner = TestRunner::new_with_rng(config, rng);
    let rig = std::cell::RefCell::new((Rig::new(&RigConfig::default()), 0));
    let packets = prop::collection::vec((0..common::PORTS, packet()), 1..20);
    let outcome = runner.run(&packets, |packets| {
        let (rig, round) = &mut *rig.borrow_mut();
        let before: u64 = rig.totals().iter().map(|port| port.received_packets).sum();
        for (port, packet) in &packets {
            prop_assert!(rig.peers[*port].send(packet));
        }
        *round += 1;
        prop_assert_eq!(rig.worker.run_once(*round), packets.len());
        let after: u64 = rig.totals().iter().map(|port| port.received_packets).sum();
        prop_assert_eq!(after - before, packets.len() as u64);
        prop_assert_eq!(rig.worker.free_frames(), FRAMES as usize);
        for peer in &mut rig.peers {
            while peer.receive().is_some() {}
        }
        rig.punted.lock().unwrap().clear();
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    // Many got through, else the test says little.
    let (rig, _) = rig.into_inner();
    let forwarded: u64 = rig.totals().iter().map(|port| port.forwarded_packets).sum();
    assert!(forwarded > 1_000, "only {forwarded} packets were forwarded");
}
