//! `linecard reload`: makes the running daemon read its configuration again.

use std::process::ExitCode;

use linecard_api::Client;
use linecard_observe::ReloadReport;

use crate::cli::Daemon;
use crate::output;

/// Asks for it and prints what has changed; the exit status is 1 if something takes a restart
/// or has failed.
pub(crate) fn run(daemon: &Daemon, set: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::new(&daemon.socket);
    let report = match set {
        Some(set) => client.reload_set(set)?,
        None => client.reload()?,
    };
    if json {
        output::json(&report)?;
    } else {
        let listed = |(what, names): (&str, &[String])| format!("{what}: {}", names.join(", "));
        let mut lines = vec![outcome(&report)];
        lines.extend(report.changes().map(listed));
        if !report.needs_restart.is_empty() {
            lines.push(listed(("takes a restart", &report.needs_restart)));
        }
        lines.extend(report.failures.iter().map(|failure| format!("failed: {failure}")));
        lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}")));
        output::line(&lines.join("\n"))?;
    }
    let is_done = report.needs_restart.is_empty() && report.failures.is_empty();
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of it, in one line.
fn outcome(report: &ReloadReport) -> String {
    if !report.needs_restart.is_empty() {
        return "nothing of the file was brought in force, since some of it takes a restart"
            .to_owned();
    }
    if report.changes().next().is_none() && report.failures.is_empty() {
        return "nothing has changed".to_owned();
    }
    let part = if report.failures.is_empty() { "" } else { ", but not all of it" };
    match report.live_microseconds {
        Some(microseconds) => format!("in force after {:.1} ms{part}", microseconds as f64 / 1e3),
        None => "in force, but a worker is late to take it up".to_owned() + part,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_nothing_only_if_nothing_has_changed() {
        let nothing = ReloadReport { live_microseconds: Some(1200), ..ReloadReport::default() };
        assert_eq!(outcome(&nothing), "nothing has changed");
        let section = "[protection]".to_owned();
        let changed = ReloadReport { changed_sections: vec![section], ..nothing.clone() };
        assert_eq!(outcome(&changed), "in force after 1.2 ms");
        let failed = ReloadReport { failures: vec!["p: no".to_owned()], ..nothing.clone() };
        assert_eq!(outcome(&failed), "in force after 1.2 ms, but not all of it");
        let late = ReloadReport { live_microseconds: None, ..changed };
        assert_eq!(outcome(&late), "in force, but a worker is late to take it up");
        let restart = ReloadReport { needs_restart: vec!["[api]".to_owned()], ..nothing };
        assert!(outcome(&restart).starts_with("nothing of the file"));
    }
}
