//! `linecard run`: the daemon.

use std::path::Path;
use std::process::ExitCode;

use linecard_control::config::{self, Document};

use crate::cli::RunArgs;
use crate::daemon;

/// Reads the configuration and runs the daemon until it is told to stop.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (config, document) = if args.port.is_empty() {
        let path = args.config.as_deref().unwrap_or(Path::new(config::PATH_DEFAULT));
        let document = Document::load(path)?;
        (document.config().clone(), Some(document))
    } else {
        (config::of_kernel_ports(&args.port)?, None)
    };
    if let Some(port) = config.ports.iter().find(|port| port.kind.station().is_some()) {
        let kind = port.kind.label();
        anyhow::bail!(
            "port {} is of kind {kind}: `linecard run` serves kernel interfaces, `linecard \
             replay` captures",
            port.name
        );
    }
    for warning in document.iter().flat_map(Document::warnings) {
        let (line, path) = (warning.place.as_ref().map(|at| at.line), warning.path.display());
        tracing::warn!(line, %path, "{}", warning.message);
    }
    daemon::run(config, document)?;
    Ok(ExitCode::SUCCESS)
}
