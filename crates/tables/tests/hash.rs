//! Flow hashes spread sequential addresses and ports evenly over the buckets of a group.

use linecard_tables::hash::{FlowHash, FlowIpv4, FlowIpv6};

const SEEDS: [u64; 4] = [0, 1, 42, 0x5eed_5eed_5eed_5eed];
const BUCKETS: usize = 256;
const FLOWS: u32 = 1 << 16;

/// The chi-square statistic of buckets taken from some bits of the hashes must lie within 6
/// standard deviations of its mean (255 degrees of freedom: mean 255, deviation √510).
fn assert_even(what: &str, seed: u64, hashes: &[u32]) {
    let expected = hashes.len() as f64 / BUCKETS as f64;
    for shift in [0, 8, 24] {
        let mut counts = [0u32; BUCKETS];
        for hash in hashes {
            counts[(hash >> shift) as usize % BUCKETS] += 1;
        }
        let chi_square: f64 =
            counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        let distance = (chi_square - 255.0) / 510f64.sqrt();
        assert!(distance.abs() < 6.0, "{what}, seed {seed}, bits {shift}: {chi_square}");
    }
}

#[test]
fn sequential_ipv4_flows_spread_evenly() {
    let base = FlowIpv4 {
        source: 0x0a00_0001,
        destination: 0xc000_0201,
        protocol: 17,
        source_port: 1024,
        destination_port: 53,
    };
    type Vary = fn(&mut FlowIpv4, u32);
    let cases: [(&str, Vary); 7] = [
        ("sources", |flow, i| flow.source += i),
        ("destinations", |flow, i| flow.destination += i),
        ("destinations of /24", |flow, i| flow.destination = i << 8),
        ("source ports", |flow, i| flow.source_port = i as u16),
        ("destination ports", |flow, i| flow.destination_port = i as u16),
        ("both addresses", |flow, i| {
            flow.source += i;
            flow.destination += i;
        }),
        ("hosts × ports", |flow, i| {
            flow.source += i >> 8;
            flow.source_port += i as u16 & 0xff;
        }),
    ];
    for seed in SEEDS {
        let hash = FlowHash::new(seed);
        for (what, vary) in cases {
            let one = |i| {
                let mut flow = base;
                vary(&mut flow, i);
                hash.ipv4(&flow)
            };
            assert_even(what, seed, &(0..FLOWS).map(one).collect::<Vec<_>>());
        }
    }
}

#[test]
fn sequential_ipv6_flows_spread_evenly() {
    let base = FlowIpv6 {
        source: 0x2001_0db8 << 96 | 1,
        destination: 0x2001_0db8_0001 << 80 | 1,
        protocol: 6,
        source_port: 1024,
        destination_port: 443,
        flow_label: 0,
    };
    type Vary = fn(&mut FlowIpv6, u32);
    let cases: [(&str, Vary); 7] = [
        ("sources", |flow, i| flow.source += u128::from(i)),
        ("source networks", |flow, i| flow.source += u128::from(i) << 64),
        ("destinations", |flow, i| flow.destination += u128::from(i)),
        ("source ports", |flow, i| flow.source_port = i as u16),
        ("destination ports", |flow, i| flow.destination_port = i as u16),
        ("flow labels", |flow, i| flow.flow_label = i),
        ("both addresses", |flow, i| {
            flow.source += u128::from(i);
            flow.destination += u128::from(i);
        }),
    ];
    for seed in SEEDS {
        let hash = FlowHash::new(seed);
        for (what, vary) in cases {
            let one = |i| {
                let mut flow = base;
                vary(&mut flow, i);
                hash.ipv6(&flow)
            };
            assert_even(what, seed, &(0..FLOWS).map(one).collect::<Vec<_>>());
        }
    }
}

#[test]
fn each_field_and_the_seed_count() {
    let flow = FlowIpv4::default();
    let hash = FlowHash::new(7);
    let variants = [
        flow,
        FlowIpv4 { source: 1, ..flow },
        FlowIpv4 { destination: 1, ..flow },
        FlowIpv4 { protocol: 1, ..flow },
        FlowIpv4 { source_port: 1, ..flow },
        FlowIpv4 { destination_port: 1, ..flow },
    ];
    let mut hashes: Vec<_> = variants.iter().map(|flow| hash.ipv4(flow)).collect();
    hashes.push(FlowHash::new(8).ipv4(&flow));
    let flow = FlowIpv6::default();
    let variants = [
        flow,
        FlowIpv6 { source: 1, ..flow },
        FlowIpv6 { destination: 1, ..flow },
        FlowIpv6 { source: 1 << 64, ..flow },
        FlowIpv6 { destination: 1 << 64, ..flow },
        FlowIpv6 { protocol: 1, ..flow },
        FlowIpv6 { source_port: 1, ..flow },
        FlowIpv6 { destination_port: 1, ..flow },
        FlowIpv6 { flow_label: 1, ..flow },
    ];
    hashes.extend(variants.iter().map(|flow| hash.ipv6(flow)));
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count, "two that differ in one field hash alike");
    assert_eq!(hash.ipv4(&FlowIpv4::default()), FlowHash::new(7).ipv4(&FlowIpv4::default()));
}
