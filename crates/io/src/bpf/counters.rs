//! Counters that programs write, each CPU its own, and how they are summed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::sys;

/// Counters that programs write, each CPU its own, in one or more elements of a map.
#[derive(Debug)]
pub struct PerCpuCounters {
    map: OwnedFd,
    /// Of each element.
    counters: usize,
    cpus: usize,
}

impl PerCpuCounters {
    /// Creates an array map with one element, which holds `counters` values of 64 bits for each CPU.
    ///
    /// # Errors
    /// The kernel's; without `CAP_BPF` it is `PermissionDenied`.
    pub fn new(label: &str, counters: usize) -> io::Result<Self> {
        Self::with_elements(label, 1, counters)
    }

    /// The same with `elements` of them, by numbers from 0.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub(crate) fn with_elements(label: &str, elements: u32, counters: usize) -> io::Result<Self> {
        let bytes = counters as u32 * 8;
        let map = sys::map_create(label, sys::MAP_PERCPU_ARRAY, 4, bytes, elements, 0)?;
        Ok(Self { map, counters, cpus: possible_cpus()? })
    }

    /// The map, from the number of an element to its counters.
    #[must_use]
    pub fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// The counters of the first element, each summed over the CPUs.
    ///
    /// # Errors
    /// The kernel's.
    pub fn totals(&self) -> io::Result<Vec<u64>> {
        self.totals_of(0)
    }

    /// Those of any element.
    ///
    /// # Errors
    /// The kernel's: `ENOENT` for an element that there is not.
    pub(crate) fn totals_of(&self, element: u32) -> io::Result<Vec<u64>> {
        let mut values = vec![0; self.cpus * self.counters * 8];
        sys::map_lookup(self.map(), &element.to_ne_bytes(), &mut values)?;
        let mut totals = vec![0_u64; self.counters];
        for (place, value) in values.as_chunks().0.iter().enumerate() {
            let total = &mut totals[place % self.counters];
            *total = total.wrapping_add(u64::from_ne_bytes(*value));
        }
        Ok(totals)
    }
}

/// At least as many as the CPUs that the kernel may ever have, which is the number of values in a per-CPU map's
/// element. Where their numbers have gaps it is more, and the kernel leaves the values behind its own as they
/// were: 0.
///
/// # Errors
/// When `/sys/devices/system/cpu/possible` cannot be read or understood.
fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    // "0-63" or "0-3,8-11": the count is what is after the last number, plus one.
    text.trim()
        .rsplit([',', '-'])
        .next()
        .and_then(|last| last.parse::<usize>().ok())
        .map(|last| last + 1)
        .ok_or_else(|| io::Error::other(format!("possible CPUs: {text:?}")))
}
