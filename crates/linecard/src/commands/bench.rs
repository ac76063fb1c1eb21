//! `linecard bench`: the packet path, measured.

use std::process::ExitCode;

use crate::bench::{self, Args};

/// Measures what is asked for; see [`mod@bench`].
pub(crate) fn run(args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    bench::run(args, json)
}
