//! Filters: where they stand, their rules, and what each has counted.

use serde::{Deserialize, Serialize};

/// All filters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiltersReport {
    /// In the order of the configuration.
    pub filters: Vec<FilterReport>,
}

/// One filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterReport {
    /// Its name.
    pub name: String,
    /// The ports whose input it filters.
    pub input_ports: Vec<String>,
    /// The ports whose output it filters.
    pub output_ports: Vec<String>,
    /// Entries that its rules take in the classifier.
    pub entries: usize,
    /// Bytes of the classifier.
    pub memory_bytes: usize,
    /// The rules in their order, and the default last.
    pub rules: Vec<RuleReport>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Its name, unique in the filter; `default` for the default.
    pub name: String,
    /// What it matches, in the language of the configuration.
    #[serde(rename = "match")]
    pub condition: String,
    /// What it does.
    pub action: String,
    /// Packets since it is there under this name.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

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
