//! Packets that must not be forwarded, counted by reason.

use std::time::Duration;

use linecard_lab::{FrameSocket, wait_until};
use linecard_observe::PortsReport;
use linecard_wire::MacAddress;

use super::Stage;
use crate::demo::act::{Act, Finding, Scene};
use crate::demo::unwanted::{self, Fate, Path};

const COPIES: u64 = 100;
const COUNT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) const ACT: Act<Stage> = Act {
    name: "drops",
    title: "The client sends what no router forwards",
    claim: "Each has its reason",
    run,
};

fn run(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let link = &stage.topology.client_link;
    let path = Path {
        router_mac: MacAddress::new(link.far.mac),
        client_mac: MacAddress::new(link.near.mac),
        client: link.near.ipv4.addr(),
        server: stage.topology.server_ipv4(),
    };
    let socket = FrameSocket::open(&stage.topology.client, link.near.interface)?;
    let mut counted = Vec::new();
    for (fate, frame) in unwanted::frames(&path) {
        scene.interrupt.check()?;
        let before = of(&stage.ports()?, fate);
        socket.send_all(&vec![frame; COPIES as usize])?;
        let mut packets = 0;
        wait_until(COUNT_TIMEOUT, || {
            // A router that does not answer has not counted.
            packets = stage.ports().map_or(0, |report| of(&report, fate) - before);
            Ok(packets >= COPIES)
        })?;
        counted.push((fate, packets));
    }
    unwanted::finding(scene, &counted, COPIES)
}

/// Packets of this fate: what goes to the kernel may be left to it by the classifier, or be handed
/// to it by a worker.
fn of(report: &PortsReport, fate: Fate) -> u64 {
    match fate {
        Fate::Dropped(reason) => report.total.dropped_packets[reason],
        Fate::ToTheKernel(reason) => {
            let passed = report.ports.iter().flat_map(|port| &port.passed);
            let passed: u64 =
                passed.filter(|at| at.reason == reason.label()).map(|at| at.packets).sum();
            passed + report.total.punted_packets[reason]
        }
    }
}
