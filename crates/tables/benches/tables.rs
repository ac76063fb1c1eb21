//! Nanoseconds and bytes of each table: `cargo bench -p linecard-tables [-- prefixes.txt]`.
//!
//! Without a file the routes are generated. A file has one prefix a line, IPv4 and IPv6. Each
//! figure is the best of several rounds, since whatever else runs can only add to it.

use std::hint::black_box;
use std::time::Instant;

use ipnet::IpNet;
use linecard_tables::exact::ExactTable;
use linecard_tables::generator::{Random, addresses_within, ipv4_routes, ipv6_routes};
use linecard_tables::hash::{FlowHash, FlowIpv4, FlowIpv6};
use linecard_tables::lpm::{Address, Lpm, LpmImplementation, Prefix};
use linecard_tables::next_hop::NextHopGroups;
use linecard_tables::publication::{Absorb, Publish, Writer};

const LOOKUPS: usize = 1 << 20;
const BATCH: usize = 256;
const ROUNDS: usize = 7;

/// The least nanoseconds an operation over the rounds.
fn best(operations: usize, mut round: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round();
        least = least.min(start.elapsed().as_nanos() as f64);
    }
    least / operations as f64
}

fn report(what: &str, nanoseconds: f64) {
    println!("{what:<52} {nanoseconds:>9.1} ns");
}

fn lookups<A: Address>(what: &str, table: &Lpm<A>, addresses: &[A]) {
    let mut values = vec![0; BATCH];
    let bulk = best(addresses.len(), || {
        for batch in addresses.chunks_exact(BATCH) {
            table.lookup_bulk(batch, &mut values);
            black_box(&values);
        }
    });
    report(&format!("{what}, bulk of {BATCH}"), bulk);
    let single = best(addresses.len(), || {
        for address in addresses {
            black_box(table.lookup(*address));
        }
    });
    report(&format!("{what}, single"), single);
}

fn lpm<A: Address>(what: &str, routes: &[Prefix<A>]) {
    println!("\n{what}: {} routes", routes.len());
    let mut table = Lpm::new(LpmImplementation::Multibit, routes.len() + 1);
    let start = Instant::now();
    for (number, route) in routes.iter().enumerate() {
        table.insert(*route, number as u32 % 1000 + 1).expect("the capacity is that of the routes");
    }
    report("insert", start.elapsed().as_nanos() as f64 / routes.len() as f64);
    let bytes = table.memory_bytes() as f64;
    println!("memory: {:.1} MB, {:.1} B a route", bytes / 1e6, bytes / routes.len() as f64);
    lookups("lookup within routes", &table, &addresses_within(routes, 1, LOOKUPS));
    let few = addresses_within(routes, 2, 1000);
    let few: Vec<A> = few.iter().copied().cycle().take(LOOKUPS).collect();
    lookups("lookup of 1,000 addresses", &table, &few);
    let mut random = Random::new(3);
    let any: Vec<A> = (0..LOOKUPS).map(|_| random.address()).collect();
    lookups("lookup of any address", &table, &any);
    let one = |prefix: Prefix<A>, table: &mut Lpm<A>| {
        let value = table.remove(prefix).expect("all routes are there");
        table.insert(prefix, value).expect("there is room for what was removed")
    };
    let sample: Vec<_> = routes.iter().step_by(7).copied().collect();
    let flap = best(sample.len(), || {
        for prefix in &sample {
            black_box(one(*prefix, &mut table));
        }
    });
    report("remove and insert again", flap);
    let default_route = Prefix::default_route();
    report(
        "default route",
        best(2, || {
            black_box(table.insert(default_route, 1).expect("there is room for one more"));
            black_box(table.remove(default_route));
        }),
    );
    let start = Instant::now();
    for route in routes {
        black_box(table.remove(*route));
    }
    report("remove", start.elapsed().as_nanos() as f64 / routes.len() as f64);
}

fn next_hops() {
    println!("\nNext-hop groups: 1,000 of 1 to 8 members");
    let mut groups = NextHopGroups::new(1000);
    let members: Vec<(u32, u32)> = (0..8).map(|next_hop| (next_hop, 1)).collect();
    for id in 0..1000 {
        groups.set(id, &members[..1 + id as usize % 8]).expect("the members are in range");
    }
    let mut random = Random::new(4);
    let ids: Vec<u32> = (0..LOOKUPS).map(|_| random.below(1000) as u32).collect();
    let hashes: Vec<u32> = (0..LOOKUPS).map(|_| random.next_u64() as u32).collect();
    let mut next_hops = vec![0; BATCH];
    let select = best(LOOKUPS, || {
        for (ids, hashes) in ids.chunks_exact(BATCH).zip(hashes.chunks_exact(BATCH)) {
            groups.select_bulk(ids, hashes, &mut next_hops);
            black_box(&next_hops);
        }
    });
    report("select, bulk of 256", select);
    let change = best(2000, || {
        for id in 0..1000 {
            groups.set(id, &members[..7]).expect("the members are in range");
            groups.set(id, &members).expect("the members are in range");
        }
    });
    report("member leaves or returns, 8 members", change);
}

fn hashes() {
    println!("\nFlow hash");
    let hash = FlowHash::new(5);
    let mut random = Random::new(6);
    let flows: Vec<FlowIpv4> = (0..BATCH)
        .map(|_| FlowIpv4 { source: random.address(), source_port: 7, ..FlowIpv4::default() })
        .collect();
    let mut hashes = vec![0; BATCH];
    let ipv4 = best(LOOKUPS, || {
        for _ in 0..LOOKUPS / BATCH {
            for (flow, value) in black_box(&flows).iter().zip(&mut hashes) {
                *value = hash.ipv4(flow);
            }
            black_box(&hashes);
        }
    });
    report("IPv4", ipv4);
    let flows: Vec<FlowIpv6> = (0..BATCH)
        .map(|_| FlowIpv6 { source: random.address(), flow_label: 7, ..FlowIpv6::default() })
        .collect();
    let ipv6 = best(LOOKUPS, || {
        for _ in 0..LOOKUPS / BATCH {
            for (flow, value) in black_box(&flows).iter().zip(&mut hashes) {
                *value = hash.ipv6(flow);
            }
            black_box(&hashes);
        }
    });
    report("IPv6", ipv6);
}

fn exact() {
    println!("\nExact match: 4,096 neighbours");
    let mut table = ExactTable::<u32>::new(4096, 7);
    for number in 0..4096 {
        table.insert((number as u16 % 8, 0x0a00_0000 + number), number).expect("there is room");
    }
    let mut random = Random::new(8);
    let keys: Vec<(u16, u32)> = (0..LOOKUPS)
        .map(|_| random.below(4096) as u32)
        .map(|number| (number as u16 % 8, 0x0a00_0000 + number))
        .collect();
    let mut values = vec![0; BATCH];
    let lookup = best(LOOKUPS, || {
        for batch in keys.chunks_exact(BATCH) {
            table.lookup_bulk(batch, &mut values);
            black_box(&values);
        }
    });
    report("lookup, bulk of 256", lookup);
}

struct Number(u64);

impl Absorb<u64> for Number {
    fn absorb(&mut self, operation: &u64) {
        self.0 += operation;
    }
}

fn publication() {
    println!("\nPublication");
    let mut writer = Writer::new(Number(0), Number(0));
    let mut reader = writer.reader();
    let refresh = best(LOOKUPS, || {
        for _ in 0..LOOKUPS {
            black_box(reader.refresh());
        }
    });
    report("refresh, nothing new", refresh);
    let publish = best(1000, || {
        for operation in 0..1000 {
            writer.append(operation);
            assert_eq!(writer.publish(), Publish::Published);
            black_box(reader.refresh());
        }
    });
    report("append, publish and refresh", publish);
    black_box(reader.get().0);
}

/// The prefixes of a file, one a line.
fn read_prefixes(path: &str) -> (Vec<Prefix<u32>>, Vec<Prefix<u128>>) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        match line.trim().parse() {
            Ok(IpNet::V4(net)) => ipv4.push(net.into()),
            Ok(IpNet::V6(net)) => ipv6.push(net.into()),
            Err(error) => panic!("{path}:{}: {line}: {error}", number + 1),
        }
    }
    (ipv4, ipv6)
}

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    // `cargo test --all-targets` runs this too, without the flag that `cargo bench` adds.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without --bench");
        return;
    }
    let file = arguments.find(|argument| !argument.starts_with("--"));
    let (ipv4, ipv6) = match file {
        Some(path) => read_prefixes(&path),
        None => (ipv4_routes(2026, 1_000_000), ipv6_routes(2026, 200_000)),
    };
    lpm("IPv4", &ipv4);
    lpm("IPv6", &ipv6);
    next_hops();
    hashes();
    exact();
    publication();
}
