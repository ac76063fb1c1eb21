//! The rig: the same frames into two beds, one with the kernel alone, one with Linecard on top.

use linecard_lab::wait_until;
use linecard_observe::{PassedReport, PortsReport};
use linecard_packet::{PortTotals, ReasonCounts};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::bed::{Bed, Output, Side};
use super::compare::{Frames, comparable, difference, dump, hex, without_padding};
use super::fixture::{Fixture, Verdict, is_redirect};
use super::sentinel::Sentinel;
use crate::common::{DEADLINE, Daemon, Options, PortMode};

/// The side that each port of the daemon serves, in the order of its configuration.
const SERVED: [Side; 2] = [Side::West, Side::East];

/// Two beds and a daemon on one of them.
pub(crate) struct Rig {
    kernel: Bed,
    linecard: Bed,
    daemon: Daemon,
    mode: PortMode,
    round: u64,
    accounts: PortsReport,
}

impl Rig {
    /// Builds both beds; the daemon forwards when this returns.
    pub(crate) fn new(mode: PortMode) -> Self {
        // Worker and test stay where they are: frames that take the same way then pass the same
        // queues of the kernel, of which it has one a core.
        let (test_core, worker_core) = cores();
        let (kernel, linecard) = (Bed::new("kernel"), Bed::new("linecard"));
        let tables = format!(
            "[workers]\ncount_max = 1\ncores = [{worker_core}]\n\
             [punt]\nrate_packets_per_second = 1000000\nburst_packets = 100000\n"
        );
        let options = Options::new(&SERVED.map(Side::interface), mode).tables(&tables);
        if mode == PortMode::Redirected {
            SERVED.iter().for_each(|side| linecard.take_redirects(*side));
        }
        let daemon = Daemon::start(&linecard.router, &options);
        let accounts = without_bytes(daemon.ports());
        let shown = (accounts.ports[0].kind.as_str(), accounts.ports[0].mode.as_str());
        assert_eq!(shown, mode.shown());
        // Last, because threads and processes inherit it.
        sched_setaffinity(Pid::from_raw(0), &test_core).expect("a core that is allowed");
        Self { kernel, linecard, daemon, mode, round: 0, accounts }
    }

    /// Sends frames into both beds, and returns what came out of the kernel's and of Linecard's.
    pub(crate) fn run(&mut self, frames: &[(Side, &[u8])]) -> (Output, Output) {
        self.round += 1;
        let [kernel, linecard] = [&self.kernel, &self.linecard].map(|bed| {
            for (side, frame) in frames {
                bed.send(*side, frame);
            }
            bed.collect(self.round).map(|frames| {
                let frames = frames.into_iter().map(comparable);
                match self.mode {
                    PortMode::Redirected => frames.map(without_padding).collect(),
                    _ => frames.collect(),
                }
            })
        });
        (kernel, linecard)
    }

    /// What only the kernel's and what only Linecard's bed makes of frames, if anything. Redirects
    /// are left out: the kernel sends a source one a second, and Linecard's bed is spared those of
    /// frames that Linecard forwards.
    pub(crate) fn differences(&mut self, frames: &[(Side, &[u8])]) -> Option<(Frames, Frames)> {
        let (kernel, linecard) = self.run(frames);
        let (mut only_kernel, mut only_linecard) = difference(&kernel, &linecard);
        for frames in [&mut only_kernel, &mut only_linecard] {
            frames.retain(|(_, frame)| !is_redirect(frame));
        }
        let same = only_kernel.is_empty() && only_linecard.is_empty();
        (!same).then_some((only_kernel, only_linecard))
    }

    /// Linecard's verdict on a fixture, on ports of this mode.
    fn verdict(&self, fixture: &Fixture) -> Verdict {
        match (self.mode, fixture.verdict_packet) {
            (PortMode::Packet, Some(verdict)) => verdict,
            _ => fixture.verdict,
        }
    }

    /// Whether a fixture is in one of Linecard's accounts.
    pub(crate) fn sees(&self, fixture: &Fixture) -> bool {
        self.verdict(fixture) != Verdict::Unseen
    }

    /// Runs a fixture, and returns what came out of Linecard; an error says what is not as it
    /// should be.
    pub(crate) fn check(&mut self, fixture: &Fixture) -> Result<Output, String> {
        let (mut kernel, mut linecard) = self.run(&[(fixture.side, &fixture.frame)]);
        let sent = linecard.clone();
        if let Some(clock) = &fixture.clock {
            for frame in kernel.iter_mut().chain(&mut linecard).flatten() {
                frame[clock.clone()].fill(0);
                // The header checksum with it.
                frame[24..26].fill(0);
            }
        }
        let mut wrong = Vec::new();
        let out: [usize; 3] = Side::ALL.map(|side| kernel[side as usize].len());
        if out != fixture.out {
            wrong.push(format!("the kernel alone sends {out:?} frames, not {:?}", fixture.out));
        }
        let as_meant = match fixture.difference {
            None => kernel == linecard,
            Some(it) => {
                let (only_kernel, only_linecard) = difference(&kernel, &linecard);
                it.only.is_all(&comparable(fixture.frame.clone()), &only_kernel, &only_linecard)
            }
        };
        if !as_meant {
            let meant = fixture.difference.map(|it| it.only);
            wrong.push(format!("the difference is not as meant, {meant:?}"));
        }
        if !wrong.is_empty() {
            let (kernel, linecard) = (dump(&kernel), dump(&linecard));
            wrong.push(format!("the kernel alone:\n{kernel}Linecard:\n{linecard}"));
        }
        wrong.extend(self.check_accounts(fixture).err());
        if wrong.is_empty() {
            return Ok(sent);
        }
        let frame = hex(&fixture.frame);
        Err(format!("{}\nsent: {frame}\n{}", fixture.description, wrong.join("\n")))
    }

    /// The account that the fixture names has moved by one, those of the sentinels as ever, and
    /// everything else has stood still.
    fn check_accounts(&mut self, fixture: &Fixture) -> Result<(), String> {
        let verdict = self.verdict(fixture);
        let before = self.accounts.clone();
        let mut expected = before.clone();
        for (side, port) in SERVED.into_iter().zip(&mut expected.ports) {
            let local = Sentinel::account(side, &mut port.totals);
            pass(&mut port.passed, "local", local);
            if side == fixture.side {
                account(verdict, &mut port.totals, &mut port.passed);
            }
            if verdict == Verdict::Forwarded(side) {
                port.totals.sent_packets += 1;
            }
        }
        expected.total = expected.ports.iter().map(|port| port.totals.clone()).sum();
        self.accounts = self.settle(seen(&expected));
        if self.accounts == expected {
            return Ok(());
        }
        let (moved, meant) = (movement(&before, &self.accounts), movement(&before, &expected));
        Err(format!("accounts that moved: {moved}\nthose that should: {meant}"))
    }

    /// The accounts as soon as `frames` are in them: a worker publishes its counters after it has
    /// sent a batch.
    fn settle(&self, frames: u64) -> PortsReport {
        let mut now = PortsReport::default();
        wait_until(DEADLINE, || {
            now = without_bytes(self.daemon.ports());
            Ok(seen(&now) >= frames && now.total.queued_packets == 0)
        })
        .expect("the daemon answers");
        now
    }

    /// Every packet is in exactly one account, and Linecard has seen `frames` besides sentinels.
    pub(crate) fn check_books(&mut self, frames: u64) {
        let sentinels = SERVED.map(|side| {
            let mut totals = PortTotals::default();
            Sentinel::account(side, &mut totals) + totals.received_packets
        });
        let expected = frames + sentinels.iter().sum::<u64>() * self.round;
        self.accounts = self.settle(expected);
        assert_eq!(seen(&self.accounts), expected, "each frame is in an account");
        for port in self.daemon.ports().ports {
            let again = port.passed.iter().find(|it| it.reason == COMES_BY_AGAIN);
            // Native XDP stands before the place where punted frames come back in.
            let is_native = matches!(self.mode, PortMode::Native | PortMode::Redirected);
            let punted = if is_native { 0 } else { port.totals.punted_packets.sum() };
            assert_eq!(again.map(|it| it.packets), Some(punted), "punted by {}", port.name);
        }
        self.daemon.assert_books_balance();
        // What was learned once was redirected from then on.
        let redirected = self.daemon.total().redirected_packets;
        assert_eq!(redirected > 100, self.mode == PortMode::Redirected, "{redirected} redirected");
    }
}

/// The classifier's label for frames that were punted.
const COMES_BY_AGAIN: &str = "punted";

/// A core for the test, and the number of another one, if there is one, for the worker.
fn cores() -> (CpuSet, usize) {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("a thread may ask");
    let cores: Vec<_> = (0..CpuSet::count())
        .filter(|&core| allowed.is_set(core).expect("a core below the count"))
        .collect();
    let mut first = CpuSet::new();
    first.set(cores[0]).expect("a core below the count");
    (first, cores[cores.len() - 1])
}

/// The report without its counts of bytes, which follow from the frames compared, and without who
/// forwards them, which is not known at the start.
fn without_bytes(mut report: PortsReport) -> PortsReport {
    let ports = report.ports.iter_mut();
    let totals = ports.map(|port| {
        port.route_cache = None;
        port.passed.iter_mut().for_each(|it| it.bytes = 0);
        // A frame that comes by again on its way to the kernel: it is in the punt's account.
        port.passed.retain(|it| it.reason != COMES_BY_AGAIN);
        &mut port.totals
    });
    for totals in totals.chain([&mut report.total]) {
        totals.received_bytes = 0;
        totals.forwarded_bytes = 0;
        totals.transmitted_bytes = 0;
        totals.dropped_bytes = ReasonCounts::default();
        totals.punted_bytes = ReasonCounts::default();
        totals.redirected_packets = 0;
        // By class, which no filter sets here, workers count what they forward.
        totals.class_packets.fill(0);
    }
    report
}

/// Frames that Linecard has seen, on all ports.
fn seen(report: &PortsReport) -> u64 {
    let passed = report.ports.iter().flat_map(|port| &port.passed);
    report.total.received_packets + passed.map(|it| it.packets).sum::<u64>()
}

/// Adds one packet to the accounts of the port it came in by.
fn account(verdict: Verdict, totals: &mut PortTotals, passed: &mut [PassedReport]) {
    match verdict {
        Verdict::Forwarded(_) => totals.forwarded_packets += 1,
        Verdict::Punted(reason) => totals.punted_packets[reason] += 1,
        Verdict::Dropped(reason) => totals.dropped_packets[reason] += 1,
        Verdict::Passed(reason) => return pass(passed, reason, 1),
        Verdict::Unseen => return,
    }
    totals.received_packets += 1;
}

fn pass(passed: &mut [PassedReport], reason: &str, packets: u64) {
    let line = passed.iter_mut().find(|line| line.reason == reason);
    line.unwrap_or_else(|| panic!("no classifier passes for {reason:?}")).packets += packets;
}

/// What is not the same in two reports, by port and account.
fn movement(before: &PortsReport, after: &PortsReport) -> String {
    let mut moved = Vec::new();
    for (before, after) in before.ports.iter().zip(&after.ports) {
        let (was, is) = (&before.totals, &after.totals);
        let name = &after.name;
        let mut note = |account: &str, was: u64, is: u64| {
            if was != is {
                moved.push(format!("{name} {account} {:+}", is as i64 - was as i64));
            }
        };
        note("received", was.received_packets, is.received_packets);
        note("forwarded", was.forwarded_packets, is.forwarded_packets);
        note("sent", was.sent_packets, is.sent_packets);
        for ((reason, was), (_, is)) in was.dropped_packets.iter().zip(is.dropped_packets.iter()) {
            note(&format!("dropped {reason}"), was, is);
        }
        for ((reason, was), (_, is)) in was.punted_packets.iter().zip(is.punted_packets.iter()) {
            note(&format!("punted {reason}"), was, is);
        }
        for (was, is) in before.passed.iter().zip(&after.passed) {
            note(&format!("passed {}", is.reason), was.packets, is.packets);
        }
    }
    moved.join(", ")
}
