//! Children in a namespace: waited for with a deadline, and never left behind.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::wait::wait_until;

/// A running program; dropping it kills (SIGKILL) and reaps it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    program: String,
    // Holds the thread that started the child: its end would fire the parent-death signal.
    namespace: Namespace,
}

impl Process {
    pub(crate) fn new(child: Child, program: String, namespace: Namespace) -> Self {
        Self { child, program, namespace }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The namespace it was started in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The child itself, for its pipes.
    pub fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal; a child that has already been reaped is no error.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        let id = i32::try_from(self.child.id()).expect("process ids fit an i32");
        kill(Pid::from_raw(id), signal).map_err(|error| {
            LabError::new(format!("send {signal} to {} ({id})", self.program), error)
        })
    }

    /// How it ended, or nothing while it runs.
    ///
    /// # Errors
    /// When the kernel cannot tell.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .map_err(|error| LabError::new(format!("wait for {}", self.program), error))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// `TimedOut` when it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let mut status = None;
        let done = wait_until(timeout, || {
            status = self.exit_status()?;
            Ok(status.is_some())
        })?;
        match status {
            Some(status) if done => Ok(status),
            _ => Err(LabError::timed_out(
                format!("wait for the end of {} ({})", self.program, self.child.id()),
                format!("it still runs after {timeout:?}"),
            )),
        }
    }

    /// Asks it to end (SIGTERM), and kills it when it has not within `timeout`.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        match self.wait(timeout) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => self.kill(),
            other => other,
        }
    }

    /// Kills it (SIGKILL) and reaps it.
    ///
    /// # Errors
    /// When the kernel refuses the signal.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().map_err(|error| LabError::new(format!("reap {}", self.program), error))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command whose process dies with the thread that starts it, even when that one is killed:
/// it goes through util-linux's `setpriv --pdeathsig`, because std can set the signal only by unsafe code.
/// Start it with [`Namespace::spawn`], whose thread lives as long as the [`Process`]. Where `setpriv` is
/// missing the plain command comes back; a [`Process`] kills it still when it is dropped.
pub fn command_that_dies_with_us(program: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join("setpriv").is_file());
    if !found {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// For a program that the lab starts: asks the kernel to kill this process when the thread that
/// started it ends (`PR_SET_PDEATHSIG`). `parent` is the id of the process which should be the parent.
///
/// # Errors
/// When the kernel refuses, or the parent is already gone.
pub fn die_with_parent(parent: u32) -> Result<()> {
    let action = "tie this process to its parent";
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| LabError::new(action, error))?;
    // The parent may have died before the signal was asked for.
    if std::os::unix::process::parent_id() != parent {
        return Err(LabError::invalid(action, format!("process {parent} is not the parent")));
    }
    Ok(())
}

/// Whether the status says "killed by SIGKILL", as after [`Process::kill`].
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(libc::SIGKILL)
}
