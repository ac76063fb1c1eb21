//! What a daemon is started with.

use std::path::Path;

use linecard_lab::RouterTopology;

use super::take_redirects;

/// How the ports of a test are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortMode {
    /// AF_XDP, with the program in the driver.
    Native,
    /// AF_XDP, with the program in the kernel's generic path.
    Generic,
    /// AF_PACKET.
    Packet,
    /// As native, and the peers take redirected frames, so that the route cache is in use.
    Redirected,
}

impl PortMode {
    /// All of them, for tests that hold for each.
    pub const ALL: [Self; 4] = [Self::Native, Self::Generic, Self::Packet, Self::Redirected];

    /// The keys of a `[[port]]`.
    pub fn keys(self) -> &'static str {
        match self {
            Self::Native | Self::Redirected => "kind = \"xdp\"\nxdp_mode = \"native\"\n",
            Self::Generic => "kind = \"xdp\"\nxdp_mode = \"generic\"\n",
            Self::Packet => "kind = \"packet\"\n",
        }
    }

    /// The `kind` and the `mode` that `show ports` should name.
    pub fn shown(self) -> (&'static str, &'static str) {
        match self {
            Self::Native | Self::Redirected => ("xdp", "native copy"),
            Self::Generic => ("xdp", "generic copy"),
            Self::Packet => ("packet", ""),
        }
    }
}

/// A configuration to start a daemon with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Kernel interfaces and how each is served.
    pub ports: Vec<(String, PortMode)>,
    /// More keys of a port, by its name.
    pub port_keys: Vec<(String, String)>,
    /// More of the file, whole tables: `[workers]`, `[punt]` … but `[api]`.
    pub tables: String,
    /// The log filter.
    pub log: &'static str,
}

impl Options {
    /// All `ports` in the same mode.
    pub fn new(ports: &[&str], mode: PortMode) -> Self {
        let ports = ports.iter().map(|port| ((*port).to_owned(), mode)).collect();
        Self { ports, port_keys: Vec::new(), tables: String::new(), log: "info" }
    }

    /// The three ports of the router of a topology, in the same mode.
    pub fn of_router(topology: &RouterTopology, mode: PortMode) -> Self {
        if mode == PortMode::Redirected {
            take_redirects(topology, true);
        }
        Self::new(&topology.router_ports().map(|port| port.interface), mode)
    }

    /// Adds tables to the file.
    #[must_use]
    pub fn tables(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self
    }

    /// Adds keys to a port.
    #[must_use]
    pub fn port_keys(mut self, port: &str, keys: &str) -> Self {
        self.port_keys.push((port.to_owned(), keys.to_owned()));
        self
    }

    /// The configuration file, with the API's socket at `socket`.
    pub fn text(&self, socket: &Path) -> String {
        let mut text = format!("[api]\nsocket = \"{}\"\n{}\n", socket.display(), self.tables);
        for (name, mode) in &self.ports {
            text += &format!("[[port]]\nname = \"{name}\"\n{}", mode.keys());
            let keys = self.port_keys.iter().filter(|(port, _)| port == name);
            keys.for_each(|(_, keys)| text += keys);
        }
        text
    }
}
