//! `linecard show`: asks the running daemon.

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use ipnet::IpNet;
use linecard_api::Client;
use linecard_observe::{
    DropsReport, HealthReport, HealthState, NeighboursReport, PortReport, PortsReport,
    ReasonReport, RouteQuery, RouteReport,
};

use super::watch;
use crate::cli::ShowCommand;
use crate::output::{self, Column, count};

/// Prints one report.
pub(crate) fn run(command: ShowCommand, json: bool) -> anyhow::Result<ExitCode> {
    let asked = |daemon: crate::cli::Daemon| Client::new(&daemon.socket);
    match command {
        ShowCommand::Ports { daemon, watch: Some(seconds) } => {
            watch::ports(&asked(daemon), Duration::from_secs(seconds.into()), json)?;
        }
        ShowCommand::Ports { daemon, watch: None } => {
            let report = asked(daemon).ports()?;
            if json { output::json(&report)? } else { output::line(&ports(&report))? }
        }
        ShowCommand::Routes { daemon, prefix, covers, limit } => {
            routes(&asked(daemon), prefix, covers, limit, json)?;
        }
        ShowCommand::Neighbours { daemon } => {
            let report = asked(daemon).neighbours()?;
            if json { output::json(&report)? } else { output::line(&neighbours(&report))? }
        }
        ShowCommand::Drops { daemon, all } => {
            let report = asked(daemon).drops()?;
            if json { output::json(&report)? } else { output::line(&drops(&report, all))? }
        }
        ShowCommand::Health { daemon } => {
            let report = asked(daemon).health()?;
            if json {
                output::json(&report)?;
            } else {
                output::line(&health(&report))?;
            }
            if report.state != HealthState::Well {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The ports as a table, their sum in the last line.
pub(crate) fn ports(report: &PortsReport) -> String {
    let columns = [
        Column::Text("port"),
        Column::Text("kind"),
        Column::Text("mode"),
        Column::Text("state"),
        Column::Number("received"),
        Column::Number("bytes"),
        Column::Number("sent"),
        Column::Number("bytes"),
        Column::Number("queued"),
        Column::Number("redirected"),
        Column::Number("dropped"),
        Column::Number("punted"),
    ];
    let counts = |totals: &linecard_packet::PortTotals| {
        [
            totals.received_packets,
            totals.received_bytes,
            totals.sent_packets,
            totals.transmitted_bytes,
            totals.queued_packets,
            totals.redirected_packets,
            totals.dropped_packets.sum(),
            totals.punted_packets.sum(),
        ]
        .map(count)
    };
    let row = |port: &PortReport| {
        let mut row = vec![port.name.clone(), port.kind.clone(), port.mode.clone()];
        row.push(port.state.label().to_owned());
        row.extend(counts(&port.totals));
        row
    };
    let mut total = vec!["total".to_owned(), String::new(), String::new(), String::new()];
    total.extend(counts(&report.total));
    output::table(&columns, report.ports.iter().map(row).chain([total]))
}

/// The reasons as tables; without `all`, those that happened.
pub(crate) fn drops(report: &DropsReport, all: bool) -> String {
    let part = |title: &str, none: &str, lines: &[ReasonReport]| {
        let wanted: Vec<&ReasonReport> =
            lines.iter().filter(|line| all || line.packets > 0).collect();
        if wanted.is_empty() {
            return none.to_owned();
        }
        let columns = [
            Column::Text("reason"),
            Column::Number("packets"),
            Column::Text("ports"),
            Column::Text("meaning"),
        ];
        let row = |line: &&ReasonReport| {
            let ports = line.ports.iter().map(|at| format!("{} {}", at.port, count(at.packets)));
            let ports: Vec<String> = ports.collect();
            vec![
                line.reason.clone(),
                count(line.packets),
                ports.join(", "),
                line.description.clone(),
            ]
        };
        format!("{title}:\n{}", output::table(&columns, wanted.iter().map(row)))
    };
    let drops = part("dropped by the pipeline", "no packet was dropped", &report.drops);
    let punts = part(
        "handed to the kernel by the pipeline",
        "no packet was handed to the kernel by the pipeline",
        &report.punts,
    );
    let mut parts = vec![drops, punts];
    if !report.passed.is_empty() {
        parts.push(part(
            "left to the kernel by the classifier, never received",
            "no packet was left to the kernel by the classifier",
            &report.passed,
        ));
    }
    parts.join("\n\n")
}

fn neighbours(report: &NeighboursReport) -> String {
    let columns = ["interface", "address", "mac address", "state"].map(Column::Text);
    let row = |at: &linecard_observe::NeighbourReport| {
        vec![
            at.interface.clone(),
            at.address.to_string(),
            at.mac_address.clone().unwrap_or_else(|| "-".to_owned()),
            at.state.label().to_owned(),
        ]
    };
    output::table(&columns, report.neighbours.iter().map(row))
}

fn health(report: &HealthReport) -> String {
    let mut lines = vec![
        format!("state      {}", report.state.label()),
        format!("version    {}", report.version),
        format!("uptime     {} s", count(report.uptime_seconds)),
        format!("workers    {}", report.workers),
        format!("snapshot   {}", report.snapshot_version),
        format!("routes     {}", count(report.routes)),
        format!("overruns   {} of netlink", count(report.netlink_overruns)),
        format!("resyncs    {} of netlink", count(report.netlink_resyncs)),
        format!("overflows  {} of tables", count(report.table_overflows)),
    ];
    lines.extend(report.troubles.iter().map(|trouble| format!("trouble    {trouble}")));
    lines.join("\n")
}

/// Routes as they come, page by page: a full table is never in memory at once.
fn routes(
    client: &Client,
    prefix: Option<IpNet>,
    covers: Option<IpAddr>,
    limit: Option<usize>,
    json: bool,
) -> anyhow::Result<()> {
    let limit = limit.unwrap_or(usize::MAX);
    let page = limit.clamp(1, RouteQuery::LIMIT_MAX);
    let query = RouteQuery { prefix, covers, after: None, limit: page };
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    let mut written = 0;
    let mut outcome: anyhow::Result<()> = Ok(());
    if json {
        write!(stdout, "{{\"routes\":[")?;
    }
    client.each_route(query, |route| {
        if written == limit {
            return false;
        }
        outcome = write_route(&mut stdout, &route, written == 0, json);
        written += 1;
        outcome.is_ok()
    })?;
    outcome?;
    if json {
        writeln!(stdout, "]}}")?;
    } else if written == 0 && limit > 0 {
        writeln!(std::io::stderr(), "no route matches")?;
    }
    stdout.flush()?;
    Ok(())
}

fn write_route(
    out: &mut impl Write,
    route: &RouteReport,
    first: bool,
    json: bool,
) -> anyhow::Result<()> {
    if json {
        let comma = if first { "" } else { "," };
        write!(out, "{comma}\n{}", serde_json::to_string(route)?)?;
        return Ok(());
    }
    let next_hop = |at: &linecard_observe::NextHopReport| {
        let via = at.gateway.map_or(String::new(), |gateway| format!("via {gateway} "));
        let weight = if route.next_hops.len() > 1 {
            format!(" weight {}", at.weight)
        } else {
            String::new()
        };
        format!("{via}on {}{weight}", at.interface)
    };
    let next_hops: Vec<String> = route.next_hops.iter().map(next_hop).collect();
    if first {
        write_columns(out, "prefix", "kind", "next hops")?;
    }
    write_columns(out, &route.prefix.to_string(), route.kind.label(), &next_hops.join(", "))?;
    Ok(())
}

/// Fixed widths: the longest prefix there can be is not known before the last page.
fn write_columns(
    out: &mut impl Write,
    prefix: &str,
    kind: &str,
    next_hops: &str,
) -> std::io::Result<()> {
    writeln!(out, "{}", format!("{prefix:<30} {kind:<9} {next_hops}").trim_end())
}
