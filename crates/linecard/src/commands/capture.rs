//! `linecard capture`: the next packets as pcapng, with what became of each as its comment.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use linecard_io::AnnotatedCapture;
use linecard_observe::trace::from_hex;
use linecard_observe::{PacketReport, TapEvent, TapKind};

use super::trace::{finish, follow, query};
use crate::cli::CaptureArgs;

/// Captures packets until there are enough, the time is up, or a signal comes.
pub(crate) fn run(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let kind = if args.samples { TapKind::Samples } else { TapKind::Capture };
    let query = query(&args.tap, kind, args.count, args.snaplen);
    let mut capture: Option<AnnotatedCapture<BufWriter<Box<dyn Write>>>> = None;
    let mut ports: Vec<String> = Vec::new();
    let mut unflushed = false;
    let told = follow(&args.tap, &query, |event| {
        match event {
            TapEvent::Begun { ports: names, notes } => {
                notes.iter().for_each(|note| eprintln!("note: {note}"));
                // Only now: a query that is refused leaves a file as it was.
                let output = BufWriter::new(open(&args.write)?);
                let snap_bytes = args.snaplen.map_or(0, u32::from);
                ports.clone_from(names);
                capture = Some(AnnotatedCapture::new(output, names, snap_bytes).context(WRITE)?);
            }
            TapEvent::Packet(report) => {
                let Some(capture) = &mut capture else { return Ok(()) };
                write(capture, report, &ports)?;
                unflushed = true;
            }
            TapEvent::Waiting { .. } => {}
        }
        if unflushed && let Some(capture) = &mut capture {
            capture.flush().context(WRITE)?;
            unflushed = false;
        }
        Ok(())
    })?;
    if let Some(capture) = &mut capture {
        capture.flush().context(WRITE)?;
    }
    finish(&told, "captured");
    Ok(ExitCode::SUCCESS)
}

/// What an error of writing is told with.
const WRITE: &str = "cannot write the capture";

fn open(path: &Path) -> anyhow::Result<Box<dyn Write>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Box::new(file))
}

fn write(
    capture: &mut AnnotatedCapture<impl Write>,
    report: &PacketReport,
    ports: &[String],
) -> anyhow::Result<()> {
    let bytes = from_hex(&report.bytes).context("the daemon sends bytes that are none")?;
    let interface = ports.iter().position(|port| *port == report.in_port).unwrap_or(0) as u32;
    let time = report.time_unix_nanoseconds.unwrap_or(0);
    let packet = (bytes.as_slice(), report.frame_bytes);
    capture.packet(interface, time, packet, &report.summary).context(WRITE)
}
