//! The floor plan as a check (ARCHITECTURE.md): a dependency points down only, unsafe code has two
//! addresses, the packet path knows neither clock nor system, and nothing below `control` knows
//! netlink or configuration text.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::Context;
use crate::source_text::code_only;
use crate::steps::Outcome;
use crate::workspace::{array, metadata, text};

/// The house from the ground up: a crate may use those before it.
const FLOORS: [&str; 10] = [
    "linecard-wire",
    "linecard-tables",
    "linecard-io",
    "linecard-packet",
    "linecard-services",
    "linecard-forwarder",
    "linecard-observe",
    "linecard-control",
    "linecard-api",
    "linecard",
];

/// Beside the house: it builds networks around routers, so it knows frames and ports only, and only
/// the binary (for its demo) and tests stand on it.
const LAB: &str = "linecard-lab";
const UNDER_LAB: [&str; 3] = ["linecard-wire", "linecard-tables", "linecard-io"];

/// Where unsafe code may live.
const UNSAFE_ADDRESSES: [&str; 2] = ["crates/io/", "crates/tables/src/memory.rs"];

/// Crates on the packet path: they get the time as an argument and do no I/O.
const PACKET_PATH: [&str; 4] = ["wire", "tables", "packet", "services"];
const CLOCK_AND_SYSTEM: [&str; 7] = [
    "Instant::now",
    "SystemTime",
    "thread::sleep",
    "std::fs",
    "UdpSocket",
    "TcpStream",
    "println!",
];

/// Crates that only `control`, what stands above it, and `lab` may use.
const CONTROL_ONLY: [&str; 6] = ["netlink-", "toml", "clap", "tokio", "axum", "hyper"];

/// Checks the tree and lists what leans the wrong way.
pub(crate) fn check(context: &Context) -> Result<Outcome> {
    let manifest = metadata(&context.root.join("Cargo.toml"))?;
    let mut wrong = dependencies(&manifest);
    wrong.extend(lints(&manifest)?);
    for directory in ["crates", "xtask", "fuzz"] {
        for file in rust_files(&context.root.join(directory))? {
            let source = fs::read_to_string(&file)?;
            let path = file.strip_prefix(&context.root)?.to_string_lossy().into_owned();
            wrong.extend(unsafe_lines(&path, &source));
            wrong.extend(clock_and_system(&path, &source));
        }
    }
    Ok(Outcome::of(wrong.is_empty(), wrong.join("\n")))
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| *floor == name)
}

/// Dependencies that point up or sideways.
fn dependencies(manifest: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for package in array(manifest, "packages") {
        let name = text(package, "name");
        if name != "xtask" && name != LAB && floor(name).is_none() {
            wrong.push(format!("{name}: has no floor; give it one in xtask's architecture.rs"));
        }
        for dependency in array(package, "dependencies") {
            let used = text(dependency, "name");
            let for_tests = text(dependency, "kind") == "dev";
            if let Some(reason) = refusal(name, used, for_tests) {
                wrong.push(format!("{name}: must not depend on {used}: {reason}"));
            }
        }
    }
    wrong
}

/// Why `name` must not depend on `used`, if so.
fn refusal(name: &str, used: &str, for_tests: bool) -> Option<&'static str> {
    let below_control = floor(name) < floor("linecard-control") && floor(name).is_some();
    if below_control && !for_tests && CONTROL_ONLY.iter().any(|prefix| used.starts_with(prefix)) {
        return Some("nothing below control knows netlink, configuration text or an interface");
    }
    if !used.starts_with("linecard") && used != "xtask" {
        return None;
    }
    if name == "xtask" || used == "xtask" {
        return Some("xtask stands apart, so that it builds fast and while the house does not");
    }
    if used == LAB {
        let allowed = for_tests || name == "linecard";
        return (!allowed).then_some("lab is for tests and for the demo");
    }
    if name == LAB {
        let allowed = for_tests || UNDER_LAB.contains(&used);
        return (!allowed).then_some("lab knows frames and ports only");
    }
    (floor(used) >= floor(name)).then_some("a dependency points down only")
}

/// Crates that do not take the workspace's lints, among them the one that denies unsafe code.
fn lints(manifest: &Value) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in array(manifest, "packages") {
        let path = text(package, "manifest_path");
        let manifest = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{}: lacks `[lints] workspace = true`", text(package, "name")));
        }
    }
    Ok(wrong)
}

/// Lines with unsafe code, or with a permission for it, outside its two addresses.
fn unsafe_lines(path: &str, source: &str) -> Vec<String> {
    if UNSAFE_ADDRESSES.iter().any(|address| path.starts_with(address)) {
        return Vec::new();
    }
    let is_unsafe = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe" || word == "unsafe_code")
    };
    lines_with(path, &code_only(source), is_unsafe, "unsafe code lives in io and tables/memory.rs")
}

/// Lines of the packet path that read a clock or ask the system for something; its tests may.
fn clock_and_system(path: &str, source: &str) -> Vec<String> {
    let on_path = PACKET_PATH.iter().any(|name| path.starts_with(&format!("crates/{name}/src/")));
    if !on_path || path.ends_with("tests.rs") {
        return Vec::new();
    }
    let code = code_only(source);
    let code = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let reads = |line: &str| CLOCK_AND_SYSTEM.iter().any(|word| line.contains(word));
    lines_with(path, code, reads, "the packet path reads no clock and does no I/O")
}

fn lines_with(
    path: &str,
    code: &str,
    is_wrong: impl Fn(&str) -> bool,
    reason: &str,
) -> Vec<String> {
    let numbered = code.lines().enumerate().filter(|(_, line)| is_wrong(line));
    numbered.map(|(at, line)| format!("{path}:{}: {reason}: {}", at + 1, line.trim())).collect()
}

/// Every Rust file below `directory`, in order; build output is passed over.
fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .collect::<Result<Vec<_>, _>>()?;
    for path in entries.into_iter().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_points_down_only() {
        assert_eq!(refusal("linecard-control", "linecard-wire", false), None);
        assert!(refusal("linecard-wire", "linecard-control", false).is_some());
        assert!(refusal("linecard-wire", "linecard-control", true).is_some());
        assert_eq!(refusal("linecard-wire", "proptest", true), None);
    }

    #[test]
    fn lab_stands_beside_the_house() {
        assert_eq!(refusal("linecard", LAB, false), None);
        assert_eq!(refusal("linecard-io", LAB, true), None);
        assert!(refusal("linecard-control", LAB, false).is_some());
        assert!(refusal(LAB, "linecard-control", false).is_some());
    }

    #[test]
    fn netlink_and_configuration_text_begin_at_control() {
        assert_eq!(refusal("linecard-control", "toml", false), None);
        assert_eq!(refusal(LAB, "netlink-sys", false), None);
        assert!(refusal("linecard-services", "toml", false).is_some());
        assert!(refusal("linecard-io", "netlink-packet-route", false).is_some());
    }

    #[test]
    fn unsafe_code_has_two_addresses() {
        let source = "// unsafe\nfn f() { unsafe { g() } }\n";
        assert_eq!(unsafe_lines("crates/io/src/ring.rs", source).len(), 0);
        assert_eq!(unsafe_lines("crates/tables/src/memory.rs", source).len(), 0);
        let found = unsafe_lines("crates/tables/src/fib.rs", source);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/tables/src/fib.rs:2:"));
        assert_eq!(unsafe_lines("crates/wire/src/lib.rs", "#![allow(unsafe_code)]").len(), 1);
    }

    #[test]
    fn the_packet_path_reads_no_clock() {
        let source = "let t = Instant::now();\n#[cfg(test)]\nmod tests { Instant::now(); }";
        assert_eq!(clock_and_system("crates/services/src/route/stage.rs", source).len(), 1);
        assert_eq!(clock_and_system("crates/forwarder/src/worker.rs", source).len(), 0);
    }
}
