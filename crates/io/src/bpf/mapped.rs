//! A BPF array that is mapped into this process: what one side writes the other reads. Or the same
//! without a program on the other side.
#![allow(unsafe_code, reason = "maps a BPF array")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// What may lie in memory that BPF programs and this process share.
///
/// # Safety
/// All fields are atomic integers, so that zeros are a value and any writer is allowed; the size is a
/// multiple of eight.
pub(crate) unsafe trait Shared: Sync {}

/// An array map with `BPF_F_MMAPABLE` (Linux 5.5), of values of type `T`, all zero at first.
#[derive(Debug)]
pub(crate) struct MappedArray<T> {
    map: Option<OwnedFd>,
    values: NonNull<T>,
    length: usize,
}

// SAFETY: it gives out shared references only, to values that are `Sync`.
unsafe impl<T: Shared> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for MappedArray<T> {}

impl<T: Shared> MappedArray<T> {
    /// Creates and maps an array of `length` values.
    ///
    /// # Errors
    /// The kernel's; without `CAP_BPF` it is `PermissionDenied`.
    pub(crate) fn new(label: &str, length: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8), "the kernel rounds values up to this") };
        Self::map_memory(Some(super::map::create_mapped(label, size_of::<T>(), length)?), length)
    }

    /// The same in memory of this process alone.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn plain(length: usize) -> io::Result<Self> {
        Self::map_memory(None, length)
    }

    fn map_memory(map: Option<OwnedFd>, length: usize) -> io::Result<Self> {
        let (flags, descriptor) = match &map {
            Some(map) => (libc::MAP_SHARED, map.as_raw_fd()),
            None => (libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1),
        };
        // SAFETY: a new mapping of the array, or of fresh memory, zeros, whose size the kernel rounds up
        // to pages.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length * size_of::<T>(),
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                descriptor,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let values = NonNull::new(address.cast()).expect("mmap never maps page 0");
        Ok(Self { map, values, length })
    }

    /// The map, for programs. Panics when there is none: nobody makes a program for plain memory.
    pub(crate) fn map(&self) -> BorrowedFd<'_> {
        self.map.as_ref().expect("a map, which programs see").as_fd()
    }

    /// The values.
    pub(crate) fn values(&self) -> &[T] {
        // SAFETY: the mapping holds `length` values, begins at a page, and lives as long as `self`;
        // `Shared` says that zeros are a value and that others may write.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.length) }
    }
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.values.as_ptr().cast(), self.length * size_of::<T>()) };
    }
}
