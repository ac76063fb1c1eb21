//! Packets that a router must not forward, a few of each kind, and under which reason they count.

use std::net::Ipv4Addr;

use linecard_packet::{DropReason, PuntReason};
use linecard_wire::MacAddress;
use linecard_wire::builder::{Ipv4, PacketBuilder, Udp};

use super::act::{Finding, Scene};
use crate::output::count;

/// Where a packet must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Dropped(DropReason),
    /// The kernel answers it.
    ToTheKernel(PuntReason),
}

impl Fate {
    /// The reason's label, as everywhere.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Dropped(reason) => reason.label(),
            Self::ToTheKernel(reason) => reason.label(),
        }
    }
}

/// Between whom they go, on the first link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    pub(super) router_mac: MacAddress,
    pub(super) client_mac: MacAddress,
    pub(super) client: Ipv4Addr,
    pub(super) server: Ipv4Addr,
}

/// One frame of each kind.
pub(super) fn frames(path: &Path) -> Vec<(Fate, Vec<u8>)> {
    let right = Ipv4::new(path.client, path.server);
    let frame = |header: Ipv4| {
        PacketBuilder::new()
            .ethernet(path.router_mac, path.client_mac)
            .ipv4(header)
            .udp(Udp::new(4_000, 9))
            .payload(b"not to be forwarded")
            .build()
    };
    let dropped = |reason, header| (Fate::Dropped(reason), frame(header));
    vec![
        dropped(DropReason::Ipv4ChecksumWrong, Ipv4 { checksum: Some(0xbad), ..right.clone() }),
        dropped(
            DropReason::Ipv4HeaderMalformed,
            Ipv4 { total_length: Some(1_400), ..right.clone() },
        ),
        dropped(DropReason::MartianSource, Ipv4 { source: Ipv4Addr::LOCALHOST, ..right.clone() }),
        // Not 127.0.0.1: that is the router's own address, so the kernel gets and drops it.
        dropped(
            DropReason::MartianDestination,
            Ipv4 { destination: Ipv4Addr::UNSPECIFIED, ..right.clone() },
        ),
        (Fate::ToTheKernel(PuntReason::TtlExpired), frame(Ipv4 { ttl: 1, ..right })),
    ]
}

/// Says what was counted of each kind, when `copies` of each were sent.
pub(super) fn finding(
    scene: &Scene<'_>,
    counted: &[(Fate, u64)],
    copies: u64,
) -> anyhow::Result<Finding> {
    for (fate, packets) in counted {
        let whither = match fate {
            Fate::Dropped(_) => "dropped",
            Fate::ToTheKernel(_) => "to the kernel, which answers",
        };
        scene.console.line(&format!("        {:<22} {packets:>4}  {whither}", fate.label()))?;
    }
    let (kinds, sent) = (counted.len(), copies * counted.len() as u64);
    let sum: u64 = counted.iter().map(|(_, packets)| packets).sum();
    let measured = format!("{} of {}, by {kinds} reasons", count(sum), count(sent));
    let holds = counted.iter().all(|&(_, packets)| packets == copies);
    let finding = Finding::new(holds, measured).with("sent_packets", sent);
    Ok(counted.iter().fold(finding, |finding, (fate, packets)| {
        finding.with(&format!("{}_packets", fate.label()), *packets)
    }))
}
