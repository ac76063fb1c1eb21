//! `linecard reload`: makes the running daemon read its configuration again.

use std::process::ExitCode;

use linecard_api::Client;

use crate::cli::Daemon;
use crate::output;

/// Asks for it and prints what has changed; the exit status is 1 if something takes a restart.
pub(crate) fn run(daemon: &Daemon, json: bool) -> anyhow::Result<ExitCode> {
    let report = Client::new(&daemon.socket).reload()?;
    if json {
        output::json(&report)?;
    } else {
        let mut lines = Vec::new();
        let mut list = |what: &str, names: &[String]| {
            lines.extend((!names.is_empty()).then(|| format!("{what}: {}", names.join(", "))));
        };
        list("changed filters", &report.changed_filters);
        list("removed filters", &report.removed_filters);
        list("changed policers", &report.changed_policers);
        list("removed policers", &report.removed_policers);
        list("ports with other services", &report.changed_ports);
        list("takes a restart", &report.needs_restart);
        lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
        if lines.is_empty() {
            lines.push("nothing has changed".to_owned());
        }
        output::line(&lines.join("\n"))?;
    }
    let is_done = report.needs_restart.is_empty();
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
