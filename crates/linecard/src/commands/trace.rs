//! `linecard trace`: what each stage does with the next packets.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use linecard_api::Client;
use linecard_observe::{PacketReport, TapEvent, TapKind, TapQuery};

use crate::cli::{TapArgs, TraceArgs};
use crate::interrupt::Interrupt;
use crate::output;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) packets: u64,
    pub(super) lost: u64,
}

/// Traces packets until there are enough, the time is up, or a signal comes. The exit status says whether any
/// packet was seen.
pub(crate) fn run(args: &TraceArgs, json: bool) -> anyhow::Result<ExitCode> {
    let query = query(&args.tap, TapKind::Trace, Some(args.count), Some(128));
    let told = follow(&args.tap, &query, |event| {
        match event {
            TapEvent::Begun { notes, .. } => {
                notes.iter().for_each(|note| eprintln!("note: {note}"));
            }
            TapEvent::Packet(report) if json => output::line(&serde_json::to_string(report)?)?,
            TapEvent::Packet(report) => output::line(&format!("{}\n", packet_lines(report)))?,
            TapEvent::Waiting { .. } => {}
        }
        Ok(())
    })?;
    finish(&told, "traced");
    Ok(if told.packets > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The question that the arguments put.
pub(super) fn query(
    args: &TapArgs,
    kind: TapKind,
    count: Option<u64>,
    snap_bytes: Option<u16>,
) -> TapQuery {
    TapQuery {
        kind,
        condition: args.condition.join(" "),
        port: args.port.clone(),
        dropped: args.dropped,
        count,
        snap_bytes,
    }
}

/// Gives `each` what the daemon tells, until it has no more, the time is up or a signal comes.
pub(super) fn follow(
    args: &TapArgs,
    query: &TapQuery,
    mut each: impl FnMut(&TapEvent) -> anyhow::Result<()>,
) -> anyhow::Result<Told> {
    let interrupt = Interrupt::new()?;
    let deadline = args.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let is_over = || {
        interrupt.check().is_err() || deadline.is_some_and(|deadline| Instant::now() >= deadline)
    };
    let mut told = Told::default();
    let mut progress = Progress::new();
    let mut outcome = Ok(());
    Client::new(&args.daemon.socket).tap(query, |event| {
        if let Some(event) = event {
            match &event {
                TapEvent::Packet(_) => told.packets += 1,
                TapEvent::Waiting { lost, .. } => told.lost = *lost,
                TapEvent::Begun { .. } => {}
            }
            progress.clear();
            outcome = each(&event);
        }
        progress.show(told.packets, query.count);
        outcome.is_ok() && !is_over()
    })?;
    progress.clear();
    outcome?;
    Ok(told)
}

/// Says what was lost.
pub(super) fn finish(told: &Told, what: &str) {
    if told.packets == 0 {
        eprintln!("no packet was {what}");
    }
    if told.lost > 0 {
        let Told { packets, lost } = told;
        eprintln!("{packets} packets were {what}, {lost} more came too fast: narrow the match");
    }
}

/// A line on the terminal while nothing comes.
struct Progress {
    is_terminal: bool,
    shown: Option<u64>,
}

impl Progress {
    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: None }
    }

    fn show(&mut self, packets: u64, count: Option<u64>) {
        if self.is_terminal && self.shown != Some(packets) {
            let of = count.map_or(String::new(), |count| format!(" of {count}"));
            eprint!("\rwaiting for packets: {packets}{of}, ^C ends it");
            self.shown = Some(packets);
        }
    }

    fn clear(&mut self) {
        if self.shown.take().is_some() {
            // ECMA-48 EL: the line away.
            eprint!("\r\x1b[K");
        }
    }
}

/// A packet, its steps below one another, and the end.
pub(super) fn packet_lines(report: &PacketReport) -> String {
    let mut lines = vec![format!("{} in {}", report.packet, report.in_port)];
    for step in &report.steps {
        let verdict = step.verdict.as_ref().and_then(|verdict| {
            verdict.reason.as_ref().map(|reason| format!(" → {}: {reason}", verdict.fate.label()))
        });
        let stage = step.stage.replace('_', " ");
        lines.push(format!("  {stage:<11} {}{}", step.text, verdict.unwrap_or_default()));
    }
    lines.push(format!("  = {}", report.summary));
    lines.join("\n")
}
