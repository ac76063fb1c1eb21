//! `linecard replay`: captures through a configuration.

use std::process::ExitCode;

use linecard_control::config;
use linecard_observe::{DropsReport, PortsReport};
use serde::Serialize;

use super::show;
use crate::cli::ReplayArgs;
use crate::{output, replay};

/// What became of the packets.
#[derive(Debug, Serialize)]
struct ReplayReport<'a> {
    #[serde(flatten)]
    ports: &'a PortsReport,
    reasons: DropsReport,
}

/// Replays the captures and prints what became of the packets.
pub(crate) fn run(args: ReplayArgs, json: bool) -> anyhow::Result<ExitCode> {
    let config = match (&args.config, args.input) {
        (Some(path), _) => config::load(path)?,
        (None, Some(input)) => replay::one_way(input, args.output)?,
        (None, None) => anyhow::bail!("name a capture, or a configuration with --config"),
    };
    let outcome = replay::run(&config)?;
    let reasons = DropsReport::of(&outcome.ports);
    if json {
        output::json(&ReplayReport { ports: &outcome.ports, reasons })?;
    } else {
        output::line(&show::ports(&outcome.ports))?;
        output::line(&format!("\n{}", show::drops(&reasons, false)))?;
    }
    // What was replayed stands, and so does what was wrong.
    for error in &outcome.errors {
        tracing::error!("{error}");
    }
    Ok(if outcome.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
