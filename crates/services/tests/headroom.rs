//! Tags that find no headroom are a counted drop, and just enough headroom is enough.

use std::net::IpAddr;

use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{AdjacencyId, Batch, DropReason, InterfaceId, PortId, Verdict, parse};
use linecard_services::route::{
    Adjacency, Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities,
    RouteScratch, RouteStats, RouteTables, RouteUpdate, process, rewrite,
};
use linecard_tables::hash::FlowHash;
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const NEIGHBOUR: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
/// What `PacketMemory` keeps free in front of a packet.
const HEADROOM_BYTES: usize = 256;

/// Everything leaves by port 1 with two tags.
fn tables() -> RouteTables {
    let mut tables = RouteTables::new(&RouteCapacities::default());
    let interface = |port, vlans| Interface {
        port: PortId(port),
        vlans,
        mac_address: ROUTER,
        mtu_bytes: 1500,
        up: true,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        own_ipv4: None,
        own_ipv6: None,
    };
    let adjacency = Adjacency {
        interface: InterfaceId(1),
        address: IpAddr::from([10, 0, 0, 2]),
        mac_address: Some(NEIGHBOUR),
    };
    let member = Member { next_hop: NextHopId(0), weight: 1 };
    for update in [
        RouteUpdate::SetInterface(InterfaceId(0), interface(0, vec![])),
        RouteUpdate::SetInterface(InterfaceId(1), interface(1, vec![(0x88a8, 2), (0x8100, 3)])),
        RouteUpdate::SetAdjacency(AdjacencyId(0), adjacency),
        RouteUpdate::SetNextHop(NextHopId(0), NextHop::Gateway(AdjacencyId(0))),
        RouteUpdate::SetGroup(NextHopGroupId(1), vec![member]),
        RouteUpdate::SetRoute("0.0.0.0/0".parse().expect("a prefix"), NextHopGroupId(1)),
    ] {
        tables.absorb(&update);
    }
    assert_eq!(tables.refused_updates(), 0);
    tables
}

#[test]
fn tags_need_eight_bytes_of_headroom() {
    let tables = tables();
    let header = Ipv4::new([192, 0, 2, 1].into(), [198, 51, 100, 1].into());
    let packet = PacketBuilder::new().ethernet(ROUTER, NEIGHBOUR).ipv4(header);
    let packet = packet.udp(Udp::new(1, 2)).build();
    for headroom in [0, 7, 8, 9] {
        let config = MemoryConfig { frames: 1, chunk_bytes: 2048 };
        let mut memory = PacketMemory::new(config).expect("2 KiB of memory");
        let mut frame = memory.allocate().expect("a free frame");
        assert!(memory.set_packet(&mut frame, &packet));
        assert!(memory.grow_front(&mut frame, HEADROOM_BYTES - headroom));
        memory.truncate(&mut frame, packet.len());
        memory.packet_mut(&mut frame).copy_from_slice(&packet);

        let mut batch = Batch::new();
        batch.frames.push(frame);
        let mut stats = RouteStats::new(1);
        batch.end_segment(PortId(0), 0);
        parse(&mut batch, &memory, |port| tables.station(port));
        let (hash, mut scratch) = (FlowHash::new(1), RouteScratch::new());
        process(&mut batch, &memory, &tables, &hash, &mut scratch, &mut stats);
        rewrite(&mut batch, &mut memory, &tables);

        let sent = memory.packet(&batch.frames[0]);
        if headroom < 8 {
            assert_eq!(batch.verdicts, [Verdict::Drop(DropReason::FrameTooSmall)]);
        } else {
            let forward = Verdict::Forward { port: PortId(1), adjacency: AdjacencyId(0) };
            assert_eq!(batch.verdicts, [forward]);
            assert_eq!(sent[12..22], [0x88, 0xa8, 0, 2, 0x81, 0, 0, 3, 8, 0]);
            assert_eq!(sent.len(), packet.len() + 8);
        }
        memory.free(batch.frames.remove(0));
    }
}
