//! An act: a claim, something to run on a stage, and what was found.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Pace;
use super::console::Console;
use crate::interrupt::{Interrupt, Interrupted};
use crate::output;

/// One act on a stage of kind `S`.
pub(super) struct Act<S> {
    /// Its name in the table and in JSON: short, lower case.
    pub(super) name: &'static str,
    /// What is about to happen.
    pub(super) title: &'static str,
    /// What Linecard promises.
    pub(super) claim: &'static str,
    /// Makes it happen and measures. An error means that the claim does not hold.
    pub(super) run: fn(&mut S, &Scene<'_>) -> anyhow::Result<Finding>,
}

/// Whether what was measured bears out the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Yes,
    No,
    NotShown,
}

impl Verdict {
    /// As it is written in the table.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NotShown => "not shown",
        }
    }
}

/// What an act brought.
#[derive(Debug)]
pub(super) struct Finding {
    verdict: Verdict,
    measured: String,
    values: Map<String, Value>,
}

impl Finding {
    /// The figures in words, and whether they bear out the claim.
    pub(super) fn new(holds: bool, measured: String) -> Self {
        let verdict = if holds { Verdict::Yes } else { Verdict::No };
        Self { verdict, measured, values: Map::new() }
    }

    /// The stage cannot show it, for this reason.
    pub(super) fn not_shown(reason: &str) -> Self {
        Self { verdict: Verdict::NotShown, measured: reason.to_owned(), values: Map::new() }
    }

    /// Adds a figure for programs; `name` carries its unit.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.values.insert(name.to_owned(), value.into());
        self
    }
}

/// An act that was played.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    pub(super) name: &'static str,
    pub(super) claim: &'static str,
    pub(super) measured: String,
    pub(super) verdict: Verdict,
    pub(super) values: Map<String, Value>,
}

/// What surrounds the acts.
pub(super) struct Scene<'a> {
    pub(super) console: &'a Console,
    pub(super) interrupt: &'a Interrupt,
    pub(super) pace: Pace,
}

impl Scene<'_> {
    /// Lets `time` go by and says now and then what `look` sees.
    ///
    /// # Errors
    /// [`Interrupted`], or those of `look`.
    pub(super) fn watch(
        &self,
        time: Duration,
        mut look: impl FnMut() -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        /// How soon an interruption is noticed.
        const NAP: Duration = Duration::from_millis(20);
        let end = Instant::now() + time;
        let mut due = Instant::now() + self.console.live_interval();
        while Instant::now() < end {
            self.interrupt.check()?;
            if Instant::now() >= due {
                due += self.console.live_interval();
                self.console.live(&look()?)?;
            }
            std::thread::sleep(NAP.min(end.saturating_duration_since(Instant::now())));
        }
        self.console.live(&look()?)
    }
}

/// Plays the acts in their order; what was found goes to `seen`, so that it is there when the play is
/// broken off.
///
/// # Errors
/// [`Interrupted`], or nobody reads what is said.
pub(super) fn play<S>(
    stage: &mut S,
    acts: &[Act<S>],
    scene: &Scene<'_>,
    seen: &mut Vec<Seen>,
) -> anyhow::Result<()> {
    for (number, act) in (1..).zip(acts) {
        scene.interrupt.check()?;
        scene.console.begin(number, acts.len(), act.title)?;
        let finding = match (act.run)(stage, scene) {
            Ok(finding) => finding,
            Err(error) if error.is::<Interrupted>() || output::is_broken_pipe(&error) => {
                return Err(error);
            }
            // An act that fails because the user broke it off says nothing of the claim.
            Err(error) => {
                scene.interrupt.check()?;
                Finding::new(false, format!("failed: {error:#}"))
            }
        };
        scene.console.end(&finding.measured, finding.verdict)?;
        let Finding { verdict, measured, values } = finding;
        seen.push(Seen { name: act.name, claim: act.claim, measured, verdict, values });
    }
    Ok(())
}
