//! The flood and the sink that counts, on one link. Needs root.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use linecard_lab::{
    CountSink, FloodKind, FloodLoad, FrameSocket, Namespace, SinkHook, VethOptions, create_veth,
    wait_for,
};
use linecard_wire::checksum::{pseudo_header_v4, verify};
use linecard_wire::ip::Protocol;

const TIMEOUT: Duration = Duration::from_secs(30);
const FRAME_BYTES: usize = 60;

/// Two hosts with a link that is up.
fn hosts() -> (Namespace, Namespace) {
    let (left, right) = (Namespace::new("left").unwrap(), Namespace::new("right").unwrap());
    create_veth((&left, "east"), (&right, "west"), &VethOptions::default()).unwrap();
    left.set_up("east").unwrap();
    right.set_up("west").unwrap();
    left.wait_running("east", TIMEOUT).unwrap();
    (left, right)
}

fn load(left: &Namespace, right: &Namespace) -> FloodLoad {
    FloodLoad {
        destination_mac: right.interface("west").unwrap().mac,
        source_mac: left.interface("east").unwrap().mac,
        sources: "192.0.2.0/24".parse().unwrap(),
        destinations: "198.18.0.0/15".parse().unwrap(),
        frame_bytes: FRAME_BYTES,
        core: None,
    }
}

#[test]
fn a_flood_is_counted_where_it_ends() {
    for hook in [SinkHook::Tcx, SinkHook::Xdp] {
        is_counted_by(hook);
    }
}

fn is_counted_by(hook: SinkHook) {
    let (left, right) = hosts();
    let sink = CountSink::attach(&right, "west", hook).unwrap();
    let flood = load(&left, &right).start(&left, "east").unwrap();
    wait_for("a million frames", TIMEOUT, || Ok(sink.report()?.frames >= 1_000_000)).unwrap();
    let made = flood.stop().unwrap();
    let came = sink.report().unwrap();
    println!("{hook:?}: {made:?}, {:.2} Mpps; {came:?}", made.frames_per_second() / 1e6);
    // Both hosts also say a few words of IPv6, which are longer.
    assert!(made.frames + 100 >= came.frames);
    let excess = came.bytes.checked_sub(came.frames * FRAME_BYTES as u64);
    assert!(excess.is_some_and(|it| it < 10_000), "{came:?}");
    let after = right.interface("west").unwrap().counters;
    assert!(after.rx_packets >= came.frames, "it came over the link: {after:?}");
}

#[test]
fn each_frame_is_another_one_and_sound() {
    let (left, right) = hosts();
    let _sink = CountSink::attach(&right, "west", SinkHook::Tcx).unwrap();
    let capture = FrameSocket::open(&right, "west").unwrap();
    let load = load(&left, &right);
    let flood = load.start(&left, "east").unwrap();
    let mut flows = HashSet::new();
    let deadline = Instant::now() + TIMEOUT;
    // The same pages come by many times within these.
    for _ in 0..20_000 {
        let frame = capture.receive(deadline).unwrap().expect("a frame in time").bytes;
        // What this host says of itself (IPv6 multicast reports) is none of the flood's.
        if frame[..6] != load.destination_mac {
            continue;
        }
        assert_eq!(frame.len(), FRAME_BYTES);
        assert_eq!(frame[6..12], load.source_mac);
        let header = linecard_wire::ipv4::Packet::new(&frame[14..]).unwrap();
        assert!(header.verify_checksum(), "{frame:x?}");
        let address = |at: usize| {
            Ipv4Addr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).expect("four bytes"))
        };
        assert!(load.sources.contains(&address(26)), "{frame:x?}");
        assert!(load.destinations.contains(&address(30)), "{frame:x?}");
        assert_eq!(frame[36..38], [0, 9], "discard");
        flows.insert(frame[26..36].to_vec());
    }
    flood.stop().unwrap();
    let halves: HashSet<bool> = flows.iter().map(|flow| flow[5] & 1 == 1).collect();
    println!("{} flows in 20,000 frames", flows.len());
    assert_eq!(halves.len(), 2, "198.18 and 198.19");
    assert!(flows.len() > 19_900, "fresh addresses: {}", flows.len());
}

#[test]
fn frames_of_each_kind_are_sound() {
    let (left, right) = hosts();
    let _sink = CountSink::attach(&right, "west", SinkHook::Tcx).unwrap();
    for kind in [FloodKind::Syn(179), FloodKind::Ping, FloodKind::Arp] {
        let capture = FrameSocket::open(&right, "west").unwrap();
        let load = FloodLoad { frame_bytes: 62, ..load(&left, &right) };
        let flood = load.start_as(kind, &left, "east").unwrap();
        let deadline = Instant::now() + TIMEOUT;
        let mut senders = HashSet::new();
        for _ in 0..200 {
            let frame = capture.receive(deadline).unwrap().expect("a frame in time").bytes;
            if frame[..6] == load.destination_mac && is_kind(kind, &frame) {
                let at = if kind == FloodKind::Arp { 28 } else { 26 };
                senders.insert(frame[at..at + 4].to_vec());
            }
        }
        flood.stop().unwrap();
        assert!(senders.len() > 50, "{kind:?}: {} senders", senders.len());
    }
}

/// Whether a frame is what a flood says, down to its checksums.
fn is_kind(kind: FloodKind, frame: &[u8]) -> bool {
    let ipv4 = || linecard_wire::ipv4::Packet::new(&frame[14..]).unwrap();
    match kind {
        FloodKind::Udp => ipv4().protocol() == Protocol::UDP,
        FloodKind::Syn(port) => {
            let packet = ipv4();
            let segment = packet.payload();
            let (from, to) = (packet.source(), packet.destination());
            let sum = pseudo_header_v4(from, to, Protocol::TCP, segment.len() as u16);
            let sound = packet.verify_checksum() && sum.add_bytes(segment).finish() == 0;
            sound && segment[2..4] == port.to_be_bytes() && segment[13] == 2
        }
        FloodKind::Ping => {
            let packet = ipv4();
            let sound = packet.verify_checksum() && verify(packet.payload());
            sound && packet.protocol() == Protocol::ICMPV4
        }
        FloodKind::Arp => frame[12..14] == [8, 6] && frame[20..22] == [0, 1],
    }
}

#[test]
fn a_load_that_cannot_be_meant_is_refused() {
    let (left, right) = hosts();
    let short = FloodLoad { frame_bytes: 41, ..load(&left, &right) };
    assert!(short.start(&left, "east").is_err());
    assert!(load(&left, &right).start(&left, "north").is_err());
    assert!(CountSink::attach(&right, "north", SinkHook::Tcx).is_err());
}
