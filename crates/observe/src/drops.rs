//! Why packets did not go on: one line a reason, over all ports.

use linecard_packet::{DropReason, PortTotals, PuntReason, Withheld};
use serde::{Deserialize, Serialize};

use crate::PortsReport;

/// All reasons, those that never happened included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropsReport {
    /// Packets that ended here.
    pub drops: Vec<ReasonReport>,
    /// Packets that were handed to the kernel.
    pub punts: Vec<ReasonReport>,
    /// Frames that the ports' classifiers left to the kernel, before any worker saw them.
    #[serde(default)]
    pub passed: Vec<ReasonReport>,
    /// Packets of Linecard's own, replies and copies, that were asked for and did not leave.
    #[serde(default)]
    pub withheld: Vec<ReasonReport>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonReport {
    /// Its label, as in metrics and traces.
    pub reason: String,
    /// What it means, in a sentence.
    pub description: String,
    /// Packets over all ports.
    pub packets: u64,
    /// Their bytes, as received; 0 where only the kernel has seen the packets, which does not say how long they were.
    #[serde(default)]
    pub bytes: u64,
    /// Packets of each port on which it happened.
    pub ports: Vec<PortPackets>,
}

/// Packets of one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPackets {
    /// The port's name.
    pub port: String,
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
}

impl DropsReport {
    /// The same counts as in `ports`, by reason.
    #[must_use]
    pub fn of(ports: &PortsReport) -> Self {
        let line = |reason: &str, description: &str, count: &dyn Fn(&PortTotals) -> (u64, u64)| {
            let of_port = |port: &crate::PortReport| {
                let (packets, bytes) = count(&port.totals);
                (packets > 0).then(|| PortPackets { port: port.name.clone(), packets, bytes })
            };
            let (packets, bytes) = count(&ports.total);
            ReasonReport {
                reason: reason.to_owned(),
                description: description.to_owned(),
                packets,
                bytes,
                ports: ports.ports.iter().filter_map(of_port).collect(),
            }
        };
        let drop = |&reason: &DropReason| {
            line(reason.label(), reason.description(), &|totals| {
                (totals.dropped_packets[reason], totals.dropped_bytes[reason])
            })
        };
        let punt = |&reason: &PuntReason| {
            line(reason.label(), reason.description(), &|totals| {
                (totals.punted_packets[reason], totals.punted_bytes[reason])
            })
        };
        let withheld = |&reason: &Withheld| {
            // They were never received, and most never made: no bytes.
            line(reason.label(), reason.description(), &|totals| {
                (totals.withheld_packets[reason], 0)
            })
        };
        Self {
            drops: DropReason::ALL.iter().map(drop).collect(),
            punts: PuntReason::ALL.iter().map(punt).collect(),
            passed: passed(ports),
            withheld: Withheld::ALL.iter().map(withheld).collect(),
        }
    }
}

/// The classifiers' reasons, in the order in which the ports name them.
fn passed(ports: &PortsReport) -> Vec<ReasonReport> {
    let mut lines: Vec<ReasonReport> = Vec::new();
    for port in &ports.ports {
        for at in &port.passed {
            let found = lines.iter().position(|line| line.reason == at.reason);
            let place = found.unwrap_or_else(|| {
                lines.push(ReasonReport {
                    reason: at.reason.clone(),
                    description: at.description.clone(),
                    packets: 0,
                    bytes: 0,
                    ports: Vec::new(),
                });
                lines.len() - 1
            });
            lines[place].packets += at.packets;
            lines[place].bytes += at.bytes;
            if at.packets > 0 {
                let (port, packets, bytes) = (port.name.clone(), at.packets, at.bytes);
                lines[place].ports.push(PortPackets { port, packets, bytes });
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PassedReport, PortReport, PortState};

    #[test]
    fn reasons_are_summed_over_ports_and_named_with_them() {
        let port = |name: &str, blackholed| {
            let mut totals = PortTotals::default();
            totals.dropped_packets[DropReason::Blackhole] = blackholed;
            totals.dropped_bytes[DropReason::Blackhole] = 60 * blackholed;
            PortReport {
                name: name.to_owned(),
                kind: "memory".to_owned(),
                mode: String::new(),
                state: PortState::Up,
                queues: 1,
                route_cache: None,
                totals,
                passed: vec![PassedReport {
                    reason: "not_ip".to_owned(),
                    description: "It is neither IPv4 nor IPv6.".to_owned(),
                    packets: 2,
                    bytes: 84,
                }],
            }
        };
        let report =
            DropsReport::of(&PortsReport::new(vec![port("a", 3), port("b", 0), port("c", 4)]));
        assert_eq!(report.drops.len(), DropReason::COUNT);
        let line = report.drops.iter().find(|line| line.reason == "blackhole").expect("a line");
        assert_eq!((line.packets, line.bytes, line.ports.len()), (7, 420, 2));
        assert_eq!((line.ports[1].packets, line.ports[1].bytes), (4, 240));
        assert_eq!(line.description, "The route is of type blackhole.");
        let passed = &report.passed[0];
        assert_eq!((report.passed.len(), passed.packets, passed.bytes), (1, 6, 252));
        assert_eq!(report.passed[0].description, "It is neither IPv4 nor IPv6.");
        assert!(report.punts.iter().all(|line| line.packets == 0 && !line.description.is_empty()));
    }
}
