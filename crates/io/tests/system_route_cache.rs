//! The route cache as the kernel uses it: what the classifier makes of frames whose destination is in it.
//!
//! Needs root, or `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN`: the kernel itself runs the program on
//! each frame (`BPF_PROG_TEST_RUN`). Nothing is sent anywhere.

use std::net::IpAddr;
use std::sync::Arc;

use linecard_io::bpf::{LossCounter, Redirected};
use linecard_io::route_cache::Offer;
use linecard_io::xdp::{DeadManSwitch, XdpPortExtras};
use linecard_io::{AttachMode, CachedRoute, LocalAddresses, Outcome, RouteCache, XdpPort};
use linecard_wire::builder::{Extension, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::vlan::{Tag, Tci};
use linecard_wire::{MacAddress, ipv4, ipv6};

const PORT: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const PEER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
const OUT: [u8; 6] = [2, 0, 0, 0, 1, 1];
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 1, 2];
const REMEDY: &str = "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN";

const TRANSIT4: &str = "198.51.100.1";
const TRANSIT6: &str = "2001:db8:1::1";
/// The port that frames come in by, and the one that they leave by: loopback, which is always there.
const IN: u16 = 3;
const OUT_PORT: u16 = 5;

struct Bed {
    port: XdpPort,
    cache: Arc<RouteCache>,
    local: LocalAddresses,
    switch: Arc<DeadManSwitch>,
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn route(destination: &str) -> CachedRoute {
    CachedRoute {
        in_port: IN,
        destination: address(destination),
        out_port: OUT_PORT,
        destination_mac: NEIGHBOUR,
        source_mac: OUT,
        mtu_bytes: 1000,
        adjacency: 9,
    }
}

impl Bed {
    fn new() -> Self {
        let cache = RouteCache::new(64).expect(REMEDY);
        let local = LocalAddresses::new().expect(REMEDY);
        let switch = DeadManSwitch::new(1).expect(REMEDY);
        let maps = (&local, &switch);
        let redirect = cache.port(IN).expect(REMEDY);
        let extras = XdpPortExtras { redirect, ..XdpPortExtras::default() };
        let port = XdpPort::with(1, PORT.octets(), 1, 1792, maps, extras);
        let port = port.expect(REMEDY);
        cache.set_target(OUT_PORT, 1).expect("loopback");
        cache.set_source(IN, true);
        Self { port, cache, local, switch }
    }

    /// Both destinations in the cache.
    fn filled() -> Self {
        let bed = Self::new();
        for destination in [TRANSIT4, TRANSIT6] {
            assert_eq!(bed.cache.offer(&route(destination), || true), Offer::Written);
        }
        bed
    }

    fn redirect(&self, frame: &[u8]) -> Option<Vec<u8>> {
        self.port.redirect(frame).expect("the kernel runs the classifier")
    }

    fn classify(&self, frame: &[u8]) -> Outcome {
        self.port.classify(AttachMode::Native, frame).expect("the kernel runs the classifier")
    }
}

fn to_port() -> PacketBuilder {
    PacketBuilder::new().ethernet(PORT, PEER)
}

fn udp(builder: PacketBuilder, payload: usize) -> Vec<u8> {
    builder.udp(Udp::new(4000, 4001)).payload(&vec![7; payload]).build()
}

fn from4(source: &str) -> Ipv4 {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (address(source), address(TRANSIT4)) else {
        panic!("IPv4");
    };
    Ipv4::new(source, destination)
}

fn from6(source: &str) -> Ipv6 {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (address(source), address(TRANSIT6)) else {
        panic!("IPv6");
    };
    Ipv6::new(source, destination)
}

fn v4(header: Ipv4) -> Vec<u8> {
    udp(to_port().ipv4(header), 18)
}

fn v6(header: Ipv6) -> Vec<u8> {
    udp(to_port().ipv6(header), 18)
}

/// The frame as the pipeline would send it on.
fn forwarded(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&NEIGHBOUR);
    frame[6..12].copy_from_slice(&OUT);
    let packet = &mut frame[14..];
    match packet[0] >> 4 {
        4 => ipv4::decrement_ttl(packet).map(drop).expect("a header"),
        _ => ipv6::decrement_hop_limit(packet).map(drop).expect("a header"),
    }
    frame
}

/// The frame with so many bytes behind the packet, not all zeros.
fn padded(mut frame: Vec<u8>, bytes: usize) -> Vec<u8> {
    frame.resize(frame.len() + bytes, 0xa5);
    frame
}

/// The shortest frame that the classifier makes by cutting (`ETH_ZLEN`).
const FRAME_MIN: usize = 60;

/// What lies behind the packet is cut off down to the shortest frame, below which not every driver pads, and
/// in the books of what came in only. What is left is as it came; the rest is as the pipeline sends it.
#[test]
fn padding_is_cut_off_down_to_the_shortest_frame() {
    let bed = Bed::filled();
    let _armed = bed.switch.arm(0).expect("arm");
    let acknowledgement = |builder: PacketBuilder| builder.tcp(Tcp::new(4000, 4001)).build();
    let frames = [
        acknowledgement(to_port().ipv4(from4("192.0.2.9"))),
        acknowledgement(to_port().ipv6(from6("2001:db8::9"))),
        udp(to_port().ipv4(from4("192.0.2.9")), 0),
        udp(to_port().ipv4(from4("192.0.2.9")), 1000 - 28),
        udp(to_port().ipv6(from6("2001:db8::9")), 1000 - 48),
        to_port().ipv4(from4("192.0.2.9")).build(),
    ];
    let (mut packets, mut received_bytes, mut sent_bytes) = (0, 0, 0);
    for frame in &frames {
        let to_shortest = FRAME_MIN.saturating_sub(frame.len());
        let around = [to_shortest.saturating_sub(1), to_shortest, to_shortest + 1];
        for padding in [0, 1, 2, 6, 18, 46, 300].into_iter().chain(around) {
            let came = padded(frame.clone(), padding);
            let sent = padded(forwarded(frame.clone()), padding.min(to_shortest));
            assert_eq!(bed.redirect(&came).as_ref(), Some(&sent), "{} and {padding}", frame.len());
            packets += 1;
            received_bytes += came.len() as u64;
            sent_bytes += sent.len() as u64;
        }
    }
    let counted = bed.port.redirected().expect("maps")[usize::from(OUT_PORT)];
    assert_eq!(counted, Redirected { packets, received_bytes, sent_bytes });
}

/// Frames without padding, which the pipeline forwards as well, byte for byte the same.
#[test]
fn hits_leave_as_the_pipeline_would_send_them() {
    let bed = Bed::filled();
    let _armed = bed.switch.arm(0).expect("arm");
    let mut frames = vec![
        ("smallest", udp(to_port().ipv4(from4("192.0.2.9")), 0)),
        ("as large as the MTU", udp(to_port().ipv4(from4("192.0.2.9")), 1000 - 28)),
        ("TTL 2", v4(Ipv4 { ttl: 2, ..from4("192.0.2.9") })),
        ("TTL 255", v4(Ipv4 { ttl: 255, ..from4("192.0.2.9") })),
        ("first octet below 127", v4(from4("126.255.255.255"))),
        ("first octet above 127", v4(from4("128.0.0.0"))),
        ("end of unicast", v4(from4("223.255.255.255"))),
        ("IPv6", v6(from6("2001:db8::9"))),
        ("IPv6 as large as the MTU", udp(to_port().ipv6(from6("2001:db8::9")), 1000 - 48)),
        ("IPv6, hop limit 2", v6(Ipv6 { hop_limit: 2, ..from6("2001:db8::9") })),
        ("IPv6, behind fe80::/10", v6(from6("fec0::1"))),
        ("IPv6, begins with 64 zeros", v6(from6("::1:0:0:1"))),
        (
            "IPv6, routing header",
            udp(
                to_port().ipv6(from6("2001:db8::9")).extension(Extension::routing(4, 0, &[0; 4])),
                18,
            ),
        ),
    ];
    // Every checksum is decremented as the kernel does it: identifications make many of them.
    for identification in 0..2_000 {
        frames.push(("some checksum", v4(Ipv4 { identification, ..from4("192.0.2.9") })));
    }
    for (description, frame) in &frames {
        assert_eq!(bed.redirect(frame), Some(forwarded(frame.clone())), "{description}");
    }
    let counted = bed.port.redirected().expect("maps")[usize::from(OUT_PORT)];
    assert_eq!(counted.packets, frames.len() as u64);
    let bytes = frames.iter().map(|(_, frame)| frame.len() as u64).sum();
    assert_eq!((counted.received_bytes, counted.sent_bytes), (bytes, bytes));
    assert_eq!(bed.port.outcomes().expect("maps").map(|it| it.packets), [0; Outcome::ALL.len()]);
}

fn misses() -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let tagged = |tci| to_port().vlan(Tag { tpid: EtherType::VLAN, tci: Tci(tci) });
    let plain4 = || from4("192.0.2.9");
    let plain6 = || from6("2001:db8::9");
    let hop_by_hop = Extension::hop_by_hop(&[1, 4, 0, 0, 0, 0]);
    let too_big = udp(to_port().ipv4(plain4()), 1000 - 27);
    let options = vec![148, 4, 0, 0];
    let taken = Outcome::Taken;
    vec![
        ("wrong checksum", v4(Ipv4 { checksum: Some(0x1234), ..plain4() }), taken),
        ("cut short", v4(plain4())[..40].to_vec(), taken),
        ("shorter than its header, padded", v4(Ipv4 { total_length: Some(19), ..plain4() }), taken),
        ("too big and padded", padded(too_big.clone(), 9), taken),
        ("IPv6 cut short", v6(plain6())[..60].to_vec(), taken),
        ("too big", too_big, taken),
        ("IPv6 too big", udp(to_port().ipv6(plain6()), 1000 - 47), taken),
        ("tagged", udp(tagged(100).ipv4(plain4()), 18), taken),
        ("priority-tagged", udp(tagged(0).ipv6(plain6()), 18), taken),
        ("TTL 1", v4(Ipv4 { ttl: 1, ..plain4() }), Outcome::TtlExpired),
        ("options", v4(Ipv4 { options, ..plain4() }), Outcome::Ipv4Options),
        ("IPv6, hop limit 1", v6(Ipv6 { hop_limit: 1, ..plain6() }), Outcome::TtlExpired),
        (
            "IPv6, hop-by-hop",
            udp(to_port().ipv6(plain6()).extension(hop_by_hop), 18),
            Outcome::Ipv6HopByHop,
        ),
        ("from 0.0.0.0", v4(from4("0.0.0.0")), taken),
        ("from 127/8", v4(from4("127.0.0.1")), taken),
        ("from a group", v4(from4("224.0.0.5")), taken),
        ("from broadcast", v4(from4("255.255.255.255")), taken),
        ("from ::", v6(from6("::")), taken),
        ("from ::1", v6(from6("::1")), taken),
        ("from ff02::1", v6(from6("ff02::1")), taken),
        ("from fe80::1", v6(from6("fe80::1")), taken),
        ("from febf::1", v6(from6("febf::1")), taken),
    ]
}

/// Frames that the pipeline or the kernel drops or answers, or that are not plain: none of them is forwarded here.
#[test]
fn whatever_is_not_plain_is_a_miss() {
    let bed = Bed::filled();
    let _armed = bed.switch.arm(0).expect("arm");
    for (description, frame, outcome) in misses() {
        assert_eq!(bed.redirect(&frame), None, "{description}");
        assert_eq!(bed.classify(&frame), outcome, "{description}");
    }
}

#[test]
fn an_entry_is_one_destination_s_and_one_port_s() {
    let bed = Bed::filled();
    let _armed = bed.switch.arm(0).expect("arm");
    for destination in ["198.51.100.2", "198.51.101.1"] {
        let IpAddr::V4(destination) = address(destination) else { panic!("IPv4") };
        assert_eq!(bed.redirect(&v4(Ipv4 { destination, ..from4("192.0.2.9") })), None);
    }
    for destination in ["2001:db8:1::2", "2001:db8:2::1", "::c633:6401"] {
        let IpAddr::V6(destination) = address(destination) else { panic!("IPv6") };
        assert_eq!(bed.redirect(&v6(Ipv6 { destination, ..from6("2001:db8::9") })), None);
    }
    bed.cache.erase_all();
    let other = CachedRoute { in_port: IN + 1, ..route(TRANSIT4) };
    assert_eq!(bed.cache.offer(&other, || true), Offer::NotServed);
    bed.cache.set_source(IN + 1, true);
    assert_eq!(bed.cache.offer(&other, || true), Offer::Written);
    assert_eq!(bed.redirect(&v4(from4("192.0.2.9"))), None, "another port's");
}

#[test]
fn what_was_erased_is_a_miss_again() {
    let bed = Bed::filled();
    let _armed = bed.switch.arm(0).expect("arm");
    let (plain4, plain6) = (v4(from4("192.0.2.9")), v6(from6("2001:db8::9")));
    assert_eq!(bed.cache.erase(|route| route.destination == address(TRANSIT4)), 1);
    assert_eq!(bed.redirect(&plain4), None);
    assert!(bed.redirect(&plain6).is_some(), "the other one is still there");
    bed.cache.erase_all();
    assert_eq!((bed.redirect(&plain6), bed.cache.entries()), (None, 0));
    let outdated = || false;
    assert_eq!(bed.cache.offer(&route(TRANSIT6), outdated), Offer::Withdrawn);
    assert_eq!(bed.redirect(&plain6), None);
    bed.cache.offer(&route(TRANSIT6), || true);
    assert!(bed.redirect(&plain6).is_some());
    bed.cache.remove_target(OUT_PORT).expect("it was there");
    assert_eq!(bed.cache.offer(&route(TRANSIT4), || true), Offer::NotServed);
    assert_eq!(bed.redirect(&plain6), None, "the port is no target any more");
    assert_eq!(bed.classify(&plain6), Outcome::Taken, "and the frame is untouched");
}

#[test]
fn a_dead_worker_and_the_router_s_own_addresses_come_first() {
    let bed = Bed::filled();
    let frame = v4(from4("192.0.2.9"));
    assert_eq!(bed.classify(&frame), Outcome::Standby);
    let armed = bed.switch.arm(0).expect("arm");
    assert!(bed.redirect(&frame).is_some());
    bed.local.insert(address(TRANSIT4)).expect("insert");
    assert_eq!(bed.classify(&frame), Outcome::Local);
    bed.local.remove(address(TRANSIT4)).expect("remove");
    drop(armed);
    assert_eq!(bed.classify(&frame), Outcome::Standby);
}

#[test]
fn hits_mark_the_adjacency_as_used() {
    let bed = Bed::filled();
    let _armed = bed.switch.arm(0).expect("arm");
    let used = || {
        let mut used = Vec::new();
        bed.cache.take_used(|adjacency| used.push(adjacency));
        used
    };
    assert_eq!(used(), []);
    for _ in 0..3 {
        assert!(bed.redirect(&v4(from4("192.0.2.9"))).is_some());
    }
    assert_eq!(used(), [9]);
    assert_eq!(used(), [], "not since");
    assert!(bed.redirect(&v4(from4("192.0.2.9"))).is_some());
    assert_eq!(used(), [9], "and used again");
}

/// They read the index of an interface and the number of its namespace where the kernel's BTF says, and
/// without these places they are not made.
#[test]
fn the_kernel_says_where_an_interface_s_index_is_and_accepts_the_programs_that_count_losses() {
    let bed = Bed::new();
    let losses = LossCounter::attach(&bed.cache).expect(REMEDY);
    losses.set_port(OUT_PORT, 1).expect("a map");
    assert!(losses.of_port(IN).expect("maps").iter().all(|it| (it.full, it.refused) == (0, 0)));
}
