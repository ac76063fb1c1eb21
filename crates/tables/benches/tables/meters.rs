//! Three-colour markers: one meter for all packets, and one of many for each.

use std::hint::black_box;
use std::num::NonZeroU32;

use linecard_tables::generator::Random;
use linecard_tables::meter::{Colour, LeasedMeter, Marker, Meter, Pool, Profile, ProfileOptions};

use crate::measure;

const PACKETS: usize = 1 << 18;
const BATCH: usize = 256;
/// From one batch to the next: 256 packets at 10 Mpps.
const BATCH_NANOSECONDS: u64 = 25_600;
/// Threads that share the leased rates.
const THREADS: u32 = 4;

pub(crate) fn run(meter: &measure::Meter) {
    for count in [1, 100, 1000, 100_000] {
        for (name, marker) in markers() {
            let bench = Bench::new(count, &marker);
            meter.report(&format!("{name}, {count} meters"), bench.own(meter));
            if count <= 1000 {
                meter.report(&format!("{name}, {count} leased meters"), bench.leased(meter));
            }
        }
    }
}

/// Rates at which all colours occur when one meter gets all packets, and few red ones when many share.
fn markers() -> [(&'static str, Marker); 4] {
    let (committed_rate, committed_burst, excess_burst) = (10_000_000_000, 4_000_000, 4_000_000);
    [
        ("one bucket", Marker::SingleRate { committed_rate, committed_burst, excess_burst: 0 }),
        ("RFC 2697", Marker::SingleRate { committed_rate, committed_burst, excess_burst }),
        (
            "RFC 2698",
            Marker::TwoRate {
                committed_rate,
                committed_burst,
                peak_rate: 2 * committed_rate,
                peak_burst: excess_burst,
            },
        ),
        (
            "RFC 4115",
            Marker::TwoRateExcess {
                committed_rate,
                committed_burst,
                excess_rate: committed_rate,
                excess_burst,
            },
        ),
    ]
}

/// Packets to meters at random, and what they have to go by.
struct Bench {
    count: usize,
    profiles: Vec<Profile>,
    indexes: Vec<u32>,
    bytes: Vec<u16>,
}

impl Bench {
    fn new(count: usize, marker: &Marker) -> Self {
        let options = ProfileOptions::default();
        let profile =
            Profile::new(marker, options, NonZeroU32::MIN).expect("the marker is in range");
        let mut random = Random::new(9);
        let indexes = (0..PACKETS).map(|_| random.below(count) as u32).collect();
        let bytes = (0..PACKETS).map(|_| 40 + random.below(1461) as u16).collect();
        Self { count, profiles: vec![profile; count], indexes, bytes }
    }

    fn own(&self, meter: &measure::Meter) -> measure::Figure {
        let mut meters = vec![Meter::default(); self.count];
        let mut now = 0;
        let mut colours = [Colour::Green; BATCH];
        meter.rounds(PACKETS, || {
            let batches = self.indexes.chunks_exact(BATCH).zip(self.bytes.chunks_exact(BATCH));
            for (indexes, bytes) in batches {
                now += BATCH_NANOSECONDS;
                let profiles = &self.profiles;
                Meter::mark_bulk(&mut meters, profiles, now, indexes, bytes, &mut colours);
                black_box(&colours);
            }
        })
    }

    /// One of the threads, the others being idle.
    fn leased(&self, meter: &measure::Meter) -> measure::Figure {
        let mut meters = vec![LeasedMeter::default(); self.count];
        let pools: Vec<Pool> = (0..self.count).map(|_| Pool::new()).collect();
        let mut now = 0;
        let mut colours = [Colour::Green; BATCH];
        let figure = meter.rounds(PACKETS, || {
            let batches = self.indexes.chunks_exact(BATCH).zip(self.bytes.chunks_exact(BATCH));
            for (indexes, bytes) in batches {
                now += BATCH_NANOSECONDS;
                for ((&index, &bytes), colour) in indexes.iter().zip(bytes).zip(&mut colours) {
                    let at = index as usize;
                    let (profile, pool) = (&self.profiles[at], &pools[at]);
                    *colour = meters[at].mark(profile, pool, THREADS, now, bytes, Colour::Green);
                }
                black_box(&colours);
            }
        });
        let leases: u64 = meters.iter().map(|meter| u64::from(meter.leases())).sum();
        let packets = now / BATCH_NANOSECONDS * BATCH as u64;
        println!("  {:.4} leases a packet", leases as f64 / packets as f64);
        figure
    }
}
