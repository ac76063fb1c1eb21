//! What the file says of filters, their sets, policers and checks of addresses.

use serde::Deserialize;
use toml::Spanned;

/// One `[[filter]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Filter {
    pub(in crate::config) name: Spanned<String>,
    pub(in crate::config) default: FilterDefault,
    pub(in crate::config) rules: Option<Spanned<Vec<Spanned<Rule>>>>,
}

impl Filter {
    /// Its rules, in order.
    pub(in crate::config) fn rules(&self) -> &[Spanned<Rule>] {
        self.rules.as_ref().map_or(&[], |rules| rules.get_ref())
    }
}

/// Some rules of a filter, without what stands around them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Part {
    pub(in crate::config) rules: Vec<Spanned<Rule>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum FilterDefault {
    Accept,
    Drop,
    Reject,
}

/// One rule of a filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Rule {
    pub(in crate::config) name: Option<Spanned<String>>,
    #[serde(rename = "match")]
    pub(in crate::config) condition: Option<Spanned<String>>,
    pub(in crate::config) action: Spanned<Action>,
    pub(in crate::config) police: Option<Spanned<String>>,
    pub(in crate::config) dscp: Option<Spanned<String>>,
    pub(in crate::config) class: Option<Spanned<i64>>,
    pub(in crate::config) mirror: Option<Spanned<String>>,
    pub(in crate::config) sample: Option<Spanned<i64>>,
    #[serde(default)]
    pub(in crate::config) log: bool,
    pub(in crate::config) next_hop: Option<Spanned<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::config) enum Action {
    Accept,
    Drop,
    Reject,
    Continue,
    Redirect,
}

impl Action {
    /// As it is written in the file.
    pub(in crate::config) fn label(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Continue => "continue",
            Self::Redirect => "redirect",
        }
    }
}

/// One `[[set]]`: one of `file`, `prefixes` and `ports`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Set {
    pub(in crate::config) name: Spanned<String>,
    pub(in crate::config) file: Option<Spanned<String>>,
    pub(in crate::config) prefixes: Option<Spanned<Vec<Spanned<String>>>>,
    pub(in crate::config) ports: Option<Spanned<Vec<Spanned<Ports>>>>,
}

/// A port, or a range of them as text.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a port such as 443, or a range such as \"8000-8100\"")]
pub(in crate::config) enum Ports {
    One(i64),
    Range(String),
}

/// One `[[police]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Police {
    pub(in crate::config) name: Spanned<String>,
    #[serde(default)]
    pub(in crate::config) algorithm: Algorithm,
    pub(in crate::config) rate_bits_per_second: Option<Spanned<i64>>,
    pub(in crate::config) rate_packets_per_second: Option<Spanned<i64>>,
    pub(in crate::config) burst_bytes: Option<Spanned<i64>>,
    pub(in crate::config) burst_packets: Option<Spanned<i64>>,
    pub(in crate::config) peak_rate_bits_per_second: Option<Spanned<i64>>,
    pub(in crate::config) peak_rate_packets_per_second: Option<Spanned<i64>>,
    pub(in crate::config) peak_burst_bytes: Option<Spanned<i64>>,
    pub(in crate::config) peak_burst_packets: Option<Spanned<i64>>,
    pub(in crate::config) excess_rate_bits_per_second: Option<Spanned<i64>>,
    pub(in crate::config) excess_rate_packets_per_second: Option<Spanned<i64>>,
    pub(in crate::config) excess_burst_bytes: Option<Spanned<i64>>,
    pub(in crate::config) excess_burst_packets: Option<Spanned<i64>>,
    #[serde(default)]
    pub(in crate::config) colour_aware: bool,
    pub(in crate::config) yellow_dscp: Option<Spanned<String>>,
    pub(in crate::config) overhead_bytes: Option<Spanned<i64>>,
    pub(in crate::config) per: Option<Spanned<String>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(in crate::config) enum Algorithm {
    #[default]
    #[serde(rename = "srtcm")]
    SingleRate,
    #[serde(rename = "trtcm")]
    TwoRate,
    #[serde(rename = "trtcm-4115")]
    TwoRateExcess,
}

impl Algorithm {
    /// As it is written in the file.
    pub(in crate::config) fn label(self) -> &'static str {
        match self {
            Self::SingleRate => "srtcm",
            Self::TwoRate => "trtcm",
            Self::TwoRateExcess => "trtcm-4115",
        }
    }
}

/// `[router]`: what is for the router itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Router {
    pub(in crate::config) filter: Option<Spanned<String>>,
}
