//! `linecard show ports --watch`: the same question again and again, and what moved in between.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use linecard_api::Client;
use linecard_observe::{PortReport, PortsReport};
use linecard_packet::PortTotals;
use serde::Serialize;

use crate::output::{self, Column, count};

/// Back to the upper left corner, and everything behind it away (ECMA-48 CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[J";

/// What moved on one port, or on all.
#[derive(Debug, PartialEq, Serialize)]
struct Rates {
    name: String,
    received_packets_per_second: u64,
    received_bits_per_second: u64,
    sent_packets_per_second: u64,
    sent_bits_per_second: u64,
    dropped_packets_per_second: u64,
    dropped_bits_per_second: u64,
    punted_packets_per_second: u64,
    punted_bits_per_second: u64,
}

/// Asks every `interval` until nobody reads the answers or the daemon is gone.
///
/// On a terminal each table replaces the last; with `json` each answer is one line.
pub(super) fn ports(client: &Client, interval: Duration, json: bool) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut before = (Instant::now(), client.ports()?);
    loop {
        std::thread::sleep(interval);
        let now = (Instant::now(), client.ports()?);
        let rates = rates(&before.1, &now.1, now.0 - before.0);
        if json {
            output::line(&serde_json::to_string(&rates)?)?;
        } else {
            let clear = if terminal { CLEAR } else { "" };
            output::line(&format!("{clear}{}\n", table(&rates)))?;
        }
        before = now;
    }
}

/// The rates of each port that was there both times, and their sum.
fn rates(before: &PortsReport, now: &PortsReport, elapsed: Duration) -> Vec<Rates> {
    let of = |port: &PortReport| {
        let old = before.ports.iter().find(|old| old.name == port.name)?;
        Some(rate(&port.name, &old.totals, &port.totals, elapsed))
    };
    let total = rate("total", &before.total, &now.total, elapsed);
    now.ports.iter().filter_map(of).chain([total]).collect()
}

fn rate(name: &str, before: &PortTotals, now: &PortTotals, elapsed: Duration) -> Rates {
    let nanoseconds = elapsed.as_nanos().max(1);
    // A daemon that was restarted counts from zero: no rate is better than a huge one.
    let per_second = |before: u64, now: u64| {
        let moved = u128::from(now.saturating_sub(before));
        u64::try_from(moved * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
    };
    let of = |count: &dyn Fn(&PortTotals) -> u64| per_second(count(before), count(now));
    Rates {
        name: name.to_owned(),
        received_packets_per_second: of(&|at| at.received_packets),
        received_bits_per_second: of(&|at| at.received_bytes.saturating_mul(8)),
        sent_packets_per_second: of(&|at| at.sent_packets),
        sent_bits_per_second: of(&|at| at.transmitted_bytes.saturating_mul(8)),
        dropped_packets_per_second: of(&|at| at.dropped_packets.sum()),
        dropped_bits_per_second: of(&|at| at.dropped_bytes.sum().saturating_mul(8)),
        punted_packets_per_second: of(&|at| at.punted_packets.sum()),
        punted_bits_per_second: of(&|at| at.punted_bytes.sum().saturating_mul(8)),
    }
}

fn table(rates: &[Rates]) -> String {
    let columns = [
        Column::Text("port"),
        Column::Number("received/s"),
        Column::Number("bit/s"),
        Column::Number("sent/s"),
        Column::Number("bit/s"),
        Column::Number("dropped/s"),
        Column::Number("bit/s"),
        Column::Number("punted/s"),
        Column::Number("bit/s"),
    ];
    let row = |at: &Rates| {
        let counts = [
            at.received_packets_per_second,
            at.received_bits_per_second,
            at.sent_packets_per_second,
            at.sent_bits_per_second,
            at.dropped_packets_per_second,
            at.dropped_bits_per_second,
            at.punted_packets_per_second,
            at.punted_bits_per_second,
        ];
        let mut row = vec![at.name.clone()];
        row.extend(counts.map(count));
        row
    };
    output::table(&columns, rates.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_moved_in_the_time_between() {
        let totals = |packets| PortTotals {
            received_packets: packets,
            received_bytes: 100 * packets,
            ..PortTotals::default()
        };
        let half = Duration::from_millis(500);
        let moved = rate("eth0", &totals(1_000), &totals(1_250), half);
        assert_eq!(moved.received_packets_per_second, 500);
        assert_eq!(moved.received_bits_per_second, 400_000);
        assert_eq!(moved.sent_packets_per_second, 0);
        let restarted = rate("eth0", &totals(1_000), &totals(3), half);
        assert_eq!(restarted.received_packets_per_second, 0);
    }
}
