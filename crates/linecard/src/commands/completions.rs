//! `linecard completions`: what shells need to complete commands.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::output;

/// Prints the completions for `shell`.
pub(crate) fn run(shell: Shell) -> anyhow::Result<ExitCode> {
    // Collected first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "linecard", &mut script);
    std::io::stdout().lock().write_all(&script).context(output::STDOUT)?;
    Ok(ExitCode::SUCCESS)
}
