//! DPDK's testpmd on its AF_XDP driver, which serves the same sockets as Linecard does.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use linecard_lab::{Process, command_that_dies_with_us};

use crate::bed::Bed;

/// Where Debian's `dpdk-dev` puts it.
pub(crate) const PROGRAM: &str = "/usr/bin/dpdk-testpmd";
/// What it says when all is set up, after which it begins.
const BEGINS: &str = "forwards packets on";

/// Busy polling, the driver's default, brings nothing on veth.
const OPTIONS: &str = "busy_budget=0";

/// A testpmd that forwards; dropping it kills it.
pub(crate) struct Testpmd {
    _process: Process,
    // It would be killed by the next line that it writes if nobody could read it.
    _output: BufReader<ChildStdout>,
}

impl Testpmd {
    /// Starts it on two ports of the router, and returns when it forwards.
    pub(crate) fn start(bed: &Bed) -> anyhow::Result<Self> {
        let mut process = bed.topology.router.spawn(command(bed))?;
        let output = process.child_mut().stdout.take().context("a pipe from testpmd")?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while !line.contains(BEGINS) {
            line.clear();
            if output.read_line(&mut line)? == 0 {
                bail!("testpmd has ended: {:?}", process.wait(crate::bed::DEADLINE)?);
            }
        }
        Ok(Self { _process: process, _output: output })
    }
}

fn command(bed: &Bed) -> Command {
    // Line by line, so that the pipe says when it begins.
    let mut command = command_that_dies_with_us("stdbuf");
    let prefix = format!("linecard-bench-{}", std::process::id());
    // Its main thread does nothing but wait.
    let lcores = format!("0@{},1@{}", bed.cores.source, bed.cores.worker);
    command.args(["-oL", PROGRAM, "--no-huge", "--no-pci", "--no-telemetry", "-m", "1024"]);
    command.args(["--file-prefix", &prefix, "--lcores", &lcores, "--main-lcore", "0"]);
    for (number, interface) in bed.interfaces().iter().enumerate() {
        command.args(["--vdev", &format!("net_af_xdp{number},iface={interface},{OPTIONS}")]);
    }
    command.args(["--", "-i", "--auto-start", "--forward-mode=macswap", "--burst=64"]);
    // It ends when its input does.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}
