//! `linecard`: a network processor for routers, in software.

mod bench;
mod cli;
mod commands;
mod daemon;
mod demo;
mod interrupt;
mod output;
mod replay;
mod unserved;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use linecard_control::config;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    log_to_stderr(&cli.log);
    match commands::run(cli) {
        Ok(code) => code,
        // Who reads the output has seen enough (`linecard show routes | head`).
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            show_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// An error on stderr, with its first word in red on a terminal.
fn show_error(error: &anyhow::Error) {
    let mut stderr = io::stderr().lock();
    let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let word = if colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
    // There is no other place to complain to when stderr is gone.
    let _ = match error.downcast_ref::<config::Errors>() {
        // It is a list of errors already, each with its place.
        Some(errors) => {
            errors.to_string().lines().try_for_each(|line| match line.strip_prefix("error:") {
                Some(message) => writeln!(stderr, "{word}{message}"),
                None => writeln!(stderr, "{line}"),
            })
        }
        None => writeln!(stderr, "{word} {}", with_causes(error)),
    };
}

/// The error and its causes, each said once: many errors name their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

fn log_to_stderr(filter: &tracing_subscriber::filter::Targets) {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let stderr = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false);
    tracing_subscriber::registry().with(stderr).with(filter.clone()).init();
}
