//! The steps of `cargo xtask test`: what each runs, in which order, and the closing line.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::command::Context;
use crate::tally::{self, Tally};
use crate::{architecture, deny, fuzz, packages, workspace};

/// A step of `cargo xtask test`. They run in this order: what fails in seconds comes first, and
/// what measures time comes last, when no build runs beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Install the Debian packages that the tests use, or say how to
    Packages,
    /// Formatting (`cargo fmt`)
    Fmt,
    /// Dependencies point down only, unsafe code has two addresses, packet path reads no clock
    Architecture,
    /// Lints on all targets (`cargo clippy`)
    Clippy,
    /// Documentation builds and its links lead somewhere (`cargo doc`)
    Doc,
    /// Licences, sources and bans of dependencies, and advisories where they can be had
    Deny,
    /// Unit, property and integration tests that need neither root nor a network
    Unit,
    /// Examples in the documentation
    Doctest,
    /// Replayed crashes, then a short run of each fuzz target from a fixed seed
    Fuzz,
    /// Tests in network namespaces, one at a time; they need root
    System,
}

/// What a step found.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// What is shown when something failed.
    pub(crate) output: String,
    /// What is shown in any case, such as a check that this machine does not allow.
    pub(crate) notes: Vec<String>,
}

impl Outcome {
    /// The outcome of one check.
    pub(crate) fn of(success: bool, output: String) -> Self {
        Self { tally: Tally::of(success), output, notes: Vec::new() }
    }

    /// Adds a line that is shown in any case.
    pub(crate) fn note(mut self, note: String) -> Self {
        self.notes.push(note);
        self
    }

    /// The outcome of a test runner. A runner that fails without a failing test (it did not
    /// compile, say) counts as one failure, and so does one that found nothing to run.
    fn of_tests(success: bool, mut tally: Tally, mut output: String) -> Self {
        if tally == Tally::default() && success {
            output.push_str("no test was run\n");
        }
        if tally.failed == 0 && (!success || tally.passed == 0) {
            tally.failed = 1;
        }
        Self { tally, output, notes: Vec::new() }
    }
}

impl Step {
    /// Every step in the order in which they run.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied()
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn run(self, context: &Context) -> Result<Outcome> {
        match self {
            Self::Packages => packages::install(context),
            Self::Fmt => fmt(context),
            Self::Architecture => architecture::check(context),
            Self::Clippy => cargo(
                context,
                &["clippy", "--workspace", "--all-targets", "--keep-going", "--", "-Dwarnings"],
            ),
            Self::Doc => doc(context),
            Self::Deny => deny::check(context),
            Self::Unit => tests(context, Tests::Unit),
            Self::Doctest => doctest(context),
            Self::Fuzz => fuzz::short_runs(context),
            Self::System => system(context),
        }
    }
}

/// The steps and what each does, one a line.
pub(crate) fn list() -> String {
    Step::value_variants()
        .iter()
        .filter_map(ValueEnum::to_possible_value)
        .map(|value| {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            format!("{:<14}{help}\n", value.get_name())
        })
        .collect()
}

/// Runs `steps`, prints a line for each and the closing line, and says whether all passed.
pub(crate) fn run_all(context: &Context, steps: &[Step]) -> bool {
    let started = Instant::now();
    let mut total = Tally::default();
    for step in steps {
        total.add(run_one(context, *step));
        if context.interrupted() {
            println!("interrupted");
            break;
        }
    }
    println!("{:.1} s", started.elapsed().as_secs_f64());
    println!("{} passed, {} failed", total.passed, total.failed);
    total.failed == 0 && !context.interrupted()
}

fn run_one(context: &Context, step: Step) -> Tally {
    print!("{:<14}", step.name());
    // The name stands there while the step runs, so that a log shows what hangs.
    let _ = std::io::stdout().flush();
    let started = Instant::now();
    let outcome =
        step.run(context).unwrap_or_else(|error| Outcome::of(false, format!("{error:#}\n")));
    let seconds = started.elapsed().as_secs_f64();
    let Tally { passed, failed } = outcome.tally;
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("{word:<8}{seconds:>7.1} s {passed:>6} passed {failed:>3} failed");
    for note in &outcome.notes {
        println!("{:<14}note: {note}", "");
    }
    if failed > 0 {
        for line in outcome.output.lines().filter(|line| !is_cargo_progress(line)) {
            println!("{line}");
        }
    }
    outcome.tally
}

/// Whether cargo says that it is at work; nobody looks for that between errors.
fn is_cargo_progress(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let work = ["Checking", "Compiling", "Documenting", "Downloaded", "Downloading"];
    line.starts_with(' ') && words.next().is_some_and(|word| work.contains(&word))
}

/// A step that is one `cargo` command.
fn cargo(context: &Context, arguments: &[&str]) -> Result<Outcome> {
    let ran = context.run(context.cargo(arguments))?;
    Ok(Outcome::of(ran.success, ran.output))
}

/// Both workspaces: the house, and the fuzz targets beside it.
fn fmt(context: &Context) -> Result<Outcome> {
    let mut outcome = Outcome::of(true, String::new());
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let mut command = context.cargo(&["fmt", "--all", "--check", "--manifest-path", manifest]);
        command.args(["--", "--color=never"]);
        let ran = context.run(command)?;
        outcome.output.push_str(&ran.output);
        if !ran.success {
            outcome.tally = Tally::of(false);
        }
    }
    Ok(outcome)
}

fn doc(context: &Context) -> Result<Outcome> {
    let mut command =
        context.cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    command.env("RUSTDOCFLAGS", "-Dwarnings");
    let ran = context.run(command)?;
    Ok(Outcome::of(ran.success, ran.output))
}

fn doctest(context: &Context) -> Result<Outcome> {
    let command = context.cargo(&["test", "--doc", "--workspace", "--no-fail-fast"]);
    let ran = context.run(command)?;
    let tally = tally::of_cargo_test(&ran.output);
    if ran.success && tally == Tally::default() {
        // That the examples build is the check; a workspace may have none.
        return Ok(Outcome::of(true, ran.output));
    }
    Ok(Outcome::of_tests(ran.success, tally, ran.output))
}

fn system(context: &Context) -> Result<Outcome> {
    if !rustix::process::geteuid().is_root() {
        let remedy = "the system tests make network namespaces and load XDP programs, which needs \
            root: run `sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask test --only system`\n";
        return Ok(Outcome::of(false, remedy.to_owned()));
    }
    tests(context, Tests::System)
}

/// Which tests of the workspace to run. System tests are the integration tests whose name starts
/// with `system_`, and all integration tests of `lab`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    Unit,
    System,
}

/// Runs tests with nextest where it is installed, else with `cargo test`; both count the same.
fn tests(context: &Context, which: Tests) -> Result<Outcome> {
    let names = integration_tests(context, which)?;
    if which == Tests::System && names.is_empty() {
        return Ok(Outcome::of(false, "there is no system test\n".to_owned()));
    }
    let nextest = context.run(context.cargo(&["nextest", "--version"]))?.success;
    let mut command = if nextest {
        context.cargo(&["nextest", "run", "--status-level=fail", "--final-status-level=fail"])
    } else {
        context.cargo(&["test"])
    };
    command.args(["--workspace", "--no-fail-fast"]);
    if which == Tests::Unit {
        command.args(["--lib", "--bins"]);
    }
    command.args(names.iter().map(|name| format!("--test={name}")));
    // System tests run one at a time: they measure loss and rates, and the cores are few. The two
    // runners take this option on different sides of the dashes.
    let one_at_a_time = (which == Tests::System).then_some("--test-threads=1");
    command.args(one_at_a_time.filter(|_| nextest));
    // A test marked as ignored is a test that nobody watches, so it is run all the same.
    command.args(["--", "--include-ignored"]);
    command.args(one_at_a_time.filter(|_| !nextest));
    let ran = context.run(command)?;
    let count = if nextest { tally::of_nextest } else { tally::of_cargo_test };
    Ok(Outcome::of_tests(ran.success, count(&ran.output), ran.output))
}

/// The names of the integration tests of one sort.
fn integration_tests(context: &Context, which: Tests) -> Result<Vec<String>> {
    let metadata = workspace::metadata(&context.root.join("Cargo.toml"))?;
    let mut names = Vec::new();
    for package in workspace::array(&metadata, "packages") {
        for target in workspace::array(package, "targets") {
            let name = workspace::text(target, "name");
            let in_lab = workspace::text(package, "name") == "linecard-lab";
            let system = in_lab || name.starts_with("system_");
            let is_test = workspace::array(target, "kind").iter().any(|kind| kind == "test");
            if is_test && system == (which == Tests::System) {
                names.push(name.to_owned());
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_that_ran_nothing_has_failed() {
        let nothing = Outcome::of_tests(true, Tally::default(), String::new());
        assert_eq!(nothing.tally, Tally { passed: 0, failed: 1 });
        assert!(nothing.output.contains("no test was run"));
    }

    #[test]
    fn a_runner_that_did_not_compile_counts_once() {
        let broken = Outcome::of_tests(false, Tally::default(), "error[E0308]".to_owned());
        assert_eq!(broken.tally, Tally { passed: 0, failed: 1 });
        let partly = Outcome::of_tests(false, Tally { passed: 4, failed: 2 }, String::new());
        assert_eq!(partly.tally, Tally { passed: 4, failed: 2 });
    }

    #[test]
    fn cargo_at_work_is_no_finding() {
        assert!(is_cargo_progress("   Compiling linecard-wire v0.1.0 (/linecard/crates/wire)"));
        assert!(!is_cargo_progress("error: could not compile `linecard-wire`"));
        assert!(!is_cargo_progress("Checking is what this line of an error is about"));
    }

    #[test]
    fn the_list_names_every_step() {
        let list = list();
        assert!(Step::all().all(|step| list.contains(&step.name())));
        assert_eq!(list.lines().count(), Step::all().count());
    }
}
