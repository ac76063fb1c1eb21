//! The commands, one file each.

mod bench;
mod capture;
mod check;
mod completions;
mod connections;
mod expected_route_cache;
mod explain;
mod man;
mod reload;
mod replay;
mod run;
mod show;
mod trace;
mod watch;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Runs what the command line asks for.
pub(crate) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args, cli.json),
        Command::Replay(args) => replay::run(args, cli.json),
        Command::Show(args) => show::run(args.command, cli.json),
        Command::Reload { daemon, set } => reload::run(&daemon, set.as_deref(), cli.json),
        Command::Trace(args) => trace::run(&args, cli.json),
        Command::Explain(args) => explain::run(&args, cli.json),
        Command::Capture(args) => capture::run(&args),
        Command::Bench(args) => bench::run(&args, cli.json),
        Command::Demo(args) => crate::demo::run(args, cli.json),
        Command::Completions { shell } => completions::run(shell),
        Command::Man { directory } => man::run(&directory),
    }
}
