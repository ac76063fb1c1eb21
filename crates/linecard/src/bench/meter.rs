//! Cycles, and instructions where the machine counts them.

use std::time::{Duration, Instant};

use perf_event::Builder;
use perf_event::Counter;
use perf_event::events::Hardware;

/// How long the counter's frequency is measured.
const CALIBRATION: Duration = Duration::from_millis(200);

/// Reads the time-stamp counter: `rdtsc` on x86-64, elsewhere the architecture's own counter.
///
/// On x86-64 it runs at a fixed rate, whatever the core's clock does, so "TSC cycles" are a unit of
/// time and comparable between machines of one rate only.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    clock: quanta::Clock,
    hz: f64,
}

impl Meter {
    /// Measures the counter's frequency against the system's clock; takes 0.2 s and more.
    pub(super) fn new() -> Self {
        let clock = quanta::Clock::new();
        let (start, first) = (Instant::now(), clock.raw());
        std::thread::sleep(CALIBRATION);
        let (elapsed, last) = (start.elapsed(), clock.raw());
        Self { clock, hz: (last - first) as f64 / elapsed.as_secs_f64() }
    }

    /// The counter now.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.clock.raw()
    }

    /// Steps of the counter a second.
    pub(super) fn hz(&self) -> f64 {
        self.hz
    }
}

/// Counts the instructions of this thread, in user space; nothing where the kernel or the processor
/// refuses, as in most virtual machines.
pub(super) struct Instructions(Option<Counter>);

impl Instructions {
    pub(super) fn new() -> Self {
        Self(Builder::new(Hardware::INSTRUCTIONS).build().ok())
    }

    /// Goes on counting.
    pub(super) fn resume(&mut self) {
        if let Some(counter) = &mut self.0
            && counter.enable().is_err()
        {
            self.0 = None;
        }
    }

    /// Stops counting until [`Self::resume`].
    pub(super) fn pause(&mut self) {
        if let Some(counter) = &mut self.0
            && counter.disable().is_err()
        {
            self.0 = None;
        }
    }

    /// What was counted so far. A count of 0 is a counter that never ran.
    pub(super) fn count(&mut self) -> Option<u64> {
        self.0.as_mut()?.read().ok().filter(|&count| count > 0)
    }
}

/// The middle of some numbers, and how far they spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// Median of the distances from the median.
    pub(super) mad: f64,
}

impl Spread {
    /// Of `values`, at least one.
    pub(super) fn of(values: &[f64]) -> Self {
        let median = median(values);
        let distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { median, min, max, mad: self::median(&distances) }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_of_the_middle() {
        let spread = Spread::of(&[9.0, 1.0, 2.0, 3.0, 100.0]);
        assert_eq!((spread.median, spread.min, spread.max, spread.mad), (3.0, 1.0, 100.0, 2.0));
        assert_eq!(Spread::of(&[1.0, 2.0]).median, 1.5);
    }

    #[test]
    fn the_counter_runs() {
        let meter = Meter::new();
        let before = meter.now();
        assert!(meter.now() >= before);
        assert!(meter.hz() > 1e6, "{} Hz", meter.hz());
    }
}
