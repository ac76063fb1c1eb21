//! Next-hop groups, flow hashes, exact match, and publication without routes.

use std::hint::black_box;

use linecard_tables::exact::ExactTable;
use linecard_tables::generator::Random;
use linecard_tables::hash::{FlowHash, FlowIpv4, FlowIpv6};
use linecard_tables::next_hop::NextHopGroups;
use linecard_tables::publication::{Absorb, Publish, Writer};

use crate::measure::Meter;

const LOOKUPS: usize = 1 << 20;
const BATCH: usize = 256;

pub(crate) fn run(meter: &Meter) {
    for groups in [1000, 1_000_000] {
        next_hops(groups, meter);
    }
    hashes(meter);
    for neighbours in [4096, 1 << 20] {
        exact(neighbours, meter);
    }
    publication(meter);
}

/// A thousand groups are in cache, a million are not.
fn next_hops(count: u32, meter: &Meter) {
    println!("\nNext-hop groups: {count} of 1 to 8 members");
    let mut groups = NextHopGroups::new(count);
    let members: Vec<(u32, u32)> = (0..8).map(|next_hop| (next_hop, 1)).collect();
    for id in 0..count {
        groups.set(id, &members[..1 + id as usize % 8]).expect("the members are in range");
    }
    let mut random = Random::new(4);
    let ids: Vec<u32> = (0..LOOKUPS).map(|_| random.below(count as usize) as u32).collect();
    let hashes: Vec<u32> = (0..LOOKUPS).map(|_| random.next_u64() as u32).collect();
    let mut next_hops = vec![0; BATCH];
    meter.report("empty loop", empty(&ids, meter));
    let select = meter.rounds(LOOKUPS, || {
        for (ids, hashes) in ids.chunks_exact(BATCH).zip(hashes.chunks_exact(BATCH)) {
            groups.select_bulk(ids, hashes, &mut next_hops);
            black_box(&next_hops);
        }
    });
    meter.report("select, bulk of 256", select);
    let change = meter.rounds(2000, || {
        for id in 0..1000 {
            groups.set(id, &members[..7]).expect("the members are in range");
            groups.set(id, &members).expect("the members are in range");
        }
    });
    meter.report("member leaves or returns, 8 members", change);
}

fn hashes(meter: &Meter) {
    println!("\nFlow hash");
    let hash = FlowHash::new(5);
    let mut random = Random::new(6);
    let flows: Vec<FlowIpv4> = (0..BATCH)
        .map(|_| FlowIpv4 { source: random.address(), source_port: 7, ..FlowIpv4::default() })
        .collect();
    let mut hashes = vec![0; BATCH];
    let ipv4 = meter.rounds(LOOKUPS, || {
        for _ in 0..LOOKUPS / BATCH {
            for (flow, value) in black_box(&flows).iter().zip(&mut hashes) {
                *value = hash.ipv4(flow);
            }
            black_box(&hashes);
        }
    });
    meter.report("IPv4", ipv4);
    let flows: Vec<FlowIpv6> = (0..BATCH)
        .map(|_| FlowIpv6 { source: random.address(), flow_label: 7, ..FlowIpv6::default() })
        .collect();
    let ipv6 = meter.rounds(LOOKUPS, || {
        for _ in 0..LOOKUPS / BATCH {
            for (flow, value) in black_box(&flows).iter().zip(&mut hashes) {
                *value = hash.ipv6(flow);
            }
            black_box(&hashes);
        }
    });
    meter.report("IPv6", ipv6);
}

/// 4,096 neighbours are in cache, a million are not.
fn exact(count: u32, meter: &Meter) {
    println!("\nExact match: {count} neighbours");
    let mut table = ExactTable::<u32>::new(count as usize, 7);
    for number in 0..count {
        table.insert((number as u16 % 8, 0x0a00_0000 + number), number).expect("there is room");
    }
    let mut random = Random::new(8);
    let keys: Vec<(u16, u32)> = (0..LOOKUPS)
        .map(|_| random.below(count as usize) as u32)
        .map(|number| (number as u16 % 8, 0x0a00_0000 + number))
        .collect();
    let mut values = vec![0; BATCH];
    let numbers: Vec<u32> = keys.iter().map(|(_, address)| *address).collect();
    meter.report("empty loop", empty(&numbers, meter));
    let lookup = meter.rounds(LOOKUPS, || {
        for batch in keys.chunks_exact(BATCH) {
            table.lookup_bulk(batch, &mut values);
            black_box(&values);
        }
    });
    meter.report("lookup, bulk of 256", lookup);
}

struct Number(u64);

impl Absorb<u64> for Number {
    fn absorb(&mut self, operation: &u64) {
        self.0 += operation;
    }
}

fn publication(meter: &Meter) {
    println!("\nPublication");
    let mut writer = Writer::new(Number(0), Number(0));
    let mut reader = writer.reader();
    let refresh = meter.rounds(LOOKUPS, || {
        for _ in 0..LOOKUPS {
            black_box(reader.refresh());
        }
    });
    meter.report("refresh, nothing new", refresh);
    let publish = meter.rounds(1000, || {
        for operation in 0..1000 {
            writer.append(operation);
            assert_eq!(writer.publish(), Publish::Published);
            black_box(reader.refresh());
        }
    });
    meter.report("append, publish and refresh", publish);
    black_box(reader.get().0);
}

/// Reads keys and writes values, and looks nothing up.
fn empty(keys: &[u32], meter: &Meter) -> crate::measure::Figure {
    let mut values = vec![0; BATCH];
    meter.rounds(keys.len(), || {
        for keys in keys.chunks_exact(BATCH) {
            values.copy_from_slice(keys);
            black_box(&values);
        }
    })
}
