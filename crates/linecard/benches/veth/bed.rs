//! Where a turn takes place: the lab's topology, its routes, the cores, the source and the sink.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ipnet::Ipv4Net;
use linecard_lab::{
    CountSink, Flood, FloodLoad, Route, RouterOptions, RouterTopology, SinkHook, VethOptions,
    create_veth, wait_for,
};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Time for rings to fill and caches to warm before a turn is measured.
const WARM_UP: Duration = Duration::from_millis(300);
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// More than what neighbour discovery and the like may make.
const FRAMES_OF_A_FLOW_THAT_RUNS: u64 = 10_000;
const CHECK_SEQUENCE_BYTES: usize = 4;
/// Where the frames go to: the network of RFC 2544's tests.
const DESTINATIONS: &str = "198.18.0.0/15";
const FEW_DESTINATIONS: &str = "198.18.0.0/22";

/// An interface of the router that carries nothing, to anchor a program at.
pub(crate) const ANCHOR: &str = "anchor";

/// How many addresses the frames go to, all equally often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destinations {
    /// 1,024.
    Few,
    /// 131,072.
    Many,
}

/// One core for the source and the kernel's receiving side, one for who forwards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) source: usize,
    pub(crate) worker: usize,
}

impl Cores {
    fn of_this_process() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
        match (cores.next(), cores.next()) {
            (Some(source), Some(worker)) => Ok(Self { source, worker }),
            _ => bail!("the source needs a core beside the forwarder's: two at the least"),
        }
    }
}

/// What a turn gave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Frames a second that the source made.
    pub(crate) offered_per_second: f64,
    /// Frames a second that came to the sink.
    pub(crate) forwarded_per_second: f64,
}

/// The topology with routes, a sink and nobody who forwards but the kernel.
pub(crate) struct Bed {
    pub(crate) topology: RouterTopology,
    pub(crate) cores: Cores,
    sink: CountSink,
}

impl Bed {
    /// Builds the namespaces, with as many routes to the destinations as asked for: a power of two; and
    /// a sink for what the contestant sends.
    pub(crate) fn new(routes: u32, hook: SinkHook) -> anyhow::Result<Self> {
        let cores = Cores::of_this_process()?;
        let options = RouterOptions { permanent_neighbours: true, ..RouterOptions::default() };
        let topology = RouterTopology::new(&options)?;
        // Lets router and server take what XDP redirects to them, whoever forwards; NICs have it on, too.
        topology.router.set_features(topology.client_link.far.interface, &[("rx-gro", true)])?;
        topology.server.set_features(topology.path_a.far.interface, &[("rx-gro", true)])?;
        let sink = CountSink::attach(&topology.server, topology.path_a.far.interface, hook)?;
        create_veth(
            (&topology.router, ANCHOR),
            (&topology.router, "chain"),
            &VethOptions::default(),
        )?;
        let gateway = topology.path_a.far.ipv4.addr().into();
        let destinations: Ipv4Net = DESTINATIONS.parse()?;
        let length = destinations.prefix_len() + routes.ilog2() as u8;
        for prefix in destinations.subnets(length)? {
            topology.router.add_route(&Route::via(prefix.into(), gateway))?;
        }
        Ok(Self { topology, cores, sink })
    }

    /// The interfaces of the router by which frames come in and leave.
    pub(crate) fn interfaces(&self) -> [&'static str; 2] {
        [self.topology.client_link.far.interface, self.topology.path_a.near.interface]
    }

    /// Floods the router, and returns when frames have arrived for a while.
    pub(crate) fn load(
        &self,
        frame_bytes: usize,
        destinations: Destinations,
    ) -> anyhow::Result<Load<'_>> {
        let destinations = match destinations {
            Destinations::Few => FEW_DESTINATIONS,
            Destinations::Many => DESTINATIONS,
        };
        let link = &self.topology.client_link;
        let load = FloodLoad {
            destination_mac: link.far.mac,
            source_mac: link.near.mac,
            sources: link.near.ipv4.trunc(),
            destinations: destinations.parse()?,
            frame_bytes: frame_bytes - CHECK_SEQUENCE_BYTES,
            core: Some(self.cores.source),
        };
        let flood = load.start(&self.topology.client, link.near.interface)?;
        let before = self.sink.report()?.frames;
        wait_for("frames arrive", DEADLINE, || {
            Ok(self.sink.report()?.frames > before + FRAMES_OF_A_FLOW_THAT_RUNS)
        })?;
        thread::sleep(WARM_UP);
        Ok(Load { bed: self, flood })
    }

    /// Gives the receiving side of an interface of the router to a kernel thread on the worker's core.
    pub(crate) fn thread_napi(&self, interface: &str) -> anyhow::Result<()> {
        // sysfs shows the interfaces of the namespace it was mounted in.
        let script =
            format!("mount -t sysfs sysfs /sys && echo 1 > /sys/class/net/{interface}/threaded");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", &script]);
        let status = self.topology.router.spawn(command)?.wait(DEADLINE)?;
        ensure!(status.success(), "threaded NAPI on {interface}: {status}");
        let name = format!("napi/{interface}-");
        let mut core = CpuSet::new();
        core.set(self.cores.worker)?;
        let mut pinned = 0;
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            let id = path.file_name().and_then(|it| it.to_str()?.parse().ok());
            if let (true, Some(id)) = (comm.starts_with(&name), id) {
                sched_setaffinity(Pid::from_raw(id), &core).context("pin a NAPI thread")?;
                pinned += 1;
            }
        }
        ensure!(pinned > 0, "no thread {name}…");
        Ok(())
    }
}

/// A bed under load.
pub(crate) struct Load<'a> {
    pub(crate) bed: &'a Bed,
    flood: Flood,
}

impl Load<'_> {
    /// Counts at both ends for a while.
    pub(crate) fn measure(&self, length: Duration) -> anyhow::Result<Turn> {
        let counts = || anyhow::Ok((self.flood.frames()?, self.bed.sink.report()?.frames));
        let (start, before) = (Instant::now(), counts()?);
        thread::sleep(length);
        let (elapsed, after) = (start.elapsed().as_secs_f64(), counts()?);
        Ok(Turn {
            offered_per_second: (after.0 - before.0) as f64 / elapsed,
            forwarded_per_second: (after.1 - before.1) as f64 / elapsed,
        })
    }
}
