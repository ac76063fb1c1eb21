//! Control-plane protection as the kernel runs it: the class of each kind of frame, and what the buckets let
//! through.
//!
//! Needs root, or `CAP_BPF` and `CAP_NET_ADMIN`: the kernel itself runs the programs on each frame
//! (`BPF_PROG_TEST_RUN`). Nothing is sent anywhere but over loopback.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use linecard_io::ProtectionClass as Class;
use linecard_io::xdp::{Armed, DeadManSwitch, XdpPortExtras};
use linecard_io::{
    AttachMode, ClassLimit, ClassTotals, LocalAddresses, Outcome, PacketGate, ProtectionLimits,
    XdpPort, punt_mark,
};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Arp, Extension, Icmpv4, Icmpv6, Ipv4, Ipv6, PacketBuilder, Tcp, Udp};
use linecard_wire::ethernet::EtherType;
use linecard_wire::ip::Protocol;
use linecard_wire::tcp::Flags;
use linecard_wire::vlan::{Tag, Tci};

const PORT: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const PEER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
const OWN4: &str = "192.0.2.1";
const OWN6: &str = "2001:db8::1";
const REMEDY: &str = "run as root, or with CAP_BPF and CAP_NET_ADMIN";

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// One port in each way in which it may be served.
struct Bed {
    xdp: XdpPort,
    gate: PacketGate,
    local: LocalAddresses,
    switch: Arc<DeadManSwitch>,
}

/// The hooks that limit.
#[derive(Debug, Clone, Copy)]
enum Hook {
    Xdp(AttachMode),
    Tcx,
}

const HOOKS: [Hook; 3] = [Hook::Xdp(AttachMode::Native), Hook::Xdp(AttachMode::Generic), Hook::Tcx];

impl Bed {
    fn new(limits: &ProtectionLimits) -> Self {
        let local = LocalAddresses::new().expect(REMEDY);
        for own in [OWN4, OWN6] {
            local.insert(address(own)).expect("insert");
        }
        let switch = DeadManSwitch::new(1).expect(REMEDY);
        let extras = XdpPortExtras { protection: Some(limits), ..XdpPortExtras::default() };
        // Loopback's index: nothing is ever attached.
        let xdp = XdpPort::with(1, PORT.octets(), 1, 1792, (&local, &switch), extras);
        let gate = PacketGate::new(1, PORT.octets(), 1792, &local, &switch, Some(limits));
        Self { xdp: xdp.expect(REMEDY), gate: gate.expect(REMEDY), local, switch }
    }

    fn arm(&self) -> Armed {
        self.switch.arm(0).expect("arm")
    }

    fn totals(&self, hook: Hook) -> [ClassTotals; Class::ALL.len()] {
        let totals = match hook {
            Hook::Xdp(_) => self.xdp.classes(),
            Hook::Tcx => self.gate.classes(),
        };
        totals.expect("maps").expect("protection is on")
    }

    fn run(&self, hook: Hook, frame: &[u8]) {
        let done = match hook {
            Hook::Xdp(mode) => self.xdp.run(mode, frame),
            Hook::Tcx => self.gate.run(frame),
        };
        done.expect("the kernel runs the classifier");
    }

    /// The class that a frame counts in; none if it was not for the kernel, or has no limit.
    fn class(&self, hook: Hook, frame: &[u8]) -> Option<Class> {
        let before = self.totals(hook);
        self.run(hook, frame);
        let after = self.totals(hook);
        let mut changed = Class::ALL.into_iter().filter(|&class| {
            let [before, after] = [before, after].map(|totals| totals[class as usize]);
            let bytes = after.passed_bytes - before.passed_bytes;
            assert!(bytes == 0 || bytes == frame.len() as u64, "{bytes} bytes");
            after.passed_packets > before.passed_packets
        });
        let class = changed.next();
        assert_eq!(changed.next(), None, "one class");
        class
    }
}

/// A limit for one class, none to speak of for the others.
fn limits(class: Class, rate_packets_per_second: u32, burst_packets: u32) -> ProtectionLimits {
    let plenty = ClassLimit { rate_packets_per_second: 10_000_000, burst_packets: 1_000_000 };
    let mut limits = Class::ALL.map(|_| plenty);
    limits[class as usize] = ClassLimit { rate_packets_per_second, burst_packets };
    limits
}

fn to_port() -> PacketBuilder {
    PacketBuilder::new().ethernet(PORT, PEER)
}

fn to_group(octets: [u8; 6]) -> PacketBuilder {
    PacketBuilder::new().ethernet(MacAddress::new(octets), PEER)
}

fn ipv4(destination: &str) -> Ipv4 {
    Ipv4::new([192, 0, 2, 9].into(), destination.parse().expect("address"))
}

fn ipv6(destination: &str) -> Ipv6 {
    Ipv6::new("2001:db8::9".parse().expect("address"), destination.parse().expect("address"))
}

/// An IPv4 packet of some protocol.
fn bare4(protocol: u8, header: Ipv4) -> Vec<u8> {
    let header = Ipv4 { protocol: Some(Protocol(protocol)), ..header };
    to_port().ipv4(header).payload(&[0; 32]).build()
}

fn bare6(protocol: u8, header: Ipv6) -> Vec<u8> {
    let header = Ipv6 { next_header: Some(Protocol(protocol)), ..header };
    to_port().ipv6(header).payload(&[0; 32]).build()
}

fn udp4(port: u16, header: Ipv4) -> Vec<u8> {
    to_port().ipv4(header).udp(Udp::new(49152, port)).payload(&[0; 24]).build()
}

fn udp6(port: u16, header: Ipv6) -> Vec<u8> {
    to_port().ipv6(header).udp(Udp::new(49152, port)).payload(&[0; 24]).build()
}

fn request(port: u16) -> Tcp {
    Tcp { flags: Flags::SYN, ..Tcp::new(33333, port) }
}

fn ether_type(value: u16) -> Vec<u8> {
    let mut frame = to_group([1, 0x80, 0xc2, 0, 0, 0x0e]).payload(&[0; 60]).build();
    frame[12..14].copy_from_slice(&value.to_be_bytes());
    frame
}

type Fixture = (&'static str, Vec<u8>, Option<Class>);

fn link_layer_fixtures() -> Vec<Fixture> {
    let arp = || Arp::request(PEER, [192, 0, 2, 9].into(), [192, 0, 2, 1].into());
    let tag = |tpid, id| Tag { tpid, tci: Tci(id) };
    let marked = PacketBuilder::new().ethernet(PORT, MacAddress::new(punt_mark()));
    let other = PacketBuilder::new().ethernet(MacAddress::new([2, 0, 0, 0, 0, 9]), PEER);
    let tagged = to_port().vlan(tag(EtherType::SERVICE_VLAN, 7)).vlan(tag(EtherType::VLAN, 9));
    vec![
        ("ARP", to_port().arp(arp()).build(), Some(Class::ArpNd)),
        ("ARP to all", to_group([0xff; 6]).arp(arp()).build(), Some(Class::ArpNd)),
        ("LLDP", ether_type(0x88cc), Some(Class::Control)),
        ("IS-IS", ether_type(120), Some(Class::Control)),
        ("MPLS", ether_type(0x8847), Some(Class::Tunnel)),
        ("something", ether_type(0x9999), Some(Class::Rest)),
        ("two tags", tagged.ipv4(ipv4(OWN4)).tcp(request(179)).build(), Some(Class::Bgp)),
        ("transit", udp4(179, ipv4("198.51.100.1")), None),
        ("another host's", other.ipv4(ipv4(OWN4)).udp(Udp::new(1, 2)).build(), None),
        ("cut short", to_port().arp(arp()).build()[..14].to_vec(), Some(Class::ArpNd)),
        ("marked, to us", marked.ipv4(ipv4(OWN4)).udp(Udp::new(1, 2)).build(), None),
    ]
}

fn ipv4_fixtures() -> Vec<Fixture> {
    let own = || ipv4(OWN4);
    let with_ttl = |ttl| Ipv4 { ttl, ..own() };
    let tcp = |header, tcp| to_port().ipv4(header).tcp(tcp).build();
    let echo = |header| to_port().ipv4(header).icmpv4(Icmpv4::echo_request(1, 1)).build();
    let options = || vec![148, 4, 0, 0];
    let group = || to_group([1, 0, 0x5e, 0, 0, 5]);
    let to = |text: &str| ipv4(text);
    let fragment = Ipv4 { more_fragments: true, ..own() };
    let large = to_port().ipv4(own()).tcp(request(179)).payload(&[0; 1800]).build();
    let large_transit = to_port().ipv4(to("198.51.100.1")).tcp(request(179)).payload(&[0; 1800]);
    vec![
        ("BGP", tcp(own(), request(179)), Some(Class::Bgp)),
        ("BGP with a TTL of 1", tcp(with_ttl(1), request(179)), Some(Class::Bgp)),
        ("an answer of nobody's", tcp(own(), Tcp::new(179, 40000)), Some(Class::Rest)),
        ("SSH", tcp(own(), request(22)), Some(Class::Ssh)),
        ("LDP", tcp(own(), request(646)), Some(Class::Control)),
        ("HTTP", tcp(own(), request(80)), Some(Class::Rest)),
        ("BFD", udp4(3784, with_ttl(255)), Some(Class::Bfd)),
        ("BFD from afar", udp4(3784, with_ttl(254)), Some(Class::Rest)),
        ("BFD's echo", udp4(3785, with_ttl(254)), Some(Class::Bfd)),
        ("BFD's echo from afar", udp4(3785, with_ttl(253)), Some(Class::Rest)),
        ("multihop BFD", udp4(4784, with_ttl(60)), Some(Class::Bfd)),
        ("WireGuard", udp4(51820, own()), Some(Class::Tunnel)),
        ("GRE", bare4(47, own()), Some(Class::Tunnel)),
        ("UDP", udp4(4001, own()), Some(Class::Rest)),
        ("OSPF", bare4(89, with_ttl(1)), Some(Class::Ospf)),
        ("OSPF from afar", bare4(89, with_ttl(60)), Some(Class::Rest)),
        (
            "hello",
            group()
                .ipv4(Ipv4 { ttl: 1, protocol: Some(Protocol(89)), ..to("224.0.0.5") })
                .payload(&[0; 32])
                .build(),
            Some(Class::Ospf),
        ),
        ("VRRP", bare4(112, to("224.0.0.18")), Some(Class::Control)),
        ("IGMP", bare4(2, Ipv4 { options: options(), ..to("224.0.0.22") }), Some(Class::Control)),
        ("RIP", udp4(520, to("224.0.0.9")), Some(Class::Control)),
        ("video", udp4(5004, to("239.1.2.3")), Some(Class::Multicast)),
        ("DHCP", udp4(67, to("255.255.255.255")), Some(Class::Rest)),
        ("ping", echo(own()), Some(Class::Icmp)),
        ("first fragment", tcp(fragment, request(179)), Some(Class::Rest)),
        ("later fragment", bare4(17, Ipv4 { fragment_offset: 1480, ..own() }), Some(Class::Rest)),
        (
            "options to us",
            tcp(Ipv4 { options: options(), ..own() }, request(179)),
            Some(Class::Exception),
        ),
        (
            "options",
            udp4(9, Ipv4 { options: options(), ..to("198.51.100.1") }),
            Some(Class::Exception),
        ),
        ("expiring", udp4(9, Ipv4 { ttl: 1, ..to("198.51.100.1") }), Some(Class::Exception)),
        ("cut short", tcp(own(), request(179))[..50].to_vec(), Some(Class::Rest)),
        ("too large, to us", large, Some(Class::Bgp)),
        ("too large, transit", large_transit.build(), None),
    ]
}

fn ipv6_fixtures() -> Vec<Fixture> {
    let own = || ipv6(OWN6);
    let with_limit = |hop_limit, header: Ipv6| Ipv6 { hop_limit, ..header };
    let tcp = |header, tcp| to_port().ipv6(header).tcp(tcp).build();
    let icmp = |header, kind| to_port().ipv6(header).icmpv6(Icmpv6::new(kind, 0)).build();
    let alert = || Extension::hop_by_hop(&[5, 2, 0, 0, 1, 0]);
    let padded = || Extension::hop_by_hop(&[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let report = to_port().ipv6(ipv6("ff02::16")).extension(alert()).icmpv6(Icmpv6::new(143, 0));
    let odd = to_port().ipv6(own()).extension(padded()).tcp(request(179));
    let transit = to_port().ipv6(ipv6("2001:db8:1::1")).extension(alert()).udp(Udp::new(1, 2));
    let fragment = to_port().ipv6(own()).extension(Extension::fragment(0, true, 7));
    vec![
        ("BGP", tcp(own(), request(179)), Some(Class::Bgp)),
        ("BGP, link-local", tcp(with_limit(1, ipv6("fe80::1")), request(179)), Some(Class::Bgp)),
        ("SSH", tcp(own(), request(22)), Some(Class::Ssh)),
        ("solicitation", icmp(with_limit(255, ipv6("ff02::1:ff00:1")), 135), Some(Class::ArpNd)),
        ("from afar", icmp(with_limit(254, own()), 135), Some(Class::Icmp)),
        ("ping", icmp(own(), 128), Some(Class::Icmp)),
        ("MLD", report.build(), Some(Class::Control)),
        ("OSPFv3", bare6(89, with_limit(64, ipv6("fe80::1"))), Some(Class::Ospf)),
        ("OSPFv3 hello", bare6(89, with_limit(1, ipv6("ff02::5"))), Some(Class::Ospf)),
        ("OSPFv3 from afar", bare6(89, own()), Some(Class::Rest)),
        ("BFD", udp6(3784, with_limit(255, own())), Some(Class::Bfd)),
        ("UDP", udp6(4001, own()), Some(Class::Rest)),
        ("video", udp6(5004, ipv6("ff0e::1234")), Some(Class::Multicast)),
        ("mDNS", udp6(5353, ipv6("ff02::fb")), Some(Class::Rest)),
        ("6in6", bare6(41, own()), Some(Class::Tunnel)),
        ("hop-by-hop to us", odd.build(), Some(Class::Exception)),
        ("hop-by-hop", transit.build(), Some(Class::Exception)),
        ("fragment", fragment.udp(Udp::new(1, 2)).build(), Some(Class::Rest)),
        ("expiring", udp6(9, with_limit(1, ipv6("2001:db8:1::1"))), Some(Class::Exception)),
    ]
}

#[test]
fn each_kind_of_frame_has_its_class() {
    let bed = Bed::new(&limits(Class::Rest, 10_000_000, 1_000_000));
    let _armed = bed.arm();
    let fixtures = [link_layer_fixtures(), ipv4_fixtures(), ipv6_fixtures()].concat();
    for (description, frame, class) in fixtures {
        for hook in HOOKS {
            // Punted frames are known as such only where they come by again.
            let native = matches!(hook, Hook::Xdp(AttachMode::Native));
            let class =
                if description == "marked, to us" && native { Some(Class::Rest) } else { class };
            assert_eq!(bed.class(hook, &frame), class, "{description}, {hook:?}");
        }
    }
}

#[test]
fn nothing_is_limited_while_no_worker_is_alive() {
    let bed = Bed::new(&limits(Class::Icmp, 1, 1));
    let ping = to_port().ipv4(ipv4(OWN4)).icmpv4(Icmpv4::echo_request(1, 1)).build();
    for _ in 0..5 {
        let outcome = bed.xdp.classify(AttachMode::Native, &ping).expect("run");
        assert_eq!(outcome, Outcome::Standby);
    }
}

/// A flood of one class: the burst passes, then nothing to speak of; other classes do not notice. Dropped is what
/// is limited, and it is counted as such.
#[test]
fn a_flood_takes_its_own_class_and_no_other() {
    let bed = Bed::new(&limits(Class::Bgp, 1, 10));
    let _armed = bed.arm();
    let frame = |port| to_port().ipv4(ipv4(OWN4)).tcp(request(port)).build();
    for hook in [Hook::Xdp(AttachMode::Native), Hook::Tcx] {
        let started = Instant::now();
        for _ in 0..200 {
            bed.run(hook, &frame(179));
        }
        let seconds = started.elapsed().as_secs() + 1;
        let total = bed.totals(hook)[Class::Bgp as usize];
        assert!((10..=10 + seconds).contains(&total.passed_packets), "{total:?} in {seconds} s");
        assert_eq!(total.limited_packets, 200 - total.passed_packets);
        assert_eq!(total.limited_bytes, total.limited_packets * frame(179).len() as u64);
        let outcomes = match hook {
            Hook::Xdp(_) => bed.xdp.outcomes(),
            Hook::Tcx => bed.gate.outcomes(),
        };
        let outcomes = outcomes.expect("maps");
        assert_eq!(outcomes[Outcome::Limited as usize].packets, total.limited_packets);
        assert_eq!(outcomes[Outcome::Local as usize].packets, total.passed_packets);
        assert_eq!(bed.class(hook, &frame(22)), Some(Class::Ssh));
    }
}

/// In the long run as many pass as the rate says, whoever asks how often.
#[test]
fn the_rate_is_kept_by_all_processors_together() {
    const RATE: u32 = 2_000;
    const BURST: u32 = 1_000;
    let bed = Bed::new(&limits(Class::Ssh, RATE, BURST));
    let armed = bed.arm();
    let frame = to_port().ipv4(ipv4(OWN4)).tcp(request(22)).build();
    let started = Instant::now();
    let until = started + Duration::from_millis(500);
    std::thread::scope(|scope| {
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let (bed, frame) = (&bed, &frame);
            scope.spawn(move || {
                while Instant::now() < until {
                    bed.xdp.run(mode, frame).expect("the kernel runs the classifier");
                }
            });
        }
    });
    let elapsed = started.elapsed();
    let total = bed.totals(HOOKS[0])[Class::Ssh as usize];
    let most = f64::from(RATE) * elapsed.as_secs_f64() + f64::from(BURST);
    // What a pause of both threads earns is not lost, as far as the burst goes: half a second.
    let least = f64::from(RATE) * 0.5 * 0.99 + f64::from(BURST);
    let offered = total.passed_packets + total.limited_packets;
    let passed = total.passed_packets as f64;
    assert!(passed <= most + 2.0, "{passed} of {offered} passed in {elapsed:?}");
    assert!(passed >= least || total.limited_packets == 0, "{passed} of {offered} in {elapsed:?}");
    drop(armed);
}

#[test]
fn limits_can_be_changed() {
    let bed = Bed::new(&limits(Class::Icmp, 1, 1));
    let _armed = bed.arm();
    let ping = to_port().ipv4(ipv4(OWN4)).icmpv4(Icmpv4::echo_request(1, 1)).build();
    let classify = || bed.xdp.classify(AttachMode::Native, &ping).expect("run");
    assert_eq!(classify(), Outcome::Local);
    assert_eq!(classify(), Outcome::Limited);
    bed.xdp.set_limits(&limits(Class::Icmp, 1_000_000, 1_000)).expect("maps");
    assert!((0..100).all(|_| classify() == Outcome::Local));
}

/// Segments of a connection that the kernel has are known; whoever guesses is not.
#[test]
fn segments_of_a_connection_are_established() {
    let bed = Bed::new(&limits(Class::Rest, 10_000_000, 1_000_000));
    let _armed = bed.arm();
    for own in ["127.0.0.1", "::1"] {
        let own = address(own);
        bed.local.insert(own).expect("insert");
        let listener = TcpListener::bind((own, 0)).expect("a socket on loopback");
        let server = listener.local_addr().expect("an address");
        let client = TcpStream::connect(server).expect("loopback");
        let (accepted, _) = listener.accept().expect("loopback");
        let from = client.local_addr().expect("an address");
        let frame = |port: u16, flags| segment(from.ip(), port, server, flags);
        let stranger = if from.port() == 1 { 2 } else { 1 };
        for hook in HOOKS {
            let class = |port, flags| bed.class(hook, &frame(port, flags));
            assert_eq!(class(from.port(), Flags::ACK), Some(Class::Established), "{hook:?} {own}");
            assert_eq!(class(from.port(), Flags::RST), Some(Class::Established), "{hook:?}");
            // There is a listener for them, and no more.
            assert_eq!(class(stranger, Flags::ACK), Some(Class::Rest), "{hook:?}");
            assert_eq!(class(from.port(), Flags::SYN), Some(Class::Rest), "{hook:?}");
        }
        // The client's end, which the kernel has as well.
        let back = segment(server.ip(), server.port(), from, Flags::SYN | Flags::ACK);
        assert_eq!(bed.class(HOOKS[0], &back), Some(Class::Established));
        drop((accepted, client));
    }
}

fn segment(source: IpAddr, source_port: u16, to: SocketAddr, flags: Flags) -> Vec<u8> {
    let tcp = Tcp { flags, ..Tcp::new(source_port, to.port()) };
    match (source, to.ip()) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            to_port().ipv4(Ipv4::new(source, to)).tcp(tcp).build()
        }
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            to_port().ipv6(Ipv6::new(source, to)).tcp(tcp).build()
        }
        _ => unreachable!("a connection is of one family"),
    }
}
