//! Every limit and default of the configuration, with what it depends on.

use std::ops::RangeInclusive;

use linecard_packet::BATCH_PACKETS_MAX;

pub(super) const WORKERS: RangeInclusive<u16> = 1..=256;
/// The kernel's `CPU_SETSIZE` less one.
pub(super) const CORE: RangeInclusive<u16> = 0..=1023;

pub(super) const FRAMES_PER_WORKER: RangeInclusive<u32> = 1024..=4_194_304;
pub(super) const FRAMES_PER_WORKER_DEFAULT: u32 = 16_384;
/// What AF_XDP takes as a chunk; also the default, as a chunk of 2 KiB holds an Ethernet packet.
pub(super) const FRAME_BYTES: [u32; 2] = [2048, 4096];

pub(super) const PUNT_RATE_PACKETS_PER_SECOND: RangeInclusive<u32> = 1..=10_000_000;
pub(super) const PUNT_RATE_PACKETS_PER_SECOND_DEFAULT: u32 = 20_000;
pub(super) const PUNT_BURST_PACKETS: RangeInclusive<u32> = 1..=1_000_000;
/// A twentieth of a second at the default rate.
pub(super) const PUNT_BURST_PACKETS_DEFAULT: u32 = 1_000;

/// `sun_path` of `struct sockaddr_un` less the final zero and the suffix of the name under which
/// the socket is made before it is renamed.
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107 - ".4294967295".len();

pub(super) const ROUTES: RangeInclusive<u32> = 1..=16_000_000;
/// Twice the Internet's table of 2026 (about 1.05 million prefixes).
pub(super) const ROUTES_IPV4_DEFAULT: u32 = 2_000_000;
/// Twice the Internet's table of 2026 (about 0.24 million prefixes).
pub(super) const ROUTES_IPV6_DEFAULT: u32 = 500_000;
pub(super) const NEXT_HOPS: RangeInclusive<u32> = 1..=1_000_000;
pub(super) const NEXT_HOPS_DEFAULT: u32 = 65_536;
pub(super) const NEXT_HOP_GROUPS_DEFAULT: u32 = 65_536;
pub(super) const ADJACENCIES: RangeInclusive<u32> = 1..=1_000_000;
pub(super) const ADJACENCIES_DEFAULT: u32 = 65_536;

/// File name endings that tell the format of a capture to write.
pub(super) const CAPTURE_EXTENSIONS: [&str; 2] = ["pcap", "pcapng"];

/// Ports in one configuration, far below what a `PortId` can number.
pub(super) const PORTS_MAX: usize = 1024;
/// Interfaces (ports and their VLANs) in one configuration: `InterfaceId` has 16 bits, and its
/// last number means "not known yet".
pub(super) const INTERFACES_MAX: usize = 65_535;
/// `IFNAMSIZ` less the final zero.
pub(super) const INTERFACE_NAME_BYTES_MAX: usize = 15;
pub(super) const QUEUES: RangeInclusive<u16> = 1..=256;
pub(super) const RING_ENTRIES: RangeInclusive<u32> = 64..=32_768;
pub(super) const RING_ENTRIES_DEFAULT: u32 = 2048;

/// RFC 791: every module must forward 68 bytes; the upper end is what a 4 KiB frame holds.
pub(super) const MTU_BYTES: RangeInclusive<u32> = 68..=3800;
/// RFC 8200 5: IPv6 requires 1280 of every link.
pub(super) const MTU_BYTES_IPV6_MIN: u32 = 1280;
pub(super) const MTU_BYTES_DEFAULT: u32 = 1500;
/// 0 and 4095 are reserved (IEEE 802.1Q table 9-2).
pub(super) const VLAN_ID: RangeInclusive<u16> = 1..=4094;
/// What the kernel's `rtnh_hops` can carry.
pub(super) const WEIGHT: RangeInclusive<u32> = 1..=256;
/// Next hops of one route.
pub(super) const NEXT_HOPS_PER_ROUTE_MAX: usize = 256;

/// Filters, policers and sets in one configuration.
pub(super) const SERVICE_ENTRIES_MAX: usize = 4096;
/// Rules of one filter.
pub(super) const RULES_PER_FILTER_MAX: usize = 1_000_000;
/// Prefixes and ranges of ports that the rules of all filters have from sets.
pub(super) const RULE_SET_MEMBERS_MAX: usize = 16_000_000;
/// Of filters, rules, policers and sets.
pub(super) const SERVICE_NAME_BYTES_MAX: usize = 64;
/// Forwarding classes, one for each queue of a port.
pub(super) const CLASS: RangeInclusive<u8> = 0..=7;
/// 1.4 GB of IPv4, 1.9 GB of IPv6.
pub(super) const CONNECTIONS: RangeInclusive<u32> = 1..=16_000_000;
/// 0: as many as there is room for.
pub(super) const CONNECTIONS_PER_SOURCE: RangeInclusive<u32> = 0..=16_000_000;
/// A year; the table counts up to two.
pub(super) const TIMEOUT_SECONDS: RangeInclusive<u32> = 1..=31_536_000;
pub(super) const SAMPLE: RangeInclusive<u32> = 1..=1_000_000_000;

pub(super) const RATE_BITS_PER_SECOND: RangeInclusive<u64> = 8..=10_000_000_000_000;
pub(super) const RATE_PACKETS_PER_SECOND: RangeInclusive<u64> = 1..=10_000_000_000;
/// What is smaller than a packet would never let that packet through.
pub(super) const BURST_BYTES: RangeInclusive<u64> = 64..=1_000_000_000;
pub(super) const BURST_PACKETS: RangeInclusive<u64> = 1..=1_000_000_000;
pub(super) const OVERHEAD_BYTES: RangeInclusive<u8> = 0..=255;
/// What a site commonly has (RFC 6177).
pub(super) const SOURCE_PREFIX_IPV6_DEFAULT: u8 = 56;
pub(super) const SOURCE_PREFIX_IPV6_MAX: u8 = 64;

/// `XDP_PACKET_HEADROOM`, which packet memory keeps free in front of each packet.
const HEADROOM_BYTES: u32 = 256;
/// Ethernet header and two VLAN tags.
const LINK_HEADER_BYTES: u32 = 14 + 2 * 4;

/// Largest MTU whose packets fit a frame of `frame_bytes`.
pub(super) const fn mtu_bytes_max(frame_bytes: u32) -> u32 {
    frame_bytes - HEADROOM_BYTES - LINK_HEADER_BYTES
}

const _: () = assert!(*MTU_BYTES.end() <= mtu_bytes_max(FRAME_BYTES[1]));
const _: () = assert!(MTU_BYTES_DEFAULT <= mtu_bytes_max(FRAME_BYTES[0]));
const _: () = assert!(*FRAMES_PER_WORKER.start() as usize >= 2 * BATCH_PACKETS_MAX);
const _: () = assert!(RING_ENTRIES_DEFAULT < FRAMES_PER_WORKER_DEFAULT);
