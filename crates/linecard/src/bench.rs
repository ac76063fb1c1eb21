//! The public yardstick: the whole packet path in memory, on one core, without privileges.
//!
//! A real [`Worker`](linecard_forwarder::Worker) with the real stages and tables carries packets
//! between four ports of its own. What is timed is the worker's rounds, from the first receive to
//! the last transmit; what the ports cost, which stand for generator and sink, is measured beside it
//! and left out.
//!
//! | module | |
//! |---|---|
//! | `cases`, `recipe` | what can be asked for, by name, and what it is made of |
//! | `tables`, `prefixes` | the router under test, and where its routes come from |
//! | `rules`, `filters` | the filter that packets pass in some cases, and what they are then drawn from |
//! | `services`, `policers`, `sources`, `connections` | what else they meet in some cases, and its counters |
//! | `ranks`, `traffic`, `families` | the packets: which, how they are made, and their bytes |
//! | `hands`, `port` | how they are dealt and taken back |
//! | `check`, `intervals` | whether they came out right, by plainer means than the packet path's |
//! | `lane`, `empty` | one worker and its rounds; the queues without one |
//! | `meter`, `cycles`, `machine` | cycles, and what they are counted on |
//! | `measure` | a case from its recipe to its figures |
//! | `session` | the cases one after another, on a thread that a signal need not wait for |
//! | `report`, `plot`, `cores` | the figures as a table, as JSON, as a picture, and as an answer |

mod cases;
mod check;
mod connections;
mod cores;
mod cycles;
mod empty;
mod families;
mod filters;
mod hands;
mod intervals;
mod lane;
mod machine;
mod measure;
mod meter;
mod plot;
mod policers;
mod port;
mod prefixes;
mod ranks;
mod recipe;
mod report;
mod rules;
mod services;
mod session;
mod sources;
mod tables;
mod traffic;

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::ValueHint;
use indicatif::{ProgressBar, ProgressStyle};

use self::cases::{CASES, Case};
use self::cores::BitRate;
use self::measure::Figures;
use crate::interrupt::Interrupt;
use crate::output;

/// Rounds that count when nobody says how many.
const ROUNDS: u32 = 9;
const ROUNDS_QUICK: u32 = 3;

/// What can be said to the benchmark.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Cases by name, `*` stands for any text [default: all]
    #[arg(value_name = "CASE", value_parser = cases::pattern)]
    cases: Vec<String>,
    /// Say which cases there are
    #[arg(long)]
    list: bool,
    /// Routes of the internet cases: one prefix a line, gzip or not [default: generated]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    prefixes: Option<PathBuf>,
    /// Rounds of each case that count [default: 9]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Few packets and rounds: to see that it works, not for figures
    #[arg(long)]
    quick: bool,
    /// Run each case with so many workers, a core each, and compare with one
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Packets in flight, 2 KiB of memory each [default: their headers exceed the last cache]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(4096..=16_777_216))]
    frames: Option<u32>,
    /// What routes and packets are drawn from
    #[arg(long, value_name = "NUMBER", default_value_t = 2026)]
    seed: u64,
    /// Draw a picture of the cycles; the name ends in .svg
    #[arg(long, value_name = "FILE", value_parser = plot::path, value_hint = ValueHint::FilePath)]
    plot: Option<PathBuf>,
    /// Say how many cores of this machine carry this rate each way of IMIX, such as 1.2Tbps; with --json
    /// the result is an object of `cases` and `cores_for`
    #[arg(long, value_name = "RATE")]
    cores_for: Option<BitRate>,
}

/// Measures what is asked for. The exit status is 1 when a case has failed, 128 and the signal's
/// number when a signal ended the run; what was measured by then is shown all the same.
pub(crate) fn run(args: &Args, json: bool) -> anyhow::Result<ExitCode> {
    if args.list {
        return list(json);
    }
    let mut cases = cases::select(&args.cases);
    if let Some(path) = &args.plot {
        // Before a minute is spent on what cannot be drawn.
        File::options()
            .append(true)
            .create(true)
            .open(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if args.cores_for.is_some() {
        cores::complete(&mut cases, args.cases.is_empty());
    }
    let interrupt = Interrupt::new().context("take signals")?;
    let progress = Progress::new();
    let session = session::run(&Arc::new(args.clone()), cases, &interrupt, &progress)?;
    progress.end();
    let figures = &session.figures;
    show(args, json, figures)?;
    if session.signal.is_some() {
        eprintln!("interrupted: {} of {} cases were measured", figures.len(), session.asked);
    } else if let Some(path) = &args.plot
        && !figures.is_empty()
    {
        plot::draw(path, figures)?;
    }
    Ok(match session.signal {
        Some(signal) => ExitCode::from(signal.saturating_add(128)),
        None if session.failed => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

fn show(args: &Args, json: bool, figures: &[Figures]) -> anyhow::Result<()> {
    let answer = args.cores_for.map(|rate| cores::answer(rate, figures));
    match (&answer, json) {
        (Some(answer), true) => {
            return output::json(&serde_json::json!({ "cases": figures, "cores_for": answer }));
        }
        (None, true) => return output::json(&figures),
        (_, false) if !figures.is_empty() => output::line(&report::text(figures))?,
        (_, false) => (),
    }
    match answer {
        Some(answer) => output::line(&format!("\n{answer}")),
        None => Ok(()),
    }
}

fn list(json: bool) -> anyhow::Result<ExitCode> {
    if json {
        let case = |case: &Case| serde_json::json!({ "case": case.name, "what": case.what });
        output::json(&CASES.iter().map(case).collect::<Vec<_>>())?;
    } else {
        let columns = [output::Column::Text("case"), output::Column::Text("what")];
        let row = |case: &Case| vec![case.name.to_owned(), case.what.to_owned()];
        output::line(&output::table(&columns, CASES.iter().map(row)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is going on, on a terminal; what has failed or should be known, anywhere. Nothing more after its
/// end, whoever still has a clone of it.
#[derive(Clone)]
struct Progress {
    bar: ProgressBar,
    ended: Arc<Mutex<bool>>,
}

impl Progress {
    fn new() -> Self {
        let ended = Arc::new(Mutex::new(false));
        if !io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), ended };
        }
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}")
            .expect("the template is right");
        Self { bar: ProgressBar::no_length().with_style(style), ended }
    }

    fn begin(&self, cases: usize) {
        self.unless_ended(|bar| bar.set_length(cases as u64));
    }

    fn say(&self, text: String) {
        self.unless_ended(|bar| bar.set_message(text));
    }

    fn step(&self) {
        self.unless_ended(|bar| bar.inc(1));
    }

    fn tick(&self) {
        self.unless_ended(ProgressBar::tick);
    }

    fn note(&self, text: &str) {
        self.unless_ended(|bar| bar.suspend(|| eprintln!("{text}")));
    }

    fn fail(&self, case: &Case, error: &anyhow::Error) {
        self.note(&format!("error: {}: {error:#}", case.name));
        self.step();
    }

    fn end(&self) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = true;
        self.bar.finish_and_clear();
    }

    fn unless_ended(&self, tell: impl FnOnce(&ProgressBar)) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if !*ended {
            tell(&self.bar);
        }
    }
}
