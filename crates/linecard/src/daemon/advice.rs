//! What an operator should know at the start: settings of the kernel that do not do with Linecard
//! what they do without it.
//!
//! What certainly keeps packets from being forwarded or filtered as configured is a trouble, which
//! `show health` tells too; what may be as it should be is only logged.

use std::fs;

use linecard_control::mirror::netfilter;
use linecard_control::rib::Rib;
use tracing::{debug, info, warn};

use super::ports::ServedPort;

/// Chains that are named; of more only the number is told.
const CHAINS_NAMED_MAX: usize = 3;

/// Logs all advice, and returns what of it is a trouble that lasts until the next start.
/// [`not_forwarding`] is not in it, since that can be asked anew at any time.
pub(super) fn give(ports: &[ServedPort], rib: &Rib) -> Vec<String> {
    let bypassed: Vec<String> = nftables().into_iter().chain(iptables()).collect();
    for trouble in bypassed.iter().chain(&not_forwarding(ports, rib)) {
        warn!("{trouble}");
    }
    for port in ports {
        let name = &port.interface.name;
        if port.interface.driver().is_ok_and(|driver| driver == "veth") {
            info!(
                "{name} is a veth: its peer must not leave checksums to an offload: \
                 `ethtool -K PEER tx off txvlan off`"
            );
        }
        if rp_filter("all").max(rp_filter(name)) > 0 {
            warn!(
                "rp_filter is set on {name} but is not applied to transit: \
                 filter spoofed sources upstream"
            );
        }
    }
    bypassed
}

/// A sentence for each port that forwards neither IPv4 nor IPv6.
pub(super) fn not_forwarding(ports: &[ServedPort], rib: &Rib) -> Vec<String> {
    let links = ports.iter().filter_map(|port| rib.link(port.interface.index));
    let off = links.filter(|link| !link.forwarding_ipv4 && !link.forwarding_ipv6);
    off.map(|link| {
        format!(
            "forwarding is off on {}: `sysctl net.ipv4.ip_forward=1` and \
             `sysctl net.ipv6.conf.all.forwarding=1`",
            link.name
        )
    })
    .collect()
}

fn nftables() -> Option<String> {
    let chains = netfilter::chains_of_transit()
        .inspect_err(|error| debug!(%error, "cannot ask for the chains of nftables"))
        .ok()?;
    if chains.is_empty() {
        return None;
    }
    let named = chains.iter().take(CHAINS_NAMED_MAX).map(|chain| format!("`{chain}`"));
    let mut names = named.collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = chains.len().checked_sub(CHAINS_NAMED_MAX) {
        names += &format!(" and {more} more");
    }
    Some(bypassed(&format!("nftables chains {names}")))
}

/// The tables of the older iptables, which are no chains of nftables. The files are missing where
/// the kernel has no such tables.
fn iptables() -> Option<String> {
    let tables = ["ip", "ip6"].into_iter().flat_map(|family| {
        let path = format!("/proc/thread-self/net/{family}_tables_names");
        let names = fs::read_to_string(path).unwrap_or_default();
        names.lines().map(|name| format!("`{family} {name}`")).collect::<Vec<_>>()
    });
    let names = tables.collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| bypassed(&format!("iptables-legacy tables {names}")))
}

fn bypassed(what: &str) -> String {
    format!(
        "netfilter does not see what Linecard forwards, so it bypasses the {what}: \
         serve no port whose transit they must filter or translate, or remove them, and restart"
    )
}

/// `net.ipv4.conf.SCOPE.rp_filter`; 0 where it cannot be read.
fn rp_filter(scope: &str) -> u8 {
    let value = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{scope}/rp_filter"));
    value.ok().and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
