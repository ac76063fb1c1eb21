//! Connections for readers: what the words of an entry say, page by page.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use linecard_tables::connections::{ConnectionTable, Lifetime, Listed, Tick};
use linecard_wire::ip::Protocol;

use super::ConnectionTables;
use super::config::LABELS;
use super::tcp::{Direction, INITIATOR};

/// Buckets that a page passes at the most: what bounds its cost where few connections are wanted.
const BUCKETS_PER_PAGE: usize = 4096;

/// A connection as it was when it was read.
///
/// Its addresses are those of the packets of the side that began it; those of the other side have them
/// exchanged, since nothing here translates addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Upper-layer protocol.
    pub protocol: u8,
    /// The address that began it.
    pub source: IpAddr,
    /// The other one.
    pub destination: IpAddr,
    /// Source and destination port; of other protocols than TCP, UDP and SCTP none.
    pub ports: Option<(u16, u16)>,
    /// Type and identifier of an ICMP query.
    pub query: Option<(u8, u16)>,
    /// The kernel's word for where it stands, as in [`ConnectionTables::census`].
    pub state: &'static str,
    /// Since its last packet, to a fifteenth of a second.
    pub idle_nanoseconds: u64,
    /// Until it is forgotten, if there is no other packet.
    pub left_nanoseconds: u64,
}

/// Connections in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateCount {
    /// `tcp`, `udp` (and SCTP), `icmp` or `other`.
    pub group: &'static str,
    /// The state.
    pub state: &'static str,
    /// Connections of IPv4 and IPv6.
    pub connections: [usize; 2],
}

impl ConnectionTables {
    /// How many connections are in each state. Cost: reads all of the index, 12 bytes a connection that
    /// there is room for.
    #[must_use]
    pub fn census(&self, now_nanoseconds: u64) -> Vec<StateCount> {
        let now = Tick::from_nanoseconds(now_nanoseconds);
        let (ipv4, ipv6) = (self.ipv4.census(now), self.ipv6.census(now));
        let labels = LABELS.iter().zip(ipv4.into_iter().zip(ipv6));
        labels
            .map(|(&(group, state), (ipv4, ipv6))| StateCount {
                group,
                state,
                connections: [ipv4, ipv6],
            })
            .collect()
    }

    /// A page of the connections that are `wanted`, and where the next page begins, if there is one. The first
    /// begins at 0. A page has `connections_max` at the most, and six more; it can be empty and not be the last.
    ///
    /// Cost: bounded, whatever is wanted: a page passes some 30,000 connections at the most.
    pub fn page(
        &self,
        from: usize,
        connections_max: usize,
        now_nanoseconds: u64,
        wanted: impl Fn(&Connection) -> bool,
    ) -> (Vec<Connection>, Option<usize>) {
        let now = Tick::from_nanoseconds(now_nanoseconds);
        let (ipv4, ipv6) = (self.ipv4.buckets(), self.ipv6.buckets());
        let mut found = Vec::new();
        let mut at = from;
        let end = from.saturating_add(BUCKETS_PER_PAGE).min(ipv4 + ipv6);
        while at < end && found.len() < connections_max.max(1) {
            let mut keep = |connection: Connection| {
                found.extend(wanted(&connection).then_some(connection));
            };
            if at < ipv4 {
                list(&self.ipv4, at, now, addresses_ipv4, &mut keep);
            } else {
                list(&self.ipv6, at - ipv4, now, addresses_ipv6, &mut keep);
            }
            at += 1;
        }
        (found, (at < ipv4 + ipv6).then_some(at))
    }

    /// Forgets connections whose timeout has passed, in the next `buckets` of each table; `hand` says where, and goes
    /// on, behind the last bucket with the first. Returns how many. Workers do the same while they have packets;
    /// this is for when they have few.
    pub fn sweep(&self, hand: &mut usize, buckets: usize, now_nanoseconds: u64) -> usize {
        let now = Tick::from_nanoseconds(now_nanoseconds);
        let begin = *hand;
        *hand = hand.wrapping_add(buckets);
        let sweep_ipv4 = |buckets: Range<usize>| {
            self.ipv4.sweep(buckets, now, |key, values| self.forget(key, values))
        };
        let sweep_ipv6 = |buckets: Range<usize>| {
            self.ipv6.sweep(buckets, now, |key, values| self.forget(key, values))
        };
        let ipv4 = revolution(begin, buckets, self.ipv4.buckets()).map(sweep_ipv4);
        let ipv6 = revolution(begin, buckets, self.ipv6.buckets()).map(sweep_ipv6);
        ipv4.into_iter().chain(ipv6).sum()
    }

    /// Buckets of the larger table: after so many in [`Self::sweep`] it has been everywhere.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.ipv4.buckets().max(self.ipv6.buckets())
    }
}

/// The next `count` of `all` buckets from where a hand is that counts on and on: up to the last, and the rest from
/// the first on. None twice.
pub(super) fn revolution(hand: usize, count: usize, all: usize) -> [Range<usize>; 2] {
    let begin = hand % all;
    let end = begin + count.min(all);
    [begin..end.min(all), 0..end.saturating_sub(all)]
}

fn list<const K: usize>(
    table: &ConnectionTable<K>,
    bucket: usize,
    now: Tick,
    addresses: impl Fn(&[u64; K]) -> [IpAddr; 2],
    keep: &mut impl FnMut(Connection),
) {
    table.list(bucket..bucket + 1, now, |listed| keep(connection(listed, addresses(&listed.key))));
}

/// Addresses by side.
fn addresses_ipv4(key: &[u64; 2]) -> [IpAddr; 2] {
    [(key[0] >> 32) as u32, key[0] as u32].map(|bits| Ipv4Addr::from_bits(bits).into())
}

fn addresses_ipv6(key: &[u64; 5]) -> [IpAddr; 2] {
    let address =
        |high: u64, low: u64| Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    [address(key[0], key[1]).into(), address(key[2], key[3]).into()]
}

fn connection<const K: usize>(listed: &Listed<K>, addresses: [IpAddr; 2]) -> Connection {
    let rest = listed.key[K - 1];
    let (protocol, numbers) = (rest as u8, [(rest >> 24) as u16, (rest >> 8) as u16]);
    let side = usize::from(!Direction::of_values(&listed.values, 0).has(INITIATOR));
    let has_ports = matches!(Protocol(protocol), Protocol::TCP | Protocol::UDP | Protocol::SCTP);
    let is_query = matches!(Protocol(protocol), Protocol::ICMPV4 | Protocol::ICMPV6);
    Connection {
        protocol,
        source: addresses[side],
        destination: addresses[1 - side],
        ports: has_ports.then_some((numbers[side], numbers[1 - side])),
        // As the key of a query has them: the identifier, then the type.
        query: is_query.then_some((numbers[1] as u8, numbers[0])),
        state: label(listed.lifetime),
        idle_nanoseconds: listed.idle_nanoseconds,
        left_nanoseconds: listed.left_nanoseconds,
    }
}

/// The words for states of connections, each once.
pub fn states() -> impl Iterator<Item = &'static str> {
    let labels = LABELS.iter().enumerate();
    let first = |&(at, (_, state)): &(usize, &(&str, &str))| {
        LABELS[..at].iter().all(|(_, before)| before != state)
    };
    labels.filter(first).map(|(_, (_, state))| *state)
}

fn label(lifetime: Lifetime) -> &'static str {
    LABELS.get(lifetime.number()).map_or("unknown", |(_, state)| state)
}
