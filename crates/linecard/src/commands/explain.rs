//! `linecard explain`: what would happen to an imagined packet.

mod imagine;

use std::process::ExitCode;

use anyhow::Context;
use linecard_api::Client;
use linecard_observe::ExplainQuery;
use linecard_observe::trace::{from_hex, to_hex};

use self::imagine::Imagined;
use super::trace::packet_lines;
use crate::cli::ExplainArgs;
use crate::output;

/// Asks, and prints the answer.
pub(crate) fn run(args: &ExplainArgs, json: bool) -> anyhow::Result<ExitCode> {
    let (frame, port) = match &args.frame {
        Some(frame) => (from_hex(frame).context("--frame takes hexadecimal digits")?, None),
        None => {
            let packet = Imagined::of(&args.packet)?;
            (packet.frame()?, packet.port)
        }
    };
    let client = Client::new(&args.daemon.socket);
    let Some(port) = port.or_else(|| args.port.clone()) else {
        let names = client.ports()?.ports.into_iter().map(|port| port.name);
        let names = names.collect::<Vec<_>>().join(", ");
        anyhow::bail!("say by which port it comes in: `in` and one of {names}");
    };
    let report = client.explain(&ExplainQuery { port, frame: to_hex(&frame) })?;
    if json {
        output::json(&report)?;
    } else {
        output::line(&packet_lines(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}
