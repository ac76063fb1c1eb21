//! Figures as people read them.

use std::time::{Duration, Instant};

use linecard_observe::PortsReport;
use linecard_packet::PortTotals;

use super::act::Finding;
use crate::output::count;

/// A duration in the unit that fits: `61 µs`, `1.3 ms`, `248 ms`, `2.50 s`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        ..0.001 => format!("{:.0} µs", seconds * 1e6),
        ..0.1 => format!("{:.1} ms", seconds * 1e3),
        ..1.0 => format!("{:.0} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

/// A rate in the unit that fits: `2.31 Gbit/s`, `640 Mbit/s`.
pub(super) fn bits_per_second(rate: f64) -> String {
    if rate >= 1e9 {
        format!("{:.2} Gbit/s", rate / 1e9)
    } else {
        format!("{:.0} Mbit/s", rate / 1e6)
    }
}

/// A part of a whole in per cent, 0 when there is no whole.
pub(super) fn per_cent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Milliseconds with fractions, for JSON.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Turns counters read one after the other into rates.
pub(super) struct Rates {
    before: PortTotals,
    at: Instant,
}

impl Rates {
    /// Rates from here on.
    pub(super) fn since(before: PortTotals) -> Self {
        Self { before, at: Instant::now() }
    }

    /// The rates since the last call, on one line.
    pub(super) fn line(&mut self, now: PortTotals) -> String {
        let seconds = self.at.elapsed().as_secs_f64().max(1e-6);
        let rate = |of: fn(&PortTotals) -> u64| {
            let moved = of(&now).saturating_sub(of(&self.before));
            count((moved as f64 / seconds) as u64)
        };
        let line = format!(
            "per second: received {}  sent {}  dropped {}  punted {}",
            rate(|at| at.received_packets),
            rate(|at| at.sent_packets),
            rate(|at| at.dropped_packets.sum()),
            rate(|at| at.punted_packets.sum()),
        );
        *self = Self::since(now);
        line
    }
}

/// Whether the books of all `reports` balance, each port's and their sum's.
pub(super) fn balance(reports: &[&PortsReport]) -> Finding {
    let totals: PortTotals = reports.iter().map(|report| report.total.clone()).sum();
    let mut ports = reports.iter().flat_map(|report| &report.ports);
    let each_balances =
        ports.all(|port| (port.totals.balance(), port.totals.byte_balance()) == (0, 0));
    let holds = each_balances && totals.total_balance() == 0 && totals.received_packets > 0;
    Finding::new(holds, books(&totals))
        .with("received_packets", totals.received_packets)
        .with("sent_packets", totals.sent_packets)
        .with("dropped_packets", totals.dropped_packets.sum())
        .with("queued_packets", totals.queued_packets)
        .with("punted_packets", totals.punted_packets.sum())
        .with("unaccounted_packets", totals.total_balance())
        .with("received_bytes", totals.received_bytes)
        .with("forwarded_bytes", totals.forwarded_bytes)
        .with("dropped_bytes", totals.dropped_bytes.sum())
        .with("punted_bytes", totals.punted_bytes.sum())
        .with("unaccounted_bytes", totals.byte_balance())
}

/// received = sent + dropped + queued + punted, with its numbers.
fn books(totals: &PortTotals) -> String {
    format!(
        "{} = {} + {} + {} + {}",
        count(totals.received_packets),
        count(totals.sent_packets),
        count(totals.dropped_packets.sum()),
        count(totals.queued_packets),
        count(totals.punted_packets.sum()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_take_the_unit_that_fits() {
        let times = [61, 1_340, 248_100, 2_500_000].map(Duration::from_micros).map(duration);
        assert_eq!(times, ["61 µs", "1.3 ms", "248 ms", "2.50 s"]);
        assert_eq!([2.314e9, 6.4e8].map(bits_per_second), ["2.31 Gbit/s", "640 Mbit/s"]);
        assert_eq!((per_cent(1, 4), per_cent(1, 0)), (25.0, 0.0));
    }

    #[test]
    fn the_books_name_each_account() {
        let totals =
            PortTotals { received_packets: 1_234, sent_packets: 1_234, ..PortTotals::default() };
        assert_eq!(books(&totals), "1,234 = 1,234 + 0 + 0 + 0");
    }
}
