//! Routes to measure with: out of a file, or generated.

use std::process::Command;

use ipnet::IpNet;
use linecard_tables::generator::{Random, ipv4_routes, ipv6_routes};
use linecard_tables::lpm::Prefix;

/// Routes of both families, in random order: a routing daemon announces them in none.
pub(crate) struct Prefixes {
    pub(crate) ipv4: Vec<Prefix<u32>>,
    pub(crate) ipv6: Vec<Prefix<u128>>,
}

impl Prefixes {
    /// As many as the large tables of the project's goals.
    pub(crate) fn generated() -> Self {
        Self { ipv4: ipv4_routes(2026, 1_000_000), ipv6: ipv6_routes(2026, 200_000) }
    }

    /// The prefixes of a file, one a line.
    pub(crate) fn read(path: &str) -> Self {
        let mut prefixes = Self { ipv4: Vec::new(), ipv6: Vec::new() };
        for (number, line) in text(path).lines().enumerate() {
            match line.trim().parse() {
                Ok(IpNet::V4(net)) => prefixes.ipv4.push(net.into()),
                Ok(IpNet::V6(net)) => prefixes.ipv6.push(net.into()),
                Err(error) => panic!("{path}:{}: {line}: {error}", number + 1),
            }
        }
        shuffle(&mut prefixes.ipv4);
        shuffle(&mut prefixes.ipv6);
        prefixes
    }
}

fn text(path: &str) -> String {
    if !path.ends_with(".gz") {
        return std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    let unpacked = Command::new("gzip").args(["-dc", path]).output().expect("gzip is installed");
    assert!(unpacked.status.success(), "{path}: {}", String::from_utf8_lossy(&unpacked.stderr));
    String::from_utf8(unpacked.stdout).expect("a list of prefixes is text")
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T]) {
    let mut random = Random::new(2026);
    for end in (1..items.len()).rev() {
        items.swap(end, random.below(end + 1));
    }
}
