//! Both families behind publication: loading, memory of both copies, and what updates cost the worker
//! that looks up meanwhile.
//!
//! A worker looks up batches of 256 IPv4 addresses, drawn evenly from all routes, as fast as it can while
//! the writer is idle, then while it applies a million updates a second, then as many as it can; in turns,
//! so that whatever else the machine does falls on all three. An update removes a route or puts it back.
//!
//! Once it does nothing but look up, and once it does with each packet about what a router does: it
//! reads the destination from a frame, looks it up, hashes the flow, picks a member of the next-hop group
//! and writes the link-layer header.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use linecard_tables::generator::addresses_within;
use linecard_tables::hash::{FlowHash, FlowIpv4};
use linecard_tables::lpm::{Lpm, LpmImplementation, NO_ROUTE, Prefix};
use linecard_tables::next_hop::NextHopGroups;
use linecard_tables::publication::{Absorb, Publish, Reader, Writer};

use crate::prefixes::Prefixes;

const BATCH: usize = 256;
const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(600);
const UPDATES_PER_SECOND: f64 = 1e6;
/// Time between two publications.
const INTERVALS_MS: [u64; 2] = [10, 50];

/// A value of [`NO_ROUTE`] removes the prefix.
enum Update {
    Ipv4(Prefix<u32>, u32),
    Ipv6(Prefix<u128>, u32),
}

struct Routes {
    ipv4: Lpm<u32>,
    ipv6: Lpm<u128>,
}

impl Routes {
    fn new() -> Self {
        let multibit = LpmImplementation::Multibit;
        Self { ipv4: Lpm::new(multibit, 2_000_000), ipv6: Lpm::new(multibit, 500_000) }
    }
}

impl Absorb<Update> for Routes {
    fn absorb(&mut self, update: &Update) {
        match update {
            Update::Ipv4(prefix, value) => self.ipv4.insert(*prefix, *value),
            Update::Ipv6(prefix, value) => self.ipv6.insert(*prefix, *value),
        }
        .expect("the capacity is larger than the table");
    }

    fn prepare(&self, update: &Update, step: usize) {
        match update {
            Update::Ipv4(prefix, _) => self.ipv4.prepare(*prefix, step),
            Update::Ipv6(prefix, _) => self.ipv6.prepare(*prefix, step),
        }
    }
}

pub(crate) fn run(prefixes: &Prefixes) {
    println!("\nUpdates: {} IPv4 and {} IPv6 routes", prefixes.ipv4.len(), prefixes.ipv6.len());
    let mut writer = load(prefixes);
    for interval_ms in INTERVALS_MS {
        let interval = Duration::from_millis(interval_ms);
        compete(&mut writer, prefixes, interval, "lookups", |lookups| lookups);
        compete(&mut writer, prefixes, interval, "packets", Packets::new);
    }
}

fn load(prefixes: &Prefixes) -> Writer<Routes, Update> {
    let mut writer = Writer::new(Routes::new(), Routes::new());
    let start = Instant::now();
    let ipv4 = prefixes.ipv4.iter().zip(1..).map(|(prefix, value)| Update::Ipv4(*prefix, value));
    let ipv6 = prefixes.ipv6.iter().zip(1..).map(|(prefix, value)| Update::Ipv6(*prefix, value));
    ipv4.chain(ipv6).for_each(|update| writer.append(update));
    assert_eq!(writer.publish(), Publish::Published);
    let published = start.elapsed();
    assert_eq!(writer.settle(), Publish::Published);
    println!(
        "loading, random order: readers have it after {:.2} s, both copies after {:.2} s",
        published.as_secs_f64(),
        start.elapsed().as_secs_f64()
    );
    let table = writer.published();
    let bytes = 2 * (table.ipv4.memory_bytes() + table.ipv6.memory_bytes());
    println!("memory, both copies and families: {:.1} MiB", bytes as f64 / 1048576.0);
    writer
}

/// What a worker does with each batch.
trait Work {
    fn batch(&mut self, routes: &Lpm<u32>);
}

/// Looks up and nothing else.
struct Lookups<'a> {
    addresses: std::iter::Cycle<std::slice::ChunksExact<'a, u32>>,
    values: [u32; BATCH],
}

impl Work for Lookups<'_> {
    fn batch(&mut self, routes: &Lpm<u32>) {
        let addresses = self.addresses.next().expect("it goes round");
        routes.lookup_bulk(addresses, &mut self.values);
        black_box(&self.values);
    }
}

/// Frames in the packet memory, as many as a port's ring and the batches under way take.
const FRAMES: usize = 4096;
const FRAME_BYTES: usize = 2048;
const GROUPS: usize = 4096;

/// Forwards a packet, but for what ports and counters cost.
struct Packets<'a> {
    lookups: Lookups<'a>,
    frames: Vec<u8>,
    next_frame: usize,
    hash: FlowHash,
    groups: NextHopGroups,
}

impl<'a> Packets<'a> {
    fn new(lookups: Lookups<'a>) -> Self {
        let mut groups = NextHopGroups::new(GROUPS as u32);
        for id in 0..GROUPS as u32 {
            groups.set(id, &[(id, 1), (id + 1, 1)]).expect("two members fit");
        }
        let frames = vec![0; FRAMES * FRAME_BYTES];
        Self { lookups, frames, next_frame: 0, hash: FlowHash::new(7), groups }
    }
}

impl Work for Packets<'_> {
    fn batch(&mut self, routes: &Lpm<u32>) {
        let addresses = self.lookups.addresses.next().expect("it goes round");
        let first = self.next_frame;
        self.next_frame = (first + BATCH) % FRAMES;
        let frames = &mut self.frames[first * FRAME_BYTES..][..BATCH * FRAME_BYTES];
        let mut destinations = [0; BATCH];
        let columns = frames.chunks_exact_mut(FRAME_BYTES).zip(addresses).zip(&mut destinations);
        for ((frame, address), destination) in columns {
            // The generator's part: a fresh header.
            frame[30..34].copy_from_slice(&address.to_be_bytes());
            *destination = u32::from_be_bytes(frame[30..34].try_into().expect("four bytes"));
        }
        routes.lookup_bulk(&destinations, &mut self.lookups.values);
        let columns = frames.chunks_exact_mut(FRAME_BYTES).zip(&destinations);
        for ((frame, destination), group) in columns.zip(&self.lookups.values) {
            let flow = FlowIpv4 { destination: *destination, source: 7, ..FlowIpv4::default() };
            let group = group % GROUPS as u32;
            let next_hop = self.groups.select(group, self.hash.ipv4(&flow));
            frame[..4].copy_from_slice(&next_hop.to_be_bytes());
            frame[6..14].copy_from_slice(&[2; 8]);
            frame[22] = frame[22].wrapping_sub(1);
        }
    }
}

/// Batches a second until told to stop.
fn work(mut reader: Reader<Routes>, mut work: impl Work, stop: &AtomicBool) -> f64 {
    let (start, mut batches) = (Instant::now(), 0u64);
    while !stop.load(Ordering::Relaxed) {
        reader.refresh();
        work.batch(&reader.get().ipv4);
        batches += 1;
    }
    batches as f64 / start.elapsed().as_secs_f64()
}

/// Updates that go round: every route is removed, then put back, a hundred at a time.
struct Flaps<'a> {
    routes: &'a [Prefix<u32>],
    at: usize,
}

impl Iterator for Flaps<'_> {
    type Item = Update;

    fn next(&mut self) -> Option<Update> {
        let (round, number) = (self.at / 200 * 100, self.at % 200);
        let route = (round + number % 100) % self.routes.len();
        let value = if number < 100 { NO_ROUTE } else { route as u32 + 1 };
        self.at += 1;
        Some(Update::Ipv4(self.routes[route], value))
    }
}

fn compete<'a, W: Work + Send>(
    writer: &mut Writer<Routes, Update>,
    prefixes: &'a Prefixes,
    interval: Duration,
    unit: &str,
    of: impl Fn(Lookups<'a>) -> W,
) {
    let addresses = addresses_within(&prefixes.ipv4, 1, 1 << 20).leak();
    let mut flaps = Flaps { routes: &prefixes.ipv4, at: 0 };
    let rates = [None, Some(UPDATES_PER_SECOND), Some(f64::INFINITY)];
    let (mut lookups, mut updates) = ([const { Vec::new() }; 3], [0.0; 3]);
    for _ in 0..TURNS {
        for (at, rate) in rates.iter().enumerate() {
            let stop = AtomicBool::new(false);
            thread::scope(|scope| {
                let reader = writer.reader();
                let addresses = addresses.chunks_exact(BATCH).cycle();
                let kind = of(Lookups { addresses, values: [0; BATCH] });
                let stop = &stop;
                let worker = scope.spawn(move || work(reader, kind, stop));
                updates[at] += turn(writer, &mut flaps, *rate, interval) / TURNS as f64;
                stop.store(true, Ordering::Relaxed);
                let batches = worker.join().expect("a worker does not panic");
                lookups[at].push(batches * BATCH as f64 / 1e6);
            });
        }
    }
    println!("published every {} ms, {unit}:", interval.as_millis());
    let median = |lookups: &mut Vec<f64>| {
        lookups.sort_by(f64::total_cmp);
        lookups[lookups.len() / 2]
    };
    let idle = median(&mut lookups[0]);
    for (lookups, updates) in lookups.iter_mut().zip(updates) {
        let now = median(lookups);
        let (least, most) = (lookups[0], lookups[lookups.len() - 1]);
        println!(
            "  {:>5.2} M updates/s: worker {now:>6.1} M {unit}/s ({least:.1}–{most:.1}), {:+.1} %",
            updates / 1e6,
            (now / idle - 1.0) * 100.0
        );
    }
}

/// Updates at a rate for one turn; returns how many a second were published.
fn turn(
    writer: &mut Writer<Routes, Update>,
    flaps: &mut Flaps<'_>,
    rate: Option<f64>,
    interval: Duration,
) -> f64 {
    let start = Instant::now();
    let mut published = 0.0;
    let mut next = start + interval;
    while start.elapsed() < TURN {
        let reached = (start.elapsed() + interval).as_secs_f64();
        let due = rate.map_or(0.0, |rate| reached * rate - published);
        // As many as can be applied in an interval, roughly; the rest comes with the next.
        let count = due.min(interval.as_secs_f64() * 4e6);
        flaps.take(count as usize).for_each(|update| writer.append(update));
        while writer.publish() == Publish::Busy {
            std::hint::spin_loop();
        }
        published += count.floor();
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += interval;
    }
    published / start.elapsed().as_secs_f64()
}
