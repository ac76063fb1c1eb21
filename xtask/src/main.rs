//! Linecard's chores: everything that a contributor or CI runs, in one command that needs nothing
//! but Rust to start.
//!
//! - `cargo xtask test` checks the whole tree, from formatting to system tests.
//! - `cargo xtask fuzz` fuzzes a parser for as long as it is asked to.
//! - `cargo xtask compare` measures a table beside somebody else's.

mod architecture;
mod command;
mod compare;
mod deny;
mod fuzz;
mod packages;
mod source_text;
mod steps;
mod tally;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::command::Context;
use crate::steps::Step;

const EXAMPLES: &str = "Examples:
  cargo xtask test                          everything, in order; installs what is missing
  cargo xtask test --only fmt --only clippy two steps
  cargo xtask test --list                   the steps and what each does
  cargo xtask fuzz                          every fuzz target, a minute each
  cargo xtask fuzz wire --seconds 3600      one fuzz target for an hour
  cargo xtask compare fib                   longest-prefix match beside DPDK's
  cargo xtask compare acl                   first match beside DPDK's";

/// Chores of the Linecard workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check the whole tree: packages, style, licences, unit, fuzz and system tests
    #[command(after_help = EXAMPLES)]
    Test(TestOptions),
    /// Fuzz one target, or each in turn, after replaying its regressions
    #[command(after_help = EXAMPLES)]
    Fuzz(fuzz::FuzzOptions),
    /// Measure a table beside somebody else's, on the same files in one run
    #[command(subcommand, after_help = EXAMPLES)]
    Compare(compare::Compare),
}

#[derive(Args)]
struct TestOptions {
    /// Run this step only (may be given more than once)
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
    /// List the steps and stop
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Test(options) if options.list => {
            print!("{}", steps::list());
            Ok(true)
        }
        Chore::Test(options) => test(&options.only),
        Chore::Fuzz(options) => Context::new().and_then(|context| fuzz::fuzz(&context, &options)),
        Chore::Compare(what) => {
            Context::new().and_then(|context| compare::compare(&context, &what))
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the chosen steps, all of them where none is chosen, and says whether everything passed.
fn test(only: &[Step]) -> Result<bool> {
    let context = Context::new()?;
    let chosen: Vec<Step> =
        Step::all().filter(|step| only.is_empty() || only.contains(step)).collect();
    Ok(steps::run_all(&context, &chosen))
}
