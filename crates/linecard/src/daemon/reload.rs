//! Reading the configuration again while packets flow.
//!
//! What was read last is kept with its text, so that only rules that have changed are judged again; the search
//! for rules that never match, which takes longer than all the rest, comes when the filters are in force.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use linecard_control::config::{Config, Document, PortServices};
use linecard_observe::ReloadReport;
use tracing::{info, warn};

use super::services::Changes;
use super::source::Shared;
use crate::unserved;

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
        let unserved = unserved::of(config);
        if !unserved.is_empty() {
            return Err(format!("not served yet: {}", unserved.join("; ")));
        }
        let read_microseconds = microseconds_since(begun);
        // Services are attached to ports by number, and to none that does not pass the worker.
        let mut needs_restart = self.differences(config);
        needs_restart
            .extend(shared.services().connections.needs_restart(config).map(str::to_owned));
        if !needs_restart.is_empty() {
            return Ok(ReloadReport {
                needs_restart,
                read_microseconds,
                ..ReloadReport::default()
            });
        }
        // The last change must have come to its end.
        is_live(shared);
        let changes = apply(config, shared).map_err(|error| format!("{error:#}"))?;
        let live_microseconds = is_live(shared).then(|| microseconds_since(begun));
        info!(?changes, microseconds = live_microseconds, "configuration was read again");
        if let Some(limits) = &config.protection {
            for port in shared.ports().iter_mut() {
                if let Err(error) = port.set_limits(limits) {
                    warn!(port = port.interface.name, %error, "its protection keeps the old limits");
                }
            }
        }
        *document = next;
        let warnings = document.warnings().into_iter().map(|warning| warning.message);
        Ok(ReloadReport {
            changed_filters: changes.filters.changed,
            removed_filters: changes.filters.removed,
            changed_policers: changes.policers.changed,
            removed_policers: changes.policers.removed,
            changed_ports: changes.ports,
            needs_restart,
            warnings: warnings.collect(),
            read_microseconds,
            live_microseconds,
        })
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

/// Puts the services of a configuration in force. Before the first filter is, the route cache is stopped and workers
/// get packets with options and hop-by-hop headers, so that no packet goes round it.
fn apply(config: &Config, shared: &Shared) -> anyhow::Result<Changes> {
    let lead_by_workers = || {
        if !config.has_services() {
            return Ok(());
        }
        if let Ok(redirects) = &shared.redirects {
            redirects.stop().context("switch the route cache off")?;
        }
        let mut ports = shared.ports();
        let mut ports = ports.iter_mut().filter(|port| !port.takes_options);
        ports.try_for_each(|port| port.set_takes_options(true)).context("write a BPF map")
    };
    shared.services().apply(config, lead_by_workers)
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
