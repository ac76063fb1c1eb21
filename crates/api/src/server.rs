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
        let failed = |step, error| SocketError::System { path: config.socket.clone(), step, error };
        let BoundSocket { listener, file } = bind_private(&config.socket, config.group.as_deref())?;
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
        let socket = config.socket.clone();
        Ok(Self { stop: Some(stop), thread: Some(thread), file, socket })
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
