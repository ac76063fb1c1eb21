//! The Debian packages that the tests use, and their installation.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::Context;
use crate::steps::Outcome;

/// A Debian package that some test needs.
struct Package {
    name: &'static str,
    /// A program of the package, by which it is found on any distribution.
    program: &'static str,
    reason: &'static str,
    /// A service that the package would start at boot; the tests run their own in namespaces.
    service: Option<&'static str>,
}

/// The one list of packages. Linecard itself needs none of them.
const PACKAGES: [Package; 8] = [
    package("g++", "c++", "builds libFuzzer, which the fuzz targets link"),
    package("iproute2", "ip", "lets a test see what an operator sees of links and routes"),
    package("iperf3", "iperf3", "carries real TCP through the router in both directions"),
    package("nftables", "nft", "makes firewalls: one to warn of, and one to agree with"),
    package("nmap", "nmap", "scans hosts behind a stateful filter"),
    package("tshark", "tshark", "dissects captured frames independently of wire"),
    Package {
        service: Some("frr.service"),
        ..package("frr", "vtysh", "speaks BGP to the router under test")
    },
    Package {
        service: Some("bird.service"),
        ..package("bird2", "bird", "is the BGP peer that announces 100,000 routes")
    },
];

const fn package(name: &'static str, program: &'static str, reason: &'static str) -> Package {
    Package { name, program, reason, service: None }
}

/// Where Debian keeps what only root runs; not everyone's PATH has them.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs the packages that are missing, or says how to.
pub(crate) fn install(context: &Context) -> Result<Outcome> {
    let missing: Vec<&Package> = PACKAGES.iter().filter(|p| find(p.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(Outcome::of(true, String::new()));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    let reasons: String = missing
        .iter()
        .map(|package| format!("  {:<14}{}\n", package.name, package.reason))
        .collect();
    if find("apt-get").is_none() {
        let remedy = "this is not a Debian system: install what provides these yourself";
        return Ok(Outcome::of(false, format!("missing:\n{reasons}{remedy}\n")));
    }
    if !rustix::process::geteuid().is_root() {
        let names = names.join(" ");
        let remedy = format!("run: sudo apt-get install --no-install-recommends {names}");
        return Ok(Outcome::of(false, format!("missing:\n{reasons}{remedy}\n")));
    }
    let policy = HeldServices::new()?;
    let mut output = apt(context, &["update"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&names);
    output.push_str(&apt(context, &arguments)?);
    drop(policy);
    disable_services(context, &missing)?;
    let absent: Vec<&str> =
        missing.iter().filter(|p| find(p.program).is_none()).map(|p| p.name).collect();
    let installed = Outcome::of(absent.is_empty(), output);
    Ok(installed.note(format!("installed {}", names.join(" "))))
}

fn apt(context: &Context, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("apt-get");
    // Another apt on the machine (unattended upgrades, say) is waited for, not raced.
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=300"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(context.run(command)?.output)
}

/// Keeps the services of packages from running, at boot too. They were not here before, so nobody
/// on this machine relies on them.
fn disable_services(context: &Context, installed: &[&Package]) -> Result<()> {
    if find("systemctl").is_none() {
        return Ok(());
    }
    for service in installed.iter().filter_map(|package| package.service) {
        let mut command = Command::new("systemctl");
        command.args(["disable", "--now", service]);
        // A service that the package does not have is as good as one disabled.
        context.run(command)?;
    }
    Ok(())
}

/// The path of `program`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path())
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// PATH, with [`SYSTEM_DIRECTORIES`] at its end.
pub(crate) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_DIRECTORIES.iter().map(PathBuf::from);
    // Joining fails on a directory with a colon in its name, which cannot come out of splitting.
    env::join_paths(env::split_paths(&path).chain(system)).unwrap_or(path)
}

/// While it lives, packages being installed start no service (`invoke-rc.d`(8)): a routing daemon
/// on the host would take over the host's routes.
struct HeldServices {
    created: Option<&'static Path>,
}

impl HeldServices {
    fn new() -> Result<Self> {
        let path = Path::new(POLICY);
        if path.exists() {
            // The administrator has a policy of their own: theirs stands.
            return Ok(Self { created: None });
        }
        fs::write(path, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("cannot write {POLICY}"))?;
        let held = Self { created: Some(path) };
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        Ok(held)
    }
}

impl Drop for HeldServices {
    fn drop(&mut self) {
        if let Some(path) = self.created
            && let Err(error) = fs::remove_file(path)
        {
            eprintln!("cannot remove {POLICY}: {error}; services will not start until it is gone");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_name() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-at-all").is_none());
    }

    #[test]
    fn every_package_is_listed_once() {
        let mut names: Vec<&str> = PACKAGES.iter().map(|package| package.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
    }
}
