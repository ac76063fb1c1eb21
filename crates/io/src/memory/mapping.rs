//! The mapping under packet memory: zeroes in huge pages where the kernel gives them, and all of it
//! populated before the first packet.
#![allow(unsafe_code, reason = "maps memory")]

use std::io;
use std::ptr::NonNull;

/// A huge page of x86-64 and, with 4 KiB pages, of arm64.
const HUGE_PAGE_BYTES: usize = 2 << 20;
/// What is populated by one call: in between, other threads of the process can change its mappings, or end it.
const POPULATE_BYTES: usize = 16 << 20;

/// An anonymous mapping. Ends with this value; what lies in it is its owner's to say.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    /// Whole pages.
    mapped_bytes: usize,
}

// SAFETY: the mapping is owned by this value alone, which reads and writes nothing in it once it is
// made, so it may move to another thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `bytes` of zeroes, in huge pages where the kernel gives them: two-kilobyte chunks in 4 KiB pages
    /// need a page walk for every second packet (0.7 ns a packet, docs/performance.md). All pages are there when it returns, so that the packet path never faults.
    ///
    /// # Errors
    /// The kernel's, when there is not so much memory.
    pub(super) fn new(bytes: usize) -> io::Result<Self> {
        let used_bytes = bytes.next_multiple_of(rustix::param::page_size());
        // So much too large that a stretch of `used_bytes` begins at a huge page; the ends go back.
        let mapped_bytes = used_bytes + HUGE_PAGE_BYTES;
        // SAFETY: a new anonymous mapping overlaps nothing.
        let mapped = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                mapped_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapped = mapped.cast::<u8>();
        let front = mapped.align_offset(HUGE_PAGE_BYTES);
        // SAFETY: all ranges lie in the mapping just made, of which nobody else knows, and `unmap` takes
        // only the ends that are not returned. Advice that the kernel does not follow changes nothing.
        let base = unsafe {
            let base = mapped.add(front);
            unmap(mapped, front);
            unmap(base.add(used_bytes), mapped_bytes - front - used_bytes);
            libc::madvise(base.cast(), used_bytes, libc::MADV_HUGEPAGE);
            NonNull::new(base).expect("mmap without MAP_FIXED never maps page 0")
        };
        let mut mapping = Self { base, mapped_bytes: used_bytes };
        mapping.populate()?;
        Ok(mapping)
    }

    /// First byte.
    #[inline]
    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Has the kernel back all pages.
    fn populate(&mut self) -> io::Result<()> {
        for at in (0..self.mapped_bytes).step_by(POPULATE_BYTES) {
            let bytes = POPULATE_BYTES.min(self.mapped_bytes - at);
            // SAFETY: the range is this mapping's; populating changes nothing that can be read in it.
            let outcome = unsafe {
                let part = self.base.add(at).as_ptr().cast();
                libc::madvise(part, bytes, libc::MADV_POPULATE_WRITE)
            };
            if outcome == 0 {
                continue;
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(error);
            }
            self.touch();
            break;
        }
        Ok(())
    }

    /// Writes to each page, which must still be all zeroes: before Linux 5.14, and where another kernel stands
    /// in for Linux.
    fn touch(&mut self) {
        for at in (0..self.mapped_bytes).step_by(rustix::param::page_size()) {
            // SAFETY: `at` lies in the mapping, and `&mut self` keeps others away. Volatile, or the
            // compiler could leave out a write of which it sees no reader.
            unsafe { self.base.add(at).write_volatile(0) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: whole pages that `new` mapped, and their owner, who goes with them, lends out nothing
        // that lives longer. A UMEM registered on them holds its own reference to the pages.
        unsafe { unmap(self.base.as_ptr(), self.mapped_bytes) };
    }
}

/// Gives back a range of a mapping; nothing when it is empty.
///
/// # Safety
/// The range must be mapped, whole pages, and nothing may use it any more.
unsafe fn unmap(base: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: as the caller says.
        unsafe { libc::munmap(base.cast(), bytes) };
    }
}

/// Asks for the cache line at `address`; nothing happens where the processor has no such instruction
/// that stable Rust knows.
#[inline]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it reads nothing and never faults, whatever the address. SSE, which
    // has it, is part of every x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of the mapping that are in memory (mincore(2)).
    fn resident_pages(mapping: &Mapping) -> usize {
        let mut pages = vec![0u8; mapping.mapped_bytes / rustix::param::page_size()];
        // SAFETY: the range is mapped, and there is a byte of `pages` for each page of it.
        let outcome = unsafe {
            libc::mincore(mapping.base.as_ptr().cast(), mapping.mapped_bytes, pages.as_mut_ptr())
        };
        assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
        pages.iter().filter(|page| *page & 1 != 0).count()
    }

    #[test]
    fn every_page_is_there_before_the_first_packet() {
        let page_bytes = rustix::param::page_size();
        let mapping = Mapping::new(3 * page_bytes + 1).expect("memory");
        assert_eq!((mapping.mapped_bytes, resident_pages(&mapping)), (4 * page_bytes, 4));
    }

    #[test]
    fn writing_to_each_page_does_as_well() {
        let page_bytes = rustix::param::page_size();
        let mut mapping = Mapping::new(4 * page_bytes).expect("memory");
        // SAFETY: the range is the mapping's, and nobody looks at what the pages hold.
        let outcome = unsafe {
            libc::madvise(mapping.base.as_ptr().cast(), 4 * page_bytes, libc::MADV_DONTNEED)
        };
        assert_eq!(outcome, 0, "{}", io::Error::last_os_error());
        mapping.touch();
        assert_eq!(resident_pages(&mapping), 4);
    }
}
