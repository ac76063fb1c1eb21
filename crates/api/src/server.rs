//! The server: a thread with a runtime of its own, away from the workers.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::oneshot;

use crate::routes::{Source, router};
use crate::socket::{BoundSocket, SocketError, SocketFile, bind_private};

/// How long answers that are under way may take once the server was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Where to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Path of the unix socket; absolute.
    pub socket: PathBuf,
    /// Group that may connect besides the owner; `None`: the group of the process.
    pub group: Option<String>,
}

/// A socket that is made and not answered on yet. Dropping it removes it.
#[derive(Debug)]
pub struct Reserved {
    bound: BoundSocket,
    socket: PathBuf,
}

/// A server that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    file: SocketFile,
    socket: PathBuf,
}

impl Server {
    /// Makes the socket, with mode 0660, and answers on it from a new thread.
    ///
    /// When this returns, clients can connect.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn start(config: &ServerConfig, source: Arc<dyn Source>) -> Result<Self, SocketError> {
        Self::reserve(config)?.serve(source)
    }

    /// Makes the socket; clients that connect wait until [`Reserved::serve`].
    ///
    /// # Errors
    /// See [`SocketError`].
    pub fn reserve(config: &ServerConfig) -> Result<Reserved, SocketError> {
        let bound = bind_private(&config.socket, config.group.as_deref())?;
        Ok(Reserved { bound, socket: config.socket.clone() })
    }

    /// The socket's path.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Takes no more requests, finishes those under way (for a second at the most) and removes
    /// the socket.
    pub fn stop(self) {
        drop(self);
    }
}

impl Reserved {
    /// Answers from a new thread.
    ///
    /// # Errors
    /// [`SocketError::System`] when the thread cannot be had.
    pub fn serve(self, source: Arc<dyn Source>) -> Result<Server, SocketError> {
        let Self { bound: BoundSocket { listener, file }, socket } = self;
        let failed = |step, error| SocketError::System { path: socket.clone(), step, error };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed("start its runtime", error))?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            if let Err(error) = runtime.block_on(serve(listener, source, stopped)) {
                tracing::error!(%error, "the API has stopped");
            }
        };
        let thread = std::thread::Builder::new()
            .name("linecard-api".to_owned())
            .spawn(serve)
            .map_err(|error| failed("start its thread", error))?;
        Ok(Server { stop: Some(stop), thread: Some(thread), file, socket })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // First the name, so that no client finds a socket that nobody answers on.
        self.file.remove();
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported by the thread's own hook.
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    source: Arc<dyn Source>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let (begin, begun) = oneshot::channel::<()>();
    let server = axum::serve(listener, router(source)).with_graceful_shutdown(async move {
        // Told to stop, or the `Server` is gone: the same.
        let _ = stopped.await;
        drop(begin);
    });
    let deadline = async move {
        let _ = begun.await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        served = async { server.await } => served,
        () = deadline => Ok(()),
    }
}
