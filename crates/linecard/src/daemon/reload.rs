//! Reading the configuration again while packets flow.
//!
//! What was read last is kept with its text, so that only rules that have changed are judged again; the search
//! for rules that never match, which takes longer than all the rest, comes when the filters are in force.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use linecard_control::config::{Config, Document, PortServices};
use linecard_observe::ReloadReport;
use tracing::{info, warn};

use super::ports::ServedPort;
use super::router::Slot;
use super::services::Changes;
use super::source::Shared;

/// How long the workers may take to change over before the answer is given without them.
const LIVE_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked whether they have.
const LIVE_LOOK: Duration = Duration::from_micros(50);

/// What the daemon was started from.
pub(super) struct Origin {
    config: Config,
    /// What is in force; `None` for `--port`.
    document: Option<Mutex<Document>>,
}

impl Origin {
    pub(super) fn new(config: Config, document: Option<Document>) -> Self {
        Self { config, document: document.map(Mutex::new) }
    }

    /// What the daemon was started with.
    pub(super) fn started(&self) -> &Config {
        &self.config
    }

    /// Asks the configuration that is in force.
    pub(super) fn in_force<T>(&self, ask: impl FnOnce(&Config) -> T) -> T {
        match &self.document {
            Some(document) => ask(document.lock().unwrap_or_else(PoisonError::into_inner).config()),
            None => ask(&self.config),
        }
    }

    /// Reads the file again, or one of its sets, and puts its services and the limits of its protection in force.
    ///
    /// # Errors
    /// What is wrong with it; nothing is changed then.
    pub(super) fn reload(
        &self,
        set: Option<&str>,
        shared: &Shared,
    ) -> Result<ReloadReport, String> {
        let begun = Instant::now();
        let document = self.document.as_ref();
        let document = document.ok_or("started with --port: there is no file to read again")?;
        let mut document = document.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match set {
            None => document.reloaded().map_err(|errors| errors.to_string())?,
            Some(set) => document.with_set(set).map_err(|error| error.to_string())?,
        };
        let config = next.config();
        let read_microseconds = microseconds_since(begun);
        // Services are attached to ports by number, and to none that does not pass the worker.
        let mut needs_restart = self.differences(config);
        needs_restart
            .extend(shared.services().connections.needs_restart(config).map(str::to_owned));
        if !needs_restart.is_empty() {
            let sections = needs_restart.join(", ");
            info!("reload: nothing is brought in force, since this takes a restart: {sections}");
            return Ok(ReloadReport {
                needs_restart,
                read_microseconds,
                ..ReloadReport::default()
            });
        }
        // The last change must have come to its end.
        is_live(shared);
        let (changes, changes_router) =
            apply(config, shared).map_err(|error| format!("{error:#}"))?;
        let live_microseconds = is_live(shared).then(|| microseconds_since(begun));
        let mut report = ReloadReport {
            changed_filters: changes.filters.changed,
            removed_filters: changes.filters.removed,
            changed_policers: changes.policers.changed,
            removed_policers: changes.policers.removed,
            changed_ports: changes.ports,
            read_microseconds,
            live_microseconds,
            ..ReloadReport::default()
        };
        if let Some(limits) = &config.protection {
            let mut ports = shared.ports();
            let set =
                |port: &mut ServedPort| (port.interface.name.clone(), port.set_limits(limits));
            note_limits(&mut report, ports.iter_mut().map(set));
        }
        if changes_router {
            report.changed_sections.push("[router]".to_owned());
        }
        if document.config().connections != config.connections {
            report.changed_sections.push("[connections]".to_owned());
        }
        log(&report);
        *document = next;
        let warnings = document.warnings().into_iter().map(|warning| warning.message);
        report.warnings = warnings.collect();
        Ok(report)
    }

    /// Sections in which a file differs from what the daemon was started with, but for what can be changed.
    fn differences(&self, new: &Config) -> Vec<String> {
        let old = &self.config;
        let without_services = |config: &Config| {
            let mut ports = config.ports.clone();
            ports.iter_mut().for_each(|port| port.services = PortServices::default());
            ports
        };
        [
            (old.workers != new.workers, "[workers]"),
            (old.memory != new.memory, "[memory]"),
            (old.punt != new.punt, "[punt]"),
            (old.api != new.api, "[api]"),
            (old.tables != new.tables, "[tables]"),
            (old.route_cache != new.route_cache, "[route_cache]"),
            (old.transmit != new.transmit, "[transmit]"),
            (old.protection.is_some() != new.protection.is_some(), "mode of [protection]"),
            (without_services(old) != without_services(new), "[[port]]"),
        ]
        .into_iter()
        .filter(|(differs, _)| *differs)
        .map(|(_, section)| section.to_owned())
        .collect()
    }
}

/// Notes of each port, by name, whether it has other limits now.
fn note_limits(report: &mut ReloadReport, ports: impl Iterator<Item = (String, io::Result<bool>)>) {
    let mut has_changed = false;
    for (port, outcome) in ports {
        match outcome {
            Ok(changed) => has_changed |= changed,
            Err(error) => {
                report
                    .failures
                    .push(format!("port {port} keeps its limits of [protection]: {error}"));
            }
        }
    }
    report.changed_sections.extend(has_changed.then(|| "[protection]".to_owned()));
}

/// Writes what has changed into the log, a line each.
fn log(report: &ReloadReport) {
    for (what, names) in report.changes() {
        info!("reload: {what}: {}", names.join(", "));
    }
    for failure in &report.failures {
        warn!("reload: {failure}");
    }
    match report.live_microseconds {
        _ if report.changes().next().is_none() => info!("reload: nothing has changed"),
        Some(microseconds) => info!(microseconds, "reload: in force"),
        None => warn!("reload: in force, but a worker is late to take it up"),
    }
}

/// Puts the services of a configuration in force, and the filter of what is for the router, which may have changed
/// then. Before the first filter is, the route cache is stopped and workers
/// get packets with options and hop-by-hop headers, so that no packet goes round it.
fn apply(config: &Config, shared: &Shared) -> anyhow::Result<(Changes, bool)> {
    let lead_by_workers = || {
        if !config.has_services() {
            return anyhow::Ok(());
        }
        if let Ok(redirects) = &shared.redirects {
            redirects.stop().context("switch the route cache off")?;
        }
        let mut ports = shared.ports();
        let mut ports = ports.iter_mut().filter(|port| !port.takes_options);
        ports.try_for_each(|port| port.set_takes_options(true)).context("write a BPF map")
    };
    let mut services = shared.services();
    let mut router = shared.router();
    // The verifier takes its time, and the control loop needs the ports.
    let slots = Slot::of(&shared.ports());
    let at_router = router.prepare(config, &slots)?;
    let mut changes_router = false;
    let changes = services.apply(config, || {
        lead_by_workers()?;
        changes_router = router.commit(at_router, &mut shared.ports())?;
        Ok(())
    })?;
    Ok((changes, changes_router))
}

/// Leaves packets with options and hop-by-hop headers to the kernel again, now that no worker has a service that wants to
/// see them. Called with the services locked: a reload that brings some waits.
pub(super) fn leave_options(shared: &Shared) {
    for port in shared.ports().iter_mut().filter(|port| port.takes_options) {
        if let Err(error) = port.set_takes_options(false) {
            // They go by a worker to the same kernel.
            warn!(port = port.interface.name, %error, "workers still get packets with options");
        }
    }
}

/// Waits until no worker holds the tables that were there before; false when it takes too long.
fn is_live(shared: &Shared) -> bool {
    let begun = Instant::now();
    while !shared.services().publish() {
        if begun.elapsed() > LIVE_PATIENCE {
            return false;
        }
        std::thread::sleep(LIVE_LOOK);
    }
    true
}

fn microseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_a_port_has_not_taken_are_failures() {
        let mut report = ReloadReport::default();
        let none = [("a".to_owned(), Ok(false)), ("b".to_owned(), Ok(false))];
        note_limits(&mut report, none.into_iter());
        assert_eq!(report, ReloadReport::default());
        let refused = io::Error::from_raw_os_error(libc::EPERM);
        let some = [("a".to_owned(), Ok(true)), ("b".to_owned(), Err(refused))];
        note_limits(&mut report, some.into_iter());
        assert_eq!(report.changed_sections, ["[protection]"]);
        assert_eq!(report.failures.len(), 1);
        let failure = &report.failures[0];
        assert!(failure.starts_with("port b keeps its limits of [protection]: "), "{failure}");
    }
}
