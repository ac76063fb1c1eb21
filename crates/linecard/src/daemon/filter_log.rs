//! The lines of rules that log: one a packet, with the rule, the packet and what became of it.
//!
//! Workers tell a limited number of packets a second; how many there were besides is a line of its own.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use linecard_forwarder::TapTaken;
use tracing::info;

use super::services::Services;
use super::source::Shared;
use super::taps::port_names;
use super::words::Words;

/// The target of the lines, by which a log filter lets them through or not.
const TARGET: &str = "linecard::filter_log";
/// From one line about packets without a line to the next.
const SUPPRESSED_INTERVAL: Duration = Duration::from_secs(1);

/// Writes the lines.
pub(super) struct FilterLog {
    /// Packets without a line that were told of.
    suppressed: u64,
    due: Instant,
}

impl FilterLog {
    pub(super) fn new(now: Instant) -> Self {
        Self { suppressed: 0, due: now }
    }

    /// Writes what there is to write; while a reload has the services, later.
    pub(super) fn write(&mut self, now: Instant, shared: &Shared) {
        let Some(services) = shared.services_if_free() else { return };
        let (logged, suppressed) = shared.taps().take_logged();
        let lines = if logged.is_empty() { Vec::new() } else { lines(shared, &services, &logged) };
        drop(services);
        for Line { filter, rule, port, fate, packet } in lines {
            info!(target: TARGET, filter, rule, port, fate, "filter log: {packet}");
        }
        if suppressed > self.suppressed && now >= self.due {
            let packets = suppressed - self.suppressed;
            info!(target: TARGET, packets, "filter log: more packets than lines");
            (self.suppressed, self.due) = (suppressed, now + SUPPRESSED_INTERVAL);
        }
    }
}

/// What a line says.
struct Line {
    filter: String,
    rule: String,
    port: String,
    fate: String,
    packet: String,
}

/// The lines, complete, so that nobody waits for a lock while they are written.
fn lines(shared: &Shared, services: &Services, logged: &VecDeque<TapTaken>) -> Vec<Line> {
    let rib = shared.rib();
    let ports: Vec<&str> = port_names(shared).collect();
    let words = Words { services, rib: &rib, ports: &ports };
    let line = |taken: &TapTaken| {
        let (filter, rule) = services.filters.rule_of(taken.record.by);
        let report = words.packet(taken, 0, true);
        Line {
            filter: filter.to_owned(),
            rule: rule.to_owned(),
            port: report.in_port,
            fate: report.summary,
            packet: report.packet,
        }
    };
    logged.iter().map(line).collect()
}
