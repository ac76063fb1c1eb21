//! Where a member lies in a structure of the running kernel: a reader of BTF, the kernel's own type
//! information (Documentation/bpf/btf.rst), as far as that takes.
//!
//! Programs on raw tracepoints get pointers to kernel structures, whose layout is no interface and
//! changes with version and configuration. `/sys/kernel/btf/vmlinux` tells it.

use std::io;

/// Where the kernel shows it (`CONFIG_DEBUG_INFO_BTF`).
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_ENUM64: u32 = 19;
/// Anonymous structures within each other that are looked into.
const DEPTH_MAX: u32 = 4;

/// Type information, and where each type of it begins.
pub(super) struct Btf {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// By the type's number less one.
    starts: Vec<usize>,
}

impl Btf {
    /// The running kernel's. Reads some megabytes.
    ///
    /// # Errors
    /// `NotFound` when the kernel was built without, `InvalidData` when it is not understood.
    pub(super) fn of_kernel() -> io::Result<Self> {
        let read = std::fs::read(VMLINUX);
        let bytes =
            read.map_err(|error| io::Error::new(error.kind(), format!("{VMLINUX}: {error}")))?;
        Self::new(&bytes).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{VMLINUX} is not understood"))
        })
    }

    fn new(bytes: &[u8]) -> Option<Self> {
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let header = word(bytes, 4)? as usize;
        let section = |at: usize| {
            let (offset, length) = (word(bytes, at)? as usize, word(bytes, at + 4)? as usize);
            let start = header.checked_add(offset)?;
            Some(bytes.get(start..start.checked_add(length)?)?.to_vec())
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut starts = Vec::new();
        let mut at = 0;
        while at < types.len() {
            starts.push(at);
            at += size(word(&types, at + 4)?)?;
        }
        Some(Self { types, strings, starts })
    }

    /// Offset in bytes of a member of a structure of this name.
    pub(super) fn offset_of(&self, structure: &str, member: &str) -> Option<usize> {
        let is_it = |&&at: &&usize| {
            kind(word(&self.types, at + 4).unwrap_or(0)) == KIND_STRUCT
                && self.name(at) == Some(structure.as_bytes())
        };
        // A name may stand for a structure that is only declared, too.
        self.starts.iter().filter(is_it).find_map(|&at| self.member(at, member, DEPTH_MAX))
    }

    /// The member of the structure or union at `at`, also within anonymous ones.
    fn member(&self, at: usize, name: &str, depth: u32) -> Option<usize> {
        let info = word(&self.types, at + 4)?;
        (0..(info & 0xffff) as usize).find_map(|number| {
            let at = at + 12 + number * 12;
            let bits = word(&self.types, at + 8)?;
            // With the flag, the upper eight bits are the width of a bit field.
            let offset = (if info >> 31 == 1 { bits & 0x00ff_ffff } else { bits } / 8) as usize;
            match self.name(at)? {
                [] if depth > 0 => {
                    let number = word(&self.types, at + 4)?.checked_sub(1)? as usize;
                    let inner = *self.starts.get(number)?;
                    let nested = [KIND_STRUCT, KIND_UNION];
                    let info = word(&self.types, inner + 4)?;
                    let found =
                        nested.contains(&kind(info)).then(|| self.member(inner, name, depth - 1));
                    Some(offset + found??)
                }
                found => (found == name.as_bytes()).then_some(offset),
            }
        })
    }

    /// The name whose offset stands at `at`.
    fn name(&self, at: usize) -> Option<&[u8]> {
        let rest = self.strings.get(word(&self.types, at)? as usize..)?;
        rest.split(|&byte| byte == 0).next()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Bytes of a type with this `info`.
fn size(info: u32) -> Option<usize> {
    let entries = (info & 0xffff) as usize;
    let more = match kind(info) {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => entries * 12,
        KIND_ENUM | KIND_FUNC_PROTO => entries * 8,
        // Pointers, qualifiers, typedefs, floats, tags, declarations.
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    };
    Some(12 + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { u64 first; struct { union { u32 inner; }; }; }`, after an integer and an array.
    fn example() -> Vec<u8> {
        let strings = b"\0outer\0first\0inner\0";
        let structure = |name: u32, kind: u32, members: &[(u32, u32, u32)]| {
            let mut words = vec![name, kind << 24 | members.len() as u32, 16];
            members.iter().for_each(|&(name, kind, offset)| words.extend([name, kind, offset]));
            words
        };
        let types: Vec<u32> = [
            vec![0, KIND_INT << 24, 4, 32],
            vec![0, KIND_ARRAY << 24, 0, 1, 1, 2],
            structure(0, KIND_UNION, &[(13, 1, 0)]),
            structure(0, KIND_STRUCT, &[(0, 3, 32)]),
            structure(1, KIND_STRUCT, &[(7, 1, 0), (0, 4, 64)]),
        ]
        .concat();
        let types_bytes = types.len() as u32 * 4;
        let header = [24, 0, types_bytes, types_bytes, strings.len() as u32];
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        header.iter().chain(&types).for_each(|word| bytes.extend(word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_are_found_also_in_anonymous_ones() {
        let btf = Btf::new(&example()).expect("BTF");
        assert_eq!(btf.offset_of("outer", "first"), Some(0));
        assert_eq!(btf.offset_of("outer", "inner"), Some(12));
        assert_eq!(btf.offset_of("outer", "none"), None);
        assert_eq!(btf.offset_of("none", "first"), None);
    }

    #[test]
    fn every_truncation_is_refused_or_less_but_no_panic() {
        let whole = example();
        for length in 0..whole.len() {
            if let Some(btf) = Btf::new(&whole[..length]) {
                let _ = btf.offset_of("outer", "inner");
            }
        }
    }
}
