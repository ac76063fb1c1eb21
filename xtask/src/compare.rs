//! `cargo xtask compare`: Linecard's tables beside somebody else's, on the same files in one run.
//!
//! Both read the same routes and addresses, one after the other on the same core, and both count cycles
//! of the time stamp counter around each burst of 64 lookups. Nothing is installed: what is missing is named.

mod acl;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};

use crate::command::Context;
use crate::packages;

/// The program that DPDK's FIB is measured with, and the Debian package that has it.
const TEST_FIB: (&str, &str) = ("dpdk-test-fib", "dpdk-dev");
/// Tables of eight bits that DPDK's IPv6 trie may use; fewer and a full table does not fit.
const IPV6_TABLES: &str = "1000000";
/// How often a child's memory is looked at.
const MEMORY_TICK: Duration = Duration::from_millis(5);

/// What to compare.
#[derive(Subcommand)]
pub(crate) enum Compare {
    /// Longest-prefix match beside DPDK's FIB library (`dpdk-test-fib`)
    Fib(FibOptions),
    /// First match beside DPDK's ACL library (`dpdk-test-acl`)
    Acl(acl::AclOptions),
}

/// Which routes to compare with.
#[derive(Args)]
pub(crate) struct FibOptions {
    /// A list of IPv4 and IPv6 prefixes, one a line; `.gz` is unpacked
    #[arg(long, value_name = "FILE", conflicts_with = "routes")]
    prefixes: Option<PathBuf>,
    /// Generate so many IPv4 routes, and a fifth of it IPv6 ones
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u32).range(1000..=2_000_000))]
    routes: u32,
}

/// Cycles an operation, and bytes.
#[derive(Debug, PartialEq)]
struct Figures {
    add: f64,
    lookup: f64,
    delete: f64,
    bytes: f64,
}

/// Runs the comparison and prints it.
pub(crate) fn compare(context: &Context, what: &Compare) -> Result<bool> {
    match what {
        Compare::Fib(options) => fib(context, options),
        Compare::Acl(options) => acl::acl(context, options),
    }
}

fn fib(context: &Context, options: &FibOptions) -> Result<bool> {
    let (program, package) = TEST_FIB;
    let Some(test_fib) = packages::find(program) else {
        bail!("`{program}` is not installed; on Debian: sudo apt-get install {package}");
    };
    let directory = context.target.join("compare-fib");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let source = match &options.prefixes {
        Some(file) => fs::canonicalize(file)
            .with_context(|| format!("cannot read {}", file.display()))?
            .into_os_string(),
        None => options.routes.to_string().into(),
    };
    println!("writing routes and addresses to {}", directory.display());
    ours(context, &["write-fib".as_ref(), directory.as_os_str(), &source])?;
    let theirs = [
        ("DPDK", test_fib_figures(&test_fib, &directory, 4)?),
        ("DPDK", test_fib_figures(&test_fib, &directory, 6)?),
    ];
    let output = ours(context, &["fib".as_ref(), directory.as_os_str()])?;
    let ours: Vec<_> = output.lines().filter_map(our_figures).collect();
    let [ipv4, ipv6] = <[_; 2]>::try_from(ours)
        .map_err(|_| anyhow::anyhow!("the benchmark did not say what was expected:\n{output}"))?;
    let [theirs_ipv4, theirs_ipv6] = theirs;
    println!("cycles of the time stamp counter an operation; memory of one table");
    println!("{:<22}{:>10}{:>10}{:>10}{:>12}", "", "lookup", "add", "delete", "memory");
    let rows = [
        ("IPv4, dir24_8, 4 bytes", &theirs_ipv4.1),
        ("IPv4, Linecard", &ipv4),
        ("IPv6, trie, 4 bytes", &theirs_ipv6.1),
        ("IPv6, Linecard", &ipv6),
    ];
    for (name, Figures { add, lookup, delete, bytes }) in rows {
        let mebibytes = bytes / f64::from(1 << 20);
        println!("{name:<22}{lookup:>10.1}{add:>10.0}{delete:>10.0}{mebibytes:>8.1} MiB");
    }
    println!("memory of DPDK's tables: what its process grew by, routes to add included");
    Ok(ipv4.lookup < theirs_ipv4.1.lookup && ipv6.lookup < theirs_ipv6.1.lookup)
}

/// Runs the benchmark of the tables, built first, and returns what it printed.
fn ours(context: &Context, arguments: &[&OsStr]) -> Result<String> {
    let mut command = context.cargo(&["bench", "--quiet", "-p", "linecard-tables", "--"]);
    command.args(arguments);
    let ran = context.run(command)?;
    if !ran.success {
        bail!("the benchmark of the tables failed:\n{}", ran.output);
    }
    Ok(ran.output)
}

/// `version add lookup delete bytes`, as the benchmark prints it.
fn our_figures(line: &str) -> Option<Figures> {
    let numbers: Vec<f64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
    let [_version, add, lookup, delete, bytes] = numbers[..] else { return None };
    Some(Figures { add, lookup, delete, bytes })
}

/// Runs DPDK's program on the files of one family.
fn test_fib_figures(test_fib: &Path, directory: &Path, version: u8) -> Result<Figures> {
    let mut command = Command::new(test_fib);
    let prefix = format!("--file-prefix=linecard-{}", std::process::id());
    command.args(["--no-huge", "--no-pci", "--no-telemetry", &prefix, "-m", "3072", "-l", "0"]);
    command.args(["--force-max-simd-bitwidth=512", "--log-level=3", "--", "-e", "4", "-v", "v"]);
    command.arg("-f").arg(directory.join(format!("routes-{version}.txt")));
    command.arg("-t").arg(directory.join(format!("addresses-{version}.txt")));
    match version {
        4 => command.args(["-b", "dir", "-g", "32767"]),
        _ => command.args(["-6", "-b", "trie", "-g", IPV6_TABLES]),
    };
    let out = directory.join(format!("dpdk-{version}.txt"));
    let file = fs::File::create(&out)?;
    let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
    let bytes = memory_bytes_while_running(child)?;
    let said = fs::read_to_string(&out)?;
    let figures = test_fib_averages(&said);
    let average = |what: &str| {
        let averages = figures.get(what)?;
        Some(averages.iter().sum::<f64>() / averages.len() as f64)
    };
    match (average("add"), average("lookup"), average("delete")) {
        (Some(add), Some(lookup), Some(delete)) => Ok(Figures { add, lookup, delete, bytes }),
        _ => bail!("`{}` did not say what was expected:\n{said}", test_fib.display()),
    }
}

/// The lines `AVG FIB add 1234`: it adds and deletes in tenths and gives each its average.
fn test_fib_averages(said: &str) -> BTreeMap<&str, Vec<f64>> {
    let mut averages: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for line in said.lines() {
        let words = line.trim().strip_prefix("AVG FIB ").and_then(|rest| rest.split_once(' '));
        if let Some((what, average)) = words
            && let Ok(average) = average.parse()
        {
            averages.entry(what).or_default().push(average);
        }
    }
    averages
}

/// Waits for a child and returns by how much its resident memory grew after its first look.
fn memory_bytes_while_running(mut child: Child) -> Result<f64> {
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let (mut first, mut most) = (None, 0.0);
    while child.try_wait()?.is_none() {
        // Gone between the two looks is gone.
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        if let Some(kibibytes) = kibibytes {
            let kibibytes: f64 = kibibytes;
            first.get_or_insert(kibibytes);
            most = kibibytes.max(most);
        }
        thread::sleep(MEMORY_TICK);
    }
    Ok((most - first.unwrap_or_default()) * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpdk_says_is_read_by_operation() {
        let said = "EAL: ready\nAVG FIB add 100\nAVG FIB add 300\nAVG FIB lookup 31.5\n";
        let averages = test_fib_averages(said);
        assert_eq!(averages["add"], [100.0, 300.0]);
        assert_eq!(averages["lookup"], [31.5]);
        assert!(!averages.contains_key("delete"));
    }

    #[test]
    fn what_the_benchmark_says_is_a_line_a_family() {
        let figures = Figures { add: 400.0, lookup: 5.5, delete: 500.0, bytes: 1024.0 };
        assert_eq!(our_figures("4 400 5.5 500 1024"), Some(figures));
        assert_eq!(our_figures("time stamp counter: 2.6 GHz"), None);
    }
}
