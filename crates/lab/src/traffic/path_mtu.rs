//! The largest packet that reaches a destination whole (RFC 1191, RFC 8201), and who said so.
//!
//! A search between the smallest MTU of the family and an upper bound: a "too big" message with an
//! MTU moves the bound there at once; where no message comes (a black hole), halving goes on alone.

use std::net::IpAddr;
use std::time::Duration;

use super::probe::{IcmpError, ProbeKind, ProbeOutcome, Prober};
use crate::error::{LabError, Result};
use crate::namespace::Namespace;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathMtu {
    /// The largest IP packet, header included, that was answered.
    pub mtu_bytes: u32,
    /// The "too big" messages on the way there, in their order.
    pub errors: Vec<IcmpError>,
    /// Probes that were sent.
    pub probes: u32,
}

/// Searches the path MTU to `destination` up to `bytes_max` (IP packet with header, at most 65,535).
///
/// # Errors
/// `TimedOut` when not even the smallest probe is answered within `timeout`; or without `CAP_NET_RAW`.
pub fn path_mtu(
    namespace: &Namespace,
    destination: IpAddr,
    bytes_max: u32,
    timeout: Duration,
) -> Result<PathMtu> {
    // RFC 791 and RFC 8200 §5; with the headers of IP and ICMP.
    let (smallest, headers) = if destination.is_ipv4() { (68, 28) } else { (1280, 48) };
    let mut prober = Prober::open(namespace, destination, None, ProbeKind::Icmp)?;
    prober.set_dont_fragment()?;
    let mut found = PathMtu { mtu_bytes: 0, errors: Vec::new(), probes: 0 };
    let (mut low, mut high) = (smallest, bytes_max.clamp(smallest, 65_535));
    let mut size = high;
    while low <= high {
        found.probes += 1;
        let next = match prober.probe((size - headers) as usize, timeout)? {
            ProbeOutcome::Reply { .. } => {
                found.mtu_bytes = size;
                low = size + 1;
                None
            }
            ProbeOutcome::Error(error) if error.is_too_big() => {
                found.errors.push(error);
                high = size - 1;
                // The message names the size to try; some routers leave it zero.
                error.mtu_bytes.filter(|mtu| (low..=high).contains(mtu)).inspect(|mtu| high = *mtu)
            }
            _ => {
                high = size - 1;
                None
            }
        };
        size = next.unwrap_or(low + (high.saturating_sub(low)).div_ceil(2));
    }
    if found.mtu_bytes == 0 {
        let detail = format!("no probe of {smallest} bytes or more was answered");
        return Err(LabError::timed_out(format!("find the path MTU to {destination}"), detail));
    }
    Ok(found)
}
