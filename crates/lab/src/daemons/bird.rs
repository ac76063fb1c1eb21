//! BIRD 2: one program, one control socket (`-s`), one pid file (`-P`).

use std::process::Command;

use super::{RoutingDaemon, locate, run_shell};
use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::process::command_that_dies_with_us;

const SOCKET: &str = "bird.ctl";
/// Where Debian has it; a user's `PATH` may lack it.
const FOLDERS: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

pub(super) fn start(
    daemon: &mut RoutingDaemon,
    namespace: &Namespace,
    configuration: &str,
) -> Result<()> {
    let path = daemon.write("bird.conf", configuration)?;
    let mut bird = command_that_dies_with_us(&locate("bird", &FOLDERS));
    bird.arg("-f").arg("-c").arg(path);
    bird.arg("-s").arg(daemon.path(SOCKET)).arg("-P").arg(daemon.path("bird.pid"));
    daemon.spawn(namespace, bird, "bird", |daemon| command(daemon, "show status").is_ok())
}

pub(super) fn command(daemon: &RoutingDaemon, command: &str) -> Result<String> {
    let mut shell = Command::new(locate("birdc", &FOLDERS));
    shell.arg("-s").arg(daemon.path(SOCKET)).args(command.split_whitespace());
    let said = run_shell(shell, command)?;
    // birdc succeeds also when BIRD has refused.
    let refusals = ["syntax error", "Unable to connect", "not exported", "Access denied"];
    if refusals.iter().any(|refusal| said.contains(refusal)) {
        return Err(LabError::invalid(format!("tell BIRD `{command}`"), said));
    }
    Ok(said)
}
