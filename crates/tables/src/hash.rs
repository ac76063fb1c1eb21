//! Flow hashes: 32 bits that stand for a flow when a next-hop group chooses a member.
//!
//! Packets of one flow must hash alike (RFC 2992: reordering hurts TCP), flows must spread evenly
//! over a power of two of buckets, and who sends traffic must not be able to aim at one bucket, so
//! the functions are seeded. For IPv6 the flow label is part of the key, as RFC 6438 asks.
//!
//! The mixing step is the folded multiply of the wyhash family (Wang Yi, public domain): multiply
//! two 64-bit words to 128 bits and xor the halves, so that each input bit reaches both ends of
//! the result. IPv4 takes two multiplications, IPv6 four, of which three overlap; that is some
//! 3 ns or less, against ten and more for SipHash. It is no cryptographic hash: the seed must not be
//! known to senders.

/// The 5-tuple of an IPv4 packet; the ports are 0 where there are none (RFC 791 fragments too,
/// of which only the first has them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FlowIpv4 {
    /// Source address in host order.
    pub source: u32,
    /// Destination address in host order.
    pub destination: u32,
    /// The protocol number.
    pub protocol: u8,
    /// Source port, or 0.
    pub source_port: u16,
    /// Destination port, or 0.
    pub destination_port: u16,
}

/// The 5-tuple and flow label of an IPv6 packet; the ports are 0 where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FlowIpv6 {
    /// Source address in host order.
    pub source: u128,
    /// Destination address in host order.
    pub destination: u128,
    /// The upper-layer protocol number.
    pub protocol: u8,
    /// Source port, or 0.
    pub source_port: u16,
    /// Destination port, or 0.
    pub destination_port: u16,
    /// The flow label, 20 bits (RFC 6437).
    pub flow_label: u32,
}

/// A seeded hash function over flows; equal seeds give equal hashes on all machines.
#[derive(Debug, Clone, Copy)]
pub struct FlowHash {
    keys: [u64; 6],
}

impl FlowHash {
    /// The function of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self { keys: std::array::from_fn(|_| split_mix_64(&mut state)) }
    }

    /// The hash of an IPv4 flow.
    #[inline]
    #[must_use]
    pub fn ipv4(&self, flow: &FlowIpv4) -> u32 {
        let [k0, k1, k2, k3, ..] = self.keys;
        let addresses = u64::from(flow.source) << 32 | u64::from(flow.destination);
        let rest = pack(flow.source_port, flow.destination_port, flow.protocol);
        let mixed = folded_multiply(addresses ^ k0, rest ^ k1);
        (folded_multiply(mixed ^ k2, k3) >> 32) as u32
    }

    /// The hash of an IPv6 flow.
    #[inline]
    #[must_use]
    pub fn ipv6(&self, flow: &FlowIpv6) -> u32 {
        let [k0, k1, k2, k3, k4, k5] = self.keys;
        let label = u64::from(flow.flow_label & 0xf_ffff) << 40;
        let rest = pack(flow.source_port, flow.destination_port, flow.protocol) ^ label;
        let source = folded_multiply(high(flow.source) ^ k0, low(flow.source) ^ k1);
        let destination = folded_multiply(high(flow.destination) ^ k2, low(flow.destination) ^ k3);
        let mixed = folded_multiply(source ^ rest, destination.rotate_left(32) ^ k4);
        (folded_multiply(mixed ^ k5, k3) >> 32) as u32
    }
}

/// Ports and protocol in the low 40 bits.
#[inline]
fn pack(source_port: u16, destination_port: u16, protocol: u8) -> u64 {
    u64::from(source_port) << 24 | u64::from(destination_port) << 8 | u64::from(protocol)
}

#[inline]
fn high(address: u128) -> u64 {
    (address >> 64) as u64
}

#[inline]
fn low(address: u128) -> u64 {
    address as u64
}

/// Multiplies to 128 bits and xors the halves.
#[inline]
pub(crate) fn folded_multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    high(product) ^ low(product)
}

/// The next number of the SplitMix64 sequence (Steele, Lea, Flood 2014): seeds and test data.
pub(crate) fn split_mix_64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
