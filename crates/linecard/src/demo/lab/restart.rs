//! Linecard comes back under a TCP connection that does not notice.

use std::time::{Duration, Instant};

use linecard_lab::TcpDirection;

use super::{Stage, tcp};
use crate::demo::act::{Act, Finding, Scene};
use crate::demo::numbers::{duration, milliseconds};

/// A connection that lost much would wait this long and longer (RFC 6298).
const STALL_MAX: Duration = Duration::from_secs(1);

pub(super) const ACT: Act<Stage> = Act {
    name: "restart",
    title: "Linecard starts again under a TCP transfer",
    claim: "TCP goes on, no stall of 1 s",
    run,
};

fn run(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let time = scene.pace.time(Duration::from_millis(1_200));
    let transfer = tcp::start(stage, TcpDirection::Upload)?;
    tcp::watch(scene, &transfer, time / 2)?;
    let by_kernel_bytes = transfer.received();
    let begin = Instant::now();
    stage.start_router(scene)?;
    let started = begin.elapsed();
    scene.console.live(&format!("Linecard forwards again after {}", duration(started)))?;
    tcp::watch(scene, &transfer, time)?;
    let report = transfer.stop()?;
    let forwarded = stage.ports_at_rest()?.total.sent_packets;
    let holds = report.chunks_spoilt == 0
        && by_kernel_bytes > 0
        && forwarded > 0
        && report.stall_longest < STALL_MAX;
    let measured = format!(
        "longest stall {}; {} MB, {}",
        duration(report.stall_longest),
        report.bytes / 1_000_000,
        tcp::wrong(report.chunks_spoilt),
    );
    Ok(Finding::new(holds, measured)
        .with("bytes", report.bytes)
        .with("chunks_spoilt", report.chunks_spoilt)
        .with("stall_longest_milliseconds", milliseconds(report.stall_longest))
        .with("start_milliseconds", milliseconds(started))
        .with("forwarded_packets", forwarded))
}
