//! Rounds, medians, and what is left of the caches.

use std::hint::black_box;
use std::time::{Duration, Instant};

use linecard_tables::generator::Random;

/// Rounds a figure: odd, so that there is a median.
const ROUNDS: usize = 9;
/// Bytes that are read to empty the caches: more than the last level of most has.
const SWEEP_BYTES: usize = 96 << 20;
/// What a worker does between two batches is stood for by so many lines that are written, in random
/// places of packet memory: two for each of the packets of four batches.
const LINES_BETWEEN: usize = 2048;
const PACKET_MEMORY_BYTES: usize = 32 << 20;

/// Cycles an operation over the rounds.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl std::fmt::Display for Figure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.1} ({:.1}–{:.1})", self.median, self.least, self.most)
    }
}

/// Reads the time stamp counter.
pub(crate) struct Meter {
    clock: quanta::Clock,
    hz: f64,
    sweep: Vec<u64>,
}

impl Meter {
    pub(crate) fn new() -> Self {
        let clock = quanta::Clock::new();
        let (start, first) = (Instant::now(), clock.raw());
        while start.elapsed() < Duration::from_millis(200) {}
        let hz = (clock.raw() - first) as f64 / start.elapsed().as_secs_f64();
        Self { clock, hz, sweep: vec![1; SWEEP_BYTES / 8] }
    }

    /// Steps of the counter a second.
    pub(crate) fn hz(&self) -> f64 {
        self.hz
    }

    /// The counter now.
    pub(crate) fn now(&self) -> u64 {
        self.clock.raw()
    }

    /// Measures rounds of so many operations, after one that is not measured.
    pub(crate) fn rounds(&self, operations: usize, mut round: impl FnMut()) -> Figure {
        round();
        let mut cycles: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let start = self.now();
                round();
                (self.now() - start) as f64 / operations as f64
            })
            .collect();
        summary(&mut cycles)
    }

    /// Measures each of `parts` on its own, with the caches emptied before.
    pub(crate) fn cold<T>(
        &self,
        operations: usize,
        parts: &[T],
        mut part: impl FnMut(&T),
    ) -> Figure {
        let one = |item| {
            black_box(self.sweep.iter().sum::<u64>());
            let start = self.now();
            part(item);
            (self.now() - start) as f64 / operations as f64
        };
        summary(&mut parts.iter().map(one).collect::<Vec<_>>())
    }

    /// Measures each of `parts` right after a worker's other work has taken its part of the caches, and
    /// sums them up; the median of the rounds.
    pub(crate) fn between<T>(
        &self,
        operations: usize,
        parts: &[T],
        mut part: impl FnMut(&T),
    ) -> Figure {
        let mut random = Random::new(7);
        let mut packets = vec![0u64; PACKET_MEMORY_BYTES / 8];
        let mut round = || {
            let mut cycles = 0;
            for item in parts {
                for _ in 0..LINES_BETWEEN {
                    let at = random.below(packets.len());
                    packets[at] += 1;
                }
                let start = self.now();
                part(item);
                cycles += self.now() - start;
            }
            cycles as f64 / (operations * parts.len()) as f64
        };
        summary(&mut (0..ROUNDS).map(|_| round()).collect::<Vec<_>>())
    }

    /// One line: cycles with their spread, and nanoseconds.
    pub(crate) fn report(&self, what: &str, figure: Figure) {
        println!("{what:<44} {figure:>24} cycles {:>9.1} ns", self.nanoseconds(figure.median));
    }

    pub(crate) fn nanoseconds(&self, cycles: f64) -> f64 {
        cycles / self.hz * 1e9
    }
}

fn summary(cycles: &mut [f64]) -> Figure {
    cycles.sort_by(f64::total_cmp);
    Figure { median: cycles[cycles.len() / 2], least: cycles[0], most: cycles[cycles.len() - 1] }
}
