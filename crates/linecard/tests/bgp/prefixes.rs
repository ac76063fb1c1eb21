//! What peers announce: prefixes drawn like the Internet's, in two halves.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use linecard_tables::generator::{addresses_within, ipv4_routes, ipv6_routes};
use linecard_tables::lpm::Prefix;

/// Draws more than are wanted, since those that touch the topology are left out.
const DRAWN_MORE: usize = 2_000;

/// Prefixes of both families.
pub struct Prefixes {
    ipv4: Vec<Prefix<u32>>,
    ipv6: Vec<Prefix<u128>>,
}

impl Prefixes {
    /// So many of each family, the same for the same seed.
    pub fn draw(seed: u64, ipv4: usize, ipv6: usize) -> Self {
        let foreign = foreign();
        let is_free =
            |net: IpNet| !foreign.iter().any(|other| other.contains(&net) || net.contains(other));
        let drawn = ipv4_routes(seed, ipv4 + DRAWN_MORE);
        let ipv4_free: Vec<_> =
            drawn.into_iter().filter(|it| is_free(net_ipv4(it))).take(ipv4).collect();
        let drawn = ipv6_routes(seed, ipv6 + DRAWN_MORE);
        let ipv6_free: Vec<_> =
            drawn.into_iter().filter(|it| is_free(net_ipv6(it))).take(ipv6).collect();
        assert_eq!((ipv4_free.len(), ipv6_free.len()), (ipv4, ipv6), "enough were drawn");
        Self { ipv4: ipv4_free, ipv6: ipv6_free }
    }

    /// How many there are of a family.
    pub fn count(&self, ipv6: bool) -> usize {
        if ipv6 { self.ipv6.len() } else { self.ipv4.len() }
    }

    /// How many of a family the first half has.
    pub fn first_half(&self, ipv6: bool) -> usize {
        self.count(ipv6) / 2
    }

    /// All of them.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.ipv4.iter().map(net_ipv4).chain(self.ipv6.iter().map(net_ipv6))
    }

    /// Addresses within the prefixes of a family, drawn evenly.
    pub fn addresses(&self, ipv6: bool, seed: u64, count: usize) -> Vec<IpAddr> {
        if ipv6 {
            let drawn = addresses_within(&self.ipv6, seed, count);
            drawn.into_iter().map(|it| Ipv6Addr::from(it).into()).collect()
        } else {
            let drawn = addresses_within(&self.ipv4, seed, count);
            drawn.into_iter().map(|it| Ipv4Addr::from(it).into()).collect()
        }
    }

    /// BIRD's static routes of one half (0 or 1) of a family, one a line.
    pub fn bird_routes(&self, ipv6: bool, half: usize) -> String {
        let (first, all) = (self.first_half(ipv6), self.count(ipv6));
        let range = if half == 0 { 0..first } else { first..all };
        let mut text = String::new();
        for at in range {
            let net = if ipv6 { net_ipv6(&self.ipv6[at]) } else { net_ipv4(&self.ipv4[at]) };
            writeln!(text, "route {net} blackhole;").expect("a string takes it");
        }
        text
    }
}

/// What the topology uses itself, and what no router forwards (RFC 1122 §3.2.1.3, RFC 3927).
fn foreign() -> Vec<IpNet> {
    ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "127.0.0.0/8", "169.254.0.0/16"]
        .into_iter()
        .chain(["2001:db8::/32"])
        .map(|text| text.parse().expect("a prefix"))
        .collect()
}

fn net_ipv4(prefix: &Prefix<u32>) -> IpNet {
    Ipv4Net::new_assert(prefix.bits().into(), prefix.length()).into()
}

fn net_ipv6(prefix: &Prefix<u128>) -> IpNet {
    Ipv6Net::new_assert(prefix.bits().into(), prefix.length()).into()
}
