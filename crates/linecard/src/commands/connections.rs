//! `linecard show connections`.

use linecard_api::Client;
use linecard_observe::{
    ConnectionQuery, ConnectionReport, ConnectionStateReport, ConnectionSummary,
};

use crate::output::{self, Column, count};

/// Prints the summary, and `limit` connections of those that `query` asks for.
pub(super) fn show(
    client: &Client,
    query: ConnectionQuery,
    limit: usize,
    json: bool,
) -> anyhow::Result<()> {
    let report = client.connections_up_to(query, limit)?;
    if json {
        return output::json(&report);
    }
    let Some(summary) = &report.summary else {
        return output::line(
            "no connections are tracked: no filter of a port asks for `state`, and [connections] does not say \
             mode = \"on\"",
        );
    };
    output::line(&of_all(summary))?;
    if !report.connections.is_empty() {
        output::line(&format!("\n{}", table(&report.connections)))?;
    }
    let more = report.next.map(|_| format!("\n… and maybe more: these are {limit}, see --limit"));
    more.map_or(Ok(()), |more| output::line(&more))
}

fn of_all(summary: &ConnectionSummary) -> String {
    let family = |name: &str, there: usize, max: usize| {
        format!("{name:<13} {}, room for {} and more", count(there as u64), count(max as u64))
    };
    let mut lines = vec![
        family("IPv4", summary.ipv4, summary.ipv4_max),
        family("IPv6", summary.ipv6, summary.ipv6_max),
    ];
    if summary.per_source_max > 0 {
        let max = count(summary.per_source_max as u64);
        lines.push(format!("{:<13} {max} at the most", "per source"));
    }
    lines.push(format!("{:<13} {} MiB", "memory", summary.memory_bytes >> 20));
    let columns = [
        Column::Text("protocol"),
        Column::Text("state"),
        Column::Number("IPv4"),
        Column::Number("IPv6"),
    ];
    let row = |at: &ConnectionStateReport| {
        let number = |connections: usize| count(connections as u64);
        vec![at.protocol.clone(), at.state.clone(), number(at.ipv4), number(at.ipv6)]
    };
    let states = summary.states.iter().filter(|at| at.ipv4 + at.ipv6 > 0).map(row);
    let states = output::table(&columns, states);
    let columns = [Column::Text("since the start"), Column::Number("count")];
    let counters = summary.counters.iter().map(|(name, times)| vec![name.clone(), count(*times)]);
    format!("{}\n\n{states}\n\n{}", lines.join("\n"), output::table(&columns, counters))
}

fn table(connections: &[ConnectionReport]) -> String {
    let columns = [
        Column::Text("protocol"),
        Column::Text("source"),
        Column::Text("destination"),
        Column::Text("state"),
        Column::Number("idle s"),
        Column::Number("timeout s"),
    ];
    let end = |address: std::net::IpAddr, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    };
    let row = |it: &ConnectionReport| {
        let query = it.icmp_type.zip(it.icmp_identifier);
        let query = query.map(|(kind, identifier)| format!(" type {kind} identifier {identifier}"));
        vec![
            it.protocol.clone(),
            end(it.source, it.source_port),
            end(it.destination, it.destination_port),
            format!("{}{}", it.state, query.unwrap_or_default()),
            count(it.idle_seconds),
            count(it.timeout_seconds),
        ]
    };
    output::table(&columns, connections.iter().map(row))
}
