//! The half of `cargo xtask compare fib` that needs the tables: writes the files that another
//! implementation reads too, and measures with them.
//!
//! The files are those of DPDK's `dpdk-test-fib`: `routes-4.txt` and `routes-6.txt` have a prefix and a next
//! hop a line, `addresses-4.txt` and `addresses-6.txt` one address.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use linecard_tables::generator::{Random, ipv4_routes, ipv6_routes};
use linecard_tables::lpm::{Address, Lpm, LpmImplementation, Prefix};

use crate::measure::Meter;
use crate::prefixes::Prefixes;

const ADDRESSES: usize = 1 << 20;
/// `dpdk-test-fib` looks up so many at a time.
const BURST: usize = 64;
/// Next hops: as many as the smallest entry that is compared can tell apart.
const NEXT_HOPS: usize = 4096;
/// IPv6 routes for each IPv4 route that is generated: the Internet's share.
const IPV6_SHARE: f64 = 0.2;

/// `DIRECTORY [prefixes.txt | ROUTES]`: writes the files.
pub(crate) fn write(arguments: &[String]) {
    let [directory, source] = arguments else { panic!("write-fib DIRECTORY prefixes.txt|ROUTES") };
    let prefixes = match source.parse::<usize>() {
        Err(_) => Prefixes::read(source),
        Ok(count) => Prefixes {
            ipv4: ipv4_routes(2026, count),
            ipv6: ipv6_routes(2026, (count as f64 * IPV6_SHARE) as usize),
        },
    };
    let ipv4 = |prefix: Prefix<u32>| Ipv4Net::from(prefix).to_string();
    let ipv6 = |prefix: Prefix<u128>| {
        let address = Ipv6Addr::from_bits(prefix.bits());
        Ipv6Net::new_assert(address, prefix.length()).to_string()
    };
    let directory = Path::new(directory);
    write_family(directory, 4, &prefixes.ipv4, ipv4, |a| Ipv4Addr::from_bits(a).to_string());
    write_family(directory, 6, &prefixes.ipv6, ipv6, |a| Ipv6Addr::from_bits(a).to_string());
}

fn write_family<A: Address>(
    directory: &Path,
    version: u8,
    routes: &[Prefix<A>],
    prefix_text: impl Fn(Prefix<A>) -> String,
    address_text: impl Fn(A) -> String,
) {
    let mut random = Random::new(3);
    let mut text = String::new();
    for route in routes {
        let _ = writeln!(text, "{} {}", prefix_text(*route), 1 + random.below(NEXT_HOPS));
    }
    save(directory, &format!("routes-{version}.txt"), &text);
    text.clear();
    // Below all IPv4 addresses, uniformly; of IPv6 nearly none has a route, so within the routes.
    let within = linecard_tables::generator::addresses_within(routes, 1, ADDRESSES);
    for address in within {
        let address = if version == 4 { random.address() } else { address };
        text.push_str(&address_text(address));
        text.push('\n');
    }
    save(directory, &format!("addresses-{version}.txt"), &text);
}

fn save(directory: &Path, name: &str, text: &str) {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// `DIRECTORY`: measures with the files and prints a line a family:
/// `version add lookup delete bytes`, in cycles.
pub(crate) fn run(arguments: &[String]) {
    let [directory] = arguments else { panic!("fib DIRECTORY") };
    let (directory, meter) = (Path::new(directory), Meter::new());
    let ipv4 = read(directory, 4, |text| match text.parse().expect("a prefix") {
        IpNet::V4(net) => net.into(),
        IpNet::V6(_) => panic!("{text} is not IPv4"),
    });
    measure::<u32>(4, &ipv4, &addresses(directory, 4, |text: Ipv4Addr| text.to_bits()), &meter);
    let ipv6 = read(directory, 6, |text| match text.parse().expect("a prefix") {
        IpNet::V6(net) => net.into(),
        IpNet::V4(_) => panic!("{text} is not IPv6"),
    });
    measure::<u128>(6, &ipv6, &addresses(directory, 6, |text: Ipv6Addr| text.to_bits()), &meter);
}

fn load(directory: &Path, name: &str) -> String {
    let path = directory.join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read<A>(
    directory: &Path,
    version: u8,
    prefix: impl Fn(&str) -> Prefix<A>,
) -> Vec<(Prefix<A>, u32)> {
    let text = load(directory, &format!("routes-{version}.txt"));
    let route = |line: &str| {
        let (text, next_hop) = line.split_once(' ').expect("a prefix and a next hop");
        (prefix(text), next_hop.parse().expect("a number"))
    };
    text.lines().map(route).collect()
}

fn addresses<T: std::str::FromStr, A>(
    directory: &Path,
    version: u8,
    bits: impl Fn(T) -> A,
) -> Vec<A> {
    let text = load(directory, &format!("addresses-{version}.txt"));
    text.lines().map(|line| bits(line.parse().ok().expect("an address"))).collect()
}

fn measure<A: Address>(version: u8, routes: &[(Prefix<A>, u32)], addresses: &[A], meter: &Meter) {
    let mut table = Lpm::new(LpmImplementation::Multibit, routes.len());
    let start = meter.now();
    for (prefix, next_hop) in routes {
        table.insert(*prefix, *next_hop).expect("the capacity is that of the routes");
    }
    let add = (meter.now() - start) as f64 / routes.len() as f64;
    let bytes = table.memory_bytes();
    let mut values = [0; BURST];
    // As the other does it: each burst by itself, once through the addresses.
    let mut cycles = 0;
    for burst in addresses.chunks_exact(BURST) {
        let start = meter.now();
        table.lookup_bulk(burst, &mut values);
        cycles += meter.now() - start;
        black_box(&values);
    }
    let lookup = cycles as f64 / addresses.len() as f64;
    let start = meter.now();
    for (prefix, _) in routes {
        black_box(table.remove(*prefix));
    }
    let delete = (meter.now() - start) as f64 / routes.len() as f64;
    println!("{version} {add:.0} {lookup:.1} {delete:.0} {bytes}");
}
