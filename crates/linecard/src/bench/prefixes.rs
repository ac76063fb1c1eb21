//! Where routes come from: a file with one prefix a line, or the generator.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, ensure};
use flate2::read::MultiGzDecoder;
use ipnet::IpNet;
use linecard_tables::generator::{Random, ipv4_routes, ipv6_routes};
use linecard_tables::lpm::Prefix;

use super::traffic::Family;

/// Routes of the Internet when no file says which (early 2025; the table that the generator's
/// lengths are from).
const IPV4_INTERNET: usize = 901_899;
const IPV6_INTERNET: usize = 160_147;

/// The prefixes of a file, both families.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    pub(super) ipv4: Vec<Prefix<u32>>,
    pub(super) ipv6: Vec<Prefix<u128>>,
    /// Lines left out since an earlier one has the same prefix.
    repeated: usize,
    /// Lines left out since no router forwards to all their addresses.
    not_forwarded: usize,
}

impl fmt::Display for Prefixes {
    /// What was taken, and what was left out and why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ipv4, ipv6, repeated, not_forwarded } = self;
        write!(f, "{} IPv4 and {} IPv6 routes", ipv4.len(), ipv6.len())?;
        let left_out = repeated + not_forwarded;
        write!(f, "; lines left out: {left_out}")?;
        let mut mark = " (";
        if *repeated > 0 {
            write!(f, "{mark}{repeated} repeated")?;
            mark = ", ";
        }
        if *not_forwarded > 0 {
            write!(
                f,
                "{mark}{not_forwarded} not within 1.0.0.0 to 223.255.255.255 without 127.0.0.0/8, or \
                 2000::/3, to which routers forward"
            )?;
        }
        write!(f, "{}", if left_out > 0 { ")" } else { "" })
    }
}

impl Prefixes {
    /// Whether there are routes of a family.
    pub(super) fn has(&self, family: Family) -> bool {
        match family {
            Family::Ipv4 => !self.ipv4.is_empty(),
            Family::Ipv6 => !self.ipv6.is_empty(),
        }
    }

    /// Reads a file, packed by gzip or not; empty lines and what follows `#` do not count.
    ///
    /// # Errors
    /// The system's, or the line that is no prefix.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot read {}", path.display());
        let mut file = BufReader::new(File::open(path).with_context(what)?);
        let is_gzip = file.fill_buf().with_context(what)?.starts_with(&[0x1f, 0x8b]);
        let bytes: Box<dyn Read> =
            if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let mut prefixes = Self::default();
        let mut seen = HashSet::new();
        for (number, line) in BufReader::new(bytes).lines().enumerate() {
            let line = line.with_context(what)?;
            let text = line.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            let place = || format!("{}:{}: `{text}`", path.display(), number + 1);
            let net: IpNet = text.parse().with_context(place)?;
            match seen.insert(net.trunc()) {
                true => prefixes.add(net),
                false => prefixes.repeated += 1,
            }
        }
        let routes = prefixes.ipv4.len() + prefixes.ipv6.len();
        ensure!(routes > 0, "{} has nothing to route: {prefixes}", path.display());
        Ok(prefixes)
    }

    fn add(&mut self, net: IpNet) {
        match net {
            IpNet::V4(net) if forwarded_ipv4(net.into()) => self.ipv4.push(net.into()),
            IpNet::V6(net) if forwarded_ipv6(net.into()) => self.ipv6.push(net.into()),
            _ => self.not_forwarded += 1,
        }
    }
}

/// Whether all addresses are such that a router forwards to them: 1/8 to 223/8 without 127/8.
fn forwarded_ipv4(prefix: Prefix<u32>) -> bool {
    let first = prefix.bits() >> 24;
    prefix.length() >= 8 && (1..224).contains(&first) && first != 127
}

/// The same for IPv6: 2000::/3.
fn forwarded_ipv6(prefix: Prefix<u128>) -> bool {
    prefix.length() >= 3 && prefix.bits() >> 125 == 1
}

/// The IPv4 routes of the Internet, in random order: those of the file if there is one.
pub(super) fn ipv4_internet(file: Option<&Prefixes>, seed: u64) -> Vec<Prefix<u32>> {
    match file {
        Some(prefixes) => shuffled(prefixes.ipv4.clone(), seed),
        None => ipv4(IPV4_INTERNET, seed),
    }
}

/// The same for IPv6.
pub(super) fn ipv6_internet(file: Option<&Prefixes>, seed: u64) -> Vec<Prefix<u128>> {
    match file {
        Some(prefixes) => shuffled(prefixes.ipv6.clone(), seed),
        None => shuffled(ipv6_routes(seed, IPV6_INTERNET), seed),
    }
}

/// IPv4 routes drawn like the Internet's, in random order.
pub(super) fn ipv4(routes: usize, seed: u64) -> Vec<Prefix<u32>> {
    // The generator draws from 127/8 as well: 1 in 223, so that twice as many more are plenty.
    let prefixes = ipv4_routes(seed, routes + routes / 100 + 32).into_iter();
    let forwarded = prefixes.filter(|prefix| forwarded_ipv4(*prefix)).take(routes);
    shuffled(forwarded.collect(), seed)
}

/// The same with a default route, so that there is a route for every destination.
pub(super) fn ipv4_and_default(routes: usize, seed: u64) -> Vec<Prefix<u32>> {
    let mut prefixes = ipv4(routes, seed);
    prefixes.push(Prefix::default_route());
    prefixes
}

/// IPv6 routes drawn like the Internet's, in random order, and a default route.
pub(super) fn ipv6_and_default(routes: usize, seed: u64) -> Vec<Prefix<u128>> {
    let mut prefixes = shuffled(ipv6_routes(seed, routes), seed);
    prefixes.push(Prefix::default_route());
    prefixes
}

fn shuffled<T>(mut items: Vec<T>, seed: u64) -> Vec<T> {
    let mut random = Random::new(seed ^ 0x5348_5546);
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i + 1));
    }
    items
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &str = "# a table\n10.0.0.0/8\n10.0.0.0/8\n\n2001:db8::/32 # documentation\n\
                        0.0.0.0/0\n127.1.0.0/16\n";

    fn check(bytes: &[u8]) {
        let mut file = tempfile::NamedTempFile::new().expect("a file of our own");
        file.write_all(bytes).expect("written");
        let prefixes = Prefixes::read(file.path()).expect("read");
        assert_eq!((prefixes.ipv4.len(), prefixes.ipv6.len()), (1, 1));
        let text = prefixes.to_string();
        let start = "1 IPv4 and 1 IPv6 routes; lines left out: 3 (1 repeated, 2 not within 1.0.0.0";
        assert!(text.starts_with(start) && text.ends_with(')'), "{text}");
    }

    #[test]
    fn a_file_is_read_packed_or_not() {
        check(TEXT.as_bytes());
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(TEXT.as_bytes()).expect("packed");
        check(&packed.finish().expect("packed"));
    }

    #[test]
    fn a_line_that_is_no_prefix_is_named() {
        let mut file = tempfile::NamedTempFile::new().expect("a file of our own");
        file.write_all(b"10.0.0.0/8\n10.0.0.0/33\n").expect("written");
        let error = Prefixes::read(file.path()).unwrap_err().to_string();
        assert!(error.contains(":2: `10.0.0.0/33`"), "{error}");
    }
}
