//! `linecard demo`: the whole story on one machine.

use std::process::ExitCode;

/// What can be said to the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs the demo.
///
/// # Errors
/// What the demo needs is missing.
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this build has no demo yet")
}
