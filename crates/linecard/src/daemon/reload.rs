//! Reading the configuration again while packets flow.

use std::path::PathBuf;

use linecard_control::config::{self, Config, PortServices};
use linecard_observe::ReloadReport;
use tracing::{info, warn};

use super::source::Shared;
use crate::unserved;

/// What the daemon was started from.
pub(super) struct Origin {
    pub(super) config: Config,
    /// The file; `None` for `--port`.
    pub(super) path: Option<PathBuf>,
}

impl Origin {
    /// Reads the file again, and puts its services and the limits of its protection in force.
    ///
    /// # Errors
    /// What is wrong with it; nothing is changed then.
    pub(super) fn reload(&self, shared: &Shared) -> Result<ReloadReport, String> {
        let path =
            self.path.as_ref().ok_or("started with --port: there is no file to read again")?;
        let config = config::load(path).map_err(|errors| errors.to_string())?;
        let unserved = unserved::of(&config);
        if !unserved.is_empty() {
            return Err(format!("not served yet: {}", unserved.join("; ")));
        }
        let mut needs_restart = self.differences(&config);
        if config.has_services() && shared.redirects.is_ok() {
            needs_restart.push("the first service of a port, as the route cache is on".to_owned());
        }
        needs_restart
            .extend(shared.services().connections.needs_restart(&config).map(str::to_owned));
        // Services are attached to ports by number, and to none that does not pass the worker.
        if !needs_restart.is_empty() {
            return Ok(ReloadReport { needs_restart, ..ReloadReport::default() });
        }
        let changes = shared.services().apply(&config).map_err(|error| format!("{error:#}"))?;
        if let Some(limits) = &config.protection {
            for port in shared.ports().iter_mut() {
                if let Err(error) = port.set_limits(limits) {
                    warn!(port = port.interface.name, %error, "its protection keeps the old limits");
                }
            }
        }
        info!(?changes, "configuration was read again");
        Ok(ReloadReport {
            changed_filters: changes.filters.changed,
            removed_filters: changes.filters.removed,
            changed_policers: changes.policers.changed,
            removed_policers: changes.policers.removed,
            changed_ports: changes.ports,
            needs_restart,
            warnings: config.warnings.iter().map(|warning| warning.message.clone()).collect(),
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
