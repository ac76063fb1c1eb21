//! FRR: zebra, which installs routes into the kernel, bgpd, which learns them, and others on demand.
//!
//! The socket between the two (`-z`), the sockets of the shell (`--vty_socket`) and the pid files
//! (`-i`) are moved into the daemon's directory; `-P 0` keeps them off TCP ports. Both run as root:
//! FRR's own user could not write there. They insist that this user is in the group that FRR was built
//! to give its shell's sockets to.

use std::process::Command;

use super::{RoutingDaemon, locate, run_shell};
use crate::error::{LabError, Result};
use crate::namespace::Namespace;
use crate::process::command_that_dies_with_us;

const ZEBRA_SOCKET: &str = "zserv.api";
/// Debian's `--enable-vty-group`.
const VTY_GROUP: &str = "frrvty";
/// Where Debian has them, never in `PATH`.
const FOLDERS: [&str; 2] = ["/usr/lib/frr", "/usr/local/sbin"];

pub(super) fn start(
    daemon: &mut RoutingDaemon,
    namespace: &Namespace,
    configuration: &str,
    more: &[(&str, &str)],
) -> Result<()> {
    // vtysh wants a file of its own, else it reads the host's.
    daemon.write("vtysh.conf", "no service integrated-vtysh-config\n")?;
    let programs = [("zebra", configuration), ("bgpd", configuration)];
    for (name, configuration) in programs.iter().chain(more) {
        let path = daemon.write(&format!("{name}.conf"), configuration)?;
        let mut command = command_that_dies_with_us(&locate(name, &FOLDERS));
        command.args(["-u", "root", "-g", VTY_GROUP, "-P", "0", "--log", "stdout"]);
        command.arg("-f").arg(path).arg("-z").arg(daemon.path(ZEBRA_SOCKET));
        command.arg("-i").arg(daemon.path(&format!("{name}.pid")));
        command.arg("--vty_socket").arg(daemon.directory.path());
        daemon.spawn(namespace, command, name, |daemon| {
            let zebra = daemon.path(ZEBRA_SOCKET).exists();
            zebra && shell(daemon, name, "show version").is_ok()
        })?;
    }
    Ok(())
}

pub(super) fn command(daemon: &RoutingDaemon, command: &str) -> Result<String> {
    shell(daemon, "bgpd", command)
}

/// Asks one of the programs.
pub(super) fn shell(daemon: &RoutingDaemon, name: &str, command: &str) -> Result<String> {
    let mut shell = Command::new("vtysh");
    let directory = daemon.directory.path();
    shell.arg("--vty_socket").arg(directory).arg("--config_dir").arg(directory);
    shell.args(["-d", name, "-c", command]);
    let said = run_shell(shell, command)?;
    if said.lines().any(|line| line.starts_with("% ")) {
        return Err(LabError::invalid(format!("tell FRR `{command}`"), said));
    }
    Ok(said)
}
