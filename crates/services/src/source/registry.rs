//! The special-purpose address registries (RFC 6890 sections 2.2.2 and 2.2.3, with the entries that later RFCs
//! have added), as data.
//!
//! The longest entry that contains an address tells. An address that none contains is an ordinary one.

/// What the registry says of an address block (RFC 6890 section 2.2.1, RFC 8190 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// Valid as the source of a packet that passes two devices.
    pub source: bool,
    /// Valid as the destination of such a packet.
    pub destination: bool,
    /// A router may forward packets to it between external interfaces.
    pub forwardable: bool,
    /// Reachable beyond an administrative domain. Where the registry says "N/A": true.
    pub global: bool,
}

/// One line of a registry: address, prefix length, what it says, and which RFC.
pub type Entry<A> = (A, u8, Attributes, &'static str);

/// Columns as in the registry: source, destination, forwardable, globally reachable.
const fn columns(source: u8, destination: u8, forwardable: u8, global: u8) -> Attributes {
    Attributes {
        source: source == 1,
        destination: destination == 1,
        forwardable: forwardable == 1,
        global: global == 1,
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

/// The first four groups of an address, the others being 0.
const fn v6(a: u16, b: u16, c: u16, d: u16) -> u128 {
    (a as u128) << 112 | (b as u128) << 96 | (c as u128) << 80 | (d as u128) << 64
}

/// IPv4.
pub const IPV4: &[Entry<u32>] = &[
    (v4(0, 0, 0, 0), 8, columns(1, 0, 0, 0), "RFC 791"),
    (v4(10, 0, 0, 0), 8, columns(1, 1, 1, 0), "RFC 1918"),
    (v4(100, 64, 0, 0), 10, columns(1, 1, 1, 0), "RFC 6598"),
    (v4(127, 0, 0, 0), 8, columns(0, 0, 0, 0), "RFC 1122"),
    (v4(169, 254, 0, 0), 16, columns(1, 1, 0, 0), "RFC 3927"),
    (v4(172, 16, 0, 0), 12, columns(1, 1, 1, 0), "RFC 1918"),
    (v4(192, 0, 0, 0), 24, columns(0, 0, 0, 0), "RFC 6890"),
    (v4(192, 0, 0, 0), 29, columns(1, 1, 1, 0), "RFC 7335"),
    (v4(192, 0, 0, 8), 32, columns(1, 0, 0, 0), "RFC 7600"),
    (v4(192, 0, 0, 9), 32, columns(1, 1, 1, 1), "RFC 7723"),
    (v4(192, 0, 0, 10), 32, columns(1, 1, 1, 1), "RFC 8155"),
    (v4(192, 0, 0, 170), 31, columns(0, 0, 0, 0), "RFC 8880"),
    (v4(192, 0, 2, 0), 24, columns(0, 0, 0, 0), "RFC 5737"),
    (v4(192, 31, 196, 0), 24, columns(1, 1, 1, 1), "RFC 7535"),
    (v4(192, 52, 193, 0), 24, columns(1, 1, 1, 1), "RFC 7450"),
    (v4(192, 168, 0, 0), 16, columns(1, 1, 1, 0), "RFC 1918"),
    (v4(192, 175, 48, 0), 24, columns(1, 1, 1, 1), "RFC 7534"),
    (v4(198, 18, 0, 0), 15, columns(1, 1, 1, 0), "RFC 2544"),
    (v4(198, 51, 100, 0), 24, columns(0, 0, 0, 0), "RFC 5737"),
    (v4(203, 0, 113, 0), 24, columns(0, 0, 0, 0), "RFC 5737"),
    (v4(240, 0, 0, 0), 4, columns(0, 0, 0, 0), "RFC 1112"),
    (v4(255, 255, 255, 255), 32, columns(0, 1, 0, 0), "RFC 919"),
];

/// IPv6.
pub const IPV6: &[Entry<u128>] = &[
    (1, 128, columns(0, 0, 0, 0), "RFC 4291"),
    (0, 128, columns(1, 0, 0, 0), "RFC 4291"),
    (0xffff << 32, 96, columns(0, 0, 0, 0), "RFC 4291"),
    (v6(0x64, 0xff9b, 0, 0), 96, columns(1, 1, 1, 1), "RFC 6052"),
    (v6(0x64, 0xff9b, 1, 0), 48, columns(1, 1, 1, 0), "RFC 8215"),
    (v6(0x100, 0, 0, 0), 64, columns(1, 1, 1, 0), "RFC 6666"),
    (v6(0x100, 0, 0, 1), 64, columns(1, 0, 0, 0), "RFC 9780"),
    (v6(0x2001, 0, 0, 0), 23, columns(0, 0, 0, 0), "RFC 2928"),
    (v6(0x2001, 0, 0, 0), 32, columns(1, 1, 1, 1), "RFC 4380"),
    (v6(0x2001, 1, 0, 0) | 1, 128, columns(1, 1, 1, 1), "RFC 7723"),
    (v6(0x2001, 1, 0, 0) | 2, 128, columns(1, 1, 1, 1), "RFC 8155"),
    (v6(0x2001, 1, 0, 0) | 3, 128, columns(1, 1, 1, 1), "RFC 9665"),
    (v6(0x2001, 2, 0, 0), 48, columns(1, 1, 1, 0), "RFC 5180"),
    (v6(0x2001, 3, 0, 0), 32, columns(1, 1, 1, 1), "RFC 7450"),
    (v6(0x2001, 4, 0x112, 0), 48, columns(1, 1, 1, 1), "RFC 7535"),
    (v6(0x2001, 0x20, 0, 0), 28, columns(1, 1, 1, 1), "RFC 7343"),
    (v6(0x2001, 0x30, 0, 0), 28, columns(1, 1, 1, 1), "RFC 9374"),
    (v6(0x2001, 0xdb8, 0, 0), 32, columns(0, 0, 0, 0), "RFC 3849"),
    (v6(0x2002, 0, 0, 0), 16, columns(1, 1, 1, 1), "RFC 3056"),
    (v6(0x2620, 0x4f, 0x8000, 0), 48, columns(1, 1, 1, 1), "RFC 7534"),
    (v6(0x3fff, 0, 0, 0), 20, columns(0, 0, 0, 0), "RFC 9637"),
    (v6(0x5f00, 0, 0, 0), 16, columns(1, 1, 1, 0), "RFC 9602"),
    (v6(0xfc00, 0, 0, 0), 7, columns(1, 1, 1, 0), "RFC 4193"),
    (v6(0xfe80, 0, 0, 0), 10, columns(1, 1, 0, 0), "RFC 4291"),
];
