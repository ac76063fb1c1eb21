//! What can be said on the command line.

mod show;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use ipnet::IpNet;
use linecard_control::config::{PATH_DEFAULT, SOCKET_DEFAULT};
use tracing_subscriber::filter::{LevelFilter, Targets};

pub(crate) use self::show::{ShowArgs, ShowCommand};

/// A network processor for routers: forwards the transit traffic of a Linux router beside its
/// kernel, and falls back to the kernel.
#[derive(Debug, Parser)]
#[command(name = "linecard", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Write results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to log to stderr: error, warn, info, debug, trace, or per crate as
    /// `info,linecard_control=debug`
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "LINECARD_LOG",
        default_value = "info",
        hide_default_value = true,
        value_parser = log_filter
    )]
    pub(crate) log: Targets,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Reads a filter; a bare word is a level, since one that was meant to be would log nothing.
fn log_filter(text: &str) -> Result<Targets, String> {
    let filter: Targets = text.parse().map_err(|error| format!("{error}"))?;
    let is_target = |word: &str| {
        word.contains('=') || word.contains("::") || word.starts_with(env!("CARGO_PKG_NAME"))
    };
    let words = text.split(',').map(str::trim);
    match words.into_iter().find(|word| !is_target(word) && word.parse::<LevelFilter>().is_err()) {
        Some(word) => Err(format!("`{word}` is no level: error, warn, info, debug, trace or off")),
        None => Ok(filter),
    }
}

/// Reads a prefix; host bits that are set are more likely a mistake than meant to be ignored.
fn prefix(text: &str) -> Result<IpNet, String> {
    let prefix: IpNet = text.parse().map_err(|error| format!("{error}"))?;
    match prefix.trunc() {
        network if network == prefix => Ok(prefix),
        network => {
            Err(format!("it has bits set behind its prefix length: did you mean {network}?"))
        }
    }
}

/// Reads a prefix, or an address as the prefix of one host.
fn address_or_prefix(text: &str) -> Result<IpNet, String> {
    text.parse::<std::net::IpAddr>().map_or_else(|_| prefix(text), |address| Ok(address.into()))
}

const EXAMPLES: &str = "\
Examples:
  linecard demo                              see it work
  linecard run --port eth0 --port eth1       forward between two interfaces
  linecard show drops                        see why packets did not go on
  linecard trace --dropped                   see it packet by packet
  linecard replay in.pcap --output out.pcap  forward a capture, without privileges

Exit status: 0 done, 1 failed (of `show health` also: the daemon is not well), 2 not understood.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Forward packets until SIGINT or SIGTERM
    #[command(after_help = "\
Examples:
  linecard run --port eth0 --port eth1
  linecard run --config /etc/linecard/linecard.toml

Routes, neighbours and addresses are the kernel's; on exit the kernel forwards on.")]
    Run(RunArgs),
    /// Check a configuration and say what it would do
    #[command(after_help = "\
Examples:
  linecard check
  linecard check new.toml && mv new.toml /etc/linecard/linecard.toml

Prints the first mistake of form (syntax, unknown key, wrong type), else every mistake of value,
each with its line and column; the exit status is 1 if there is any.")]
    Check(CheckArgs),
    /// Forward captures: pcap in, pcap out, no privileges
    #[command(after_help = "\
Examples:
  linecard replay --config replay.toml
  linecard replay in.pcap --output out.pcap

Time is taken from the captures. Without --config the router is the station to which the first
frame of IN is addressed, and everything is routed to one gateway behind OUT.")]
    Replay(ReplayArgs),
    /// Ask the running daemon
    #[command(after_help = "\
Examples:
  linecard show ports --watch
  linecard show filters
  linecard show drops --json")]
    Show(ShowArgs),
    /// Make the running daemon read its configuration again: filters, sets, policers
    /// and checks of sources
    #[command(after_help = "\
Examples:
  linecard check && linecard reload
  linecard reload --set customers             one set, by its own file
  linecard reload --json | jq .live_microseconds

Nothing is changed when anything in the file is wrong, or when something that differs takes a
restart, which is named then: exit status 1. Counters of rules that stay go on.")]
    Reload {
        #[command(flatten)]
        daemon: Daemon,
        /// Read only the file of this set again
        #[arg(long, value_name = "NAME")]
        set: Option<String>,
    },
    /// See what each stage does with the next packets, and which rule, route or policer decides
    #[command(after_help = "\
Examples:
  linecard trace --dropped                           why are packets dropped?
  linecard trace tcp destination-port 443 --count 1  the match language is that of filters
  linecard trace source 192.0.2.0/24 --port eth1 --timeout 10 --json | jq .summary

The exit status is 1 when no packet came. While a trace runs the route cache stands aside. Packets that
the classifier leaves to the kernel are not seen; `linecard explain` tells of them.")]
    Trace(TraceArgs),
    /// See what would happen to an imagined packet
    #[command(after_help = "\
Examples:
  linecard explain 192.0.2.1 → 198.51.100.9 tcp/443 in eth1
  linecard explain '192.0.2.1 -> 198.51.100.9 udp/53 source-port 53 ttl 3 in eth1'
  linecard explain 2001:db8::1 to 2001:db8::2 icmpv6/128 length 1400 dscp 46 vlan 100 in eth1
  linecard explain --port eth1 --frame 02000000000102...

What can be said: tcp/PORT, udp/PORT, icmp/TYPE/CODE, icmpv6/TYPE/CODE or protocol/NUMBER, and behind
`in`, `ttl`, `dscp`, `vlan`, `length`, `source-port`, `destination-port`, `icmp-type`, `icmp-code` and
`tcp-flags` (syn+ack) a value, by the names that filters have. A shell takes -> for something else:
quote it. Nothing is sent, counted or charged; policers are asked as if their buckets were full.")]
    Explain(ExplainArgs),
    /// Write the next packets as pcapng, with what became of each as its comment
    #[command(after_help = "\
Examples:
  linecard capture --dropped -w dropped.pcapng
  linecard capture udp destination-port 53 --count 100 -w - | tshark -r - -T fields -e frame.comment
  linecard capture -w - | wireshark -k -i -

Packets are as they were received. What was forwarded, punted or dropped, and by what, stands in the
packet comments.")]
    Capture(CaptureArgs),
    /// Show Linecard at work: on network namespaces as root, else in memory
    #[command(after_help = "\
Examples:
  sudo linecard demo
  linecard demo")]
    Demo(crate::demo::Args),
    /// Measure the packet path in memory, on one core, without privileges
    #[command(after_help = "\
Examples:
  linecard bench --list                       what can be measured
  linecard bench ipv4-1m 'ipv6*'              some cases, by name or pattern
  linecard bench --prefixes table.txt.gz      a real table, one prefix a line
  linecard bench --json --plot bench.svg > bench.json
  linecard bench --cores-for 1.2Tbps          cores for 1.2 Tb/s each way of IMIX
  linecard bench --workers 2 ipv4-1k          two workers against one

Cycles are those of the time-stamp counter, generator and sink left out. Every packet is checked
after it has come out; the exit status is 1 if one is wrong or missing.")]
    Bench(crate::bench::Args),
    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  linecard completions bash > /etc/bash_completion.d/linecard
  linecard completions zsh > ~/.zfunc/_linecard
  linecard completions fish > ~/.config/fish/completions/linecard.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write man pages, one a command
    #[command(after_help = "\
Examples:
  linecard man /usr/local/share/man/man1")]
    Man {
        /// Directory to write them to; made if it is not there
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration file [default: /etc/linecard/linecard.toml]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// A kernel interface to serve, in place of a configuration file; may be repeated
    #[arg(long, value_name = "INTERFACE", conflicts_with = "config")]
    pub(crate) port: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The file
    #[arg(
        default_value = PATH_DEFAULT,
        value_hint = ValueHint::FilePath
    )]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["config", "input"]))]
pub(crate) struct ReplayArgs {
    /// Configuration file with pcap ports
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// The capture to read, in place of a configuration file
    #[arg(value_name = "IN", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,
    /// The capture to write; its name ends in .pcap or .pcapng
    #[arg(
        long,
        short,
        visible_alias = "out",
        value_name = "OUT",
        requires = "input",
        conflicts_with = "config",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) output: Option<PathBuf>,
}

/// Which packets are meant.
#[derive(Debug, Args)]
pub(crate) struct TapArgs {
    #[command(flatten)]
    pub(crate) daemon: Daemon,
    /// Which packets, in the match language of filters [default: all]
    #[arg(value_name = "MATCH")]
    pub(crate) condition: Vec<String>,
    /// Only packets that come in by this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<String>,
    /// Only packets that are dropped
    #[arg(long)]
    pub(crate) dropped: bool,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) tap: TapArgs,
    /// End after so many packets
    #[arg(
        long,
        short = 'n',
        value_name = "NUMBER",
        default_value = "10",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) count: u64,
}

#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    pub(crate) tap: TapArgs,
    /// The file to write, or - for stdout
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) write: PathBuf,
    /// Write what rules of filters with `sample` choose, the first 128 bytes of each packet
    #[arg(long, conflicts_with_all = ["condition", "port", "dropped", "snaplen"])]
    pub(crate) samples: bool,
    /// End after so many packets [default: go on]
    #[arg(
        long,
        short = 'n',
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub(crate) count: Option<u64>,
    /// Bytes of each packet at the most [default: all]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) snaplen: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) daemon: Daemon,
    /// The packet: SOURCE → DESTINATION, and what else is to be said of it
    #[arg(value_name = "PACKET", required_unless_present = "frame")]
    pub(crate) packet: Vec<String>,
    /// The port it comes in by, where the packet does not say it
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<String>,
    /// The whole frame in hexadecimal digits; a destination MAC address of zeroes is the router's
    #[arg(long, value_name = "HEX", conflicts_with = "packet", requires = "port")]
    pub(crate) frame: Option<String>,
}

/// How to reach the daemon.
#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// The daemon's socket
    #[arg(
        long,
        value_name = "PATH",
        env = "LINECARD_SOCKET",
        default_value = SOCKET_DEFAULT,
        value_hint = ValueHint::FilePath
    )]
    pub(crate) socket: PathBuf,
}

#[cfg(test)]
mod tests;
