//! `linecard reload`: makes the running daemon read its configuration again.

use std::process::ExitCode;

use linecard_api::Client;

use crate::cli::Daemon;
use crate::output;

/// Asks for it and prints what has changed; the exit status is 1 if something takes a restart.
pub(crate) fn run(daemon: &Daemon, set: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&daemon.socket);
    let report = match set {
        Some(set) => client.reload_set(set)?,
        None => client.reload()?,
    };
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
        let changes = [
            &report.changed_filters,
            &report.removed_filters,
            &report.changed_policers,
            &report.removed_policers,
            &report.changed_ports,
        ];
        if !report.needs_restart.is_empty() {
            lines.insert(
                0,
                "nothing of the file was brought in force, since some of it takes a restart"
                    .to_owned(),
            );
        } else if changes.iter().all(|names| names.is_empty()) {
            lines.insert(0, "nothing has changed".to_owned());
        } else if let Some(microseconds) = report.live_microseconds {
            lines.insert(0, format!("in force after {:.1} ms", microseconds as f64 / 1e3));
        } else {
            lines.insert(0, "in force, but a worker is late to take it up".to_owned());
        }
        output::line(&lines.join("\n"))?;
    }
    let is_done = report.needs_restart.is_empty();
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
