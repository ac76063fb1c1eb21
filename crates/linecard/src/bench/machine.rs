//! The machine: what it is, how large its caches are, and a core of our own.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// What the figures were measured on.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    pub(super) cpu_model: String,
    pub(super) cores: usize,
    pub(super) l3_bytes: u64,
    pub(super) kernel: String,
    pub(super) tsc_hz: u64,
    pub(super) version: &'static str,
}

/// Taken where the machine does not say how large its last cache is.
const L3_BYTES_DEFAULT: u64 = 32 << 20;
/// Packet memory at the most, and of the memory that is available: half.
const MEMORY_BYTES_MAX: u64 = 4 << 30;
/// How often the headers of all packets fill the last-level cache, as a fraction: 5/4. The tables
/// come on top.
const WORKING_SET_CACHES: (u64, u64) = (5, 4);
/// A packet's headers, as the cache loads them.
pub(super) const LINE_BYTES: u64 = 64;
const FRAME_BYTES: u64 = 2048;

impl Machine {
    /// Looks at this one.
    pub(super) fn new(tsc_hz: f64) -> Self {
        let uname = rustix::system::uname();
        Self {
            cpu_model: cpu_model().unwrap_or_else(|| "unknown".to_owned()),
            cores: cores().len(),
            l3_bytes: l3_bytes().unwrap_or(L3_BYTES_DEFAULT),
            kernel: format!(
                "{} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy()
            ),
            tsc_hz: tsc_hz as u64,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Frames whose headers do not fit into the last cache, if memory allows it.
    pub(super) fn frames(&self) -> u32 {
        let wanted = self.l3_bytes * WORKING_SET_CACHES.0 / WORKING_SET_CACHES.1 / LINE_BYTES;
        let memory = available_bytes().map_or(MEMORY_BYTES_MAX, |bytes| bytes / 2);
        let affordable = memory.min(MEMORY_BYTES_MAX) / FRAME_BYTES;
        // A multiple of what all ports hand over in a round.
        (wanted.min(affordable).max(8192) / 1024 * 1024) as u32
    }
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Size of the last level that the first core has, from sysfs: `32768K`.
fn l3_bytes() -> Option<u64> {
    let size = |index: u32| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        let text = fs::read_to_string(path).ok()?;
        text.trim().strip_suffix('K')?.parse::<u64>().ok()
    };
    (0..8).filter_map(size).max().map(|kibibytes| kibibytes << 10)
}

fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The cores that this process may use, those first that the system uses least: the last ones.
pub(super) fn cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).rev().filter(|&core| set.is_set(core)).collect(),
        Err(_) => vec![0],
    }
}

/// Memory that is read until nothing else is left in the caches.
pub(super) struct Scrubber(Vec<u64>);

impl Scrubber {
    /// Reads `bytes` each time; none for 0.
    pub(super) fn new(bytes: u64) -> Self {
        Self(vec![1; bytes as usize / 8])
    }

    /// Reads them.
    pub(super) fn scrub(&self) {
        let lines = self.0.iter().step_by(LINE_BYTES as usize / 8);
        std::hint::black_box(lines.fold(0, |sum, word| sum ^ word));
    }
}

/// Keeps this thread on one core. The core is one that the process may use, so the kernel has no
/// reason to refuse; if it does, the figures only spread more.
pub(super) fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    let _ = sched_setaffinity(None, &cores);
}

/// Gives this process priority over others, as far as it may have it.
pub(super) fn take_priority() {
    const NICE: i32 = -10;
    // Without the privilege the figures only spread more.
    let _ = rustix::process::setpriority_process(None, NICE);
}
