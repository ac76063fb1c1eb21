//! The configuration file, in three steps: text (what serde reads, unknown keys refused) →
//! resolved (checked, defaults filled, what the daemon uses) → facts (what the tables are told of
//! ports that the kernel does not know).
//!
//! A file is taken whole or refused whole, with every mistake in one answer: [`Errors`].

mod document;
mod edit;
mod error;
mod filters;
mod limits;
mod resolve;
mod resolved;
mod source;
mod static_facts;
mod text;
mod warnings;

use std::io;
use std::path::Path;

pub use document::{Document, SetError};
pub use error::{Error, Errors, Place, Warning};
pub use filters::{ConfiguredFilter, ConfiguredRule, Filters, SetFile};
pub use resolved::{
    Api, Config, Connections, ConnectionsMode, InterfaceRef, KernelDriver, KernelPort, Marker,
    MartianFilter, Memory, PolicePer, PoliceUnit, Policer, Port, PortKind, PortServices, Punt,
    ReversePath, RouteAction, RouteCacheMode, Router, StaticInterface, StaticNeighbour,
    StaticNextHop, StaticPort, StaticRoute, Tables, TransmitMode, VlanTag, Workers, XdpMode,
    ZeroCopy,
};

pub use static_facts::StaticFacts;

/// Where the configuration lies when nothing else is said.
pub const PATH_DEFAULT: &str = "/etc/linecard/linecard.toml";

/// Where the API's socket lies when nothing else is said.
pub const SOCKET_DEFAULT: &str = "/run/linecard.sock";

/// Reads and checks the file at `path`.
///
/// # Errors
/// The file cannot be read, or something in it is wrong.
pub fn load(path: &Path) -> Result<Config, Errors> {
    let text = std::fs::read_to_string(path).map_err(|error| Errors::unreadable(path, &error))?;
    parse_with(&text, path, |path| std::fs::read_to_string(path))
}

/// Checks `text`, the content of the file at `path`, and fills in defaults.
///
/// Reads no file: `path` is what errors name and what relative paths of captures start from. Sets in
/// files of their own are refused; see [`parse_with`].
///
/// # Errors
/// As [`parse_with`].
pub fn parse(text: &str, path: &Path) -> Result<Config, Errors> {
    parse_with(text, path, |_| Err(io::Error::other("no other file is read here")))
}

/// As [`parse`]; `read` gives the text of the files that hold sets.
///
/// # Errors
/// Mistakes in the TOML syntax or an unknown key, one at a time; else everything that is wrong
/// with the values, at once and in the order of the file, and then what is wrong in files of sets.
pub fn parse_with(
    text: &str,
    path: &Path,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Result<Config, Errors> {
    let mut config = judge(text, path, &read)?;
    config.warnings = warnings::of(&config, text, path);
    Ok(config)
}

/// As [`parse_with`], without warnings.
fn judge(
    text: &str,
    path: &Path,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Config, Errors> {
    match toml::from_str::<text::File>(text) {
        Err(error) => Err(Errors::new(path, vec![Error::from_toml(text, &error)])),
        Ok(file) => resolve::resolve(&file, text, path, read),
    }
}

/// The configuration of `linecard run --port …`: these kernel interfaces, all else by default.
///
/// # Errors
/// As [`parse`], of the file that would say the same.
pub fn of_kernel_ports(names: &[String]) -> Result<Config, Errors> {
    let port = |name: &String| {
        let quoted = toml::Value::String(name.clone());
        format!("[[port]]\nname = {quoted}\n")
    };
    let text: String = names.iter().map(port).collect();
    parse(&text, Path::new("--port"))
}
