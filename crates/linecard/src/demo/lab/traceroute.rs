//! Traceroute: the router's answer is the kernel's.

use linecard_lab::{TracerouteOptions, traceroute};

use super::Stage;
use crate::demo::act::{Act, Finding, Scene};

pub(super) const ACT: Act<Stage> = Act {
    name: "traceroute",
    title: "The client traces the route to the server",
    claim: "The router shows itself",
    run,
};

fn run(stage: &mut Stage, scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let (mut holds, mut found) = (true, Vec::new());
    for ipv6 in [false, true] {
        let router = stage.router_address(ipv6);
        let server = stage.topology.server_address(ipv6);
        let hops = traceroute(&stage.topology.client, server, &TracerouteOptions::default())?;
        let addresses: Vec<_> = hops.iter().map(linecard_lab::Hop::address).collect();
        holds &= addresses == [Some(router), Some(server)];
        let name = |address: &Option<std::net::IpAddr>| {
            address.map_or_else(|| "*".to_owned(), |address| address.to_string())
        };
        let path: Vec<String> = addresses.iter().map(name).collect();
        scene.console.live(&path.join(" > "))?;
        found.push(path);
        scene.interrupt.check()?;
    }
    let hops: Vec<String> = found.iter().map(|path| path.len().to_string()).collect();
    let measured = if holds {
        format!("{} hops, IPv4 and IPv6", hops[0])
    } else {
        found.iter().map(|path| path.join(" > ")).collect::<Vec<_>>().join("; ")
    };
    Ok(Finding::new(holds, measured)
        .with("hops_ipv4", found[0].clone())
        .with("hops_ipv6", found[1].clone()))
}
