//! Rule sets drawn like ClassBench's, the same for the same seed, and packets under them.
//!
//! ClassBench (Taylor and Turner, "ClassBench: A Packet Classification Benchmark", IEEE/ACM Transactions on
//! Networking 15(3), 2007) draws rule sets by the statistics of twelve real ones: access lists (`acl1` to
//! `acl5`), firewalls (`fw1` to `fw5`) and Linux IP chains (`ipc1`, `ipc2`). What is drawn here follows three:
//!
//! - *acl* has the shares of the `acl1` seed: of protocols, of port classes (any destination port 30 %, one
//!   of it 58 %, a range 12 %; source ports are never asked for) and of pairs of prefix lengths, which are
//!   32/32 for three in four. Sources are few, destinations many.
//! - *fw* and *ipc* have shares estimated by eye from published sets of 1,000 rules of `fw1` and `ipc1`, for
//!   the seeds themselves were not at hand: fw with either end open to the world for two rules in three
//!   and with ports of one end or both; ipc with both ends narrow mostly, at all lengths, and any protocol for
//!   one rule in eight.
//!
//! What differs from ClassBench: prefixes nest since they are cut from one pool of hosts within subnets
//! within networks, not by its branching probabilities; pools grow with the set. IPv6 is not in ClassBench:
//! here a length is mapped (a host is a /128, /24 a /48, /16 a /32, and so on). Rules come most
//! specific first, as ClassBench writes them, and the last matches everything.

use std::collections::HashSet;

use super::{Entry, Key, Masked, Ports};
use crate::generator::Random;
use crate::lpm::{Address, Prefix};

/// In [`Entry::kind`] and [`Key::kind`]: the packet has ports. Generated rules about ports ask for it.
pub const HAS_PORTS: u16 = 1 << 8;

/// Orders between two generated rules.
pub const ORDER_STEP: u32 = 16;

/// What the rules are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// An access list.
    AccessList,
    /// A firewall.
    Firewall,
    /// Linux IP chains.
    IpChains,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 3] = [Self::AccessList, Self::Firewall, Self::IpChains];

    /// ClassBench's name: `acl`, `fw` or `ipc`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessList => "acl",
            Self::Firewall => "fw",
            Self::IpChains => "ipc",
        }
    }
}

/// Classes of ports, as the paper has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortClass {
    /// Any.
    Wc,
    /// 1024 to 65535.
    Hi,
    /// 0 to 1023.
    Lo,
    /// Some range.
    Ar,
    /// One port.
    Em,
}

use PortClass::{Ar, Em, Hi, Lo, Wc};

/// A share, the protocol (0 for any) and the classes of source and destination port.
type Ends = (u32, u8, PortClass, PortClass);

const ACL_ENDS: [Ends; 7] = [
    (85, 0, Wc, Wc),
    (31, 1, Wc, Wc),
    (188, 6, Wc, Wc),
    (115, 6, Wc, Ar),
    (570, 6, Wc, Em),
    (1, 17, Wc, Ar),
    (10, 17, Wc, Em),
];

const FW_ENDS: [Ends; 13] = [
    (4, 0, Wc, Wc),
    (80, 1, Wc, Wc),
    (110, 47, Wc, Wc),
    (340, 6, Wc, Em),
    (50, 6, Hi, Hi),
    (100, 6, Wc, Wc),
    (90, 17, Wc, Em),
    (90, 17, Em, Wc),
    (50, 17, Em, Em),
    (30, 17, Hi, Em),
    (30, 17, Em, Hi),
    (20, 17, Hi, Hi),
    (6, 17, Lo, Hi),
];

const IPC_ENDS: [Ends; 11] = [
    (130, 0, Wc, Wc),
    (20, 1, Wc, Wc),
    (10, 47, Wc, Wc),
    (200, 6, Wc, Em),
    (100, 6, Em, Wc),
    (120, 6, Wc, Wc),
    (20, 6, Wc, Ar),
    (230, 17, Wc, Em),
    (100, 17, Em, Wc),
    (20, 17, Em, Em),
    (50, 17, Wc, Hi),
];

/// A share and the ranges that the lengths of source and destination (of 32) are drawn from.
type Lengths = (u32, [u8; 2], [u8; 2]);

/// `acl1`, port class any/any.
const ACL_LENGTHS_ANY: [Lengths; 11] = [
    (489, [32, 32], [32, 32]),
    (112, [32, 32], [24, 24]),
    (99, [23, 23], [32, 32]),
    (81, [32, 32], [22, 22]),
    (63, [23, 23], [15, 16]),
    (40, [23, 23], [0, 8]),
    (20, [23, 23], [24, 26]),
    (31, [30, 31], [22, 24]),
    (45, [30, 31], [32, 32]),
    (16, [0, 8], [0, 13]),
    (4, [0, 0], [0, 0]),
];

/// `acl1`, a destination port or a range of them.
const ACL_LENGTHS_PORTS: [Lengths; 5] = [
    (865, [32, 32], [32, 32]),
    (42, [32, 32], [22, 22]),
    (33, [23, 23], [28, 32]),
    (40, [31, 32], [30, 32]),
    (20, [30, 31], [22, 22]),
];

/// Firewalls: from the world to a few hosts, from hosts to the world, and between both.
const FW_LENGTHS: [Lengths; 8] = [
    (260, [0, 2], [32, 32]),
    (120, [0, 1], [28, 31]),
    (40, [0, 1], [19, 27]),
    (140, [30, 32], [0, 2]),
    (100, [19, 29], [0, 1]),
    (200, [30, 32], [30, 32]),
    (110, [25, 32], [20, 29]),
    (30, [0, 2], [0, 2]),
];

const IPC_LENGTHS: [Lengths; 8] = [
    (300, [31, 32], [31, 32]),
    (190, [31, 32], [16, 28]),
    (150, [16, 28], [31, 32]),
    (190, [16, 26], [16, 26]),
    (60, [0, 1], [20, 32]),
    (70, [20, 32], [0, 1]),
    (30, [15, 24], [0, 1]),
    (10, [0, 1], [0, 1]),
];

const ACL_PORTS: [u16; 24] = [
    1521, 1526, 1221, 1433, 1525, 135, 14753, 1712, 1711, 1704, 1708, 5555, 1705, 6000, 20, 21,
    1724, 1717, 5540, 1489, 5632, 443, 80, 27000,
];
const ACL_RANGES: [(u16, u16); 12] = [
    (1600, 1649),
    (1300, 1349),
    (1300, 1350),
    (7500, 7599),
    (2200, 2210),
    (1025, 65535),
    (1700, 1750),
    (5001, 65535),
    (32200, 32207),
    (8000, 8100),
    (61700, 61709),
    (62200, 62239),
];
const COMMON_PORTS: [u16; 32] = [
    22, 53, 80, 123, 25, 161, 750, 443, 7648, 24032, 21, 88, 110, 179, 37, 69, 67, 2105, 119, 514,
    23, 544, 139, 162, 1433, 9003, 5999, 2401, 1645, 873, 137, 143,
];
const IPC_RANGES: [(u16, u16); 4] = [(109, 110), (20, 23), (1645, 1646), (20, 21)];

/// TCP flags asked for, as (value, mask) in the bits of the header's octet.
const FLAGS: [(u16, u16); 5] =
    [(0x02, 0x12), (0x00, 0x02), (0x10, 0x10), (0x04, 0x04), (0x01, 0x01)];

/// `count` distinct rules for IPv4, by order: [`ORDER_STEP`] apart, with values from 0 on. The last matches every packet.
#[must_use]
pub fn rules_ipv4(shape: Shape, seed: u64, count: usize) -> Vec<Entry<u32>> {
    rules(shape, seed, count)
}

/// `count` distinct rules for IPv6, as [`rules_ipv4`].
#[must_use]
pub fn rules_ipv6(shape: Shape, seed: u64, count: usize) -> Vec<Entry<u128>> {
    rules(shape, seed, count)
}

/// `count` distinct rules for either family.
#[must_use]
pub fn rules<A: Address>(shape: Shape, seed: u64, count: usize) -> Vec<Entry<A>> {
    let mut random = Random::new(seed);
    let [sources, destinations] = match shape {
        Shape::AccessList => [(3, 60 + count / 50), (40, 40 + count / 3)],
        Shape::Firewall => [(24, 50 + count / 15), (24, 50 + count / 15)],
        Shape::IpChains => [(30, 50 + count / 10), (40, 50 + count / 5)],
    }
    .map(|(networks, hosts)| pool::<A>(&mut random, networks, hosts));
    let mut seen = HashSet::with_capacity(count);
    let mut rules = Vec::with_capacity(count);
    while rules.len() + 1 < count {
        let entry = rule(&mut random, shape, &sources, &destinations);
        if entry != Entry::any(0, 0) && seen.insert(entry) {
            rules.push(entry);
        }
    }
    // Most specific first; equal ones stay as they were drawn.
    rules.sort_by_key(|entry| free_bits(entry));
    rules.push(Entry::any(0, 0));
    rules.truncate(count);
    for (number, entry) in rules.iter_mut().enumerate() {
        entry.order = number as u32 * ORDER_STEP;
        entry.value = number as u32;
    }
    rules
}

/// How much a rule matches, in bits.
fn free_bits<A: Address>(entry: &Entry<A>) -> u32 {
    let prefix = |prefix: Prefix<A>| u32::from(A::BITS - prefix.length());
    let ports = |ports: Ports| (u32::from(ports.last - ports.first) + 1).ilog2();
    let field = |field: Masked| field.mask.count_zeros();
    prefix(entry.source)
        + prefix(entry.destination)
        + ports(entry.source_ports)
        + ports(entry.destination_ports)
        + field(entry.kind)
        + field(entry.marks)
}

/// Hosts in subnets in networks.
fn pool<A: Address>(random: &mut Random, networks: usize, hosts: usize) -> Vec<A> {
    let length = |of_32| length_of::<A>(of_32);
    let within = |random: &mut Random, outer: A, of_32: u8| {
        let mask = A::mask(length(of_32));
        (outer & mask) | (random.address::<A>() & (mask ^ A::mask(A::BITS)))
    };
    let global = |random: &mut Random| match A::BITS {
        32 => random.address(),
        _ => (random.address::<A>() & (A::mask(3) ^ A::mask(A::BITS))) | A::from_bits_at(1, 0, 3),
    };
    let networks: Vec<A> = (0..networks + hosts / 100).map(|_| global(random)).collect();
    let subnets: Vec<A> = (0..networks.len() + hosts / 12)
        .map(|_| {
            let network = networks[skewed(random, networks.len())];
            within(random, network, 16)
        })
        .collect();
    (0..hosts)
        .map(|_| {
            let subnet = subnets[random.below(subnets.len())];
            within(random, subnet, 24)
        })
        .collect()
}

/// A length of IPv6 for one of IPv4.
fn length_of<A: Address>(of_32: u8) -> u8 {
    match (A::BITS, of_32) {
        (32, length) => length,
        (_, 32) => 128,
        (_, length @ 25..) => 48 + (length - 24) * 2,
        (_, length) => 2 * length,
    }
}

/// A number below `end`, small ones more often: some hosts have many rules.
fn skewed(random: &mut Random, end: usize) -> usize {
    let end = random.below(end) + 1;
    random.below(end)
}

fn rule<A: Address>(
    random: &mut Random,
    shape: Shape,
    sources: &[A],
    destinations: &[A],
) -> Entry<A> {
    let ends: &[Ends] = match shape {
        Shape::AccessList => &ACL_ENDS,
        Shape::Firewall => &FW_ENDS,
        Shape::IpChains => &IPC_ENDS,
    };
    let (_, protocol, source_class, destination_class) = *pick(random, ends, |ends| ends.0);
    let lengths: &[Lengths] = match (shape, destination_class) {
        (Shape::AccessList, Wc) => &ACL_LENGTHS_ANY,
        (Shape::AccessList, _) => &ACL_LENGTHS_PORTS,
        (Shape::Firewall, _) => &FW_LENGTHS,
        (Shape::IpChains, _) => &IPC_LENGTHS,
    };
    let (_, source_lengths, destination_lengths) = *pick(random, lengths, |lengths| lengths.0);
    let mut entry = Entry::any(0, 0);
    entry.source = prefix(random, sources, source_lengths);
    entry.destination = prefix(random, destinations, destination_lengths);
    entry.source_ports = ports(random, shape, source_class);
    entry.destination_ports = ports(random, shape, destination_class);
    if protocol != 0 {
        entry.kind = Masked { value: u16::from(protocol), mask: 0xff };
    }
    if [source_class, destination_class] != [Wc, Wc] {
        entry.kind =
            Masked { value: entry.kind.value | HAS_PORTS, mask: entry.kind.mask | HAS_PORTS };
    }
    let with_flags = match shape {
        Shape::AccessList => 19,
        Shape::Firewall => 95,
        Shape::IpChains => 25,
    };
    if protocol == 6 && random.below(100) < with_flags {
        let (value, mask) = match shape {
            Shape::Firewall if random.below(10) < 9 => FLAGS[0],
            Shape::Firewall => FLAGS[random.below(FLAGS.len())],
            _ => FLAGS[1 + random.below(2)],
        };
        entry.marks = Masked { value, mask };
    }
    entry
}

fn pick<'a, T>(random: &mut Random, items: &'a [T], share: impl Fn(&T) -> u32) -> &'a T {
    let total: u32 = items.iter().map(&share).sum();
    let mut at = random.below(total as usize) as u32;
    items
        .iter()
        .find(|item| {
            let found = at < share(item);
            at = at.wrapping_sub(share(item));
            found
        })
        .expect("the number is below the sum of the shares")
}

fn prefix<A: Address>(random: &mut Random, hosts: &[A], [shortest, longest]: [u8; 2]) -> Prefix<A> {
    let of_32 = shortest + random.below(usize::from(longest - shortest) + 1) as u8;
    let host = hosts[skewed(random, hosts.len())];
    Prefix::new(host, length_of::<A>(of_32)).expect("the lengths are those of the address")
}

fn ports(random: &mut Random, shape: Shape, class: PortClass) -> Ports {
    let of = |(first, last)| Ports { first, last };
    match (class, shape) {
        (Wc, _) => Ports::ANY,
        (Hi, _) => of((1024, u16::MAX)),
        (Lo, _) => of((0, 1023)),
        (Ar, Shape::IpChains) => of(IPC_RANGES[random.below(IPC_RANGES.len())]),
        (Ar, _) => of(ACL_RANGES[random.below(ACL_RANGES.len())]),
        (Em, Shape::AccessList) => Ports::exactly(ACL_PORTS[skewed(random, ACL_PORTS.len())]),
        (Em, _) => Ports::exactly(COMMON_PORTS[skewed(random, COMMON_PORTS.len())]),
    }
}

/// `count` packets: nine in ten lie within a rule, drawn evenly, and one is random in all bits.
///
/// Where a rule leaves a field free, half of its packets have there what another rule asks for, and so
/// meet more rules than random bits would.
#[must_use]
pub fn packets<A: Address>(rules: &[Entry<A>], seed: u64, count: usize) -> Vec<Key<A>> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|_| match random.below(10) {
            0 => any_packet(&mut random),
            _ if rules.is_empty() => any_packet(&mut random),
            _ => {
                let [rule, other] = [0, 1].map(|_| &rules[random.below(rules.len())]);
                packet_within(&mut random, rule, other)
            }
        })
        .collect()
}

fn any_packet<A: Address>(random: &mut Random) -> Key<A> {
    let bits = random.next_u64();
    Key {
        source: random.address(),
        destination: random.address(),
        source_port: bits as u16,
        destination_port: (bits >> 16) as u16,
        kind: [6, 17][bits as usize >> 32 & 1] | HAS_PORTS,
        marks: (bits >> 48) as u16 & 0xff,
    }
}

fn packet_within<A: Address>(random: &mut Random, rule: &Entry<A>, other: &Entry<A>) -> Key<A> {
    let address = |random: &mut Random, prefix: Prefix<A>, other: Prefix<A>| {
        let free = A::mask(prefix.length()) ^ A::mask(A::BITS);
        let rest = match prefix.contains(other.bits()) && random.below(2) == 0 {
            true => {
                other.bits()
                    | (random.address::<A>() & (A::mask(other.length()) ^ A::mask(A::BITS)))
            }
            false => random.address(),
        };
        prefix.bits() | (rest & free)
    };
    let port = |random: &mut Random, ports: Ports, other: Ports| match random.below(2) {
        0 if ports.contains(other.first) => other.first,
        _ => ports.first + random.below(usize::from(ports.last - ports.first) + 1) as u16,
    };
    let any = any_packet::<A>(random);
    let field = |own: Masked, any: u16| own.value | (any & !own.mask);
    Key {
        source: address(random, rule.source, other.source),
        destination: address(random, rule.destination, other.destination),
        source_port: port(random, rule.source_ports, other.source_ports),
        destination_port: port(random, rule.destination_ports, other.destination_ports),
        kind: field(rule.kind, any.kind),
        marks: field(rule.marks, any.marks),
    }
}
