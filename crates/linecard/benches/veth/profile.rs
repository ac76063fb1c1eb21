//! Where the worker's core spends its time: `perf record`, and the symbols that take most of it.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::bed::Load;

/// Samples a second: not a divisor of the kernel's tick.
const FREQUENCY: &str = "1999";
/// Symbols below this share are left out.
const PERCENT_LIMIT: &str = "0.8";

/// Samples the worker's core for a while, and returns one line for each symbol.
pub(crate) fn record(load: &Load<'_>, length: Duration) -> anyhow::Result<String> {
    let directory = tempfile::tempdir()?;
    let data = directory.path().join("perf.data");
    let core = load.bed.cores.worker.to_string();
    let seconds = length.as_secs_f64().to_string();
    let mut record = Command::new("perf");
    record.args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "-C", &core, "-o"]);
    run(record.arg(&data).args(["--", "sleep", &seconds]))?;
    let mut report = Command::new("perf");
    report.args(["report", "-q", "--stdio", "--no-children", "--sort", "dso,symbol"]);
    report.args(["--percent-limit", PERCENT_LIMIT, "-i"]).arg(&data);
    let output = run(&mut report)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n"))
}

fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.context("--record needs perf (Debian: linux-perf)")?;
    ensure!(output.status.success(), "perf: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
