//! Real routing daemons in a namespace: FRR and BIRD as routers run them.
//!
//! Each has its configuration, pid file, sockets and log in a temporary directory of its own, so
//! many of them live side by side and none meets a daemon of the host.

mod bird;
mod frr;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::wait::wait_for;

/// How long a daemon may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to clean up behind itself when asked to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bird,
    Frr,
}

/// A routing daemon; dropping it ends it.
#[derive(Debug)]
pub struct RoutingDaemon {
    kind: Kind,
    /// In the order in which they were started.
    processes: Vec<Process>,
    directory: TempDir,
}

impl RoutingDaemon {
    /// Starts BIRD 2 with this configuration and waits until it answers. Relative paths of
    /// `include` are files of [`RoutingDaemon::bird_with_files`].
    ///
    /// # Errors
    /// When it is not installed or does not take the configuration.
    pub fn bird(namespace: &Namespace, configuration: &str) -> Result<Self> {
        Self::bird_with_files(namespace, configuration, &[])
    }

    /// Starts BIRD 2 with this configuration and the files that it includes, as (name, text).
    ///
    /// # Errors
    /// When it is not installed or does not take the configuration.
    pub fn bird_with_files(
        namespace: &Namespace,
        configuration: &str,
        files: &[(&str, &str)],
    ) -> Result<Self> {
        let mut daemon = Self::new(Kind::Bird)?;
        for (name, text) in files {
            daemon.write(name, text)?;
        }
        bird::start(&mut daemon, namespace, configuration)?;
        Ok(daemon)
    }

    /// Starts FRR's zebra and bgpd, which share this configuration, and waits until they answer.
    ///
    /// # Errors
    /// When it is not installed or a program ends at once.
    pub fn frr(namespace: &Namespace, configuration: &str) -> Result<Self> {
        Self::frr_with(namespace, configuration, &[])
    }

    /// The same with other programs of FRR's besides, such as `ospfd`, each with a configuration of its own.
    ///
    /// # Errors
    /// Those of [`Self::frr`].
    pub fn frr_with(
        namespace: &Namespace,
        configuration: &str,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let mut daemon = Self::new(Kind::Frr)?;
        frr::start(&mut daemon, namespace, configuration, more)?;
        Ok(daemon)
    }

    /// Asks one program of FRR's, such as `ospfd`, and returns what it printed.
    ///
    /// # Errors
    /// Those of [`Self::command`].
    pub fn ask(&self, program: &str, command: &str) -> Result<String> {
        match self.kind {
            Kind::Bird => Err(LabError::invalid(format!("ask BIRD's {program}"), "it has none")),
            Kind::Frr => frr::shell(self, program, command),
        }
    }

    /// Runs a command of the daemon's own shell (`birdc`, `vtysh`) and returns what it printed.
    ///
    /// # Errors
    /// When the daemon does not answer, or says that it does not understand.
    pub fn command(&self, command: &str) -> Result<String> {
        match self.kind {
            Kind::Bird => bird::command(self, command),
            Kind::Frr => frr::command(self, command),
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let mut names: Vec<_> = fs::read_dir(self.directory.path())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|it| it == "log"))
            .collect();
        names.sort();
        names.iter().map(|path| fs::read_to_string(path).unwrap_or_default()).collect()
    }

    /// Kills all its programs (SIGKILL), as a crash would: it takes no leave of its peers, and what
    /// it gave to the kernel stays there.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn kill(mut self) -> Result<()> {
        for process in self.processes.iter_mut().rev() {
            process.kill()?;
        }
        self.processes.clear();
        Ok(())
    }

    fn new(kind: Kind) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("linecard-lab-")
            .tempdir()
            .map_err(|error| LabError::new("make a directory for a routing daemon", error))?;
        Ok(Self { kind, processes: Vec::new(), directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text)
            .map_err(|error| LabError::new(format!("write {}", path.display()), error))?;
        Ok(path)
    }

    /// Starts `command`, whose output goes to `name`.log, and waits until `ready` holds.
    fn spawn(
        &mut self,
        namespace: &Namespace,
        mut command: Command,
        name: &str,
        mut ready: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let action = || format!("start {name} in {namespace}");
        let failed = |error: io::Error| LabError::new(action(), error);
        let log = File::create(self.path(&format!("{name}.log"))).map_err(failed)?;
        let copy = log.try_clone().map_err(failed)?;
        command.current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(copy).stderr(log);
        let mut process = namespace.spawn(command)?;
        let outcome = wait_for(&format!("{name} of {namespace} answer"), START_TIMEOUT, || {
            if let Some(status) = process.exit_status()? {
                let said = format!("it ended at once ({status}): {}", self.log());
                return Err(LabError::invalid(action(), said));
            }
            Ok(ready(self))
        });
        self.processes.push(process);
        outcome
    }
}

impl Drop for RoutingDaemon {
    /// The youngest ends first, each with time to clean up behind itself.
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.terminate(STOP_TIMEOUT);
        }
    }
}

/// The program in one of `folders`, else the name, for `PATH` to find.
fn locate(name: &str, folders: &[&str]) -> String {
    let paths = folders.iter().map(|folder| Path::new(folder).join(name));
    let found =
        paths.filter(|path| path.is_file()).find_map(|path| path.to_str().map(str::to_owned));
    found.unwrap_or_else(|| name.to_owned())
}

/// Runs a daemon's shell to its end.
fn run_shell(mut shell: Command, command: &str) -> Result<String> {
    let action = || format!("tell a routing daemon `{command}`");
    let output =
        shell.stdin(Stdio::null()).output().map_err(|error| LabError::new(action(), error))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(LabError::invalid(action(), format!("{said}{complaint}")))
}
