//! `kill -9` in the middle of traffic.

use std::net::SocketAddr;
use std::time::Duration;

use linecard_lab::{UdpLoad, UdpSink};

use super::Stage;
use crate::demo::act::{Act, Finding, Scene};
use crate::demo::numbers::{duration, milliseconds};
use crate::output::count;

const RATE_PACKETS_PER_SECOND: u64 = 20_000;
/// What is promised.
const LOST_TRAFFIC_MAX: Duration = Duration::from_millis(5);
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) const ACT: Act<Stage> = Act {
    name: "kill -9",
    title: "Linecard is killed (SIGKILL) under 20,000 packets/s",
    claim: "The kernel forwards on; at most 5 ms of traffic is lost",
    run,
};

fn run(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    // Counters die with the process: what it counted is read before, with nothing on its way.
    let last = stage.ports_at_rest()?;
    let server = SocketAddr::new(stage.topology.server_address(false), 0);
    let sink = UdpSink::start(&stage.topology.server, &[server])?;
    let load = UdpLoad {
        flows: 16,
        packets_per_second: Some(RATE_PACKETS_PER_SECOND),
        duration_max: Duration::from_secs(60),
        ..UdpLoad::to(sink.addresses()[0])
    };
    let generator = load.start(&stage.topology.client)?;
    let time = scene.pace.time(Duration::from_secs(1));
    let progress = |by: &str| {
        // In this order: what is under way must not look as if more arrived than was sent.
        let arrived = sink.packets();
        let sent = count(generator.sent());
        format!("now by {by}; so far {sent} sent, {} arrived", count(arrived))
    };
    scene.watch(time, || Ok(progress("Linecard")))?;
    stage.kill_router(last)?;
    let at_kill = sink.packets();
    scene.watch(time, || Ok(progress("the kernel")))?;
    let sent = generator.stop();
    sink.wait_packets(sent.packets, ARRIVAL_TIMEOUT);
    let arrived = sink.stop();

    // What found the sink's socket full had come through.
    let lost = sent.packets.saturating_sub(arrived.packets + arrived.overflowed);
    let lost_traffic = Duration::from_secs_f64(lost as f64 / sent.packets_per_second().max(1.0));
    let after_kill = arrived.packets - at_kill;
    let holds = lost_traffic <= LOST_TRAFFIC_MAX && after_kill > 0;
    let measured = if lost == 0 {
        format!("none of {} packets lost", count(sent.packets))
    } else {
        format!(
            "{} of {} packets lost ({} of traffic), longest outage {}",
            count(lost),
            count(sent.packets),
            duration(lost_traffic),
            duration(arrived.outage_longest),
        )
    };
    Ok(Finding::new(holds, measured)
        .with("sent_packets", sent.packets)
        .with("lost_packets", lost)
        .with("lost_traffic_milliseconds", milliseconds(lost_traffic))
        .with("outage_longest_milliseconds", milliseconds(arrived.outage_longest))
        .with("arrived_after_kill_packets", after_kill))
}
