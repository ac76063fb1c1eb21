//! Fuzz targets on the stable toolchain.
//!
//! The targets live in `fuzz/` in cargo-fuzz's layout. cargo-fuzz itself wants nightly for
//! AddressSanitizer; the code under test is safe Rust, so coverage alone is enough, and its code
//! generation flags are stable. A crash is a panic, an overflow, a failed assertion or a hang.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::command::Context;
use crate::steps::Outcome;
use crate::tally::Tally;
use crate::workspace::{array, metadata, text};

/// What cargo-fuzz passes to rustc, less the sanitizer.
const CODE_GENERATION: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// Runs and seed of the short run, which is the same on every machine, and the bound that keeps a
/// slow one from taking over the tests. A target whose runs take longer has fewer of them: those
/// are listed in `fuzz/Cargo.toml`.
const SHORT_RUNS: u64 = 500_000;
const SHORT_SEED: u32 = 1;
const SHORT_LIMIT: Duration = Duration::from_secs(30);

/// Inputs as long as a jumbo frame reach every branch of a parser; longer ones only take time.
const INPUT_BYTES_MAX: u32 = 4096;
/// An input that takes longer than this counts as a hang.
const INPUT_LIMIT: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct FuzzOptions {
    /// The fuzz target; all of them in turn where none is given
    target: Option<String>,
    /// How long to fuzz each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Seed of the first inputs; 0 takes a new one each time
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u32,
    /// List the fuzz targets, with their runs in `cargo xtask test`, and stop
    #[arg(long)]
    list: bool,
}

/// `cargo xtask fuzz`: replays regressions, then fuzzes with libFuzzer's own output in the open.
pub(crate) fn fuzz(context: &Context, options: &FuzzOptions) -> Result<bool> {
    let mut targets = targets(context)?;
    if options.list {
        for Target { name, short_runs } in &targets {
            println!("{name:<18}{short_runs:>7} runs");
        }
        return Ok(true);
    }
    if let Some(wanted) = &options.target {
        let names: Vec<_> = targets.iter().map(|target| target.name.clone()).collect();
        targets.retain(|target| target.name == *wanted);
        ensure!(!targets.is_empty(), "no fuzz target `{wanted}`; there are: {names:?}");
    }
    let built = context.run(build(context)?)?;
    ensure!(built.success, "the fuzz targets do not build:\n{}", built.output);
    for Target { name: target, .. } in &targets {
        let replayed = replay(context, target)?;
        println!("{target}: {} regressions replayed", replayed.tally.passed);
        if replayed.tally.failed > 0 {
            println!("{}", replayed.output);
            return Ok(false);
        }
        let limits = [
            format!("-seed={}", options.seed),
            format!("-max_total_time={}", options.seconds),
            "-print_final_stats=1".to_owned(),
        ];
        let corpus = context.root.join("fuzz/corpus").join(target);
        if !context.run_in_the_open(run(context, target, corpus, &limits)?)? {
            println!("{}", advice(target));
            return Ok(false);
        }
    }
    Ok(true)
}

/// The fuzz step of `cargo xtask test`: replays every regression, then runs every target a little.
pub(crate) fn short_runs(context: &Context) -> Result<Outcome> {
    let built = context.run(build(context)?)?;
    let mut outcome = Outcome { tally: Tally::default(), output: String::new(), notes: Vec::new() };
    if !built.success {
        return Ok(Outcome::of(false, built.output));
    }
    for Target { name: target, short_runs } in targets(context)? {
        let replayed = replay(context, &target)?;
        outcome.tally.add(replayed.tally);
        outcome.output.push_str(&replayed.output);
        // A corpus of an earlier run would make this one another.
        let corpus = context.target.join("fuzz/short").join(&target);
        if corpus.exists() {
            fs::remove_dir_all(&corpus)?;
        }
        let limits = [
            format!("-runs={short_runs}"),
            format!("-seed={SHORT_SEED}"),
            format!("-max_total_time={}", SHORT_LIMIT.as_secs()),
        ];
        let ran = context.run(run(context, &target, corpus, &limits)?)?;
        outcome.tally.add(Tally::of(ran.success));
        if !ran.success {
            outcome.output.push_str(&format!("{}\n{}\n", ran.output, advice(&target)));
        }
    }
    Ok(outcome)
}

fn advice(target: &str) -> String {
    format!(
        "{target}: the input is in fuzz/artifacts/{target}; move it to fuzz/regressions/{target} \
         under a name that says what it does, and it is replayed from now on"
    )
}

/// A fuzz target.
#[derive(Debug)]
struct Target {
    name: String,
    /// Inputs of its short run.
    short_runs: u64,
}

/// The fuzz targets by name.
fn targets(context: &Context) -> Result<Vec<Target>> {
    let manifest = metadata(&context.root.join("fuzz/Cargo.toml"))?;
    let [package] = array(&manifest, "packages") else { bail!("fuzz/ is one package") };
    let mut names: Vec<String> = array(package, "targets")
        .iter()
        .filter(|target| array(target, "kind").iter().any(|kind| kind == "bin"))
        .map(|target| text(target, "name").to_owned())
        .collect();
    names.sort();
    for file in files(&context.root.join("fuzz/fuzz_targets"))? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        ensure!(names.contains(&name), "fuzz/fuzz_targets/{name}.rs has no [[bin]] in Cargo.toml");
    }
    let short_runs = &package["metadata"]["short-runs"];
    if let Some(listed) = short_runs.as_object() {
        let stranger = listed.keys().find(|name| !names.contains(name));
        ensure!(stranger.is_none(), "short-runs of {stranger:?}, which is no fuzz target");
    }
    let target = |name: String| {
        let short_runs = short_runs[&name].as_u64().unwrap_or(SHORT_RUNS);
        Target { name, short_runs }
    };
    Ok(names.into_iter().map(target).collect())
}

/// Builds every target. The triple is named so that the flags do not reach build scripts.
fn build(context: &Context) -> Result<Command> {
    let mut command = context.cargo(&["build", "--release", "--bins"]);
    command.arg("--manifest-path").arg(context.root.join("fuzz/Cargo.toml"));
    command.arg("--target").arg(host()?).arg("--target-dir").arg(context.target.join("fuzz"));
    command.env("RUSTFLAGS", CODE_GENERATION.join(" "));
    Ok(command)
}

/// The triple of this machine.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot run `rustc`")?;
    let output = String::from_utf8(output.stdout)?;
    let host = output.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

fn binary(context: &Context, target: &str) -> Result<Command> {
    let binary = context.target.join("fuzz").join(host()?).join("release").join(target);
    let mut command = Command::new(binary);
    let artifacts = context.root.join("fuzz/artifacts").join(target);
    fs::create_dir_all(&artifacts)?;
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(format!("-timeout={}", INPUT_LIMIT.as_secs()));
    Ok(command)
}

/// Runs a target from its corpus, and from its seeds where it has some.
fn run(context: &Context, target: &str, corpus: PathBuf, limits: &[String]) -> Result<Command> {
    fs::create_dir_all(&corpus)?;
    let mut command = binary(context, target)?;
    command.arg(format!("-max_len={INPUT_BYTES_MAX}")).args(limits).arg(corpus);
    let seeds = context.root.join("fuzz/seeds").join(target);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    Ok(command)
}

/// Runs a target on each input that once broke it, one process each, so that each is counted.
fn replay(context: &Context, target: &str) -> Result<Outcome> {
    let mut outcome = Outcome { tally: Tally::default(), output: String::new(), notes: Vec::new() };
    for file in files(&context.root.join("fuzz/regressions").join(target))? {
        let mut command = binary(context, target)?;
        command.arg(&file);
        let ran = context.run(command)?;
        outcome.tally.add(Tally::of(ran.success));
        if !ran.success {
            outcome.output.push_str(&format!("{}\n{}\n", file.display(), ran.output));
        }
    }
    Ok(outcome)
}

/// The files of a directory, in order; none where it does not exist.
fn files(directory: &std::path::Path) -> Result<Vec<PathBuf>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            bail!("{}: a directory where only inputs belong", path.display());
        }
        files.push(path);
    }
    files.sort();
    Ok(files)
}
