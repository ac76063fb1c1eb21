//! Linecard as a process of its own, in the router's namespace.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use linecard_api::{Client, ClientError};
use linecard_lab::{Namespace, Process};
use linecard_observe::PortsReport;
use rustix::fs::{Mode, OFlags};
use tempfile::TempDir;

use crate::demo::act::Scene;

/// How long Linecard may take to forward; it takes a tenth of a second on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running Linecard; dropping it kills it.
pub(super) struct Router {
    process: Process,
    log: File,
    /// Where the socket and the configuration lie, until Linecard answers.
    directory: Option<TempDir>,
    client: Client,
    /// Keeps the socket reachable when its name is gone.
    _socket: Option<OwnedFd>,
}

impl Router {
    /// Starts this program once more, as the router of `namespace` on the interfaces `ports`.
    pub(super) fn start(namespace: &Namespace, ports: &[&str]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("linecard-demo-")
            .tempdir()
            .context("make a directory for the router's socket")?;
        let (socket, config) = (socket_in(&directory), directory.path().join("linecard.toml"));
        std::fs::write(&config, configuration(&socket, ports)?)
            .with_context(|| format!("write {}", config.display()))?;
        let log = tempfile::tempfile().context("make a file for the router's log")?;
        // The binary that runs, even if the file was replaced in the meantime.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("linecard").args(["--log", "warn", "demo", "--router"]).arg(&config);
        command.args(["--parent", &std::process::id().to_string()]);
        // ^C in the terminal is for the demo, which then ends the router.
        command.process_group(0);
        command.env_remove("LINECARD_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        let process = namespace.spawn(command)?;
        let client = Client::new(&socket);
        Ok(Self { process, log, directory: Some(directory), client, _socket: None })
    }

    /// Waits until it answers, which it does once its workers forward.
    pub(super) fn wait_ready(&mut self, scene: &Scene<'_>) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            scene.interrupt.check()?;
            match self.client.health() {
                Ok(_) => return self.hold_socket(),
                Err(ClientError::NoDaemon(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.process.exit_status()? {
                bail!("Linecard ended ({status}) before it forwarded: {}", self.log_text()?);
            }
            if Instant::now() >= deadline {
                bail!("Linecard does not forward after {START_TIMEOUT:?}: {}", self.log_text()?);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Keeps the socket by an open file and lets its directory go, so that nothing is left in the
    /// file system however the demo ends.
    fn hold_socket(&mut self) -> anyhow::Result<()> {
        let Some(directory) = self.directory.take() else { return Ok(()) };
        let socket = rustix::fs::open(socket_in(&directory), OFlags::PATH, Mode::empty())
            .context("open the router's socket")?;
        self.client = Client::new(Path::new(&format!("/proc/self/fd/{}", socket.as_raw_fd())));
        self._socket = Some(socket);
        directory.close().context("remove the directory of the router's socket")
    }

    /// What it counted.
    pub(super) fn ports(&self) -> anyhow::Result<PortsReport> {
        Ok(self.client.ports()?)
    }

    /// SIGKILL, and waits until it is gone.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        Ok(())
    }

    fn log_text(&mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        self.log.rewind()?;
        self.log.read_to_string(&mut text)?;
        Ok(text.trim_end().to_owned())
    }
}

fn socket_in(directory: &TempDir) -> PathBuf {
    directory.path().join("linecard.sock")
}

/// What a user would write to serve these ports.
fn configuration(socket: &Path, ports: &[&str]) -> anyhow::Result<String> {
    let socket = socket.to_str().context("the temporary directory's name is no UTF-8")?;
    // JSON and TOML quote strings alike.
    let mut text = format!("[api]\nsocket = {}\n", serde_json::to_string(socket)?);
    for name in ports {
        text += &format!("[[port]]\nname = {}\n", serde_json::to_string(name)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_right_whatever_the_directory_is_called() {
        let socket = Path::new("/tmp/a \"b\" \\ c/linecard.sock");
        let text = configuration(socket, &["to-client", "to-server-a"]).expect("UTF-8");
        let config = linecard_control::config::parse(&text, Path::new("x.toml")).expect(&text);
        assert_eq!(config.api.socket, socket);
        assert_eq!(config.ports.len(), 2);
    }
}
