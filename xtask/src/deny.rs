//! `cargo deny`: licences, sources and bans always, advisories where their database can be had.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::{Context, Ran};
use crate::packages;
use crate::steps::Outcome;
use crate::tally::Tally;

/// The versions whose options and configuration this uses.
const VERSION: &str = "^0.20";

/// Checks the dependencies against `deny.toml`.
pub(crate) fn check(context: &Context) -> Result<Outcome> {
    let program = match find(context) {
        Some(program) => program,
        None => match install(context)? {
            Ok(program) => program,
            Err(output) => return Ok(Outcome::of(false, output)),
        },
    };
    let deny = |arguments: &[&str]| -> Result<Ran> {
        let mut command = Command::new(&program);
        command.args(["--color=never"]).args(arguments).current_dir(&context.root);
        context.run(command)
    };
    let policy = deny(&["check", "--hide-inclusion-graph", "bans", "licenses", "sources"])?;
    let mut outcome = Outcome::of(policy.success, policy.output);
    let fetched = deny(&["fetch", "db"])?;
    if !fetched.success {
        let reason = fetched.output.lines().rev().find(|line| !line.trim().is_empty());
        let reason = reason.unwrap_or("no reason given").trim();
        return Ok(outcome.note(format!(
            "advisories were not checked: their database cannot be fetched here ({reason})"
        )));
    }
    let advisories = deny(&["check", "--disable-fetch", "advisories"])?;
    outcome.tally.add(Tally::of(advisories.success));
    outcome.output.push_str(&advisories.output);
    Ok(outcome)
}

/// The program, wherever the user or an earlier run has put it.
fn find(context: &Context) -> Option<PathBuf> {
    let own = tools(context).join("bin/cargo-deny");
    if own.is_file() { Some(own) } else { packages::find("cargo-deny") }
}

fn tools(context: &Context) -> PathBuf {
    context.target.join("tools")
}

/// Builds the program beside the workspace's own output. A debug build takes a third of the time
/// of a release build, and the checks take a second either way.
fn install(context: &Context) -> Result<Result<PathBuf, String>> {
    let mut command =
        context.cargo(&["install", "--quiet", "--locked", "--debug", "--no-default-features"]);
    command.args(["cargo-deny", "--version", VERSION, "--root"]).arg(tools(context));
    command.arg("--target-dir").arg(tools(context).join("build"));
    let ran = context.run(command)?;
    let own = tools(context).join("bin/cargo-deny");
    Ok(if ran.success { Ok(own) } else { Err(ran.output) })
}
