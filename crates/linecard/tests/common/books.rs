//! The books of a daemon: received + originated = sent + queued + dropped + punted, and the like in bytes. They are
//! checked whenever a daemon ends, so at the end of every test.

use linecard_packet::PortTotals;

use super::Daemon;

impl Daemon {
    /// Every packet is in exactly one account, of each port and of all. Call it when traffic has
    /// stopped: it waits until no packet is queued any more.
    pub fn assert_books_balance(&self) {
        self.wait_for("the transmit queues empty", |daemon| daemon.total().queued_packets == 0);
        self.assert_books_balance_now();
    }

    /// The same at any moment, with packets queued or not.
    pub fn assert_books_balance_now(&self) {
        let report = self.ports();
        for port in &report.ports {
            let balances = (port.totals.balance(), port.totals.byte_balance());
            assert_eq!(balances, (0, 0), "books of {}: {port:#?}", port.name);
        }
        assert_eq!(report.total.total_balance(), 0, "books of all ports: {report:#?}");
        let sum: PortTotals = report.ports.iter().map(|port| port.totals.clone()).sum();
        assert_eq!(sum, report.total, "the total is the sum of the ports");
        // What a classifier took before its worker was armed, or when a worker had died, would
        // be missing here: it is "standby" then, and the kernel's.
    }

    /// The last look at the books before a daemon ends, whatever traffic there still is. One that has ended by
    /// itself shows none, and a test that has failed has said enough.
    pub(super) fn close_books(&mut self) {
        let runs = self.process().exit_status().is_ok_and(|status| status.is_none());
        if runs && !std::thread::panicking() {
            self.assert_books_balance_now();
        }
    }
}
