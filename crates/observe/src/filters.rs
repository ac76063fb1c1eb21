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
    /// It filters what is for the router itself.
    #[serde(default)]
    pub at_router: bool,
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
