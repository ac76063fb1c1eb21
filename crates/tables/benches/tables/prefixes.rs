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

    /// The prefixes of a file, one a line. Ends the process if they cannot be read.
    pub(crate) fn read(path: &str) -> Self {
        let mut prefixes = Self { ipv4: Vec::new(), ipv6: Vec::new() };
        for (number, line) in text(path).lines().enumerate() {
            match line.trim().parse() {
                Ok(IpNet::V4(net)) => prefixes.ipv4.push(net.into()),
                Ok(IpNet::V6(net)) => prefixes.ipv6.push(net.into()),
                Err(_) => refuse(&format!("{path}:{}: `{line}` is no prefix", number + 1)),
            }
        }
        shuffle(&mut prefixes.ipv4);
        shuffle(&mut prefixes.ipv6);
        prefixes
    }
}

fn text(path: &str) -> String {
    if !path.ends_with(".gz") {
        let text = std::fs::read_to_string(path);
        return text.unwrap_or_else(|error| refuse(&format!("{path}: {error}")));
    }
    let unpacked = Command::new("gzip").args(["-dc", path]).output().expect("gzip is installed");
    if !unpacked.status.success() {
        refuse(&format!("{path}: {}", String::from_utf8_lossy(&unpacked.stderr).trim()));
    }
    String::from_utf8(unpacked.stdout).unwrap_or_else(|_| refuse(&format!("{path}: not text")))
}

/// The file is not what it should be, and whoever has named it is told so.
fn refuse(what: &str) -> ! {
    eprintln!(
        "{what}\na file of prefixes has one a line, such as 192.0.2.0/24; it may be packed by gzip"
    );
    std::process::exit(2);
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T]) {
    let mut random = Random::new(2026);
    for end in (1..items.len()).rev() {
        items.swap(end, random.below(end + 1));
    }
}
