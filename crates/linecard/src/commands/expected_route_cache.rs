//! What part in the route cache the ports of a configuration can expect, asked before they are attached.

use std::collections::HashSet;

use linecard_control::config::{
    Config, KernelDriver, KernelPort, PortKind, RouteCacheMode, XdpMode, ZeroCopy,
};
use linecard_control::mirror::xdp_features::XdpFeatures;
use linecard_io::Interface;
use linecard_io::bpf::LossCounter;
use linecard_io::route_cache::PORTS_MAX;
use linecard_observe::{PortService, RedirectTarget, RouteCacheObstacle, RouteCacheReport};

use crate::daemon::{is_veth, takes_frames};

/// What was asked of the kernel, once for all ports.
struct Kernel {
    /// The interfaces that take redirected frames, or why nobody knows.
    able: Result<HashSet<u32>, String>,
}

/// The part of each port, as far as it can be told; `None` for those without classifiers.
pub(super) fn of(config: &Config) -> Vec<Option<RouteCacheReport>> {
    let options = |kind: &PortKind| match kind {
        PortKind::Kernel(options) => Some(*options),
        _ => None,
    };
    let able = match config.ports.iter().any(|port| options(&port.kind).is_some()) {
        true => XdpFeatures::open().and_then(|mut features| features.targets()),
        false => Ok(HashSet::new()),
    };
    let kernel = Kernel { able: able.map_err(|error| error.to_string()) };
    let everywhere = everywhere(config);
    let mut kernel_ports = Vec::new();
    for (at, port) in config.ports.iter().enumerate() {
        let Some(options) = options(&port.kind) else { continue };
        kernel_ports.push(match &everywhere {
            Some(obstacle) => vec![obstacle.clone()],
            None => obstacles(at, &port.name, &options, &kernel),
        });
    }
    let mut reports = RouteCacheReport::of_ports(&kernel_ports).into_iter();
    let report = |kind: &PortKind| options(kind).and_then(|_| reports.next());
    config.ports.iter().map(|port| &port.kind).map(report).collect()
}

/// What keeps every port out, in the order in which the daemon finds it.
fn everywhere(config: &Config) -> Option<RouteCacheObstacle> {
    if config.route_cache == RouteCacheMode::Off {
        return Some(RouteCacheObstacle::Mode);
    }
    if config.has_services() {
        return Some(RouteCacheObstacle::Services);
    }
    let error = LossCounter::check_kernel().err()?;
    Some(RouteCacheObstacle::Unavailable(error.to_string()))
}

/// What will keep a port out. What is left to the driver is taken for the best until it shows.
fn obstacles(
    at: usize,
    name: &str,
    options: &KernelPort,
    kernel: &Kernel,
) -> Vec<RouteCacheObstacle> {
    let service = match (options.driver, options.xdp_mode) {
        (KernelDriver::Packet, _) => PortService::Packet,
        (_, XdpMode::Generic) => PortService::Generic,
        _ => PortService::Native { zero_copy: options.zero_copy == ZeroCopy::On },
    };
    if let Some(obstacle) = RouteCacheObstacle::of_service(service, at, PORTS_MAX) {
        return vec![obstacle];
    }
    match Interface::by_name(name) {
        Ok(interface) => of_interface(&interface, options, kernel),
        Err(_) => vec![RouteCacheObstacle::NotKnownYet],
    }
}

/// What an interface that is there lets expect. A veth copies and has native mode; of others both show
/// when they are attached, and many take redirected frames only from then on.
fn of_interface(
    interface: &Interface,
    options: &KernelPort,
    kernel: &Kernel,
) -> Vec<RouteCacheObstacle> {
    let is_veth = is_veth(interface);
    let takes_frames = takes_frames(&kernel.able, interface);
    let certain = is_veth || (takes_frames == Ok(true) && options.zero_copy == ZeroCopy::Off);
    let target = RedirectTarget {
        losses_counted: true,
        // An interface that is gone by now is no longer up.
        up: interface.is_running().unwrap_or(false),
        is_veth,
        takes_frames: takes_frames.map(|takes| takes || !is_veth),
        refused: false,
    };
    let mut obstacles: Vec<_> = RouteCacheObstacle::of_target(&target).into_iter().collect();
    obstacles.extend((!certain).then_some(RouteCacheObstacle::NotKnownYet));
    obstacles
}
