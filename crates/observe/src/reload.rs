//! What a reload of the configuration has changed.

use serde::{Deserialize, Serialize};

/// What a reload has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Names of the filters whose rules are others now, those that are new included.
    pub changed_filters: Vec<String>,
    /// Names of the filters that are gone.
    pub removed_filters: Vec<String>,
    /// Names of the policers that are told something else now, those that are new included.
    #[serde(default)]
    pub changed_policers: Vec<String>,
    /// Names of the policers that are gone.
    #[serde(default)]
    pub removed_policers: Vec<String>,
    /// Names of the ports that have other filters, policers or checks of sources now.
    #[serde(default)]
    pub changed_ports: Vec<String>,
    /// Other sections whose values are others now: `[protection]`, `[connections]`.
    #[serde(default)]
    pub changed_sections: Vec<String>,
    /// What was to be put in force and could not be: a sentence each. All else is in force.
    #[serde(default)]
    pub failures: Vec<String>,
    /// What else differs in the file, and takes a restart.
    pub needs_restart: Vec<String>,
    /// What is worth a second look in the file.
    pub warnings: Vec<String>,
    /// From the request until the files were read and judged.
    pub read_microseconds: u64,
    /// From the request until every worker had the filters; `None` where nothing was put in force, or a worker
    /// has not taken them up within a second.
    pub live_microseconds: Option<u64>,
}

impl ReloadReport {
    /// What has changed: what it is and the names, for those of which there are any.
    pub fn changes(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let all = [
            ("changed filters", &self.changed_filters),
            ("removed filters", &self.removed_filters),
            ("changed policers", &self.changed_policers),
            ("removed policers", &self.removed_policers),
            ("ports with other services", &self.changed_ports),
            ("changed sections", &self.changed_sections),
        ];
        all.into_iter()
            .map(|(what, names)| (what, &names[..]))
            .filter(|(_, names)| !names.is_empty())
    }
}
