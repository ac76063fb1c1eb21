//! Why there is no answer, in words for who waits for one.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens on it.
    #[error(
        "no daemon answers on {0}: start one with `linecard run`, or name its socket with --socket"
    )]
    NoDaemon(PathBuf),
    /// The socket's mode keeps this user out.
    #[error(
        "this user may not use {0}: run as root or as a member of the socket's group ([api] group \
         in the daemon's configuration)"
    )]
    PermissionDenied(PathBuf),
    /// The daemon does not answer in time.
    #[error("the daemon on {socket} has not answered for {secs} seconds", secs = timeout.as_secs())]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The daemon does not understand the question.
    #[error("the daemon on {socket} refuses ({status}): {error}")]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// The HTTP status.
        status: u16,
        /// Its words.
        error: String,
    },
    /// What answers does not speak this API.
    #[error("what answers on {socket} is no daemon of this version: {error}")]
    NotUnderstood {
        /// The socket.
        socket: PathBuf,
        /// What is wrong.
        error: String,
    },
    /// Anything else.
    #[error("cannot ask the daemon on {socket}: {error}")]
    System {
        /// The socket.
        socket: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_waited_longer_is_told_so() {
        let late = |secs| {
            let (socket, timeout) = (PathBuf::from("/s"), Duration::from_secs(secs));
            ClientError::TimedOut { socket, timeout }.to_string()
        };
        assert_eq!(late(5), "the daemon on /s has not answered for 5 seconds");
        assert_eq!(late(60), "the daemon on /s has not answered for 60 seconds");
    }
}
