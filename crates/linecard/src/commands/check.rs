//! `linecard check`: judges a configuration without touching anything.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use linecard_control::config::{
    self, Config, KernelDriver, KernelPort, PortKind, RouteCacheMode, XdpMode, ZeroCopy,
};
use linecard_control::mirror::xdp_features::XdpFeatures;
use linecard_io::Interface;
use linecard_io::route_cache::PORTS_MAX;
use linecard_observe::{RouteCacheObstacle, RouteCacheReport, route_cache};
use serde::Serialize;

use crate::cli::CheckArgs;
use crate::output;

/// What a configuration would do, or what is wrong with it.
#[derive(Debug, Serialize)]
struct CheckReport<'a> {
    valid: bool,
    path: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    errors: &'a [config::Error],
}

/// What a right configuration would do.
#[derive(Debug, Serialize)]
struct Plan {
    workers_max: u16,
    memory_bytes_per_worker: u64,
    socket: PathBuf,
    ports: Vec<PlannedPort>,
    routes: usize,
    neighbours: usize,
    /// What may go wrong on this machine.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlannedPort {
    name: String,
    kind: &'static str,
    interfaces: usize,
    /// Its part in the route cache, as far as it can be told; `None` where there are no classifiers.
    #[serde(skip_serializing_if = "Option::is_none")]
    route_cache: Option<RouteCacheReport>,
}

/// Checks the file; the exit status says whether it is right.
pub(crate) fn run(args: &CheckArgs, json: bool) -> anyhow::Result<ExitCode> {
    match config::load(&args.file) {
        Ok(config) => {
            let plan = plan(&config);
            if json {
                let path = &args.file;
                output::json(&CheckReport { valid: true, path, plan: Some(plan), errors: &[] })?;
            } else {
                show(&args.file, &plan)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) if json => {
            let (path, errors) = (&errors.path, &errors.errors);
            output::json(&CheckReport { valid: false, path, plan: None, errors })?;
            Ok(ExitCode::FAILURE)
        }
        Err(errors) => Err(errors.into()),
    }
}

fn plan(config: &Config) -> Plan {
    let port = |(at, port): (usize, &config::Port)| PlannedPort {
        name: port.name.clone(),
        kind: port.kind.label(),
        interfaces: port.kind.station().map_or(1, |station| station.interfaces.len()),
        route_cache: match &port.kind {
            PortKind::Kernel(options) => {
                let of = obstacles(config.route_cache, at, &port.name, options);
                Some(RouteCacheReport::of(&of))
            }
            _ => None,
        },
    };
    let memory = &config.memory;
    let frame_bytes = u64::from(memory.frame_bytes);
    Plan {
        workers_max: config.workers.count_max,
        memory_bytes_per_worker: u64::from(memory.frames_per_worker) * frame_bytes,
        socket: config.api.socket.clone(),
        ports: config.ports.iter().enumerate().map(port).collect(),
        routes: config.routes.len(),
        neighbours: config.neighbours.len(),
        warnings: warnings(config),
    }
}

/// What will keep a port out of the route cache, as far as it shows before it is attached.
fn obstacles(
    mode: RouteCacheMode,
    at: usize,
    name: &str,
    options: &KernelPort,
) -> Vec<RouteCacheObstacle> {
    if mode == RouteCacheMode::Off {
        return vec![RouteCacheObstacle::Mode];
    }
    if options.driver == KernelDriver::Packet {
        return vec![RouteCacheObstacle::PacketSocket];
    }
    if options.xdp_mode == XdpMode::Generic {
        return vec![RouteCacheObstacle::GenericMode];
    }
    if at >= PORTS_MAX {
        return vec![RouteCacheObstacle::PortsMax];
    }
    if options.zero_copy == ZeroCopy::On {
        return vec![RouteCacheObstacle::ZeroCopy];
    }
    match Interface::by_name(name) {
        Ok(interface) => obstacles_of(&interface, options).into_iter().collect(),
        Err(_) => vec![RouteCacheObstacle::NotKnownYet],
    }
}

/// What an interface that is there lets expect. A veth copies and has native mode; of others both show when
/// they are attached, and many take redirected frames only from then on.
fn obstacles_of(interface: &Interface, options: &KernelPort) -> Option<RouteCacheObstacle> {
    let is_veth = interface.driver().is_ok_and(|driver| driver == "veth");
    let ready = match XdpFeatures::open().and_then(|mut features| features.targets()) {
        Ok(targets) => targets.contains(&interface.index),
        Err(error) => return Some(RouteCacheObstacle::Unavailable(error.to_string())),
    };
    match (is_veth, ready) {
        (true, false) => Some(RouteCacheObstacle::PeerNotReady),
        (true, true) => None,
        (false, true) if options.zero_copy == ZeroCopy::Off => None,
        (false, _) => Some(RouteCacheObstacle::NotKnownYet),
    }
}

/// What this machine lacks; the file may be meant for another one.
fn warnings(config: &Config) -> Vec<String> {
    let missing = |port: &config::Port| match &port.kind {
        PortKind::Kernel(_) if !Path::new("/sys/class/net").join(&port.name).exists() => {
            Some(format!("this machine has no interface {} now", port.name))
        }
        PortKind::Pcap { input: Some(input), .. } if !input.exists() => {
            Some(format!("there is no file {} now", input.display()))
        }
        _ => None,
    };
    config.ports.iter().filter_map(missing).collect()
}

fn show(path: &Path, plan: &Plan) -> anyhow::Result<()> {
    let columns = [
        output::Column::Text("port"),
        output::Column::Text("kind"),
        output::Column::Number("interfaces"),
        output::Column::Text("route cache"),
    ];
    let row = |port: &PlannedPort| {
        let part = port.route_cache.as_ref().map_or("-", |at| at.state.text());
        let interfaces = port.interfaces.to_string();
        vec![port.name.clone(), port.kind.to_owned(), interfaces, part.to_owned()]
    };
    let kernel = plan.ports.iter().any(|port| !matches!(port.kind, "pcap" | "memory"));
    let tables = if kernel {
        "routes and neighbours: the kernel's".to_owned()
    } else {
        format!("routes: {}, neighbours: {}, as in the file", plan.routes, plan.neighbours)
    };
    output::line(&format!("{} is right. It would serve:\n", path.display()))?;
    output::line(&output::table(&columns, plan.ports.iter().map(row)))?;
    output::line(&format!(
        "\n{tables}\nworkers: {} at the most, {} MiB of packet memory each\nsocket: {}",
        plan.workers_max,
        plan.memory_bytes_per_worker >> 20,
        plan.socket.display(),
    ))?;
    let part = |port: &PlannedPort| Some((port.name.clone(), port.route_cache.clone()?));
    for line in route_cache::explain(plan.ports.iter().filter_map(part)) {
        output::line(&format!("route cache: {line}"))?;
    }
    for warning in &plan.warnings {
        output::line(&format!("warning: {warning}"))?;
    }
    Ok(())
}
