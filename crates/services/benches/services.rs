//! Cycles a packet of the police and the source stage, over batches of 256 packets that are in the caches.
//!
//!     cargo bench -p linecard-services
//!
//! Each figure is the median over rounds with the least and the most, in cycles of the time stamp counter.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linecard_io::{MemoryConfig, PacketMemory};
use linecard_packet::{BATCH_PACKETS_MAX, Batch, InterfaceId, PortId, parse};
use linecard_services::police::{self, *};
use linecard_services::route::{
    Interface, Member, NextHop, NextHopGroupId, NextHopId, RouteCapacities, RouteTables,
    RouteUpdate,
};
use linecard_services::source::{self, *};
use linecard_tables::generator::Random;
use linecard_tables::meter::{Marker, ProfileOptions};
use linecard_tables::publication::Absorb;
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

const ROUNDS: usize = 21;
const BATCHES: usize = 64;
const ROUTES: u32 = 200_000;
const ROUTER: MacAddress = MacAddress::new([2, 0, 0, 0, 0, 1]);
const BATCH_NANOSECONDS: u64 = 25_600;

fn main() {
    // `cargo test --all-targets` runs this too, without the flag that `cargo bench` adds.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    let clock = quanta::Clock::new();
    let (start, first) = (Instant::now(), clock.raw());
    while start.elapsed() < Duration::from_millis(200) {}
    let hz = (clock.raw() - first) as f64 / start.elapsed().as_secs_f64();
    println!("time stamp counter: {:.3} GHz", hz / 1e9);
    let mut rig = Rig::new();
    for (workers, policers, by_source) in
        [(1, 1, false), (4, 1, false), (1, 1000, false), (4, 1000, false), (1, 1, true)]
    {
        rig.police(&clock, workers, policers, by_source);
    }
    rig.sources(&clock);
}

/// A batch of packets from random sources, and their memory.
struct Rig {
    batches: Vec<Batch>,
    memory: PacketMemory,
    routes: RouteTables,
}

impl Rig {
    fn new() -> Self {
        let frames = (BATCHES * BATCH_PACKETS_MAX) as u32;
        let config = MemoryConfig { frames, chunk_bytes: 2048 };
        let mut memory = PacketMemory::new(config).expect("room for the frames");
        let mut random = Random::new(1);
        let routes = routes(&mut random);
        let mut batches = Vec::new();
        for _ in 0..BATCHES {
            let mut batch = Batch::new();
            for _ in 0..BATCH_PACKETS_MAX {
                let source = 0x1400_0000 | random.next_u64() as u32 & 0x3fff_ffff;
                let header = Ipv4::new(source.into(), [99, 0, 0, 1].into());
                let link = PacketBuilder::new().ethernet(ROUTER, MacAddress::new([2; 6]));
                let packet = link.ipv4(header).udp(Udp::new(1, 2)).pad_to(60).build();
                let mut frame = memory.allocate().expect("a frame for each");
                assert!(memory.set_packet(&mut frame, &packet));
                batch.frames.push(frame);
            }
            batch.end_segment(PortId(0), 0);
            parse(&mut batch, &memory, |port| routes.station(port));
            batches.push(batch);
        }
        Self { batches, memory, routes }
    }

    /// Policers that let everything pass, packets to them at random.
    fn police(&mut self, clock: &quanta::Clock, workers: u32, policers: u32, by_source: bool) {
        let capacities = PoliceCapacities::default();
        let mut tables = PoliceTables::new(&capacities, workers);
        let prefixes = SourcePrefixes { ipv4_length: 24, ipv6_length: 56 };
        let policer = Policer {
            marker: Marker::SingleRate {
                committed_rate: 1_000_000_000_000,
                committed_burst: 8_000_000_000,
                excess_burst: 0,
            },
            options: ProfileOptions::default(),
            actions: [ColourAction::Pass, ColourAction::Pass, ColourAction::Drop],
            sources: by_source.then_some(prefixes),
        };
        for id in 0..policers {
            tables.absorb(&PoliceUpdate::SetPolicer {
                id: PolicerId(id),
                incarnation: NonZeroU32::MIN,
                policer,
                pool: Arc::default(),
            });
        }
        let (mut scratch, mut meters) = (PoliceScratch::new(), PolicerMeters::new(&capacities, 2));
        let mut stats = PoliceStats::new(capacities.policers_max);
        let mut random = Random::new(3);
        let ids: Vec<_> = (0..BATCHES * BATCH_PACKETS_MAX)
            .map(|_| PolicerId(random.below(policers as usize) as u32))
            .collect();
        let mut now = 0;
        let figure = measure(clock, || {
            for (batch, ids) in self.batches.iter_mut().zip(ids.chunks_exact(BATCH_PACKETS_MAX)) {
                now += BATCH_NANOSECONDS;
                for (place, id) in ids.iter().enumerate() {
                    scratch.push(place as u8, *id);
                }
                let memory = &mut self.memory;
                police::process(batch, memory, &tables, &mut scratch, &mut meters, &mut stats, now);
            }
        });
        let by = if by_source { "by source /24, 16,384 of them" } else { "by rule" };
        println!("police: {policers} policers {by}, {workers} workers: {figure}");
    }

    fn sources(&mut self, clock: &quanta::Clock) {
        let checks = [
            ("off", ReversePath::Off, MartianFilter::Off),
            ("strict", ReversePath::Strict, MartianFilter::Off),
            ("loose", ReversePath::Loose, MartianFilter::Off),
            ("martians", ReversePath::Off, MartianFilter::NotGlobal),
            ("strict and martians", ReversePath::Strict, MartianFilter::NotGlobal),
        ];
        for (name, reverse_path, martians) in checks {
            let mut tables = SourceTables::new(&SourceCapacities::default());
            let check = PortCheck { reverse_path, martians, feasible: None };
            tables.absorb(&SourceUpdate::SetPort(PortId(0), check));
            let (mut scratch, mut stats) = (SourceScratch::new(), SourceStats::new());
            let figure = measure(clock, || {
                for batch in &mut self.batches {
                    let (memory, routes) = (&self.memory, &self.routes);
                    source::process(batch, memory, &tables, routes, &mut scratch, &mut stats);
                    black_box(&batch.verdicts);
                }
            });
            println!("source: {name}, {ROUTES} routes: {figure}");
        }
    }
}

/// Random /24 and a default route, all by the port that packets come in on.
fn routes(random: &mut Random) -> RouteTables {
    let mut tables = RouteTables::new(&RouteCapacities::default());
    let interface = Interface {
        port: PortId(0),
        vlans: vec![],
        mac_address: ROUTER,
        mtu_bytes: 1500,
        up: true,
        forwarding_ipv4: true,
        forwarding_ipv6: true,
        own_ipv4: None,
        own_ipv6: None,
    };
    tables.absorb(&RouteUpdate::SetInterface(InterfaceId(0), interface));
    tables.absorb(&RouteUpdate::SetNextHop(NextHopId(0), NextHop::Connected(InterfaceId(0))));
    let member = Member { next_hop: NextHopId(0), weight: 1 };
    tables.absorb(&RouteUpdate::SetGroup(NextHopGroupId(1), vec![member]));
    let mut add = |address: u32, length| {
        let prefix = ipnet::Ipv4Net::new(address.into(), length).expect("a length of IPv4").trunc();
        tables.absorb(&RouteUpdate::SetRoute(prefix.into(), NextHopGroupId(1)));
    };
    add(0, 0);
    for _ in 0..ROUTES {
        add(0x1400_0000 | random.next_u64() as u32 & 0x3fff_ffff, 24);
    }
    tables
}

/// Cycles a packet of all batches.
fn measure(clock: &quanta::Clock, mut round: impl FnMut()) -> String {
    round();
    let mut cycles: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = clock.raw();
            round();
            (clock.raw() - start) as f64 / (BATCHES * BATCH_PACKETS_MAX) as f64
        })
        .collect();
    cycles.sort_by(f64::total_cmp);
    let [least, median, most] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| cycles[at]);
    format!("{median:.1} ({least:.1}–{most:.1}) cycles a packet")
}
