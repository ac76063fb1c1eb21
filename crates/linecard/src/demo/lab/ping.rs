//! Ping, which also makes the router ask for its neighbours.

use std::time::Duration;

use linecard_lab::{PingOptions, ping};

use super::Stage;
use crate::demo::act::{Act, Finding, Scene};
use crate::demo::numbers::{duration, milliseconds};

pub(super) const ACT: Act<Stage> = Act {
    name: "ping",
    title: "The client pings the server, IPv4 and IPv6",
    claim: "Every ping is answered",
    run,
};

fn run(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let before = stage.ports()?.total.sent_packets;
    let count = scene.pace.count(20);
    let options =
        PingOptions { count, interval: Duration::from_millis(10), ..PingOptions::default() };
    let (mut replies, mut times) = (0, Vec::new());
    for ipv6 in [false, true] {
        let report = ping(&stage.topology.client, stage.topology.server_address(ipv6), &options)?;
        replies += report.replies();
        times.extend(report.round_trips());
        scene.interrupt.check()?;
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let sent = 2 * count as usize;
    let forwarded = stage.ports()?.total.sent_packets - before;
    let holds = replies == sent && forwarded > 0;
    let measured = format!("{replies} of {sent}, median {}", duration(median));
    Ok(Finding::new(holds, measured)
        .with("requests", sent)
        .with("replies", replies)
        .with("round_trip_median_milliseconds", milliseconds(median))
        .with("forwarded_packets", forwarded))
}
