//! The routers on the way to a destination, found by letting the hop limit run out at each.

use std::net::IpAddr;
use std::time::Duration;

use super::probe::{ProbeKind, ProbeOutcome, Prober};
use crate::error::Result;
use crate::namespace::Namespace;

/// How to trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracerouteOptions {
    /// What the probes are.
    pub kind: ProbeKind,
    /// The largest hop limit to try, 1–255.
    pub hops_max: u8,
    /// Probes with each hop limit.
    pub probes_per_hop: u32,
    /// How long to wait for each answer.
    pub timeout: Duration,
}

impl Default for TracerouteOptions {
    fn default() -> Self {
        Self {
            kind: ProbeKind::Icmp,
            hops_max: 30,
            probes_per_hop: 1,
            timeout: Duration::from_secs(2),
        }
    }
}

/// What the probes with one hop limit brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The hop limit of the probes.
    pub hop_limit: u8,
    /// One outcome a probe.
    pub probes: Vec<ProbeOutcome>,
}

impl Hop {
    /// Who answered first, if anyone did.
    pub fn address(&self) -> Option<IpAddr> {
        self.probes.iter().find_map(ProbeOutcome::from)
    }

    /// Whether a probe of this hop reached the destination itself.
    pub fn is_destination(&self) -> bool {
        self.probes.iter().any(|probe| match probe {
            ProbeOutcome::Reply { .. } => true,
            ProbeOutcome::Error(error) => error.is_port_unreachable(),
            _ => false,
        })
    }
}

/// Lists the hops to `destination`; the last is the destination if it was reached, or a router that
/// refused to go on.
///
/// # Errors
/// When no raw socket can be had (`CAP_NET_RAW`).
pub fn traceroute(
    namespace: &Namespace,
    destination: IpAddr,
    options: &TracerouteOptions,
) -> Result<Vec<Hop>> {
    const PAYLOAD_BYTES: usize = 32;
    let mut prober = Prober::open(namespace, destination, None, options.kind)?;
    let mut hops = Vec::new();
    for hop_limit in 1..=options.hops_max {
        prober.set_hop_limit(hop_limit)?;
        let probes = (0..options.probes_per_hop)
            .map(|_| prober.probe(PAYLOAD_BYTES, options.timeout))
            .collect::<Result<Vec<_>>>()?;
        let refused = probes.iter().any(|probe| match probe {
            ProbeOutcome::Error(error) => !error.is_time_exceeded(),
            ProbeOutcome::NotSent { .. } => true,
            _ => false,
        });
        let hop = Hop { hop_limit, probes };
        let ends = refused || hop.is_destination();
        hops.push(hop);
        if ends {
            break;
        }
    }
    Ok(hops)
}
