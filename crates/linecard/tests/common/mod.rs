//! What the system tests share: a daemon in a namespace, what it reports, and the ways it can end.
//!
//! A [`Daemon`] has a directory of its own for its configuration, its socket and its log, so tests run
//! side by side. When a test fails the daemon's log is printed; when it ends in whatever way, the
//! daemon dies with it, and before that shows its books once more ([`books`]).

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several test binaries")]

mod books;
pub mod iperf3;
mod options;
pub mod traffic;

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use linecard_api::Client;
use linecard_lab::{
    Namespace, Process, RouterOptions, RouterTopology, command_that_dies_with_us, wait_for,
};
use linecard_observe::{PortReport, PortsReport};
use linecard_packet::{DropReason, PortTotals, PuntReason};
use serde_json::Value;
use tempfile::TempDir;

pub use options::{Options, PortMode};

/// For whatever should happen soon: generous, because test machines are busy.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A test for each way to serve ports, out of functions that take a [`PortMode`].
#[allow(unused_macros, reason = "each test binary uses a part of this module")]
macro_rules! for_each_port_mode {
    ($($function:ident),+ $(,)?) => {
        mod native {
            $(#[test]
            fn $function() {
                super::$function(crate::common::PortMode::Native);
            })+
        }
        mod generic {
            $(#[test]
            fn $function() {
                super::$function(crate::common::PortMode::Generic);
            })+
        }
        mod packet {
            $(#[test]
            fn $function() {
                super::$function(crate::common::PortMode::Packet);
            })+
        }
        mod redirected {
            $(#[test]
            fn $function() {
                super::$function(crate::common::PortMode::Redirected);
            })+
        }
    };
}
#[allow(unused_imports, reason = "each test binary uses a part of it")]
pub(crate) use for_each_port_mode;

/// The binary under test.
pub const LINECARD: &str = env!("CARGO_BIN_EXE_linecard");

/// `linecard run` in a namespace.
pub struct Daemon {
    namespace: Namespace,
    options: Options,
    directory: TempDir,
    process: Process,
}

impl Daemon {
    /// Starts a daemon and waits until it forwards.
    pub fn start(namespace: &Namespace, options: &Options) -> Self {
        let directory = tempfile::tempdir().expect("a directory of our own");
        let process = spawn(namespace, options, directory.path());
        let mut daemon =
            Self { namespace: namespace.clone(), options: options.clone(), directory, process };
        daemon.wait_until_it_answers();
        daemon
    }

    /// A daemon on all three ports of the router.
    pub fn on_router(topology: &RouterTopology, mode: PortMode) -> Self {
        Self::start(&topology.router, &Options::of_router(topology, mode))
    }

    /// Starts it anew after [`Daemon::stop`] or [`Daemon::kill`], with the same configuration, and
    /// waits until it forwards. Its counters begin at zero.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.namespace, &self.options, self.directory.path());
        self.wait_until_it_answers();
    }

    /// Asks it to stop, waits, and returns how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.close_books();
        self.process.signal(linecard_lab::Signal::SIGTERM).expect("it may be signalled");
        self.process.wait(DEADLINE).expect("it stops in time")
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        self.close_books();
        let status = self.process.kill().expect("it may be killed");
        assert!(linecard_lab::was_killed(status), "it had ended before: {status}\n{}", self.log());
    }

    /// The running program.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The path of its socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("linecard.sock")
    }

    /// The path of its configuration.
    pub fn config(&self) -> PathBuf {
        self.directory.path().join("linecard.toml")
    }

    /// What it has logged, over all its starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// A client of its API.
    pub fn client(&self) -> Client {
        Client::new(&self.socket())
    }

    /// All ports.
    pub fn ports(&self) -> PortsReport {
        self.client().ports().expect("the daemon answers")
    }

    /// One port.
    pub fn port(&self, name: &str) -> PortReport {
        let mut ports = self.ports().ports;
        let at = ports.iter().position(|port| port.name == name);
        ports.swap_remove(at.unwrap_or_else(|| panic!("no port {name}")))
    }

    /// The sum of all ports.
    pub fn total(&self) -> PortTotals {
        self.ports().total
    }

    /// How often `reason` has happened on all ports.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.total().dropped_packets[reason]
    }

    /// How often `reason` has happened on all ports.
    pub fn punted(&self, reason: PuntReason) -> u64 {
        self.total().punted_packets[reason]
    }

    /// How many frames a port's classifier has left to the kernel for `reason`.
    pub fn passed(&self, port: &str, reason: &str) -> u64 {
        let passed = self.port(port).passed;
        let line = passed.iter().find(|line| line.reason == reason);
        line.unwrap_or_else(|| panic!("no reason {reason} in {passed:?}")).packets
    }

    /// Waits until `condition` holds of what the daemon reports.
    pub fn wait_for(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        wait_for(what, DEADLINE, || Ok(condition(self)))
            .unwrap_or_else(|error| panic!("{error}\n{:#?}", self.ports()));
    }

    /// Waits until `count` is at least `expected`, and asserts that it is no more. A worker counts at the
    /// end of a batch, so what a packet caused may be seen before the packet is counted.
    pub fn assert_count(&self, what: &str, expected: u64, count: impl Fn(&Self) -> u64) {
        self.wait_for(&format!("{expected} {what}"), |daemon| count(daemon) >= expected);
        assert_eq!(count(self), expected, "{what}");
    }

    /// [`Daemon::assert_count`] of the packets that were forwarded.
    pub fn assert_forwarded(&self, expected: u64) {
        self.assert_count("packets forwarded", expected, |it| it.total().forwarded_packets);
    }

    /// [`Daemon::assert_count`] of the packets that were punted for `reason`.
    pub fn assert_punted(&self, reason: PuntReason, expected: u64) {
        self.assert_count(reason.label(), expected, |it| it.punted(reason));
    }

    /// Waits until the daemon knows how to reach a neighbour, or does not any more.
    pub fn wait_neighbour(&self, interface: &str, address: std::net::IpAddr, usable: bool) {
        self.wait_for(&format!("neighbour {address} usable: {usable}"), |daemon| {
            let report = daemon.client().neighbours().expect("the daemon answers");
            let state = linecard_observe::NeighbourState::Usable;
            usable
                == report.neighbours.iter().any(|it| {
                    it.interface == interface && it.address == address && it.state == state
                })
        });
    }

    /// Writes its configuration anew, from other options; it goes on with what it has until it reads it.
    pub fn configure(&mut self, options: &Options) {
        self.options = options.clone();
        std::fs::write(self.config(), options.text(&self.socket())).expect("a file of our own");
    }

    /// `linecard show …` against this daemon.
    pub fn show(&self, arguments: &[&str]) -> Output {
        let output = Command::new(LINECARD)
            .arg("show")
            .args(arguments)
            .arg("--socket")
            .arg(self.socket())
            .env("NO_COLOR", "1")
            .output()
            .expect("the binary was built");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        output
    }

    /// `linecard show … --json` against this daemon.
    pub fn show_json(&self, arguments: &[&str]) -> Value {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        serde_json::from_slice(&self.show(&arguments).stdout).expect("JSON")
    }

    fn wait_until_it_answers(&mut self) {
        let client = self.client();
        let log = self.directory.path().join("log");
        let process = &mut self.process;
        wait_for("the daemon answer", DEADLINE, || {
            if let Some(status) = process.exit_status()? {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("the daemon ended ({status}) before it answered:\n{log}");
            }
            Ok(client.health().is_ok())
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let books = catch_unwind(AssertUnwindSafe(|| self.close_books()));
        if std::thread::panicking() || books.is_err() {
            eprintln!("--- log of the daemon ---\n{}--- end of the log ---", self.log());
        }
        if let Err(wrong) = books {
            resume_unwind(wrong);
        }
    }
}

fn spawn(namespace: &Namespace, options: &Options, directory: &Path) -> Process {
    let config = directory.join("linecard.toml");
    std::fs::write(&config, options.text(&directory.join("linecard.sock"))).expect("written");
    let log = File::options().create(true).append(true).open(directory.join("log"));
    let mut command = command_that_dies_with_us(LINECARD);
    command
        .args(["run", "--config"])
        .arg(&config)
        .env("LINECARD_LOG", options.log)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("a log file"));
    namespace.spawn(command).expect("the binary was built")
}

/// Runs a command in a namespace to its end, and returns what it wrote.
pub fn run_in(namespace: &Namespace, mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = command.get_program().to_string_lossy().into_owned();
    let mut process = namespace.spawn(command).unwrap_or_else(|error| {
        panic!("{error}: the system tests need {program}, see `cargo xtask test`")
    });
    // Each pipe has a reader, so that neither fills up while the other is read.
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let child = process.child_mut();
    let stdout = read(Box::new(child.stdout.take().expect("piped")));
    let stderr = read(Box::new(child.stderr.take().expect("piped")));
    let status = process.wait(DEADLINE + DEADLINE).expect("it ends in time");
    let bytes = |reader: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        reader.join().expect("the reader does not panic").expect("a pipe can be read")
    };
    Output { status, stdout: bytes(stdout), stderr: bytes(stderr) }
}

/// Lets the hosts at the router's ports take frames that XDP redirects to them, or not: what a veth's
/// `ndo_xdp_xmit` asks of its peer.
pub fn take_redirects(topology: &RouterTopology, on: bool) {
    let features = [("rx-gro", on)];
    let RouterTopology { client, server, client_link, path_a, path_b, .. } = topology;
    client.set_features(client_link.near.interface, &features).expect("a feature of veth");
    for path in [path_a, path_b] {
        server.set_features(path.far.interface, &features).expect("a feature of veth");
    }
}

/// A client, a router and a server that know each other's MAC addresses, so that no packet has to
/// wait for ARP or ND, and each one is Linecard's from the start.
pub fn resolved_topology() -> RouterTopology {
    let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
    RouterTopology::new(&options).expect("a topology")
}

/// Packets that the kernel of a namespace has forwarded, of both families: what did not go through
/// Linecard.
pub fn kernel_forwarded(namespace: &Namespace) -> u64 {
    let (v4, v6) = namespace.run(|| {
        let read = |path| std::fs::read_to_string(path).expect("the kernel counts");
        (read("/proc/thread-self/net/snmp"), read("/proc/thread-self/net/snmp6"))
    });
    let mut ip = v4.lines().filter(|line| line.starts_with("Ip: "));
    let mut words = || ip.next().expect("a line of names and one of numbers").split_whitespace();
    let column = words().position(|name| name == "ForwDatagrams").expect("a counter");
    let v4: u64 = words().nth(column).and_then(|it| it.parse().ok()).expect("a number");
    let line = v6.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams"));
    let v6: u64 = line.and_then(|it| it.trim().parse().ok()).expect("a number");
    v4 + v6
}

/// What a program wrote, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
