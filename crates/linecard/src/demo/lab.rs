//! The stage of namespaces: client, router and server, with Linecard as a process in the router.

mod books;
mod drops;
mod flood;
mod kill;
mod path_mtu;
mod ping;
mod restart;
mod router;
mod tcp;
mod traceroute;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use linecard_lab::{Port, RouterOptions, RouterTopology, wait_until};
use linecard_observe::PortsReport;
use linecard_packet::PortTotals;

use self::router::Router;
use super::act::{Act, Scene};
use super::numbers::duration;
use crate::output::count;

/// The links to the server take less than the link to the client, so that there is a path MTU to
/// be found.
const SERVER_MTU_BYTES: u32 = 1_400;
/// How long counters may take to come to rest once traffic has stopped.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// The namespaces and the router's process.
pub(super) struct Stage {
    // Dropped in this order: the router goes before its ports.
    router: Option<Router>,
    /// The last reports of routers that are gone.
    ended: Vec<PortsReport>,
    topology: RouterTopology,
}

/// The acts, in the order of the story.
pub(super) fn acts() -> [Act<Stage>; 9] {
    [
        ping::ACT,
        traceroute::ACT,
        path_mtu::ACT,
        tcp::ACT,
        flood::ACT,
        drops::ACT,
        kill::ACT,
        restart::ACT,
        books::ACT,
    ]
}

impl Stage {
    /// Builds the namespaces; Linecard does not run yet.
    ///
    /// # Errors
    /// Without root's capabilities, or when the kernel has no veth.
    pub(super) fn raise() -> anyhow::Result<Self> {
        let options =
            RouterOptions { server_mtu_bytes: SERVER_MTU_BYTES, ..RouterOptions::default() };
        let topology = RouterTopology::new(&options)?;
        Ok(Self { router: None, ended: Vec::new(), topology })
    }

    /// Starts Linecard and says how it serves the ports.
    ///
    /// # Errors
    /// Interrupted, or what kept Linecard from starting.
    pub(super) fn open(&mut self, scene: &Scene<'_>) -> anyhow::Result<()> {
        let started = Instant::now();
        let report = self.start_router(scene)?;
        let first = report.ports.first().context("the router has ports")?;
        let (ports, kind, mode) = (report.ports.len(), &first.kind, &first.mode);
        let mode = if mode.is_empty() { String::new() } else { format!(", {mode}") };
        let took = duration(started.elapsed());
        scene
            .console
            .line(&format!("Linecard forwards on {ports} ports ({kind}{mode}) after {took}.\n"))?;
        Ok(())
    }

    /// Starts Linecard in the router and waits until it forwards.
    fn start_router(&mut self, scene: &Scene<'_>) -> anyhow::Result<PortsReport> {
        let names = self.topology.router_ports().map(|port| port.interface);
        let router = self.router.insert(Router::start(&self.topology.router, &names)?);
        router.wait_ready(scene)?;
        router.ports()
    }

    /// The running Linecard.
    fn router(&mut self) -> anyhow::Result<&mut Router> {
        self.router.as_mut().context("Linecard does not run")
    }

    /// What Linecard counted so far.
    fn ports(&mut self) -> anyhow::Result<PortsReport> {
        self.router()?.ports()
    }

    /// What Linecard counted, once nothing is on its way any more.
    fn ports_at_rest(&mut self) -> anyhow::Result<PortsReport> {
        let mut last = self.ports()?;
        let mut failure = None;
        let look = || {
            let now = match self.ports() {
                Ok(now) => now,
                Err(error) => {
                    failure = Some(error);
                    return Ok(true);
                }
            };
            let rests = now == last && now.total.queued_packets == 0;
            last = now;
            Ok(rests)
        };
        wait_until(SETTLE_TIMEOUT, look)?;
        failure.map_or(Ok(last), Err)
    }

    /// Kills Linecard with SIGKILL; `last` is what it had counted.
    fn kill_router(&mut self, last: PortsReport) -> anyhow::Result<()> {
        let mut router = self.router.take().context("Linecard does not run")?;
        self.ended.push(last);
        router.kill()
    }

    /// The router, as the client addresses it.
    fn router_address(&self, ipv6: bool) -> IpAddr {
        let port = &self.topology.client_link.far;
        if ipv6 { port.ipv6.addr().into() } else { port.ipv4.addr().into() }
    }

    /// The router's ports to the server.
    fn paths(&self) -> [&Port; 2] {
        let [_, path_a, path_b] = self.topology.router_ports();
        [path_a, path_b]
    }
}

/// Says what did not go on between two looks at the counters, and why.
fn say_reasons(scene: &Scene<'_>, before: &PortTotals, after: &PortTotals) -> anyhow::Result<()> {
    let (old, new) = (&before.dropped_packets, &after.dropped_packets);
    let dropped = new.iter().map(|(reason, at)| ("dropped", reason.label(), at - old[reason]));
    let (old, new) = (&before.punted_packets, &after.punted_packets);
    let punted = new.iter().map(|(reason, at)| ("punted", reason.label(), at - old[reason]));
    for (what, reason, packets) in dropped.chain(punted) {
        if packets > 0 {
            scene.console.line(&format!("        {what} {}: {reason}", count(packets)))?;
        }
    }
    Ok(())
}

/// Packets that left by the port of this name.
fn sent_by(report: &PortsReport, name: &str) -> u64 {
    report.ports.iter().find(|port| port.name == name).map_or(0, |port| port.totals.sent_packets)
}
