//! Waiting for the kernel and then for Linecard, with a stopwatch.

use std::thread;
use std::time::{Duration, Instant};

use linecard_lab::RouterTopology;
use linecard_observe::HealthReport;

use crate::common::Daemon;

/// A daemon that has to learn 120,000 routes on a busy machine.
const CONVERGED_WITHIN: Duration = Duration::from_secs(120);
/// How exact the stopwatch is; each look costs the kernel a walk over its trie.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// What both held at one moment; later numbers are told against it.
pub struct Baseline {
    kernel: [usize; 2],
    linecard: u64,
}

impl Baseline {
    /// Call it when nothing moves.
    pub fn new(topology: &RouterTopology, daemon: &Daemon) -> Self {
        Self { kernel: kernel(topology), linecard: health(daemon).routes }
    }

    /// Waits until kernel and Linecard both have so many routes more than at the baseline, by family,
    /// and prints when.
    pub fn wait(
        &self,
        topology: &RouterTopology,
        daemon: &mut Daemon,
        routes: [usize; 2],
        what: &str,
    ) {
        let before = health(daemon);
        let kernel_before = kernel(topology);
        let start = Instant::now();
        let (mut first, mut last) = (None, None);
        let wanted = self.linecard + (routes[0] + routes[1]) as u64;
        let now = loop {
            let kernel = kernel(topology);
            let now = health(daemon);
            let elapsed = start.elapsed();
            if kernel != kernel_before {
                first.get_or_insert(elapsed);
            }
            let done = (0..2).all(|family| kernel[family] == self.kernel[family] + routes[family]);
            if done {
                last.get_or_insert(elapsed);
            } else {
                last = None;
            }
            if done && now.routes == wanted {
                break now;
            }
            assert!(
                elapsed < CONVERGED_WITHIN,
                "{what}: the kernel has {kernel:?}, Linecard {}, wanted {routes:?} more than {:?}, \
                 {}",
                now.routes,
                self.kernel,
                self.linecard
            );
            thread::sleep(LOOK_INTERVAL);
        };
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        println!(
            "{what}: kernel {:.2} s from the first route to the last, Linecard {:.2} s behind it, \
             {} publications, {} overruns, {} resyncs, resident {} MiB",
            (last - first).as_secs_f64(),
            (start.elapsed() - last).as_secs_f64(),
            now.snapshot_version - before.snapshot_version,
            now.netlink_overruns,
            now.netlink_resyncs,
            resident_mebibytes(daemon),
        );
    }
}

/// Linecard's health; it must answer whatever the control side is busy with.
pub fn health(daemon: &Daemon) -> HealthReport {
    daemon.client().health().expect("the daemon answers")
}

/// No news of the kernel's was lost, nothing had to be read anew, and everything fitted.
pub fn assert_followed_without_loss(daemon: &Daemon) {
    let health = health(daemon);
    assert_eq!(health.netlink_overruns, 0, "{health:?}");
    assert_eq!(health.netlink_resyncs, 0, "{health:?}");
    assert_eq!(health.table_overflows, 0, "{health:?}");
    assert!(health.troubles.is_empty(), "{health:?}");
}

fn kernel(topology: &RouterTopology) -> [usize; 2] {
    [false, true].map(|ipv6| {
        topology.router.route_count_estimate(ipv6).expect("the kernel tells its statistics")
    })
}

/// The daemon's resident memory (`VmRSS` of proc(5)), packet memory included.
fn resident_mebibytes(daemon: &mut Daemon) -> u64 {
    let path = format!("/proc/{}/status", daemon.process().id());
    let status = std::fs::read_to_string(path).expect("the daemon runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process");
    let kibibytes: u64 =
        line.trim().trim_end_matches(" kB").parse().expect("a number of kibibytes");
    kibibytes / 1024
}
