//! `cargo xtask compare acl`: first match beside DPDK's ACL library.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use super::{memory_bytes_while_running, ours};
use crate::command::Context;
use crate::packages;

/// The program that DPDK's ACL library is measured with, and the Debian package that has it.
const TEST_ACL: (&str, &str) = ("dpdk-test-acl", "dpdk-dev");
/// Packets in the file.
const PACKETS: &str = "65536";
/// Packets of a call.
const BATCH: &str = "256";
/// How often DPDK's program goes through the packets.
const ROUNDS: &str = "20";

/// Which rules to compare with.
#[derive(Args)]
pub(crate) struct AclOptions {
    /// Kinds of rule sets, drawn like ClassBench's
    #[arg(long, value_name = "SHAPE", default_values = ["acl", "fw", "ipc"],
        value_parser = ["acl", "fw", "ipc"])]
    shape: Vec<String>,
    /// How many rules (may be given more than once)
    #[arg(long, value_name = "N", default_values_t = [1000, 10_000],
        value_parser = clap::value_parser!(u32).range(10..=100_000))]
    rules: Vec<u32>,
}

/// Cycles a lookup, and bytes.
#[derive(Debug, PartialEq)]
struct Figures {
    lookup: f64,
    bytes: f64,
}

/// Compares every shape and size, and says whether Linecard was faster each time.
pub(super) fn acl(context: &Context, options: &AclOptions) -> Result<bool> {
    let (program, package) = TEST_ACL;
    let Some(test_acl) = packages::find(program) else {
        bail!("`{program}` is not installed; on Debian: sudo apt-get install {package}");
    };
    let directory = context.target.join("compare-acl");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    println!("cycles of the time stamp counter a packet; memory of one table");
    println!("{:<16}{:>10}{:>10}{:>14}{:>14}", "rules", "DPDK", "Linecard", "DPDK", "Linecard");
    let mut is_ahead = true;
    for shape in &options.shape {
        for count in &options.rules {
            let count = count.to_string();
            let arguments = ["write-acl".as_ref(), directory.as_os_str(), shape.as_ref()];
            ours(context, &[&arguments[..], &[count.as_ref()]].concat())?;
            let theirs = test_acl_figures(&test_acl, &directory, &count)?;
            let output = ours(context, &["acl".as_ref(), directory.as_os_str()])?;
            let Some(ours) = output.lines().find_map(our_figures) else {
                bail!("the benchmark did not say what was expected:\n{output}");
            };
            let mebibytes = |figures: &Figures| figures.bytes / f64::from(1 << 20);
            println!(
                "{:<16}{:>10.1}{:>10.1}{:>10.1} MiB{:>10.1} MiB",
                format!("{shape} {count}"),
                theirs.lookup,
                ours.lookup,
                mebibytes(&theirs),
                mebibytes(&ours),
            );
            is_ahead &= ours.lookup < theirs.lookup;
        }
    }
    println!("memory of DPDK's tables: what its process grew by, rules and packets included");
    Ok(is_ahead)
}

/// `acl cycles bytes milliseconds`, as the benchmark prints it.
fn our_figures(line: &str) -> Option<Figures> {
    let numbers = line.strip_prefix("acl ")?.split(' ').map_while(|word| word.parse().ok());
    let [lookup, bytes, _build] = numbers.collect::<Vec<f64>>()[..] else { return None };
    Some(Figures { lookup, bytes })
}

/// Runs DPDK's program on the files, with the widest vectors that it has.
fn test_acl_figures(test_acl: &Path, directory: &Path, rules: &str) -> Result<Figures> {
    let mut command = Command::new(test_acl);
    let prefix = format!("--file-prefix=linecard-{}", std::process::id());
    command.args(["--no-huge", "--no-pci", "--no-telemetry", &prefix, "-m", "2048", "-l", "0"]);
    command.args(["--force-max-simd-bitwidth=512", "--log-level=3", "--", "--verbose=1"]);
    command.arg(format!("--rulesf={}", directory.join("rules.txt").display()));
    command.arg(format!("--tracef={}", directory.join("packets.txt").display()));
    let room = format!("--rulenum={rules}");
    command.args([&room, &format!("--tracenum={PACKETS}"), &format!("--tracestep={BATCH}")]);
    command.args([&format!("--iter={ROUNDS}"), "--alg=avx512x32"]);
    let out = directory.join("dpdk.txt");
    let file = fs::File::create(&out)?;
    let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let bytes = memory_bytes_while_running(child)?;
    let said = fs::read_to_string(&out)?;
    match test_acl_cycles(&said) {
        Some(lookup) => Ok(Figures { lookup, bytes }),
        None => bail!("`{}` did not say what was expected:\n{said}", test_acl.display()),
    }
}

/// The line `… 1310720 pkts, 1 categories, 166823044 cycles (0.06 sec), 127.28 cycles/pkt, …`.
fn test_acl_cycles(said: &str) -> Option<f64> {
    let before = said.lines().find_map(|line| line.split_once(" cycles/pkt"))?.0;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpdk_says_is_read() {
        let said = "EAL: ready\nsearch  @lcore 0: 20 iterations, 1 categories, 16 cycles (0.06 sec), 127.44 cycles/pkt, 2.5 pkt/sec\n";
        assert_eq!(test_acl_cycles(said), Some(127.44));
        assert_eq!(test_acl_cycles("EAL: Error - exiting"), None);
    }

    #[test]
    fn what_the_benchmark_says_is_one_line() {
        assert_eq!(our_figures("acl 45.5 1024 1.5"), Some(Figures { lookup: 45.5, bytes: 1024.0 }));
        assert_eq!(our_figures("time stamp counter: 2.6 GHz"), None);
    }
}
