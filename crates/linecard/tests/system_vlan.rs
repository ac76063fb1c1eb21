//! 802.1Q and 802.1ad tags: on kernel ports those without a VLAN interface stay the kernel's, and between
//! ports with VLANs tags come and go with the interface.

mod common;

use std::net::Ipv4Addr;
use std::process::Command;

use common::traffic::{PORT, pcap, sink};
use common::{DEADLINE, Daemon, LINECARD, PortMode, for_each_port_mode, resolved_topology, text};
use linecard_lab::{Direction, FrameSocket};
use linecard_packet::PuntReason;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};
use serde_json::Value;

for_each_port_mode!(
    tagged_frames_without_an_interface_stay_the_kernels,
    a_priority_tag_is_as_good_as_none,
);

fn tag(tpid: EtherType, id: u16) -> Tag {
    Tag { tpid, tci: Tci::new(0, false, id) }
}

/// A UDP datagram of a lab load, number `sequence`, behind `tags`.
fn datagram(
    to: MacAddress,
    from: MacAddress,
    tags: &[Tag],
    (source, destination): (Ipv4Addr, Ipv4Addr),
    (ttl, sequence): (u8, u64),
) -> Vec<u8> {
    let mut payload = vec![0; 18];
    payload[2..10].copy_from_slice(&sequence.to_be_bytes());
    let frame = PacketBuilder::new().ethernet(to, from);
    tags.iter()
        .fold(frame, |frame, tag| frame.vlan(*tag))
        .ipv4(Ipv4 { ttl, ..Ipv4::new(source, destination) })
        .udp(Udp::new(4000, PORT))
        .payload(&payload)
        .build()
}

/// They reach the kernel with their tags, and as it has no interface for them, nobody else.
fn tagged_frames_without_an_interface_stay_the_kernels(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let (near, far) = (&topology.client_link.near, &topology.client_link.far);
    let sink = sink(&topology, false);
    let client = FrameSocket::open(&topology.client, near.interface).expect("a packet socket");
    let kernel = FrameSocket::open(&topology.router, far.interface).expect("a packet socket");
    let addresses = (near.ipv4.addr(), topology.server_ipv4());
    let stacks = [
        vec![tag(EtherType::VLAN, 7)],
        vec![tag(EtherType::SERVICE_VLAN, 7)],
        vec![tag(EtherType::SERVICE_VLAN, 7), tag(EtherType::VLAN, 8)],
        vec![tag(EtherType::VLAN, 7), tag(EtherType::VLAN, 8)],
    ];
    for (sequence, tags) in (0..).zip(&stacks) {
        let frame = datagram(far.mac.into(), near.mac.into(), tags, addresses, (64, sequence));
        client.send(&frame).expect("sent");
        kernel
            .receive_first(DEADLINE, |it| {
                it.direction == Direction::Received
                    && it.bytes[..6] == frame[..6]
                    && it.bytes[12..] == frame[12..]
            })
            .unwrap_or_else(|error| panic!("{tags:?}: {error}"));
    }
    daemon.assert_punted(PuntReason::VlanUnknown, stacks.len() as u64);
    // What was sent later and has arrived shows that what was sent before does not.
    let frame = datagram(far.mac.into(), near.mac.into(), &[], addresses, (64, 9));
    client.send(&frame).expect("sent");
    assert!(sink.wait_packets(1, DEADLINE), "the frame without a tag is forwarded");
    assert_eq!(sink.stop().packets, 1, "and only that one");
    daemon.assert_forwarded(1);
    daemon.assert_books_balance();
}

/// VLAN identifier 0: the tag carries a priority only (IEEE 802.1Q §6.9); the kernel takes it for none.
fn a_priority_tag_is_as_good_as_none(mode: PortMode) {
    let topology = resolved_topology();
    let daemon = Daemon::on_router(&topology, mode);
    let (near, far) = (&topology.client_link.near, &topology.client_link.far);
    let sink = sink(&topology, false);
    let client = FrameSocket::open(&topology.client, near.interface).expect("a packet socket");
    let addresses = (near.ipv4.addr(), topology.server_ipv4());
    for sequence in 0..3 {
        let tags = [Tag { tpid: EtherType::VLAN, tci: Tci::new(5, false, 0) }];
        let frame = datagram(far.mac.into(), near.mac.into(), &tags, addresses, (64, sequence));
        client.send(&frame).expect("sent");
    }
    assert!(sink.wait_packets(3, DEADLINE), "{:?}\n{:#?}", sink.report(), daemon.ports());
    daemon.assert_books_balance();
}

const CONFIGURATION: &str = r#"
[[port]]
name = "trunk"
kind = "pcap"
input = "trunk.pcap"
output = "trunk-out.pcap"
mac_address = "02:00:5e:10:00:01"
addresses = ["192.0.2.1/24"]
vlans = [
    { id = 10, addresses = ["198.51.100.1/26"] },
    { id = 100, protocol = "802.1ad", inner_id = 20, addresses = ["198.51.100.65/26"] },
]
[[port]]
name = "access"
kind = "pcap"
input = "access.pcap"
output = "access-out.pcap"
mac_address = "02:00:5e:10:00:02"
addresses = ["203.0.113.1/24"]
[[neighbour]]
address = "192.0.2.2"
mac_address = "02:00:00:00:00:0a"
[[neighbour]]
address = "198.51.100.2"
mac_address = "02:00:00:00:00:0b"
[[neighbour]]
address = "198.51.100.66"
mac_address = "02:00:00:00:00:0c"
[[neighbour]]
address = "203.0.113.2"
mac_address = "02:00:00:00:00:0d"
"#;

/// Where a host of the replay lives: its address, its MAC address and the tags on its link.
struct Host {
    on_trunk: bool,
    address: [u8; 4],
    mac: u8,
    tags: Vec<Tag>,
}

#[test]
fn tags_come_and_go_between_vlans() {
    let single = vec![tag(EtherType::VLAN, 10)];
    let double = vec![tag(EtherType::SERVICE_VLAN, 100), tag(EtherType::VLAN, 20)];
    let host =
        |on_trunk, address, mac, tags: &[Tag]| Host { on_trunk, address, mac, tags: tags.to_vec() };
    let hosts = [
        host(true, [192, 0, 2, 2], 0xa, &[]),
        host(true, [198, 51, 100, 2], 0xb, &single),
        host(true, [198, 51, 100, 66], 0xc, &double),
        host(false, [203, 0, 113, 2], 0xd, &[]),
    ];
    let router =
        |host: &Host| MacAddress::new([2, 0, 0x5e, 0x10, 0, if host.on_trunk { 1 } else { 2 }]);
    let mac = |host: &Host| MacAddress::new([2, 0, 0, 0, 0, host.mac]);
    // Every host writes to every other, itself left out: 12 packets.
    let (mut trunk, mut access) = (Vec::new(), Vec::new());
    let (mut trunk_out, mut access_out) = (Vec::new(), Vec::new());
    let pairs = hosts.iter().flat_map(|from| hosts.iter().map(move |to| (from, to)));
    for (sequence, (from, to)) in (0..).zip(pairs.filter(|(from, to)| from.mac != to.mac)) {
        let addresses = (from.address.into(), to.address.into());
        let came = datagram(router(from), mac(from), &from.tags, addresses, (64, sequence));
        let left = datagram(mac(to), router(to), &to.tags, addresses, (63, sequence));
        if from.on_trunk { &mut trunk } else { &mut access }.push(came);
        if to.on_trunk { &mut trunk_out } else { &mut access_out }.push(left);
    }
    // And one of a VLAN that nobody knows.
    let stranger = [tag(EtherType::VLAN, 11)];
    let addresses = ([198, 51, 100, 2].into(), [203, 0, 113, 2].into());
    trunk.push(datagram(router(&hosts[1]), mac(&hosts[1]), &stranger, addresses, (64, 99)));

    let directory = tempfile::tempdir().expect("a directory of our own");
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("replay.toml"), CONFIGURATION).expect("written");
    for (name, frames) in [("trunk.pcap", &trunk), ("access.pcap", &access)] {
        std::fs::write(path(name), pcap(frames.iter().map(Vec::as_slice))).expect("written");
    }
    let output = Command::new(LINECARD)
        .args(["replay", "--json", "--config"])
        .arg(path("replay.toml"))
        .output()
        .expect("the binary was built");
    assert!(output.status.success(), "{}", text(&output.stderr));
    for (name, expected) in [("trunk-out.pcap", trunk_out), ("access-out.pcap", access_out)] {
        assert_eq!(sorted(frames_of(&std::fs::read(path(name)).expect(name))), sorted(expected));
    }
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["total"]["received_packets"], 13);
    assert_eq!(report["total"]["sent_packets"], 12);
    assert_eq!(report["total"]["punted_packets"]["vlan_unknown"], 1);
}

/// The frames of a capture as [`pcap`] writes it.
fn frames_of(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &capture[24..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (header, behind) = rest.split_at(16);
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        let (frame, behind) = behind.split_at(length as usize);
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

/// Packets of both inputs with the same time leave in the order of the ports.
fn sorted(mut frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    frames.sort();
    frames
}
