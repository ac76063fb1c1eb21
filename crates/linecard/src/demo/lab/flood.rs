//! As much UDP as this machine sends, in many flows, over both paths.

use std::net::SocketAddr;
use std::time::Duration;

use linecard_lab::{UdpLoad, UdpSink};

use super::{Stage, say_reasons, sent_by};
use crate::demo::act::{Act, Finding, Scene};
use crate::demo::numbers::{Rates, per_cent};
use crate::output::count;

const FLOWS: u16 = 1_024;
/// The share of each path, in per cent. Of 1,024 flows that are spread by a good hash, the larger
/// share is within 60 per cent but once in 10^9 demos.
const SHARE: std::ops::RangeInclusive<f64> = 40.0..=60.0;

pub(super) const ACT: Act<Stage> = Act {
    name: "ecmp",
    title: "The client floods the server: 1,024 UDP flows, as fast as it can",
    claim: "Flows spread over both paths",
    run,
};

fn run(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let before = stage.ports_at_rest()?;
    let server = SocketAddr::new(stage.topology.server_address(false), 0);
    let sink = UdpSink::start(&stage.topology.server, &[server])?;
    let time = scene.pace.time(Duration::from_secs(3));
    let load = UdpLoad {
        flows: FLOWS,
        payload_bytes: 18,
        packets_per_second: None,
        duration_max: Duration::from_secs(60),
        ..UdpLoad::to(sink.addresses()[0])
    };
    let generator = load.start(&stage.topology.client)?;
    let mut rates = Rates::since(before.total.clone());
    scene.watch(time, || Ok(rates.line(stage.ports()?.total)))?;
    let sent = generator.stop();
    let after = stage.ports_at_rest()?;
    let arrived = sink.stop();

    let by_path = stage
        .paths()
        .map(|port| sent_by(&after, port.interface) - sent_by(&before, port.interface));
    let forwarded: u64 = by_path.iter().sum();
    let received = after.total.received_packets - before.total.received_packets;
    let dropped = after.total.dropped_packets.sum() - before.total.dropped_packets.sum();
    let share_a = per_cent(by_path[0], forwarded);
    let rate = forwarded as f64 / sent.elapsed.as_secs_f64().max(1e-6);
    let holds = SHARE.contains(&share_a) && after.total.total_balance() == 0;
    say_reasons(scene, &before.total, &after.total)?;
    let measured =
        format!("{share_a:.1} % and {:.1} %; {} packets/s", 100.0 - share_a, count(rate as u64));
    Ok(Finding::new(holds, measured)
        .with("flows", FLOWS)
        .with("generated_packets", sent.packets)
        .with("received_packets", received)
        .with("path_a_packets", by_path[0])
        .with("path_b_packets", by_path[1])
        .with("dropped_packets", dropped)
        .with("arrived_packets", arrived.packets)
        .with("forwarded_packets_per_second", rate))
}
