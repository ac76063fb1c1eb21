//! The router's own filter as the kernel runs it against the filters' plain twin: random filters, packets of every
//! kind, on each hook.
//!
//! Needs root, or `CAP_BPF` and `CAP_NET_ADMIN`: the kernel itself runs the programs on each frame
//! (`BPF_PROG_TEST_RUN`). Nothing is sent anywhere.

mod random_filters;

use std::net::IpAddr;
use std::sync::Arc;

use linecard_io::router_filter::{
    Anchor, BytesTest, Condition, Field, FieldTest, RouterFilter, RouterFilterCounters,
    RouterFilterLoader, RouterRule, RouterVerdict,
};
use linecard_io::xdp::{Armed, DeadManSwitch, XdpPortExtras};
use linecard_io::{
    AttachMode, LocalAddresses, MemoryConfig, Outcome, OutcomeTotals, PacketGate, PacketMemory,
    ProtectionClass, XdpPort,
};
use linecard_packet::{Batch, InterfaceId, Layer3, Metadata, PortId, Station, Verdict, parse};
use linecard_services::filter::{
    Action, Filter, Match, NotForRouter, Prefixes, Rule, States, filter_for_router, twin,
};
use linecard_tables::lpm::Prefix;
use proptest::prelude::*;
use proptest::sample::Index;
use random_filters::{STATION, filter, packets, rule};

const REMEDY: &str = "run as root, or with CAP_BPF and CAP_NET_ADMIN";
/// Destinations of [`packets`], all of them the router's own here.
const OWN: [&str; 6] = [
    "198.51.100.1",
    "198.51.100.2",
    "198.51.100.130",
    "2001:db8:1::1",
    "2001:db8:2::1",
    "2001:db8:82::1",
];
/// The port's interface: loopback, by which `BPF_PROG_TEST_RUN` says that frames come in.
const LOOPBACK: u32 = 1;
const COUNTERS_MAX: u32 = 64;

#[derive(Debug, Clone, Copy)]
enum Hook {
    Xdp(AttachMode),
    Tcx,
}

const HOOKS: [Hook; 3] = [Hook::Xdp(AttachMode::Native), Hook::Xdp(AttachMode::Generic), Hook::Tcx];

/// One port in each way in which it may be served.
struct Bed {
    xdp: XdpPort,
    gate: PacketGate,
    counters: RouterFilterCounters,
    switch: Arc<DeadManSwitch>,
}

impl Bed {
    fn new() -> Self {
        let local = LocalAddresses::new().expect(REMEDY);
        for own in OWN {
            local.insert(own.parse().expect("an address")).expect("insert");
        }
        let switch = DeadManSwitch::new(1).expect(REMEDY);
        let limits = ProtectionClass::ALL.map(|_| linecard_io::ClassLimit {
            rate_packets_per_second: 10_000_000,
            burst_packets: 1_000_000,
        });
        let extras = XdpPortExtras { protection: Some(&limits), ..XdpPortExtras::default() };
        let mac = STATION.octets();
        let xdp = XdpPort::with(LOOPBACK, mac, 1, 1792, (&local, &switch), extras);
        // Without protection: the filter does not need it.
        let gate = PacketGate::new(LOOPBACK, mac, 1792, &local, &switch, None);
        let counters = RouterFilterCounters::new(COUNTERS_MAX).expect(REMEDY);
        Self { xdp: xdp.expect(REMEDY), gate: gate.expect(REMEDY), counters, switch }
    }

    fn arm(&self) -> Armed {
        self.switch.arm(0).expect("arm")
    }

    fn put(&mut self, filter: Option<&RouterFilter>) {
        let load = |loader: RouterFilterLoader| {
            filter
                .map(|filter| loader.load(filter, &self.counters).expect("the verifier accepts it"))
        };
        let (xdp, gate) =
            (load(self.xdp.router_filter_loader()), load(self.gate.router_filter_loader()));
        self.xdp.put_router_filter(xdp).expect("there is a slot");
        self.gate.put_router_filter(gate).expect("there is a slot");
    }

    fn outcomes(&self, hook: Hook) -> [OutcomeTotals; Outcome::ALL.len()] {
        match hook {
            Hook::Xdp(_) => self.xdp.outcomes().expect("maps"),
            Hook::Tcx => self.gate.outcomes().expect("maps"),
        }
    }

    /// What became of a frame.
    fn outcome(&self, hook: Hook, frame: &[u8]) -> Outcome {
        let before = self.outcomes(hook);
        match hook {
            Hook::Xdp(mode) => self.xdp.run(mode, frame).expect("the kernel runs it"),
            Hook::Tcx => self.gate.run(frame).expect("the kernel runs it"),
        }
        let both = before.iter().zip(self.outcomes(hook));
        let mut counted = Outcome::ALL.into_iter().zip(both);
        let (outcome, _) = counted.find(|(_, (before, after))| **before != *after).expect("one");
        outcome
    }

    fn counts(&self) -> Vec<[u64; 2]> {
        (0..COUNTERS_MAX).map(|counter| self.counters.count(counter).expect("a counter")).collect()
    }
}

/// A filter of rules that the router's has, too.
fn for_router(mut filter: Filter) -> Filter {
    if filter.default == Action::Reject {
        filter.default = Action::Drop;
    }
    for rule in &mut filter.rules {
        rule.condition.states = States::default();
        if rule.action == Action::Reject {
            rule.action = Action::Drop;
        }
    }
    filter
}

/// With a counter for each rule and the default; port 3 is loopback, port 4 another interface.
fn compiled(filter: &Filter) -> RouterFilter {
    let interface_of = |PortId(port)| Some(if port == 3 { LOOPBACK } else { LOOPBACK + 1 });
    let rules = filter.rules.iter().zip(0..);
    let default = (filter.default, filter.rules.len() as u32);
    filter_for_router(rules, default, interface_of).expect("it is served")
}

/// What parse says of a packet; `None` if it drops it, as the kernel would.
fn metadata(packet: &[u8]) -> Option<Metadata> {
    let config = MemoryConfig { frames: 1, chunk_bytes: 2048 };
    let mut memory = PacketMemory::new(config).expect("a little memory");
    let mut batch = Batch::new();
    let mut frame = memory.allocate().expect("one");
    assert!(memory.set_packet(&mut frame, packet));
    batch.frames.push(frame);
    batch.end_segment(PortId(3), 0);
    let station = Station::new(InterfaceId(0), STATION, true, true);
    parse(&mut batch, &memory, |_| station);
    let found = (batch.metadata[0], batch.verdicts[0]);
    batch.drain().for_each(|frame| memory.free(frame));
    let (metadata, verdict) = found;
    (!matches!(verdict, Verdict::Drop(_))).then_some(metadata)
}

/// Whether a packet is for one of [`OWN`].
fn is_own(packet: &[u8], metadata: &Metadata) -> bool {
    let network = &packet[usize::from(metadata.layer3_offset)..];
    let destination: IpAddr = match metadata.layer3 {
        Layer3::Ipv4 => <[u8; 4]>::try_from(&network[16..20]).expect("four").into(),
        Layer3::Ipv6 => <[u8; 16]>::try_from(&network[24..40]).expect("sixteen").into(),
        Layer3::Other => return false,
    };
    OWN.iter().any(|own| *own == destination.to_string())
}

/// The kernel's decisions on these packets and its counts must be the twin's.
fn check(bed: &mut Bed, filter: &Filter, packets: &[Vec<u8>]) {
    bed.put(Some(&compiled(filter)));
    for packet in packets {
        let Some(metadata) = metadata(packet).filter(|metadata| is_own(packet, metadata)) else {
            continue;
        };
        let applied = twin::rules_of(filter, packet, &metadata, None);
        let last = *applied.last().expect("the default at the least");
        let action = filter.rules.get(last).map_or(filter.default, |rule| rule.action);
        let is_dropped = action == Action::Drop;
        let expected = if is_dropped { Outcome::Filtered } else { Outcome::Local };
        for hook in HOOKS {
            let before = bed.counts();
            let outcome = bed.outcome(hook, packet);
            let text = || format!("{hook:?}, {applied:?} of {filter:#?}: {packet:02x?}");
            assert_eq!(outcome, expected, "{}", text());
            let mut counts = before;
            for rule in &applied {
                counts[*rule][0] += 1;
                counts[*rule][1] += packet.len() as u64;
            }
            assert_eq!(bed.counts(), counts, "{}", text());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_decides_as_the_twin(
        filters in prop::collection::vec(filter().prop_map(for_router), 4),
        chosen in prop::collection::vec(any::<Index>(), 24),
    ) {
        let all = packets();
        let packets: Vec<_> = chosen.iter().map(|index| index.get(&all).clone()).collect();
        let mut bed = Bed::new();
        let _armed = bed.arm();
        for filter in &filters {
            check(&mut bed, filter, &packets);
        }
    }

    /// Whatever is in a header: what the kernel would not drop is decided on alike.
    #[test]
    fn broken_packets_are_decided_alike(
        filter in filter().prop_map(for_router),
        broken in prop::collection::vec(
            (any::<Index>(), prop::collection::vec((14..80usize, any::<u8>()), 1..4), 0..60usize),
            24,
        ),
    ) {
        let all = packets();
        let broken = broken.into_iter().map(|(chosen, changes, cut)| {
            let mut packet = chosen.get(&all).clone();
            for (at, value) in changes {
                if let Some(byte) = packet.get_mut(at) {
                    *byte = value;
                }
            }
            // A frame has a header at the least.
            packet.truncate(packet.len().saturating_sub(cut / 4).max(14));
            packet
        });
        let mut bed = Bed::new();
        let _armed = bed.arm();
        check(&mut bed, &filter, &broken.collect::<Vec<_>>());
    }
}

/// A filter of rules about ports, none of which the packets have.
fn long(rules: usize) -> Filter {
    let one = |number: usize| {
        let port = 10_000 + number as u16;
        let source = Prefix::new(0x0a00_0000 + number as u32, 32).expect("a host");
        let source = Prefixes { ipv4: vec![source], ipv6: vec![] };
        let condition = Match {
            protocols: vec![6],
            destination_ports: vec![port..=port],
            source,
            ..Match::default()
        };
        rule(number, condition, Action::Drop)
    };
    Filter {
        name: "long".to_owned(),
        rules: (0..rules).map(one).collect(),
        default: Action::Accept,
    }
}

#[test]
fn a_filter_of_a_thousand_rules_is_verified_and_one_of_too_many_is_refused() {
    let mut bed = Bed::new();
    let _armed = bed.arm();
    let mut filter = compiled(&long(1_000));
    filter.rules.iter_mut().for_each(|rule| rule.counter = 0);
    filter.default_counter = 1;
    bed.put(Some(&filter));
    assert_eq!(bed.outcome(HOOKS[0], &packets()[0]), Outcome::Local);
    assert_eq!(bed.counts()[1][0], 1);
    let too_long = RouterFilter {
        rules: filter.rules.iter().cycle().take(10_000).cloned().collect(),
        ..filter
    };
    assert!(too_long.instructions().is_err());
    let refusal = bed.xdp.router_filter_loader().load(&too_long, &bed.counters);
    assert_eq!(refusal.expect_err("too long").kind(), std::io::ErrorKind::InvalidInput);
    // And nothing has changed.
    assert_eq!(bed.outcome(HOOKS[0], &packets()[0]), Outcome::Local);
    assert_eq!(bed.counts()[1][0], 2);
}

#[test]
fn without_a_filter_or_a_worker_everything_passes() {
    let mut bed = Bed::new();
    let drop_all = Filter { name: "all".to_owned(), rules: vec![], default: Action::Drop };
    bed.put(Some(&compiled(&drop_all)));
    for hook in HOOKS {
        assert_eq!(bed.outcome(hook, &packets()[0]), Outcome::Standby, "{hook:?}");
    }
    let _armed = bed.arm();
    for hook in HOOKS {
        assert_eq!(bed.outcome(hook, &packets()[0]), Outcome::Filtered, "{hook:?}");
    }
    bed.put(None);
    for hook in HOOKS {
        assert_eq!(bed.outcome(hook, &packets()[0]), Outcome::Local, "{hook:?}");
    }
}

/// A filter of rules with these conditions, for IPv4 and IPv6.
fn of_conditions(rules: Vec<Condition>, verdict: Option<RouterVerdict>) -> RouterFilter {
    let rule = |condition| RouterRule {
        ipv4: true,
        ipv6: true,
        conditions: vec![condition],
        verdict,
        counter: 0,
    };
    RouterFilter {
        rules: rules.into_iter().map(rule).collect(),
        default: RouterVerdict::Accept,
        default_counter: 1,
    }
}

/// The verifier looks at all ways through a program and gives up after a million instructions: what fits by its
/// length it must get through in time, in any order.
#[test]
fn what_fits_the_verifier_accepts() {
    let mut bed = Bed::new();
    let ipv4 =
        (0..5_900_u32).map(|host| (IpAddr::from((0x0a00_0000 + host * 7).to_be_bytes()), 32));
    let ipv6 = (0..2_600_u128)
        .map(|host| (IpAddr::from((0x2001_0db8_u128 << 96 | host << 3).to_be_bytes()), 128));
    let range = |at: u32| FieldTest { mask: u32::MAX, first: 10 + at * 5, last: 12 + at * 5 };
    let port = |tests| Condition::Field(Field::DestinationPort, tests);
    let payload = |at: u16| {
        let (anchor, bytes) = (Anchor::Payload, vec![(at as u8, 0xff); 16]);
        Condition::Bytes(BytesTest { anchor, offset: at, bytes })
    };
    let drop = Some(RouterVerdict::Drop);
    for (what, rules, verdict) in [
        ("IPv4 prefixes", vec![Condition::Source(ipv4.collect())], drop),
        ("IPv6 prefixes", vec![Condition::Source(ipv6.collect())], drop),
        ("ascending ranges", vec![port((0..2_300).map(range).collect())], drop),
        ("descending ranges", vec![port((0..2_300).rev().map(range).collect())], drop),
        ("rules that continue", (0..500).map(|at| port(vec![range(at)])).collect(), None),
        ("rules of 16 bytes", (0..170).map(payload).collect(), drop),
        ("rules of 16 bytes that continue", (0..150).map(payload).collect(), None),
    ] {
        let filter = of_conditions(rules, verdict);
        let instructions = filter.instructions().expect("it fits");
        assert!(instructions > 10_000, "{what}: {instructions}");
        let loaded = bed.xdp.router_filter_loader().load(&filter, &bed.counters);
        assert!(loaded.is_ok(), "{what}: {:?}", loaded.err());
        bed.xdp.put_router_filter(loaded.ok()).expect("there is a slot");
    }
}

/// Frames of UDP from 192.0.2.7 to an address, with VLAN tags.
fn udp(mac: [u8; 6], tags: usize, destination: [u8; 4]) -> Vec<u8> {
    let mut frame = mac.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend([0x81, 0, 0, 5].repeat(tags));
    frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 7]);
    frame.extend(destination);
    frame.extend([0, 68, 0, 67, 0, 8, 0, 0]);
    frame.resize(80, 0);
    frame
}

#[test]
fn whatever_is_for_the_router_is_filtered_and_nothing_else() {
    let mut bed = Bed::new();
    let drop_all = Filter { name: "all".to_owned(), rules: vec![], default: Action::Drop };
    bed.put(Some(&compiled(&drop_all)));
    let _armed = bed.arm();
    let (own, all, group) = (STATION.octets(), [0xff; 6], [1, 0, 0x5e, 0, 0, 1]);
    let (other, vrrp) = ([2, 0, 0, 0, 0, 7], [0, 0, 0x5e, 0, 1, 7]);
    for (mac, tags, destination, expected) in [
        (own, 0, [198, 51, 100, 1], Outcome::Filtered),
        (own, 2, [198, 51, 100, 1], Outcome::Filtered),
        (all, 0, [198, 51, 100, 1], Outcome::Filtered),
        (all, 0, [255; 4], Outcome::Filtered),
        // RFC 1122 3.2.1.3: as sources and destinations of hosts that have no address yet.
        (all, 0, [0; 4], Outcome::Filtered),
        // From an address it is martian, and the pipeline drops it.
        (own, 0, [0; 4], Outcome::Taken),
        (group, 0, [224, 0, 0, 1], Outcome::Filtered),
        // What follows the kernel forwards, or it is nobody's here.
        (group, 0, [239, 255, 255, 250], Outcome::Multicast),
        (own, 0, [203, 0, 113, 1], Outcome::Taken),
        (all, 0, [203, 0, 113, 1], Outcome::Multicast),
        (other, 0, [198, 51, 100, 1], Outcome::OtherHost),
        (vrrp, 0, [198, 51, 100, 1], Outcome::OtherHost),
        (own, 3, [198, 51, 100, 1], Outcome::NotIp),
    ] {
        for hook in HOOKS {
            let outcome = bed.outcome(hook, &udp(mac, tags, destination));
            assert_eq!(outcome, expected, "{hook:?}, {mac:x?}, {tags} tags, {destination:?}");
        }
    }
    let mut without_addresses = udp(own, 0, [0; 4]);
    without_addresses[26..30].fill(0);
    for hook in HOOKS {
        assert_eq!(bed.outcome(hook, &without_addresses), Outcome::Filtered, "{hook:?}");
    }
}

#[test]
fn what_only_a_worker_does_is_refused() {
    let refused = |change: fn(&mut Rule)| {
        let mut rule = rule(0, Match::default(), Action::Accept);
        change(&mut rule);
        filter_for_router([(&rule, 0)], (Action::Accept, 0), |_| None).err()
    };
    assert_eq!(refused(|_| ()), None);
    for (change, what) in [
        ((|rule| rule.condition.states.new = true) as fn(&mut Rule), NotForRouter::State),
        (|rule| rule.action = Action::Reject, NotForRouter::Reject),
        (
            |rule| rule.action = Action::Redirect("::1".parse().expect("it is one")),
            NotForRouter::Redirect,
        ),
        (|rule| rule.policer = Some(0), NotForRouter::Police),
        (|rule| rule.set_dscp = Some(0), NotForRouter::Dscp),
        (|rule| rule.set_class = Some(0), NotForRouter::Class),
        (|rule| rule.mirror_to = Some(PortId(0)), NotForRouter::Mirror),
        (|rule| rule.sample_one_in = 1, NotForRouter::Sample),
        (|rule| rule.log = true, NotForRouter::Log),
    ] {
        assert_eq!(refused(change), Some(what));
    }
    let default = filter_for_router([], (Action::Reject, 0), |_| None);
    assert_eq!(default.err(), Some(NotForRouter::Reject));
}
