//! The mark of punted frames: the source MAC address that they carry.
//!
//! A punted frame enters its port a second time, and where the classifier's hook lies behind the
//! port's ingress it comes by the classifier again, which must let it pass. (A mark on the socket
//! buffer would be simpler; XDP cannot see it.) The kernel looks at no source MAC address when it
//! routes, so that is where the mark goes. Frames come from neighbours too, so the mark is one that
//! no neighbour can know: 46 random bits, chosen when the process first asks, which leave the
//! machine in no frame.

use std::hash::BuildHasher;
use std::sync::OnceLock;

/// The group bit (IEEE 802, first octet as sent).
const GROUP: u8 = 1;
/// The bit of locally administered addresses.
const LOCAL: u8 = 2;

/// The source MAC address of all frames that this process punts: unicast, locally administered.
#[must_use]
pub fn punt_mark() -> [u8; 6] {
    static MARK: OnceLock<[u8; 6]> = OnceLock::new();
    *MARK.get_or_init(|| {
        // A keyed hash whose key is the operating system's randomness.
        let random = std::collections::hash_map::RandomState::new().hash_one("punt mark");
        let [first, second, third, fourth, fifth, sixth, ..] = random.to_ne_bytes();
        [first & !GROUP | LOCAL, second, third, fourth, fifth, sixth]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_one_unicast_address_that_no_vendor_gave() {
        assert_eq!(punt_mark(), punt_mark());
        assert_eq!(punt_mark()[0] & (GROUP | LOCAL), LOCAL);
    }
}
