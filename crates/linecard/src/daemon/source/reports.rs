//! Reports from what the classifiers have counted, and from the RIB.

use std::collections::BinaryHeap;
use std::net::IpAddr;

use ipnet::IpNet;
use linecard_control::facts::{RouteTarget, RouteType};
use linecard_control::rib::{HeldRoute, Rib};
use linecard_io::{ClassLimit, ClassTotals, Outcome, OutcomeTotals, ProtectionClass};
use linecard_observe::{
    ClassReport, NextHopReport, PassedReport, PortProtectionReport, RouteKind, RouteQuery,
    RouteReport,
};
use linecard_packet::{DropReason, PortTotals};

use crate::daemon::ports::ServedPort;

/// What the classifier left to the kernel.
pub(super) fn passed(port: &ServedPort) -> Vec<PassedReport> {
    // The maps live as long as the port; a reading that fails shows as nothing passed.
    let totals = port.outcomes().unwrap_or_default();
    Outcome::ALL
        .into_iter()
        .zip(totals)
        .filter(|&(outcome, _)| {
            !matches!(outcome, Outcome::Taken | Outcome::Limited | Outcome::Filtered)
        })
        .map(|(outcome, total)| PassedReport {
            reason: outcome.label().to_owned(),
            description: outcome.description().to_owned(),
            packets: total.packets,
            bytes: total.bytes,
        })
        .collect()
}

/// Adds what the port's classifier has dropped for the router's sake, which no worker has seen.
pub(super) fn add_dropped(total: &mut PortTotals, port: &ServedPort) {
    let outcomes = port.outcomes().unwrap_or_default();
    for (outcome, reason) in [
        (Outcome::Limited, DropReason::RouterRateLimited),
        (Outcome::Filtered, DropReason::RouterFiltered),
    ] {
        let OutcomeTotals { packets, bytes } = outcomes[outcome as usize];
        total.received_packets += packets;
        total.received_bytes += bytes;
        total.dropped_packets[reason] += packets;
        total.dropped_bytes[reason] += bytes;
    }
}

/// What is counted of a port's classes; none where protection is off.
pub(super) fn protection(port: &ServedPort) -> Option<PortProtectionReport> {
    let (limits, totals) = (port.limits?, port.classes().ok()??);
    let classes = ProtectionClass::ALL.into_iter().zip(limits).zip(totals);
    let class =
        |((class, limit), total): ((ProtectionClass, ClassLimit), ClassTotals)| ClassReport {
            class: class.label().to_owned(),
            description: class.description().to_owned(),
            rate_packets_per_second: limit.rate_packets_per_second,
            burst_packets: limit.burst_packets,
            passed_packets: total.passed_packets,
            passed_bytes: total.passed_bytes,
            dropped_packets: total.limited_packets,
            dropped_bytes: total.limited_bytes,
        };
    let port = port.interface.name.clone();
    Some(PortProtectionReport { port, classes: classes.map(class).collect() })
}

/// The prefixes that contain `address`, the shortest first, whether they have a route or not.
pub(in crate::daemon) fn covering(address: IpAddr) -> Vec<IpNet> {
    let lengths = 0..=IpNet::from(address).max_prefix_len();
    lengths.filter_map(|length| Some(IpNet::new(address, length).ok()?.trunc())).collect()
}

/// The first prefixes in use that `query` asks for, in order: a page of them and one more. The RIB
/// is not in order, which makes learning a route cheap; so this looks at each prefix once.
pub(super) fn first_prefixes(rib: &Rib, query: &RouteQuery) -> Vec<IpNet> {
    let limit = query.limit.clamp(1, RouteQuery::LIMIT_MAX);
    let mut first: BinaryHeap<IpNet> = BinaryHeap::with_capacity(limit + 2);
    for prefix in rib.selected_prefixes().filter(|prefix| query.matches(prefix)) {
        if first.len() <= limit {
            first.push(prefix);
        } else if first.peek().is_some_and(|last| prefix < *last) {
            first.pop();
            first.push(prefix);
        }
    }
    first.into_sorted_vec()
}

pub(in crate::daemon) fn route_report(rib: &Rib, route: &HeldRoute) -> RouteReport {
    let kind = match route.route_type {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local | RouteType::Broadcast | RouteType::Anycast => RouteKind::Local,
        RouteType::Blackhole => RouteKind::Blackhole,
        RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => RouteKind::Reject,
        RouteType::Multicast | RouteType::Other => RouteKind::Kernel,
    };
    let paths = match &route.target {
        RouteTarget::Paths(paths) => paths.clone(),
        RouteTarget::NextHopObject(id) => rib.object_paths(*id),
    };
    let next_hops = paths
        .iter()
        .map(|path| NextHopReport {
            interface: name(rib, path.ifindex),
            gateway: path.via,
            weight: path.weight,
        })
        .collect();
    RouteReport { prefix: route.prefix, kind, next_hops }
}

pub(super) fn name(rib: &Rib, ifindex: u32) -> String {
    rib.link(ifindex).map_or_else(|| format!("#{ifindex}"), |link| link.name.clone())
}
