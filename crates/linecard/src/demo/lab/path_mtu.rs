//! Path MTU discovery over links of which the second takes less.

use std::time::Duration;

use linecard_lab::path_mtu;

use super::{SERVER_MTU_BYTES, Stage};
use crate::demo::act::{Act, Finding, Scene};

pub(super) const ACT: Act<Stage> = Act {
    name: "path mtu",
    title: "The client looks for the path MTU: 1500 bytes to the router, 1400 behind",
    claim: "\"Too big\" names the MTU",
    run,
};

fn run(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let client_mtu_bytes = stage.topology.client.interface("to-router")?.mtu_bytes;
    let (mut holds, mut mtus, mut probes) = (true, Vec::new(), 0);
    for ipv6 in [false, true] {
        let router = stage.router_address(ipv6);
        let server = stage.topology.server_address(ipv6);
        let timeout = Duration::from_secs(1);
        let found = path_mtu(&stage.topology.client, server, client_mtu_bytes, timeout)?;
        holds &= found.mtu_bytes == SERVER_MTU_BYTES;
        holds &= found.errors.first().is_some_and(|error| error.from == router);
        mtus.push(found.mtu_bytes);
        probes += found.probes;
        scene.interrupt.check()?;
    }
    let measured = format!("{} bytes IPv4, {} IPv6", mtus[0], mtus[1]);
    Ok(Finding::new(holds, measured)
        .with("mtu_ipv4_bytes", mtus[0])
        .with("mtu_ipv6_bytes", mtus[1])
        .with("probes", probes))
}
