//! `linecard check`: judges a configuration without touching anything.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use linecard_control::config::{self, Config, PortKind};
use linecard_observe::{RouteCacheReport, route_cache};
use serde::Serialize;

use super::expected_route_cache;
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
    /// What is right in the file but most likely not meant.
    warnings: &'a [config::Warning],
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

/// Checks the file; the exit status says whether it is right and `linecard run` would take it.
pub(crate) fn run(args: &CheckArgs, json: bool) -> anyhow::Result<ExitCode> {
    match config::load(&args.file) {
        Ok(config) => {
            let plan = plan(&config);
            if json {
                let path = &args.file;
                let warnings = &config.warnings;
                let plan = Some(plan);
                output::json(&CheckReport { valid: true, path, plan, errors: &[], warnings })?;
            } else {
                show(&args.file, &plan)?;
                for warning in &config.warnings {
                    output::line(&format!("\n{}", warning.to_string().trim_end()))?;
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) if json => {
            let (path, errors) = (&errors.path, &errors.errors);
            let warnings = &[];
            output::json(&CheckReport { valid: false, path, plan: None, errors, warnings })?;
            Ok(ExitCode::FAILURE)
        }
        Err(errors) => Err(errors.into()),
    }
}

fn plan(config: &Config) -> Plan {
    let port = |(port, route_cache): (&config::Port, Option<RouteCacheReport>)| PlannedPort {
        name: port.name.clone(),
        kind: port.kind.label(),
        interfaces: port.kind.station().map_or(1, |station| station.interfaces.len()),
        route_cache,
    };
    let memory = &config.memory;
    let frame_bytes = u64::from(memory.frame_bytes);
    Plan {
        workers_max: config.workers.count_max,
        memory_bytes_per_worker: u64::from(memory.frames_per_worker) * frame_bytes,
        socket: config.api.socket.clone(),
        ports: config.ports.iter().zip(expected_route_cache::of(config)).map(port).collect(),
        routes: config.routes.len(),
        neighbours: config.neighbours.len(),
        warnings: warnings(config)
            .into_iter()
            .chain(crate::unserved::without_effect(config))
            .collect(),
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
