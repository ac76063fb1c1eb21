//! What parse finds out about packets, beside its verdicts (which the forwarder's table tests):
//! offsets, lengths, tags, and which packets are one flow.

use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{
    Batch, InterfaceId, Layer3, Metadata, PortId, Station, Verdict, flow_hash, parse,
};
use linecard_tables::hash::FlowHash;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Extension, Icmpv4, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::ip::Protocol;
use linecard_wire::vlan::{Tag, Tci};

const STATION: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);

fn link() -> PacketBuilder {
    PacketBuilder::new().ethernet(STATION, MacAddress::new([2, 0, 0, 0, 0, 2]))
}

fn ipv4() -> Ipv4 {
    Ipv4::new([192, 0, 2, 1].into(), [198, 51, 100, 1].into())
}

fn ipv6() -> Ipv6 {
    Ipv6::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(), [0x2001, 0xdb8, 1, 0, 0, 0, 0, 1].into())
}

/// Parses all packets as one batch; none of them may be decided. Returns metadata and flow hashes.
fn parsed(packets: &[PacketBuilder]) -> (Vec<Metadata>, Vec<u32>) {
    let config = MemoryConfig { frames: 64, chunk_bytes: 2048 };
    let mut memory = PacketMemory::new(config).expect("128 KiB of memory");
    let mut batch = Batch::new();
    for packet in packets {
        let mut frame = memory.allocate().expect("a small batch");
        assert!(memory.set_packet(&mut frame, &packet.build()));
        batch.frames.push(frame);
    }
    let station = Station::new(InterfaceId(4), STATION, true, true);
    batch.end_segment(PortId(3), 0);
    parse(&mut batch, &memory, |_| station);
    assert!(batch.verdicts.iter().all(|verdict| *verdict == Verdict::Undecided), "{batch:?}");
    let hash = FlowHash::new(5);
    let packets = batch.frames.iter().zip(&batch.metadata);
    let hashes = packets.map(|(frame, m)| flow_hash(memory.packet(frame), m, &hash)).collect();
    for frame in batch.frames.drain(..) {
        memory.free(frame);
    }
    (batch.metadata, hashes)
}

fn metadata(packets: &[PacketBuilder]) -> Vec<Metadata> {
    parsed(packets).0
}

/// Which of the packets hash like the first one.
fn same_flow(packets: &[PacketBuilder]) -> Vec<bool> {
    let (_, hashes) = parsed(packets);
    hashes.iter().map(|hash| *hash == hashes[0]).collect()
}

#[test]
fn ipv4_is_found_behind_tags_and_before_padding() {
    let tag = |tpid, vlan_id| Tag { tpid, tci: Tci::new(6, false, vlan_id) };
    let packets = [
        link().ipv4(ipv4()).udp(Udp::new(1, 2)).pad_to(60),
        link()
            .vlan(tag(EtherType::SERVICE_VLAN, 5))
            .vlan(tag(EtherType::VLAN, 7))
            .ipv4(ipv4())
            .tcp(Tcp::new(1, 2)),
    ];
    let [plain, tagged] = metadata(&packets)[..] else { panic!("two packets") };
    assert_eq!((plain.in_port, plain.layer3), (PortId(3), Layer3::Ipv4));
    assert_eq!((plain.layer3_offset, plain.layer3_length, plain.layer4_offset), (14, 28, 34));
    assert_eq!((plain.protocol, plain.vlan_ids()), (17, [None, None]));
    assert_eq!(plain.vlan_tci, [Metadata::NO_TAG; 2]);
    assert_eq!((tagged.layer3_offset, tagged.layer3_length, tagged.layer4_offset), (22, 40, 42));
    assert_eq!((tagged.protocol, tagged.vlan_ids()), (6, [Some(5), Some(7)]));
    assert_eq!(tagged.vlan_tpid, [0x88a8, 0x8100]);
    assert_eq!(tagged.vlan_tci, [6 << 13 | 5, 6 << 13 | 7]);
}

#[test]
fn the_upper_layer_of_ipv6_is_behind_the_extension_headers() {
    let packets = [
        link().ipv6(ipv6()).udp(Udp::new(1, 2)).pad_to(100),
        link()
            .ipv6(ipv6())
            .extension(Extension::routing(4, 0, &[0; 4]))
            .extension(Extension::destination_options(&[]))
            .tcp(Tcp::new(1, 2)),
    ];
    let [plain, extended] = metadata(&packets)[..] else { panic!("two packets") };
    assert_eq!((plain.layer3, plain.protocol), (Layer3::Ipv6, 17));
    assert_eq!((plain.layer3_offset, plain.layer3_length, plain.layer4_offset), (14, 48, 54));
    assert_eq!((extended.protocol, extended.layer4_offset), (6, 14 + 40 + 8 + 8));
    assert_eq!(extended.layer3_length, 40 + 8 + 8 + 20);
}

#[test]
fn a_flow_is_addresses_protocol_and_ports() {
    let udp = |source, destination| link().ipv4(ipv4()).udp(Udp::new(source, destination));
    let other_ttl = Ipv4 { ttl: 9, dscp: 46, identification: 77, ..ipv4() };
    let swapped = Ipv4::new(ipv4().destination, ipv4().source);
    let same = same_flow(&[
        udp(1000, 53),
        link().ipv4(other_ttl).udp(Udp::new(1000, 53)).payload(b"longer"),
        udp(1001, 53),
        udp(53, 1000),
        link().ipv4(ipv4()).tcp(Tcp::new(1000, 53)),
        link().ipv4(swapped).udp(Udp::new(1000, 53)),
    ]);
    assert_eq!(same, [true, true, false, false, false, false]);
}

#[test]
fn packets_without_ports_are_one_flow_by_addresses() {
    let echo = |sequence| link().ipv4(ipv4()).icmpv4(Icmpv4::echo_request(1, sequence));
    assert_eq!(same_flow(&[echo(1), echo(2)]), [true, true]);
}

#[test]
fn all_fragments_of_a_packet_are_one_flow() {
    let udp = Some(Protocol::UDP);
    let fragment = |more_fragments, fragment_offset| Ipv4 {
        more_fragments,
        fragment_offset,
        protocol: udp,
        ..ipv4()
    };
    let same = same_flow(&[
        link().ipv4(fragment(true, 0)).udp(Udp::new(1000, 53)).payload(&[1; 40]),
        link().ipv4(fragment(true, 48)).payload(&[2; 48]),
        link().ipv4(fragment(false, 96)).payload(&[3; 9]),
    ]);
    assert_eq!(same, [true, true, true]);

    let fragment =
        |offset, more| Extension { next_header: udp, ..Extension::fragment(offset, more, 7) };
    let same = same_flow(&[
        link().ipv6(ipv6()).extension(fragment(0, true)).udp(Udp::new(1000, 53)).payload(&[1; 40]),
        link().ipv6(ipv6()).extension(fragment(48, true)).payload(&[2; 48]),
        link().ipv6(ipv6()).extension(fragment(96, false)).payload(&[3; 9]),
    ]);
    assert_eq!(same, [true, true, true]);
}

#[test]
fn an_ipv6_flow_is_the_five_tuple_and_the_label() {
    let udp =
        |label, source| link().ipv6(Ipv6 { flow_label: label, ..ipv6() }).udp(Udp::new(source, 53));
    let options = Extension::destination_options(&[]);
    let same = same_flow(&[
        udp(7, 1000),
        link()
            .ipv6(Ipv6 { flow_label: 7, hop_limit: 9, ..ipv6() })
            .extension(options)
            .udp(Udp::new(1000, 53)),
        udp(8, 1000),
        udp(7, 1001),
        // RFC 6946: a packet in a single fragment has its ports.
        link()
            .ipv6(Ipv6 { flow_label: 7, ..ipv6() })
            .extension(Extension::fragment(0, false, 1))
            .udp(Udp::new(1000, 53)),
    ]);
    assert_eq!(same, [true, true, false, false, true]);
}
