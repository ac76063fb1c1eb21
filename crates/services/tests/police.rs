//! The police stage against its plain twin: the same policers and packets, then the same verdicts, the
//! same bytes and the same counts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{Batch, DropReason, InterfaceId, PortId, Station, Verdict, parse};
use linecard_services::police::twin::PoliceTwin;
use linecard_services::police::{
    ColourAction, PoliceCapacities, PoliceScratch, PoliceStats, PoliceTables, PoliceUpdate,
    Policer, PolicerId, PolicerMeters, PolicerTotals, Roster, SourcePrefixes, process,
};
use linecard_tables::meter::{ColourMode, Marker, ProfileOptions, Unit};
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, Ipv6, PacketBuilder, Udp};
use linecard_wire::{ipv4, ipv6};
use proptest::prelude::*;

const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const SENDER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 2]);
const POLICERS_MAX: u32 = 4;
const CAPACITIES: PoliceCapacities =
    PoliceCapacities { policers_max: POLICERS_MAX, sources_max: 1024 };

/// A packet to police: where it comes in, its source and DSCP, and its payload.
#[derive(Debug, Clone)]
struct Offer {
    port: u16,
    source: IpAddr,
    dscp: u8,
    payload_bytes: usize,
    /// A rule brings it to this policer, before its port does.
    rule: Option<u32>,
}

impl Offer {
    fn packet(&self) -> Vec<u8> {
        let link = PacketBuilder::new().ethernet(ROUTER, SENDER);
        let network = match self.source {
            IpAddr::V4(source) => {
                let ipv4 = Ipv4::new(source, [198, 51, 100, 1].into());
                link.ipv4(Ipv4 { dscp: self.dscp, ..ipv4 })
            }
            IpAddr::V6(source) => {
                let ipv6 = Ipv6::new(source, "2001:db8:ff::1".parse().expect("an address"));
                link.ipv6(Ipv6 { dscp: self.dscp, ..ipv6 })
            }
        };
        network.udp(Udp::new(1, 2)).payload(&vec![7; self.payload_bytes]).build()
    }

    fn length(&self) -> u16 {
        self.payload_bytes as u16 + 8 + if self.source.is_ipv4() { 20 } else { 40 }
    }
}

/// A worker's part of the service.
struct Rig {
    batch: Batch,
    memory: PacketMemory,
    tables: PoliceTables,
    scratch: PoliceScratch,
    meters: PolicerMeters,
    stats: PoliceStats,
}

impl Rig {
    fn new(capacities: &PoliceCapacities, workers: u32) -> Self {
        let config = MemoryConfig { frames: 256, chunk_bytes: 2048 };
        Self {
            batch: Batch::new(),
            memory: PacketMemory::new(config).expect("room for 256 frames"),
            tables: PoliceTables::new(capacities, workers),
            scratch: PoliceScratch::new(),
            meters: PolicerMeters::new(capacities, 1),
            stats: PoliceStats::new(capacities.policers_max),
        }
    }

    /// Polices a batch; returns each packet's verdict and DSCP.
    fn police(&mut self, now: u64, offers: &[Offer]) -> Vec<(Verdict, u8)> {
        for offer in offers {
            let mut frame = self.memory.allocate().expect("a batch fits");
            assert!(self.memory.set_packet(&mut frame, &offer.packet()));
            self.batch.frames.push(frame);
            self.batch.end_segment(PortId(offer.port), 0);
        }
        let station = Station::new(InterfaceId(0), ROUTER, true, true);
        parse(&mut self.batch, &self.memory, |_| station);
        for (place, offer) in offers.iter().enumerate() {
            if let Some(policer) = offer.rule {
                assert!(self.scratch.push(place as u8, PolicerId(policer)));
            }
        }
        self.scratch.gather_ports(&self.batch, &self.tables);
        process(
            &mut self.batch,
            &mut self.memory,
            &self.tables,
            &mut self.scratch,
            &mut self.meters,
            &mut self.stats,
            now,
        );
        assert!(self.scratch.is_empty());
        let verdicts = self.batch.verdicts.clone();
        let frames: Vec<_> = self.batch.drain().collect();
        let mut results = Vec::new();
        for (frame, verdict) in frames.into_iter().zip(verdicts) {
            results.push((verdict, dscp(self.memory.packet(&frame))));
            self.memory.free(frame);
        }
        results
    }

    fn totals(&self, policer: u32, incarnation: u32) -> PolicerTotals {
        self.stats.reader().totals(PolicerId(policer), incarnation)
    }
}

/// The DSCP, of a packet whose header is whole.
fn dscp(packet: &[u8]) -> u8 {
    match ipv4::Packet::new(&packet[14..]) {
        Ok(packet) => {
            assert!(packet.verify_checksum());
            packet.dscp()
        }
        Err(_) => ipv6::Packet::new(&packet[14..]).expect("it was built so").dscp(),
    }
}

/// What the twin makes of a batch: first all that rules bring, then what ports do.
fn expected(twin: &mut PoliceTwin, now: u64, offers: &[Offer]) -> Vec<(Verdict, u8)> {
    let mut results: Vec<_> = offers.iter().map(|it| (Verdict::Undecided, it.dscp)).collect();
    let rules = offers.iter().map(|offer| offer.rule);
    let ports = offers.iter().map(|offer| twin.port(PortId(offer.port)));
    let brought: Vec<_> = rules.chain(ports).collect();
    for (at, policer) in brought.into_iter().enumerate() {
        let (offer, (verdict, dscp)) =
            (&offers[at % offers.len()], &mut results[at % offers.len()]);
        let Some(policer) = policer.filter(|_| verdict.is_undecided()) else { continue };
        let policer = twin.of_port(policer, PortId(offer.port));
        match twin.police(policer, now, offer.length(), offer.source, *dscp) {
            ColourAction::Pass => {}
            ColourAction::Mark(mark) => *dscp = mark,
            ColourAction::Drop => *verdict = Verdict::Drop(DropReason::Policed),
        }
    }
    results
}

fn offer() -> impl Strategy<Value = Offer> {
    let source = prop_oneof![
        (0..3u8, 0..3u8).prop_map(|(a, b)| IpAddr::from([10, 0, a, b])),
        (0..3u16, 0..3u16).prop_map(|(a, b)| IpAddr::from([0x2001, 0xdb8, 0, a, b, 0, 0, 1])),
    ];
    // AF11 to AF13, best effort, and a class selector.
    let dscp = prop::sample::select(vec![10, 12, 14, 0, 8]);
    let rule = prop::option::of(0..POLICERS_MAX + 1);
    (0..3u16, source, dscp, 4..1200usize, rule).prop_map(
        |(port, source, dscp, payload_bytes, rule)| Offer {
            port,
            source,
            dscp,
            payload_bytes,
            rule,
        },
    )
}

fn policer() -> impl Strategy<Value = Policer> {
    let rate = || prop::sample::select(vec![0, 64_000, 8_000_000, 1_000_000_000]);
    let burst = || 1..60_000u64;
    let marker = (rate(), burst(), rate(), burst(), 0..3).prop_map(
        |(committed_rate, committed_burst, second, excess_burst, kind)| match kind {
            0 => Marker::SingleRate { committed_rate, committed_burst, excess_burst },
            1 => Marker::TwoRate {
                committed_rate,
                committed_burst,
                peak_rate: second.max(committed_rate),
                peak_burst: excess_burst,
            },
            _ => Marker::TwoRateExcess {
                committed_rate,
                committed_burst,
                excess_rate: second,
                excess_burst,
            },
        },
    );
    let action = || {
        prop::sample::select(vec![
            ColourAction::Pass,
            ColourAction::Mark(12),
            ColourAction::Mark(0),
            ColourAction::Drop,
        ])
    };
    let prefixes = (0..34u8, 0..70u8)
        .prop_map(|(ipv4_length, ipv6_length)| SourcePrefixes { ipv4_length, ipv6_length });
    let options = (any::<bool>(), any::<bool>(), 0..40u8).prop_map(|(packets, aware, overhead)| {
        ProfileOptions {
            unit: if packets { Unit::Packets } else { Unit::Bits },
            colour_mode: if aware { ColourMode::Aware } else { ColourMode::Blind },
            overhead_bytes: overhead,
        }
    });
    let actions = [action(), action(), action()];
    (marker, options, actions, prop::option::of(prefixes)).prop_map(
        |(marker, options, actions, sources)| Policer { marker, options, actions, sources },
    )
}

#[derive(Debug, Clone)]
enum Step {
    /// After so many nanoseconds, a batch.
    Batch(u64, Vec<Offer>),
    /// These are the policers from now on.
    Enrol(BTreeMap<String, Policer>),
    Port(u16, Option<u32>),
    ByPort(u32, Vec<u32>),
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned);
    let pause = prop_oneof![0..1000u64, 0..100_000_000u64];
    prop_oneof![
        6 => (pause, prop::collection::vec(offer(), 1..40)).prop_map(|(p, o)| Step::Batch(p, o)),
        2 => prop::collection::btree_map(name, policer(), 0..5).prop_map(Step::Enrol),
        2 => (0..3u16, prop::option::of(0..POLICERS_MAX)).prop_map(|(p, id)| Step::Port(p, id)),
        1 => (0..POLICERS_MAX, prop::collection::vec(0..POLICERS_MAX, 0..4))
            .prop_map(|(id, of_ports)| Step::ByPort(id, of_ports)),
    ]
}

#[test]
fn what_there_is_no_room_for_passes_and_is_counted() {
    let mut rig = Rig::new(&CAPACITIES, 1);
    let room = (0..).take_while(|_| rig.scratch.push(0, PolicerId(1))).count();
    assert_eq!(room, 4 * linecard_packet::BATCH_PACKETS_MAX);
    assert!(!rig.scratch.push(0, PolicerId(0)));
    let source = [192, 0, 2, 1].into();
    let offer = Offer { port: 0, source, dscp: 0, payload_bytes: 1, rule: None };
    assert_eq!(rig.police(0, &[offer]), [(Verdict::Undecided, 0)]);
    assert_eq!(rig.stats.reader().unmetered(), 2);
    assert!(rig.scratch.push(0, PolicerId(0)), "the next batch has room");
}

proptest! {
    #[test]
    fn stage_and_twin_agree(steps in prop::collection::vec(step(), 1..40)) {
        let mut rig = Rig::new(&CAPACITIES, 1);
        let (mut twin, mut roster) = (PoliceTwin::new(), Roster::new(POLICERS_MAX));
        let mut now = 0;
        for step in &steps {
            let updates = match step {
                Step::Batch(pause, offers) => {
                    now += pause;
                    let results = rig.police(now, offers);
                    prop_assert_eq!(results, expected(&mut twin, now, offers));
                    continue;
                }
                Step::Enrol(wanted) => {
                    roster.enrol(wanted).expect("four names, four slots").all()
                }
                Step::Port(port, id) => vec![PoliceUpdate::SetPort(PortId(*port), id.map(PolicerId))],
                Step::ByPort(id, of_ports) => {
                    let of_ports = of_ports.iter().copied().map(PolicerId).collect();
                    vec![PoliceUpdate::SetByPort(PolicerId(*id), of_ports)]
                }
            };
            for update in &updates {
                rig.tables.absorb(update);
                twin.apply(update);
            }
        }
        prop_assert_eq!(rig.tables.refused_updates(), 0);
        prop_assert_eq!(rig.stats.reader().sources_refused(), 0);
        for (_, enrolled) in roster.iter() {
            let id = enrolled.id.0;
            prop_assert_eq!(rig.totals(id, enrolled.incarnation.get()), twin.totals(id));
        }
    }
}

/// 8 Mb/s with a burst of 10,000 bytes: red is dropped.
fn plain(sources: Option<SourcePrefixes>) -> Policer {
    Policer {
        marker: Marker::SingleRate {
            committed_rate: 8_000_000,
            committed_burst: 80_000,
            excess_burst: 0,
        },
        options: ProfileOptions::default(),
        actions: [ColourAction::Pass, ColourAction::Pass, ColourAction::Drop],
        sources,
    }
}

fn set(id: u32, policer: Policer) -> PoliceUpdate {
    PoliceUpdate::SetPolicer {
        id: PolicerId(id),
        incarnation: std::num::NonZeroU32::MIN,
        policer,
        pool: std::sync::Arc::default(),
    }
}

/// 1,000 bytes with headers.
fn thousand(source: [u8; 4]) -> Offer {
    let offer =
        Offer { port: 0, source: source.into(), dscp: 0, payload_bytes: 972, rule: Some(0) };
    assert_eq!(offer.length(), 1000);
    offer
}

#[test]
fn workers_that_share_a_policer_keep_its_rate() {
    let update = set(0, plain(None));
    let mut workers: Vec<_> = (0..4).map(|_| Rig::new(&CAPACITIES, 4)).collect();
    for worker in &mut workers {
        worker.tables.absorb(&update);
    }
    // Four times the rate for a second: a packet each millisecond and worker.
    for millisecond in 0..1000 {
        for worker in &mut workers {
            worker.police(millisecond * 1_000_000, &[thousand([10, 0, 0, 1])]);
        }
    }
    let mut totals = PolicerTotals::default();
    for worker in &workers {
        totals += worker.totals(0, 1);
    }
    assert_eq!(totals.packets.iter().sum::<u64>(), 4000);
    assert_eq!(totals.bytes, totals.packets.map(|packets| packets * 1000));
    assert!((990..=1010).contains(&totals.packets[0]), "{totals:?}");
}

#[test]
fn each_source_has_a_rate_of_its_own_until_there_are_too_many() {
    let capacities = PoliceCapacities { sources_max: 4, ..CAPACITIES };
    let mut rig = Rig::new(&capacities, 1);
    let prefixes = SourcePrefixes { ipv4_length: 24, ipv6_length: 56 };
    rig.tables.absorb(&set(0, plain(Some(prefixes))));
    let passed = |results: Vec<(Verdict, u8)>| {
        results.iter().filter(|(verdict, _)| verdict.is_undecided()).count()
    };
    let offers =
        |network: u8| -> Vec<_> { (0..20).map(|host| thousand([10, 0, network, host])).collect() };
    for network in 0..4 {
        assert_eq!(passed(rig.police(0, &offers(network))), 10, "network {network} has its burst");
    }
    // One meter for all others.
    assert_eq!(passed(rig.police(0, &offers(4))), 10);
    assert_eq!(passed(rig.police(0, &offers(5))), 0);
    assert_eq!(rig.stats.reader().sources_refused(), 40);
    // After 10 ms the first four owe nothing any more, and others may have their places.
    assert_eq!(passed(rig.police(10_000_000, &offers(6))), 10);
    assert_eq!(rig.stats.reader().sources_refused(), 40);
}

#[test]
fn what_is_decided_already_is_not_metered() {
    let mut rig = Rig::new(&CAPACITIES, 1);
    rig.tables.absorb(&set(0, plain(None)));
    rig.tables.absorb(&set(POLICERS_MAX, plain(None)));
    assert_eq!(rig.tables.refused_updates(), 1, "there is no such slot");
    let loopback = thousand([127, 0, 0, 1]);
    let results = rig.police(0, &[loopback]);
    assert_eq!(results[0].0, Verdict::Drop(DropReason::MartianSource));
    assert_eq!(rig.totals(0, 1), PolicerTotals::default());
}
