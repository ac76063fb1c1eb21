//! Makes the unix socket so that it is never open to more users than it should be.
//!
//! A unix socket that is bound but does not listen refuses connections. So the socket is bound
//! under a name of its own, gets its mode and group, starts to listen, and only then is renamed
//! into place, which also replaces a stale one in one step.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::unistd::{Group, chown};

/// Owner and group may read and write, which is what connecting takes.
const MODE: u32 = 0o660;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon lives there.
    #[error(
        "a daemon answers on {0} already: stop it, or give this one a path of its own \
         ([api] socket = …)"
    )]
    InUse(PathBuf),
    /// Something lies there that Linecard did not make.
    #[error("{0} exists and is no socket: remove it, or name another path ([api] socket = …)")]
    NotASocket(PathBuf),
    /// The configured group does not exist.
    #[error("there is no group {0}: create it with `groupadd {0}`, or change [api] group")]
    NoGroup(String),
    /// The system refused.
    #[error("cannot make the socket {path}: {step}: {error}")]
    System {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The reason.
        error: io::Error,
    },
}

/// A socket that listens, and its file, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(crate) listener: UnixListener,
    pub(crate) file: SocketFile,
}

/// The socket's name in the file system.
#[derive(Debug)]
pub(crate) struct SocketFile(Option<PathBuf>);

impl SocketFile {
    /// Takes the name away, once.
    pub(crate) fn remove(&mut self) {
        if let Some(path) = self.0.take() {
            // It may be gone already, with /run itself; there is nothing to do about it.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Makes a socket that listens at `path`, for its owner and `group`.
pub(crate) fn bind_private(path: &Path, group: Option<&str>) -> Result<BoundSocket, SocketError> {
    let failed = |step: &'static str| {
        move |error: io::Error| SocketError::System { path: path.to_owned(), step, error }
    };
    refuse_to_steal(path)?;
    let group = match group {
        None => None,
        Some(name) => {
            let found = Group::from_name(name).map_err(io::Error::from);
            let found = found.map_err(failed("look up its group"))?;
            Some(found.ok_or_else(|| SocketError::NoGroup(name.to_owned()))?.gid)
        }
    };
    let mut private = path.as_os_str().to_owned();
    private.push(format!(".{}", std::process::id()));
    let private = PathBuf::from(private);
    // Left by an earlier process with this number.
    let _ = fs::remove_file(&private);

    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|error| failed("open")(error.into()))?;
    let address = UnixAddr::new(&private).map_err(|error| failed("its name")(error.into()))?;
    bind(fd.as_raw_fd(), &address).map_err(|error| failed("bind")(error.into()))?;
    let file = SocketFile(Some(private.clone()));
    fs::set_permissions(&private, fs::Permissions::from_mode(MODE))
        .map_err(failed("set its mode"))?;
    if group.is_some() {
        chown(&private, None, group).map_err(|error| failed("set its group")(error.into()))?;
    }
    listen(&fd, Backlog::MAXCONN).map_err(|error| failed("listen")(error.into()))?;
    fs::rename(&private, path).map_err(failed("move it into place"))?;
    drop(file);
    Ok(BoundSocket { listener: UnixListener::from(fd), file: SocketFile(Some(path.to_owned())) })
}

/// Ok where there is nothing, or a socket that nobody listens on.
fn refuse_to_steal(path: &Path) -> Result<(), SocketError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // Also when it may not be asked: then it is somebody else's.
        Ok(_) | Err(_) => Err(SocketError::InUse(path.to_owned())),
    }
}
