//! One TCP connection each way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use linecard_lab::{TcpDirection, TcpReport, TcpRun, TcpTransfer};

use super::{Stage, say_reasons};
use crate::demo::act::{Act, Finding, Scene};
use crate::demo::numbers::{bits_per_second, milliseconds};

pub(super) const ACT: Act<Stage> = Act {
    name: "tcp",
    title: "A TCP transfer to the server, and one back",
    claim: "Every byte arrives right",
    run,
};

fn run(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let before = stage.ports()?.total;
    let upload = transfer(stage, scene, TcpDirection::Upload)?;
    let download = transfer(stage, scene, TcpDirection::Download)?;
    let after = stage.ports()?.total;
    say_reasons(scene, &before, &after)?;
    let forwarded = after.sent_packets - before.sent_packets;
    let punted = after.punted_packets.sum() - before.punted_packets.sum();
    let bytes = upload.bytes + download.bytes;
    let spoilt = upload.chunks_spoilt + download.chunks_spoilt;
    let (up, down) = (upload.bits_per_second(), download.bits_per_second());
    let measured = format!(
        "{} up, {} down; {} MB, {}",
        bits_per_second(up),
        bits_per_second(down),
        bytes / 1_000_000,
        wrong(spoilt),
    );
    let stall = upload.stall_longest.max(download.stall_longest);
    Ok(Finding::new(bytes > 0 && spoilt == 0 && forwarded > 0, measured)
        .with("bytes", bytes)
        .with("chunks_spoilt", spoilt)
        .with("punted_packets", punted)
        .with("upload_bits_per_second", up)
        .with("download_bits_per_second", down)
        .with("stall_longest_milliseconds", milliseconds(stall)))
}

fn transfer(
    stage: &Stage,
    scene: &Scene<'_>,
    direction: TcpDirection,
) -> anyhow::Result<TcpReport> {
    let run = start(stage, direction)?;
    watch(scene, &run, scene.pace.time(Duration::from_millis(1_500)))?;
    Ok(run.stop()?)
}

/// Says whether bytes were wrong.
pub(super) fn wrong(chunks_spoilt: u64) -> String {
    if chunks_spoilt == 0 {
        "none wrong".to_owned()
    } else {
        format!("{chunks_spoilt} chunks wrong")
    }
}

/// Starts a transfer that goes on until it is stopped.
pub(super) fn start(stage: &Stage, direction: TcpDirection) -> anyhow::Result<TcpRun> {
    let server = SocketAddr::new(stage.topology.server_address(false), 0);
    let plan =
        TcpTransfer { direction, duration_max: Duration::from_secs(60), ..TcpTransfer::to(server) };
    Ok(plan.start(&stage.topology.client, &stage.topology.server)?)
}

/// Shows the goodput for a while.
pub(super) fn watch(scene: &Scene<'_>, run: &TcpRun, time: Duration) -> anyhow::Result<()> {
    let (mut at, mut before) = (Instant::now(), run.received());
    scene.watch(time, || {
        let (now, received) = (Instant::now(), run.received());
        let rate = (received - before) as f64 * 8.0 / (now - at).as_secs_f64().max(1e-6);
        (at, before) = (now, received);
        Ok(format!("goodput {}", bits_per_second(rate)))
    })
}
