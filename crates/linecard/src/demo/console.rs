//! What the demo says while it runs: lines that stay on stdout, and on a terminal one that moves on
//! stderr. With `--json` stdout is kept for the result.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::act::Verdict;
use super::report::Report;
use crate::output;

/// The demo's voice.
pub(super) struct Console {
    json: bool,
    colour: bool,
    /// The line that moves; none when stderr is no terminal, or stdout is not one: then lines stay.
    bar: Option<ProgressBar>,
}

impl Console {
    pub(super) fn new(json: bool) -> Self {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let bar = (err && (out || json)).then(|| {
            let style = ProgressStyle::with_template("      {spinner} {wide_msg}")
                .expect("the template is right")
                .tick_strings(&["|", "/", "-", "\\", " "]);
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { json, colour: out && std::env::var_os("NO_COLOR").is_none(), bar }
    }

    /// A line that stays.
    pub(super) fn line(&self, text: &str) -> anyhow::Result<()> {
        if self.json {
            return Ok(());
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| output::line(text)),
            None => output::line(text),
        }
    }

    /// What moves right now: in place on a terminal, else as one more line.
    pub(super) fn live(&self, text: &str) -> anyhow::Result<()> {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => self.line(&format!("        {text}"))?,
        }
        Ok(())
    }

    /// How often [`Self::live`] is worth calling.
    pub(super) fn live_interval(&self) -> Duration {
        Duration::from_millis(if self.bar.is_some() { 100 } else { 1_000 })
    }

    /// An act begins.
    pub(super) fn begin(&self, number: usize, of: usize, title: &str) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.set_message(String::new());
        }
        self.line(&self.bold(&format!("[{number}/{of}] {title}")))
    }

    /// An act has ended.
    pub(super) fn end(&self, measured: &str, verdict: Verdict) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.set_message(String::new());
        }
        let doubt = match verdict {
            Verdict::Yes => "",
            Verdict::No => ": not as claimed",
            Verdict::NotShown => " (not shown)",
        };
        self.line(&format!("      {measured}{doubt}"))
    }

    /// The result: a table for people, JSON for programs.
    pub(super) fn report(&self, report: &Report) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.json { output::json(report) } else { output::line(&report.text(self.colour)) }
    }

    fn bold(&self, text: &str) -> String {
        if self.colour { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }
}
