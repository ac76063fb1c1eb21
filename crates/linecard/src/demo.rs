//! `linecard demo`: the whole story on one machine, told in acts.
//!
//! | module | |
//! |---|---|
//! | [`act`] | what an act is: a claim, something to run, what was found; and the play |
//! | [`lab`] | the acts on network namespaces, with real traffic and a real `kill -9` |
//! | [`memory`] | the same acts on memory ports, for who is not root |
//! | [`console`] | lines that stay, and one that moves |
//! | [`report`] | the table and the JSON at the end |
//!
//! Nothing stays behind, whatever ends the demo. Namespaces are held by open files. The router is a
//! child that asked to die with the demo; its socket is held by an open file as well, so that its
//! directory goes as soon as it answers.

mod act;
mod console;
mod lab;
mod memory;
mod numbers;
mod report;
mod unwanted;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use linecard_lab::LabError;

use self::act::{Act, Scene, Seen, play};
use self::console::Console;
use self::report::{Report, StageKind};
use crate::interrupt::{Interrupt, Interrupted};

/// What can be said to the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shorter acts: about a third of the time, coarser figures
    #[arg(long)]
    fast: bool,
    /// Stay in memory even as root
    #[arg(long)]
    memory: bool,
    #[command(flatten)]
    router: RouterArgs,
}

/// How the demo starts itself once more, inside the router's namespace.
#[derive(Debug, clap::Args)]
struct RouterArgs {
    /// Be the demo's router, with this configuration
    #[arg(long, hide = true, value_name = "FILE", requires = "parent")]
    router: Option<PathBuf>,
    /// The demo, with which the router dies
    #[arg(long, hide = true, value_name = "PID", requires = "router")]
    parent: Option<u32>,
}

const NO_STAGE: &str = "no demonstration in namespaces here (`--memory` needs nothing)";

/// How long the acts watch.
#[derive(Debug, Clone, Copy)]
struct Pace {
    fast: bool,
}

impl Pace {
    /// `full`, or a third of it.
    fn time(self, full: Duration) -> Duration {
        if self.fast { full / 3 } else { full }
    }

    /// `full`, or a quarter of it.
    fn count(self, full: u32) -> u32 {
        if self.fast { full / 4 } else { full }
    }
}

/// Runs the demo.
///
/// # Errors
/// What the demo needs is missing, or nobody reads what it says.
pub(crate) fn run(args: Args, json: bool) -> anyhow::Result<ExitCode> {
    if let (Some(config), Some(parent)) = (args.router.router, args.router.parent) {
        linecard_lab::die_with_parent(parent)?;
        let document = linecard_control::config::Document::load(&config)?;
        crate::daemon::run(document.config().clone(), Some(document))?;
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt = Interrupt::new()?;
    let console = Console::new(json);
    let scene = Scene { console: &console, interrupt: &interrupt, pace: Pace { fast: args.fast } };
    if args.memory {
        return on_memory(&scene, "asked for with --memory");
    }
    match lab::Stage::raise() {
        Ok(stage) => on_lab(&scene, stage),
        Err(error) if is_denied(&error) => on_memory(&scene, "not root, so no network namespaces"),
        Err(error) => Err(error.context(NO_STAGE)),
    }
}

fn is_denied(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<LabError>()
        .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn on_lab(scene: &Scene<'_>, mut stage: lab::Stage) -> anyhow::Result<ExitCode> {
    scene.console.line(&format!(
        "Linecard {}: a demonstration in network namespaces of this machine.
Nothing outside of them is touched, and nothing stays.

                 ┌── path a ──┐
  client ──── router        server     Linecard serves the router's 3 ports
                 └── path b ──┘
",
        env!("CARGO_PKG_VERSION")
    ))?;
    if let Err(error) = stage.open(scene) {
        // Without a router there is nothing to show, unless it was the user who ended it.
        drop(stage);
        return if error.is::<Interrupted>() {
            finish(scene, StageKind::Namespaces, Instant::now(), Vec::new(), Err(error))
        } else {
            Err(error.context(NO_STAGE))
        };
    }
    tell(scene, StageKind::Namespaces, stage, &lab::acts())
}

fn on_memory(scene: &Scene<'_>, reason: &str) -> anyhow::Result<ExitCode> {
    scene.console.line(&format!(
        "Linecard {}: a demonstration in memory ({reason}).
The packet path is the real one, but its ports are memory: there is no kernel
beside it, so TCP, kill -9 and restart are not shown. To see them, as root:

  sudo {} demo
",
        env!("CARGO_PKG_VERSION"),
        program()
    ))?;
    tell(scene, StageKind::Memory, memory::Stage::new()?, &memory::acts())
}

/// How the user called this program.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "linecard".to_owned())
}

fn tell<S>(
    scene: &Scene<'_>,
    kind: StageKind,
    mut stage: S,
    acts: &[Act<S>],
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut seen = Vec::new();
    let outcome = play(&mut stage, acts, scene, &mut seen);
    // Put away first: the report says that nothing is left.
    drop(stage);
    finish(scene, kind, started, seen, outcome)
}

/// Says what was seen, all of it or up to the interruption.
fn finish(
    scene: &Scene<'_>,
    stage: StageKind,
    started: Instant,
    seen: Vec<Seen>,
    outcome: anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let signal = match outcome {
        Ok(()) => None,
        Err(error) => match error.downcast::<Interrupted>() {
            Ok(Interrupted(signal)) => Some(signal),
            Err(error) => return Err(error),
        },
    };
    let report = Report::new(stage, signal.is_some(), started.elapsed(), seen);
    scene.console.report(&report)?;
    Ok(match signal {
        // As shells report it.
        Some(signal) => ExitCode::from(128u8.wrapping_add(signal)),
        None if report.holds => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    })
}
