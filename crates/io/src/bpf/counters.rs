//! Counters that programs write, each CPU its own, and how they are summed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::sys;

/// Counters that programs write, each CPU its own.
#[derive(Debug)]
pub struct PerCpuCounters {
    map: OwnedFd,
    counters: usize,
    cpus: usize,
}

impl PerCpuCounters {
    /// Creates an array map with one element, which holds `counters` values of 64 bits for each CPU.
    ///
    /// # Errors
    /// The kernel's; without `CAP_BPF` it is `PermissionDenied`.
    pub fn new(label: &str, counters: usize) -> io::Result<Self> {
        let bytes = counters as u32 * 8;
        let map = sys::map_create(label, sys::MAP_PERCPU_ARRAY, 4, bytes, 1, 0)?;
        Ok(Self { map, counters, cpus: possible_cpus()? })
    }

    /// The map, whose element has key 0.
    #[must_use]
    pub fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// The counters, each summed over the CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn totals(&self) -> io::Result<Vec<u64>> {
        let mut values = vec![0; self.cpus * self.counters * 8];
        sys::map_lookup(self.map(), &0_u32.to_ne_bytes(), &mut values)?;
        let mut totals = vec![0_u64; self.counters];
        for (place, value) in values.chunks_exact(8).enumerate() {
            let total = &mut totals[place % self.counters];
            *total = total.wrapping_add(number(value));
        }
        Ok(totals)
    }
}

/// A counter as the kernel hands it out.
pub(super) fn number(bytes: &[u8]) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(bytes);
    u64::from_ne_bytes(number)
}

/// CPUs that the kernel may ever have: the number of values in a per-CPU map's element.
///
/// # Errors
/// When `/sys/devices/system/cpu/possible` cannot be read or understood.
pub(crate) fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    // "0-63" or "0-3,8-11": the count is what is after the last number, plus one.
    text.trim()
        .rsplit([',', '-'])
        .next()
        .and_then(|last| last.parse::<usize>().ok())
        .map(|last| last + 1)
        .ok_or_else(|| io::Error::other(format!("possible CPUs: {text:?}")))
}
