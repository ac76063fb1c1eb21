//! Reads of big-endian fields at offsets that the compiler checks.
//!
//! A view keeps its fixed header as a reference to an array. An offset is a const parameter, and an
//! inline `const` assertion compares it with the array's length: a getter that would read outside
//! its header does not compile, hence no getter has a bounds check or a panic left in it.

use crate::Malformed;

/// The fixed part of a header, `N` bytes long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fields<'a, const N: usize>(&'a [u8; N]);

impl<'a, const N: usize> Fields<'a, N> {
    /// Cuts the fixed header off the front; the rest is what follows it.
    #[inline]
    pub(crate) fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        match bytes.split_first_chunk::<N>() {
            Some((header, rest)) => Ok((Self(header), rest)),
            None => Err(Malformed::Truncated),
        }
    }

    #[inline]
    pub(crate) const fn u8<const AT: usize>(self) -> u8 {
        const { assert!(AT < N) };
        self.0[AT]
    }

    #[inline]
    pub(crate) const fn u16<const AT: usize>(self) -> u16 {
        u16::from_be_bytes(self.array::<AT, 2>())
    }

    #[inline]
    pub(crate) const fn u32<const AT: usize>(self) -> u32 {
        u32::from_be_bytes(self.array::<AT, 4>())
    }

    #[inline]
    pub(crate) const fn array<const AT: usize, const LENGTH: usize>(self) -> [u8; LENGTH] {
        const { assert!(AT + LENGTH <= N) };
        let mut out = [0; LENGTH];
        let mut index = 0;
        while index < LENGTH {
            out[index] = self.0[AT + index];
            index += 1;
        }
        out
    }

    /// All bytes of the fixed header.
    #[inline]
    pub(crate) const fn bytes(self) -> &'a [u8; N] {
        self.0
    }
}

impl<const N: usize> core::fmt::Debug for Fields<'_, N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:02x?}", self.0)
    }
}

/// The fixed header for in-place edits.
#[inline]
pub(crate) fn header_mut<const N: usize>(bytes: &mut [u8]) -> Result<&mut [u8; N], Malformed> {
    bytes.first_chunk_mut().ok_or(Malformed::Truncated)
}
