//! Runs a child with its output held back, under a deadline, and ends it when the user does.
//!
//! A child leads a process group of its own, so that whatever it started in turn (rustc, test
//! binaries, routing daemons) ends with it on ^C, on SIGTERM from CI and past the deadline.

use std::io::{BufRead, BufReader, IsTerminal, PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{packages, workspace};

/// How long one child may run; a hang must not eat the whole time that CI grants.
const CHILD_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long an interrupted child may take to clean up before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How often the deadline and the interrupt flag are looked at while a child is silent.
const TICK: Duration = Duration::from_millis(100);

/// Where the chores run, and whether they have been asked to stop.
pub(crate) struct Context {
    /// The root of the workspace.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, which all steps share.
    pub(crate) target: PathBuf,
    interrupted: Arc<AtomicBool>,
    terminal: bool,
}

/// What a child did.
pub(crate) struct Ran {
    /// Whether it exited with status 0.
    pub(crate) success: bool,
    /// Standard output and standard error, in the order they were written.
    pub(crate) output: String,
}

impl Context {
    /// Finds the workspace and starts to listen for SIGINT and SIGTERM.
    pub(crate) fn new() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        let (root, target) = workspace::directories()?;
        Ok(Self { root, target, interrupted, terminal: std::io::stderr().is_terminal() })
    }

    /// Whether the user or CI has asked to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// A `cargo` command in the root of the workspace, without colours or progress bars.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo");
        command
            .args(arguments)
            .current_dir(&self.root)
            .env("PATH", packages::search_path())
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_TERM_PROGRESS_WHEN", "never");
        command
    }

    /// Runs `command` to its end and holds its output back.
    ///
    /// # Errors
    /// When it cannot be started, outlives [`CHILD_LIMIT`], or the user interrupts.
    pub(crate) fn run(&self, mut command: Command) -> Result<Ran> {
        let program = command.get_program().to_string_lossy().into_owned();
        let (reader, writer) = std::io::pipe()?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let mut child = command
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run `{program}`: is it installed?"))?;
        // The command owns the pipe's other end; the reader sees the end only once it is closed.
        drop(command);
        let (sender, lines) = channel();
        thread::spawn(move || read_lines(reader, &sender));
        let mut output = String::new();
        let status = self.wait(&mut child, &lines, &mut output);
        self.clear_progress();
        match status {
            Ok(status) => Ok(Ran { success: status.success(), output }),
            Err(error) => {
                end_group(&mut child);
                Err(error.context(format!("`{program}` was stopped; it had said:\n{output}")))
            }
        }
    }

    /// Runs `command` with the terminal as its own and says whether it exited with status 0.
    ///
    /// # Errors
    /// When it cannot be started, or the user interrupts.
    pub(crate) fn run_in_the_open(&self, mut command: Command) -> Result<bool> {
        let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            if self.interrupted() {
                end_group(&mut child);
                bail!("interrupted");
            }
            thread::sleep(TICK);
        }
    }

    /// Gathers lines until the child has ended.
    fn wait(
        &self,
        child: &mut Child,
        lines: &Receiver<String>,
        output: &mut String,
    ) -> Result<ExitStatus> {
        let deadline = Instant::now() + CHILD_LIMIT;
        loop {
            match lines.recv_timeout(TICK) {
                Ok(line) => {
                    self.show_progress(&line);
                    output.push_str(&line);
                    continue;
                }
                // The pipe may close before the child has ended.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(5)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(status) = child.try_wait()? {
                output.extend(lines.try_iter());
                return Ok(status);
            }
            if self.interrupted() {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                bail!("no end after {} minutes", CHILD_LIMIT.as_secs() / 60);
            }
        }
    }

    /// Shows on a terminal what the child is at; a log gets nothing.
    fn show_progress(&self, line: &str) {
        if self.terminal {
            let line: String = line.trim().chars().filter(|c| !c.is_control()).take(64).collect();
            eprint!("\x1b7\x1b[K{line}\x1b8");
        }
    }

    fn clear_progress(&self) {
        if self.terminal {
            eprint!("\x1b[K");
            // Nothing is lost if the terminal has gone.
            let _ = std::io::stderr().flush();
        }
    }
}

fn read_lines(reader: PipeReader, sender: &Sender<String>) {
    let mut reader = BufReader::new(reader);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        if sender.send(String::from_utf8_lossy(&bytes).into_owned()).is_err() {
            return;
        }
        bytes.clear();
    }
}

/// Asks the child's process group to stop, waits for [`GRACE`], then kills what is left of it.
fn end_group(child: &mut Child) {
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else { return };
    // Each call fails only when the group has gone already, which is what is wanted.
    let _ = kill_process_group(group, Signal::INT);
    let deadline = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        thread::sleep(TICK);
    }
    let _ = kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context {
            root: PathBuf::from("."),
            target: PathBuf::from("."),
            interrupted: Arc::new(AtomicBool::new(false)),
            terminal: false,
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_of_both_streams_is_kept_with_the_status() {
        let ran = context().run(shell("echo one; echo two >&2; exit 3")).expect("sh runs");
        assert!(!ran.success);
        assert_eq!(ran.output, "one\ntwo\n");
    }

    #[test]
    fn a_missing_program_is_named() {
        let Err(error) = context().run(Command::new("no-such-program-at-all")) else {
            panic!("a program that does not exist must not run");
        };
        assert!(format!("{error:#}").contains("no-such-program-at-all"));
    }

    #[test]
    fn an_interrupt_ends_the_child_and_its_children() {
        let context = context();
        let flag = Arc::clone(&context.interrupted);
        flag.store(true, Ordering::Relaxed);
        let started = Instant::now();
        let Err(error) = context.run(shell("sleep 60 & sleep 60")) else {
            panic!("an interrupted run must not report an outcome");
        };
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(format!("{error:#}").contains("interrupted"));
    }
}
