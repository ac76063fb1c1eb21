//! Echo requests, one after the other, and what became of each (RFC 792, RFC 4443).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::probe::{IcmpError, ProbeKind, ProbeOutcome, Prober};
use crate::error::Result;
use crate::namespace::Namespace;

/// How to ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingOptions {
    /// How many probes.
    pub count: u32,
    /// From the start of one probe to the start of the next, at least.
    pub interval: Duration,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Bytes behind the ICMP header, up to 65,507.
    pub payload_bytes: usize,
    /// TTL or hop limit; the system's default when not given.
    pub hop_limit: Option<u8>,
    /// Whether routers and this host may not fragment the probes.
    pub dont_fragment: bool,
    /// The source address; chosen by the route when not given.
    pub source: Option<IpAddr>,
}

impl Default for PingOptions {
    fn default() -> Self {
        Self {
            count: 3,
            interval: Duration::ZERO,
            timeout: Duration::from_secs(2),
            payload_bytes: 56,
            hop_limit: None,
            dont_fragment: false,
            source: None,
        }
    }
}

/// What became of the probes, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingReport {
    /// One outcome a probe.
    pub probes: Vec<ProbeOutcome>,
}

impl PingReport {
    /// How many probes were answered by an echo reply.
    pub fn replies(&self) -> usize {
        self.probes.iter().filter(|probe| probe.is_reply()).count()
    }

    /// Whether every probe was answered by an echo reply.
    pub fn is_complete(&self) -> bool {
        !self.probes.is_empty() && self.replies() == self.probes.len()
    }

    /// The ICMP errors that came.
    pub fn errors(&self) -> impl Iterator<Item = &IcmpError> {
        self.probes.iter().filter_map(|probe| match probe {
            ProbeOutcome::Error(error) => Some(error),
            _ => None,
        })
    }

    /// The round trips of the replies, shortest first.
    pub fn round_trips(&self) -> Vec<Duration> {
        let replies = self.probes.iter().filter(|probe| probe.is_reply());
        let mut times: Vec<_> = replies.filter_map(ProbeOutcome::round_trip).collect();
        times.sort_unstable();
        times
    }

    /// The median of the replies' round trips.
    pub fn round_trip_median(&self) -> Option<Duration> {
        let times = self.round_trips();
        times.get(times.len() / 2).copied()
    }
}

/// Pings `destination` from `namespace`. A probe that is lost, refused or answered by an ICMP error
/// is no failure but an outcome.
///
/// # Errors
/// When no raw socket can be had (`CAP_NET_RAW`) or an option is refused.
pub fn ping(
    namespace: &Namespace,
    destination: IpAddr,
    options: &PingOptions,
) -> Result<PingReport> {
    let mut prober = Prober::open(namespace, destination, options.source, ProbeKind::Icmp)?;
    if let Some(hop_limit) = options.hop_limit {
        prober.set_hop_limit(hop_limit)?;
    }
    if options.dont_fragment {
        prober.set_dont_fragment()?;
    }
    let mut probes = Vec::new();
    let mut next = Instant::now();
    for _ in 0..options.count {
        // Pacing, not synchronisation: the answers are waited for in `probe`.
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += options.interval;
        probes.push(prober.probe(options.payload_bytes, options.timeout)?);
    }
    Ok(PingReport { probes })
}
