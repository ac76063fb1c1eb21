//! **parse**: what is in a frame, and whether a router may touch it at all.
//!
//! What may happen to a packet here:
//!
//! * drop `link_header_truncated`, `vlan_malformed`: no frame the kernel could read either;
//! * drop `ipv4_header_malformed`, `ipv4_checksum_wrong`, `ipv6_header_malformed`: the kernel counts
//!   and drops these without an answer (`ip_rcv_core`, `ip6_rcv_core`);
//! * drop `martian_source`, `martian_destination`: addresses that no route decides on;
//! * punt `not_ip`, `vlan_unknown` (a third tag), `multicast`, `local` (limited broadcast),
//!   `link_local`, `ttl_expired`, `ipv4_options`, `ipv6_hop_by_hop`: what the kernel answers, or
//!   processes itself;
//! * nothing: the metadata is complete and the route stage decides.
//!
//! The kernel is the reference: where RFC 1812 says more than Linux does, Linux is followed, since a
//! packet must fare the same when the kernel takes over. So 0/8 (but for 0.0.0.0), 240/4 and
//! IPv4-mapped addresses are forwarded where a route says so. One difference remains: the kernel
//! forwards to `::` along a default route, which RFC 4291 section 2.5.2 forbids; it is dropped here.

mod plain;

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use linecard_io::PacketMemory;
use linecard_wire::ethernet::{self, EtherType};
use linecard_wire::ip::Protocol;
use linecard_wire::vlan::{Tag, Tags};
use linecard_wire::{ipv4, ipv6, ipv6_extension};

use crate::{Batch, DropReason, Layer3, Metadata, PortId, PuntReason, Station, Verdict};
use plain::{Common, Plain};

/// How many packets ahead of the one that is parsed the first cache line is asked for. With 262,144 frames
/// in order (`cargo bench -p linecard-forwarder`) parse took 13.6 ns a packet without, 11.8 with 4, 10.1
/// with 8, 9.3 with 12, 8.9 with 16, 8 to 9 with 24, 8.5 with 48.
const PREFETCH_PACKETS: usize = 24;

/// Gives each frame of a batch that was just received its metadata and a verdict, undecided unless
/// no later stage should see the packet, and collects the destinations of those that are.
///
/// `station` says who a port's untagged frames are for. Frames for others, and tagged ones, are left to
/// the route stage, which knows all interfaces.
///
/// # Panics
/// When there are frames behind the last segment, of which nobody knows where they came in.
///
/// Cost: the first cache line of each packet, of which the next ones are prefetched; what most packets
/// are, plain IPv4 or IPv6 without tags, takes the path of `plain` and its one branch.
pub fn parse(batch: &mut Batch, memory: &PacketMemory, station: impl Fn(PortId) -> Station) {
    let packets = batch.frames.len();
    let ended = batch.segments.last().map_or(0, |last| usize::from(last.end));
    assert_eq!(ended, packets, "each packet came in by a queue");
    // What was there before is overwritten below.
    batch.metadata.resize(packets, Metadata::of_port(PortId(0)));
    batch.verdicts.resize(packets, Verdict::Undecided);
    batch.destinations_ipv4.end(0);
    batch.destinations_ipv6.end(0);
    batch.unadmitted = 0;
    batch.classes.clear();
    for frame in batch.frames.iter().take(PREFETCH_PACKETS) {
        memory.prefetch(frame);
    }
    let mut start = 0;
    for index in 0..batch.segments.len() {
        let segment = batch.segments[index];
        let end = usize::from(segment.end);
        let common = Common::new(segment.in_port, &station(segment.in_port));
        parse_segment(batch, start..end, memory, segment.in_port, &common);
        start = end;
    }
}

/// The packets at `places`, which came in on `in_port`.
fn parse_segment(
    batch: &mut Batch,
    places: Range<usize>,
    memory: &PacketMemory,
    in_port: PortId,
    common: &Common,
) {
    let mut ipv4 = batch.destinations_ipv4.resume();
    let mut ipv6 = batch.destinations_ipv6.resume();
    let mut unadmitted = 0;
    let mut ahead = batch.frames.iter().skip(places.start + PREFETCH_PACKETS);
    let packets = batch.frames[places.clone()].iter().zip(&mut batch.metadata[places.clone()]);
    let packets = packets.zip(&mut batch.verdicts[places.clone()]).zip(places);
    for (((frame, metadata), verdict), place) in packets {
        if let Some(ahead) = ahead.next() {
            memory.prefetch(ahead);
        }
        let packet = memory.packet(frame);
        match common.parse(packet, metadata) {
            Plain::Ipv4(destination) => {
                *verdict = Verdict::Undecided;
                ipv4.push(place, destination);
            }
            Plain::Ipv6(destination) => {
                *verdict = Verdict::Undecided;
                ipv6.push(place, destination);
            }
            Plain::No => {
                *metadata = Metadata::of_port(in_port);
                *verdict = parse_packet(packet, metadata);
                unadmitted += usize::from(!matches!(verdict, Verdict::Drop(_)));
                if verdict.is_undecided() {
                    match destination(packet, metadata) {
                        Some(IpAddr::V4(address)) => ipv4.push(place, address.to_bits()),
                        Some(IpAddr::V6(address)) => ipv6.push(place, address.to_bits()),
                        None => {}
                    }
                }
            }
        }
    }
    batch.unadmitted += unadmitted;
    let (ipv4, ipv6) = (ipv4.len(), ipv6.len());
    batch.destinations_ipv4.end(ipv4);
    batch.destinations_ipv6.end(ipv6);
}

/// The destination of a packet that took the general path.
#[cold]
fn destination(packet: &[u8], metadata: &Metadata) -> Option<IpAddr> {
    let header = packet.get(usize::from(metadata.layer3_offset)..)?;
    match metadata.layer3 {
        Layer3::Ipv4 => Some(ipv4::Packet::new(header).ok()?.destination().into()),
        Layer3::Ipv6 => Some(ipv6::Packet::new(header).ok()?.destination().into()),
        Layer3::Other => None,
    }
}

/// One packet: its metadata is filled as far as it could be read.
#[cold]
fn parse_packet(packet: &[u8], metadata: &mut Metadata) -> Verdict {
    if packet.len() < ethernet::HEADER_LENGTH {
        return Verdict::Drop(DropReason::LinkHeaderTruncated);
    }
    let Ok(tags) = Tags::new(packet) else {
        return Verdict::Drop(DropReason::VlanMalformed);
    };
    for (i, tag) in [tags.outer(), tags.inner()].into_iter().enumerate() {
        if let Some(Tag { tpid, tci }) = tag {
            metadata.vlan_tpid[i] = tpid.0;
            metadata.vlan_tci[i] = tci.0;
        }
    }
    metadata.layer3_offset = tags.payload_offset() as u8;
    // The I/G bit, in the first octet of the destination: group addresses include broadcast.
    let group = packet[0] & 0x01 != 0;
    match tags.ethertype() {
        EtherType::IPV4 => parse_ipv4(tags.payload(), group, metadata),
        EtherType::IPV6 => parse_ipv6(tags.payload(), group, metadata),
        // No interface here has three tags; the kernel may have one.
        third_tag if third_tag.is_vlan() => Verdict::Punt(PuntReason::VlanUnknown),
        _ => Verdict::Punt(PuntReason::NotIp),
    }
}

fn parse_ipv4(bytes: &[u8], group: bool, metadata: &mut Metadata) -> Verdict {
    // RFC 1812 5.2.2 (1), (3) to (5): length, version, IHL, total length.
    let Ok(packet) = ipv4::Packet::new(bytes) else {
        return Verdict::Drop(DropReason::Ipv4HeaderMalformed);
    };
    // RFC 1812 5.2.2 (2).
    if !packet.verify_checksum() {
        return Verdict::Drop(DropReason::Ipv4ChecksumWrong);
    }
    metadata.layer3 = Layer3::Ipv4;
    metadata.layer3_length = packet.total_length();
    metadata.protocol = packet.protocol().0;
    metadata.layer4_offset = u16::from(metadata.layer3_offset) + packet.header_length() as u16;
    metadata.has_ports =
        !packet.is_fragment() && begins_with_ports(packet.protocol(), packet.payload());
    judge_ipv4(&packet, group)
}

/// The order is the kernel's (`ip_route_input_rcu`, `ip_route_input_slow`, `ip_forward`), so that
/// what it drops without an answer is not punted, and the reverse.
fn judge_ipv4(packet: &ipv4::Packet<'_>, group: bool) -> Verdict {
    let (source, destination) = (packet.source(), packet.destination());
    // RFC 1812 5.3.4: not forwarded when it came by a link-layer broadcast. RFC 1812 5.2.1.1:
    // multicast is the kernel's routing.
    if group || destination.is_multicast() {
        return Verdict::Punt(PuntReason::Multicast);
    }
    // RFC 1812 4.2.3.1, 5.3.7: no source is a multicast address or the limited broadcast.
    if source.is_multicast() || source.is_broadcast() {
        return Verdict::Drop(DropReason::MartianSource);
    }
    // RFC 1812 5.3.5.1: the limited broadcast is for us and never forwarded. 0.0.0.0 to 0.0.0.0 is
    // its old form, which DHCP clients of the past send.
    if destination.is_broadcast() || (source.is_unspecified() && destination.is_unspecified()) {
        return Verdict::Punt(PuntReason::Local);
    }
    // RFC 1812 5.3.7: "this host" and network 127, as source and as destination. The rest of
    // network 0 the kernel takes for unicast since 5.3 (`ipv4_is_zeronet`).
    if source.is_unspecified() {
        return Verdict::Drop(DropReason::MartianSource);
    }
    if destination.is_unspecified() || destination.is_loopback() {
        return Verdict::Drop(DropReason::MartianDestination);
    }
    if source.is_loopback() {
        return Verdict::Drop(DropReason::MartianSource);
    }
    // RFC 1812 5.2.4.1: a router interprets options; record route and source route change them.
    if packet.has_options() {
        return Verdict::Punt(PuntReason::Ipv4Options);
    }
    // RFC 1812 5.3.1: a TTL of 1 may be meant for us; else the kernel sends "time exceeded".
    if packet.ttl() <= 1 {
        return Verdict::Punt(PuntReason::TtlExpired);
    }
    Verdict::Undecided
}

fn parse_ipv6(bytes: &[u8], group: bool, metadata: &mut Metadata) -> Verdict {
    // RFC 8200 3: version and payload length; the frame may be longer (padding), never shorter.
    let Ok(packet) = ipv6::Packet::new(bytes) else {
        return Verdict::Drop(DropReason::Ipv6HeaderMalformed);
    };
    let Ok(length) = u16::try_from(packet.total_length()) else {
        return Verdict::Drop(DropReason::Ipv6HeaderMalformed);
    };
    metadata.layer3 = Layer3::Ipv6;
    metadata.layer3_length = length;
    metadata.protocol = packet.next_header().0;
    metadata.layer4_offset = u16::from(metadata.layer3_offset) + ipv6::HEADER_LENGTH as u16;
    let verdict = judge_ipv6(&packet, group);
    // Services ask for it of what the kernel gets, too.
    if !matches!(verdict, Verdict::Drop(_)) {
        find_upper_layer(&packet, metadata);
    }
    verdict
}

/// The order is the kernel's (`ip6_rcv_core`, `ip6_forward`).
fn judge_ipv6(packet: &ipv6::Packet<'_>, group: bool) -> Verdict {
    let (source, destination) = (packet.source(), packet.destination());
    // RFC 4291 2.5.3: ::1 is never seen on a link.
    if source.is_loopback() {
        return Verdict::Drop(DropReason::MartianSource);
    }
    if destination.is_loopback() {
        return Verdict::Drop(DropReason::MartianDestination);
    }
    // RFC 4291 2.7: no source is a multicast address.
    if source.is_multicast() {
        return Verdict::Drop(DropReason::MartianSource);
    }
    if group || destination.is_multicast() {
        return Verdict::Punt(PuntReason::Multicast);
    }
    // RFC 8200 4.3: hop-by-hop options are for each node on the path that is told to look.
    if packet.next_header() == Protocol::HOP_BY_HOP {
        return Verdict::Punt(PuntReason::Ipv6HopByHop);
    }
    // RFC 4291 2.5.2: never a destination, and as a source never forwarded. What uses :: as a
    // source, duplicate address detection (RFC 4862 5.4.2), went to multicast above.
    if destination == Ipv6Addr::UNSPECIFIED {
        return Verdict::Drop(DropReason::MartianDestination);
    }
    if source == Ipv6Addr::UNSPECIFIED {
        return Verdict::Drop(DropReason::MartianSource);
    }
    // RFC 4291 2.5.6: never forwarded. To us it is neighbour discovery and the like; to others the
    // kernel sends "beyond scope of source address" (RFC 4443 3.1).
    if source.is_unicast_link_local() || destination.is_unicast_link_local() {
        return Verdict::Punt(PuntReason::LinkLocal);
    }
    // RFC 8200 3: not forwarded at a hop limit of 1 or 0; the kernel sends "time exceeded".
    if packet.hop_limit() <= 1 {
        return Verdict::Punt(PuntReason::TtlExpired);
    }
    Verdict::Undecided
}

/// Fills the upper-layer protocol, its offset and whether there are ports. A chain of extension headers
/// that cannot be read to its end is forwarded all the same, because extension headers are not a
/// router's business (RFC 8200 4).
fn find_upper_layer(packet: &ipv6::Packet<'_>, metadata: &mut Metadata) {
    if let Ok(upper) = packet.upper_layer(ipv6_extension::HEADERS_MAX) {
        metadata.protocol = upper.protocol.0;
        metadata.layer4_offset += upper.offset as u16;
        metadata.has_ports = upper.fragment.is_none_or(|fragment| fragment.is_atomic())
            && begins_with_ports(upper.protocol, upper.payload);
    }
}

/// True of the protocols whose header begins with a source and a destination port, if they are there.
#[inline]
fn begins_with_ports(protocol: Protocol, payload: &[u8]) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::SCTP) && payload.len() >= 4
}
