//! What is kept of connections.

use linecard_services::connection::ConnectionConfig;

/// Which connections are tracked, how many and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// Whether any are.
    pub mode: ConnectionsMode,
    /// The tables' sizes, limits and timeouts.
    pub table: ConnectionConfig,
}

/// Whether connections are tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionsMode {
    /// Where a port's filter has a rule that asks for states.
    #[default]
    Auto,
    /// In any case.
    On,
}
