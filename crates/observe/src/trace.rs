//! Single packets: what is asked about them, and what is told.
//!
//! Traces, captures and explanations are told in the same words, made in one place from what the stages themselves
//! say, so that they agree with each other and with the counters: reasons have the counters' labels.

use serde::{Deserialize, Serialize};

/// What to tell of the packets that a [`TapQuery`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapKind {
    /// What each stage did.
    #[default]
    Trace,
    /// The bytes, where it ended, and why.
    Capture,
    /// The same of what filters' rules sample; the rules choose the packets.
    Samples,
}

/// Which of the next packets are to be told of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TapQuery {
    /// What to tell of them.
    pub kind: TapKind,
    /// Which packets, in the match language of filters; empty for all, also those that are not IP.
    #[serde(rename = "match")]
    pub condition: String,
    /// Only packets that came in by this port.
    pub port: Option<String>,
    /// Only packets that are dropped.
    pub dropped: bool,
    /// How many packets; `None` for no end.
    pub count: Option<u64>,
    /// Bytes of each packet at the most; `None` for all.
    pub snap_bytes: Option<u16>,
}

/// One line of the answer to a [`TapQuery`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TapEvent {
    /// The first line: workers look out for such packets from now on.
    Begun {
        /// The ports, in the order of their numbers.
        ports: Vec<String>,
        /// What to know about what is seen.
        notes: Vec<String>,
    },
    /// A packet.
    Packet(Box<PacketReport>),
    /// Nothing new; comes about once a second, and last.
    Waiting {
        /// Packets told of so far.
        packets: u64,
        /// Packets that were to be told of and found no room, or the reader too slow.
        lost: u64,
        /// There will be no more.
        done: bool,
    },
}

/// One packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketReport {
    /// When, in nanoseconds since 1970: the time of its batch. `None` for an imagined packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_unix_nanoseconds: Option<u64>,
    /// The port it came in on.
    pub in_port: String,
    /// What it is, in one line.
    pub packet: String,
    /// Bytes of its frame, from the Ethernet header on.
    pub frame_bytes: u32,
    /// Where it ended.
    pub verdict: VerdictReport,
    /// Where it ended and who decided, in one line.
    pub summary: String,
    /// What each stage did; of a captured packet the one that decided.
    pub steps: Vec<StepReport>,
    /// Its first bytes as it was received, in hexadecimal digits.
    pub bytes: String,
}

/// Where a packet ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Sent by a port.
    Forwarded,
    /// Dropped for a reason.
    Dropped,
    /// Handed to the kernel by a worker.
    Punted,
    /// Left to the kernel by the classifier: no worker sees it.
    Passed,
}

impl Fate {
    /// As it is written.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Dropped => "dropped",
            Self::Punted => "punted",
            Self::Passed => "passed",
        }
    }
}

/// Where a packet ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictReport {
    /// Where.
    pub fate: Fate,
    /// Why, by the label that the counters have; `None` if it was forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the reason means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The port that sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_port: Option<String>,
}

/// What a stage did with a packet, or what it knew.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepReport {
    /// The stage: classifier, parse, source, connection, filter_in, police, route, filter_out, rewrite, egress.
    pub stage: String,
    /// What happened, in words.
    pub text: String,
    /// The stage decided: forwarded, punted or dropped, with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictReport>,
    /// The filter that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// The rule of it that matched; `default` for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the rule does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The policer that metered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policer: Option<String>,
    /// As which colour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colour: Option<String>,
    /// The state of its connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The route that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The neighbour that gets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neighbour: Option<String>,
}

/// A packet that somebody imagines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainQuery {
    /// The port it comes in by.
    pub port: String,
    /// The frame in hexadecimal digits, from the Ethernet header on. A destination MAC address of zeroes stands for
    /// the router's own on that port.
    pub frame: String,
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Hexadecimal digits as bytes; `None` if they are no such.
#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let byte = |pair: &[u8]| match pair {
        &[high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_go_both_ways() {
        assert_eq!(to_hex(&[0, 0x9f, 0xff]), "009fff");
        assert_eq!(from_hex("009fFF"), Some(vec![0, 0x9f, 0xff]));
        assert_eq!([from_hex("0"), from_hex("0g"), from_hex("é")], [None, None, None]);
        assert_eq!(from_hex(""), Some(Vec::new()));
    }

    #[test]
    fn a_query_is_everything_unless_it_says_more() {
        let query: TapQuery = serde_json::from_str("{}").expect("all has a default");
        assert_eq!(query, TapQuery::default());
        serde_json::from_str::<TapQuery>(r#"{"matches": "tcp"}"#).expect_err("an unknown key");
    }
}
