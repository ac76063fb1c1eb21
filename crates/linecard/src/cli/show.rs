//! `linecard show …`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use linecard_services::connection;

use super::{Daemon, address_or_prefix, prefix};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The same as behind the noun
    #[arg(id = "socket", long = "socket", value_name = "PATH", global = true, hide = true)]
    _socket: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: ShowCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShowCommand {
    /// Ports and their packets
    #[command(after_help = "\
Examples:
  linecard show ports
  linecard show ports --watch
  linecard show ports --json | jq '.ports[] | {name, received_packets, sent_packets}'")]
    Ports {
        #[command(flatten)]
        daemon: Daemon,
        /// Ask again every so many seconds, 1 to 3600, and show rates; ends with Ctrl-C
        #[arg(
            long,
            value_name = "SECONDS",
            num_args = 0..=1,
            default_missing_value = "1",
            value_parser = clap::value_parser!(u32).range(1..=3600)
        )]
        watch: Option<u32>,
    },
    /// Routes, as the packet path uses them
    #[command(after_help = "\
Examples:
  linecard show routes --covers 192.0.2.7     which routes match, the last one wins
  linecard show routes --prefix 10.0.0.0/8    this prefix and those inside it
  linecard show routes --json | jq '.routes | length'")]
    Routes {
        #[command(flatten)]
        daemon: Daemon,
        /// Only this prefix and the more specific ones inside it
        #[arg(long, value_parser = prefix)]
        prefix: Option<IpNet>,
        /// Only prefixes that contain this address
        #[arg(long, value_name = "ADDRESS")]
        covers: Option<std::net::IpAddr>,
        /// Routes at the most [default: all]
        #[arg(long, value_name = "NUMBER")]
        limit: Option<usize>,
    },
    /// Neighbours, to which packets are sent
    #[command(after_help = "\
Examples:
  linecard show neighbours
  linecard show neighbours --json | jq '.neighbours[] | select(.state == \"unresolved\")'")]
    Neighbours {
        #[command(flatten)]
        daemon: Daemon,
    },
    /// Filters, their rules, and what each has counted
    #[command(after_help = "\
Examples:
  linecard show filters
  linecard show filters edge
  linecard show filters --json | jq '.filters[].rules[] | select(.packets > 0)'")]
    Filters {
        #[command(flatten)]
        daemon: Daemon,
        /// Only this filter [default: all]
        name: Option<String>,
    },
    /// What may reach the router itself, by class, and what was too much
    #[command(after_help = "\
Examples:
  linecard show protection
  linecard show protection --all
  linecard show protection --json | jq '.ports[].classes[] | select(.dropped_packets > 0)'")]
    Protection {
        #[command(flatten)]
        daemon: Daemon,
        /// Also the classes of which nothing came
        #[arg(long)]
        all: bool,
    },
    /// Connections that are tracked: how many in each state, and which
    #[command(after_help = "\
Examples:
  linecard show connections
  linecard show connections --source 192.0.2.0/24 --state established
  linecard show connections --limit 0 --json | jq .summary.counters

Addresses are those of the side that began; in answers they are exchanged.")]
    Connections {
        #[command(flatten)]
        daemon: Daemon,
        /// Only those begun from this address or prefix
        #[arg(long, value_parser = address_or_prefix)]
        source: Option<IpNet>,
        /// Only those begun to this address or prefix
        #[arg(long, value_parser = address_or_prefix)]
        destination: Option<IpNet>,
        /// Only those in this state
        #[arg(long, value_parser = PossibleValuesParser::new(connection::states()))]
        state: Option<String>,
        /// Connections at the most; 0 for the summary alone
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
    },
    /// Policers, and what each has counted by colour
    #[command(after_help = "\
Examples:
  linecard show policers
  linecard show policers icmp
  linecard show policers --json | jq '.policers[] | select(.dropped_packets > 0)'

Green packets are within the committed rate, red ones above all rates: those are dropped as `policed`.")]
    Policers {
        #[command(flatten)]
        daemon: Daemon,
        /// Only this policer [default: all]
        name: Option<String>,
    },
    /// Why packets were dropped or handed to the kernel
    #[command(after_help = "\
Examples:
  linecard show drops
  linecard show drops --all")]
    Drops {
        #[command(flatten)]
        daemon: Daemon,
        /// Also the reasons that never happened
        #[arg(long)]
        all: bool,
    },
    /// Whether the daemon is well
    #[command(after_help = "\
Examples:
  linecard show health
  linecard show health > /dev/null || systemctl status linecard

The exit status is 0 when the daemon is well and 1 when it is not, or does not answer.")]
    Health {
        #[command(flatten)]
        daemon: Daemon,
    },
}
