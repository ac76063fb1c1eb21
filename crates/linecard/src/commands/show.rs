//! `linecard show`: asks the running daemon.

mod policers;

use std::io::Write;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use ipnet::IpNet;
use linecard_api::Client;
use linecard_observe::{
    ClassReport, ConnectionQuery, DropsReport, FilterReport, FiltersReport, HealthReport,
    HealthState, NeighboursReport, PortReport, PortsReport, ProtectionReport, ReasonReport,
    RouteCacheState, RouteQuery, RouteReport, RuleReport, route_cache,
};

use linecard_packet::PortTotals;

use super::{connections, watch};
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
        ShowCommand::Protection { daemon, all } => {
            let report = asked(daemon).protection()?;
            if json { output::json(&report)? } else { output::line(&protection(&report, all))? }
        }
        ShowCommand::Filters { daemon, name } => {
            let mut report = asked(daemon).filters()?;
            if let Some(name) = name {
                report.filters.retain(|filter| filter.name == name);
                ensure!(!report.filters.is_empty(), "there is no filter `{name}`");
            }
            if json { output::json(&report)? } else { output::line(&filters(&report))? }
        }
        ShowCommand::Connections { daemon, source, destination, state, limit } => {
            let query =
                ConnectionQuery { source, destination, state, ..ConnectionQuery::default() };
            connections::show(&asked(daemon), query, limit, json)?;
        }
        ShowCommand::Policers { daemon, name } => {
            let mut report = asked(daemon).policers()?;
            if let Some(name) = name {
                report.policers.retain(|policer| policer.name == name || policer.title() == name);
                ensure!(!report.policers.is_empty(), "there is no policer `{name}`");
            }
            if json { output::json(&report)? } else { output::line(&policers::text(&report))? }
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
        Column::Text("route cache"),
        Column::Number("received"),
        Column::Number("bytes"),
        Column::Number("sent"),
        Column::Number("bytes"),
        Column::Number("queued"),
        Column::Number("redirected"),
        Column::Number("dropped"),
        Column::Number("bytes"),
        Column::Number("punted"),
        Column::Number("bytes"),
    ];
    let counts = |totals: &PortTotals| {
        [
            totals.received_packets,
            totals.received_bytes,
            totals.sent_packets,
            totals.transmitted_bytes,
            totals.queued_packets,
            totals.redirected_packets,
            totals.dropped_packets.sum(),
            totals.dropped_bytes.sum(),
            totals.punted_packets.sum(),
            totals.punted_bytes.sum(),
        ]
        .map(count)
    };
    let row = |port: &PortReport| {
        let mut row = vec![port.name.clone(), port.kind.clone(), port.mode.clone()];
        row.push(port.state.label().to_owned());
        row.push(port.route_cache.as_ref().map_or("-", |at| at.state.text()).to_owned());
        row.extend(counts(&port.totals));
        row
    };
    let mut total = vec![String::new(); 5];
    "total".clone_into(&mut total[0]);
    total.extend(counts(&report.total));
    let table = output::table(&columns, report.ports.iter().map(row).chain([total]));
    let part = |port: &PortReport| Some((port.name.clone(), port.route_cache.clone()?));
    let lines = route_cache::explain(report.ports.iter().filter_map(part)).into_iter();
    let lines = lines.map(|line| format!("route cache: {line}"));
    let lines: Vec<String> = report.ports.iter().filter_map(own_packets).chain(lines).collect();
    match lines.is_empty() {
        true => table,
        false => format!("{table}\n\n{}", lines.join("\n")),
    }
}

/// What a port sent besides plain forwarding, if anything: packets of Linecard's own, and forwarding classes.
fn own_packets(port: &PortReport) -> Option<String> {
    let PortTotals { originated_packets, class_packets, .. } = &port.totals;
    let own = originated_packets.iter().filter(|(_, packets)| *packets > 0);
    let own = own.map(|(origin, packets)| format!("{origin} {}", count(packets)));
    let classes = (0..).zip(class_packets).filter(|(class, packets)| *class > 0 && **packets > 0);
    let classes = classes.map(|(class, packets)| format!("class {class} {}", count(*packets)));
    let parts: Vec<String> = own.chain(classes).collect();
    (!parts.is_empty()).then(|| format!("{} sent, among others: {}", port.name, parts.join(", ")))
}

/// Bytes of a reason's packets, `-` where there are none known: the kernel counts packets only.
fn bytes(line: &ReasonReport) -> String {
    if line.packets > 0 && line.bytes == 0 { "-".to_owned() } else { count(line.bytes) }
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
            Column::Number("bytes"),
            Column::Text("ports"),
            Column::Text("meaning"),
        ];
        let row = |line: &&ReasonReport| {
            let ports = line.ports.iter().map(|at| format!("{} {}", at.port, count(at.packets)));
            let ports: Vec<String> = ports.collect();
            vec![
                line.reason.clone(),
                count(line.packets),
                bytes(line),
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
    if report.withheld.iter().any(|line| all || line.packets > 0) {
        parts.push(part("replies and copies that did not leave", "", &report.withheld));
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

/// A table a filter.
fn filters(report: &FiltersReport) -> String {
    if report.filters.is_empty() {
        return "there are no filters".to_owned();
    }
    let columns = [
        Column::Text("rule"),
        Column::Text("action"),
        Column::Number("packets"),
        Column::Number("bytes"),
        Column::Text("match"),
    ];
    let row = |rule: &RuleReport| {
        vec![
            rule.name.clone(),
            rule.action.clone(),
            count(rule.packets),
            count(rule.bytes),
            rule.condition.clone(),
        ]
    };
    let table = |filter: &FilterReport| {
        let at = |what: &str, ports: &[String]| match ports {
            [] => String::new(),
            ports => format!(", {what} of {}", ports.join(", ")),
        };
        let places = at("input", &filter.input_ports) + &at("output", &filter.output_ports);
        let places = places + if filter.at_router { ", what is for the router" } else { "" };
        let places = if places.is_empty() { ", attached nowhere".to_owned() } else { places };
        let table = output::table(&columns, filter.rules.iter().map(row));
        format!("filter {}{places}:\n{table}", filter.name)
    };
    report.filters.iter().map(table).collect::<Vec<_>>().join("\n\n")
}

/// The classes of each port as a table; without `all`, those of which something came.
fn protection(report: &ProtectionReport, all: bool) -> String {
    if report.ports.is_empty() {
        return "control-plane protection is off".to_owned();
    }
    let columns = [
        Column::Text("port"),
        Column::Text("class"),
        Column::Number("rate"),
        Column::Number("burst"),
        Column::Number("passed"),
        Column::Number("bytes"),
        Column::Number("dropped"),
        Column::Number("bytes"),
        Column::Text("meaning"),
    ];
    let rows = report.ports.iter().flat_map(|port| {
        let wanted = |class: &&ClassReport| all || class.passed_packets + class.dropped_packets > 0;
        port.classes.iter().filter(wanted).map(|class| {
            let limit = [class.rate_packets_per_second, class.burst_packets];
            let mut row = vec![port.port.clone(), class.class.clone()];
            row.extend(limit.map(|limit| count(limit.into())));
            row.extend([class.passed_packets, class.passed_bytes].map(count));
            row.extend([class.dropped_packets, class.dropped_bytes].map(count));
            row.push(class.description.clone());
            row
        })
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return "nothing has come for the kernel".to_owned();
    }
    output::table(&columns, rows)
}

fn health(report: &HealthReport) -> String {
    let mut lines = vec![
        ("state", report.state.label().to_owned()),
        ("version", report.version.clone()),
        ("uptime", format!("{} s", count(report.uptime_seconds))),
        ("workers", report.workers.to_string()),
        ("snapshot", report.snapshot_version.to_string()),
        ("routes", count(report.routes)),
        ("overruns", format!("{} of netlink", count(report.netlink_overruns))),
        ("resyncs", format!("{} of netlink", count(report.netlink_resyncs))),
        ("overflows", format!("{} of tables", count(report.table_overflows))),
    ];
    let on = report.route_cache.iter().filter(|at| at.report.state == RouteCacheState::On);
    let on: Vec<&str> = on.map(|at| at.port.as_str()).collect();
    lines.extend((!on.is_empty()).then(|| ("route cache", format!("on ({})", on.join(", ")))));
    let parts = report.route_cache.iter().map(|at| (at.port.clone(), at.report.clone()));
    lines.extend(route_cache::explain(parts).into_iter().map(|line| ("route cache", line)));
    lines.extend(report.troubles.iter().map(|trouble| ("trouble", trouble.clone())));
    let lines: Vec<String> =
        lines.into_iter().map(|(name, value)| format!("{name:<11}  {value}")).collect();
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
