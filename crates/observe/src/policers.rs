//! Policers: what they are told, and what each has counted by colour.

use serde::{Deserialize, Serialize};

/// All policers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicersReport {
    /// In the order of the configuration; one by port once for each port.
    pub policers: Vec<PolicerReport>,
    /// The meters by source prefix of all policers together.
    pub sources: PoliceSourcesReport,
    /// How often a packet passed a policer unmetered, because rules brought more packets of one batch to policers
    /// than there is room for: four a packet on average.
    pub unmetered_packets: u64,
}

/// One policer, or of one by port that of a port.
///
/// Counts are since it is there under this name. Bytes are those of IP packets, without what a policer adds to
/// each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicerReport {
    /// Its name.
    pub name: String,
    /// Of a policer by port: the port whose packets this one meters.
    pub port: Option<String>,
    /// `srtcm` (RFC 2697), `trtcm` (RFC 2698) or `trtcm-4115` (RFC 4115).
    pub algorithm: String,
    /// Its rates, with their unit.
    pub rate: String,
    /// Which packets share a meter: `rule`, `port`, or `source-prefix/` with two lengths.
    pub per: String,
    /// The ports all of whose packets meet it, besides those that rules bring.
    pub input_ports: Vec<String>,
    /// Packets within the committed rate.
    pub green_packets: u64,
    /// Their bytes.
    pub green_bytes: u64,
    /// Packets within the excess, or between the committed and the peak rate.
    pub yellow_packets: u64,
    /// Their bytes.
    pub yellow_bytes: u64,
    /// Packets above that.
    pub red_packets: u64,
    /// Their bytes.
    pub red_bytes: u64,
    /// Packets that it dropped, as `policed`: the red ones.
    pub dropped_packets: u64,
    /// Packets that left it with the DSCP it is told: the yellow ones, where it is told one.
    pub marked_packets: u64,
    /// Of a policer by source: packets whose source shared a meter, since all places were taken.
    pub sources_refused_packets: u64,
}

impl PolicerReport {
    /// The name, and behind a slash the port it is for.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.port {
            Some(port) => format!("{}/{port}", self.name),
            None => self.name.clone(),
        }
    }
}

/// Meters by source prefix, over all workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoliceSourcesReport {
    /// Places that there are.
    pub places: u64,
    /// Places that a source has, or had last: they are used again when that source owes nothing.
    pub places_taken: u64,
}
