//! What was seen, at the end.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use super::act::{Seen, Verdict};
use super::numbers::duration;

/// Columns of the terminal for which everything is laid out.
const COLUMNS: u16 = 80;

/// Where the demo was played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StageKind {
    /// Network namespaces, beside the kernel.
    Namespaces,
    /// Memory ports, alone.
    Memory,
}

/// The result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    stage: StageKind,
    /// A signal ended it: acts are missing.
    interrupted: bool,
    elapsed_seconds: f64,
    /// No claim failed.
    pub(super) holds: bool,
    acts: Vec<Seen>,
}

impl Report {
    pub(super) fn new(
        stage: StageKind,
        interrupted: bool,
        elapsed: Duration,
        acts: Vec<Seen>,
    ) -> Self {
        let holds = acts.iter().all(|act| act.verdict != Verdict::No);
        let elapsed_seconds = elapsed.as_secs_f64();
        let version = env!("CARGO_PKG_VERSION");
        Self { version, stage, interrupted, elapsed_seconds, holds, acts }
    }

    /// The table, what it comes to, and what to do next.
    pub(super) fn text(&self, colour: bool) -> String {
        let mut parts = Vec::new();
        if !self.acts.is_empty() {
            parts.push(paint(&self.table(), colour));
        }
        parts.push(self.sum());
        if cfg!(debug_assertions) {
            parts.push("This is a debug build: a release build is faster.".to_owned());
        }
        if !self.interrupted {
            parts.push(self.next().to_owned());
        }
        format!("\n{}", parts.join("\n\n"))
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(COLUMNS);
        table.set_header(["act", "claim", "measured", "holds"]);
        for act in &self.acts {
            table.add_row([act.name, act.claim, &act.measured, act.verdict.label()]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
            column.set_cell_alignment(CellAlignment::Left);
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }

    fn sum(&self) -> String {
        let number = |verdict| self.acts.iter().filter(|act| act.verdict == verdict).count();
        let (yes, no, not_shown) =
            (number(Verdict::Yes), number(Verdict::No), number(Verdict::NotShown));
        let mut sum = format!("{yes} of {} claims held", yes + no);
        if not_shown > 0 {
            sum += &format!(", {not_shown} need root");
        }
        let after = duration(Duration::from_secs_f64(self.elapsed_seconds));
        if self.interrupted {
            format!("Interrupted after {after}: {sum} so far. Nothing was left behind.")
        } else {
            format!("{sum}. It took {after}, and nothing was left behind.")
        }
    }

    fn next(&self) -> &'static str {
        match self.stage {
            StageKind::Namespaces => {
                "Next:
  linecard run --port eth0 --port eth1      forward between your own interfaces
  linecard show ports --watch               see packets go by
  linecard show drops                       see why packets did not go on"
            }
            StageKind::Memory => {
                "Next:
  sudo linecard demo                        with real traffic, beside the kernel
  linecard replay in.pcap --output out.pcap forward a capture of your own
  linecard run --port eth0 --port eth1      forward between interfaces (root)"
            }
        }
    }
}

/// Verdicts in green and red, at the ends of their lines.
fn paint(table: &str, colour: bool) -> String {
    if !colour {
        return table.to_owned();
    }
    let paint_line = |line: &str| {
        for (word, code) in [("  yes", 32), ("  no", 31), ("  not shown", 33)] {
            if let Some(rest) = line.strip_suffix(word) {
                return format!("{rest}\x1b[{code}m{word}\x1b[0m");
            }
        }
        line.to_owned()
    };
    table.lines().map(paint_line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Map;

    fn seen(verdict: Verdict) -> Seen {
        Seen {
            name: "kill -9",
            claim: "The kernel forwards on, with at most 5 ms of traffic lost",
            measured: "20 packets lost (1.0 ms of traffic), longest outage 1.1 ms".to_owned(),
            verdict,
            values: Map::new(),
        }
    }

    fn report(verdicts: &[Verdict], interrupted: bool) -> Report {
        let acts = verdicts.iter().copied().map(seen).collect();
        Report::new(StageKind::Namespaces, interrupted, Duration::from_secs(3), acts)
    }

    #[test]
    fn everything_fits_eighty_columns() {
        let text = report(&[Verdict::Yes, Verdict::NotShown, Verdict::No], false).text(false);
        for line in text.lines() {
            assert!(line.chars().count() <= usize::from(COLUMNS), "{line}");
        }
        assert!(text.contains("1 of 2 claims held, 1 need root"), "{text}");
    }

    #[test]
    fn one_claim_that_fails_is_enough() {
        assert!(report(&[Verdict::Yes, Verdict::NotShown], false).holds);
        assert!(!report(&[Verdict::Yes, Verdict::No], false).holds);
    }

    #[test]
    fn colours_change_no_text() {
        let report = report(&[Verdict::Yes, Verdict::No], true);
        let painted = report.text(true);
        assert!(painted.contains("\x1b[32m  yes\x1b[0m"), "{painted:?}");
        let mut plain = painted;
        for code in ["\x1b[32m", "\x1b[31m", "\x1b[0m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, report.text(false));
    }
}
