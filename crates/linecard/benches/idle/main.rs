//! What an idle Linecard costs and how fast it wakes: `cargo bench -p linecard --bench idle`. Needs root.
//!
//! * Idle: CPU time of all threads of `linecard run` with two ports, in silence and with ten packets a
//!   second passing, as a share of one core.
//! * Wake: one packet after at least 50 ms of idleness, from before its system call in the client to
//!   its arrival in the server, which spins for it: on one core, while the worker has the other. The
//!   kernel's forwarding is measured in the same way, with the same topology; and, for what the machine
//!   itself takes to wake a core, a datagram on the loopback to a thread that sleeps in poll(2).

#[path = "../veth/daemon.rs"]
mod daemon;

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use linecard_lab::{RouterOptions, RouterTopology};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::json;

use daemon::{Daemon, PortMode};

/// Longer than Linecard, or the machine, remembers the last packet.
const PAUSE: Duration = Duration::from_millis(55);
/// A packet that has not come by then is lost.
const PATIENCE: Duration = Duration::from_secs(1);
const BACKGROUND_PACKETS_PER_SECOND: f64 = 10.0;

/// To sched_setaffinity(2), 0 is who calls.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// CPU time of an idle Linecard, and the time that it takes to wake.
#[derive(Debug, Parser)]
#[command(name = "idle")]
struct Args {
    /// Seconds for each share of a core.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Packets for each latency.
    #[arg(long, default_value_t = 200)]
    packets: usize,
    /// Keeps the worker's core from sleeping, by a program that runs when nothing else does there: leaves
    /// out what the machine takes to wake a core.
    #[arg(long)]
    keep_awake: bool,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One row of the result.
struct Row {
    name: &'static str,
    /// Percent of a core: silent, with some packets.
    idle: Option<[f64; 2]>,
    /// Sorted.
    latencies: Vec<Duration>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let contestants = [
        ("kernel", None),
        ("linecard", Some(PortMode::Native)),
        ("linecard-generic", Some(PortMode::Generic)),
        ("linecard-packet", Some(PortMode::Packet)),
    ];
    let seconds = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    let mut rows = Vec::with_capacity(contestants.len());
    let cores = two_cores()?;
    let tables = format!("[workers]\ncount_max = 1\ncores = [{}]\n", cores.1);
    let _awake = args.keep_awake.then(|| Spinner::start(cores.1)).transpose()?;
    rows.push(Row {
        name: "thread in poll",
        idle: None,
        latencies: of_a_thread(args.packets, cores)?,
    });
    for (name, mode) in contestants {
        eprintln!("{name}");
        let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
        let topology = RouterTopology::new(&options)?;
        let probe = Probe::open(&topology)?;
        let interfaces = topology.router_ports().map(|it| it.interface);
        let daemon =
            mode.map(|mode| Daemon::start(&topology.router, &interfaces[..2], mode, &tables));
        let daemon = daemon.transpose()?;
        let idle = match &daemon {
            Some(daemon) => Some([
                share_of_a_core(daemon, seconds, || {
                    thread::sleep(seconds);
                    Ok(())
                })?,
                share_of_a_core(daemon, seconds, || probe.trickle(seconds))?,
            ]),
            None => None,
        };
        rows.push(Row { name, idle, latencies: probe.latencies(args.packets, cores.0)? });
    }
    match args.json {
        true => print_json(&rows)?,
        false => print_table(&rows),
    }
    Ok(())
}

/// A program of the idle class that never sleeps; dropping it ends it.
struct Spinner(Child);

impl Spinner {
    fn start(core: usize) -> anyhow::Result<Self> {
        let mut command = Command::new("taskset");
        let shell = ["chrt", "--idle", "0", "sh", "-c", "while :; do :; done"];
        command.args(["--cpu-list", &core.to_string()]).args(shell).stdin(Stdio::null());
        Ok(Self(command.spawn().context("--keep-awake needs taskset, of util-linux")?))
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        // It has not been waited for, so it is there to be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One for who sends and receives, one for the worker.
fn two_cores() -> anyhow::Result<(usize, usize)> {
    let allowed = sched_getaffinity(THIS_THREAD)?;
    let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
    cores.next().zip(cores.next()).context("two cores are needed")
}

/// Percent of a core that the daemon takes while `work` is done.
fn share_of_a_core(
    daemon: &Daemon,
    length: Duration,
    work: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    // What starting it leaves to be done.
    thread::sleep(Duration::from_millis(500));
    let before = cpu_nanoseconds(daemon.id())?;
    work()?;
    let used = cpu_nanoseconds(daemon.id())? - before;
    Ok(used as f64 / length.as_nanos() as f64 * 100.0)
}

/// Time on a core of all threads of a process: the first number of their `schedstat`.
fn cpu_nanoseconds(process: u32) -> anyhow::Result<u64> {
    let mut total = 0;
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().context("an empty schedstat")?;
        total += first.parse::<u64>()?;
    }
    Ok(total)
}

/// A socket on each side of the router.
struct Probe {
    from: UdpSocket,
    to: UdpSocket,
}

impl Probe {
    fn open(topology: &RouterTopology) -> anyhow::Result<Self> {
        // An address of the link, so that there is one path only.
        let server = SocketAddr::new(topology.path_a.far.ipv4.addr().into(), 0);
        let to = topology.server.run(|| UdpSocket::bind(server))?;
        to.set_nonblocking(true)?;
        let client = SocketAddr::new(topology.client_address(false), 0);
        let from = topology.client.run(|| UdpSocket::bind(client))?;
        from.connect(to.local_addr()?)?;
        Ok(Self { from, to })
    }

    /// Time of one packet from before it is sent until it is there.
    fn once(&self) -> anyhow::Result<Duration> {
        let mut buffer = [0; 64];
        let start = Instant::now();
        self.from.send(&buffer[..18])?;
        loop {
            match self.to.recv(&mut buffer) {
                Ok(_) => return Ok(start.elapsed()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
            ensure!(start.elapsed() < PATIENCE, "a packet was lost");
        }
    }

    /// Some packets a second.
    fn trickle(&self, length: Duration) -> anyhow::Result<()> {
        let pause = Duration::from_secs_f64(1.0 / BACKGROUND_PACKETS_PER_SECOND);
        let start = Instant::now();
        while start.elapsed() < length {
            self.once()?;
            thread::sleep(pause);
        }
        Ok(())
    }

    fn latencies(&self, packets: usize, core: usize) -> anyhow::Result<Vec<Duration>> {
        latencies(packets, core, || self.once())
    }
}

/// Sorted times of something that is done on `core` after a pause.
fn latencies(
    count: usize,
    core: usize,
    mut once: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Vec<Duration>> {
    let before = sched_getaffinity(THIS_THREAD)?;
    pin(core)?;
    let one = |_| {
        thread::sleep(PAUSE);
        once()
    };
    let mut latencies = (0..count).map(one).collect::<anyhow::Result<Vec<_>>>()?;
    latencies.sort();
    sched_setaffinity(THIS_THREAD, &before)?;
    Ok(latencies)
}

fn pin(core: usize) -> anyhow::Result<()> {
    let mut own = CpuSet::new();
    own.set(core)?;
    Ok(sched_setaffinity(THIS_THREAD, &own)?)
}

/// Times from before a datagram is sent on the loopback until a thread that slept in poll(2) on the other
/// core has said that it runs.
fn of_a_thread(count: usize, cores: (usize, usize)) -> anyhow::Result<Vec<Duration>> {
    let to = UdpSocket::bind("127.0.0.1:0")?;
    let from = UdpSocket::bind("127.0.0.1:0")?;
    from.connect(to.local_addr()?)?;
    let woken = AtomicUsize::new(0);
    thread::scope(|scope| {
        let sleeper = scope.spawn(|| -> anyhow::Result<()> {
            pin(cores.1)?;
            for number in 1..=count {
                poll(&mut [PollFd::new(to.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
                woken.store(number, Ordering::Release);
                to.recv(&mut [0; 64])?;
            }
            Ok(())
        });
        let mut number = 0;
        let latencies = latencies(count, cores.0, || {
            number += 1;
            let start = Instant::now();
            from.send(&[0])?;
            while woken.load(Ordering::Acquire) < number {
                ensure!(start.elapsed() < PATIENCE, "a thread did not wake");
            }
            Ok(start.elapsed())
        });
        sleeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        latencies
    })
}

impl Row {
    /// The latency in microseconds that this share of the packets did not exceed.
    fn microseconds(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let place = (last as f64 * share).round() as usize;
        self.latencies.get(place).map_or(0.0, |it| it.as_nanos() as f64 / 1e3)
    }
}

fn print_table(rows: &[Row]) {
    println!(
        "{:<18} {:>9} {:>9} {:>10} {:>9} {:>9}",
        "", "idle", "10 pps", "median", "p99", "most"
    );
    for row in rows {
        let idle = match row.idle {
            Some([silent, some]) => format!("{silent:>7.2} % {some:>7.2} %"),
            None => format!("{:>9} {:>9}", "", ""),
        };
        let [median, p99, most] = [0.5, 0.99, 1.0].map(|share| row.microseconds(share));
        println!("{:<18} {idle} {median:>7.1} µs {p99:>6.1} µs {most:>6.1} µs", row.name);
    }
}

fn print_json(rows: &[Row]) -> anyhow::Result<()> {
    let objects: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "case": row.name,
                "idle_percent": row.idle.map(|it| it[0]),
                "idle_percent_10_pps": row.idle.map(|it| it[1]),
                "wake_microseconds_median": row.microseconds(0.5),
                "wake_microseconds_p99": row.microseconds(0.99),
                "wake_microseconds_most": row.microseconds(1.0),
            })
        })
        .collect();
    println!("{}", serde_json::to_string_pretty(&objects)?);
    Ok(())
}
