//! What the kernel's errors mean for whoever started Linecard, and what to do about them.

use std::io;

use libc::{EACCES, EBUSY, EINVAL, ENOBUFS, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP, EPERM, ERANGE};
use linecard_io::{AttachMode, Interface};

/// An error of the kernel's with what it means and what to do.
pub(in crate::daemon) fn explain(what: &str, error: io::Error) -> anyhow::Error {
    let remedy = match error.raw_os_error() {
        Some(EPERM | EACCES) => {
            "run as root, or with CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_IPC_LOCK \
             (setcap, or AmbientCapabilities= in a systemd unit)"
        }
        Some(ENOBUFS | ENOMEM) => {
            "raise the limit on locked memory (`ulimit -l`, LimitMEMLOCK= in a systemd unit), \
             or add CAP_IPC_LOCK"
        }
        Some(ENOSPC) => {
            "the peer has more transmit queues than this interface has receive queues: see \
             `ethtool -l`"
        }
        Some(ENOENT) => "is the module loaded? (`modprobe tun`)",
        Some(EBUSY) => "another program has it: see `ip -details link` and `ss --xdp`",
        _ => "Linux 6.6 or newer is needed: see `uname -r`",
    };
    anyhow::Error::new(error).context(format!("cannot {what}: {remedy}"))
}

pub(super) fn explain_attach(
    interface: &Interface,
    mode: AttachMode,
    error: io::Error,
) -> anyhow::Error {
    let (name, mode) = (&interface.name, mode.label());
    let remedy = match error.raw_os_error() {
        Some(EBUSY) => format!(
            "another XDP program is attached: see `ip link show {name}`, detach it with \
             `ip link set {name} xdp off`"
        ),
        Some(EOPNOTSUPP | EINVAL) => "the driver has no XDP: use xdp_mode = \"generic\" \
             or kind = \"packet\""
            .to_owned(),
        Some(ERANGE) => format!(
            "the driver cannot do XDP at an MTU of {}: lower it, or use xdp_mode = \"generic\"",
            interface.mtu_bytes
        ),
        _ => return explain(&format!("attach the XDP program to {name} ({mode})"), error),
    };
    let what = format!("cannot attach the XDP program to {name} ({mode}): {remedy}");
    anyhow::Error::new(error).context(what)
}
