//! The FIBs of the kernel and of Linecard, as sets that must be equal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use linecard_lab::{KernelNextHop, KernelRoute, Namespace};

use crate::common::Daemon;

/// Prefix → ways onward, in ascending order.
pub type Fib = BTreeMap<IpNet, Vec<KernelNextHop>>;

/// How long Linecard may be behind the kernel; it is milliseconds, but machines are busy.
const LAG_MAX: Duration = Duration::from_secs(60);

/// The unicast routes of the kernel's main table: of each prefix the one that it uses.
pub fn of_kernel(namespace: &Namespace) -> Fib {
    let mut best: BTreeMap<IpNet, KernelRoute> = BTreeMap::new();
    for ipv6 in [false, true] {
        for route in namespace.routes(ipv6).expect("the kernel tells its routes") {
            let is_better = best.get(&route.prefix).is_none_or(|it| route.metric < it.metric);
            if is_better && is_compared(&route.prefix) {
                best.insert(route.prefix, route);
            }
        }
    }
    best.into_iter().map(|(prefix, route)| (prefix, route.next_hops)).collect()
}

/// The unicast routes that `linecard show routes --json` prints.
pub fn of_linecard(daemon: &Daemon) -> Fib {
    let report = daemon.show_json(&["routes"]);
    let report: linecard_observe::RoutesReport =
        serde_json::from_value(report).expect("the report that is documented");
    let mut fib = Fib::new();
    for route in report.routes {
        if route.kind != linecard_observe::RouteKind::Unicast || !is_compared(&route.prefix) {
            continue;
        }
        let hop = |it: linecard_observe::NextHopReport| KernelNextHop {
            interface: it.interface,
            gateway: it.gateway,
            weight: it.weight,
        };
        let mut hops: Vec<_> = route.next_hops.into_iter().map(hop).collect();
        hops.sort();
        let twice = fib.insert(route.prefix, hops);
        assert_eq!(twice, None, "{} is shown twice", route.prefix);
    }
    fib
}

/// Waits until Linecard holds what the kernel holds now, which must be quiet, and returns it.
pub fn wait_until_equal(daemon: &Daemon, namespace: &Namespace) -> Fib {
    let start = Instant::now();
    let kernel = of_kernel(namespace);
    let dumped = start.elapsed();
    loop {
        let asked = Instant::now();
        let linecard = of_linecard(daemon);
        if linecard == kernel {
            println!(
                "{} routes alike; the kernel told them in {:.2} s, `linecard show routes` in {:.2} s",
                kernel.len(),
                dumped.as_secs_f64(),
                asked.elapsed().as_secs_f64()
            );
            return kernel;
        }
        assert!(start.elapsed() < LAG_MAX, "{}", difference(&kernel, &linecard));
    }
}

/// Every link has its own route for link-local addresses, and they are no transit traffic.
fn is_compared(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(_) => true,
        IpNet::V6(prefix) => !prefix.addr().is_unicast_link_local(),
    }
}

fn difference(kernel: &Fib, linecard: &Fib) -> String {
    const SHOWN_MAX: usize = 10;
    let prefixes: std::collections::BTreeSet<_> = kernel.keys().chain(linecard.keys()).collect();
    let differ: Vec<_> =
        prefixes.into_iter().filter(|prefix| kernel.get(prefix) != linecard.get(prefix)).collect();
    let mut text = format!(
        "{} prefixes differ (kernel has {}, Linecard {}), the first of them:\n",
        differ.len(),
        kernel.len(),
        linecard.len()
    );
    for prefix in differ.into_iter().take(SHOWN_MAX) {
        let (ours, theirs) = (linecard.get(prefix), kernel.get(prefix));
        text += &format!("{prefix}: kernel {theirs:?}, Linecard {ours:?}\n");
    }
    text
}
