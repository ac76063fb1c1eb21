//! `linecard run`, the release binary.

use std::fs::File;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use linecard_api::Client;
use linecard_lab::{LabError, Namespace, Process, command_that_dies_with_us, wait_for};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// How its ports are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortMode {
    Native,
    Generic,
    Packet,
}

impl PortMode {
    fn keys(self) -> &'static str {
        match self {
            Self::Native => "kind = \"xdp\"\nxdp_mode = \"native\"\n",
            Self::Generic => "kind = \"xdp\"\nxdp_mode = \"generic\"\n",
            Self::Packet => "kind = \"packet\"\n",
        }
    }
}

/// A daemon on two ports of the router; dropping it ends it.
pub(crate) struct Daemon {
    process: Process,
    directory: TempDir,
}

impl Daemon {
    /// Starts it on interfaces of a namespace, with more `tables` in its configuration, and returns when
    /// it forwards.
    pub(crate) fn start(
        namespace: &Namespace,
        interfaces: &[&str],
        mode: PortMode,
        tables: &str,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("linecard.sock");
        let mut text = format!("{tables}[api]\nsocket = \"{}\"\n", socket.display());
        for interface in interfaces {
            text += &format!("[[port]]\nname = \"{interface}\"\n{}", mode.keys());
        }
        let config = directory.path().join("linecard.toml");
        std::fs::write(&config, text)?;
        let mut command = command_that_dies_with_us(env!("CARGO_BIN_EXE_linecard"));
        command.args(["run", "--config"]).arg(config).env("LINECARD_LOG", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(directory.path().join("log"))?);
        let process = namespace.spawn(command)?;
        let mut daemon = Self { process, directory };
        let client = Client::new(&socket);
        let forwards =
            wait_for("the daemon answer", DEADLINE, || match daemon.process.exit_status()? {
                Some(status) => Err(LabError::invalid("run linecard", format!("{status}"))),
                None => Ok(client.health().is_ok()),
            });
        forwards.with_context(|| daemon.log())?;
        if client.ports().is_err() {
            bail!("the daemon does not tell its ports");
        }
        Ok(daemon)
    }

    /// Its process id.
    #[allow(dead_code, reason = "for the bench that measures its CPU time")]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.process.terminate(DEADLINE) {
            eprintln!("{error}\n{}", self.log());
        }
    }
}
