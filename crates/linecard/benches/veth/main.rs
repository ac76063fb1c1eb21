//! Forwarding rates on veth, of Linecard and its peers in one run, with the same topology, source and
//! sink: `cargo bench -p linecard --bench veth`. Needs root.
//!
//! ```text
//! client ── source, on one core ──► router ── the contestant, on the other core ──► sink, server
//! ```
//!
//! The source (`linecard_lab::FloodLoad`) overloads the router. It keeps a core busy, on which the kernel
//! also runs the receiving side of the router's port (NAPI): the XDP program and, in copy mode, the
//! copy into packet memory. A contestant in user space has the other core for itself, and pays there
//! for all that sending costs, down to the sink (a tcx program that counts and drops), which veth runs on
//! the sender's core (for frames that XDP redirected: an XDP program). The kernel's own forwarding is NAPI as well, so it shares the source's core; for
//! the sake of comparison it is measured with threaded NAPI on the other core, too.
//!
//! Rounds alternate: each contestant has one turn, then all again. A turn builds its own namespaces.

mod bare;
mod bed;
mod contestant;
mod daemon;
mod profile;
mod redirect;
mod report;
mod testpmd;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use linecard_lab::SinkHook;

use bed::{Bed, Load};
use contestant::Contestant;
use report::Row;

/// Forwarding rates on veth: kernel, XDP, bare AF_XDP, Linecard, DPDK testpmd.
#[derive(Debug, Parser)]
#[command(name = "veth")]
struct Args {
    /// Seconds that each turn is measured.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Turns of each contestant.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these contestants, by name.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Bytes of a frame with its check sequence, 64 to 1518.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(64..=1518))]
    frame_bytes: u16,
    /// The sink of all contestants. Default: for each the one that costs it least.
    #[arg(long)]
    sink: Option<Sink>,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
    /// Names the contestants.
    #[arg(long)]
    list: bool,
    /// After the rounds, one more turn each under `perf record`, and where the core's time went.
    #[arg(long)]
    record: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Where the sink counts.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sink {
    Tcx,
    Xdp,
}

impl From<Sink> for SinkHook {
    fn from(sink: Sink) -> Self {
        match sink {
            Sink::Tcx => Self::Tcx,
            Sink::Xdp => Self::Xdp,
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let contestants = chosen(&args.only)?;
    if args.list {
        for it in &contestants {
            println!("{:<20} {}", it.name(), it.description());
        }
        return Ok(());
    }
    let mut rows: Vec<Row> = contestants.iter().map(|&it| Row::new(it)).collect();
    let seconds = Duration::try_from_secs_f64(args.seconds).context("--seconds")?;
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for row in rows.iter_mut().filter(|it| it.missing.is_none()) {
            let turn = take_turn(row.contestant, args, |load| load.measure(seconds));
            row.turns.push(turn.with_context(|| row.contestant.name())?);
        }
    }
    match args.json {
        true => report::json(&rows)?,
        false => report::table(&rows, args.frame_bytes, args.seconds),
    }
    if args.record {
        for row in rows.iter().filter(|it| it.missing.is_none()) {
            let profile = take_turn(row.contestant, args, |load| profile::record(load, seconds))?;
            println!("\n{}\n{profile}", row.contestant.name());
        }
    }
    Ok(())
}

/// Lets the contestant forward in a bed of its own, and does `work` under load.
fn take_turn<T>(
    contestant: Contestant,
    args: &Args,
    work: impl FnOnce(&Load<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let bed = Bed::new(contestant.routes(), args.sink.map_or(contestant.sink(), Into::into))?;
    let _running = contestant.start(&bed)?;
    let load = bed.load(usize::from(args.frame_bytes), contestant.destinations())?;
    work(&load)
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<Contestant>> {
    if names.is_empty() {
        return Ok(Contestant::ALL.to_vec());
    }
    let named = |name: &String| match Contestant::ALL.iter().find(|it| it.name() == *name) {
        Some(&contestant) => Ok(contestant),
        None => bail!("no contestant {name}: --list names them"),
    };
    names.iter().map(named).collect()
}
