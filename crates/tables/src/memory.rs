//! What tables need of the machine beyond the language: prefetching, huge pages, and instructions of
//! the processor that is there. The only unsafe code of this crate.
//!
//! A release build is for any x86-64 or AArch64. [`Instructions::detect`] finds out at set-up what
//! more the processor can do, and [`Instructions::run`] runs a [`Kernel`] compiled for it:
//!
//! ```
//! use linecard_tables::memory::{Instructions, Kernel};
//!
//! /// Counts the bits of all words: one instruction each where the processor has it.
//! struct CountOnes<'a>(&'a [u64]);
//!
//! impl Kernel for CountOnes<'_> {
//!     type Output = u32;
//!
//!     #[inline(always)]
//!     fn run(self) -> u32 {
//!         self.0.iter().map(|word| word.count_ones()).sum()
//!     }
//! }
//!
//! let best = Instructions::detect();
//! assert_eq!(best.run(CountOnes(&[1, 3, 7])), Instructions::portable().run(CountOnes(&[1, 3, 7])));
//! ```
//!
//! A kernel is plain safe Rust. It must be `#[inline(always)]`, and so must what it calls: code that is
//! not inlined stays compiled for the portable set.
#![allow(unsafe_code, reason = "prefetch and target features have no safe form")]

use std::fmt;
use std::mem::MaybeUninit;

/// Asks for the cache line of `value` to be fetched for reading; of a larger value, the first line.
///
/// A hint: it changes nothing but time, and where there is no such instruction it is nothing.
#[inline(always)]
pub fn prefetch_read<T>(value: &T) {
    hint_read(value);
}

/// [`prefetch_read`] of item `index` of `items`. An index beyond the end is harmless.
#[inline(always)]
pub fn prefetch_index<T>(items: &[T], index: usize) {
    hint_read(items.as_ptr().wrapping_add(index));
}

/// Asks for the cache line of `value` to be fetched for writing; else as [`prefetch_read`].
#[inline(always)]
pub fn prefetch_write<T>(value: &mut T) {
    hint_write(value);
}

/// [`prefetch_write`] of item `index` of `items`. An index beyond the end is harmless.
#[inline(always)]
pub fn prefetch_index_write<T>(items: &mut [T], index: usize) {
    hint_write(items.as_ptr().wrapping_add(index));
}

#[inline(always)]
fn hint_read<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching reads nothing that the program can see and never faults, whatever the
        // address (AMD64 Architecture Programmer's Manual, PREFETCHlevel); SSE is in every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        // SAFETY: PRFM changes no register and never faults, whatever the address (Arm Architecture
        // Reference Manual, PRFM).
        unsafe {
            std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address,
                options(nostack, readonly, preserves_flags));
        };
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}

#[inline(always)]
fn hint_write<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: as in `hint_read`. Where there is no PREFETCHW the compiler fetches for reading.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(address.cast()) };
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    {
        // SAFETY: as in `hint_read`; a prefetch for storing writes nothing.
        unsafe {
            std::arch::asm!("prfm pstl1keep, [{}]", in(reg) address,
                options(nostack, readonly, preserves_flags));
        };
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = address;
}

/// Asks the kernel to back the memory of `room` with huge pages (`madvise`(2), `MADV_HUGEPAGE`), as far as
/// whole ones lie in it. Call it before the memory is written for the first time.
///
/// A table of some 10 MB has more pages of 4 KiB than a processor remembers the addresses of, and in
/// a virtual machine each one forgotten costs up to 24 reads. Advice only: where the kernel has no huge
/// pages to give nothing changes.
pub fn advise_huge_pages<T>(room: &mut [MaybeUninit<T>]) {
    #[cfg(not(miri))]
    {
        use rustix::mm::{Advice, madvise};
        let page_bytes = rustix::param::page_size();
        let range = room.as_mut_ptr_range();
        let start = range.start.addr().next_multiple_of(page_bytes);
        let length_bytes = range.end.addr().saturating_sub(start) / page_bytes * page_bytes;
        if length_bytes > 0 {
            let start = range.start.with_addr(start).cast();
            // SAFETY: the pages lie within `room`, which is borrowed mutably and may hold anything.
            // The advice changes how the kernel backs them, never what they hold.
            let advised = unsafe { madvise(start, length_bytes, Advice::LinuxHugepage) };
            // A kernel built without huge pages refuses, and does without them.
            let _ = advised;
        }
    }
    #[cfg(miri)]
    let _ = room;
}

/// Work that is worth compiling for several sets of instructions.
pub trait Kernel {
    /// What comes out.
    type Output;

    /// Does the work. Mark it `#[inline(always)]`: only what is inlined is compiled for the set.
    fn run(self) -> Self::Output;
}

/// Instructions beyond those that every processor of the architecture has. Psabi levels for x86-64:
/// "System V ABI, AMD64 Supplement", table 3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    X86V3,
    #[cfg(target_arch = "x86_64")]
    X86V4,
}

/// A set of instructions that the processor is known to have.
///
/// There is no way to make one but detection, apart from the portable set, which is always there: so
/// [`run`](Self::run) is safe. Sets are ordered, larger ones after those they contain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instructions(Level);

impl Instructions {
    /// What every processor of the architecture has.
    #[must_use]
    pub const fn portable() -> Self {
        Self(Level::Portable)
    }

    /// The largest set that this processor has.
    ///
    /// Cost: a look at what the standard library has found out before. Meant for set-up.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::portable())
    }

    /// Every set that this processor has, the portable one first: for tests and benchmarks that
    /// compare them.
    pub fn available() -> impl Iterator<Item = Self> {
        let levels = [
            Some(Level::Portable),
            #[cfg(target_arch = "x86_64")]
            has_x86_v3().then_some(Level::X86V3),
            #[cfg(target_arch = "x86_64")]
            has_x86_v4().then_some(Level::X86V4),
        ];
        levels.into_iter().flatten().map(Self)
    }

    /// `portable`, `x86-64-v3` (popcnt, lzcnt, bmi1, bmi2, avx2) or `x86-64-v4` (avx512f, bw, cd, dq, vl and
    /// vpopcntdq on top).
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::X86V3 => "x86-64-v3",
            #[cfg(target_arch = "x86_64")]
            Level::X86V4 => "x86-64-v4",
        }
    }

    /// Runs `kernel`, compiled for this set. Cost: a predicted branch and a call, so for batches.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Portable => kernel.run(),
            // SAFETY: a value of this level is made in `available` only, after `has_x86_v3` has found
            // every feature that `run_x86_v3` is compiled for.
            #[cfg(target_arch = "x86_64")]
            Level::X86V3 => unsafe { run_x86_v3(kernel) },
            // SAFETY: as above, with `has_x86_v4` and `run_x86_v4`.
            #[cfg(target_arch = "x86_64")]
            Level::X86V4 => unsafe { run_x86_v4(kernel) },
        }
    }
}

impl Default for Instructions {
    /// [`Self::detect`].
    fn default() -> Self {
        Self::detect()
    }
}

impl fmt::Debug for Instructions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// True if the processor has each of the features.
#[cfg(target_arch = "x86_64")]
macro_rules! detected {
    ($($feature:tt),+) => { $(is_x86_feature_detected!($feature))&&+ };
}

#[cfg(target_arch = "x86_64")]
fn has_x86_v3() -> bool {
    detected!("popcnt", "lzcnt", "bmi1", "bmi2", "avx", "avx2")
}

#[cfg(target_arch = "x86_64")]
fn has_x86_v4() -> bool {
    has_x86_v3()
        && detected!("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx512vpopcntdq")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,lzcnt,bmi1,bmi2,avx,avx2")]
fn run_x86_v3<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,lzcnt,bmi1,bmi2,avx,avx2")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vpopcntdq")]
fn run_x86_v4<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ranks<'a>(&'a [u64], &'a mut [u32]);

    impl Kernel for Ranks<'_> {
        type Output = usize;

        #[inline(always)]
        fn run(self) -> usize {
            for (word, rank) in self.0.iter().zip(&mut *self.1) {
                *rank = word.count_ones() + word.leading_zeros();
            }
            self.1.len()
        }
    }

    #[test]
    fn every_set_that_is_there_gives_the_same_answers() {
        let words: Vec<u64> = (0..100).map(|n| (1u64 << (n % 64)) | n).collect();
        let expected: Vec<u32> = words.iter().map(|w| w.count_ones() + w.leading_zeros()).collect();
        let sets: Vec<Instructions> = Instructions::available().collect();
        assert_eq!(sets.first(), Some(&Instructions::portable()));
        assert_eq!(sets.last(), Some(&Instructions::detect()));
        assert!(sets.is_sorted());
        for set in sets {
            let mut ranks = vec![0; words.len()];
            assert_eq!(set.run(Ranks(&words, &mut ranks)), 100);
            assert_eq!(ranks, expected, "{set:?}");
        }
    }

    #[test]
    fn prefetching_is_a_hint_wherever_it_points() {
        let mut items = [7u32; 3];
        prefetch_read(&items[0]);
        prefetch_index(&items, 2);
        prefetch_index(&items, usize::MAX);
        prefetch_index::<u8>(&[], 1 << 40);
        prefetch_write(&mut items[1]);
        prefetch_index_write(&mut items, usize::MAX / 8);
        assert_eq!(items, [7; 3]);
    }
}
