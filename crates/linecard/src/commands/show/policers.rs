//! `linecard show policers`.

use linecard_observe::{PolicerReport, PolicersReport};

use crate::output::{self, Column, count};

/// The policers as a table, and what was counted for all of them.
pub(super) fn text(report: &PolicersReport) -> String {
    if report.policers.is_empty() {
        return "there are no policers".to_owned();
    }
    let columns = [
        Column::Text("policer"),
        Column::Text("algorithm"),
        Column::Text("rate"),
        Column::Text("per"),
        Column::Text("input of"),
        Column::Number("green"),
        Column::Number("bytes"),
        Column::Number("yellow"),
        Column::Number("bytes"),
        Column::Number("red"),
        Column::Number("bytes"),
        Column::Number("dropped"),
        Column::Number("marked"),
    ];
    let table = output::table(&columns, report.policers.iter().map(row));
    let lines = notes(report);
    if lines.is_empty() { table } else { format!("{table}\n\n{}", lines.join("\n")) }
}

fn row(policer: &PolicerReport) -> Vec<String> {
    let ports = match &policer.input_ports[..] {
        [] => "-".to_owned(),
        ports => ports.join(", "),
    };
    let mut row = vec![
        policer.title(),
        policer.algorithm.clone(),
        policer.rate.clone(),
        policer.per.clone(),
        ports,
    ];
    let counts = [
        policer.green_packets,
        policer.green_bytes,
        policer.yellow_packets,
        policer.yellow_bytes,
        policer.red_packets,
        policer.red_bytes,
        policer.dropped_packets,
        policer.marked_packets,
    ];
    row.extend(counts.map(count));
    row
}

/// What is to be said besides, if anything.
fn notes(report: &PolicersReport) -> Vec<String> {
    let by_source = |policer: &&PolicerReport| policer.per.starts_with("source-prefix");
    let sources = &report.sources;
    let mut lines = Vec::new();
    if report.policers.iter().any(|policer| by_source(&policer)) {
        lines.push(format!(
            "sources: {} of {} places taken",
            count(sources.places_taken),
            count(sources.places)
        ));
    }
    for policer in report.policers.iter().filter(|it| it.sources_refused_packets > 0) {
        let packets = count(policer.sources_refused_packets);
        let title = policer.title();
        lines.push(format!("{title}: {packets} packets of sources that had to share a meter"));
    }
    if report.unmetered_packets > 0 {
        let packets = count(report.unmetered_packets);
        lines.push(format!("{packets} packets passed unmetered: more policers a packet than four"));
    }
    lines
}
