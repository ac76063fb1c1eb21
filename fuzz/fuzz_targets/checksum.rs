//! The fast checksum against RFC 1071 taken literally, and an incremental update (RFC 1624) against
//! a full computation.

#![no_main]

use libfuzzer_sys::fuzz_target;
use linecard_wire::checksum::{Sum, checksum, update_u16, update_u32, verify};

/// RFC 1071 §1: 16-bit words in network order, carries added back in, an odd byte padded with zero.
fn plain(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// The two words that stand for zero in one's complement are one value.
fn value(sum: u16) -> u16 {
    if sum == 0xffff { 0 } else { sum }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[at, kind, a, b, c, d], bytes)) = input.split_first_chunk::<6>() else { return };
    let full = Sum::new().add_bytes(bytes);
    assert_eq!(full.fold(), plain(bytes));
    assert_eq!(full.finish(), checksum(bytes));
    assert_eq!(verify(bytes), plain(bytes) == 0xffff);

    let cut = (usize::from(at) * 2).min(bytes.len() & !1);
    let (front, back) = bytes.split_at(cut);
    assert_eq!(Sum::new().add_bytes(front).add_bytes(back).fold(), full.fold());

    let mut changed = bytes.to_vec();
    let updated = if kind & 1 == 0 {
        let Some(word) = changed.get_mut(cut..).and_then(<[u8]>::first_chunk_mut) else { return };
        let old = u16::from_be_bytes(*word);
        *word = [a, b];
        assert_eq!(Sum::new().add_u16(old).fold(), old);
        update_u16(checksum(bytes), old, u16::from_be_bytes(*word))
    } else {
        let Some(word) = changed.get_mut(cut..).and_then(<[u8]>::first_chunk_mut) else { return };
        let old = u32::from_be_bytes(*word);
        *word = [a, b, c, d];
        update_u32(checksum(bytes), old, u32::from_be_bytes(*word))
    };
    assert_eq!(value(updated), value(checksum(&changed)));
});
